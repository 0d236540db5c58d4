//! `linux.namespaces`: those to make, those to join, and their consequences.
//!
//! Invariant: a joined namespace is of the listed kind, and is held open from here on.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

use super::filesystems;
use super::inputs::{Attached, dup};
use super::paths::{c_string, usage};
use crate::error::Result;
use crate::sys::Errno;
use crate::sys::file::fs;
use crate::sys::process::ns::{self, Namespaces};

/// The spec's namespaces, sorted by how a child comes into them. A kind that is not listed is inherited.
pub(super) struct Spaces {
    pub(super) new: Namespaces,
    /// Those that differ from the caller's: new ones, and joined ones.
    pub(super) own: Namespaces,
    /// In the order in which they are joined: a user namespace last, since in it there may be no right to others.
    pub(super) joined: Vec<Joined>,
    /// Whether its user namespace is another than the caller's.
    pub(super) user: bool,
}

/// A namespace that is there already.
pub(super) struct Joined {
    pub(super) fd: OwnedFd,
    pub(super) kind: Namespaces,
    pub(super) text: String,
}

pub(super) fn namespaces(linux: Option<&Linux>, pid_namespace: Option<BorrowedFd<'_>>) -> Result<Spaces> {
    let mut spaces = Spaces { new: Namespaces::NONE, own: Namespaces::NONE, joined: Vec::new(), user: false };
    let mut seen = Namespaces::NONE;
    if let Some(fd) = pid_namespace {
        let joined = Joined { fd: dup(fd)?, kind: Namespaces::PID, text: "pid".into() };
        spaces.joined.push(joined);
    }
    for namespace in linux.into_iter().flat_map(|linux| linux.namespaces().iter().flatten()) {
        let (typ, kind) = (namespace.typ(), kind(namespace.typ()));
        if seen.contains(kind) {
            return Err(usage(format!("linux.namespaces: {typ} stands there twice")));
        }
        seen = seen.with(kind);
        if kind == Namespaces::PID && pid_namespace.is_some() {
            continue;
        }
        let Some(path) = namespace.path() else {
            spaces.new = spaces.new.with(kind);
            spaces.own = spaces.own.with(kind);
            continue;
        };
        let text = format!("{typ} {}", path.display());
        let path = c_string("linux.namespaces", path.to_str().unwrap_or_default())?;
        let fd = fs::open_host_file(&path).map_err(|errno| errno.during(format!("open({path:?})")))?;
        let found = ns::kind_of(fd.as_fd());
        if found != Ok(kind) {
            return Err(usage(format!("linux.namespaces: {typ}: {path:?} is no namespace of this type")));
        }
        if !ns::is_callers(fd.as_fd(), kind)? {
            spaces.own = spaces.own.with(kind);
        } else if kind == Namespaces::PID {
            // Its child is there by its birth.
            continue;
        } else if kind == Namespaces::USER {
            return Err(usage(format!(
                "linux.namespaces: user: {path:?} is podrun's own, which cannot be joined"
            ))
            .hint("leave it out: a kind that is not listed is inherited"));
        }
        spaces.joined.push(Joined { fd, kind, text });
    }
    spaces.user = spaces.own.contains(Namespaces::USER);
    spaces.joined.sort_by_key(|one| (one.kind == Namespaces::USER, one.kind != Namespaces::PID));
    Ok(spaces)
}

/// Where a container that joins a pid namespace gets the procfs of that from.
pub(super) enum ProcOfJoined {
    /// It joins none, or mounts only the caller's procfs.
    Held,
    /// Made here, for these destinations.
    Made(Vec<(String, OwnedFd)>),
    /// A process inside has to make it.
    Inside,
}

impl ProcOfJoined {
    pub(super) fn trees(&self) -> Vec<Attached<'_>> {
        let Self::Made(made) = self else { return Vec::new() };
        let mut trees = Vec::new();
        for (destination, tree) in made {
            trees.push(Attached { destination, tree: tree.as_fd(), checked: false });
        }
        trees
    }
}

impl Spaces {
    pub(super) fn proc_of_joined(&self, spec: &Spec, attached: &[Attached<'_>]) -> Result<ProcOfJoined> {
        let Some(pid) = self.joined.iter().find(|one| one.kind == Namespaces::PID) else {
            return Ok(ProcOfJoined::Held);
        };
        let mut made = Vec::new();
        for (destination, mount) in filesystems::new_procfs(spec, attached)? {
            match mount.of_namespace(pid.fd.as_fd()) {
                Ok(tree) => made.push((destination, tree)),
                // Before Linux 6.17 a procfs is of its maker's namespace.
                Err(Errno::EINVAL) => return Ok(ProcOfJoined::Inside),
                Err(errno) => return Err(errno.during("fsconfig(proc, FSCONFIG_SET_FD, \"pidns\")").into()),
            }
        }
        Ok(if made.is_empty() { ProcOfJoined::Held } else { ProcOfJoined::Made(made) })
    }
}

/// `linux.timeOffsets`, as time_namespaces(7) has the lines of `timens_offsets`.
pub(super) fn time_offsets(spec: &Spec) -> Result<CString> {
    let offsets = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref());
    let mut lines = Vec::new();
    for (clock, offset) in offsets.into_iter().flatten() {
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            return Err(usage(format!(
                "linux.timeOffsets: `{clock}`: the clocks are monotonic and boottime"
            )));
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if nanoseconds >= 1_000_000_000 {
            return Err(usage(format!("linux.timeOffsets: {clock}: {nanoseconds} ns are a second or more")));
        }
        lines.push(format!("{clock} {seconds} {nanoseconds}\n"));
    }
    lines.sort();
    c_string("linux.timeOffsets", &lines.concat())
}

pub(super) fn kind(typ: LinuxNamespaceType) -> Namespaces {
    match typ {
        LinuxNamespaceType::Mount => Namespaces::MOUNT,
        LinuxNamespaceType::Pid => Namespaces::PID,
        LinuxNamespaceType::Network => Namespaces::NET,
        LinuxNamespaceType::Ipc => Namespaces::IPC,
        LinuxNamespaceType::Uts => Namespaces::UTS,
        LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
        LinuxNamespaceType::User => Namespaces::USER,
        LinuxNamespaceType::Time => Namespaces::TIME,
    }
}
