//! Pseudo terminals, and the pipes that stand in for them: a process's standard streams as its parent makes them.
//!
//! Both ends block; the side that must not wait says so for its own (`stream::set_nonblocking`).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::{Error, Result};

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::new(call, errno.raw_os_error())
}

/// A terminal: its master and its peer.
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

/// `/dev/null`, for reading and writing.
pub fn null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(failed("open(\"/dev/null\")"))
}
