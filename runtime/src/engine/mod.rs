//! The OCI container engine: a runtime-spec `Spec` is compiled into a [`Plan`], an array of steps in
//! security order, which one clone3 and its child replay up to execve.
//!
//! Invariant: all that can fail for a user's reasons is decided in [`compile`], before any process
//! exists; the child half only replays. The engine knows no pod, image or network.
//!
//! Each file uses only those before it:
//! - records and inputs: `process_id`, `held_mounts`, `inputs` (the caller's), `paths` (the spec's), `failure` (the child's sixteen bytes);
//! - the plan, and the contents of its steps: `content`, `seccomp`, `plan`;
//! - its execution: `init` is the child half, `hints` and `render` put its failures into words, `spawn` is the parent half;
//! - the decisions about its steps: `options`, `labels`, `placement`, `idmap`, `nodes`, `devices`, `filesystems`, `terminal`,
//!   `namespaces`, `sources`, `mounts`, `process`, `sysctl`, `refuse`;
//! - their order: `compile`.

mod compile;
mod content;
mod devices;
mod failure;
mod filesystems;
mod held_mounts;
mod hints;
mod idmap;
mod init;
mod inputs;
mod labels;
mod mounts;
mod namespaces;
mod nodes;
mod options;
mod paths;
mod placement;
mod plan;
mod process;
mod process_id;
mod refuse;
mod render;
mod seccomp;
mod sources;
mod spawn;
pub mod sysctl;
mod terminal;

pub use compile::{compile, compile_exec, compile_pod_init};
pub use devices::default_device_rules;
pub use failure::{Failure, Moment, Word};
pub use held_mounts::HeldMounts;
pub use hints::NO_MEMORY;
pub use inputs::{Attached, Console, ExecInputs, Inputs, Rootfs, Stdio, Tie};
pub use mounts::{check_source, is_bind, make_directory};
pub use nodes::Nodes;
pub use options::words as mount_options;
pub use plan::Plan;
pub use process::{all_capabilities, all_known_capabilities};
pub use process_id::ProcessId;
pub use seccomp::{check as check_seccomp, features as seccomp_features};
pub use spawn::{Child, KILLED, PATIENCE};
pub use terminal::{Terminal, terminal};

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
