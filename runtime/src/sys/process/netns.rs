//! Which network namespace the calling thread is in, and moving between them.
//!
//! Invariant: [`visit`] comes back, or says that it could not, in which case the caller must end.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys::{Error, Result};

/// The network namespace of the calling thread.
pub fn current() -> Result<File> {
    const PATH: &str = "/proc/thread-self/ns/net";
    File::open(PATH).map_err(|error| Error::new(format!("open({PATH:?})"), error.raw_os_error().unwrap_or(0)))
}

/// Moves the calling thread into `namespace`.
pub fn enter(namespace: BorrowedFd<'_>) -> Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::new("setns(CLONE_NEWNET)", errno.raw_os_error()))
}

/// Runs `work` in `namespace` and comes back: for what names no namespace of its own, as /proc/sys
/// and `bind` do.
pub fn visit<T>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T> {
    let home = current()?;
    enter(namespace)?;
    let result = work();
    enter(home.as_fd())?;
    Ok(result)
}
