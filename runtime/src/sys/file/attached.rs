//! Mounts that others see, known by number: a path may show another one by the time that it is looked at again.
//!
//! Invariant: what is taken away is what the descriptor is of.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{AtFlags, StatxFlags};
use rustix::mount as rm;

use crate::sys::errno::{Errno, Result};

/// `STATX_MNT_ID_UNIQUE` of Linux 6.8: a kernel that does not know it gives the other number.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The number of the mount that `fd` is in, attached or not. Since Linux 6.8 no other mount ever has the same; before, none
/// at the same time.
pub fn number(fd: BorrowedFd<'_>) -> Result<u64> {
    match rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | UNIQUE) {
        Err(rustix::io::Errno::NOSYS) => number_in_proc(fd),
        found => Ok(found?.stx_mnt_id),
    }
}

/// The same by proc(5), for a filter that refuses statx.
fn number_in_proc(fd: BorrowedFd<'_>) -> Result<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap_or_default();
    let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    number.ok_or(Errno::ENOSYS)
}

/// Takes the mount that the directory `fd` is the root of out of the caller's mount namespace, with all that is mounted
/// below it.
pub fn detach(fd: BorrowedFd<'_>) -> Result<()> {
    Ok(rm::unmount(format!("/proc/self/fd/{}", fd.as_raw_fd()), rm::UnmountFlags::DETACH)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_mount_has_one_number_and_another_one_another() {
        let open = |path: &str| File::open(path).unwrap();
        for of in [number, number_in_proc] {
            let (own, same, other) = (open("/proc/self"), open("/proc/version"), open("/"));
            assert_eq!(of(own.as_fd()), of(same.as_fd()));
            assert_ne!(of(own.as_fd()).unwrap(), of(other.as_fd()).unwrap());
        }
    }
}
