//! The store's folders and its share of the disk.
//!
//! Invariant: bytes and inodes are reserved before they are written, and a reserve of the disk stays free, so
//! that a host with a big image still works: a twentieth of the file system, and never more than a gigabyte or
//! 65536 inodes. Files leave use by one rename.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::file::dir::{self, Free};

const RESERVE_BYTES_MAX: u64 = 1 << 30;
const RESERVE_INODES_MAX: u64 = 1 << 16;
/// How much is taken between two looks at the file system.
const STEP_BYTES: u64 = 64 << 20;
const STEP_INODES: u64 = 1024;

/// The bytes that may be written before the file system is checked again.
#[derive(Debug, Default)]
pub(in crate::image) struct Space {
    bytes: u64,
    inodes: u64,
}

impl Space {
    /// Takes `bytes` and `inodes` of the file system that holds `on`.
    pub(in crate::image) fn take(&mut self, on: impl AsFd, bytes: u64, inodes: u64) -> Result<()> {
        if bytes > self.bytes || inodes > self.inodes {
            let (left_bytes, left_inodes) = left(&dir::free(on)?);
            if bytes > left_bytes {
                return Err(full(&format!("{bytes} bytes are wanted, {left_bytes} are left")));
            }
            if inodes > left_inodes {
                return Err(full(&format!("{inodes} inodes are wanted, {left_inodes} are left")));
            }
            *self = Self {
                bytes: left_bytes.min(bytes.saturating_add(STEP_BYTES)),
                inodes: left_inodes.min(inodes + STEP_INODES),
            };
        }
        self.bytes -= bytes;
        self.inodes -= inodes;
        Ok(())
    }
}

fn full(what: &str) -> Error {
    Error::new(ErrorKind::Failed, format!("no space for it on the store's disk, beside its reserve: {what}"))
        .hint("`podrun rmi` removes images; --root puts the store elsewhere")
}

/// The share of a file system for images: bytes and inodes. One without a number of inodes has all.
fn left(free: &Free) -> (u64, u64) {
    let bytes = free.free_bytes.saturating_sub((free.bytes / 20).min(RESERVE_BYTES_MAX));
    let inodes = match free.inodes {
        0 => u64::MAX,
        all => free.free_inodes.saturating_sub((all / 20).min(RESERVE_INODES_MAX)),
    };
    (bytes, inodes)
}

/// How much is sent at once.
const SENT_AT_ONCE: u64 = 4 << 20;
/// Left to the sync: for a small file the call costs more than it hides.
const SMALL: u64 = 64 << 10;

/// How much of a file that is written to its end was sent to the disk.
///
/// An image is in the page cache long before the kernel would begin to write it back by itself, and the sync at its end would
/// wait for all of it. Sent early, the disk works while the next bytes are decompressed.
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
        if self.written - self.sent >= SENT_AT_ONCE {
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

/// Moves the file at `path` to `trash`; a missing one is fine.
pub(in crate::image) fn set_aside(path: &Path, trash: &Path) -> Result<()> {
    match fs::rename(path, trash) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::from(error).context(format!("rename {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Makes the names in `dir` last.
pub(in crate::image) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).context(|| format!("fsync {}", dir.display()))
}

/// The names in one of the store's directories; names with a leading dot are internal.
pub(in crate::image) fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::from(error)
                .context(format!("read {}", dir.display()))
                .with_kind(ErrorKind::Failed));
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("read {}", dir.display()))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_stays() {
        let small = Free { bytes: 1000, free_bytes: 100, inodes: 100, free_inodes: 5 };
        assert_eq!(left(&small), (50, 0));
        let big = Free { bytes: 1 << 40, free_bytes: 3 << 30, inodes: 0, free_inodes: 0 };
        assert_eq!(left(&big), (2 << 30, u64::MAX));
        let full = Free { bytes: 1000, free_bytes: 10, inodes: 0, free_inodes: 0 };
        assert_eq!(left(&full).0, 0);
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let on = dir::open(dir.path()).unwrap();
        let mut space = Space::default();
        space.take(&on, 1, 1).unwrap();
        let error = space.take(&on, u64::MAX, 0).unwrap_err();
        assert!(error.message().contains("18446744073709551615 bytes are wanted"), "{error}");
        // A refused request took nothing.
        space.take(&on, 1, 1).unwrap();
    }
}
