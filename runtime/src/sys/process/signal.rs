//! Signals: received as reads of a descriptor, sent by pidfd; and children, by their SIGCHLD.
//!
//! Invariant: a pid is only signalled while its process is an unreaped child, so it is never a stranger's.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, Signal as Named, kill_process_group};

use crate::sys::io::poll::{self, Interest};
use crate::sys::{Errno, Error, Result};

/// SIGHUP's number.
pub const HANGUP: i32 = libc::SIGHUP;
/// SIGKILL's number.
pub const KILL: i32 = libc::SIGKILL;
/// SIGTERM's number.
pub const TERM: i32 = libc::SIGTERM;

/// SIGWINCH's number.
pub const WINDOW: i32 = libc::SIGWINCH;

/// The report of [`Signals::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A child ended (perhaps several: ask [`reap`] until it has none).
    Child,
    /// SIGTERM or SIGINT: this process is to end.
    Terminate,
}

/// Blocks `signals`, alone or in addition, by `how`; returns the descriptor to read them from, without waiting,
/// and the former mask.
pub(super) fn take(signals: &[Signal], how: SigmaskHow) -> Result<(SignalFd, SigSet)> {
    let (set, mut before) = (signals.iter().copied().collect(), SigSet::empty());
    sigprocmask(how, Some(&set), Some(&mut before))
        .map_err(|errno| Error::new(format!("rt_sigprocmask({how:?})"), errno as i32))?;
    let opened = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
    opened.map(|opened| (opened, before)).map_err(|errno| Error::new("signalfd4()", errno as i32))
}

/// SIGCHLD, SIGTERM and SIGINT as a descriptor. They stay blocked in this process; its children unblock them.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals and opens the descriptor.
    pub fn open() -> Result<Self> {
        let signals = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT];
        Ok(Self(take(&signals, SigmaskHow::SIG_SETMASK)?.0))
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

/// The signals that a command in the foreground forwards to its program, and the former mask. They stay blocked
/// in this process.
#[derive(Debug)]
pub struct Forwarded(SignalFd, SigSet);

impl Forwarded {
    /// Blocks them and opens the descriptor.
    pub fn open() -> Result<Self> {
        let signals = [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGCONT,
            Signal::SIGWINCH,
            Signal::SIGALRM,
        ];
        let (signals, before) = take(&signals, SigmaskHow::SIG_BLOCK)?;
        Ok(Self(signals, before))
    }

    /// Starts a program in which they are as they were when this process began. One that comes from now on is handed on.
    pub fn start(&self, command: &mut std::process::Command) -> std::io::Result<std::process::Child> {
        use std::os::unix::process::CommandExt as _;
        let before = self.1;
        // SAFETY: between fork and exec the closure makes one system call with its own copy of the set; an errno becomes an
        // io::Error without an allocation.
        unsafe {
            command.pre_exec(move || Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?));
        }
        super::descriptors::with_callers_limit(command).spawn()
    }

    /// The next signal that came, if any.
    pub fn next(&self) -> Option<i32> {
        let info = self.0.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo).ok()
    }

    /// Forwards signals until the child behind `process` has ended, and reaps it.
    pub fn until_end(&self, process: BorrowedFd<'_>) -> Result<super::pidfd::Exit> {
        loop {
            poll::poll(&[(process, Interest::Read), (self.0.as_fd(), Interest::Read)], None)?;
            while let Some(signal) = self.next() {
                send(process, signal)?;
            }
            let ended = super::pidfd::reap(process, super::pidfd::Wait::Poll)
                .map_err(|errno| errno.during("waitid(P_PIDFD, WNOHANG)"))?;
            if let Some(exit) = ended {
                return Ok(exit);
            }
        }
    }
}

impl AsFd for Forwarded {
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
    // SAFETY: the kernel writes one int, `status`, which lives until the call returns. A pidfd of a child that is reaped here
    // stays a descriptor of that child.
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
    match super::pidfd::pidfd_send_signal(pidfd.as_fd(), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.during(format!("pidfd_send_signal({signal})"))),
    }
}

/// Sends `signal` to every process of the group that child `leader` leads. A group that is gone is no error.
pub fn send_to_group(leader: i32, signal: i32) {
    if let (Some(leader), Some(signal)) = (Pid::from_raw(leader), Named::from_named_raw(signal)) {
        let _ = kill_process_group(leader, signal);
    }
}

/// Linux' signals by number, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal as images and commands write it: `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`.
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest)
            .map(|offset| RTMIN.saturating_add(offset))
            .filter(|signal| (RTMIN..=RTMAX).contains(signal));
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest)
            .map(|offset| RTMAX.saturating_add(offset))
            .filter(|signal| (RTMIN..=RTMAX).contains(signal));
    }
    let index = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(index + 1).ok()
}
