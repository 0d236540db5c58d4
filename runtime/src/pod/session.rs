//! A client's end of `exec` and `attach`: copies between its own standard streams and a container's.
//!
//! Invariants: the caller's terminal is as it was on every way out, a signal that ends the client
//! included; and no copy waits for another. Each direction has one buffer, a full one stops reading
//! of that direction only, so that `tar` both ways through one session cannot deadlock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::client::{Client, Ends, Notice};
use super::protocol::Exit;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::io::poll::{self, Interest, Ready};
use crate::sys::io::{stream, tty};
use crate::sys::process::interrupt::{self, Caught, Signals};

/// The most bytes of one read or write: the capacity of a pipe.
const CHUNK: usize = 64 << 10;

/// Ctrl-P and Ctrl-Q, which leave a terminal without ending its program.
const DETACH: [u8; 2] = [0x10, 0x11];

/// How a session is held.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Standard input is copied in.
    pub stdin: bool,
    /// The far side is a terminal: the caller's goes into raw mode, and its window is followed.
    pub tty: bool,
    /// Ctrl-P Ctrl-Q ends the session (attach).
    pub detach: bool,
    /// The `exec` whose end ends the session; absent, the session ends with its streams.
    pub exec: Option<u64>,
    /// The container whose terminal follows the window, where the monitor holds it (attach).
    pub container: Option<&'a str>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The process ended.
    Exited(Exit),
    /// The streams were closed from the far side.
    Closed,
    /// The user left by Ctrl-P Ctrl-Q.
    Detached,
}

/// Rows and columns of the caller's terminal, if standard input is one.
pub fn window() -> Option<(u16, u16)> {
    window_of(io::stdin())
}

/// Rows and columns of `stream`'s terminal, if it is one.
pub fn window_of(stream: impl AsFd) -> Option<(u16, u16)> {
    tty::window(stream)
}

/// Copies until the session ends.
///
/// # Errors
/// [`ErrorKind::Interrupted`] when a signal ended it; [`ErrorKind::NotFound`] when the monitor has gone.
pub fn run(monitor: &mut Client, ends: Ends, options: Options<'_>) -> Result<Ended> {
    let signals = Signals::catch(if options.tty { &interrupt::TERMINAL } else { &[] })?;
    let stdin = io::stdin();
    let is_raw = options.tty && tty::is_terminal(stdin.as_fd());
    let _raw = is_raw.then(|| tty::make_raw(stdin.as_fd())).transpose()?;
    let mut session = Session::new(ends, options)?;
    session.follow_window(monitor)?;
    loop {
        if let Some(ended) = session.round(monitor, &signals)? {
            return Ok(ended);
        }
    }
}

/// One direction: from a readable end through a buffer to a writable one.
struct Direction {
    from: Option<Source>,
    to: Option<Sink>,
    buffer: Vec<u8>,
    /// How much of `buffer` is written already.
    written: usize,
}

enum Source {
    Caller,
    Far(OwnedFd),
}

enum Sink {
    CallerStdout,
    CallerStderr,
    Far(OwnedFd),
}

impl Source {
    fn with<R>(&self, act: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
        match self {
            Self::Caller => act(io::stdin().as_fd()),
            Self::Far(end) => act(end.as_fd()),
        }
    }
}

impl Direction {
    fn new(from: Source, to: Sink) -> Self {
        Self { from: Some(from), to: Some(to), buffer: Vec::new(), written: 0 }
    }

    fn pending(&self) -> bool {
        self.written < self.buffer.len()
    }

    /// Nothing more will come out of it.
    fn is_over(&self) -> bool {
        self.to.is_none() || (self.from.is_none() && !self.pending())
    }

    /// Reads the next chunk; at the end of the source, the source is dropped.
    fn fill(&mut self) {
        let Some(source) = &self.from else { return };
        self.buffer.resize(CHUNK, 0);
        self.written = 0;
        let read = source.with(|end| stream::read(end, &mut self.buffer));
        self.buffer.truncate(read.as_ref().map_or(0, |count| count.unwrap_or(0)));
        // A terminal whose other end is closed reads as EIO.
        if matches!(read, Ok(Some(0)) | Err(_)) {
            self.from = None;
        }
    }

    /// Writes as much as fits. An end without a reader ends the whole direction, which the writer notices:
    /// `exec web -- yes | head -1` ends.
    fn drain(&mut self) {
        let rest = &self.buffer[self.written..];
        let wrote = match &self.to {
            Some(Sink::Far(end)) => stream::write(end.as_fd(), rest),
            // The caller's own streams block: their reader sets the pace.
            Some(Sink::CallerStdout) => stream::write(io::stdout().as_fd(), rest),
            Some(Sink::CallerStderr) => stream::write(io::stderr().as_fd(), rest),
            None => return,
        };
        match wrote {
            Ok(count) => self.written += count.unwrap_or(0),
            Err(_) => *self = Self { from: None, to: None, buffer: Vec::new(), written: 0 },
        }
    }

    /// Writes all of it, however long the reader takes.
    fn drain_whole(&mut self) -> Result<()> {
        while self.pending() {
            self.drain();
            if self.pending() {
                let sink = match &self.to {
                    Some(Sink::CallerStderr) => poll::poll(&[(io::stderr().as_fd(), Interest::Write)], None),
                    _ => poll::poll(&[(io::stdout().as_fd(), Interest::Write)], None),
                };
                sink?;
            }
        }
        Ok(())
    }
}

struct Session<'a> {
    options: Options<'a>,
    input: Option<Direction>,
    outputs: Vec<Direction>,
    /// The terminal that this side holds itself (exec): its window is set here.
    terminal: Option<OwnedFd>,
    exit: Option<Exit>,
    /// A Ctrl-P was read last, and is held back until the next key.
    held_back: bool,
}

impl<'a> Session<'a> {
    fn new(ends: Ends, options: Options<'a>) -> Result<Self> {
        let mut outputs = Vec::new();
        let mut far_input = ends.stdin;
        if let Some(terminal) = &ends.terminal {
            outputs
                .push(Direction::new(Source::Far(stream::duplicate(terminal.as_fd())?), Sink::CallerStdout));
            far_input = Some(stream::duplicate(terminal.as_fd())?);
        }
        outputs.extend(ends.stdout.map(|end| Direction::new(Source::Far(end), Sink::CallerStdout)));
        outputs.extend(ends.stderr.map(|end| Direction::new(Source::Far(end), Sink::CallerStderr)));
        let input = match far_input.filter(|_| options.stdin) {
            Some(end) => {
                // So that a full one does not keep this side from reading.
                stream::set_nonblocking(end.as_fd())?;
                Some(Direction::new(Source::Caller, Sink::Far(end)))
            }
            None => None,
        };
        Ok(Self { options, input, outputs, terminal: ends.terminal, exit: None, held_back: false })
    }

    /// Waits for streams to become ready, copies between them, and returns whether the session is over.
    fn round(&mut self, monitor: &mut Client, signals: &Signals) -> Result<Option<Ended>> {
        let ready = self.wait(monitor, signals)?;
        if ready.signal {
            self.on_signal(signals, monitor)?;
        }
        for (copy, ready) in self.outputs.iter_mut().zip(&ready.outputs) {
            if ready.readable {
                copy.fill();
                copy.drain_whole()?;
            }
        }
        if self.move_input(ready.input, ready.input_sink)? {
            return Ok(Some(Ended::Detached));
        }
        if ready.monitor && self.exit.is_none() {
            self.listen(monitor)?;
        }
        self.outputs.retain(|copy| !copy.is_over());
        Ok(match self.exit {
            // The process's output was written whole before its end was told: when nothing can be
            // read any more it has all come through, even if a child of it keeps the pipe open.
            Some(exit) if !ready.outputs.iter().any(|output| output.readable) => Some(Ended::Exited(exit)),
            None if self.outputs.is_empty() && self.options.exec.is_none() => Some(Ended::Closed),
            _ => None,
        })
    }

    fn wait(&self, monitor: &Client, signals: &Signals) -> Result<Round> {
        let (stdin, mut polled) = (io::stdin(), Vec::new());
        polled.push((monitor.as_fd(), Interest::Read));
        polled.push((signals.as_fd(), Interest::Read));
        for copy in &self.outputs {
            if let Some(Source::Far(end)) = &copy.from {
                polled.push((end.as_fd(), Interest::Read));
            }
        }
        if let Some(copy) = &self.input {
            match (&copy.to, copy.pending()) {
                (Some(Sink::Far(end)), true) => polled.push((end.as_fd(), Interest::Write)),
                _ if copy.from.is_some() => polled.push((stdin.as_fd(), Interest::Read)),
                _ => {}
            }
        }
        let now = self.exit.is_some() || monitor.has_notice();
        let ready = poll::poll(&polled, now.then_some(Duration::ZERO))?;
        let outputs = self.outputs.len();
        let last = ready.get(2 + outputs).copied().unwrap_or_default();
        let writes = self.input.as_ref().is_some_and(Direction::pending);
        Ok(Round {
            monitor: ready[0].readable || monitor.has_notice(),
            signal: ready[1].readable,
            outputs: ready[2..2 + outputs].to_vec(),
            input: last.readable && !writes,
            input_sink: last.writable && writes,
        })
    }

    /// Moves input; true when the user has left.
    fn move_input(&mut self, readable: bool, writable: bool) -> Result<bool> {
        let Some(copy) = &mut self.input else { return Ok(false) };
        if readable {
            copy.fill();
            if self.options.detach && self.options.tty {
                let left = leave_out_detach(&mut copy.buffer, &mut self.held_back);
                if left {
                    return Ok(true);
                }
            }
        }
        if (readable || writable) && copy.pending() {
            copy.drain();
        }
        if copy.is_over() {
            // Close the far end: a half-closed session goes on with its output.
            self.input = None;
        }
        Ok(false)
    }

    fn listen(&mut self, monitor: &mut Client) -> Result<()> {
        match monitor.next(Some(std::time::Instant::now())) {
            Ok(Some(Notice::Exited { id, exit })) if Some(id) == self.options.exec => {
                self.exit = Some(exit);
                self.input = None;
            }
            // The monitor exits with its pod, and its ends of the streams close: read the rest, then end the
            // session.
            Err(error) if error.kind() == ErrorKind::NotFound && self.options.exec.is_none() => {}
            told => {
                told?;
            }
        }
        Ok(())
    }

    fn on_signal(&mut self, signals: &Signals, monitor: &mut Client) -> Result<()> {
        match signals.next()? {
            None => Ok(()),
            Some(Caught::Window) => self.follow_window(monitor),
            Some(Caught::End) => Err(Error::new(ErrorKind::Interrupted, "the session was interrupted")),
        }
    }

    fn follow_window(&self, monitor: &mut Client) -> Result<()> {
        let Some(size) = window().filter(|_| self.options.tty) else { return Ok(()) };
        match (&self.terminal, self.options.container) {
            (Some(terminal), _) => Ok(tty::set_window(terminal, size)?),
            // The terminal of an ended container needs no size, and its output is still to be read.
            (None, Some(container)) => match monitor.resize(container, size.0, size.1) {
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::State) => Err(error),
                _ => Ok(()),
            },
            (None, None) => Ok(()),
        }
    }
}

/// The result of one round of polling.
struct Round {
    monitor: bool,
    signal: bool,
    outputs: Vec<Ready>,
    input: bool,
    input_sink: bool,
}

/// Takes the keys of a detach out of `keys`; true when they were pressed. A first key at the end of
/// one read is held back for the next.
fn leave_out_detach(keys: &mut Vec<u8>, held_back: &mut bool) -> bool {
    if keys.is_empty() {
        return false;
    }
    if std::mem::take(held_back) {
        keys.insert(0, DETACH[0]);
    }
    if let Some(at) = keys.windows(2).position(|pair| pair == DETACH) {
        keys.truncate(at);
        return true;
    }
    if keys.last() == Some(&DETACH[0]) {
        keys.pop();
        *held_back = true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(reads: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut passed, mut held_back) = (Vec::new(), false);
        for read in reads {
            let mut keys = read.to_vec();
            let left = leave_out_detach(&mut keys, &mut held_back);
            passed.extend_from_slice(&keys);
            if left {
                return (passed, true);
            }
        }
        (passed, false)
    }

    #[test]
    fn ctrl_p_ctrl_q_leaves_even_when_it_comes_in_two_reads() {
        assert_eq!(typed(&[b"ls\r\x10\x11rest"]), (b"ls\r".to_vec(), true));
        assert_eq!(typed(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
    }

    #[test]
    fn a_lone_ctrl_p_is_passed_on() {
        assert_eq!(typed(&[b"\x10", b"x"]), (b"\x10x".to_vec(), false));
        assert_eq!(typed(&[b"\x10", b"\x10", b"\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(&[b"\x11"]), (b"\x11".to_vec(), false));
    }
}
