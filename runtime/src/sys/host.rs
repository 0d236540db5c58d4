//! What the kernel says of the whole machine.

/// Bytes of memory that the kernel can use: /proc/meminfo's MemTotal, by sysinfo(2).
pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram as u64;
    total.saturating_mul(u64::from(info.mem_unit))
}
