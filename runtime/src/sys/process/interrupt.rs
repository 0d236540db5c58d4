//! Signals that a client takes as events instead of dying of them: signalfd(2), for as long as it is held.
//!
//! Invariant: the mask is as it was once the value is dropped.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::SignalFd;

use crate::sys::{Error, Result};

/// The signals that end a client from outside.
pub const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The signals that a client with a terminal in raw mode must handle.
pub const TERMINAL: [Signal; 5] =
    [Signal::SIGWINCH, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// A signal as a client tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// The terminal's window changed.
    Window,
    /// Another one: it asks the client to end.
    End,
}

/// Caught signals, readable while one waits.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    former: SigSet,
}

impl Signals {
    /// Catches `signals` from now on.
    pub fn catch(signals: &[Signal]) -> Result<Self> {
        let (descriptor, former) = super::signal::take(signals, SigmaskHow::SIG_BLOCK)?;
        Ok(Self { descriptor, former })
    }

    /// The next caught signal, if one waits.
    pub fn next(&self) -> Result<Option<Caught>> {
        let read =
            self.descriptor.read_signal().map_err(|errno| Error::new("read(signalfd)", errno as i32))?;
        let window = |number: u32| i32::try_from(number) == Ok(Signal::SIGWINCH as i32);
        Ok(read.map(|info| if window(info.ssi_signo) { Caught::Window } else { Caught::End }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Cannot fail: the set was the kernel's own.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.former), None);
    }
}
