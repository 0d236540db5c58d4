//! Signals: received as reads of a descriptor, sent by pidfd, and the children whose ends they tell.
//!
//! Invariant: a pid is only signalled while its process is a child that nobody has reaped, so it is never a
//! stranger's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::{Error, Result};

/// SIGHUP's number.
pub const HANGUP: i32 = libc::SIGHUP;
/// SIGKILL's number.
pub const KILL: i32 = libc::SIGKILL;
/// SIGTERM's number.
pub const TERM: i32 = libc::SIGTERM;

/// What [`Signals::next`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A child ended (perhaps several: ask [`reap`] until it has none).
    Child,
    /// SIGTERM or SIGINT: this process is to end.
    Terminate,
}

/// SIGCHLD, SIGTERM and SIGINT as a descriptor. They stay blocked in this process; its children unblock them.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals and opens the descriptor.
    pub fn open() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            set.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)
            .map_err(|errno| Error::new("rt_sigprocmask(SIG_SETMASK)", errno as i32))?;
        SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map(Self)
            .map_err(|errno| Error::new("signalfd4()", errno as i32))
    }

    /// The next signal that came, if any.
    pub fn next(&self) -> Option<Received> {
        let info = self.0.read_signal().ok().flatten()?;
        let child = i32::try_from(info.ssi_signo) == Ok(libc::SIGCHLD);
        Some(if child { Received::Child } else { Received::Terminate })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its pid, free for reuse from now on.
    pub pid: i32,
    /// Its exit code, or 128 and the signal.
    pub code: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
}

/// Reaps one child that has ended; `None` when there is none (yet). Real-time signals are told too, which
/// `nix`'s status cannot.
pub fn reap() -> Option<Ended> {
    let mut status = 0;
    // SAFETY: `status` is a live int for the kernel to write.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    if pid <= 0 {
        return None;
    }
    Some(if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        Ended { pid, code: 128 + signal, signal }
    } else {
        Ended { pid, code: libc::WEXITSTATUS(status), signal: 0 }
    })
}

/// Sends `signal` to the process behind `pidfd`. A process that has ended is no error.
pub fn send(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let raw = pidfd.as_fd().as_raw_fd();
    // SAFETY: the call takes no pointer but the null siginfo, which stands for a plain kill().
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, raw, signal, 0, 0) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::new(format!("pidfd_send_signal({signal})"), errno as i32)),
    }
}

/// Sends `signal` to every process of the group that child `leader` leads. A group that is gone is no error.
pub fn send_to_group(leader: i32, signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        let _ = nix::sys::signal::killpg(Pid::from_raw(leader), signal);
    }
}
