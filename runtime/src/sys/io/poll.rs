//! poll(2) over borrowed descriptors: for the clients, whose few descriptors change from round to round.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::sys::{Error, Result};

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, the end of them, or an error.
    Read,
    /// Room, or nobody who reads.
    Write,
    /// The kernel's word that what the file says has changed; [`Ready::readable`] tells it.
    Change,
}

/// What a descriptor is ready for.
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

/// Waits until one of `polled` is ready, at most `milliseconds` (absent: without end), and tells of
/// each, in order. A caught signal ends the wait with nothing ready.
pub fn poll(polled: &[(BorrowedFd<'_>, Interest)], milliseconds: Option<u32>) -> Result<Vec<Ready>> {
    let mut fds: Vec<PollFd<'_>> = polled
        .iter()
        .map(|(fd, interest)| {
            let flags = match interest {
                Interest::Read => PollFlags::IN,
                Interest::Write => PollFlags::OUT,
                Interest::Change => PollFlags::PRI,
            };
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    let timeout = milliseconds
        .map(|ms| Timespec { tv_sec: i64::from(ms / 1000), tv_nsec: i64::from(ms % 1000) * 1_000_000 });
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::new(format!("poll({} fds)", polled.len()), errno.raw_os_error())),
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let ready = |fd: &PollFd<'_>, interest: Interest| {
        let seen = fd.revents();
        Ready {
            readable: interest != Interest::Write && seen.intersects(PollFlags::IN | PollFlags::PRI | gone),
            writable: interest == Interest::Write && seen.intersects(PollFlags::OUT | gone),
        }
    };
    Ok(fds.iter().zip(polled).map(|(fd, (_, interest))| ready(fd, *interest)).collect())
}
