//! Files that are only ever added to.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::{Error, Result};

/// Opens, or makes, the file `name` in `dir` for appending; a symbolic link is refused, a pipe is not waited for.
pub fn open(dir: impl AsFd, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode)).map_err(|errno| {
        Error::new(format!("openat(\"{}\", O_APPEND|O_CREAT)", name.escape_ascii()), errno.raw_os_error())
    })
}
