//! epoll, level-triggered: which of many descriptors can be read or written.
//!
//! Each descriptor is registered under a number that its owner chose. A descriptor that is closed leaves the set by
//! itself only when no copy of it lives elsewhere, so owners take theirs out first.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use crate::sys::{Error, Result};

/// The awaited readiness of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Nothing but that its other end closed.
    Closed,
    /// That it can be read.
    Read,
    /// That it can be written.
    Write,
    /// Either.
    ReadWrite,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Closed => EventFlags::empty(),
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::ReadWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}

/// One descriptor's news.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The number it was registered under.
    pub token: u64,
    /// It can be read, or has come to its end.
    pub read: bool,
    /// It can be written, or writing will say why not.
    pub write: bool,
    /// Its other end is closed.
    pub closed: bool,
}

/// A set of descriptors.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::new(call, errno.raw_os_error())
}

impl Epoll {
    /// An empty set.
    pub fn new() -> Result<Self> {
        epoll::create(CreateFlags::CLOEXEC).map(Self).map_err(failed("epoll_create1(EPOLL_CLOEXEC)"))
    }

    /// Watches `fd` under `token`.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::add(&self.0, fd, EventData::new_u64(token), interest.flags()).map_err(failed("epoll_ctl(ADD)"))
    }

    /// Watches `fd` for something else.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::modify(&self.0, fd, EventData::new_u64(token), interest.flags())
            .map_err(failed("epoll_ctl(MOD)"))
    }

    /// Watches `fd` no more. One that is not watched is no error: taking out is part of every undo.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits for news, at most `timeout` (absent: without end), and puts it into `ready`. None comes when the time
    /// is over or a signal is caught.
    pub fn wait(&self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> Result<()> {
        ready.clear();
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 32];
        let timeout = timeout.map(|timeout| rustix::event::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let (events, _) = match epoll::wait(&self.0, &mut space, timeout.as_ref()) {
            Ok(filled) => filled,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(failed("epoll_wait()")(errno)),
        };
        ready.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let closed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            Ready {
                token: data.u64(),
                read: closed || flags.contains(EventFlags::IN),
                write: closed || flags.contains(EventFlags::OUT),
                closed,
            }
        }));
        Ok(())
    }
}
