//! A command that stands for a program in a container until it ends: `run` and `exec` without `--detach`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::relay::Relay;
use crate::error::Result;
use crate::sys::process::daemon::Program;
use crate::sys::process::signal::Forwarded;

/// The mount of its own binary that a command holds after going on in a protected copy. Its end waits some
/// milliseconds in the kernel, so drop it while a container's process is on its way; that process has no copy,
/// since a child first closes every descriptor that its plan does not name.
#[derive(Debug, Default)]
pub struct Protected {
    _program: Option<Program>,
}

/// Goes on in a copy of the binary that no container can write to: the first call of every verb that makes
/// containers. Arguments and environment are this process's own.
pub fn protect_binary(
    arguments: impl Iterator<Item = std::ffi::OsString>,
    environment: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<Protected> {
    Ok(Protected { _program: crate::sys::process::daemon::go_on_read_only(arguments, environment)? })
}

/// Signals that are handed on. Opened before the program starts, so that none is lost.
#[derive(Debug)]
pub struct Foreground(Forwarded);

impl Foreground {
    /// Blocks the signals in this process.
    pub fn open() -> Result<Self> {
        Ok(Self(Forwarded::open()?))
    }

    /// Hands signals on until `process`, a child, has ended, and relays its terminal to `own`, the caller's stdin and
    /// stdout: its exit code, or 128 and the signal that ended it.
    pub fn wait(
        &self,
        process: &OwnedFd,
        terminal: Option<&OwnedFd>,
        own: [BorrowedFd<'_>; 2],
    ) -> Result<i32> {
        let exit = match terminal {
            None => self.0.until_end(process.as_fd())?,
            Some(master) => {
                let [stdin, stdout] = own;
                let relay = Relay { process: process.as_fd(), master: master.as_fd(), stdin, stdout };
                relay.until_end(&self.0)?
            }
        };
        Ok(exit.code())
    }
}
