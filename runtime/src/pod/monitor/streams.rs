//! A container's standard streams in the monitor: output to the log and to attachers, input from them.
//!
//! Invariants: nothing here waits. One round moves a bounded amount of one stream. A full reader of a stream pauses
//! that stream and no other: the container feels it as a full pipe, the monitor not at all.

use std::os::fd::{AsFd, OwnedFd};

use super::attach::Attachers;
use super::log::{Log, Source};
use super::{CHUNK, Monitor, Token};
use crate::engine::{Nodes, Stdio};
use crate::error::Result;
use crate::sys::io::epoll::{Epoll, Interest, Ready};
use crate::sys::io::{pty, stream, tty};

/// How many reads of one stream one event is worth; then the others have their turn.
const READS_PER_ROUND: usize = 4;

/// The most that a pipe holds, as the kernel lets anyone set it.
const PIPE_MAX: usize = 1 << 20;

/// One of a process's standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Which {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
}

impl Which {
    /// Both outputs.
    pub(super) const OUTPUTS: [Self; 2] = [Self::Stdout, Self::Stderr];

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr].into_iter().find(|which| *which as u8 == number)
    }

    /// Where an output stands among the outputs.
    pub(super) fn output_index(self) -> usize {
        usize::from(self == Self::Stderr)
    }

    fn source(self) -> Source {
        if self == Self::Stderr { Source::Stderr } else { Source::Stdout }
    }
}

/// The monitor's end of a container's standard input.
#[derive(Debug)]
struct Input {
    fd: OwnedFd,
    /// Bytes that did not fit; until they do, no attacher is read.
    pending: Vec<u8>,
    /// To be closed when nothing is pending.
    closing: bool,
}

/// The monitor's end of one of a container's outputs.
#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    /// Whether epoll watches it: not while a reader is full.
    watched: bool,
}

/// The monitor's ends of a container's streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    stdin: Option<Input>,
    outputs: [Option<Output>; 2],
    pub(super) attachers: Attachers,
    /// All of them are one terminal: its output is standard output.
    pub(super) terminal: bool,
}

/// Makes a process's streams: the child's ends, and the parent's in the order stdin, stdout, stderr. With a terminal
/// (its master and its peer) the parent's one end is its standard output; without standard input it has one of `nodes`.
pub(super) fn make(
    terminal: Option<(OwnedFd, OwnedFd)>,
    stdin: bool,
    nodes: &mut Nodes<'_>,
) -> Result<(Stdio, [Option<OwnedFd>; 3])> {
    if let Some((master, peer)) = terminal {
        let stdio = Stdio {
            stdin: stream::duplicate(peer.as_fd())?,
            stdout: stream::duplicate(peer.as_fd())?,
            stderr: peer,
        };
        return Ok((stdio, [None, Some(master), None]));
    }
    let (child_stdin, our_stdin) = if stdin {
        let (read, write) = pty::pipe()?;
        (read, Some(write))
    } else {
        (nodes.null()?, None)
    };
    let (our_stdout, stdout) = pty::pipe()?;
    let (our_stderr, stderr) = pty::pipe()?;
    let stdio = Stdio { stdin: child_stdin, stdout, stderr };
    Ok((stdio, [our_stdin, Some(our_stdout), Some(our_stderr)]))
}

impl Streams {
    /// Makes the streams of the container in `slot`, as [`make`] does, and has its outputs watched.
    pub(super) fn open(
        epoll: &Epoll,
        slot: u32,
        pair: Option<(OwnedFd, OwnedFd)>,
        stdin: bool,
        nodes: &mut Nodes<'_>,
    ) -> Result<(Self, Stdio)> {
        let terminal = pair.is_some();
        let (stdio, [our_stdin, stdout, stderr]) = make(pair, stdin, nodes)?;
        let our_stdin = match &stdout {
            Some(master) if terminal && stdin => Some(stream::duplicate(master.as_fd())?),
            _ => our_stdin,
        };
        let mut streams = Self { terminal, ..Self::default() };
        if let Some(fd) = our_stdin {
            stream::set_nonblocking(fd.as_fd())?;
            streams.stdin = Some(Input { fd, pending: Vec::new(), closing: false });
        }
        for (which, fd) in Which::OUTPUTS.into_iter().zip([stdout, stderr]) {
            if let Some(fd) = fd {
                stream::set_nonblocking(fd.as_fd())?;
                epoll.add(&fd, Token::Stream(slot, which).pack(), Interest::Read)?;
                streams.outputs[which.output_index()] = Some(Output { fd, watched: true });
            }
        }
        Ok((streams, stdio))
    }

    /// Whether no output can come any more.
    pub(super) fn drained(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Whether there is a standard input to write to.
    pub(super) fn has_stdin(&self) -> bool {
        self.stdin.as_ref().is_some_and(|input| !input.closing)
    }

    /// Whether there is this output to read from.
    pub(super) fn has_output(&self, which: Which) -> bool {
        self.outputs[which.output_index()].is_some()
    }

    /// Sets the terminal's window.
    pub(super) fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        if let (true, Some(master)) = (self.terminal, &self.outputs[0]) {
            tty::set_window(&master.fd, (rows, columns))?;
        }
        Ok(())
    }

    /// Copies an output, a bounded amount of it, to the log and to attachers.
    fn pump(&mut self, epoll: &Epoll, slot: u32, which: Which, log: &mut Option<Log>, buffer: &mut [u8]) {
        for _ in 0..READS_PER_ROUND {
            let Some(output) = &self.outputs[which.output_index()] else { return };
            match stream::read(output.fd.as_fd(), buffer) {
                Ok(Some(count)) if count > 0 => {
                    let bytes = &buffer[..count];
                    if let Some(log) = log {
                        log.write(which.source(), bytes);
                    }
                    if self.attachers.write(epoll, slot, which, bytes) {
                        return self.pause(epoll, which);
                    }
                }
                Ok(None) => return,
                // A terminal whose last peer is closed gives EIO: that is its end.
                Ok(Some(_)) | Err(_) => return self.end_output(epoll, which, log),
            }
        }
    }

    fn pause(&mut self, epoll: &Epoll, which: Which) {
        if let Some(output) = &mut self.outputs[which.output_index()] {
            // Not just another interest: a closed other end would be told for ever.
            epoll.remove(&output.fd);
            output.watched = false;
        }
    }

    /// Resumes an output whose reader was full.
    pub(super) fn resume(&mut self, epoll: &Epoll, slot: u32, which: Which) {
        if let Some(output) = self.outputs[which.output_index()].as_mut().filter(|output| !output.watched) {
            let watched = epoll.add(&output.fd, Token::Stream(slot, which).pack(), Interest::Read);
            output.watched = watched.is_ok();
        }
    }

    /// An output has come to its end, or is given up.
    fn end_output(&mut self, epoll: &Epoll, which: Which, log: &mut Option<Log>) {
        if let Some(output) = self.outputs[which.output_index()].take() {
            epoll.remove(&output.fd);
            if let Some(log) = log {
                log.finish(which.source());
            }
            self.attachers.end(epoll, which);
        }
    }

    /// Writes the rest of an ended process's pipes to the log, at most the capacity of a pipe: an attacher that
    /// does not read must not cost the log its end.
    fn log_rest(&self, log: &mut Option<Log>, buffer: &mut [u8]) {
        let Some(log) = log else { return };
        for which in Which::OUTPUTS {
            let Some(output) = &self.outputs[which.output_index()] else { continue };
            for _ in 0..PIPE_MAX / CHUNK {
                match stream::read(output.fd.as_fd(), buffer) {
                    Ok(Some(count)) if count > 0 => log.write(which.source(), &buffer[..count]),
                    _ => break,
                }
            }
        }
    }

    /// Gives up every output that has not come to its end.
    pub(super) fn end_outputs(&mut self, epoll: &Epoll, log: &mut Option<Log>) {
        for which in Which::OUTPUTS {
            self.end_output(epoll, which, log);
        }
    }

    /// Writes to standard input. False: it is full, and attachers must wait.
    pub(super) fn write_stdin(&mut self, epoll: &Epoll, slot: u32, bytes: &[u8]) -> bool {
        let Some(input) = &mut self.stdin else { return true };
        if input.pending.is_empty() {
            let written = match stream::write(input.fd.as_fd(), bytes) {
                Ok(count) => count.unwrap_or(0),
                Err(_) => {
                    self.drop_stdin(epoll);
                    return true;
                }
            };
            if written == bytes.len() {
                return true;
            }
            input.pending.extend_from_slice(&bytes[written..]);
            let _ = epoll.add(&input.fd, Token::Stream(slot, Which::Stdin).pack(), Interest::Write);
        } else {
            input.pending.extend_from_slice(bytes);
        }
        false
    }

    /// Standard input has room again. True: attachers may go on.
    fn flush_stdin(&mut self, epoll: &Epoll) -> bool {
        let Some(input) = &mut self.stdin else { return true };
        match stream::write(input.fd.as_fd(), &input.pending) {
            Ok(count) => drop(input.pending.drain(..count.unwrap_or(0))),
            Err(_) => {
                self.drop_stdin(epoll);
                return true;
            }
        }
        if !input.pending.is_empty() {
            return false;
        }
        input.pending = Vec::new();
        epoll.remove(&input.fd);
        if input.closing {
            self.stdin = None;
        }
        true
    }

    /// Closes standard input once all that was written to it is in.
    pub(super) fn close_stdin(&mut self) {
        match &mut self.stdin {
            Some(input) if !input.pending.is_empty() => input.closing = true,
            _ => self.stdin = None,
        }
    }

    fn drop_stdin(&mut self, epoll: &Epoll) {
        if let Some(input) = self.stdin.take() {
            epoll.remove(&input.fd);
        }
    }
}

impl Monitor {
    /// One of a container's streams can be moved on.
    pub(super) fn stream_ready(&mut self, slot: u32, which: Which, _news: Ready) {
        let Some(container) = self.containers.iter_mut().find(|container| container.slot == slot) else {
            return;
        };
        if which == Which::Stdin {
            if container.streams.flush_stdin(&self.epoll) {
                container.streams.attachers.resume_stdin(&self.epoll, slot);
            }
            return;
        }
        container.streams.pump(&self.epoll, slot, which, &mut container.log, &mut self.buffer[..CHUNK]);
        self.end_if_drained(slot);
    }

    /// The output of an ended container has not come to its end in time: another process holds its pipes open.
    pub(super) fn drain_overdue(&mut self, slot: u32) {
        let Some(container) = self.containers.iter_mut().find(|container| container.slot == slot) else {
            return;
        };
        container.streams.log_rest(&mut container.log, &mut self.buffer[..CHUNK]);
        container.streams.end_outputs(&self.epoll, &mut container.log);
        self.end_if_drained(slot);
    }
}
