//! poll(2) over borrowed descriptors: for the clients, whose few descriptors change from round to round.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::{Error, Result};

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, the end of them, or an error.
    Read,
    /// Room, or nobody who reads.
    Write,
}

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read returns at once.
    pub readable: bool,
    /// A write returns at once.
    pub writable: bool,
}

/// Waits until one of `polled` is ready, at most `milliseconds` (absent: without end), and tells of
/// each, in order. A caught signal ends the wait with nothing ready.
pub fn poll(polled: &[(BorrowedFd<'_>, Interest)], milliseconds: Option<u32>) -> Result<Vec<Ready>> {
    let mut fds: Vec<PollFd<'_>> = polled
        .iter()
        .map(|(fd, interest)| {
            let flags = if *interest == Interest::Read { PollFlags::IN } else { PollFlags::OUT };
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
            readable: interest == Interest::Read && seen.intersects(PollFlags::IN | gone),
            writable: interest == Interest::Write && seen.intersects(PollFlags::OUT | gone),
        }
    };
    Ok(fds.iter().zip(polled).map(|(fd, (_, interest))| ready(fd, *interest)).collect())
}
