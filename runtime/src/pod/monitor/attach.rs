//! The attachers of a container: pipes from them into its standard input, and copies of its outputs.
//!
//! Invariants: an attacher that reads too little pauses the streams it has attached to, never the loop; one that is
//! gone is forgotten, with its half-written copy.

use std::os::fd::{AsFd, OwnedFd};

use super::container::Container;
use super::log::Log;
use super::serve::Waiter;
use super::streams::Which;
use super::{CHUNK, Monitor, Token};
use crate::error::{Error, Result};
use crate::pod::protocol::{Reply, Streams as Sent};
use crate::sys::io::epoll::{Epoll, Interest, Ready};
use crate::sys::io::{pty, stream};

/// One attacher's copy of an output.
#[derive(Debug)]
struct Copy {
    fd: OwnedFd,
    /// Bytes that did not fit; until they do, the stream is not read.
    pending: Vec<u8>,
    /// The stream has come to its end: closed when nothing is pending.
    ending: bool,
}

/// One client that attached.
#[derive(Debug)]
struct Attacher {
    number: u16,
    stdin: Option<OwnedFd>,
    copies: [Option<Copy>; 2],
}

impl Attacher {
    fn token(&self, slot: u32, which: Which) -> u64 {
        Token::Attacher(slot, self.number, which).pack()
    }

    fn is_gone(&self) -> bool {
        self.stdin.is_none() && self.copies.iter().all(Option::is_none)
    }
}

/// All that attached to one container.
#[derive(Debug, Default)]
pub(super) struct Attachers {
    present: Vec<Attacher>,
    next: u16,
    /// Whether standard input may be read from them; not while the container's is full.
    stdin_paused: bool,
    /// Output from before the first attacher, kept for it (stdinOnce). `None` after that, or once there was too
    /// much.
    early: Option<[Vec<u8>; 2]>,
}

/// How much of an output is kept for the first attacher: the capacity of an empty pipe.
const EARLY: usize = 64 << 10;

impl Attachers {
    /// No attacher yet; output is kept for the first.
    pub(super) fn expecting_one() -> Self {
        Self { early: Some(Default::default()), ..Self::default() }
    }

    fn keep_early(&mut self, which: Which, bytes: &[u8]) {
        if let Some(early) = &mut self.early {
            let kept = &mut early[which.output_index()];
            kept.extend_from_slice(bytes);
            if kept.len() > EARLY {
                self.early = None;
            }
        }
    }

    /// Copies output to all. True: an attacher is full, and the stream must pause.
    pub(super) fn write(&mut self, epoll: &Epoll, slot: u32, which: Which, bytes: &[u8]) -> bool {
        self.keep_early(which, bytes);
        let mut full = false;
        for attacher in &mut self.present {
            let token = attacher.token(slot, which);
            let Some(copy) = &mut attacher.copies[which.output_index()] else { continue };
            match stream::write(copy.fd.as_fd(), bytes) {
                Ok(count) if count == Some(bytes.len()) => {}
                Ok(count) => {
                    copy.pending.extend_from_slice(&bytes[count.unwrap_or(0)..]);
                    full |= epoll.modify(&copy.fd, token, Interest::Write).is_ok();
                }
                Err(_) => {
                    epoll.remove(&copy.fd);
                    attacher.copies[which.output_index()] = None;
                }
            }
        }
        full
    }

    /// An output has come to its end.
    pub(super) fn end(&mut self, epoll: &Epoll, which: Which) {
        for attacher in &mut self.present {
            let place = &mut attacher.copies[which.output_index()];
            match place {
                Some(copy) if !copy.pending.is_empty() => copy.ending = true,
                Some(copy) => {
                    epoll.remove(&copy.fd);
                    *place = None;
                }
                None => {}
            }
        }
        self.forget_gone();
    }

    /// An attacher's pipe has room again, or lost its reader. True: no attacher holds the stream back now.
    fn flush(&mut self, epoll: &Epoll, slot: u32, number: u16, which: Which, news: Ready) -> bool {
        if let Some(attacher) = self.present.iter_mut().find(|attacher| attacher.number == number) {
            let token = attacher.token(slot, which);
            let place = &mut attacher.copies[which.output_index()];
            if let Some(copy) = place {
                let written = if news.closed {
                    Err(())
                } else {
                    stream::write(copy.fd.as_fd(), &copy.pending).map_err(drop)
                };
                let alive = match written {
                    Ok(count) => {
                        copy.pending.drain(..count.unwrap_or(0));
                        !copy.pending.is_empty() || !copy.ending
                    }
                    Err(()) => false,
                };
                if !alive {
                    epoll.remove(&copy.fd);
                    *place = None;
                } else if copy.pending.is_empty() {
                    copy.pending = Vec::new();
                    let _ = epoll.modify(&copy.fd, token, Interest::Closed);
                }
            }
        }
        self.forget_gone();
        let holds = |attacher: &Attacher| {
            attacher.copies[which.output_index()].as_ref().is_some_and(|copy| !copy.pending.is_empty())
        };
        !self.present.iter().any(holds)
    }

    /// Reads from no attacher until [`Attachers::resume_stdin`].
    fn pause_stdin(&mut self, epoll: &Epoll) {
        self.stdin_paused = true;
        for attacher in &self.present {
            if let Some(fd) = &attacher.stdin {
                epoll.remove(fd);
            }
        }
    }

    /// The container's standard input has room again.
    pub(super) fn resume_stdin(&mut self, epoll: &Epoll, slot: u32) {
        if std::mem::take(&mut self.stdin_paused) {
            for attacher in &self.present {
                if let Some(fd) = &attacher.stdin {
                    let _ = epoll.add(fd, attacher.token(slot, Which::Stdin), Interest::Read);
                }
            }
        }
    }

    fn forget_gone(&mut self) {
        self.present.retain(|attacher| !attacher.is_gone());
    }
}

impl Monitor {
    /// Answers `attach`.
    pub(super) fn attach_for(&mut self, container: &str, stdin: bool, waiter: Waiter) {
        match self.attach(container, stdin) {
            Ok((sent, theirs)) => self.answer_with(waiter, Ok(Reply::Streams(sent)), theirs),
            Err(error) => self.answer(waiter, Err(error)),
        }
    }

    fn attach(&mut self, id: &str, stdin: bool) -> Result<(Sent, Vec<OwnedFd>)> {
        let slot = self.slot_of(id)?;
        let epoll = &self.epoll;
        let Some(container) = self.containers.iter_mut().find(|container| container.slot == slot) else {
            return Err(Error::failed(format!("container {id:?} is gone")));
        };
        if !container.is_alive() {
            return Err(container.not_running());
        }
        let streams = &mut container.streams;
        let early = streams.attachers.early.take().unwrap_or_default();
        let mut sent = Sent { stdin: stdin && streams.has_stdin(), ..Sent::default() };
        let attachers = &mut streams.attachers;
        let mut attacher = Attacher { number: attachers.next, stdin: None, copies: [None, None] };
        let mut theirs = Vec::new();
        if sent.stdin {
            let (read, write) = pty::pipe()?;
            stream::set_nonblocking(read.as_fd())?;
            if !attachers.stdin_paused {
                epoll.add(&read, attacher.token(slot, Which::Stdin), Interest::Read)?;
            }
            attacher.stdin = Some(read);
            theirs.push(write);
        }
        attachers.next = attachers.next.wrapping_add(1);
        for (which, early) in Which::OUTPUTS.into_iter().zip(early) {
            let open = container.streams.has_output(which);
            if !open && early.is_empty() {
                continue;
            }
            let (read, write) = pty::pipe()?;
            stream::set_nonblocking(write.as_fd())?;
            if !early.is_empty() {
                stream::write(write.as_fd(), &early)?;
            }
            if open {
                epoll.add(&write, attacher.token(slot, which), Interest::Closed)?;
                let copy = Copy { fd: write, pending: Vec::new(), ending: false };
                attacher.copies[which.output_index()] = Some(copy);
            }
            theirs.push(read);
            *if which == Which::Stdout { &mut sent.stdout } else { &mut sent.stderr } = true;
        }
        container.streams.attachers.present.push(attacher);
        Ok((sent, theirs))
    }

    /// A stream of an attacher can be moved on.
    pub(super) fn attacher_ready(&mut self, slot: u32, number: u16, which: Which, news: Ready) {
        let Some(container) = self.containers.iter_mut().find(|container| container.slot == slot) else {
            return;
        };
        if which != Which::Stdin {
            if container.streams.attachers.flush(&self.epoll, slot, number, which, news) {
                container.streams.resume(&self.epoll, slot, which);
            }
            return;
        }
        let streams = &mut container.streams;
        let Some(attacher) = streams.attachers.present.iter_mut().find(|attacher| attacher.number == number)
        else {
            return;
        };
        let Some(fd) = &attacher.stdin else { return };
        match stream::read(fd.as_fd(), &mut self.buffer[..CHUNK]) {
            Ok(Some(count)) if count > 0 => {
                if !streams.write_stdin(&self.epoll, slot, &self.buffer[..count]) {
                    streams.attachers.pause_stdin(&self.epoll);
                }
            }
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => {
                self.epoll.remove(fd);
                attacher.stdin = None;
                streams.attachers.forget_gone();
                // A terminal can be left and joined again; a pipe ends with its writer.
                if container.spec.stdin_once && !streams.terminal {
                    streams.close_stdin();
                }
            }
        }
    }

    /// The container with this id, if it has a process.
    fn alive(&mut self, id: &str) -> Result<&mut Container> {
        let slot = self.slot_of(id)?;
        let container = self.container(slot).ok_or_else(|| Error::failed("the container is gone"))?;
        if container.is_alive() { Ok(container) } else { Err(container.not_running()) }
    }

    /// Answers `resize`.
    pub(super) fn resize_container(&mut self, id: &str, rows: u16, columns: u16) -> Result<()> {
        self.alive(id)?.streams.resize(rows, columns)
    }

    /// Answers `close-stdin`.
    pub(super) fn close_stdin(&mut self, id: &str) -> Result<()> {
        self.alive(id)?.streams.close_stdin();
        Ok(())
    }

    /// Answers `reopen-log`.
    pub(super) fn reopen_log(&mut self, id: &str) -> Result<()> {
        self.alive(id)?.log.as_mut().map_or(Ok(()), Log::reopen)
    }
}
