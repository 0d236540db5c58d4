//! The last steps before another program: argv and envp, sessions, limits, signals, execve.
//!
//! Invariant: only [`Strings::new`] and [`Home::new`], which run before clone, allocate.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::clone::ChildHalf;
use crate::sys::errno::{Errno, Result};
use crate::sys::io::poll;
use crate::sys::kernel::seccomp::Pass;

/// The bytes of a home directory's path, with its NUL: PATH_MAX.
pub const HOME_MAX: usize = 4096;

/// A variable HOME whose value is known only after clone; `/` until it is set.
#[derive(Debug)]
pub struct Home(Box<[Cell<u8>]>);

impl Home {
    const NAME: &[u8] = b"HOME=";

    /// Makes the room for it.
    pub fn new() -> Rc<Self> {
        let home = Self(vec![Cell::new(0); Self::NAME.len() + HOME_MAX].into());
        for (place, byte) in home.0.iter().zip([Self::NAME, b"/"].concat()) {
            place.set(byte);
        }
        Rc::new(home)
    }

    /// Sets it to `path`, unless that is empty or too long for a path.
    pub fn set(&self, path: &[u8]) {
        if path.is_empty() || path.len() >= HOME_MAX {
            return;
        }
        let places = self.0.iter().skip(Self::NAME.len());
        for (place, byte) in places.zip(path.iter().chain(b"\0")) {
            place.set(*byte);
        }
    }
}

/// An argv or envp, ready for execve.
#[derive(Debug)]
pub struct Strings {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
    /// The target of one of the pointers.
    _home: Option<Rc<Home>>,
}

impl Strings {
    /// Lays out the pointers, the last one null, one to `home` before it.
    pub fn new(strings: Vec<CString>, home: Option<Rc<Home>>) -> Self {
        let own = strings.iter().map(|string| string.as_ptr());
        let home_pointer = home.iter().map(|home| home.0.as_ptr().cast::<c_char>());
        let pointers = own.chain(home_pointer).chain(std::iter::once(std::ptr::null())).collect();
        Self { strings, pointers, _home: home }
    }

    /// The strings themselves.
    pub fn as_slice(&self) -> &[CString] {
        &self.strings
    }
}

/// Becomes the program at `path`; returns only why it could not.
pub fn execve(path: &CStr, argv: &Strings, envp: &Strings) -> Result<Infallible> {
    // SAFETY: `Strings` keeps each pointer's string alive and unmoved, and ends both arrays with null.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Err(Errno::last())
}

/// Becomes the program that `fd` is; returns only why it could not.
pub fn execveat(fd: BorrowedFd<'_>, argv: &Strings, envp: &Strings) -> Result<Infallible> {
    // SAFETY: as for `execve`; the path is empty, so `fd` itself is executed.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(Errno::last())
}

/// Whether there is a file at `path`, links followed.
pub fn exists(path: &CStr) -> bool {
    rustix::fs::stat(path).is_ok()
}

/// execve's verdict on the file at `path`: ENOENT if it is missing, EACCES if the caller may not execute it.
/// Without faccessat2 the latter is left to execve: access(2) ignores a plain user's capabilities.
pub fn check_program(path: &CStr) -> Result<()> {
    use rustix::fs::{FileType, stat};
    let found = stat(path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Errno::EACCES);
    }
    let (here, by_effective) = (libc::AT_FDCWD, libc::AT_EACCESS);
    // SAFETY: `path` ends with a NUL and lives until the call returns; the rest are integers.
    let asked = unsafe { libc::syscall(libc::SYS_faccessat2, here, path.as_ptr(), libc::X_OK, by_effective) };
    match Errno::result(asked) {
        Err(Errno::ENOSYS) => Ok(()),
        other => other.map(drop),
    }
}

/// Starts a session of which the caller is the leader, without a terminal. A filter may let the call by for its `pass`.
pub fn setsid(pass: Pass) -> Result<()> {
    // SAFETY: it takes no argument.
    Errno::result(unsafe { libc::syscall(libc::SYS_setsid, 0, 0, 0, 0, 0, pass.number()) }).map(drop)
}

/// Makes the terminal on stdin the controlling one of the caller's session. A filter may let the call by for its `pass`.
pub fn take_terminal(_half: &ChildHalf, pass: Pass) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an integer, and every other file than a terminal refuses it.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSCTTY, 0, 0, 0, pass.number()) })
        .map(drop)
}

/// Sets the host name of the caller's uts namespace.
pub fn sethostname(name: &CStr) -> Result<()> {
    Ok(rustix::system::sethostname(name.to_bytes())?)
}

/// Sets the NIS domain name of the caller's uts namespace.
pub fn setdomainname(name: &CStr) -> Result<()> {
    let bytes = name.to_bytes();
    // SAFETY: pointer and length are of one living string.
    Errno::result(unsafe { libc::syscall(libc::SYS_setdomainname, bytes.as_ptr(), bytes.len()) }).map(drop)
}

/// Sets the file mode creation mask.
pub fn umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// A limit, as the kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// RLIMIT_*.
    pub resource: u32,
    /// The soft limit.
    pub soft: u64,
    /// Up to where it can be raised.
    pub hard: u64,
}

/// The limits, by the runtime-spec's names.
const LIMITS: [(&str, u32); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
];

/// The number of the limit that the runtime-spec calls `RLIMIT_…`.
pub fn rlimit_number(name: &str) -> Option<u32> {
    LIMITS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name of the limit of this number.
pub fn rlimit_name(number: u32) -> Option<&'static str> {
    LIMITS.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// The caller's own hard limit.
pub fn hard_limit(resource: u32) -> Result<u64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable for the call; no new limit is given.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<libc::rlimit64>(), &raw mut limit)
    })?;
    Ok(limit.rlim_max)
}

/// Sets a limit of the caller.
pub fn set_rlimit(limit: Rlimit) -> Result<()> {
    let new = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `new` is readable for the call; no old limit is asked for.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            limit.resource,
            &raw const new,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// Gives every signal its default action and blocks none: a program must not inherit its supervisor's
/// dispositions.
pub fn reset_signals(_half: &ChildHalf) -> Result<()> {
    #[repr(C)]
    struct KernelAction {
        handler: usize,
        flags: usize,
        restorer: usize,
        mask: u64,
    }
    let default = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        // SAFETY: `default` has the kernel's layout of sigaction and installs no code. By `_half` no code counts on the handlers
        // that it takes away. libc's own call refuses the two signals that it reserves.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                std::ptr::null_mut::<KernelAction>(),
                size_of::<u64>(),
            )
        })?;
    }
    let none = 0_u64;
    // SAFETY: `none` is a whole kernel sigset of the size given.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    })
    .map(drop)
}

/// Whether the other end of a pipe is closed; never waits.
pub fn is_hung_up(pipe: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(pipe, PollFlags::empty())];
    let ready = poll::wait(&mut polled, Some(Duration::ZERO)).is_ok_and(|ready| ready > 0);
    ready && polled.iter().any(|pipe| pipe.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

/// Blocks every signal that can be blocked.
pub fn block_signals(_half: &ChildHalf) -> Result<()> {
    let all = u64::MAX;
    // SAFETY: `all` is a whole kernel sigset of the size given.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    })
    .map(drop)
}

/// Reaps every child that ends, until SIGTERM comes from outside of this process's pid namespace: a process
/// inside that may signal all others must not end them all by way of this one, which it did not start. Signals
/// must be blocked.
///
/// From outside comes a signal of kill(2) whose sender has no pid in here. No sender inside can claim that:
/// rt_sigqueueinfo(2) can forge a pid, but not an si_code of the kernel's own signals; with F_SETSIG (fcntl(2))
/// it is POLL_*.
pub fn reap_until_sigterm(_half: &ChildHalf) {
    const fn bit(signal: i32) -> u64 {
        1 << (signal - 1)
    }
    let wanted = bit(libc::SIGCHLD) | bit(libc::SIGTERM);
    // SAFETY: siginfo_t is made of integers, which may all be zero.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `wanted` is a whole kernel sigset of the size given, `info` is written whole; no timeout is passed.
        let signal = unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const wanted,
                &raw mut info,
                std::ptr::null::<libc::timespec>(),
                size_of::<u64>(),
            )
        };
        // SAFETY: `info` is zeros or written by the kernel, integers both; with SI_USER this one is the
        // sender's pid.
        let from_outside = info.si_code == libc::SI_USER && unsafe { info.si_pid() } == 0;
        if signal == libc::c_long::from(libc::SIGTERM) && from_outside {
            return;
        }
        // SAFETY: waitpid takes a null status. By `_half` no owner here has a child that it could take away.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    }
}

/// As [`wire`], and the parent can answer: its end comes first here too.
pub fn wire_with_answer() -> Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let (own, child) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&own, true)?;
    Ok((own, child))
}

/// Waits for a connection at `listener`, which may be non-blocking, and takes it, CLOEXEC.
pub fn wait_for_connection(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    loop {
        match poll::wait(&mut [PollFd::from_borrowed_fd(listener, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
            // The client has gone already, or poll was interrupted.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Waits for one byte; false when the other side closes instead.
pub fn wait_for_byte(from: BorrowedFd<'_>) -> Result<bool> {
    let mut byte = [0_u8];
    loop {
        match rustix::io::read(from, &mut byte) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(false),
            other => return Ok(other? == 1),
        }
    }
}

/// The two ends of a child's wire, CLOEXEC: the parent's to read, without blocking, and the child's to write.
pub fn wire() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}
