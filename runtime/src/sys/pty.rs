//! Pseudo terminals, and the pipes that stand in for them: a process's standard streams seen from its parent.
//!
//! Invariant: this process's end never blocks, the other one does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::{Error, Result};

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::new(call, errno.raw_os_error())
}

/// A terminal: this process's master, not blocking, and the peer.
pub fn open() -> Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).map_err(failed("open(\"/dev/ptmx\")"))?;
    rustix::pty::unlockpt(&master).map_err(failed("ioctl(TIOCSPTLCK)"))?;
    let peer = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(failed("ioctl(TIOCGPTPEER)"))?;
    Ok((master, peer))
}

/// Sets a terminal's window.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).map_err(failed("ioctl(TIOCSWINSZ)"))
}

/// A pipe: its read end and its write end, both blocking.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe2(O_CLOEXEC)"))
}

/// Makes reads and writes of `fd` return instead of waiting.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK).map_err(failed("fcntl(F_SETFL, O_NONBLOCK)"))
}

/// What reading or writing a stream came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// None, as it would wait.
    Later,
    /// None, for ever: the other end is closed, or the stream is broken.
    Closed,
}

/// Reads from a stream that does not block. A terminal whose peer is closed reports EIO: that is its end.
pub fn read(fd: BorrowedFd<'_>, bytes: &mut [u8]) -> Moved {
    loop {
        return match rustix::io::read(fd, &mut *bytes) {
            Ok(0) => Moved::Closed,
            Ok(count) => Moved::Bytes(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Moved::Later,
            Err(_) => Moved::Closed,
        };
    }
}

/// Writes to a stream that does not block. SIGPIPE is ignored by this process.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Moved {
    loop {
        return match rustix::io::write(fd, bytes) {
            Ok(count) => Moved::Bytes(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Moved::Later,
            Err(_) => Moved::Closed,
        };
    }
}

/// `/dev/null`, for reading and writing.
pub fn null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(failed("open(\"/dev/null\")"))
}

/// Another descriptor for the same end.
pub fn duplicate(fd: impl AsFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(failed("fcntl(F_DUPFD_CLOEXEC)"))
}
