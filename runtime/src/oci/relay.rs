//! A relayed terminal: input goes to a program's terminal, its output comes back, until the program ends. If
//! the input is not a terminal, its end is sent as a key.
//!
//! Invariant: the person's terminal has its own settings again when the call returns, however it does.

use std::os::fd::{AsFd as _, BorrowedFd};

use crate::sys::Result;
use crate::sys::io::poll::{self, Interest, Ready};
use crate::sys::io::{stream, tty};
use crate::sys::process::pidfd::{self, Exit, Wait};
use crate::sys::process::signal::{self, Forwarded};

/// The ends between which bytes go.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    /// The child, by its pidfd.
    pub(super) process: BorrowedFd<'a>,
    /// The master of its terminal; made non-blocking.
    pub(super) master: BorrowedFd<'a>,
    /// The input.
    pub(super) stdin: BorrowedFd<'a>,
    /// Where it is shown.
    pub(super) stdout: BorrowedFd<'a>,
}

/// The key for the end of the input (VEOF, `stty eof`): a file or a pipe has no other way to signal its end to
/// a program at a terminal. In the middle of a line the first one ends only the line (termios(3)).
const END_OF_INPUT: u8 = 0x04;

/// The input of the caller.
#[derive(Default)]
struct Input {
    /// Bytes that the terminal has not taken yet.
    typed: Vec<u8>,
    mid_line: bool,
    has_ended: bool,
    /// Whether the terminal was canonical when the end was typed.
    end_in: Option<bool>,
}

impl Input {
    /// Types the end, and once more where the program has changed the terminal's mode since: typed in one mode it means
    /// nothing in the other, and a shell may have come to its prompt only now.
    fn end(&mut self, is_canonical: bool) {
        if self.typed.is_empty() && self.end_in != Some(is_canonical) {
            let count = if self.end_in.is_none() && self.mid_line { 2 } else { 1 };
            self.typed.resize(count, END_OF_INPUT);
            self.end_in = Some(is_canonical);
        }
    }
}

impl Relay<'_> {
    /// Relays, and hands `signals` on, until the child has ended; reaps it.
    pub(super) fn until_end(&self, signals: &Forwarded) -> Result<Exit> {
        let terminal = tty::is_terminal(self.stdin);
        let _raw = terminal.then(|| tty::make_raw(self.stdin)).transpose()?;
        stream::set_nonblocking(self.master)?;
        self.follow_size();
        let (mut input, mut master_open) = (Input::default(), true);
        loop {
            let mut polled = vec![(self.process, Interest::Read), (signals.as_fd(), Interest::Read)];
            // An end that is closed is always ready: it is looked at no more.
            let takes = !input.has_ended && input.typed.is_empty();
            if takes {
                polled.push((self.stdin, Interest::Read));
            }
            if master_open {
                let gives = if input.typed.is_empty() { Interest::Read } else { Interest::Both };
                polled.push((self.master, gives));
            }
            let ready = poll::poll(&polled, None)?;
            let ready = |index: usize| ready.get(index).is_some_and(|one| *one != Ready::default());
            let (from_stdin, from_master) = (takes && ready(2), master_open && ready(2 + usize::from(takes)));
            while let Some(signal) = signals.next() {
                match signal {
                    signal::WINDOW => self.follow_size(),
                    signal => signal::send(self.process, signal)?,
                }
            }
            if from_stdin {
                self.take(&mut input)?;
            }
            if from_master {
                master_open = self.show()?;
            }
            if input.has_ended && !terminal {
                input.end(tty::is_canonical(self.master));
            }
            if !input.typed.is_empty() {
                self.give(&mut input.typed);
            }
            let ended =
                pidfd::reap(self.process, Wait::Poll).map_err(|errno| errno.during("waitid(P_PIDFD)"))?;
            if let Some(exit) = ended {
                // The last output is still in the terminal.
                while master_open {
                    master_open = self.show()? && self.has_more();
                }
                return Ok(exit);
            }
        }
    }

    fn follow_size(&self) {
        if let Some(size) = tty::window(self.stdin) {
            // The program keeps its window size.
            let _ = tty::set_window(self.master, size);
        }
    }

    /// Reads the input.
    fn take(&self, input: &mut Input) -> Result<()> {
        let mut buffer = [0; 4096];
        let count = stream::read(self.stdin, &mut buffer)?;
        input.typed.extend_from_slice(buffer.get(..count.unwrap_or(0)).unwrap_or_default());
        input.mid_line = input.typed.last().map_or(input.mid_line, |last| !b"\n\r".contains(last));
        input.has_ended = count == Some(0);
        Ok(())
    }

    fn give(&self, typed: &mut Vec<u8>) {
        match stream::write(self.master, typed) {
            Ok(Some(count)) => drop(typed.drain(..count)),
            Ok(None) => {}
            // The terminal is closed.
            Err(_) => typed.clear(),
        }
    }

    /// Shows the program's output; false once its terminal is closed (EIO).
    fn show(&self) -> Result<bool> {
        let mut buffer = [0; 4096];
        match stream::read(self.master, &mut buffer) {
            Ok(None) => Ok(true),
            Ok(Some(0)) | Err(_) => Ok(false),
            Ok(Some(count)) => {
                let mut rest = buffer.get(..count).unwrap_or_default();
                while !rest.is_empty() {
                    let written = stream::write(self.stdout, rest)?.unwrap_or(0);
                    rest = rest.get(written..).unwrap_or_default();
                }
                Ok(true)
            }
        }
    }

    fn has_more(&self) -> bool {
        poll::wait_readable(self.master, std::time::Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_typed_once_in_each_mode_and_twice_in_a_line() {
        let mut input = Input { mid_line: true, ..Input::default() };
        let mut typed = |is_canonical| {
            input.end(is_canonical);
            std::mem::take(&mut input.typed).len()
        };
        assert_eq!([true, true, false, false, true].map(&mut typed), [2, 0, 1, 0, 1]);
    }
}
