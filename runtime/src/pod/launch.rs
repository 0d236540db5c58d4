//! Bringing a pod up and taking it down, as a client does it: records, monitor, sandbox, rules, commit.
//!
//! Invariant: a pod that [`up`] does not return is not there any more. Until the commit the pod
//! belongs to this process: if that is killed, the monitor undoes all; if both are, recovery does.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::bundle::Missing;
use super::client::{Client, FORCE, Notice};
use super::config::SandboxConfig;
use super::protocol::{Change, HandOver, Op};
use super::record::{self, Live, Loaded, Sandbox, SandboxStatus};
use super::volume::{self, HostPath, Opening};
use super::{attempt, recovery, sandbox, shared, store};
use crate::cgroup::Layout;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::{Image, ImageStore};
use crate::lock;
use crate::net::etc::HostFiles;
use crate::sys::io::poll::{self, Interest};
use crate::sys::process::interrupt::{self, Signals};
use crate::sys::process::pidfd;

/// A pod on its way up. The monitor works on each part while the client prepares the next; an error of one part
/// is returned by the next call.
#[derive(Debug)]
pub struct Raising<'a> {
    host: &'a Host,
    id: &'a str,
    layout: Layout,
    monitor: &'a mut Client,
    signals: Signals,
}

/// Brings a pod up as `make` asks for it, and commits to it; `host_pid`: its process ids are the host's.
///
/// # Errors
/// Errors of `make`, after which nothing of the pod is left; [`ErrorKind::Interrupted`].
pub fn up<T>(
    host: &Host,
    host_pid: bool,
    make: impl FnOnce(&mut Raising<'_>) -> Result<T>,
) -> Result<(T, Client)> {
    let (id, guard) = store::begin(host)?;
    let mut monitor = None;
    let raised = raise(host, &id, host_pid, make, &mut monitor);
    let undone = match &raised {
        Ok(_) => Ok(()),
        // The guard is still held, so that recovery does not take the pod for lost meanwhile.
        Err(_) => undo(host, &id, monitor.as_mut()),
    };
    drop(guard);
    let made = raised.map_err(|error| with_undo(error, undone))?;
    let monitor = monitor.ok_or_else(|| Error::failed("the pod came up without a monitor"))?;
    Ok((made, monitor))
}

fn with_undo(error: Error, undone: Result<()>) -> Error {
    match undone {
        Ok(()) => error,
        Err(left) => {
            error.hint(format!("its undoing failed too: {left}; the next podrun command tries again"))
        }
    }
}

fn raise<T>(
    host: &Host,
    id: &str,
    host_pid: bool,
    make: impl FnOnce(&mut Raising<'_>) -> Result<T>,
    connection: &mut Option<Client>,
) -> Result<T> {
    let up = || {
        let layout = Layout::detect()?;
        let monitor = connection.insert(Client::spawn(host, &layout, id, host_pid)?);
        // Not before the monitor is spawned, which would inherit the mask; and from then on the pod is undone here.
        let signals = Signals::catch(&interrupt::ENDING)?;
        let mut raising = Raising { host, id, layout, monitor, signals };
        let made = make(&mut raising)?;
        raising.monitor.commit()?;
        Ok(made)
    };
    up().map_err(|error: Error| match error.kind() {
        ErrorKind::NotFound => Error::failed("the pod's monitor ended unexpectedly, or the pod was deleted"),
        _ => error,
    })
}

impl Raising<'_> {
    /// The host's folder of logs.
    pub fn log_dir(&self) -> &Path {
        &self.host.log_dir
    }

    /// The controllers that the host's cgroups have not.
    pub fn missing(&self) -> Missing {
        Missing::of(&self.layout)
    }

    /// Writes the pod's records, reserves its name, has the monitor make the sandbox, and makes its volumes.
    /// Returns its record and warnings.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`]: the name is taken; it may be asked again, for another one.
    pub fn sandbox(
        &mut self,
        config: &SandboxConfig,
        deadline: Option<Instant>,
    ) -> Result<(Sandbox, Vec<String>)> {
        let sandbox = store::fill(self.host, self.id, config)?;
        let (spec, warnings) = sandbox::spec(&sandbox, config, &HostFiles::read(Path::new("/")));
        self.monitor.send_ahead(Op::CreateSandbox(Box::new(spec)))?;
        volume::make(self.host, self.id, &config.volumes)?;
        self.check_host_paths(config, deadline)?;
        Ok((sandbox, warnings))
    }

    /// Checks the types of the pod's host paths, as long as their file systems answer.
    fn check_host_paths(&self, config: &SandboxConfig, deadline: Option<Instant>) -> Result<()> {
        let host_paths = HostPath::of_pod(&config.volumes);
        if host_paths.is_empty() {
            return Ok(());
        }
        let mut opening = Opening::begin(&host_paths, &[])?;
        let patience = Instant::now() + volume::PATIENCE;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        loop {
            let polled = [(opening.as_fd(), Interest::Read), (self.signals.as_fd(), Interest::Read)];
            let ready = poll::poll(&polled, Some(until.saturating_duration_since(Instant::now())))?;
            if ready[1].readable {
                opening.call_off();
                return Err(interrupted(&self.signals));
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

    /// Leases the images, makes the directories of the first attempts and hands the pod over to its front's
    /// rules. `images` are keyed by container name; terminals have `window` from the start.
    pub fn hand_over(
        &mut self,
        images: BTreeMap<String, Image>,
        window: Option<(u16, u16)>,
        rules: Box<RawValue>,
    ) -> Result<()> {
        ImageStore::open(self.host)?.lease(self.id, &images.values().collect::<Vec<_>>())?;
        let first = |container: &String| Ok((container.clone(), attempt::begin(self.host, self.id)?));
        let first_attempts = images.keys().map(first).collect::<Result<_>>()?;
        self.monitor.send_ahead(Op::HandOver(Box::new(HandOver { rules, images, window, first_attempts })))
    }

    /// The pod's current state; [`Raising::changed`] reports later ones.
    pub fn watch(&mut self) -> Result<SandboxStatus> {
        Ok(*self.monitor.watch(0)?.sandbox)
    }

    /// The next state of the pod; `None`: none yet, and `until` may have passed.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] by a signal.
    pub fn changed(&mut self, until: Option<Instant>) -> Result<Option<SandboxStatus>> {
        if !self.monitor.has_notice() {
            let polled = [(self.monitor.as_fd(), Interest::Read), (self.signals.as_fd(), Interest::Read)];
            let ready =
                poll::poll(&polled, until.map(|until| until.saturating_duration_since(Instant::now())))?;
            if ready[1].readable {
                return Err(interrupted(&self.signals));
            }
            if !ready[0].readable {
                return Ok(None);
            }
        }
        Ok(match self.monitor.next(Some(Instant::now()))? {
            Some(Notice::Event(event)) => match event.change {
                Change::Sandbox(changed) => Some(*changed),
                Change::Container(_) | Change::Removed { .. } => None,
            },
            Some(Notice::Exited { .. }) | None => None,
        })
    }
}

/// Ends a pod that did not come up, and removes it from the disk.
fn undo(host: &Host, id: &str, monitor: Option<&mut Client>) -> Result<()> {
    if monitor.is_some_and(|monitor| monitor.remove_sandbox(None).is_ok()) {
        store::remove(host, id)?;
    } else {
        recovery::remove(host, id)?;
    }
    shared::tidy(host, false)
}

fn interrupted(signals: &Signals) -> Error {
    // Taken off the queue: let through, it would end this process before its undoing.
    match signals.next() {
        Ok(_) => Error::new(ErrorKind::Interrupted, "interrupted; the pod is removed again"),
        Err(error) => error.into(),
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
pub fn down(host: &Host, id: &str, grace: Grace, deadline: Option<Instant>) -> Result<()> {
    loop {
        end_monitor(host, id, grace, deadline)?;
        // Where its maker has brought it up in the meantime it has a monitor to ask.
        let removed = recovery::remove_dead(host, id, within(deadline, lock::LONG));
        if removed.map_err(|error| error.hint("what is left is tried again by the next podrun command"))? {
            return Ok(());
        }
    }
}

/// Removes shared parts after the last pod was brought [`down`].
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

/// The time left until `deadline`, at most `most`.
fn within(deadline: Option<Instant>, most: Duration) -> Duration {
    deadline.map_or(most, |deadline| deadline.saturating_duration_since(Instant::now()).min(most))
}

/// The deadline, or `most` from now if that is sooner.
fn at_most(deadline: Option<Instant>, most: Duration) -> Option<Instant> {
    Some(Instant::now() + within(deadline, most))
}

/// The pod's monitor, if one runs. A monitor that does not answer by `deadline` is an error: the pod is still
/// its own.
fn connect(host: &Host, id: &str, deadline: Option<Instant>) -> Result<Option<Client>> {
    let until = at_most(deadline, DIES_WITHIN);
    for _ in 0..2 {
        match Client::connect(host, id, deadline) {
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
    Client::process(host, id)
}

/// Asks for the pod's end and does not wait for it, nor for a monitor that stands still. False: there is no monitor to ask.
pub fn ask_down(host: &Host, id: &str, grace: Option<Duration>, deadline: Option<Instant>) -> Result<bool> {
    match Client::tell(host, id, stop_request(grace), within(deadline, DIES_WITHIN)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // It may be on its way out, or on its way in.
            let Some(mut monitor) = connect(host, id, deadline)? else { return Ok(false) };
            monitor.send(stop_request(grace)).map(|_| true)
        }
        Err(error) => Err(error),
    }
}

/// Asks for the end and waits for it: a monitor closes its connections when nothing of its pod is left, which
/// comes back as [`ErrorKind::NotFound`].
fn stop(monitor: &mut Client, grace: Option<Duration>, deadline: Option<Instant>) -> Result<()> {
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
