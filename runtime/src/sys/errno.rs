//! An errno without words: the error of functions that a child half may call after clone.
//!
//! Invariant: making, copying and returning one never allocates.

use std::fmt;

use super::Error;

/// `Result` with a bare [`Errno`].
pub type Result<T> = std::result::Result<T, Errno>;

/// The kernel's errno. A caller that may allocate turns it into an [`Error`] by naming the call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// No such file or directory.
    pub const ENOENT: Self = Self(libc::ENOENT);
    /// More arguments and variables than the kernel takes.
    pub const E2BIG: Self = Self(libc::E2BIG);
    /// Something of this name is there.
    pub const EEXIST: Self = Self(libc::EEXIST);
    /// Permission denied.
    pub const EACCES: Self = Self(libc::EACCES);
    /// Operation not permitted.
    pub const EPERM: Self = Self(libc::EPERM);
    /// A signal came first.
    pub const EINTR: Self = Self(libc::EINTR);
    /// Try again.
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    /// No such descriptor.
    pub const EBADF: Self = Self(libc::EBADF);
    /// The peer is gone, with data unread.
    pub const ECONNRESET: Self = Self(libc::ECONNRESET);
    /// No listener.
    pub const ECONNREFUSED: Self = Self(libc::ECONNREFUSED);
    /// Device or resource busy.
    pub const EBUSY: Self = Self(libc::EBUSY);
    /// Invalid argument.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// A pointer that leads nowhere.
    pub const EFAULT: Self = Self(libc::EFAULT);
    /// Not a directory.
    pub const ENOTDIR: Self = Self(libc::ENOTDIR);
    /// Is a directory.
    pub const EISDIR: Self = Self(libc::EISDIR);
    /// A path longer than the kernel takes.
    pub const ENAMETOOLONG: Self = Self(libc::ENAMETOOLONG);
    /// A symbolic or magic link where none may be.
    pub const ELOOP: Self = Self(libc::ELOOP);
    /// No such process.
    pub const ESRCH: Self = Self(libc::ESRCH);
    /// Not an executable format.
    pub const ENOEXEC: Self = Self(libc::ENOEXEC);
    /// The kernel lacks the call.
    pub const ENOSYS: Self = Self(libc::ENOSYS);
    /// Out of memory; also: the pid namespace is dying.
    pub const ENOMEM: Self = Self(libc::ENOMEM);
    /// A number that is out of range.
    pub const ERANGE: Self = Self(libc::ERANGE);
    /// The object is not of a kind that can do this.
    pub const EOPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    /// No space left on the device; also: a limit of namespaces or users.
    pub const ENOSPC: Self = Self(libc::ENOSPC);
    /// The device is gone; also: nothing of this kind here.
    pub const ENODEV: Self = Self(libc::ENODEV);
    /// A write that took only a part.
    pub const EIO: Self = Self(libc::EIO);
    /// The path leaves where it must stay.
    pub const EXDEV: Self = Self(libc::EXDEV);
    /// A read-only file system.
    pub const EROFS: Self = Self(libc::EROFS);

    /// The error of `call`, as strace would print it.
    pub fn during(self, call: impl Into<String>) -> Error {
        Error::new(call, self.0)
    }

    /// The errno of the libc call that just returned -1.
    pub(super) fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// A raw syscall's result.
    pub(super) fn result(returned: libc::c_long) -> Result<libc::c_long> {
        if returned < 0 { Err(Self::last()) } else { Ok(returned) }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::errno_name(self.0))
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}
