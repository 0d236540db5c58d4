//! clone3: a child in namespaces and a cgroup of its own from its first instruction; and clone, by which such a child
//! sends a copy of itself into a pid namespace.
//!
//! Invariant: only a process with a single thread clones, so that no lock is left held in the child's copy of
//! the memory; a child ends in its closure, never in the caller.

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::sys::errno::{Errno, Result};
use crate::sys::kernel::seccomp::Pass;
use crate::sys::process::ns::Namespaces;

// libc gives these as c_int, which the last two do not fit into.
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The request of clone3.
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

/// Proof that the calling process has one thread, and reaps its children itself. It stays true: nothing in podrun that
/// clones ever starts a thread.
#[derive(Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// EBUSY when there are more. Looks at the caller's own /proc, so it comes before any visit elsewhere.
    pub fn check() -> Result<Self> {
        // /proc/self/task has a link per thread beside `.` and `..`.
        const LINKS_OF_ONE: u64 = 3;
        match rustix::fs::stat(c"/proc/self/task")?.st_nlink {
            LINKS_OF_ONE => {}
            _ => return Err(Errno::EBUSY),
        }
        // If an ancestor ignores it, as supervisors do, the kernel reaps children, and their exit is lost.
        // SAFETY: the default action installs no code; podrun has no handler for it.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        Ok(Self(()))
    }
}

/// Proof that the calling process is a child half: a copy of its parent that runs one closure and then execs or exits. So no
/// destructor of what the parent owns runs in it, its table of descriptors is its own, and it has one thread, which is the only
/// one to have this. [`clone3`] alone makes it; it can be neither copied nor sent.
#[derive(Debug)]
pub struct ChildHalf(PhantomData<*mut ()>);

/// Clones a child that runs `child` on a copy of this memory and exits with its result. Signal handlers go back
/// to their defaults in it; ignored and blocked signals, and all descriptors, are inherited.
pub fn clone_child(
    _proof: &SingleThreaded,
    request: &Request<'_>,
    child: impl FnOnce(&ChildHalf) -> i32,
) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `_proof` says that this process has one thread.
    let pid = unsafe { clone3(request, Some(&mut pidfd), child) }?;
    // SAFETY: CLONE_PIDFD stored a new descriptor there, owned by nothing else.
    Ok(Cloned { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// The one clone3: a child for which `child` is all that there is, and its pid for the caller. With `pidfd` that is
/// filled in.
///
/// # Safety
///
/// The process has one thread, or `child` does nothing but system calls: a lock that another thread holds is never
/// given back in the child.
pub(in crate::sys) unsafe fn clone3(
    request: &Request<'_>,
    pidfd: Option<&mut libc::c_int>,
    child: impl FnOnce(&ChildHalf) -> i32,
) -> Result<i32> {
    // SAFETY: all-zero bytes are a valid clone_args: every field is an integer, and zero means "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_CLEAR_SIGHAND | request.namespaces.bits();
    args.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    if let Some(pidfd) = pidfd {
        args.flags |= CLONE_PIDFD;
        args.pidfd = std::ptr::from_mut(pidfd) as u64;
    }
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: without CLONE_VM the child has its own copy of this memory and this stack, as after fork; it
    // never returns from here. `args` and the borrow of `pidfd` outlive the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match i32::try_from(Errno::result(pid)?) {
        Ok(0) => exit_now(child(&ChildHalf(PhantomData))),
        Ok(pid) => Ok(pid),
        Err(_) => Err(Errno::EINVAL),
    }
}

/// A word of memory that a process shares with its child, and not with that child's copies: the kernel writes
/// the pid of [`clone_beside`]'s copy there. The copy has no mapping of it: otherwise a process that can write
/// to the copy's memory could choose the pid that the parent takes for its child.
#[derive(Debug)]
pub struct SharedPid(NonNull<AtomicI32>);

impl SharedPid {
    /// A word that holds no pid yet.
    pub fn new() -> Result<Self> {
        let (length, access) = (size_of::<AtomicI32>(), libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(page.cast()).map(Self).ok_or(Errno::ENOMEM)
    }

    /// Withholds it from later children of the caller. The child's first act.
    pub fn keep_from_copies(&self, _half: &ChildHalf) -> Result<()> {
        let page = self.0.as_ptr().cast();
        // SAFETY: `new` mapped this page, and MADV_DONTFORK changes nothing of it for this process.
        Errno::result(unsafe { libc::madvise(page, size_of::<AtomicI32>(), libc::MADV_DONTFORK) }.into())
            .map(drop)
    }

    /// The pid, once there is one.
    pub fn get(&self) -> Option<i32> {
        // SAFETY: the page is mapped as long as `self` lives, begins with zeros, and is aligned for any type.
        // The one process that lacks the mapping is `clone_beside`'s copy, which goes on in a walk that has let
        // go of it.
        let pid = unsafe { self.0.as_ref() }.load(Ordering::Acquire);
        (pid > 0).then_some(pid)
    }
}

impl Drop for SharedPid {
    fn drop(&mut self) {
        // SAFETY: `new` mapped this page, and no reference to it outlives `get`. A child has a mapping of its own.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicI32>()) };
    }
}

/// The fixed flags of [`clone_beside`].
pub(in crate::sys) const BESIDE: libc::c_int = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;

/// The process in which [`clone_beside`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The caller.
    Caller,
    /// The copy.
    Copy,
}

/// Clones, within a child of [`clone_child`], a copy of the caller that goes on from here as a child of the
/// caller's parent, in the pid namespace chosen by setns or unshare. `pid` holds its number in the caller's pid
/// namespace before it runs. A filter may allow the call for its `pass`.
///
/// By clone: a filter cannot inspect clone3's arguments, and profiles therefore refuse it.
pub fn clone_beside(_half: &ChildHalf, pid: &SharedPid, pass: Pass) -> Result<Side> {
    // The flags come first on every architecture that podrun is built for; the kernel writes the pid by the caller's mapping. Without a signal of its own: with CLONE_PARENT
    // the copy's is the caller's (clone(2)).
    // SAFETY: without CLONE_VM the copy has its own memory and goes on on its own stack, which a null stack asks for. By
    // `_half` the caller has one thread, so no lock is held, and the copy is a child half too. The kernel writes one word, to
    // the page that `pid` keeps mapped in this process.
    let cloned = unsafe {
        libc::syscall(libc::SYS_clone, BESIDE, 0_usize, pid.0.as_ptr(), 0_usize, 0_usize, pass.number())
    };
    Ok(if Errno::result(cloned)? == 0 { Side::Copy } else { Side::Caller })
}

/// Ends a child half: no handler of this process's exit runs.
fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code, returns never and touches no memory of ours.
    unsafe { libc::_exit(code) }
}
