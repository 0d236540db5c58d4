//! User namespaces beside the caller's: made without a process in them, entered, and asked about.
//!
//! Invariant: a namespace is given away with its ids mapped or not at all; the process for which it was made is
//! over by then.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::ns::{self, Namespaces};
use super::pidfd;
use crate::sys::child::clone::{Request, SingleThreaded, clone_child};
use crate::sys::child::{creds, descriptors, exec};
use crate::sys::{Errno, Error};

/// A new user namespace, with ids mapped by `map`: it gets the pid of a process inside. The caller's process
/// has one thread.
pub fn made<E: From<Error>>(map: impl FnOnce(i32) -> Result<(), E>) -> Result<OwnedFd, E> {
    let proof = SingleThreaded::check().map_err(|errno| errno.during("stat(/proc/self/task)"))?;
    let (own, theirs) = exec::wire_with_answer().map_err(|errno| errno.during("socketpair(AF_UNIX)"))?;
    let request = Request { namespaces: Namespaces::USER, cgroup: None };
    let number = own.as_raw_fd();
    let child = clone_child(&proof, &request, |half| {
        // With its copy of our end open it would never see us go.
        let _ = creds::die_with_parent().and_then(|()| descriptors::close_range(half, number, number));
        let _ = exec::wait_for_byte(theirs.as_fd());
        0
    });
    let child = child.map_err(|errno| errno.during("clone3(CLONE_NEWUSER)"))?;
    let made = map(child.pid).and_then(|()| Ok(of_process(child.pid)?));
    drop(own);
    let _ = pidfd::reap(child.pidfd.as_fd(), pidfd::Wait::Block);
    made
}

/// The user namespace of a process.
pub fn of_process(pid: i32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Errno::from(errno).during(format!("open({path:?})")))
}

/// The namespace in which `space` was made. EPERM where that is outside of the caller's.
pub fn parent_of(space: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    // SAFETY: NS_GET_PARENT reads no argument; any other descriptor is an error.
    let parent = Errno::result(unsafe { libc::ioctl(space.as_raw_fd(), libc::NS_GET_PARENT) }.into());
    match parent.map(i32::try_from) {
        // SAFETY: the kernel has just made `fd`, so nothing else owns it.
        Ok(Ok(fd)) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Ok(Err(_)) => Err(Errno::EINVAL.during("ioctl(NS_GET_PARENT)")),
        Err(errno) => Err(errno.during("ioctl(NS_GET_PARENT)")),
    }
}

/// Moves the caller, which has one thread, into `space` and into a mount namespace owned by it. The caller has
/// all capabilities there, and keeps them over its next execve, whatever its user's id is.
pub fn enter(space: BorrowedFd<'_>) -> Result<(), Error> {
    ns::setns(space, Namespaces::USER).map_err(|errno| errno.during("setns(CLONE_NEWUSER)"))?;
    ns::unshare(Namespaces::MOUNT).map_err(|errno| errno.during("unshare(CLONE_NEWNS)"))?;
    let all = creds::permitted();
    creds::hold_capabilities(all).map_err(|errno| errno.during("capset()"))?;
    creds::set_ambient(all).map_err(|errno| errno.during("prctl(PR_CAP_AMBIENT)"))
}

/// Whether the caller's user namespace is the machine's, or equivalent: every id maps to itself. Limits that
/// the kernel guards by its first namespace cannot be raised elsewhere.
pub fn is_initial() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether the caller's user namespace has a user 0.
pub fn has_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| line.split_ascii_whitespace().next() == Some("0"))
}

/// Whether supplementary groups can be set in the caller's user namespace and in its children: not where a
/// plain user has mapped only their own group (user_namespaces(7)).
pub fn may_set_groups() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").map_or(true, |word| word.trim() != "deny")
}
