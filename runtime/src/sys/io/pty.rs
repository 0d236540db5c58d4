//! Pseudo terminals, and the pipes that stand in for them: a process's standard streams as its parent makes them.
//!
//! Invariant: no terminal is one of the caller's own /dev/pts, which is the host's.
//! Both ends block; the side that must not wait says so for its own (`stream::set_nonblocking`).

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;

use crate::sys::file::fs::{open_both_ways, openat2};
use crate::sys::file::mount::{self, Attributes};
use crate::sys::{Error, Result};

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::new(call, errno.raw_os_error())
}

const FLAGS: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY).union(OpenptFlags::CLOEXEC);

/// A terminal of a devpts of its own: its master and its peer. In a shared one a process sees other terminals
/// come and go.
pub fn open() -> Result<(OwnedFd, OwnedFd)> {
    open_of(alone()?.as_fd())
}

/// A devpts for one process's terminal, from which only the terminal can be had.
pub fn alone() -> Result<OwnedFd> {
    let own = Some(c"0600");
    mount::make_detached(
        c"devpts",
        &[(c"mode", own), (c"ptmxmode", own)],
        Attributes::NOSUID | Attributes::NOEXEC,
    )
}

/// A terminal for a process in the tree `root`: of the devpts mounted there, where its name in /dev/pts is
/// valid, or, if there is none, or it is the caller's own, of a new one.
pub fn open_for(root: &Path) -> Result<(OwnedFd, OwnedFd)> {
    open_in(root).or_else(|_| open())
}

/// A terminal of the devpts in the tree `root`, which may be any.
fn open_in(root: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let root = fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open(root)"))?;
    open_below(root.as_fd(), "dev/pts/ptmx", fs::stat("/dev/pts").ok().map(|own| own.st_dev))
}

/// A terminal of the devpts whose mount is `devpts`.
pub fn open_of(devpts: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    open_below(devpts, "ptmx", None)
}

fn open_below(folder: BorrowedFd<'_>, ptmx: &str, not_on: Option<u64>) -> Result<(OwnedFd, OwnedFd)> {
    const DEVPTS: i64 = 0x1cd1;
    let call = "openat2(\"ptmx\")";
    // Checked before it is opened: the file there may be of any type.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found =
        openat2(folder, ptmx, OFlags::PATH, Mode::empty(), resolve).map_err(|errno| errno.during(call))?;
    let is_devpts = fs::fstatfs(&found).map_err(failed(call))?.f_type == DEVPTS;
    let stat = fs::fstat(&found).map_err(failed(call))?;
    if !is_devpts || stat.st_rdev != fs::makedev(5, 2) || Some(stat.st_dev) == not_on {
        return Err(failed(call)(Errno::NOTTY));
    }
    with_peer(open_both_ways(found.as_fd()).map_err(|errno| errno.during("open(\"ptmx\")"))?)
}

fn with_peer(master: OwnedFd) -> Result<(OwnedFd, OwnedFd)> {
    rustix::pty::unlockpt(&master).map_err(failed("ioctl(TIOCSPTLCK)"))?;
    let peer = rustix::pty::ioctl_tiocgptpeer(&master, FLAGS).map_err(failed("ioctl(TIOCGPTPEER)"))?;
    Ok((master, peer))
}

/// A pipe: its read end and its write end, both blocking.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe2(O_CLOEXEC)"))
}
