//! The child half's mounts: every target is resolved once, from the root's descriptor, checked, and
//! mounted on by that descriptor (rules R1 to R4, R9, R10 of the design's security page).
//!
//! Invariant: no path string reaches a mount call, and nothing here allocates.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::{State, copy_up};
use crate::engine::failure::{Call, During as _, Fault};
use crate::engine::plan::{Mount, NewMount, Source, Target};
use crate::sys::fs::Want;
use crate::sys::mount::{Attributes, Depth};
use crate::sys::{Errno, fs, mount as m};

/// Attaches the detached mount `tree` over the host's root, or at a path of the host's; it is what the
/// steps after this one call the root.
pub(super) fn attach_root(
    tree: BorrowedFd<'_>,
    at: Option<&CStr>,
    state: &mut State<'_>,
) -> Result<(), Fault> {
    match at {
        None => m::attach_over_root(tree).during(Call::MoveMount)?,
        Some(path) => {
            let place = fs::open_host_path(path).during(Call::Openat)?;
            m::attach(tree, place.as_fd()).during(Call::MoveMount)?;
        }
    }
    state.root = Some(fs::open_entry(tree, c".", Want::Directory).during(Call::Openat)?);
    Ok(())
}

/// Makes the attached root the root of this mount namespace, and takes all else away.
pub(super) fn pivot(state: &State<'_>) -> Result<(), Fault> {
    fs::fchdir(state.root().during(Call::Openat)?).during(Call::Chdir)?;
    m::pivot_here().during(Call::PivotRoot)
}

/// Makes an empty, read-only file system the root.
pub(super) fn pivot_empty(state: &mut State<'_>) -> Result<(), Fault> {
    let context = m::fsopen(c"tmpfs").during(Call::Fsopen)?;
    m::fsconfig_create(context.as_fd()).during(Call::Fsconfig)?;
    let attributes = Attributes::RDONLY | Attributes::NOSUID | Attributes::NODEV | Attributes::NOEXEC;
    let tree = m::fsmount(context.as_fd(), attributes).during(Call::Fsmount)?;
    attach_root(tree.as_fd(), None, state)?;
    pivot(state)
}

/// Makes a procfs of this pid namespace that is in no mount table.
pub(super) fn private_proc(state: &mut State<'_>) -> Result<(), Fault> {
    let context = m::fsopen(c"proc").during(Call::Fsopen)?;
    m::fsconfig(context.as_fd(), c"source", Some(c"proc")).during(Call::Fsconfig)?;
    m::fsconfig_create(context.as_fd()).during(Call::Fsconfig)?;
    let attributes = Attributes::NOSUID | Attributes::NODEV | Attributes::NOEXEC;
    state.proc = Some(m::fsmount(context.as_fd(), attributes).during(Call::Fsmount)?);
    Ok(())
}

/// Attaches one mount of the plan.
pub(super) fn mount(mount: &Mount, state: &mut State<'_>) -> Result<(), Fault> {
    match &mount.source {
        Source::Tree(tree) => attach(tree.as_fd(), mount, state),
        Source::New(new) => {
            let likens = new.copy_up || new.takes_mode;
            let covered = if likens { Some(target(mount, state)?) } else { None };
            let tree = make(new, covered.as_ref().map(OwnedFd::as_fd))?;
            attach(tree.as_fd(), mount, state)?;
            if new.kind.as_c_str() == c"proc" && state.proc.is_none() {
                state.proc = Some(tree);
            }
            Ok(())
        }
    }
}

fn attach(tree: BorrowedFd<'_>, mount: &Mount, state: &State<'_>) -> Result<(), Fault> {
    m::attach(tree, target(mount, state)?.as_fd()).during(Call::MoveMount)
}

/// Where a mount goes.
fn target(mount: &Mount, state: &State<'_>) -> Result<OwnedFd, Fault> {
    let target = find_or_make(&mount.target, mount.refuse_links, state)?;
    let root = state.root().during(Call::Openat)?;
    // A link in the image can lead anywhere inside; not onto the root, and not onto parts of /proc.
    if fs::is_same_file(target.as_fd(), root).during(Call::Fstat)? {
        return Err(Errno::EBUSY).during(Call::Fstat);
    }
    if !mount.may_cover_proc && fs::is_on_procfs(target.as_fd()).during(Call::Procfs)? {
        return Err(Errno::EPERM).during(Call::Procfs);
    }
    Ok(target)
}

/// Makes a file system with its content; nobody else sees it before it is attached. `covered` is what it is to be like.
fn make(new: &NewMount, covered: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Fault> {
    let context = m::fsopen(&new.kind).during(Call::Fsopen)?;
    for (index, (key, value)) in (0..).zip(&new.parameters) {
        m::fsconfig(context.as_fd(), key, value.as_deref()).map_err(|errno| Fault {
            call: Call::Fsconfig,
            index,
            errno,
        })?;
    }
    m::fsconfig_create(context.as_fd()).during(Call::Fsconfig)?;
    let tree = m::fsmount(context.as_fd(), new.attributes.set).during(Call::Fsmount)?;
    for (index, content) in (0..).zip(&new.content) {
        content.make_in(tree.as_fd()).map_err(|fault| Fault { index, ..fault })?;
    }
    if let Some(covered) = covered {
        if new.takes_mode {
            copy_up::mode(covered, tree.as_fd())?;
        }
        if new.copy_up {
            copy_up::content(covered, tree.as_fd())?;
        }
    }
    spread(tree, new.propagation)
}

fn spread(tree: OwnedFd, propagation: Option<m::Propagation>) -> Result<OwnedFd, Fault> {
    if let Some(propagation) = propagation {
        m::mount_setattr(tree.as_fd(), Depth::One, Attributes::default(), Some(propagation))
            .during(Call::MountSetattr)?;
    }
    Ok(tree)
}

fn set(tree: BorrowedFd<'_>, depth: Depth, attributes: u64) -> Result<(), Fault> {
    let attributes = Attributes { set: attributes, clear: 0 };
    m::mount_setattr(tree, depth, attributes, None).during(Call::MountSetattr)
}

/// The target's descriptor; what is missing on the way is made, one component at a time.
pub(super) fn find_or_make(target: &Target, refuse_links: bool, state: &State<'_>) -> Result<OwnedFd, Fault> {
    let root = state.root().during(Call::Openat)?;
    let want = if target.directory { Want::Directory } else { Want::Any };
    let open = |path: &CStr, want| {
        if refuse_links { fs::open_entry(root, path, want) } else { fs::open_in_root(root, path, want) }
    };
    match open(&target.path, want) {
        Err(Errno::ENOENT) => {}
        other => return other.during(Call::Openat),
    }
    let mut parent: Option<OwnedFd> = None;
    for (number, (path, name)) in target.parts.iter().enumerate() {
        let last = number + 1 == target.parts.len();
        let want = if last && !target.directory { Want::Any } else { Want::Directory };
        // The last one is the target itself, which was not there a moment ago.
        let found = if last { Err(Errno::ENOENT) } else { open(path, want) };
        let here = match found {
            Err(Errno::ENOENT) => {
                let parent = parent.as_ref().map_or(root, OwnedFd::as_fd);
                make_entry(parent, name, want)?
            }
            other => other.during(Call::Openat)?,
        };
        parent = Some(here);
    }
    parent.ok_or(Errno::ENOENT).during(Call::Openat)
}

/// Makes `name` and opens just that: a link that a racer puts there instead is an error.
fn make_entry(parent: BorrowedFd<'_>, name: &CStr, want: Want) -> Result<OwnedFd, Fault> {
    match want {
        Want::Directory => match fs::mkdirat(parent, name, 0o755) {
            // Another container that shares the volume was faster.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).during(Call::Mkdirat),
        },
        Want::Any => match fs::create_file(parent, name, 0o644) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).during(Call::Openat),
        },
    }
    fs::open_entry(parent, name, want).during(Call::Openat)
}

/// Makes what is at `path` read-only, with all below it.
pub(super) fn make_readonly(path: &CStr, state: &State<'_>) -> Result<(), Fault> {
    let Some(target) = find(path, state)? else { return Ok(()) };
    let tree = m::clone_tree(target.as_fd(), Depth::Recursive).during(Call::OpenTree)?;
    set(tree.as_fd(), Depth::Recursive, Attributes::RDONLY)?;
    m::attach(tree.as_fd(), target.as_fd()).during(Call::MoveMount)
}

/// Covers a file with the null device, a directory with an empty one.
pub(super) fn mask(path: &CStr, state: &mut State<'_>) -> Result<(), Fault> {
    let Some(target) = find(path, state)? else { return Ok(()) };
    if !fs::is_directory(target.as_fd()).during(Call::Statx)? {
        let null = state.null.as_mut().ok_or(Errno::ENODEV).during(Call::Fstat)?;
        if !null.attached {
            null.attached = true;
            return m::attach(null.mount, target.as_fd()).during(Call::MoveMount);
        }
        let tree = m::clone_tree(null.mount, Depth::One).during(Call::OpenTree)?;
        return m::attach(tree.as_fd(), target.as_fd()).during(Call::MoveMount);
    }
    if let Some(empty) = &state.empty {
        let tree = m::clone_tree(empty.as_fd(), Depth::One).during(Call::OpenTree)?;
        return m::attach(tree.as_fd(), target.as_fd()).during(Call::MoveMount);
    }
    let context = m::fsopen(c"tmpfs").during(Call::Fsopen)?;
    m::fsconfig(context.as_fd(), c"nr_inodes", Some(c"1")).during(Call::Fsconfig)?;
    m::fsconfig(context.as_fd(), c"mode", Some(c"0555")).during(Call::Fsconfig)?;
    m::fsconfig_create(context.as_fd()).during(Call::Fsconfig)?;
    let attributes = Attributes::RDONLY | Attributes::NOSUID | Attributes::NODEV | Attributes::NOEXEC;
    let tree = m::fsmount(context.as_fd(), attributes).during(Call::Fsmount)?;
    m::attach(tree.as_fd(), target.as_fd()).during(Call::MoveMount)?;
    // Attached now, it can be cloned for the next one on every kernel.
    state.empty = Some(tree);
    Ok(())
}

/// What is at `path`, without a link on the way; `None` when nothing is.
fn find(path: &CStr, state: &State<'_>) -> Result<Option<OwnedFd>, Fault> {
    let root = state.root().during(Call::Openat)?;
    match fs::open_entry(root, path, Want::Any) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        other => other.map(Some).during(Call::Openat),
    }
}

/// Says how mounts travel to and from the root.
pub(super) fn root_propagation(
    propagation: m::Propagation,
    depth: Depth,
    state: &State<'_>,
) -> Result<(), Fault> {
    let root = state.root().during(Call::Openat)?;
    m::mount_setattr(root, depth, Attributes::default(), Some(propagation)).during(Call::MountSetattr)
}

/// Makes the mount at `path` read-only; what is mounted below keeps its own say.
pub(super) fn make_mount_readonly(path: &CStr, state: &State<'_>) -> Result<(), Fault> {
    let root = state.root().during(Call::Openat)?;
    let mount = fs::open_in_root(root, path, Want::Directory).during(Call::Openat)?;
    set(mount.as_fd(), Depth::One, Attributes::RDONLY)
}

/// Makes the root mount read-only; what is mounted below keeps its own say.
pub(super) fn readonly_root(state: &State<'_>) -> Result<(), Fault> {
    set(state.root().during(Call::Openat)?, Depth::One, Attributes::RDONLY)
}
