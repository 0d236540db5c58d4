//! The kernel's boundary: the only module with `unsafe`, and the only one that names `libc`, `nix`
//! or `rustix`. Every other module calls these functions.
//!
//! Invariant: a function here is one syscall, or the few that make one act; it keeps no state, and
//! its error carries the call as strace would print it.
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

/// The name of an errno with what it means: `ENOENT (no such file or directory)`.
pub fn errno_name(errno: i32) -> String {
    let known = nix::errno::Errno::from_raw(errno);
    format!("{known:?} ({})", known.desc().to_lowercase())
}
