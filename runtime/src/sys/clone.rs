//! clone3: a child in namespaces and a cgroup of its own from its first instruction.
//!
//! Invariant: only a process with a single thread clones, so that the child's copy of the memory
//! holds no lock that nobody will give back; and a child ends in its closure, never in the caller.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::errno::{Errno, Result};
use super::ns::Namespaces;

// libc gives these as c_int, which the last two do not fit into.
const CLONE_PARENT: u64 = 0x8000;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What clone3 is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The namespaces made for the child.
    pub namespaces: Namespaces,
    /// The unified cgroup it is born in; `None`: the caller's.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A child, as its parent sees it.
#[derive(Debug)]
pub struct Cloned {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd, CLOEXEC.
    pub pidfd: OwnedFd,
}

/// Proof that the calling process has one thread. It stays true: nothing in podrun that clones ever
/// starts a thread.
#[derive(Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// EBUSY when there are more. Looks at the caller's own /proc, so it comes before any visit elsewhere.
    pub fn check() -> Result<Self> {
        // /proc/self/task has a link per thread beside `.` and `..`.
        const LINKS_OF_ONE: u64 = 3;
        match rustix::fs::stat(c"/proc/self/task")?.st_nlink {
            LINKS_OF_ONE => Ok(Self(())),
            _ => Err(Errno::EBUSY),
        }
    }
}

/// Clones a child that runs `child` on a copy of this memory and exits with what it returns. Handlers
/// of signals go back to their defaults in it; ignored and blocked signals, and all descriptors, are
/// inherited.
pub fn clone_child(
    _proof: &SingleThreaded,
    request: &Request<'_>,
    child: impl FnOnce() -> i32,
) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero bytes are a valid clone_args: every field is an integer, and zero means "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND | request.namespaces.bits();
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: without CLONE_VM the child has its own copy of this memory and this stack, as after
    // fork; `args` and `pidfd` outlive the call, and `_proof` says that no other thread holds a lock.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match i32::try_from(Errno::result(pid)?) {
        Ok(0) => exit_now(child()),
        Ok(pid) => {
            // SAFETY: CLONE_PIDFD stored a new descriptor there, which nobody else owns.
            Ok(Cloned { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
        Err(_) => Err(Errno::EINVAL),
    }
}

/// Clones, from within a child that [`clone_child`] made, a child of that one's parent, as [`clone_child`] does. Gives its
/// pid in the caller's pid namespace.
pub fn clone_sibling(namespaces: Namespaces, child: impl FnOnce() -> i32) -> Result<i32> {
    // SAFETY: as in `clone_child`.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // Its exit signal is the caller's own: with CLONE_PARENT none may be given (clone(2)).
    args.flags = CLONE_PARENT | CLONE_CLEAR_SIGHAND | namespaces.bits();
    // SAFETY: without CLONE_VM the child has its own copy of this memory and this stack. The caller is a copy of a process
    // with one thread, so no other thread holds a lock.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match i32::try_from(Errno::result(pid)?) {
        Ok(0) => exit_now(child()),
        Ok(pid) => Ok(pid),
        Err(_) => Err(Errno::EINVAL),
    }
}

/// Ends a child half: no handler of this process's exit runs.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code, returns never and touches no memory of ours.
    unsafe { libc::_exit(code) }
}
