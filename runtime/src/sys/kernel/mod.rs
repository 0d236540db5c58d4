//! Programs and messages handed to the kernel: BPF, seccomp, netlink; and what it says of the machine.

pub mod bpf;
pub mod host;
pub mod libseccomp;
pub mod netlink;
pub mod seccomp;
