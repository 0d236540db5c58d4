//! Bytes to and from pipes, terminals and files.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::sys::{Error, Result};

/// Reads available bytes, at most `buffer`'s length. 0: the end; `None`: it would block.
pub fn read(from: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<usize>> {
    outcome(|| rustix::io::read(from, &mut *buffer), "read(stream)")
}

/// Writes as much of `bytes` as fits. `None`: it would block.
pub fn write(to: BorrowedFd<'_>, bytes: &[u8]) -> Result<Option<usize>> {
    outcome(|| rustix::io::write(to, bytes), "write(stream)")
}

fn outcome(mut act: impl FnMut() -> rustix::io::Result<usize>, call: &str) -> Result<Option<usize>> {
    loop {
        return match act() {
            Ok(count) => Ok(Some(count)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(Error::new(call, errno.raw_os_error())),
        };
    }
}

/// Makes reads and writes of this open file give up instead of waiting.
pub fn set_nonblocking(stream: BorrowedFd<'_>) -> Result<()> {
    let failed = |errno: Errno| Error::new("fcntl(stream, F_SETFL, O_NONBLOCK)", errno.raw_os_error());
    let flags = rustix::fs::fcntl_getfl(stream).map_err(failed)?;
    rustix::fs::fcntl_setfl(stream, flags | OFlags::NONBLOCK).map_err(failed)
}

/// Another descriptor, close-on-exec, of the same open file.
pub fn duplicate(stream: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(stream, 3)
        .map_err(|errno| Error::new("fcntl(stream, F_DUPFD_CLOEXEC)", errno.raw_os_error()))
}
