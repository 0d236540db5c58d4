//! The OCI container engine: a runtime-spec `Spec` is compiled into a [`Plan`], an array of steps in
//! security order, which one clone3 and its child replay up to execve.
//!
//! Invariant: all that can fail for a user's reasons is decided in [`compile`], before any process
//! exists; the child half only replays. The engine knows no pod, image or network.

//!
//! `compile` decides (process, mounts, devices, options, refuse), `plan` is the data, `spawn` the
//! parent half, `init` the child half, `failure` the sixteen bytes between them. `seccomp` makes filters.

mod compile;
mod content;
mod devices;
mod failure;
mod filesystems;
mod hints;
mod idmap;
mod init;
mod labels;
mod mounts;
mod nodes;
mod options;
mod placement;
mod plan;
mod process;
mod refuse;
mod seccomp;
mod sources;
mod spawn;
pub mod sysctl;
mod terminal;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespace, Process, Spec, State};

use crate::cgroup::Cgroup;
pub use compile::{compile, compile_exec, compile_pod_init};
pub use devices::default_device_rules;
pub use failure::{Failure, Word};
pub use hints::NO_MEMORY;
pub use mounts::{check_source, is_bind, make_directory};
pub use nodes::Nodes;
pub use options::words as mount_options;
pub use plan::{Moment, Plan};
pub use process::{all_capabilities, all_known_capabilities};
pub use seccomp::{check as check_seccomp, features as seccomp_features};
pub use spawn::{Child, KILLED, PATIENCE};
pub use terminal::{Console, Terminal, terminal};

/// The kinds of namespace that a spec may name.
pub const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// The modes of `linux.memoryPolicy`.
pub const MEMORY_POLICY_MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
];

/// The flags of `linux.memoryPolicy`.
pub const MEMORY_POLICY_FLAGS: [&str; 3] =
    ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

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
    /// A detached mount that is this container's alone: the child moves it.
    pub tree: BorrowedFd<'a>,
    /// Whether [`check_source`] was asked about it, by a process that may wait for its file system.
    pub checked: bool,
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
    /// The `tasks` files by which it joins its groups in resctrl, in their order, for a spec with `linux.intelRdt`.
    pub resctrl: Vec<OwnedFd>,
    /// The standard streams.
    pub stdio: Stdio,
    /// What is mounted of the terminal that they are, where they are one ([`terminal()`]).
    pub console: Option<Console>,
    /// What files are covered with ([`Nodes::mask`]).
    pub null: Option<OwnedFd>,
    /// A pid namespace to be born in instead of what the spec says: its nsfs descriptor, or the pidfd
    /// of a pod's own init.
    pub pid_namespace: Option<BorrowedFd<'a>>,
    /// The folder in which compiled seccomp programs are kept; `None`: each is compiled anew.
    pub programs: Option<&'a Path>,
    /// What a seccomp agent is told of the container, with the status `creating` and no pid; without
    /// it a filter that asks one is refused.
    pub state: Option<&'a State>,
    /// How long it is bound to the caller's life.
    pub tie: Tie<'a>,
    /// Whether it pauses at [`Moment::Mounted`].
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

/// All that [`compile_exec`] needs.
#[derive(Debug)]
pub struct ExecInputs<'a> {
    /// What to run.
    pub process: &'a Process,
    /// The program, where it is another than the first of `process.args`.
    pub program: Option<&'a str>,
    /// The pidfd of the container's init, whose namespaces are joined.
    pub init: BorrowedFd<'a>,
    /// The container's `linux.namespaces`: those to join. What is not listed is the caller's too.
    pub namespaces: &'a [LinuxNamespace],
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// As in [`Inputs`].
    pub resctrl: Vec<OwnedFd>,
    /// The standard streams.
    pub stdio: Stdio,
    /// The container's `linux`, of which the process shares what belongs to processes (seccomp, memory policy,
    /// personality); `None`: nothing of it.
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
