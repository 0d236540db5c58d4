//! Pseudo terminals, and the pipes that stand in for them: a process's standard streams as its parent makes them.
//!
//! Both ends block; the side that must not wait says so for its own (`stream::set_nonblocking`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::{Error, Result};

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::new(call, errno.raw_os_error())
}

const FLAGS: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY).union(OpenptFlags::CLOEXEC);

/// A terminal: its master and its peer.
pub fn open() -> Result<(OwnedFd, OwnedFd)> {
    let master = rustix::pty::openpt(FLAGS).map_err(failed("open(\"/dev/ptmx\")"))?;
    with_peer(master)
}

/// A terminal of the devpts that stands in the tree `root`, which may be anybody's: its name in /dev/pts means
/// something there. Fails where there is no such devpts.
pub fn open_in(root: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let root = fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open(root)"))?;
    open_below(root.as_fd(), "dev/pts/ptmx")
}

/// A terminal of the devpts whose mount is `devpts`.
pub fn open_of(devpts: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    open_below(devpts, "ptmx")
}

fn open_below(folder: BorrowedFd<'_>, ptmx: &str) -> Result<(OwnedFd, OwnedFd)> {
    const DEVPTS: i64 = 0x1cd1;
    let call = "openat2(\"ptmx\")";
    // Looked at before it is opened: what stands there may be anything.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found = fs::openat2(folder, ptmx, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(failed(call))?;
    let is_devpts = fs::fstatfs(&found).map_err(failed(call))?.f_type == DEVPTS;
    if !is_devpts || fs::fstat(&found).map_err(failed(call))?.st_rdev != fs::makedev(5, 2) {
        return Err(failed(call)(Errno::NOTTY));
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    with_peer(fs::open(path, flags, Mode::empty()).map_err(failed("open(\"ptmx\")"))?)
}

fn with_peer(master: OwnedFd) -> Result<(OwnedFd, OwnedFd)> {
    rustix::pty::unlockpt(&master).map_err(failed("ioctl(TIOCSPTLCK)"))?;
    let peer = rustix::pty::ioctl_tiocgptpeer(&master, FLAGS).map_err(failed("ioctl(TIOCGPTPEER)"))?;
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
    fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open(\"/dev/null\")"))
}
