//! A command that stands for a program in a container until it ends: `run` and `exec` without `--detach`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::error::Result;
use crate::sys::io::relay::Relay;
use crate::sys::process::daemon::Program;
use crate::sys::process::signal::Forwarded;

/// What a command that goes on in a protected binary holds of it: a mount, whose end waits for the kernel some
/// milliseconds. So it goes while a container's process is on its way; that has no copy of it, since a child closes what its
/// plan does not name before anything else.
#[derive(Debug, Default)]
pub struct Protected {
    _program: Option<Program>,
}

/// Goes on in a binary that no container can write to: to be called first of all by what makes containers.
/// The arguments and the environment are this process's own.
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
