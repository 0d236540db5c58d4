//! The child half's mounts: every target is resolved once, from the root's descriptor, checked, and
//! mounted on by that descriptor (rules R1 to R4, R9, R10 of the design's security page).
//!
//! Invariant: no path string reaches a mount call, and nothing here allocates.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::place::{self, Place};
use super::{State, copy_up};
use crate::engine::failure::{Call, During as _, Fault, OTHER_TYPE, Said};
use crate::engine::plan::{Change, Device, InnerTree, Mount, NewMount, Remount, Source, Way};
use crate::sys::Errno;
use crate::sys::file::fs::{self, Want};
use crate::sys::file::mount as m;
use crate::sys::file::mount::{Attributes, Depth};

/// Attaches the detached mount `tree` over the host's root, or at a path of the host; later steps call it the
/// root.
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

/// Makes one mount of the plan.
pub(super) fn mount(mount: &Mount, state: &mut State<'_>) -> Result<(), Fault> {
    match &mount.source {
        Source::Tree(tree) => attach(tree.as_fd(), mount, state),
        Source::Inside(inner) => attach(inner_tree(inner, state)?.as_fd(), mount, state),
        Source::Remount(change) => remount(mount, change, state),
        Source::New(new) => {
            let place = find_place(mount, Want::Directory, state)?;
            let tree = make(new, &place, &mut state.said)?;
            m::attach(tree.as_fd(), place.fd.as_fd()).during(Call::MoveMount)?;
            if new.kind.as_c_str() == c"proc" && state.proc.is_none() {
                state.proc = Some(tree);
            }
            Ok(())
        }
    }
}

fn attach(tree: BorrowedFd<'_>, mount: &Mount, state: &State<'_>) -> Result<(), Fault> {
    let directory = fs::is_directory(tree).during(Call::Statx)?;
    let place = find_place(mount, if directory { Want::Directory } else { Want::Any }, state)?;
    m::attach(tree, place.fd.as_fd()).map_err(|errno| {
        let other_type = !directory && fs::is_directory(place.fd.as_fd()) == Ok(true);
        Fault { call: Call::MoveMount, index: if other_type { OTHER_TYPE } else { 0 }, errno }
    })
}

/// Where a mount goes; made where it is missing.
fn find_place(mount: &Mount, want: Want, state: &State<'_>) -> Result<Place, Fault> {
    let root = state.root().during(Call::Openat)?;
    let place = place::find_or_make(root, &mount.place, want, !mount.refuse_links)?;
    check_place(place.fd.as_fd(), mount, root)?;
    Ok(place)
}

/// A link in the image can lead anywhere inside; not onto the root, and not onto parts of /proc.
fn check_place(place: BorrowedFd<'_>, mount: &Mount, root: BorrowedFd<'_>) -> Result<(), Fault> {
    if fs::is_same_file(place, root).during(Call::Fstat)? {
        return Err(Errno::EBUSY).during(Call::Fstat);
    }
    if !mount.may_cover_proc && fs::is_on_procfs(place).during(Call::Procfs)? {
        return Err(Errno::EPERM).during(Call::Procfs);
    }
    Ok(())
}

/// A detached clone of a part of the root. A recursive clone needs the literal path, for the plan knows of no
/// masks elsewhere in it; a link may lead to a single mount, but not to a masked one either.
fn inner_tree(inner: &InnerTree, state: &State<'_>) -> Result<OwnedFd, Fault> {
    let root = state.root().during(Call::Openat)?;
    let source = match inner.depth {
        Depth::Recursive => fs::open_entry(root, &inner.path, Want::Any),
        Depth::One => fs::open_in_root(root, &inner.path, Want::Any),
    };
    let source = source.during(Call::OpenTree)?;
    // Elsewhere it would be neither masked nor read-only.
    let own = fs::is_kernels(source.as_fd()).during(Call::Procfs)?;
    if own || fs::is_same_file(source.as_fd(), root).during(Call::Fstat)? {
        return Err(Errno::EPERM).during(Call::OpenTree);
    }
    let tree = m::clone_tree(source.as_fd(), inner.depth).during(Call::OpenTree)?;
    change(tree.as_fd(), &inner.changes)?;
    Ok(tree)
}

/// Changes the mount that is at its place.
fn remount(mount: &Mount, wanted: &Remount, state: &mut State<'_>) -> Result<(), Fault> {
    let root = state.root().during(Call::Openat)?;
    let place = fs::open_in_root(root, &mount.place, Want::Any).during(Call::Openat)?;
    if !wanted.parameters.is_empty() {
        let context = m::fspick(place.as_fd()).during(Call::Fspick)?;
        configure(context.as_fd(), &wanted.parameters, m::fsconfig_reconfigure, &mut state.said)?;
    }
    change(place.as_fd(), &wanted.changes)
}

fn change(mount: BorrowedFd<'_>, changes: &[Change]) -> Result<(), Fault> {
    for Change { depth, attributes, propagation } in changes {
        m::mount_setattr(mount, *depth, *attributes, *propagation).during(Call::MountSetattr)?;
    }
    Ok(())
}

/// Passes a context its parameters, and performs `last` on it.
fn configure(
    context: BorrowedFd<'_>,
    parameters: &[(CString, Option<CString>)],
    last: fn(BorrowedFd<'_>) -> Result<(), Errno>,
    said: &mut Said,
) -> Result<(), Fault> {
    let mut refused = |index: u32, errno| {
        said.hear(context);
        Fault { call: Call::Fsconfig, index, errno }
    };
    let mut count = 0;
    for (key, value) in parameters {
        m::fsconfig(context, key, value.as_deref()).map_err(|errno| refused(count, errno))?;
        count += 1;
    }
    last(context).map_err(|errno| refused(count, errno))
}

/// Makes a file system with its content; no other process sees it before it is attached at `place`.
fn make(new: &NewMount, place: &Place, said: &mut Said) -> Result<OwnedFd, Fault> {
    let context = m::fsopen(&new.kind).during(Call::Fsopen)?;
    configure(context.as_fd(), &new.parameters, m::fsconfig_create, said)?;
    let tree = m::fsmount(context.as_fd(), new.attributes).map_err(|errno| {
        said.hear(context.as_fd());
        Fault { call: Call::Fsmount, index: 0, errno }
    })?;
    for (index, content) in (0..).zip(&new.content) {
        content.make_in(tree.as_fd()).map_err(|fault| Fault { index, ..fault })?;
    }
    // The mode of a directory that was made for it says nothing.
    if new.takes_mode && !place.made {
        copy_up::mode(place.fd.as_fd(), tree.as_fd())?;
    }
    if new.copy_up {
        copy_up::content(place.fd.as_fd(), tree.as_fd())?;
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

/// Brings a device to its place, or finds it there as it is listed.
pub(super) fn device(device: &Device, state: &State<'_>) -> Result<(), Fault> {
    let root = state.root().during(Call::Openat)?;
    match fs::open_in_root(root, &device.path, Want::Any) {
        Err(Errno::ENOENT) => {}
        found => {
            let found = found.during(Call::Openat)?;
            let special = fs::special(found.as_fd()).during(Call::Fstat)?;
            // A bound one leaves an empty file in the root, which is there when that is used again.
            let place = matches!(device.way, Way::Bound(_))
                && fs::is_empty_file(found.as_fd()).during(Call::Fstat)?;
            if special.is_some_and(|special| device.file.is(&special)) {
                return Ok(());
            } else if !place {
                return Err(Errno::EEXIST).during(Call::Fstat);
            }
        }
    }
    if matches!(device.way, Way::Found) {
        // As runc and crun: the maker of a /dev decides about its devices.
        return Ok(());
    }
    let parent = place::find_or_make(root, &device.parent, Want::Directory, true)?.fd;
    if fs::is_on_procfs(parent.as_fd()).during(Call::Procfs)? {
        return Err(Errno::EPERM).during(Call::Procfs);
    }
    match &device.way {
        Way::Bound(tree) => {
            let place = place::make_entry(parent.as_fd(), &device.name, Want::Any)?;
            m::attach(tree.as_fd(), place.as_fd()).during(Call::MoveMount)
        }
        Way::Made | Way::Found => device.file.make(parent.as_fd(), &device.name),
    }
}

/// Makes the tree at `path` read-only, recursively.
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

/// The file at `path`, without a link on the way; `None` if there is none.
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

/// Makes the mount at `path` read-only, without its submounts.
pub(super) fn make_mount_readonly(path: &CStr, state: &State<'_>) -> Result<(), Fault> {
    let root = state.root().during(Call::Openat)?;
    let mount = fs::open_in_root(root, path, Want::Directory).during(Call::Openat)?;
    set(mount.as_fd(), Depth::One, Attributes::RDONLY)
}

/// Makes the root mount read-only, without its submounts.
pub(super) fn readonly_root(state: &State<'_>) -> Result<(), Fault> {
    set(state.root().during(Call::Openat)?, Depth::One, Attributes::RDONLY)
}
