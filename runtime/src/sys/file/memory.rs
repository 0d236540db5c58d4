//! Files in memory, without a name: memfd_create(2).
//!
//! Invariant: each is CLOEXEC, and gone with the last descriptor of it.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;

use crate::sys::{Error, Result};

/// An empty one, which /proc/PID/fd shows as `name`. It can be sealed.
pub fn empty(name: &str) -> Result<OwnedFd> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|errno| Error::new("memfd_create(MFD_CLOEXEC|MFD_ALLOW_SEALING)", errno.raw_os_error()))
}

/// One that holds `bytes`, read from its beginning.
pub fn document(bytes: &[u8]) -> Result<File> {
    let mut file = File::from(empty("podrun-document")?);
    let written = file.write_all(bytes).and_then(|()| file.rewind());
    written.map(|()| file).map_err(|error| Error::new("write(memfd)", error.raw_os_error().unwrap_or(0)))
}
