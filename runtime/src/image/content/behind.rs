//! Files whose pages go to the disk while they are written.
//!
//! An image is in the page cache long before the kernel would begin to write it back by itself, and the sync at its end would
//! wait for all of it. Sent early, the disk works while the next bytes are decompressed.

use std::os::fd::AsFd;

use crate::sys::file::dir;

/// How much is sent at once.
const STEP: u64 = 4 << 20;
/// What is left to the sync: for a small file the call costs more than it hides.
const SMALL: u64 = 64 << 10;

/// How much of a file that is written to its end was sent to the disk.
#[derive(Debug, Default)]
pub(in crate::image) struct WriteBehind {
    sent: u64,
    written: u64,
}

impl WriteBehind {
    /// A file that has so many bytes already.
    pub(in crate::image) fn after(written: u64) -> Self {
        Self { sent: written, written }
    }

    /// `len` more bytes of `file` were written.
    pub(in crate::image) fn wrote(&mut self, file: impl AsFd, len: usize) {
        self.written += len as u64;
        if self.written - self.sent >= STEP {
            self.send(file);
        }
    }

    /// Nothing more comes.
    pub(in crate::image) fn end(&mut self, file: impl AsFd) {
        if self.written >= SMALL && self.written > self.sent {
            self.send(file);
        }
    }

    fn send(&mut self, file: impl AsFd) {
        dir::begin_writeback(file, self.sent, self.written - self.sent);
        self.sent = self.written;
    }
}
