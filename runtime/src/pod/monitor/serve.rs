//! Clients: connections, frames, and which function answers which request.
//!
//! Invariants: a client is root, by the kernel's word. No client can make the monitor wait: replies that it
//! does not read are buffered up to a bound, then it is cut off. A connection's end cancels only its own exec'd
//! processes, and, if it is the owner's before `commit`, the pod.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Monitor, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::pod::protocol::{FRAME_MAX, Failure, Maker, Message, Op, Reply, Request, VERSION};
use crate::sys::io::epoll::{Epoll, Interest, Ready};
use crate::sys::io::{socket, stream};

/// How much a client may leave unread.
const UNREAD_MAX: usize = 4 << 20;

/// The request that a monitor's life begins with.
#[derive(Debug)]
pub(super) struct Hello {
    id: u64,
    version: u32,
}

/// A client to answer when its request is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) connection: u32,
    pub(super) request: u64,
}

/// A frame on its way out, or the rest of it.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    received: Vec<u8>,
    outgoing: VecDeque<Outgoing>,
    /// The last write did not fit.
    blocked: bool,
    /// Whether it is told of changes.
    watching: bool,
}

/// All clients, by a number that is not used again.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: BTreeMap<u32, Connection>,
    next: u32,
    /// Clients to which a message could not be sent. They are hung up between events, never during one: the
    /// owner's end undoes the pod, on which the sender is still working.
    lost: Vec<u32>,
}

impl Connections {
    /// Takes a connected socket in.
    pub(super) fn admit(&mut self, epoll: &Epoll, socket: OwnedFd) -> Result<u32> {
        stream::set_nonblocking(socket.as_fd())?;
        let number = self.next;
        self.next += 1;
        epoll.add(&socket, Token::Connection(number).pack(), Interest::Read)?;
        let connection = Connection {
            socket,
            received: Vec::new(),
            outgoing: VecDeque::new(),
            blocked: false,
            watching: false,
        };
        self.open.insert(number, connection);
        Ok(number)
    }

    /// The clients that watch.
    pub(super) fn watchers(&self) -> Vec<u32> {
        self.open.iter().filter(|(_, connection)| connection.watching).map(|(number, _)| *number).collect()
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Connection> {
        self.open.get_mut(&number)
    }

    /// Lets go of every client.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// Queues a frame, which goes with all others of this round: a client woken by the first of them would take the
    /// processor from this process before the last. False: the client reads too little.
    fn queue(&mut self, number: u32, frame: Vec<u8>, descriptors: Vec<OwnedFd>) -> bool {
        let Some(connection) = self.open.get_mut(&number) else { return true };
        let unread: usize = connection.outgoing.iter().map(|frame| frame.bytes.len()).sum();
        if unread > UNREAD_MAX {
            return false;
        }
        match connection.outgoing.back_mut() {
            Some(last) if descriptors.is_empty() => last.bytes.extend_from_slice(&frame),
            _ => connection.outgoing.push_back(Outgoing { bytes: frame, sent: 0, descriptors }),
        }
        true
    }

    /// Sends queued frames as far as they fit. Waits for epoll where they did not fit before.
    pub(super) fn flush(&mut self, epoll: &Epoll) {
        for (number, connection) in &mut self.open {
            if !connection.outgoing.is_empty() && !connection.blocked && !connection.flush(epoll, *number) {
                self.lost.push(*number);
            }
        }
    }
}

impl Connection {
    /// Sends queued frames as far as they fit. False: the client is gone.
    fn flush(&mut self, epoll: &Epoll, number: u32) -> bool {
        let mut blocked = false;
        while let Some(frame) = self.outgoing.front_mut().filter(|_| !blocked) {
            let descriptors: Vec<BorrowedFd<'_>> = frame.descriptors.iter().map(AsFd::as_fd).collect();
            match socket::send(self.socket.as_fd(), &frame.bytes[frame.sent..], &descriptors) {
                Ok(Some(count)) => {
                    frame.sent += count;
                    frame.descriptors.clear();
                    if frame.sent == frame.bytes.len() {
                        self.outgoing.pop_front();
                    }
                }
                Ok(None) => blocked = true,
                Err(_) => return false,
            }
        }
        if blocked == self.blocked {
            return true;
        }
        self.blocked = blocked;
        let interest = if blocked { Interest::ReadWrite } else { Interest::Read };
        epoll.modify(&self.socket, Token::Connection(number).pack(), interest).is_ok()
    }

    /// Receives available bytes. False: the client is gone.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        // Requests carry no descriptors; close any that arrive.
        let mut unwanted = Vec::new();
        match socket::receive(self.socket.as_fd(), buffer, &mut unwanted) {
            Ok(Some(count)) => {
                self.received.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// The next whole request. `Err`: the bytes are no request, and the client is cut off.
    fn next_request(&mut self) -> Result<Option<Request>> {
        let Some(header) = self.received.first_chunk::<4>() else { return Ok(None) };
        let length = frame_length(*header)?;
        let Some(body) = self.received.get(4..4 + length) else { return Ok(None) };
        let request = parse(body)?;
        self.received.drain(..4 + length);
        // Manifests are large and rare: their room is given back.
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Ok(Some(request))
    }
}

fn frame_length(header: [u8; 4]) -> Result<usize> {
    let length = u32::from_le_bytes(header) as usize;
    if length > FRAME_MAX {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("a frame of {length} bytes, the limit is {FRAME_MAX}"),
        ));
    }
    Ok(length)
}

fn parse(body: &[u8]) -> Result<Request> {
    serde_json::from_slice(body).map_err(|error| Error::new(ErrorKind::Usage, format!("a request: {error}")))
}

fn frame(message: &Message) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).expect("messages have string keys only");
    let length = u32::try_from(bytes.len() - 4).expect("a message is no larger than the records in it");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Waits for the spawning client's hello, which says where the host's trees are.
pub(super) fn first_request(socket: BorrowedFd<'_>) -> Result<(Maker, Hello)> {
    let mut header = [0; 4];
    read_exact(socket, &mut header)?;
    let mut body = vec![0; frame_length(header)?];
    read_exact(socket, &mut body)?;
    match parse(&body)? {
        Request { id, op: Op::Hello { version, maker: Some(maker) } } => Ok((*maker, Hello { id, version })),
        _ => Err(Error::new(ErrorKind::Usage, "the monitor's first request was no hello")),
    }
}

/// Answers the spawning client's hello with why there is no monitor: the log that also says it goes with the pod.
pub(super) fn refuse(socket: BorrowedFd<'_>, hello: &Hello, error: &Error) {
    let message = Message::Reply { id: hello.id, result: Err(Failure::from(error)) };
    // A client that is gone does not want to know.
    let _ = socket::send(socket, &frame(&message), &[]);
}

fn read_exact(socket: BorrowedFd<'_>, mut bytes: &mut [u8]) -> Result<()> {
    while !bytes.is_empty() {
        match socket::receive(socket, bytes, &mut Vec::new())? {
            Some(0) | None => return Err(Error::failed("the client that spawned the monitor is gone")),
            Some(count) => bytes = &mut bytes[count..],
        }
    }
    Ok(())
}

impl Monitor {
    pub(super) fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok(Some(socket)) = socket::accept(listener.as_fd()) {
            // The socket's mode says the same; this holds where a mode can be changed.
            if socket::peer_uid(socket.as_fd()).is_ok_and(|uid| uid == 0) {
                let _ = self.connections.admit(&self.epoll, socket);
            }
        }
    }

    /// Answers the hello that [`first_request`] has read.
    pub(super) fn greet(&mut self, connection: u32, hello: &Hello) {
        let waiter = Waiter { connection, request: hello.id };
        let result = self.hello(hello.version);
        self.answer(waiter, result);
    }

    /// A client's socket has something to say.
    pub(super) fn serve(&mut self, number: u32, news: Ready) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        if news.write && !connection.flush(&self.epoll, number) {
            return self.hang_up(number);
        }
        if !news.read {
            return;
        }
        let open = connection.receive(&mut self.buffer);
        loop {
            let Some(connection) = self.connections.get_mut(number) else { return };
            match connection.next_request() {
                Ok(Some(request)) => self.request(number, request),
                Ok(None) => break,
                Err(_) => return self.hang_up(number),
            }
        }
        if !open {
            self.hang_up(number);
        }
    }

    /// A client is gone, or cut off.
    fn hang_up(&mut self, number: u32) {
        if let Some(connection) = self.connections.open.remove(&number) {
            self.epoll.remove(&connection.socket);
        }
        self.hang_up_execs(number);
        if self.owner == Some(number) {
            self.undo_pod();
        }
    }

    fn request(&mut self, connection: u32, Request { id, op }: Request) {
        let waiter = Waiter { connection, request: id };
        let done = |()| Reply::Done;
        // Slow requests answer by themselves; the others are answered here. A request without an arm does not
        // compile.
        let result = match op {
            Op::Start { container } => return self.start_for(&container, waiter),
            Op::Stop { container, grace } => return self.stop_for(&container, grace, waiter),
            Op::Remove { container } => return self.remove_for(&container, waiter),
            Op::Exec(exec) => return self.exec_for(*exec, waiter),
            Op::StopSandbox { grace } => return self.stop_pod_for(grace, waiter),
            Op::RemoveSandbox => return self.remove_pod_for(waiter),
            Op::Attach { container, stdin } => return self.attach_for(&container, stdin, waiter),
            Op::Socket { ipv6 } => return self.socket_for(ipv6, waiter),
            Op::Hello { version, .. } => self.hello(version),
            Op::Watch { from } => {
                if let Some(connection) = self.connections.get_mut(connection) {
                    connection.watching = true;
                }
                Ok(Reply::Snapshot(Box::new(self.snapshot(from))))
            }
            Op::CreateSandbox(spec) => self.create_sandbox(*spec).map(done),
            Op::HandOver(handed) => self.hand_over(*handed).map(done),
            Op::Commit => self.commit().map(done),
            Op::Create(spec) => self.create_container(*spec).map(done),
            Op::Kill { container, signal, all } => self.signal_container(&container, signal, all).map(done),
            Op::Update { container, resources } => self.update_container(&container, &resources).map(done),
            Op::Resize { container, rows, columns } => {
                self.resize_container(&container, rows, columns).map(done)
            }
            Op::CloseStdin { container } => self.close_stdin(&container).map(done),
            Op::ReopenLog { container } => self.reopen_log(&container).map(done),
        };
        self.answer(waiter, result);
    }

    fn hello(&self, version: u32) -> Result<Reply> {
        if version != VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("this monitor speaks protocol {VERSION}, not {version}"),
            ));
        }
        Ok(Reply::Hello { version, pid: self.me.pid })
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, waiter: Waiter, result: Result<Reply>) {
        self.answer_with(waiter, result, Vec::new());
    }

    /// Answers a request with descriptors beside it.
    pub(super) fn answer_with(&mut self, to: Waiter, result: Result<Reply>, descriptors: Vec<OwnedFd>) {
        let result = result.map_err(|error| Failure::from(&error));
        self.tell(to.connection, &Message::Reply { id: to.request, result }, descriptors);
    }

    /// Answers all of a list, which is empty afterwards, alike.
    pub(super) fn answer_all(&mut self, waiters: Vec<Waiter>, result: &Result<()>) {
        for waiter in waiters {
            let result = match result {
                Ok(()) => Ok(Reply::Done),
                Err(error) => Err(Error::from(Failure::from(error))),
            };
            self.answer(waiter, result);
        }
    }

    /// Sends a message to one client, at the end of this round.
    pub(super) fn tell(&mut self, connection: u32, message: &Message, descriptors: Vec<OwnedFd>) {
        if !self.connections.queue(connection, frame(message), descriptors) {
            self.connections.lost.push(connection);
        }
    }

    /// Hangs up on clients to which a message could not be sent.
    pub(super) fn hang_up_lost(&mut self) {
        for connection in std::mem::take(&mut self.connections.lost) {
            self.hang_up(connection);
        }
    }
}
