//! One attempt of one container: a record, then a process, then an end.
//!
//! ```text
//! created ── start ──> starting ── wire: end of file ──> running ── SIGCHLD ──> draining ──> exited
//!                          └────── wire: 16 bytes, deadline ──────────────────────────────────^
//! ```
//!
//! Invariant: an end is published once, when nothing of the attempt runs any more, all of its output is in the log,
//! and its cgroup has been read and removed. A start that fails is an end too, with `StartError`.

mod requests;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::{ContainerState as OciState, Spec, State};

use super::attach::Attachers;
use super::deadlines::Due;
use super::log::Log;
use super::serve::Waiter;
use super::streams::Streams;
use super::{Monitor, Token, start};
use crate::cgroup::Cgroup;
use crate::engine::{self, Attached, Child, Failure as ChildFailure, Plan, Rootfs, Tie};
use crate::error::{Error, ErrorKind, Result};
use crate::image::ChainId;
use crate::image::snapshot;
use crate::pod::attempt::Records;
use crate::pod::protocol::{ContainerSpec, ContainerStatus, Failure, NamespaceMode, TerminationMessage};
use crate::pod::record::{self, ContainerState, ContainerStatusRecord, ProcessId};
use crate::pod::shared::is_id;
use crate::pod::volume::Source;
use crate::sys::io::epoll::Interest;
use crate::sys::io::stream;
use crate::sys::process::signal;

/// How long a child may take to its execve: a hanging network file system below a host path delays it.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// How long an ended container's output may take to its end: another process may hold its pipes open.
const DRAIN: Duration = Duration::from_secs(2);
/// The longest termination message.
const MESSAGE_MAX: u64 = 4096;
/// The exit code of a container that could not be started.
const START_FAILED: i32 = 128;

/// The inputs of a start beside the container's own spec. The pod front makes them in memory; else they are
/// read from the records.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) spec: Spec,
    /// The root, where it is mounted already.
    pub(super) rootfs: Option<OwnedFd>,
    /// The volumes on disk, in the place of the spec's own sources.
    pub(super) sources: Vec<Source>,
}

/// The first process of a container.
#[derive(Debug)]
struct Process {
    child: Child,
    host: ProcessId,
    /// Set until it is known whether the program runs.
    launch: Option<Launch>,
    /// How it ended, once it has.
    ended: Option<signal::Ended>,
}

/// A start that is under way.
#[derive(Debug)]
struct Launch {
    number: u32,
    plan: Plan,
}

impl Process {
    /// Follows the process that goes on inside, once the one outside has ended or is about to. False: no
    /// process goes on inside.
    fn follow(&mut self) -> bool {
        match self.child.follow() {
            Ok(Some(_)) => {
                self.host = host_process(&self.child.pidfd);
                true
            }
            _ => !self.child.is_outside(),
        }
    }
}

/// The process behind `pidfd` as the host sees it; none where it is over already.
fn host_process(pidfd: &OwnedFd) -> ProcessId {
    let host = start::host_pid(pidfd).and_then(start::process);
    host.unwrap_or(ProcessId { pid: 0, start_time: 0 })
}

/// One attempt of one container.
#[derive(Debug)]
pub(super) struct Container {
    /// Its name in events: not reused in this monitor's life.
    pub(super) slot: u32,
    pub(super) spec: ContainerSpec,
    pub(super) status: ContainerStatus,
    /// The sequence number of its last change.
    pub(super) changed: u64,
    /// Whether its record is behind.
    pub(super) unwritten: bool,
    /// The records to write beside its status, until they are on disk.
    pub(super) records: Option<Records>,
    material: Option<Box<Material>>,
    process: Option<Process>,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) streams: Streams,
    pub(super) log: Option<Log>,
    starters: Vec<Waiter>,
    stoppers: Vec<Waiter>,
    /// The clients that want it forgotten once it has ended.
    removers: Vec<Waiter>,
}

impl Container {
    /// Whether it has a process.
    pub(super) fn is_alive(&self) -> bool {
        self.process.is_some()
    }

    /// Whether its program runs.
    pub(super) fn is_running(&self) -> bool {
        self.status.record.state == ContainerState::Running
    }

    /// Its first process as the host sees it.
    pub(super) fn host_process(&self) -> Option<ProcessId> {
        self.process.as_ref().map(|process| process.host)
    }

    /// The pidfd of its first process, while its program runs.
    pub(super) fn init(&self) -> Option<&OwnedFd> {
        self.process.as_ref().filter(|_| self.is_running()).map(|process| &process.child.pidfd)
    }

    pub(super) fn not_running(&self) -> Error {
        Error::state(format!("container {:?} is not running", self.spec.name))
    }
}

impl Monitor {
    /// Answers `create`: a container with a record and no process.
    pub(super) fn create_container(&mut self, spec: ContainerSpec) -> Result<()> {
        let slot = self.admit_container(spec, None)?;
        self.publish_container(slot);
        Ok(())
    }

    /// Takes a container in, without notifying clients yet.
    pub(super) fn admit_container(&mut self, spec: ContainerSpec, material: Option<Material>) -> Result<u32> {
        if self.sandbox.is_none() || self.ending.is_some() {
            return Err(Error::state("the pod has no sandbox, or is ending"));
        }
        if !is_id(&spec.id) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("container id {:?}: not 64 hex digits", spec.id),
            ));
        }
        if self.slot_of(&spec.id).is_ok() {
            return Err(Error::new(ErrorKind::Exists, format!("container {:?} exists", spec.id)));
        }
        let slot = self.next_slot;
        self.next_slot += 1;
        let status = ContainerStatus {
            id: spec.id.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            ..ContainerStatus::default()
        };
        self.containers.push(Container {
            slot,
            spec,
            status,
            changed: 0,
            unwritten: false,
            records: None,
            material: material.map(Box::new),
            process: None,
            cgroup: None,
            streams: Streams::default(),
            log: None,
            starters: Vec::new(),
            stoppers: Vec::new(),
            removers: Vec::new(),
        });
        Ok(slot)
    }

    /// Answers `start` when its outcome is known.
    pub(super) fn start_for(&mut self, id: &str, waiter: Waiter) {
        let started = self.slot_of(id).and_then(|slot| {
            let container = self.container(slot).ok_or_else(|| Error::failed("the container is gone"))?;
            if container.status.record.state != ContainerState::Created || container.is_alive() {
                let why = format!("container {:?} was started before", container.spec.name);
                return Err(Error::state(why));
            }
            container.starters.push(waiter);
            Ok(slot)
        });
        match started {
            Ok(slot) => {
                if let Err(error) = self.launch(slot) {
                    self.start_failed(slot, &error);
                }
            }
            Err(error) => self.answer(waiter, Err(error)),
        }
    }

    /// Compiles and clones; the wire tells the rest.
    pub(super) fn launch(&mut self, slot: u32) -> Result<()> {
        // The pod's end has signalled the processes of that moment; none may start after it.
        if self.ending.is_some() {
            return Err(Error::state("the pod is ending"));
        }
        // The OOM killer may have taken the one that was there, and with it all containers.
        let wants_init =
            |container: &Container| container.slot == slot && container.spec.pid == NamespaceMode::Pod;
        if self.containers.iter().any(wants_init) {
            self.ensure_pod_init()?;
        }
        let sandbox = self.sandbox.as_mut().ok_or_else(|| Error::state("the pod has no sandbox"))?;
        let folder = |id: &str| record::container_dir(&self.host, &self.id, id);
        let Some(container) = self.containers.iter_mut().find(|container| container.slot == slot) else {
            return Ok(());
        };
        let mut material = match container.material.take() {
            Some(material) => material,
            None => Box::new(load(&folder(&container.spec.id))?),
        };
        if material.rootfs.is_none() && !container.spec.layers.is_empty() {
            let layers = container.spec.layers.iter();
            // A chain id is written as the digest that it is.
            let layers = layers.map(|id| Ok(ChainId::of(None, &id.parse()?))).collect::<Result<Vec<_>>>()?;
            material.rootfs = Some(snapshot::prepare(&self.host, &container.spec.id, &layers)?.mount()?);
        }
        if let Some(message) = &container.spec.termination_message {
            // Every user may write to it.
            sandbox.make_file(&message.file, "", 0o666)?;
        }
        let held = container.spec.held_mounts.iter();
        let trees = held.map(|held| Ok((held.destination.as_str(), sandbox.held_tree(held)?, false)));
        let mut trees = trees.collect::<Result<Vec<_>>>()?;
        for source in &material.sources {
            trees.push((&source.destination, source.copy()?, true));
        }
        let shares_pids = container.spec.pid == NamespaceMode::Pod;
        if shares_pids {
            trees.push(("/proc", sandbox.shared_proc()?, false));
        }
        let attached: Vec<Attached<'_>> = trees
            .iter()
            .map(|(destination, tree, checked)| Attached {
                destination,
                tree: tree.as_fd(),
                checked: *checked,
            })
            .collect();
        let resources = material.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let cgroup = Cgroup::create_below(&self.layout, &sandbox.parent, &container.spec.id, resources)?;
        let cgroup = container.cgroup.insert(cgroup);
        if let Some(log) = &container.spec.log {
            container.log = Some(Log::open(&self.host.log_dir, log)?);
        }
        let (terminal, console) =
            engine::terminal(&material.spec)?.map(|terminal| (terminal.pair, terminal.console)).unzip();
        let mut nodes = sandbox.nodes();
        let (mut streams, stdio) =
            Streams::open(&self.epoll, slot, terminal, container.spec.stdin, &mut nodes)?;
        if let Some((rows, columns)) = self.driver.as_ref().and_then(|driven| driven.window) {
            streams.resize(rows, columns)?;
        }
        if container.spec.stdin_once {
            streams.attachers = Attachers::expecting_one();
        }
        container.streams = streams;
        let state = oci_state(&material.spec, &container.spec.id, folder(&container.spec.id), None);
        let plan = engine::compile(engine::Inputs {
            spec: &material.spec,
            rootfs: material.rootfs.as_ref().map_or(Rootfs::Spec, |rootfs| Rootfs::Detached(rootfs.as_fd())),
            attached: &attached,
            cgroup,
            resctrl: Vec::new(),
            stdio,
            console,
            null: nodes.mask(&material.spec)?,
            pid_namespace: sandbox.shared_pid_namespace().filter(|_| shares_pids),
            programs: Some(&self.host.seccomp_programs()),
            state: Some(&state),
            tie: Tie::Always,
            pause: false,
            preserve: &[],
            keyring: true,
        })?;
        let child = plan.spawn()?;
        let number = self.next_launch;
        self.next_launch += 1;
        self.epoll.add(&child.wire, Token::Wire(number).pack(), Interest::Read)?;
        self.deadlines.set_after(Due::Handshake(number), HANDSHAKE);
        let host = host_process(&child.pidfd);
        container.process = Some(Process { child, host, launch: Some(Launch { number, plan }), ended: None });
        Ok(())
    }

    /// The wire of a child has its word.
    pub(super) fn wire_ready(&mut self, launch: u32) {
        match self.by_launch(launch).map(|container| container.slot) {
            Some(slot) => self.launched(slot, false),
            None => self.exec_launched(launch, false),
        }
    }

    /// The outcome of a start is known, or will be: the wire of a reaped child may still hold its word.
    fn launched(&mut self, slot: u32, reaped: bool) {
        let Some(container) = self.containers.iter_mut().find(|container| container.slot == slot) else {
            return;
        };
        let Some(process) = &mut container.process else { return };
        let Some(Launch { number, plan }) = process.launch.take() else { return };
        let heard = plan.hear(&mut process.child, reaped);
        if let Ok(true) = heard {
            process.launch = Some(Launch { number, plan });
            // The agent has had its time; from here on the child has its own.
            return self.deadlines.set_after(Due::Handshake(number), HANDSHAKE);
        }
        self.epoll.remove(&process.child.wire);
        self.deadlines.cancel(Due::Handshake(number));
        match heard {
            Err(error) => self.start_failed(slot, &error),
            Ok(_) if !process.follow() => self.start_failed(slot, &Error::failed(engine::KILLED)),
            Ok(_) => {
                // Release the plan's resources before the pod's long life.
                drop(plan);
                self.started(slot);
            }
        }
    }

    /// A child did not come to its execve in time.
    pub(super) fn handshake_overdue(&mut self, launch: u32) {
        match self.by_launch(launch).map(|container| container.slot) {
            Some(slot) => self.start_failed(
                slot,
                &Error::new(ErrorKind::Timeout, "the container did not come to its execve"),
            ),
            None => self.exec_overdue(launch),
        }
    }

    fn by_launch(&mut self, number: u32) -> Option<&mut Container> {
        let is = |launch: &Launch| launch.number == number;
        self.containers.iter_mut().find(|container| {
            container.process.as_ref().and_then(|process| process.launch.as_ref()).is_some_and(is)
        })
    }

    /// The program runs.
    fn started(&mut self, slot: u32) {
        let Some(container) = self.container(slot) else { return };
        let record = &mut container.status.record;
        record.state = ContainerState::Running;
        record.started_at = record::now();
        record.pid = container.process.as_ref().map(|process| process.host.pid);
        let starters = std::mem::take(&mut container.starters);
        self.processes_changed();
        self.publish_container(slot);
        self.fact_started(slot);
        self.answer_all(starters, &Ok(()));
    }

    /// The attempt came to nothing. A child there is left of it is killed; its end is not told again.
    pub(super) fn start_failed(&mut self, slot: u32, error: &Error) {
        let epoll = &self.epoll;
        let Some(container) = self.containers.iter_mut().find(|container| container.slot == slot) else {
            return;
        };
        container.streams.end_outputs(epoll, &mut container.log);
        container.streams = Streams::default();
        container.log = None;
        if let Some(mut process) = container.process.take() {
            if let Some(launch) = &process.launch {
                self.deadlines.cancel(Due::Handshake(launch.number));
            }
            // Its remains are reaped without further notice.
            drop(process.child.kill());
        }
        if let (Some(sandbox), Some(from)) = (&self.sandbox, &container.spec.termination_message) {
            // It may not have come to be.
            let _ = sandbox.take_file(&from.file, 0);
        }
        let cgroup = container.cgroup.take();
        let now = record::now();
        container.status.failure = Some(Failure::from(error));
        container.status.record = ContainerStatusRecord {
            state: ContainerState::Exited,
            exit_code: Some(START_FAILED),
            started_at: 0,
            finished_at: now,
            reason: "StartError".into(),
            message: error.message().into(),
            ..ContainerStatusRecord::default()
        };
        let mut waiters = std::mem::take(&mut container.starters);
        waiters.append(&mut container.stoppers);
        if let Some(cgroup) = cgroup {
            let removed = cgroup.kill().and_then(|()| cgroup.remove());
            self.keep(removed);
        }
        self.publish_container(slot);
        self.fact_start_failed(slot, error);
        self.answer_all(waiters, &Err(Error::from(Failure::from(error))));
        self.forget_if_wanted(slot);
    }

    /// A child has ended and is reaped.
    pub(super) fn child_ended(&mut self, ended: signal::Ended) {
        if self.pod_init_ended(ended.pid) {
            return;
        }
        let found = self.containers.iter_mut().find_map(|container| {
            let process = container.process.as_mut()?;
            process.child.was(ended.pid).then_some((container.slot, process))
        });
        let Some((slot, process)) = found else { return self.exec_ended(ended) };
        // It was only the process outside of the one that goes on inside.
        if process.child.is_outside() && process.follow() {
            return;
        }
        // It may have ended before its wire was read.
        self.launched(slot, true);
        let vanishing = self.is_vanishing();
        let Some(container) = self.container(slot).filter(|container| container.is_alive()) else { return };
        // In a pid namespace of its own the kernel has killed the rest before it let the first process end.
        if let (true, Some(cgroup)) = (container.spec.pid != NamespaceMode::Own, &container.cgroup) {
            let _ = cgroup.kill();
        }
        if let Some(process) = &mut container.process {
            process.ended = Some(ended);
        }
        container.status.record.finished_at = record::now();
        if vanishing {
            return self.drain_overdue(slot);
        }
        if container.streams.drained() {
            return self.end_if_drained(slot);
        }
        self.deadlines.set_after(Due::Drain(slot), DRAIN);
    }

    /// Publishes the end of a container whose process is reaped and whose output is in the log.
    pub(super) fn end_if_drained(&mut self, slot: u32) {
        let sandbox = self.sandbox.as_ref();
        let found = self.containers.iter_mut().find(|container| container.slot == slot);
        let Some(container) = found.filter(|container| container.streams.drained()) else { return };
        let Some(ended) = container.process.as_ref().and_then(|process| process.ended) else { return };
        container.process = None;
        container.streams.close_stdin();
        let cgroup = container.cgroup.take();
        let oom_killed = cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0);
        let message = container.spec.termination_message.as_ref();
        let message = message.map(|from| {
            let said = sandbox.and_then(|sandbox| sandbox.take_file(&from.file, MESSAGE_MAX).ok());
            termination_message(from, said.unwrap_or_default(), ended.code, container.log.as_ref())
        });
        let record = &mut container.status.record;
        record.state = ContainerState::Exited;
        record.pid = None;
        record.exit_code = Some(ended.code);
        record.signal = (ended.signal != 0).then_some(ended.signal);
        record.oom_killed = oom_killed;
        record.reason = match (oom_killed && ended.code != 0, ended.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        }
        .into();
        record.message = message.unwrap_or_default();
        container.log = None;
        let stoppers = std::mem::take(&mut container.stoppers);
        self.deadlines.cancel(Due::Kill(slot));
        self.deadlines.cancel(Due::Drain(slot));
        if let Some(cgroup) = cgroup {
            let removed = cgroup.remove();
            self.keep(removed);
        }
        self.publish_container(slot);
        self.fact_exited(slot);
        self.answer_all(stoppers, &Ok(()));
        self.forget_if_wanted(slot);
    }
}

/// The child's message on its wire: nothing where its program runs.
pub(super) fn failure_on(wire: &OwnedFd) -> Option<ChildFailure> {
    let mut bytes = [0; ChildFailure::SIZE];
    match stream::read(wire.as_fd(), &mut bytes) {
        Ok(Some(count)) => ChildFailure::parse(&bytes[..count]),
        Ok(None) | Err(_) => None,
    }
}

/// The state of a container for a seccomp agent: running with this pid, or about to be made.
pub(super) fn oci_state(spec: &Spec, id: &str, bundle: PathBuf, pid: Option<i32>) -> State {
    let mut state = State::default();
    state.set_version(spec.version().clone()).set_id(id.to_owned()).set_bundle(bundle).set_pid(pid);
    state.set_status(pid.map_or(OciState::Creating, |_| OciState::Running));
    state.set_annotations(spec.annotations().clone());
    state
}

fn load(folder: &std::path::Path) -> Result<Material> {
    let path = folder.join("config.json");
    let spec = record::load_spec(&path)?;
    Ok(Material { spec, rootfs: None, sources: Vec::new() })
}

/// A container's message about its end.
fn termination_message(from: &TerminationMessage, bytes: Vec<u8>, code: i32, log: Option<&Log>) -> String {
    if bytes.is_empty() && from.fallback_to_logs && code != 0 {
        return log.and_then(|log| log.tail().ok()).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
