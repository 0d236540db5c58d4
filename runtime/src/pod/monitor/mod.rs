//! The monitor: one single-threaded process per pod, parent of all the pod's processes and owner of undo.
//!
//! ```text
//!   client ── socket ──> serve ──┐                       ┌──> sandbox     namespaces, network, cgroup, held mounts
//!   kernel ── SIGCHLD ───────────┤     one loop,         ├──> container   one attempt: record, process, end
//!   kernel ── wires, pipes ──────┼──>  one event  ───────┼──> exec        processes of clients in containers
//!   clock ─── deadlines ─────────┘     at a time         ├──> streams     logs, attachers, standard input
//!                                          │             └──> publish     record to disk, then event to watchers
//!                                          └── facts ──> driver ── a front's rules ─────── acts ──> the same functions
//! ```
//!
//! Two halves. The *mechanism* performs the requests of the protocol; the *driver* passes facts to a front's
//! rules, and performs the acts that they return by the same functions. Without rules nothing restarts, and the
//! sandbox stays until a client ends it.
//!
//! Invariants: the loop never waits for a child, a peer, a lock or a foreign file system of the host
//! ([`host_paths`]): slow work is an event or a deadline. The remaining waits have bounds: making the sandbox
//! waits for the lock of the leases (10 s), and for links that go and come (3 s and 2 s); the init of a shared
//! pid namespace drops its rights (twice 10 s, usually half a millisecond), also when it is made again; a child
//! that opens host paths reports its start (10 s); a seccomp agent connects and reads its message (60 s each).
//! A change is on disk before any client is told. The monitor takes down everything that it made ([`sandbox`]),
//! in any half-built state; if it is killed, the kernel ends the pod with its pid namespace, and `recovery`
//! does the rest.

mod attach;
mod container;
mod deadlines;
mod driver;
mod end;
mod exec;
mod host_paths;
mod log;
mod publish;
mod sandbox;
mod serve;
mod start;
mod streams;

use std::os::fd::{AsFd, OwnedFd};

use container::Container;
use deadlines::Deadlines;
use driver::Driven;
use end::Ending;
use exec::ExecProcess;
use host_paths::HostPaths;
use sandbox::Sandbox;
use serve::Connections;

use super::driver::{Fact, Fronts};
use super::protocol::Maker;
use super::{record, shared, store};
use crate::cgroup::Layout;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::sys::io::epoll::{Epoll, Interest, Ready};
use crate::sys::io::{socket, stream};
use crate::sys::process::daemon;
use crate::sys::process::signal::{self, Received, Signals};

pub(super) use start::{Birth, spawn};

/// The monitor's failures, in the pod's folder.
const LOG: &str = "monitor.log";

/// Bytes moved from a stream in one read, and the longest log line before it is split (CRI).
const CHUNK: usize = 16 << 10;

/// The owner of an epoll event's descriptor. Packed into epoll's 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// The listening socket.
    Listener,
    /// SIGCHLD and SIGTERM.
    Signals,
    /// A client.
    Connection(u32),
    /// The wire of a child on its way to execve, by the number of its launch.
    Wire(u32),
    /// The child that opens host paths.
    HostPaths,
    /// A stream of the container in this slot.
    Stream(u32, streams::Which),
    /// A stream of an attacher of the container in this slot.
    Attacher(u32, u16, streams::Which),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, which, extra, number): (u8, u8, u16, u32) = match self {
            Self::Listener => (0, 0, 0, 0),
            Self::Signals => (1, 0, 0, 0),
            Self::Connection(number) => (2, 0, 0, number),
            Self::Wire(launch) => (3, 0, 0, launch),
            Self::Stream(slot, which) => (4, which as u8, 0, slot),
            Self::Attacher(slot, attacher, which) => (5, which as u8, attacher, slot),
            Self::HostPaths => (6, 0, 0, 0),
        };
        u64::from(kind) << 56 | u64::from(which) << 48 | u64::from(extra) << 32 | u64::from(number)
    }

    fn unpack(bits: u64) -> Option<Self> {
        let [kind, which, extra @ .., a, b, c, d] = bits.to_be_bytes();
        let number = u32::from_be_bytes([a, b, c, d]);
        let which = streams::Which::from_number(which)?;
        Some(match kind {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Connection(number),
            3 => Self::Wire(number),
            4 => Self::Stream(number, which),
            5 => Self::Attacher(number, u16::from_be_bytes(extra), which),
            6 => Self::HostPaths,
            _ => return None,
        })
    }
}

/// The whole state of a pod's monitor.
#[derive(Debug)]
struct Monitor {
    host: Host,
    id: String,
    /// This process as the host sees it.
    me: record::ProcessId,
    /// Held for the monitor's life: a process that gets it knows that no monitor runs.
    _lock: OwnedFd,
    among: shared::AmongMonitors,
    epoll: Epoll,
    signals: Signals,
    listener: Option<OwnedFd>,
    connections: Connections,
    deadlines: Deadlines,
    layout: Layout,
    sandbox: Option<Sandbox>,
    status: record::SandboxStatus,
    /// Oldest first.
    containers: Vec<Container>,
    execs: Vec<ExecProcess>,
    fronts: Fronts,
    driver: Option<Driven>,
    host_paths: HostPaths,
    /// Facts for the driver that it has not been told yet.
    facts: std::collections::VecDeque<Fact>,
    /// The sequence number of the last change.
    sequence: u64,
    /// The pod's own records that are not up to date.
    unwritten: publish::Unwritten,
    /// The next container's slot.
    next_slot: u32,
    /// The number of the next child's launch. Not its pid: a child that goes into a pid namespace becomes another process.
    next_launch: u32,
    /// The connection that undoes the pod by closing, until it commits.
    owner: Option<u32>,
    ending: Option<Ending>,
    /// The clients that wait for the pod's end.
    enders: Vec<serve::Waiter>,
    /// Whether something of the pod could not be undone.
    left_over: bool,
    /// Remains of a sandbox that was taken down, for the bridge's end.
    left: Option<sandbox::Left>,
    /// Memory that every stream is read through.
    buffer: Box<[u8]>,
}

/// Runs the monitor of pod `id` to its end; descriptor 3 is the socket of the client that spawned it. The
/// hidden verb `podrun monitor ID` calls this first of all. `fronts` gives the rules of each front that has
/// any.
pub fn run(id: &str, fronts: Fronts) -> Result<()> {
    let socket = daemon::detach()?;
    let (Maker { host, layout }, first) = serve::first_request(socket.as_fd())?;
    // This process's streams have no reader; log to the pod's folder.
    let log = host.pod_root(id).join(LOG);
    std::panic::set_hook(Box::new(move |panic| drop(start::append(&log, &format!("{panic}\n")))));
    let log = host.pod_root(id).join(LOG);
    let answer = stream::duplicate(socket.as_fd())?;
    let started = Monitor::start(host, layout, id, fronts, socket, &first);
    if let Err(error) = &started {
        serve::refuse(answer.as_fd(), &first, error);
    }
    drop(answer);
    let result = started.and_then(Monitor::run);
    if let Err(error) = &result {
        let _ = start::append(&log, &format!("{error}\n"));
    }
    result
}

impl Monitor {
    fn start(
        host: Host,
        layout: Layout,
        id: &str,
        fronts: Fronts,
        client: OwnedFd,
        hello: &serve::Hello,
    ) -> Result<Self> {
        start::settle(&host, &layout)?;
        let state = host.pod_state_dir(id);
        store::mark(&host, id)?;
        let among = shared::AmongMonitors::join(&host)?;
        let epoll = Epoll::new()?;
        let signals = Signals::open()?;
        epoll.add(&signals, Token::Signals.pack(), Interest::Read)?;
        // Bind before the move into the pod's network: a socket made there shows in the pod's /proc/net/unix.
        // And before locking: a client that sees the lock connects at once.
        let listener = socket::listen(&state, super::client::SOCKET)?;
        epoll.add(&listener, Token::Listener.pack(), Interest::Read)?;
        let lock = daemon::lock_new(&record::lock_path(&host, id))?
            .ok_or_else(|| Error::state("the pod has a monitor already: its lock is there"))?;
        let mut monitor = Self {
            me: start::own_process()?,
            id: id.into(),
            host,
            _lock: lock,
            among,
            epoll,
            signals,
            listener: Some(listener),
            connections: Connections::default(),
            deadlines: Deadlines::default(),
            layout,
            sandbox: None,
            status: record::SandboxStatus::default(),
            containers: Vec::new(),
            execs: Vec::new(),
            fronts,
            driver: None,
            host_paths: HostPaths::default(),
            facts: std::collections::VecDeque::new(),
            sequence: 0,
            unwritten: publish::Unwritten::default(),
            next_slot: 0,
            next_launch: 0,
            owner: None,
            ending: None,
            enders: Vec::new(),
            left_over: false,
            left: None,
            buffer: vec![0; CHUNK].into_boxed_slice(),
        };
        let owner = monitor.connections.admit(&monitor.epoll, client)?;
        monitor.owner = Some(owner);
        monitor.greet(owner, hello);
        Ok(monitor)
    }

    /// One event at a time, until nothing is left to do.
    fn run(mut self) -> Result<()> {
        let mut ready = Vec::new();
        loop {
            self.epoll.wait(&mut ready, self.deadlines.until_next())?;
            for news in &ready {
                if let Some(token) = Token::unpack(news.token) {
                    self.dispatch(token, *news);
                }
            }
            while let Some(due) = self.deadlines.pop_due() {
                self.deadline(due);
            }
            self.drive();
            self.connections.flush(&self.epoll);
            self.hang_up_lost();
            if self.may_finish() {
                return self.finish();
            }
        }
    }

    fn dispatch(&mut self, token: Token, news: Ready) {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.signalled(),
            Token::Connection(number) => self.serve(number, news),
            Token::Wire(launch) => self.wire_ready(launch),
            Token::HostPaths => self.host_paths_ready(),
            Token::Stream(slot, which) => self.stream_ready(slot, which, news),
            Token::Attacher(slot, attacher, which) => self.attacher_ready(slot, attacher, which, news),
        }
    }

    fn signalled(&mut self) {
        while let Some(received) = self.signals.next() {
            match received {
                Received::Terminate => self.end_with_host(),
                // All of them at once: an exec'd child left unreaped keeps its container's init from ending.
                Received::Child => {
                    while let Some(ended) = signal::reap() {
                        self.child_ended(ended);
                    }
                }
            }
        }
    }

    fn deadline(&mut self, due: deadlines::Due) {
        match due {
            deadlines::Due::Handshake(launch) => self.handshake_overdue(launch),
            deadlines::Due::Kill(slot) => self.kill_container(slot),
            deadlines::Due::Drain(slot) => self.drain_overdue(slot),
            deadlines::Due::HostPaths => self.host_paths_overdue(),
            deadlines::Due::HangUp(pid) => self.kill_exec(pid),
            // The driver reads the clock itself.
            deadlines::Due::Policy => self.facts.push_back(Fact::Tick),
            deadlines::Due::Records => self.record_now(),
        }
    }

    fn container(&mut self, slot: u32) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.slot == slot)
    }

    /// The slot of the container with this id.
    fn slot_of(&self, id: &str) -> Result<u32> {
        self.containers
            .iter()
            .find(|container| container.spec.id == id)
            .map(|container| container.slot)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("container {id:?} is not in this pod")))
    }

    fn container_dir(&self, container: &str) -> std::path::PathBuf {
        record::container_dir(&self.host, &self.id, container)
    }
}
