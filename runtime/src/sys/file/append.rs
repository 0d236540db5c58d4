//! Files that are only ever added to.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::sys::{Error, Result};

/// Opens, or makes, the file `name` in `dir` for appending; a symbolic link is refused, a pipe is not waited for. It has
/// `mode` then, whatever the umask, and whoever made it.
pub fn open(dir: impl AsFd, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let failed = |call: &'static str| {
        move |errno: rustix::io::Errno| {
            Error::new(format!("{call}(\"{}\", O_APPEND|O_CREAT)", name.escape_ascii()), errno.raw_os_error())
        }
    };
    let mode = Mode::from_raw_mode(mode);
    let file = rustix::fs::openat(dir, name, flags, mode).map_err(failed("openat"))?;
    let found = rustix::fs::fstat(&file).map_err(failed("fstat"))?;
    if Mode::from_raw_mode(found.st_mode & 0o7777) != mode {
        rustix::fs::fchmod(&file, mode).map_err(failed("fchmod"))?;
    }
    Ok(file)
}
