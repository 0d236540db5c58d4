//! Changes in directories, as a readable descriptor: inotify(7), for clients only (a uid has 128 of them).

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::{Error, Result};

/// Watched directories.
#[derive(Debug)]
pub struct Watch(Inotify);

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Result<Self> {
        Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map(Self)
            .map_err(|errno| Error::new("inotify_init1()", errno as i32))
    }

    /// Becomes readable from now on when a file in `directory` is written, made, renamed or removed.
    pub fn directory(&self, directory: &Path) -> Result<()> {
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        match self.0.add_watch(directory, flags) {
            Ok(_) => Ok(()),
            Err(errno) => Err(Error::new(format!("inotify_add_watch({directory:?})"), errno as i32)),
        }
    }

    /// Takes what has happened since the last call: the names, as far as they are known.
    pub fn changes(&self) -> Result<Vec<OsString>> {
        let mut names = Vec::new();
        loop {
            match self.0.read_events() {
                Ok(events) => names.extend(events.into_iter().filter_map(|event| event.name)),
                Err(Errno::EAGAIN) => return Ok(names),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::new("read(inotify)", errno as i32)),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
