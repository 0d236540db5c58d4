//! The inputs of [`super::compile()`] and [`super::compile_exec`].
//!
//! Invariant: descriptors that are only lent stay the caller's, and outlive the plan's making.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespace, Process, Spec, State};

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::sys::file::fs;

/// A container's mounts of its terminal.
#[derive(Debug)]
pub struct Console {
    /// The terminal as a mount, detached: cloned from its descriptor, never from a name in /dev/pts (CVE-2025-52565).
    pub(super) terminal: OwnedFd,
    /// The `destination` of the spec's devpts, and the devpts that goes there, detached.
    pub(super) devpts: Option<(String, OwnedFd)>,
}

/// The child's ends of its standard streams. With `process.terminal` all three are the pty's peer.
#[derive(Debug)]
pub struct Stdio {
    /// Becomes fd 0.
    pub stdin: OwnedFd,
    /// Becomes fd 1.
    pub stdout: OwnedFd,
    /// Becomes fd 2.
    pub stderr: OwnedFd,
}

/// Where the container's root comes from.
#[derive(Debug, Clone, Copy)]
pub enum Rootfs<'a> {
    /// `root.path` of the spec: bound, with its submounts.
    Spec,
    /// A detached mount (an fsmount'ed overlay), which the child moves into its place.
    Detached(BorrowedFd<'a>),
}

/// A mount that the caller holds by fd, in the place of a spec mount's `source`.
#[derive(Debug, Clone, Copy)]
pub struct Attached<'a> {
    /// The `destination` of the spec's mount that takes its tree from here.
    pub destination: &'a str,
    /// A detached mount that is this container's alone: the child moves it.
    pub tree: BorrowedFd<'a>,
    /// Whether [`super::check_source`] was asked about it, by a process that may wait for its file system.
    pub checked: bool,
}

/// All that [`super::compile()`] needs.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The runtime-spec document.
    pub spec: &'a Spec,
    /// The container's root.
    pub rootfs: Rootfs<'a>,
    /// Mounts held by fd.
    pub attached: &'a [Attached<'a>],
    /// The cgroup to start in; already made and limited.
    pub cgroup: &'a Cgroup,
    /// The `tasks` files by which it joins its groups in resctrl, in their order, for a spec with `linux.intelRdt`.
    pub resctrl: Vec<OwnedFd>,
    /// The standard streams.
    pub stdio: Stdio,
    /// The mounts of the terminal, if the streams are one ([`super::terminal()`]).
    pub console: Option<Console>,
    /// The cover of masked files ([`super::Nodes::mask`]).
    pub null: Option<OwnedFd>,
    /// A pid namespace to be born in, in place of the spec's: its nsfs descriptor, or the pidfd of a pod's own
    /// init.
    pub pid_namespace: Option<BorrowedFd<'a>>,
    /// The folder in which compiled seccomp programs are kept; `None`: each is compiled anew.
    pub programs: Option<&'a Path>,
    /// The state of the container for a seccomp agent, with the status `creating` and no pid; without it a
    /// filter with an agent is refused.
    pub state: Option<&'a State>,
    /// How long it is bound to the caller's life.
    pub tie: Tie<'a>,
    /// Whether it pauses at [`super::Moment::Mounted`].
    pub pause: bool,
    /// Descriptors to give on, the first as number 3.
    pub preserve: &'a [BorrowedFd<'a>],
    /// Whether it gets a session keyring of its own; else it has the caller's.
    pub keyring: bool,
}

/// How long a child is bound to the life of the process that clones it: when that one ends before, the
/// kernel ends the child.
#[derive(Debug, Clone, Copy)]
pub enum Tie<'a> {
    /// As long as it runs: its parent is its supervisor.
    Always,
    /// Until its execve.
    UntilExec,
    /// Until all is made but its execve; then it waits at this listening socket. A connection that says
    /// one byte starts the program; it is the wire from then on.
    UntilStart(BorrowedFd<'a>),
}

/// All that [`super::compile_exec`] needs.
#[derive(Debug)]
pub struct ExecInputs<'a> {
    /// The process to run.
    pub process: &'a Process,
    /// The program, where it is another than the first of `process.args`.
    pub program: Option<&'a str>,
    /// The pidfd of the container's init, whose namespaces are joined.
    pub init: BorrowedFd<'a>,
    /// The container's `linux.namespaces`: the ones to join. Others are the caller's.
    pub namespaces: &'a [LinuxNamespace],
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// As in [`Inputs`].
    pub resctrl: Vec<OwnedFd>,
    /// The standard streams.
    pub stdio: Stdio,
    /// The container's `linux`, of which the process shares its per-process settings (seccomp, memory policy,
    /// personality); `None`: none of them.
    pub linux: Option<&'a Linux>,
    /// As in [`Inputs`].
    pub programs: Option<&'a Path>,
    /// As in [`Inputs`], but of the running container.
    pub state: Option<&'a State>,
    /// How long it is bound to the caller's life.
    pub tie: Tie<'a>,
    /// Descriptors to give on, the first as number 3.
    pub preserve: &'a [BorrowedFd<'a>],
}

/// A copy of a borrowed descriptor, above the standard streams.
pub(super) fn dup(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    Ok(fs::dup_above(fd, 3).map_err(|errno| errno.during("fcntl(F_DUPFD_CLOEXEC)"))?)
}
