//! A child half's table of descriptors, by number: closing, keeping and passing on.
//!
//! Invariant: each function that takes a number requires a [`ChildHalf`]: the owners of the numbers are in the
//! child's copy of its parent's memory, and are not dropped there. The parent has a table of its own. Nothing
//! here allocates.

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd as _, OwnedFd, RawFd};

use super::clone::ChildHalf;
use crate::sys::errno::{Errno, Result};
use crate::sys::kernel::seccomp::Pass;

/// Makes `number` a copy of `fd` that survives execve.
pub fn install_at(_half: &ChildHalf, fd: BorrowedFd<'_>, number: RawFd) -> Result<()> {
    // SAFETY: no memory is passed. The former descriptor `number` is closed: its owner never drops it, by
    // `_half`.
    let returned = unsafe {
        if fd.as_raw_fd() == number {
            libc::fcntl(number, libc::F_SETFD, 0)
        } else {
            libc::dup3(fd.as_raw_fd(), number, 0)
        }
    };
    Errno::result(returned.into()).map(drop)
}

/// Moves a descriptor to `number`, replacing any there, CLOEXEC. The old number stays open.
pub fn move_to(_half: &ChildHalf, fd: BorrowedFd<'_>, number: RawFd) -> Result<BorrowedFd<'static>> {
    // SAFETY: no memory is passed. The former descriptor `number` is closed: its owner never drops it, by
    // `_half`.
    let returned = unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) };
    Errno::result(returned.into())?;
    // SAFETY: dup3 has just opened it, and it has no owner: it is open until this half closes it by number, execs or exits.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// A descriptor that stays open until this process execs or exits.
pub fn keep_until_exec(_half: &ChildHalf, fd: OwnedFd) -> BorrowedFd<'static> {
    // SAFETY: `fd` was open and has no owner any more: it is open until this half closes it by number, execs or exits.
    unsafe { BorrowedFd::borrow_raw(fd.into_raw_fd()) }
}

/// Closes one descriptor.
pub fn close(_half: &ChildHalf, number: RawFd) -> Result<()> {
    // SAFETY: no memory is passed, and the owner of this number never drops it, by `_half`.
    Errno::result(unsafe { libc::close(number) }.into()).map(drop)
}

/// Closes a seccomp agent's descriptor once the filter is in force, which may let the call by for its `pass`.
pub fn close_listener(_half: &ChildHalf, number: RawFd, pass: Pass) {
    // SAFETY: no memory is passed, and the owner of this number never drops it, by `_half`.
    unsafe { libc::syscall(libc::SYS_close, number, 0, 0, 0, 0, pass.number()) };
}

/// Closes every descriptor from `first` to `last`.
pub fn close_range(_half: &ChildHalf, first: RawFd, last: RawFd) -> Result<()> {
    // SAFETY: no memory is passed, and the owners of these numbers never drop them, by `_half`.
    unsafe { range(first.cast_unsigned(), last.cast_unsigned(), 0) }
}

/// Closes every descriptor from `first` on.
pub fn close_from(_half: &ChildHalf, first: RawFd) -> Result<()> {
    // SAFETY: as above.
    unsafe { range(first.cast_unsigned(), libc::c_uint::MAX, 0) }
}

/// Closes every descriptor from `first` on as soon as the caller becomes another program.
pub fn close_from_at_exec(_half: &ChildHalf, first: RawFd) -> Result<()> {
    // SAFETY: nothing is closed before the execve, which no owner outlives.
    unsafe { range(first.cast_unsigned(), libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }
}

/// Whether the kernel, and any filter around this process, let a child half close its descriptors: tried on an
/// empty range.
pub fn can_close() -> Result<()> {
    // SAFETY: the kernel gives no descriptor the highest number of all.
    unsafe { range(libc::c_uint::MAX, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }
}

/// close_range(2).
///
/// # Safety
/// With no flags no owner of these descriptors may use or drop them any more.
unsafe fn range(first: libc::c_uint, last: libc::c_uint, flags: libc::c_uint) -> Result<()> {
    // SAFETY: three integers; the caller promises about the descriptors.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}
