//! Programs and messages for the kernel: BPF, seccomp, netlink; and its description of the machine.
//!
//! When: at any time, by any thread; of [`netlink`] a socket by one. A child half calls `seccomp::install`
//! alone, which allocates nothing.
//! Kept: descriptors, and libseccomp's rules until they are a program.

pub mod bpf;
pub mod libseccomp;
pub mod netlink;
pub mod seccomp;

/// Bytes of memory that the kernel can use: /proc/meminfo's MemTotal, by sysinfo(2).
pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram as u64;
    total.saturating_mul(u64::from(info.mem_unit))
}

/// The kernel's version, as far as features are told by it: `(6, 12)`.
pub fn release() -> (u32, u32) {
    let name = rustix::system::uname();
    let text = name.release().to_string_lossy();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
