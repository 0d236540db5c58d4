//! Copying of directories' entries without memory of our own, for a child half.
//!
//! Invariant: nothing here allocates; names are looked up in an open directory and never lead over a link.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid};

use crate::sys::errno::{Errno, Result};

/// Acts on each name in `directory` but `.` and `..`, until one fails; as many names are read at a time as `buffer`
/// holds. `unread` makes a failure of the reading's own.
pub fn each_name<E>(
    directory: BorrowedFd<'_>,
    buffer: &mut [MaybeUninit<u8>],
    unread: impl Fn(Errno) -> E,
    mut act: impl FnMut(&CStr) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut entries = RawDir::new(directory, buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|errno| unread(errno.into()))?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            act(name)?;
        }
    }
    Ok(())
}

/// The outcome for an entry.
#[derive(Debug)]
pub enum Entry {
    /// It is there, with all it has.
    Whole,
    /// A directory was made: its entries are to be copied next, then its attributes.
    Directory(OwnedFd),
}

/// Opens the directory `name` in `directory` for reading.
pub fn open_directory(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// Gives `to` the mode of `from`.
pub fn mode(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let found = rustix::fs::fstat(from)?;
    let to = open_directory(to, c".")?;
    Ok(rustix::fs::fchmod(to, Mode::from_raw_mode(found.st_mode))?)
}

/// Gives the directory `to` owner, mode and times of `from`.
pub fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let found = rustix::fs::fstat(from)?;
    dress(to, &found)
}

/// Copies the entry `name` of `from` into `to`: of a directory only itself, of a file its content, owner, mode and
/// times; a socket is left out.
pub fn entry(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>) -> Result<Entry> {
    let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            return Ok(Entry::Directory(open_directory(to, name)?));
        }
        FileType::RegularFile => file(from, name, to, &found)?,
        FileType::Symlink => link(from, name, to, &found)?,
        kind @ (FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo) => {
            rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(found.st_mode), found.st_rdev)?;
            own(to, name, &found)?;
        }
        _ => {}
    }
    Ok(Entry::Whole)
}

fn file(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, found: &Stat) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
    while rustix::fs::sendfile(&target, &source, None, 1 << 30)? > 0 {}
    dress(target.as_fd(), found)
}

fn link(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, found: &Stat) -> Result<()> {
    // PATH_MAX counts the NUL.
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    let length = rustix::fs::readlinkat_raw(from, name, &mut buffer[..])?;
    let end = buffer.get_mut(length).ok_or(Errno::EINVAL)?;
    *end = 0;
    let target = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno::EINVAL)?;
    rustix::fs::symlinkat(target, to, name)?;
    own(to, name, found)
}

fn own(to: BorrowedFd<'_>, name: &CStr, found: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    Ok(rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn dress(file: BorrowedFd<'_>, found: &Stat) -> Result<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))?;
    // After the owner: chown(2) clears set-user-id bits.
    rustix::fs::fchmod(file, Mode::from_raw_mode(found.st_mode))?;
    let time = |seconds: i64, nanoseconds: u64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = rustix::fs::Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec),
        last_modification: time(found.st_mtime, found.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(file, &times)?)
}
