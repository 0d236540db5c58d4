//! Credentials: ids, groups, capability sets, securebits, no_new_privs, dumpability.
//!
//! Invariant: every call acts on the calling thread alone and goes straight to the kernel (libc's
//! own setuid would signal other threads). Nothing here allocates.

use crate::sys::errno::{Errno, Result};

/// Capability sets, a bit per capability as the kernel numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySets {
    /// The thread's effective set.
    pub effective: u64,
    /// The set it can make effective.
    pub permitted: u64,
    /// The set that passes through execve of a file that names it.
    pub inheritable: u64,
}

fn prctl(option: libc::c_int, one: u64, two: u64) -> Result<libc::c_int> {
    // SAFETY: the options used in this file take integers, never a pointer to our memory.
    let returned = unsafe { libc::prctl(option, one, two, 0_u64, 0_u64) };
    if returned < 0 { Err(Errno::last()) } else { Ok(returned) }
}

/// Replaces the supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length are of one slice of gid_t, alive during the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets the real, effective and saved group.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: three integers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets the real, effective and saved user.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: three integers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Whether permitted capabilities outlive a change from user 0 to another.
pub fn keep_capabilities(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}

/// Sets the three sets of the calling thread.
pub fn set_capabilities(sets: CapabilitySets) -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    /// _LINUX_CAPABILITY_VERSION_3: two words a set.
    const VERSION: u32 = 0x2008_0522;
    let word = |shift: u32| {
        let half = |set: u64| u32::try_from(set >> shift & u64::from(u32::MAX)).unwrap_or(0);
        Data {
            effective: half(sets.effective),
            permitted: half(sets.permitted),
            inheritable: half(sets.inheritable),
        }
    };
    let header = Header { version: VERSION, pid: 0 };
    let data = [word(0), word(32)];
    // SAFETY: both structures have the layout of version 3 and live until the call returns. The kernel writes to the header of
    // a version alone that it does not know, and knows this one since 2.6.26.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Makes all that is permitted effective, and `inheritable` the inheritable set.
pub fn hold_capabilities(inheritable: u64) -> Result<()> {
    let permitted = rustix::thread::capabilities(None)?.permitted.bits();
    set_capabilities(CapabilitySets { effective: permitted, permitted, inheritable })
}

/// Calls `work` with exactly `effective` as the effective set, a subset of the permitted one.
pub fn with_effective(effective: u64, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let held = rustix::thread::capabilities(None)?;
    let sets = |effective| CapabilitySets {
        effective,
        permitted: held.permitted.bits(),
        inheritable: held.inheritable.bits(),
    };
    if held.effective.bits() == effective {
        return work();
    }
    set_capabilities(sets(effective))?;
    let done = work();
    set_capabilities(sets(held.effective.bits()))?;
    done
}

/// Whether the caller's effective set holds a capability (by the kernel's number).
pub fn has_capability(number: u32) -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| number < 64 && sets.effective.bits() & (1 << number) != 0)
}

/// Whether the caller is a plain user: neither root nor given root's capabilities.
pub fn is_plain_user() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    effective_uid() != 0 && !has_capability(CAP_SYS_ADMIN)
}

/// The caller's effective user.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The caller's effective group.
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Whether it may raise hard limits and lower oom_score_adj: capabilities in a user namespace of its own are none there.
pub fn may_raise_limits() -> bool {
    has_capability(CAP_SYS_RESOURCE) && crate::sys::process::userns::is_initial()
}

/// CAP_SYS_RESOURCE: needed to raise a hard limit or lower oom_score_adj.
const CAP_SYS_RESOURCE: u32 = 24;

/// Drops from the bounding set all that `keep` does not hold; ends at the last one that the kernel knows.
pub fn limit_bounding_set(keep: u64) -> Result<()> {
    for number in (0..64_u32).filter(|number| keep & (1 << number) == 0) {
        match prctl(libc::PR_CAPBSET_DROP, number.into(), 0) {
            Err(Errno::EINVAL) => return Ok(()),
            other => other?,
        };
    }
    Ok(())
}

/// Makes the ambient set exactly `wanted`.
pub fn set_ambient(wanted: u64) -> Result<()> {
    let (clear, raise) = (libc::PR_CAP_AMBIENT_CLEAR_ALL, libc::PR_CAP_AMBIENT_RAISE);
    prctl(libc::PR_CAP_AMBIENT, clear.cast_unsigned().into(), 0)?;
    for number in (0..64_u32).filter(|number| wanted & (1 << number) != 0) {
        prctl(libc::PR_CAP_AMBIENT, raise.cast_unsigned().into(), number.into())?;
    }
    Ok(())
}

/// From now on no execve can gain rights.
pub fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Forbids ptrace and /proc/<pid>/{fd,root,exe,…} to all but the capable; until execve.
pub fn set_not_dumpable() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0).map(drop)
}

/// Asks for SIGKILL when the parent dies. A change of credentials forgets it.
pub fn die_with_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL.cast_unsigned().into(), 0).map(drop)
}

/// Takes [`die_with_parent`] back.
pub fn outlive_parent() -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, 0, 0).map(drop)
}

/// Gives the caller a new, empty session keyring that cannot be joined by name. The caller decides about ENOSYS
/// and EDQUOT.
pub fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing else is passed.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    })
    .map(drop)
}

/// The caller's permitted set: the most that it can give away.
pub fn permitted() -> u64 {
    rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits())
}
