//! The kernel's boundary: the only module with `unsafe`, and the only one that names `libc`, `nix`
//! or `rustix`. Every other module calls these functions.
//!
//! Invariant: a function here is one syscall, or the few that make one act, and its error carries the call as
//! strace would print it. State is a descriptor or a mapping that its owner drops. Process-wide state is
//! limited to the signal handler of [`file::flock`] and the caller's limit of descriptors
//! ([`process::descriptors`]).
//!
//! Which crate makes a call: `rustix`, where it has the call, since it makes it without libc: it takes
//! borrowed descriptors, touches no errno of a thread's, and is sound after clone. `nix` for the masks of signals
//! and signalfd, for SO_PEERCRED of a peer that has no pid here, and for the words of errnos, which
//! `rustix` has not. `libc` for what neither has, or has not with what podrun passes (a real-time signal,
//! a sixth argument, the number of a descriptor that nobody owns). The standard library for podrun's own files.
//! `tests/layering.rs` counts who names `nix`, and that openat2, clone3, setns, poll and a few others are
//! called in one place.
#![allow(unsafe_code)]

pub mod child;
pub mod errno;
pub mod file;
pub mod io;
pub mod kernel;
pub mod process;

use std::fmt;

pub use errno::Errno;

/// A syscall that failed: the call with its arguments as strace prints it, and the errno.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    /// The call, for example `mount("proc", "proc")`.
    pub call: String,
    /// The errno, as the kernel gave it.
    pub errno: i32,
}

/// `Result` with a syscall's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The error of `call` that ended with `errno`.
    pub fn new(call: impl Into<String>, errno: i32) -> Self {
        Self { call: call.into(), errno }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, errno_name(self.errno))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// The name of an errno with its meaning: `ENOENT (no such file or directory)`.
pub fn errno_name(errno: i32) -> String {
    let known = nix::errno::Errno::from_raw(errno);
    format!("{known:?} ({})", known.desc().to_lowercase())
}
