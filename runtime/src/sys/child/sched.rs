//! Where and when a process runs: its scheduler, I/O priority, CPUs, memory nodes, and its personality.
//!
//! Invariant: every call acts on the calling thread alone. Nothing here allocates.

use crate::sys::errno::{Errno, Result};

pub use libc::{
    MPOL_BIND, MPOL_DEFAULT, MPOL_INTERLEAVE, MPOL_LOCAL, MPOL_PREFERRED, SCHED_BATCH, SCHED_DEADLINE,
    SCHED_FIFO, SCHED_IDLE, SCHED_OTHER, SCHED_RR,
};

/// The settings of sched_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scheduling {
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH: -20 to 19.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR: 1 to 99.
    pub priority: u32,
    /// For SCHED_DEADLINE, in nanoseconds, as the next two.
    pub runtime: u64,
    /// Until when the runtime must have been had.
    pub deadline: u64,
    /// How often.
    pub period: u64,
}

/// Whether a child has its parent's: with SCHED_DEADLINE the kernel refuses to fork, by the flag a child begins anew
/// (sched(7)).
pub fn is_inherited(wanted: Scheduling) -> bool {
    let resets = wanted.flags & u64::try_from(libc::SCHED_FLAG_RESET_ON_FORK).unwrap_or(0) != 0;
    wanted.policy != SCHED_DEADLINE.cast_unsigned() && !resets
}

/// Sets the scheduler of the calling thread.
pub fn set_scheduling(wanted: Scheduling) -> Result<()> {
    /// The kernel's `struct sched_attr` of its first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = wanted;
    let size = size_of::<Attributes>();
    let size = u32::try_from(size).map_err(|_| Errno::EINVAL)?;
    let attributes = Attributes { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: `attributes` is a whole sched_attr of the size that it names, and lives until the call returns.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

/// Sets the I/O priority of the calling thread: class and level, as ioprio_set(2) packs them.
pub fn set_io_priority(packed: i32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: three integers.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, packed) }).map(drop)
}

/// Lets the calling thread run on the CPUs of the set bits.
pub fn set_affinity(cpus: &[u64]) -> Result<()> {
    // SAFETY: pointer and size in bytes are of one slice, alive during the call, which the kernel only reads.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr()) })
        .map(drop)
}

/// Takes the calling thread's memory from the nodes of the set bits, by `mode` (MPOL_*).
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    // The kernel reads one bit less than it is told, and of none it wants no pointer.
    let (mask, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the kernel reads as many whole words as hold `bits - 1` bits: those of the slice; of a null
    // pointer nothing.
    Errno::result(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}

/// Sets the execution domain: PER_*.
pub fn set_personality(domain: u32) -> Result<()> {
    // SAFETY: an integer.
    Errno::result(unsafe { libc::personality(domain.into()) }.into()).map(drop)
}
