//! poll(2) over borrowed descriptors: for clients, with few descriptors that change from round to round.

use std::os::fd::{BorrowedFd, OwnedFd};

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::sys::errno::{Errno, Result as Plain};
use crate::sys::{Error, Result};

/// The one poll(2): how many of `fds` are ready, within `time` (absent: without end). Allocates nothing.
pub(in crate::sys) fn wait(fds: &mut [PollFd<'_>], time: Option<Duration>) -> Plain<usize> {
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    Ok(rustix::event::poll(fds, time.as_ref())?)
}

/// The awaited readiness of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, the end of them, or an error.
    Read,
    /// Room to write, or no reader.
    Write,
    /// Either of the two.
    Both,
    /// The kernel's notice that the file's content changed, as [`Ready::readable`].
    Change,
}

/// The readiness of a descriptor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read returns at once.
    pub readable: bool,
    /// A write returns at once.
    pub writable: bool,
}

/// An eventfd, which the kernel counts up and a read takes down to 0; it does not block.
pub fn counter() -> Result<OwnedFd> {
    use rustix::event::EventfdFlags;
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error::new("eventfd(EFD_CLOEXEC|EFD_NONBLOCK)", errno.raw_os_error()))
}

/// Waits until one of `polled` is ready, at most `time` (absent: without end), and tells of
/// each, in order. A caught signal ends the wait with nothing ready.
pub fn poll(polled: &[(BorrowedFd<'_>, Interest)], time: Option<Duration>) -> Result<Vec<Ready>> {
    let mut fds: Vec<PollFd<'_>> = polled
        .iter()
        .map(|(fd, interest)| {
            let flags = match interest {
                Interest::Read => PollFlags::IN,
                Interest::Write => PollFlags::OUT,
                Interest::Both => PollFlags::IN | PollFlags::OUT,
                Interest::Change => PollFlags::PRI,
            };
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    match wait(&mut fds, time) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.during(format!("poll({} fds)", polled.len()))),
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let ready = |fd: &PollFd<'_>, interest: Interest| {
        let seen = fd.revents();
        Ready {
            readable: interest != Interest::Write && seen.intersects(PollFlags::IN | PollFlags::PRI | gone),
            writable: matches!(interest, Interest::Write | Interest::Both)
                && seen.intersects(PollFlags::OUT | gone),
        }
    };
    Ok(fds.iter().zip(polled).map(|(fd, (_, interest))| ready(fd, *interest)).collect())
}

/// Waits until a descriptor is readable (a pidfd: until its process is dead), or the time is over.
pub fn wait_readable(fd: BorrowedFd<'_>, time: Duration) -> bool {
    wait_for(fd, PollFlags::IN, time)
}

/// Waits until a descriptor takes more, or the time is over.
pub fn wait_writable(fd: BorrowedFd<'_>, time: Duration) -> bool {
    wait_for(fd, PollFlags::OUT, time)
}

/// Waits until a kernel file has changed (POLLPRI), or the time is over.
pub fn wait_exceptional(file: BorrowedFd<'_>, time: Duration) -> bool {
    wait_for(file, PollFlags::PRI, time)
}

fn wait_for(fd: BorrowedFd<'_>, events: PollFlags, time: Duration) -> bool {
    wait(&mut [PollFd::from_borrowed_fd(fd, events)], Some(time)).is_ok_and(|ready| ready > 0)
}
