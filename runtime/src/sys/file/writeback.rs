//! Sending what was written to the disk before anybody waits for it.
//!
//! Invariant: this is no promise: only `syncfs` tells that bytes are on the disk, and of errors.

use std::os::fd::{AsFd, AsRawFd};

/// Begins to write back the `len` bytes at `offset` of the file `fd`, and waits for none of them (sync_file_range(2)).
pub fn begin(fd: impl AsFd, offset: u64, len: u64) {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
    // SAFETY: sync_file_range takes no pointers, and the descriptor is borrowed for the call.
    unsafe {
        libc::sync_file_range(fd.as_fd().as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}
