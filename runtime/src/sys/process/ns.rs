//! Namespaces: made by unshare, joined by setns through an nsfs descriptor or a pidfd.
//!
//! Invariant: functions for a child half allocate nothing: all except [`is_callers`], [`current_network`] and
//! [`visit_network`].

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use crate::sys::errno::{Errno, Result};

/// A set of namespace kinds (the CLONE_NEW* bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces(u64);

impl Namespaces {
    /// No kind at all.
    pub const NONE: Self = Self(0);
    /// The mount table.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// Process ids.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// The network.
    pub const NET: Self = Self(libc::CLONE_NEWNET as u64);
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// The hostname.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// Users, groups and capabilities.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// The monotonic clock and the time since boot; only by [`unshare`] and [`setns`].
    pub const TIME: Self = Self(libc::CLONE_NEWTIME as u64);
    /// The view of the cgroup trees.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no kind is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(in crate::sys) const fn bits(self) -> u64 {
        self.0
    }
}

/// Moves the caller into new namespaces; for [`Namespaces::PID`] its later children.
pub fn unshare(kinds: Namespaces) -> Result<()> {
    // SAFETY: no memory is passed. A `Namespaces` holds no bit of CLONE_FILES or CLONE_VM, so the sharing of
    // descriptors and memory does not change.
    Errno::result(unsafe { libc::syscall(libc::SYS_unshare, kinds.bits()) }).map(drop)
}

/// Joins the namespace `fd` (nsfs), of one of `kinds`, or those of a process (pidfd).
pub fn setns(fd: BorrowedFd<'_>, kinds: Namespaces) -> Result<()> {
    // SAFETY: no memory is passed, and `fd` is open until the call returns.
    Errno::result(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kinds.bits()) }).map(drop)
}

/// The kind of the namespace that `fd` (nsfs) is; ENOTTY when it is none.
pub fn kind_of(fd: BorrowedFd<'_>) -> Result<Namespaces> {
    // SAFETY: NS_GET_NSTYPE reads no argument; ENOTTY for any other descriptor.
    let kind = Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) }.into())?;
    u64::try_from(kind).map(Namespaces).map_err(|_| Errno::EINVAL)
}

/// Whether `fd` (nsfs) is the namespace of one `kind` that the caller is in.
pub fn is_callers(fd: BorrowedFd<'_>, kind: Namespaces) -> crate::sys::Result<bool> {
    let path = match kind {
        Namespaces::MOUNT => "/proc/self/ns/mnt",
        Namespaces::PID => "/proc/self/ns/pid",
        Namespaces::NET => "/proc/self/ns/net",
        Namespaces::IPC => "/proc/self/ns/ipc",
        Namespaces::UTS => "/proc/self/ns/uts",
        Namespaces::USER => "/proc/self/ns/user",
        Namespaces::TIME => "/proc/self/ns/time",
        _ => "/proc/self/ns/cgroup",
    };
    let stat = |errno: rustix::io::Errno| Errno::from(errno).during(format!("stat({path:?})"));
    let own = rustix::fs::stat(path).map_err(stat)?;
    let other = rustix::fs::fstat(fd).map_err(stat)?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// The network namespace of the calling thread.
pub fn current_network() -> crate::sys::Result<File> {
    const PATH: &str = "/proc/thread-self/ns/net";
    File::open(PATH)
        .map_err(|error| crate::sys::Error::new(format!("open({PATH:?})"), error.raw_os_error().unwrap_or(0)))
}

/// Runs `work` in the network namespace `namespace` and returns, or fails: then the caller must exit. For
/// interfaces that name no namespace of their own, such as /proc/sys and `bind`.
pub fn visit_network<T>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T) -> crate::sys::Result<T> {
    let enter =
        |namespace| setns(namespace, Namespaces::NET).map_err(|errno| errno.during("setns(CLONE_NEWNET)"));
    let home = current_network()?;
    enter(namespace)?;
    let result = work();
    enter(home.as_fd())?;
    Ok(result)
}
