//! Processes by descriptor: opened, signalled, waited for, and asked for a descriptor of theirs.
//!
//! Invariant: a pidfd names one process for ever; no number that could be reused is kept.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::sys::errno::{Errno, Result};
use crate::sys::io::poll;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// As a shell tells it: the code, or 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A pidfd for a process of the caller's pid namespace.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// A pidfd for a child of the caller, which is killed if there can be none. ECHILD for a process that is no
/// child of the caller, or is reaped: it is left alone.
pub fn pidfd_of_child(pid: i32) -> Result<OwnedFd> {
    use rustix::process::{Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid};
    let child = rustix::process::Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    // As long as it is not reaped its number is its own.
    waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)?;
    pidfd_open(pid).inspect_err(|_| {
        let _ = kill_process(child, Signal::KILL);
        let _ = waitpid(Some(child), WaitOptions::empty());
    })
}

/// Sends a signal by number; ESRCH once the process is dead.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: the only pointer is null, which asks for the siginfo that kill(2) sends.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// The process's pid in the pid namespace that the mounted /proc shows, which is the host's for a monitor that
/// is in one of its own; `None` once it is reaped.
pub fn pid_in_proc(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid: i32 = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())?;
    (pid > 0).then_some(pid)
}

/// A copy of another process's descriptor.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    // SAFETY: the kernel is passed integers alone; `pidfd` is open until the call returns.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel has just made `fd`, CLOEXEC, in this process, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether waiting may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until the child ends.
    Block,
    /// Only look.
    Poll,
}

/// Reaps the child behind a pidfd; `None` when it still runs and [`Wait::Poll`] was asked for.
pub fn reap(pidfd: BorrowedFd<'_>, wait: Wait) -> Result<Option<Exit>> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = match wait {
        Wait::Block => WaitIdOptions::EXITED,
        Wait::Poll => WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    };
    let Some(status) = waitid(WaitId::PidFd(pidfd), options)? else {
        return Ok(None);
    };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ok(Some(Exit::Code(code))),
        (None, Some(signal)) => Ok(Some(Exit::Signal(signal))),
        (None, None) => Err(Errno::EINVAL),
    }
}

/// How long killed processes may take to end: a frozen one takes as long as it is. Callers know it from runc.
pub const KILLED_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// The same within a time; `None`: it has not ended by then.
pub fn reap_within(pidfd: BorrowedFd<'_>, time: std::time::Duration) -> Result<Option<Exit>> {
    if poll::wait_readable(pidfd, time) { reap(pidfd, Wait::Poll) } else { Ok(None) }
}

/// The signal that cannot be refused.
pub const SIGKILL: i32 = libc::SIGKILL;
