//! The new file systems of a spec: made by the child, in its own namespaces, or before it, where they depend on
//! the host's tree.
//!
//! Invariant: a file system gets its attributes, its label and its content before any process can reach it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;

use oci_spec::runtime::{Mount as SpecMount, Spec};

use super::content::Content;
use super::failure::Said;
use super::hints::LOCKED;
use super::inputs::Attached;
use super::labels;
use super::options::{self, Options};
use super::paths::{c_string, destination, normal, place, usage};
use super::plan::{Change, Mount, NewMount, Source};
use crate::error::{Error, Result};
use crate::sys::Errno;
use crate::sys::file::mount::{self as m, Attributes, Depth, Propagation};

/// The files of a new file system get the label at its mount. The kernel labels its own (proc, sysfs) and takes
/// no label for message queues.
pub(super) fn give_label(mount: &mut Mount, label: &CStr) {
    const WITHOUT: [&CStr; 3] = [c"proc", c"sysfs", c"mqueue"];
    if let Source::New(new) = &mut mount.source
        && !WITHOUT.contains(&new.kind.as_c_str())
        && !new.parameters.iter().any(|(key, _)| key.as_c_str() == c"context")
    {
        new.parameters.push((c"context".to_owned(), Some(label.to_owned())));
    }
}

/// A procfs that the spec asks for.
#[derive(Debug)]
pub(super) struct NewProcfs(Vec<(CString, Option<CString>)>);

impl NewProcfs {
    /// Makes it, detached, for the pid namespace `pid` (nsfs), since Linux 6.17. EINVAL: the kernel cannot.
    pub(super) fn of_namespace(&self, pid: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let context = m::fsopen(c"proc")?;
        m::fsconfig_fd(context.as_fd(), c"pidns", pid)?;
        for (key, value) in &self.0 {
            m::fsconfig(context.as_fd(), key, value.as_deref())?;
        }
        m::fsconfig_create(context.as_fd())?;
        m::fsmount(context.as_fd(), 0)
    }
}

/// Each procfs of the spec that the caller does not hold, with its destination.
pub(super) fn new_procfs(spec: &Spec, attached: &[Attached<'_>]) -> Result<Vec<(String, NewProcfs)>> {
    let mut found = Vec::new();
    for mount in spec.mounts().iter().flatten().filter(|mount| mount.typ().as_deref() == Some("proc")) {
        let destination = destination(mount)?;
        let options = options::parse(mount.options().as_deref().unwrap_or_default());
        let held = attached.iter().any(|held| normal(held.destination).is_ok_and(|path| path == destination));
        if !held && options.bind.is_none() && !options.remount {
            let source = mount.source().as_ref().and_then(|source| source.to_str()).unwrap_or("proc");
            found.push((destination, NewProcfs(parameters(Some(source), &options)?)));
        }
    }
    Ok(found)
}

/// The parameters of a new file system.
pub(super) fn parameters(source: Option<&str>, options: &Options) -> Result<Vec<(CString, Option<CString>)>> {
    let parameter = |(key, value): &(String, Option<String>)| -> Result<(CString, Option<CString>)> {
        let value = value.as_ref().map(|value| c_string("mounts", value)).transpose()?;
        Ok((c_string("mounts", key)?, value))
    };
    let named = |source| Ok((c"source".to_owned(), Some(c_string("mounts", source)?)));
    source.map(named).into_iter().chain(options.data.iter().map(parameter)).collect()
}

/// The devpts that `mount` asks for.
pub(super) fn devpts(mount: &SpecMount, spec: &Spec) -> Result<Mount> {
    let options = options::parse(mount.options().as_deref().unwrap_or_default());
    let mut new = new("/dev/pts", "devpts", "devpts", &options, Vec::new())?;
    if let Some(label) = labels::of_mounts(spec.linux().as_ref())? {
        give_label(&mut new, &label);
    }
    Ok(new)
}

/// A file system that the child makes.
pub(super) fn new(
    destination: &str,
    kind: &str,
    source: &str,
    options: &Options,
    content: Vec<Content>,
) -> Result<Mount> {
    if options.copy_up && kind != "tmpfs" {
        return Err(usage(format!("mount {destination}: `tmpcopyup` is for a tmpfs, not for {kind}")));
    }
    let set = options.attributes.set & !options.recursive.clear | options.recursive.set;
    let readonly_later = kind == "tmpfs" && set & Attributes::RDONLY != 0;
    let set = if readonly_later { set & !Attributes::RDONLY } else { set };
    Ok(Mount {
        text: kind.to_owned(),
        source: Source::New(NewMount {
            kind: c_string("mounts", kind)?,
            parameters: parameters(Some(source), options)?,
            attributes: set,
            copy_up: options.copy_up,
            // As runc and crun: the image's mode decides about write access to its /tmp.
            takes_mode: kind == "tmpfs" && !options.data.iter().any(|(key, _)| key == "mode"),
            // It has no master, so that a slave is a private one.
            propagation: options
                .propagation
                .map(|(propagation, _)| propagation)
                .filter(|propagation| ![Propagation::Private, Propagation::Slave].contains(propagation)),
            content,
        }),
        place: place("mounts", destination)?,
        refuse_links: refuses_links(kind),
        may_cover_proc: false,
        readonly_later,
    })
}

/// The kinds that go onto a real directory or nowhere.
pub(super) fn refuses_links(kind: &str) -> bool {
    kind == "proc" || kind == "sysfs"
}

/// Whether a file system depends on a path of the host: layers, or a disk.
pub(super) fn is_of_the_host(kind: &str, source: &str) -> bool {
    kind == "overlay" || std::fs::metadata(source).is_ok_and(|there| there.file_type().is_block_device())
}

/// Makes the file system of `mount` now: when the child's turn comes the host's tree is gone.
pub(super) fn make_before(mut mount: Mount, label: Option<&CStr>) -> Result<Mount> {
    if let Some(label) = label {
        give_label(&mut mount, label);
    }
    let Source::New(new) = &mount.source else { return Ok(mount) };
    let at = mount.place.to_string_lossy();
    let tree = make(new).map_err(|error| error.context(format!("mount /{at}")))?;
    let change = |propagation| Change { depth: Depth::One, attributes: Attributes::default(), propagation };
    dress(tree.as_fd(), change(Some(new.propagation.unwrap_or(Propagation::Private))))?;
    Ok(Mount { source: Source::Tree(tree), ..mount })
}

/// Gives a detached tree attributes and a propagation.
pub(super) fn dress(tree: BorrowedFd<'_>, change: Change) -> Result<()> {
    let Change { depth, attributes, propagation } = change;
    m::mount_setattr(tree, depth, attributes, propagation).map_err(|errno| {
        let error = Error::from(errno.during(format!("mount_setattr({change})")));
        match errno {
            Errno::EPERM => error.hint(LOCKED),
            _ => error,
        }
    })
}

/// A mount of the file system, detached.
pub(super) fn make(new: &NewMount) -> Result<OwnedFd> {
    let kind = new.kind.to_string_lossy();
    let context = m::fsopen(&new.kind).map_err(|errno| errno.during(format!("fsopen({kind:?})")))?;
    let refused = |errno: Errno, call: String| {
        let mut said = Said::NOTHING;
        said.hear(context.as_fd());
        let error = Error::from(errno.during(call));
        match said.text() {
            Some(text) => error.hint(format!("the kernel says: {text}")),
            None => error,
        }
    };
    for (key, value) in &new.parameters {
        m::fsconfig(context.as_fd(), key, value.as_deref())
            .map_err(|errno| refused(errno, format!("fsconfig({kind:?}, {key:?}, {value:?})")))?;
    }
    m::fsconfig_create(context.as_fd())
        .map_err(|errno| refused(errno, format!("fsconfig({kind:?}, FSCONFIG_CMD_CREATE)")))?;
    m::fsmount(context.as_fd(), new.attributes)
        .map_err(|errno| refused(errno, format!("fsmount({kind:?}, {:#x})", new.attributes)))
}
