//! Changes in directories, as a readable descriptor: inotify(7), for clients only (a uid has 128 of them).
//!
//! Invariant: one descriptor, however many directories; the kernel forgets a removed directory and reports it
//! as [`What::Gone`].

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::sys::{Error, Result};

/// Watched directories.
#[derive(Debug)]
pub struct Watch(OwnedFd);

/// A watched directory, by a number of the watch's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched(i32);

/// The events to watch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A file that is written, made, renamed or removed.
    Changes,
    /// A file that was open for writing and is closed, each time that it was opened.
    Closes,
}

/// The event.
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
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map(Self)
            .map_err(|errno| Error::new("inotify_init1()", errno.raw_os_error()))
    }

    /// Makes the descriptor readable at these events in `directory`, from now on.
    pub fn directory(&self, directory: &Path, what: For) -> Result<Watched> {
        let flags = match what {
            For::Changes => {
                WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE
            }
            For::Closes => WatchFlags::CLOSE_WRITE,
        };
        inotify::add_watch(&self.0, directory, flags | WatchFlags::ONLYDIR)
            .map(Watched)
            .map_err(|errno| Error::new(format!("inotify_add_watch({directory:?})"), errno.raw_os_error()))
    }

    /// Takes the events since the last call.
    pub fn changes(&self) -> Result<Vec<What>> {
        let mut all = Vec::new();
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.0, &mut space);
        loop {
            match events.next() {
                Ok(event) => all.extend(what(&event)),
                Err(Errno::AGAIN) => return Ok(all),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::new("read(inotify)", errno.raw_os_error())),
            }
        }
    }
}

fn what(event: &Event<'_>) -> Option<What> {
    let watched = Watched(event.wd());
    if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(What::Lost);
    }
    if event.events().contains(ReadFlags::IGNORED) {
        return Some(What::Gone(watched));
    }
    event.file_name().map(|name| What::File(watched, OsStr::from_bytes(name.to_bytes()).to_owned()))
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
