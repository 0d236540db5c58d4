//! What a client does to bring a pod up and to take it down: records, monitor, sandbox, policy, commit.
//!
//! Invariant: a pod that [`up`] does not return is not there any more. Until the commit the pod
//! belongs to this process: if that is killed, the monitor undoes all; if both are, recovery does.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::client::{FORCE, Monitor, Notice};
use super::protocol::{Change, Op, Policy, PolicyImage};
use super::record::{self, Live, Loaded, Sandbox, SandboxStatus};
use super::resources::Missing;
use super::store::{self, PodEntry};
use super::volume::{self, HostPath, Opening};
use super::{attempt, logs, recovery, sandbox, shared};
use crate::cgroup::Layout;
use crate::error::{Error, ErrorKind, Result, shown};
use crate::host::Host;
use crate::image::{Image, ImageStore, Reference};
use crate::lock;
use crate::manifest::Pod;
use crate::net::etc::HostFiles;
use crate::policy::{ContainerPhase, ImageFact, PodState, Progress, StartFailure, WaitFor, create_progress};
use crate::sys::io::poll::{self, Interest};
use crate::sys::process::interrupt::{self, Signals};
use crate::sys::process::pidfd;

/// An image that is here, and how it came.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The image.
    pub image: Image,
    /// The name that the manifest calls it by, normalised.
    pub name: String,
    /// Milliseconds the pull took; `None`: it was here.
    pub pulled_millis: Option<u64>,
}

/// How to bring a pod up.
#[derive(Debug)]
pub struct Options {
    /// What to wait for before the pod is committed to.
    pub wait: WaitFor,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// The rows and columns that terminals of the pod have from the start.
    pub window: Option<(u16, u16)>,
}

/// A pod that is up.
#[derive(Debug)]
pub struct Up {
    /// Its record, with its name.
    pub sandbox: Sandbox,
    /// The connection to its monitor.
    pub monitor: Monitor,
    /// What its user should know.
    pub warnings: Vec<String>,
}

/// Brings `pod` up with `images` by container name; `note` is told what it waits for.
///
/// # Errors
/// [`ErrorKind::Exists`], [`ErrorKind::Timeout`], [`ErrorKind::Interrupted`]; and
/// [`ErrorKind::CommandNotFound`] or [`ErrorKind::CommandNotExecutable`] for a program that cannot be run.
pub fn up(
    host: &Host,
    pod: &mut Pod,
    images: &BTreeMap<String, Ready>,
    options: &Options,
    note: &mut dyn FnMut(&str),
) -> Result<Up> {
    let (id, guard) = store::begin(host)?;
    let mut monitor = None;
    let raised = raise(host, &id, pod, images, options, note, &mut monitor);
    let undone = match &raised {
        Ok(_) => Ok(()),
        // The guard is still held: nobody else takes what is being undone for lost.
        Err(_) => undo(host, &id, monitor.as_mut()),
    };
    drop(guard);
    let (sandbox, warnings) = raised.map_err(|error| with_undo(error, undone))?;
    let monitor = monitor.ok_or_else(|| Error::failed("the pod came up without a monitor"))?;
    Ok(Up { sandbox, monitor, warnings })
}

fn with_undo(error: Error, undone: Result<()>) -> Error {
    match undone {
        Ok(()) => error,
        Err(left) => {
            error.hint(format!("its undoing failed too: {left}; the next podrun command tries again"))
        }
    }
}

fn raise(
    host: &Host,
    id: &str,
    pod: &mut Pod,
    images: &BTreeMap<String, Ready>,
    options: &Options,
    note: &mut dyn FnMut(&str),
    connection: &mut Option<Monitor>,
) -> Result<(Sandbox, Vec<String>)> {
    let mut make = || {
        let layout = Layout::detect()?;
        let monitor = connection.insert(Monitor::spawn(host, &layout, id, pod.spec.host_pid)?);
        // Not before the monitor is spawned, which would inherit the mask; and from then on the pod is undone here.
        let signals = Signals::catch(&interrupt::ENDING)?;
        let sandbox = store::fill(host, id, pod)?;
        // It works on each part while this process prepares the next: what comes of them is the next call's to say.
        let warnings = ask_for_sandbox(&layout, &sandbox, pod, monitor)?;
        volume::make(host, &sandbox.id, pod)?;
        check_host_paths(pod, &signals, options.deadline)?;
        hand_policy(host, &sandbox, pod, images, options.window, monitor)?;
        if options.wait != WaitFor::None {
            wait(monitor, &signals, options, &sandbox.log_dir, note)?;
        }
        monitor.commit()?;
        Ok((sandbox, warnings))
    };
    make().map_err(|error: Error| match error.kind() {
        ErrorKind::NotFound => Error::failed("the pod's monitor ended unexpectedly, or the pod was deleted"),
        _ => error,
    })
}

/// Has the monitor make the sandbox, and says what the pod's user should know.
fn ask_for_sandbox(
    layout: &Layout,
    sandbox: &Sandbox,
    pod: &Pod,
    monitor: &mut Monitor,
) -> Result<Vec<String>> {
    let (spec, warnings) =
        sandbox::spec(sandbox, pod, &HostFiles::read(Path::new("/")), Missing::of(layout))?;
    monitor.send_ahead(Op::CreateSandbox(Box::new(spec)))?;
    Ok(warnings)
}

/// Sees that the pod's host paths are what the manifest says, as long as their file systems answer.
fn check_host_paths(pod: &Pod, signals: &Signals, deadline: Option<Instant>) -> Result<()> {
    let host_paths = HostPath::of_pod(pod);
    if host_paths.is_empty() {
        return Ok(());
    }
    let mut opening = Opening::begin(&host_paths, &[])?;
    let patience = Instant::now() + volume::PATIENCE;
    let until = deadline.map_or(patience, |deadline| deadline.min(patience));
    loop {
        let polled = [(opening.as_fd(), Interest::Read), (signals.as_fd(), Interest::Read)];
        let ready = poll::poll(&polled, Some(until.saturating_duration_since(Instant::now())))?;
        if ready[1].readable {
            opening.call_off();
            return Err(interrupted(signals));
        }
        if ready[0].readable && opening.is_answered()? {
            opening.reap()?;
            return opening.outcome().map(drop);
        }
        if until <= Instant::now() {
            return Err(opening.call_off().1);
        }
    }
}

/// Tells the monitor what to run, when what that needs is on the disk.
fn hand_policy(
    host: &Host,
    sandbox: &Sandbox,
    pod: &Pod,
    images: &BTreeMap<String, Ready>,
    window: Option<(u16, u16)>,
    monitor: &mut Monitor,
) -> Result<()> {
    let leased: Vec<&Image> = images.values().map(|ready| &ready.image).collect();
    ImageStore::open(host)?.lease(&sandbox.id, &leased)?;
    let first = |container: &String| Ok((container.clone(), attempt::begin(host, &sandbox.id)?));
    let first_attempts = images.keys().map(first).collect::<Result<_>>()?;
    let images = images.iter().map(|(container, ready)| (container.clone(), policy_image(ready))).collect();
    let policy = Policy { pod: Box::new(pod.clone()), images, window, first_attempts };
    monitor.send_ahead(Op::Policy(Box::new(policy)))
}

fn policy_image(ready: &Ready) -> PolicyImage {
    // Of an image with several names, the digest of the one that the manifest uses.
    let repository = ready.name.parse().map(|name: Reference| name.repository()).unwrap_or_default();
    let digests = &ready.image.digests;
    let own = digests.iter().find(|digest| digest.split_once('@').is_some_and(|(of, _)| of == repository));
    let id = own.or(digests.first()).cloned().unwrap_or_else(|| ready.image.id.to_string());
    let fact = ImageFact {
        name: ready.name.clone(),
        id,
        pulled_millis: ready.pulled_millis,
        size: ready.image.size,
    };
    PolicyImage { fact, image: ready.image.clone() }
}

/// Ends what is there of a pod that did not come up, and removes it from the disk.
fn undo(host: &Host, id: &str, monitor: Option<&mut Monitor>) -> Result<()> {
    if monitor.is_some_and(|monitor| monitor.remove_sandbox(None).is_ok()) {
        store::remove(host, id)?;
    } else {
        recovery::remove(host, id)?;
    }
    shared::tidy(host, false)
}

/// How long a creation may take before a person is told what it waits for.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// Waits until the pod is as far as `options` ask.
fn wait(
    monitor: &mut Monitor,
    signals: &Signals,
    options: &Options,
    log_dir: &Path,
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut status = *monitor.watch(0)?.sandbox;
    let mut awaited = Awaited::default();
    // When what is awaited becomes worth a line although nothing went wrong.
    let mut silent_until = Some(Instant::now() + SILENT_FOR);
    loop {
        if reached(&status, options.wait, log_dir, &mut awaited, note)? {
            return Ok(());
        }
        if silent_until.is_some_and(|until| until <= Instant::now()) {
            silent_until = None;
            if !awaited.note.is_empty() {
                note(&format!("waiting: {}", awaited.note));
            }
        }
        let left = options.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            let message = format!("timed out; the pod is removed again ({})", awaited.note);
            let message = with_last_words(message.replace(" ()", ""), log_dir, awaited.container.as_deref());
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        if !monitor.has_notice() {
            let until = silent_until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = [left, until].into_iter().flatten().min();
            let polled = [(monitor.as_fd(), Interest::Read), (signals.as_fd(), Interest::Read)];
            let ready = poll::poll(&polled, left)?;
            if ready[1].readable {
                return Err(interrupted(signals));
            }
            if !ready[0].readable {
                continue;
            }
        }
        let news = monitor.next(Some(Instant::now()))?;
        if let Some(Notice::Event(event)) = news
            && let Change::Sandbox(changed) = event.change
        {
            status = *changed;
        }
    }
}

fn interrupted(signals: &Signals) -> Error {
    // Taken off the queue: let through, it would end this process before its undoing.
    match signals.next() {
        Ok(_) => Error::new(ErrorKind::Interrupted, "interrupted; the pod is removed again"),
        Err(error) => error.into(),
    }
}

/// What was waited for when it was last looked at.
#[derive(Default)]
struct Awaited {
    container: Option<String>,
    note: String,
}

fn reached(
    status: &SandboxStatus,
    goal: WaitFor,
    log_dir: &Path,
    awaited: &mut Awaited,
    note: &mut dyn FnMut(&str),
) -> Result<bool> {
    let Some(state) = status.pod_state() else { return Ok(false) };
    match create_progress(&state, goal) {
        Progress::Done => Ok(true),
        Progress::Pending { container, note: waits } => {
            // What lasts for an instant is not worth a line.
            if waits != awaited.note && is_news(&state) {
                note(&waits);
            }
            *awaited = Awaited { container, note: waits };
            Ok(false)
        }
        Progress::Failed { container, failure, message } => {
            let message = with_last_words(message, log_dir, container.as_deref());
            let error = Error::new(kind(failure), message);
            Err(hint(failure).into_iter().fold(error, Error::hint))
        }
    }
}

/// As many lines of a container's log as the error of its pod quotes.
const LAST_WORDS: usize = 10;

/// `message` with what `container` wrote last: the pod goes, and its logs with it.
fn with_last_words(message: String, log_dir: &Path, container: Option<&str>) -> String {
    let Some(container) = container else { return message };
    let lines = logs::latest_words(&log_dir.join(container), LAST_WORDS);
    // A termination message that falls back to the log says so already.
    if lines.iter().all(|line| message.contains(line.as_str())) {
        return message;
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("\n  {}", shown(line))).collect();
    format!("{message}; its log ends:{}", lines.concat())
}

/// Whether something went wrong that will be tried again: only then a person is told what is awaited.
fn is_news(state: &PodState) -> bool {
    state.containers.iter().any(|run| {
        matches!(run.phase, ContainerPhase::Unmade { .. })
            || run.latest_end().is_some_and(|ended| ended.exit_code != 0)
    })
}

fn kind(failure: Option<StartFailure>) -> ErrorKind {
    match failure {
        Some(StartFailure::CommandNotFound) => ErrorKind::CommandNotFound,
        Some(StartFailure::CommandNotExecutable) => ErrorKind::CommandNotExecutable,
        _ => ErrorKind::Failed,
    }
}

fn hint(failure: Option<StartFailure>) -> Option<&'static str> {
    match failure? {
        StartFailure::CommandNotFound => Some(
            "the image has no such program, or not the interpreter that it names; see command and args in the manifest",
        ),
        StartFailure::CommandNotExecutable => {
            Some("it is no executable file, or the container's user may not execute it")
        }
        _ => None,
    }
}

/// How long a monitor that was killed, or has closed its socket, may take to be gone.
const DIES_WITHIN: Duration = Duration::from_secs(10);
/// How long a monitor may take to answer before it is killed where the end is forced, and how long to do as it is told.
const FORCED_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
const FORCED_ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How to take a pod down.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grace {
    /// How long its processes have to end by themselves; `None`: as its manifest says.
    pub period: Option<Duration>,
    /// Whether they are killed at once and nothing is waited for.
    pub force: bool,
}

/// Asks for the pod's end and waits until it has come, at most until `deadline`; its records, volumes,
/// snapshots and logs are gone afterwards. Works without a monitor. Asked again, it may only shorten the grace.
pub fn down(host: &Host, entry: &PodEntry, grace: Grace, deadline: Option<Instant>) -> Result<()> {
    let id = &entry.id;
    loop {
        end_monitor(host, id, grace, deadline)?;
        // Where its maker has brought it up in the meantime it has a monitor to ask.
        let removed = recovery::remove_dead(host, id, within(deadline, lock::LONG));
        if removed.map_err(|error| error.hint("what is left is tried again by the next podrun command"))? {
            return Ok(());
        }
    }
}

/// Takes away what pods share, where the last of them was brought [`down`].
pub fn tidy(host: &Host) -> Result<()> {
    shared::tidy(host, false)
}

/// Brings the pod's monitor to its end, if there is one.
fn end_monitor(host: &Host, id: &str, grace: Grace, deadline: Option<Instant>) -> Result<()> {
    let answers = if grace.force { at_most(deadline, FORCED_ANSWERS_WITHIN) } else { deadline };
    let ended = match connect(host, id, answers) {
        Ok(None) => return Ok(()),
        Ok(Some(mut monitor)) if grace.force => monitor.remove_sandbox(at_most(deadline, FORCED_ENDS_WITHIN)),
        Ok(Some(mut monitor)) => stop(&mut monitor, grace.period, deadline),
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => Ok(()),
        // It ended by itself, or was killed: then its lock is held a moment longer than its socket.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match store::await_end(host, id, within(deadline, DIES_WITHIN))? {
                true => Ok(()),
                false if grace.force => kill_monitor(host, id, deadline),
                false => Err(Error::failed("the pod's monitor has hung up, and does not end").hint(FORCE)),
            }
        }
        Err(_) if grace.force => kill_monitor(host, id, deadline),
        Err(error) => Err(error),
    }
}

/// What is left of the time until `deadline`, and no more than `most`.
fn within(deadline: Option<Instant>, most: Duration) -> Duration {
    deadline.map_or(most, |deadline| deadline.saturating_duration_since(Instant::now()).min(most))
}

/// The deadline, or `most` from now if that is sooner.
fn at_most(deadline: Option<Instant>, most: Duration) -> Option<Instant> {
    Some(Instant::now() + within(deadline, most))
}

/// The pod's monitor, if one runs. One that runs and does not answer by `deadline` is an error: what it holds is not ours.
fn connect(host: &Host, id: &str, deadline: Option<Instant>) -> Result<Option<Monitor>> {
    let until = at_most(deadline, DIES_WITHIN);
    for _ in 0..2 {
        match Monitor::connect(host, id, deadline) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::Timeout => {
                let is_callers = deadline.is_some_and(|deadline| deadline <= Instant::now());
                let kind = if is_callers { ErrorKind::Timeout } else { ErrorKind::Failed };
                return Err(error.with_kind(kind));
            }
            connected => return connected.map(Some),
        }
        // A monitor shows its socket before its lock, and takes the lock away first. One that is killed closes its socket
        // a moment before its lock, and one that has begun since can be reached.
        if store::await_end(host, id, within(until, DIES_WITHIN))? {
            return Ok(None);
        }
    }
    Err(Error::failed("the pod's monitor is alive, and cannot be reached").hint(FORCE))
}

/// Kills the pod's monitor, and with it the PID namespace of its containers.
fn kill_monitor(host: &Host, id: &str, deadline: Option<Instant>) -> Result<()> {
    let known = monitor_process(host, id).or_else(|error| match error.kind() {
        ErrorKind::Timeout => Ok(None),
        _ => Err(error),
    })?;
    let Some(process) = known else {
        if shared::kill_lost_monitor(host, id, within(deadline, DIES_WITHIN))? {
            return Ok(());
        }
        return match store::await_end(host, id, within(deadline, DIES_WITHIN))? {
            true => Ok(()),
            false => Err(Error::failed("the pod's monitor does not answer, and has no record")
                .hint("/proc/locks shows by the inode of the pod's `lock` which process it is")),
        };
    };
    shared::kill_monitor(process.as_fd(), within(deadline, DIES_WITHIN))
}

/// The process of the pod's monitor: by its record, which may be behind, or by its socket.
fn monitor_process(host: &Host, id: &str) -> Result<Option<OwnedFd>> {
    if let Ok(Loaded::Present(Live { monitor, .. })) = record::load::<Live>(&record::live_path(host, id))
        && let Ok(process) = pidfd::pidfd_open(monitor.pid)
        // Looked at only now: the descriptor names one process for ever.
        && monitor.is_same()
    {
        return Ok(Some(process));
    }
    Monitor::process(host, id)
}

/// Asks for the pod's end and does not wait for it, nor for a monitor that stands still. False: there is no monitor to ask.
pub fn ask_down(
    host: &Host,
    entry: &PodEntry,
    grace: Option<Duration>,
    deadline: Option<Instant>,
) -> Result<bool> {
    match Monitor::tell(host, &entry.id, stop_request(grace), within(deadline, DIES_WITHIN)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // It may be on its way out, or on its way in.
            let Some(mut monitor) = connect(host, &entry.id, deadline)? else { return Ok(false) };
            monitor.send(stop_request(grace)).map(|_| true)
        }
        Err(error) => Err(error),
    }
}

/// Asks for the end and waits for it: a monitor closes its connections when nothing of its pod is left, which
/// comes back as [`ErrorKind::NotFound`].
fn stop(monitor: &mut Monitor, grace: Option<Duration>, deadline: Option<Instant>) -> Result<()> {
    monitor.send(stop_request(grace))?;
    loop {
        match monitor.next(deadline) {
            Err(error) => return Err(error),
            Ok(Some(_)) => {}
            Ok(None) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                let message = "timed out waiting for the pod's end, which goes on";
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            Ok(None) => {}
        }
    }
}

fn stop_request(grace: Option<Duration>) -> Op {
    Op::StopSandbox { grace: grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)) }
}
