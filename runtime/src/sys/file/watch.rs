//! Changes in directories, as a readable descriptor: inotify(7), for clients only (a uid has 128 of them).
//!
//! Invariant: one descriptor, however many directories; a directory that goes is forgotten by the kernel and told as [`What::Gone`].

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::sys::{Error, Result};

/// Watched directories.
#[derive(Debug)]
pub struct Watch(Inotify);

/// A watched directory, by a number of the watch's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched(WatchDescriptor);

/// What is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A file that is written, made, renamed or removed.
    Changes,
    /// A file that was open for writing and is closed, each time that it was opened.
    Closes,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// To the file of this name in a directory.
    File(Watched, OsString),
    /// The directory itself is no more.
    Gone(Watched),
    /// More than the kernel could keep: anything may have changed.
    Lost,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Result<Self> {
        Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map(Self)
            .map_err(|errno| Error::new("inotify_init1()", errno as i32))
    }

    /// Becomes readable from now on when what is watched for happens in `directory`.
    pub fn directory(&self, directory: &Path, what: For) -> Result<Watched> {
        let flags = match what {
            For::Changes => {
                AddWatchFlags::IN_MODIFY
                    | AddWatchFlags::IN_CREATE
                    | AddWatchFlags::IN_MOVED_TO
                    | AddWatchFlags::IN_DELETE
            }
            For::Closes => AddWatchFlags::IN_CLOSE_WRITE,
        };
        match self.0.add_watch(directory, flags | AddWatchFlags::IN_ONLYDIR) {
            Ok(watched) => Ok(Watched(watched)),
            Err(errno) => Err(Error::new(format!("inotify_add_watch({directory:?})"), errno as i32)),
        }
    }

    /// Takes what has happened since the last call.
    pub fn changes(&self) -> Result<Vec<What>> {
        let mut all = Vec::new();
        loop {
            match self.0.read_events() {
                Ok(events) => all.extend(events.into_iter().filter_map(what)),
                Err(Errno::EAGAIN) => return Ok(all),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::new("read(inotify)", errno as i32)),
            }
        }
    }
}

fn what(event: InotifyEvent) -> Option<What> {
    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
        return Some(What::Lost);
    }
    if event.mask.contains(AddWatchFlags::IN_IGNORED) {
        return Some(What::Gone(Watched(event.wd)));
    }
    event.name.map(|name| What::File(Watched(event.wd), name))
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
