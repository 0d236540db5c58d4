//! The OCI container engine: a runtime-spec `Spec` is compiled into a [`Plan`], an array of steps in
//! security order, which one clone3 and its child replay up to execve.
//!
//! Invariant: all that can fail for a user's reasons is decided in [`compile`], before any process
//! exists; the child half only replays. The engine knows no pod, image or network.

use std::os::fd::{BorrowedFd, OwnedFd};

use oci_spec::runtime::{Process, Spec};

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};

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
    /// `root.path` of the spec: bound, with what is mounted below it.
    Spec,
    /// A detached mount (an fsmount'ed overlay), which the child moves into its place.
    Detached(BorrowedFd<'a>),
}

/// A mount that the caller holds by fd, in the place of a spec mount's `source`.
#[derive(Debug, Clone, Copy)]
pub struct Attached<'a> {
    /// The `destination` of the spec's mount that takes its tree from here.
    pub destination: &'a str,
    /// A detached fsmount() mount, or a directory or file below one: the child clones and moves it.
    pub tree: BorrowedFd<'a>,
}

/// All that [`compile`] needs.
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
    /// The standard streams.
    pub stdio: Stdio,
    /// A pid namespace to join instead of what the spec says (a pod's own, by its init's ns/pid).
    pub pid_namespace: Option<BorrowedFd<'a>>,
}

/// All that [`compile_exec`] needs.
#[derive(Debug)]
pub struct ExecInputs<'a> {
    /// What to run.
    pub process: &'a Process,
    /// The pidfd of the container's init, whose namespaces are joined.
    pub init: BorrowedFd<'a>,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// The standard streams.
    pub stdio: Stdio,
}

/// A container, or a process in one, as data: what is left to do is [`Plan::spawn`].
#[derive(Debug)]
pub struct Plan {}

/// A process that was cloned and is on its way to execve.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Readable once it is known: EOF when execve succeeded, else one [`Failure`] of [`Failure::SIZE`] bytes.
    pub wire: OwnedFd,
}

/// Why a child did not reach execve: 16 bytes on the wire, rendered by [`Plan::render`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {}

impl Failure {
    /// Its size on the wire.
    pub const SIZE: usize = 16;

    /// Reads the wire's bytes; `None` when they are not a whole record.
    pub fn parse(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// Compiles a container's spec.
pub fn compile(_inputs: Inputs<'_>) -> Result<Plan> {
    Err(Error::failed("engine: not landed yet"))
}

/// Compiles a process to run inside a living container.
pub fn compile_exec(_inputs: ExecInputs<'_>) -> Result<Plan> {
    Err(Error::failed("engine: not landed yet"))
}

/// Starts the init of a shared pid namespace: no exec, no rights, it reaps and waits for SIGTERM.
/// It is ready when its wire reports EOF; containers join by `/proc/<pid>/ns/pid`'s fd or its pidfd.
pub fn spawn_pod_init(_cgroup: &Cgroup) -> Result<Child> {
    Err(Error::failed("engine: not landed yet"))
}

impl Plan {
    /// Clones the child, which walks the plan to its execve. Once per plan. The caller's process has one thread.
    pub fn spawn(&self) -> Result<Child> {
        Err(Error::failed("engine: not landed yet"))
    }

    /// The steps in their order, a line each.
    pub fn describe(&self) -> String {
        String::new()
    }

    /// What the kernel or the machine would not grant and was clamped, for the caller to say once.
    pub fn warnings(&self) -> &[String] {
        &[]
    }

    /// A failure as strace would print it, with a hint where the reader can act. The kind is
    /// `CommandNotFound` or `CommandNotExecutable` when it is the execve that failed so.
    pub fn render(&self, _failure: Failure) -> Error {
        Error::failed("engine: not landed yet")
    }
}
