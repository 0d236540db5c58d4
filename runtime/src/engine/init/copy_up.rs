//! `tmpcopyup`: a new tmpfs begins with a copy of the directory it covers.
//!
//! Invariant: nothing here allocates; every entry is opened by its own name in an open directory, and no link
//! is followed: the copy comes from the covered directory alone, whatever files the image has.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::engine::failure::{Call, During as _, Fault};
use crate::sys::Errno;
use crate::sys::child::copy::{self, Entry};

/// How deep directories may lie: each level has an open directory and a buffer on the stack.
const DEPTH_MAX: usize = 64;

/// Gives the root of `tree` the mode of `covered`.
pub(super) fn mode(covered: BorrowedFd<'_>, tree: BorrowedFd<'_>) -> Result<(), Fault> {
    copy::mode(covered, tree).during(Call::Chmod)
}

/// Copies the entries of the directory `covered` into `tree`.
pub(super) fn content(covered: BorrowedFd<'_>, tree: BorrowedFd<'_>) -> Result<(), Fault> {
    directory(covered, tree, 0)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Fault> {
    if depth > DEPTH_MAX {
        return Err(Errno::ELOOP).during(Call::Openat);
    }
    let from = copy::open_directory(from, c".").during(Call::Openat)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let unread = |errno| Fault { call: Call::Getdents, index: 0, errno };
    copy::each_name(from.as_fd(), &mut buffer, unread, |name| entry(from.as_fd(), name, to, depth))
}

fn entry(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, depth: usize) -> Result<(), Fault> {
    match copy::entry(from, name, to).during(Call::Copy)? {
        Entry::Whole => Ok(()),
        Entry::Directory(made) => {
            let below = copy::open_directory(from, name).during(Call::Openat)?;
            directory(below.as_fd(), made.as_fd(), depth + 1)?;
            copy::attributes(below.as_fd(), made.as_fd()).during(Call::Chmod)
        }
    }
}
