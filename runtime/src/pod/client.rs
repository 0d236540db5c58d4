//! The client's side of a monitor's socket: one method for each request of [`super::protocol`].
//!
//! Blocking, single-threaded, for the command line and for the daemon's own thread per call. Events that arrive
//! while a reply is awaited are kept, in order, for [`Client::next`].

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::monitor::Birth;
use super::protocol::{
    ContainerSpec, DESCRIPTORS_MAX, Event, Exec, Exit, FRAME_MAX, Maker, Message, Op, Reply, Request,
    SandboxSpec, Snapshot, Streams, VERSION,
};
use crate::cgroup::Layout;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::sys::errno::Errno;
use crate::sys::io::poll::{self, Interest};
use crate::sys::io::socket;

/// The name of the monitor's socket in the pod's state dir.
pub const SOCKET: &str = "monitor.sock";

/// How long a monitor may take to say hello, and to read: it never works on one thing for longer than milliseconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The hint for a monitor that does not answer.
pub(super) const FORCE: &str = "`podrun delete --force` kills it, and all that it holds";

/// A connection to a pod's monitor.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    next_id: u64,
    received: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    kept: VecDeque<Notice>,
    /// Requests that were sent ahead and are not answered yet.
    ahead: Vec<u64>,
    /// Until it speaks.
    birth: Option<Birth>,
}

/// A message that the monitor sends by itself.
#[derive(Debug)]
pub enum Notice {
    /// Something changed (after [`Client::watch`]).
    Event(Event),
    /// The process of [`ExecSession::id`] ended.
    Exited {
        /// The session.
        id: u64,
        /// How.
        exit: Exit,
    },
}

/// A process that runs in a container on this connection's behalf, and this side's ends of its streams. With a
/// terminal only that is set: it is output, input and window at once.
#[derive(Debug)]
pub struct ExecSession {
    /// The number that [`Notice::Exited`] will carry.
    pub id: u64,
    /// The ends.
    pub streams: Ends,
}

/// This side's ends of a process's streams.
#[derive(Debug, Default)]
pub struct Ends {
    /// The terminal's master.
    pub terminal: Option<OwnedFd>,
    /// Write end of standard input.
    pub stdin: Option<OwnedFd>,
    /// Read end of standard output.
    pub stdout: Option<OwnedFd>,
    /// Read end of standard error.
    pub stderr: Option<OwnedFd>,
}

impl Client {
    /// Starts the pod's monitor and owns the pod until [`Client::commit`]: if this connection closes before, the
    /// monitor undoes everything and exits. Returns while it is starting; whether it did, the next call tells.
    pub fn spawn(host: &Host, layout: &Layout, id: &str, host_pid: bool) -> Result<Self> {
        let (socket, birth) =
            super::monitor::spawn(host, layout, id, host_pid).context(|| "start the pod's monitor")?;
        let mut monitor = Self::new(socket);
        monitor.birth = Some(birth);
        monitor.send_ahead(Op::Hello {
            version: VERSION,
            maker: Some(Box::new(Maker { host: host.clone(), layout: layout.clone() })),
        })?;
        Ok(monitor)
    }

    /// Connects to the monitor of pod `id`, at most until `deadline`; [`ErrorKind::NotFound`] when none runs,
    /// [`ErrorKind::Timeout`] when it does not answer.
    pub fn connect(host: &Host, id: &str, deadline: Option<Instant>) -> Result<Self> {
        let patience = Instant::now() + ANSWERS_WITHIN;
        let deadline = deadline.map_or(patience, |deadline| deadline.min(patience));
        let mut monitor = Self::reach(host, id, deadline.saturating_duration_since(Instant::now()))?;
        match monitor.call_until(Op::Hello { version: VERSION, maker: None }, Some(deadline))? {
            (Reply::Hello { version, .. }, _) if version == VERSION => Ok(monitor),
            (Reply::Hello { version, .. }, _) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("the pod's monitor speaks protocol {version}, this podrun {VERSION}"),
            )
            .hint("it was started by another version of podrun; delete the pod with that one, or kill it")),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Connects and waits for no answer, which a monitor that stands still would not give.
    fn reach(host: &Host, id: &str, patience: Duration) -> Result<Self> {
        match socket::connect_within(&host.pod_state_dir(id), SOCKET, patience) {
            Ok(socket) => Ok(Self::new(socket)),
            // Others wait in its queue already.
            Err(error) if error.errno == Errno::EAGAIN.0 => Err(silent()),
            Err(error) if error.is_not_found() || error.errno == Errno::ECONNREFUSED.0 => {
                Err(Error::from(error)
                    .with_kind(ErrorKind::NotFound)
                    .context("the pod's monitor does not run"))
            }
            Err(error) => Err(Error::from(error).context("the pod's monitor")),
        }
    }

    /// Sends a request to the monitor of pod `id` that is done whether or not its answer is awaited.
    pub(super) fn tell(host: &Host, id: &str, op: Op, patience: Duration) -> Result<()> {
        let mut monitor = Self::reach(host, id, patience)?;
        // Together: a monitor that could not answer the first hangs up before it reads the second.
        let mut frames = monitor.frame(Op::Hello { version: VERSION, maker: None })?.1;
        frames.extend(monitor.frame(op)?.1);
        monitor.send_frames(&frames)
    }

    /// The process of the monitor of pod `id`; `None`: there is none any more.
    pub(super) fn process(host: &Host, id: &str) -> Result<Option<OwnedFd>> {
        match Self::reach(host, id, Duration::ZERO) {
            Ok(monitor) => Ok(socket::peer_process(monitor.socket.as_fd())?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            next_id: 1,
            received: Vec::new(),
            descriptors: Vec::new(),
            kept: VecDeque::new(),
            ahead: Vec::new(),
            birth: None,
        }
    }

    /// Makes the sandbox.
    pub fn create_sandbox(&mut self, spec: &SandboxSpec) -> Result<()> {
        self.done(Op::CreateSandbox(Box::new(spec.clone())))
    }

    /// The pod stays when this connection closes.
    pub fn commit(&mut self) -> Result<()> {
        self.done(Op::Commit)
    }

    /// The current state; later changes come by [`Client::next`]. `from`: the last sequence number seen.
    pub fn watch(&mut self, from: u64) -> Result<Snapshot> {
        match self.call(Op::Watch { from })? {
            (Reply::Snapshot(snapshot), _) => Ok(*snapshot),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// The next notice; `None` when `deadline` passes or a signal is caught first. An error of kind
    /// [`ErrorKind::NotFound`] when the monitor has gone.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Notice>> {
        loop {
            if let Some(notice) = self.kept.pop_front() {
                return Ok(Some(notice));
            }
            match self.message(deadline)? {
                None => return Ok(None),
                Some(Message::Event(event)) => return Ok(Some(Notice::Event(event))),
                Some(Message::Exited { id, exit }) => return Ok(Some(Notice::Exited { id, exit })),
                // The reply of a request that timed out.
                Some(Message::Reply { .. }) => {}
            }
        }
    }

    /// Whether a notice waits that needs no reading of the socket: ask before polling [`Client::as_fd`].
    pub fn has_notice(&self) -> bool {
        !self.kept.is_empty() || self.whole_frame().is_some()
    }

    /// Takes in a container whose `config.json` (the runtime spec) lies in its records.
    pub fn create(&mut self, container: &ContainerSpec) -> Result<()> {
        self.done(Op::Create(Box::new(container.clone())))
    }

    /// Starts a created container; returns when its program runs.
    pub fn start(&mut self, container: &str) -> Result<()> {
        self.done(Op::Start { container: container.into() })
    }

    /// Stops a container; returns when it has ended.
    pub fn stop(&mut self, container: &str, grace: Duration) -> Result<()> {
        self.done(Op::Stop { container: container.into(), grace: milliseconds(grace) })
    }

    /// Sends a signal to a container's first process, or SIGKILL to all of them.
    pub fn kill(&mut self, container: &str, signal: i32, all: bool) -> Result<()> {
        self.done(Op::Kill { container: container.into(), signal, all })
    }

    /// Kills and forgets a container; its records and snapshot are the caller's to delete.
    pub fn remove(&mut self, container: &str) -> Result<()> {
        self.done(Op::Remove { container: container.into() })
    }

    /// Changes a container's limits.
    pub fn update(&mut self, container: &str, resources: oci_spec::runtime::LinuxResources) -> Result<()> {
        self.done(Op::Update { container: container.into(), resources: Box::new(resources) })
    }

    /// Runs a process in a container. [`ErrorKind::CommandNotFound`] and [`ErrorKind::CommandNotExecutable`]
    /// tell the caller's exit code. The process is hung up when this connection closes.
    pub fn exec(&mut self, exec: Exec) -> Result<ExecSession> {
        let id = self.next_id;
        match self.call(Op::Exec(Box::new(exec)))? {
            (Reply::Streams(streams), descriptors) => {
                Ok(ExecSession { id, streams: ends(streams, descriptors)? })
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Joins a container's streams; with a terminal they are one, as standard output.
    pub fn attach(&mut self, container: &str, stdin: bool) -> Result<Ends> {
        match self.call(Op::Attach { container: container.into(), stdin })? {
            (Reply::Streams(streams), descriptors) => ends(streams, descriptors),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Sets the window of a container's terminal. An exec's is set on its own descriptor.
    pub fn resize(&mut self, container: &str, rows: u16, columns: u16) -> Result<()> {
        self.done(Op::Resize { container: container.into(), rows, columns })
    }

    /// Closes a container's standard input.
    pub fn close_stdin(&mut self, container: &str) -> Result<()> {
        self.done(Op::CloseStdin { container: container.into() })
    }

    /// Opens a container's log anew after a rename.
    pub fn reopen_log(&mut self, container: &str) -> Result<()> {
        self.done(Op::ReopenLog { container: container.into() })
    }

    /// An unconnected stream socket of the pod's network.
    pub fn socket(&mut self, ipv6: bool) -> Result<OwnedFd> {
        let (_, mut descriptors) = self.call(Op::Socket { ipv6 })?;
        descriptors.pop().ok_or_else(|| Error::failed("the monitor's reply carries no socket"))
    }

    /// Ends the pod and its monitor; the records stay. `grace` absent: as the pod says.
    pub fn stop_sandbox(&mut self, grace: Option<Duration>) -> Result<()> {
        self.done(Op::StopSandbox { grace: grace.map(milliseconds) })
    }

    /// Ends the pod and its monitor at once; the caller deletes the records afterwards. [`ErrorKind::Timeout`] when that
    /// has not come about by `deadline`.
    pub fn remove_sandbox(&mut self, deadline: Option<Instant>) -> Result<()> {
        match self.call_until(Op::RemoveSandbox, deadline)? {
            (Reply::Done, _) => Ok(()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Sends a request without waiting, for a caller that reads [`Client::next`] meanwhile.
    pub fn send(&mut self, op: Op) -> Result<u64> {
        let (id, frame) = self.frame(op)?;
        self.send_frames(&frame).map(|()| id)
    }

    /// A request's number and bytes.
    fn frame(&mut self, op: Op) -> Result<(u64, Vec<u8>)> {
        let id = self.next_id;
        self.next_id += 1;
        let body = serde_json::to_vec(&Request { id, op }).expect("requests have string keys only");
        let length = u32::try_from(body.len()).ok().filter(|length| *length as usize <= FRAME_MAX);
        let length = length.ok_or_else(|| {
            Error::failed(format!(
                "a request of {} bytes to the monitor (the limit is {FRAME_MAX})",
                body.len()
            ))
        })?;
        let mut frame = Vec::with_capacity(4 + body.len());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&body);
        Ok((id, frame))
    }

    fn send_frames(&self, frames: &[u8]) -> Result<()> {
        let mut sent = 0;
        while sent < frames.len() {
            match socket::send(self.socket.as_fd(), &frames[sent..], &[]) {
                Ok(Some(count)) => sent += count,
                Ok(None) => return Err(silent()),
                Err(_) => return Err(gone()),
            }
        }
        Ok(())
    }

    /// Sends a request without waiting for its answer. If it fails, the next call fails with its error.
    pub fn send_ahead(&mut self, op: Op) -> Result<()> {
        let id = self.send(op)?;
        self.ahead.push(id);
        Ok(())
    }

    fn done(&mut self, op: Op) -> Result<()> {
        match self.call(op)? {
            (Reply::Done, _) => Ok(()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn call(&mut self, op: Op) -> Result<(Reply, Vec<OwnedFd>)> {
        self.call_until(op, None)
    }

    fn call_until(&mut self, op: Op, deadline: Option<Instant>) -> Result<(Reply, Vec<OwnedFd>)> {
        let asked = self.send(op)?;
        loop {
            match self.message(deadline)? {
                None if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Err(silent());
                }
                Some(Message::Reply { id, result }) if id == asked => {
                    return Ok((result.map_err(Error::from)?, std::mem::take(&mut self.descriptors)));
                }
                Some(Message::Reply { id, result }) if self.ahead.contains(&id) => {
                    self.ahead.retain(|sent| *sent != id);
                    result.map_err(Error::from)?;
                }
                Some(Message::Event(event)) => self.kept.push_back(Notice::Event(event)),
                Some(Message::Exited { id, exit }) => self.kept.push_back(Notice::Exited { id, exit }),
                // A signal was caught, or this is the reply of a request that timed out.
                None | Some(Message::Reply { .. }) => {}
            }
        }
    }

    /// The length of the first frame in `received`, without its header, when it is there whole.
    fn whole_frame(&self) -> Option<usize> {
        let header: [u8; 4] = self.received.get(..4)?.try_into().ok()?;
        let length = u32::from_le_bytes(header) as usize;
        (self.received.len() >= 4 + length).then_some(length)
    }

    fn message(&mut self, deadline: Option<Instant>) -> Result<Option<Message>> {
        loop {
            if let Some(length) = self.whole_frame() {
                let message = serde_json::from_slice(&self.received[4..4 + length])
                    .map_err(|error| Error::failed(format!("the monitor's message: {error}")))?;
                self.received.drain(..4 + length);
                self.birth = None;
                return Ok(Some(message));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let ready = poll::poll(&[(self.socket.as_fd(), Interest::Read)], left)?;
            if !ready.iter().any(|socket| socket.readable) {
                return Ok(None);
            }
            let start = self.received.len();
            self.received.resize(start + 16384, 0);
            let count =
                socket::receive(self.socket.as_fd(), &mut self.received[start..], &mut self.descriptors);
            self.received.truncate(start + count.as_ref().map_or(0, |count| count.unwrap_or(0)));
            if count?.is_none_or(|count| count == 0) {
                return Err(gone());
            }
        }
    }
}

impl AsFd for Client {
    /// Readable when the monitor has something to say, or is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn ends(streams: Streams, descriptors: Vec<OwnedFd>) -> Result<Ends> {
    let wanted = [streams.terminal, streams.stdin, streams.stdout, streams.stderr];
    let count = wanted.iter().filter(|is| **is).count();
    if count != descriptors.len() || count > DESCRIPTORS_MAX {
        return Err(Error::failed(format!("the monitor sent {} of {count} streams", descriptors.len())));
    }
    let mut descriptors = descriptors.into_iter();
    let [terminal, stdin, stdout, stderr] = wanted.map(|is| if is { descriptors.next() } else { None });
    Ok(Ends { terminal, stdin, stdout, stderr })
}

fn milliseconds(duration: Duration) -> u64 {
    // Rounded up: zero would be no grace at all.
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "the pod's monitor has gone")
}

fn silent() -> Error {
    Error::new(ErrorKind::Timeout, "the pod's monitor does not answer").hint(FORCE)
}

fn unexpected(reply: &Reply) -> Error {
    Error::failed(format!("the monitor answered something else: {reply:?}"))
}
