//! Extended attributes of open files and directories.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};

use crate::sys::{Error, Result};

fn failed(call: &'static str, fd: impl AsFd, name: &[u8]) -> impl FnOnce(rustix::io::Errno) -> Error {
    let text = format!("{call}({}, \"{}\")", fd.as_fd().as_raw_fd(), String::from_utf8_lossy(name));
    move |errno| Error::new(text, errno.raw_os_error())
}

/// Sets the attribute `name`.
pub fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<()> {
    fsetxattr(&fd, name, value, XattrFlags::empty()).map_err(failed("fsetxattr", &fd, name))
}

/// Takes the attribute `name` away.
pub fn remove(fd: impl AsFd, name: &[u8]) -> Result<()> {
    fremovexattr(&fd, name).map_err(failed("fremovexattr", &fd, name))
}

/// The attribute `name`, or nothing where there is none (or the file system knows none).
pub fn get(fd: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>> {
    use rustix::io::Errno;
    let mut value = vec![0; 256];
    loop {
        match fgetxattr(&fd, name, value.as_mut_slice()) {
            Ok(len) => {
                value.truncate(len);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < 64 * 1024 => value.resize(64 * 1024, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(failed("fgetxattr", &fd, name)(errno)),
        }
    }
}

/// The names of all attributes.
pub fn list(fd: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 64 * 1024];
    let len = flistxattr(&fd, names.as_mut_slice()).map_err(failed("flistxattr", &fd, b""))?;
    Ok(names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}
