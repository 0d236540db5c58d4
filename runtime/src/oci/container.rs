//! One container: its status, and the verbs that need no lock.
//!
//! Invariant: a signal goes to a process that was looked at by descriptor: a pid that another process
//! has by now is never signalled.

use std::cell::OnceCell;
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oci_spec::runtime::{ContainerState, LinuxNamespaceType, LinuxResources, Spec};
use serde::Serialize;

use super::record::{Record, State};
use super::{ContainerId, config, resctrl, store};
use crate::cgroup::{Cgroup, Layout, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Errno;
use crate::sys::io::{poll, socket};
use crate::sys::process::pidfd;

/// The name of the socket at which an init waits for its start.
pub(super) const START: &str = "start.sock";

/// Where a container is in its life (runtime.md, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A create is at work.
    Creating,
    /// Complete; its program has not been started.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its init has ended, or its create was interrupted.
    Stopped,
}

impl Status {
    /// As the specification has it, to which a paused container is one that runs.
    pub(super) fn plain(self) -> ContainerState {
        match self {
            Self::Creating => ContainerState::Creating,
            Self::Created => ContainerState::Created,
            Self::Running | Self::Paused => ContainerState::Running,
            Self::Stopped => ContainerState::Stopped,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// A container of a [`super::Store`].
#[derive(Debug, Clone)]
pub struct Container {
    id: ContainerId,
    directory: PathBuf,
    /// The host's cgroups, and the container's own copy of its config: neither changes while a command runs.
    layout: OnceCell<Layout>,
    config: OnceCell<Arc<Spec>>,
}

impl Container {
    pub(super) fn new(id: ContainerId, directory: PathBuf) -> Self {
        Self { id, directory, layout: OnceCell::new(), config: OnceCell::new() }
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Its state now.
    pub fn state(&self) -> Result<State> {
        let record = store::read(self)?;
        let status = self.status_of(record.as_ref())?;
        Ok(match record {
            Some(record) => self.state_of(record, status),
            None => self.half_made(status),
        })
    }

    /// Its status now.
    pub fn status(&self) -> Result<Status> {
        self.status_of(store::read(self)?.as_ref())
    }

    /// The state of a container whose create has written no record yet.
    fn half_made(&self, status: Status) -> State {
        State {
            oci_version: oci_version(),
            id: self.id.to_string(),
            pid: 0,
            status,
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            created: crate::time::Time::default(),
            annotations: std::collections::BTreeMap::new(),
            owner: String::new(),
        }
    }

    pub(super) fn state_of(&self, record: Record, status: Status) -> State {
        let pid = record.init.filter(|_| status != Status::Stopped).map_or(0, |init| init.pid);
        State {
            oci_version: record.oci_version,
            id: self.id.to_string(),
            pid,
            status,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
            owner: record.owner,
        }
    }

    fn status_of(&self, record: Option<&Record>) -> Result<Status> {
        let Some(record) = record.filter(|record| record.complete) else {
            return Ok(if store::is_locked(self)? { Status::Creating } else { Status::Stopped });
        };
        if let Some(status) = self.stopped_or_paused(record)? {
            return Ok(status);
        }
        // The kernel's own word: the listening socket is closed by the execve and by nothing else.
        Ok(if socket::is_listening(&self.directory, START)? { Status::Created } else { Status::Running })
    }

    /// The status of a complete container that neither waits for its start nor runs.
    fn stopped_or_paused(&self, record: &Record) -> Result<Option<Status>> {
        if alive(record)?.is_none() {
            return Ok(Some(Status::Stopped));
        }
        Ok(self.cgroup_of(record)?.is_frozen().then_some(Status::Paused))
    }

    /// The record of a container that is complete.
    pub(super) fn record(&self) -> Result<Record> {
        store::read(self)?.filter(|record| record.complete).ok_or_else(|| {
            Error::state(format!("container `{}` is not complete", self.id))
                .hint("it is being created; or its create was interrupted: then delete --force removes what is left")
        })
    }

    pub(super) fn cgroup_of(&self, record: &Record) -> Result<Cgroup> {
        match &record.cgroup {
            Some(path) => Cgroup::open(self.layout()?, path),
            None => Ok(Cgroup::none()),
        }
    }

    /// The cgroup of a container that has one; acts that need a cgroup are refused for others.
    pub(super) fn own_cgroup(&self, record: &Record) -> Result<Cgroup> {
        match self.cgroup_of(record)? {
            none if none.is_none() => Err(Error::new(
                ErrorKind::Unsupported,
                format!("container `{}` has no cgroup: its user had no right to one", self.id),
            )
            .hint("only its first process can be seen and signalled; that one's end is everybody's")),
            cgroup => Ok(cgroup),
        }
    }

    /// Sends SIGKILL to all its processes. Without a cgroup it has a pid namespace of its own, which ends with its init.
    pub(super) fn kill_processes(&self, record: &Record) -> Result<()> {
        let cgroup = self.cgroup_of(record)?;
        match &record.made_cgroup {
            Some(_) => cgroup.kill()?,
            // It was there before the container, and stays.
            None => cgroup.kill_each()?,
        }
        match alive(record) {
            // The init has no cgroup, or was moved out of it. It may be dead already, as wanted.
            Ok(Some(init)) => {
                let _ = crate::sys::process::signal::send(&init, pidfd::SIGKILL);
            }
            Ok(None) => {}
            // Nothing has killed it.
            Err(error) if cgroup.is_none() => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    /// The host's cgroup hierarchies, read once.
    pub(super) fn layout(&self) -> Result<&Layout> {
        if self.layout.get().is_none() {
            // No other setter: a container belongs to one thread.
            let _ = self.layout.set(Layout::detect()?);
        }
        self.layout.get().ok_or_else(|| Error::failed("the cgroup hierarchies are not known"))
    }

    /// The living init's pidfd.
    pub(super) fn init(&self, record: &Record) -> Result<OwnedFd> {
        alive(record)?.ok_or_else(|| Error::state(format!("container `{}` is not running", self.id)))
    }

    /// Where compiled seccomp programs are kept: beside the containers, under a name that is no id.
    pub(super) fn seccomp_programs(&self) -> PathBuf {
        self.directory.with_file_name(".seccomp")
    }

    /// The container's own copy of its config, read once.
    pub(super) fn config(&self) -> Result<&Spec> {
        if self.config.get().is_none() {
            self.know(Arc::new(config::kept(self)?));
        }
        let config = self.config.get().map(AsRef::as_ref);
        config.ok_or_else(|| Error::failed("the container's config is not known"))
    }

    /// Takes the config that it has, so that it is not read again.
    pub(super) fn know(&self, config: Arc<Spec>) {
        // No other setter, or an equal value.
        let _ = self.config.set(config);
    }

    /// Sends `signal` to the init. Where the container has no pid namespace of its own, SIGKILL takes all
    /// its processes: nothing else would end them.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let record = self.record()?;
        let init = self.init(&record)?;
        if signal == pidfd::SIGKILL && !config::has_own(self.config()?, LinuxNamespaceType::Pid) {
            return self.kill_all(signal);
        }
        match pidfd::pidfd_send_signal(init.as_fd(), signal) {
            Err(Errno::ESRCH) => {
                return Err(Error::state(format!("container `{}` is not running", self.id)));
            }
            other => other.map_err(|errno| errno.during(format!("pidfd_send_signal({signal})")))?,
        }
        // The v1 freezer holds killed processes, too.
        match signal == pidfd::SIGKILL && self.status()? == Status::Paused {
            true => self.own_cgroup(&record)?.thaw(),
            false => Ok(()),
        }
    }

    /// Sends `signal` to every process of the container; no error when it has none.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        let record = self.record()?;
        if signal == pidfd::SIGKILL {
            return self.kill_processes(&record);
        }
        let cgroup = self.own_cgroup(&record)?;
        for pid in cgroup.pids()? {
            let Ok(process) = pidfd::pidfd_open(pid) else { continue };
            // Looked at again once it is held: the number may be another process's by now.
            if cgroup.pids()?.contains(&pid) {
                match pidfd::pidfd_send_signal(process.as_fd(), signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno.during(format!("pidfd_send_signal({signal})")).into()),
                }
            }
        }
        Ok(())
    }

    /// The pids of its processes, in the caller's pid namespace.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = self.own_cgroup(&self.record()?)?.pids()?;
        pids.sort_unstable();
        Ok(pids)
    }

    /// Freezes all its processes, and waits until they are.
    pub fn pause(&self) -> Result<()> {
        let record = self.must_be(&[Status::Created, Status::Running], "paused")?;
        self.own_cgroup(&record)?.freeze_and_wait()
    }

    /// Undoes [`Container::pause`].
    pub fn resume(&self) -> Result<()> {
        let record = self.must_be(&[Status::Paused], "resumed")?;
        self.own_cgroup(&record)?.thaw()
    }

    /// Changes its limits; returns a warning about the part that is left out. Device rules stay, as with runc:
    /// callers send their whole copy of a container's resources.
    pub fn update(&self, change: &LinuxResources) -> Result<Option<&'static str>> {
        let record = self.must_be(&[Status::Created, Status::Running, Status::Paused], "updated")?;
        let cgroup = self.own_cgroup(&record)?;
        let own = self.config()?.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let mut change = change.clone();
        let asked = change.devices().clone().filter(|rules| !rules.is_empty());
        let left_out = asked.is_some() && own.is_none_or(|own| *own.devices() != asked);
        change.set_devices(None);
        let resources = cgroup.complete(&change)?;
        // The unit first: setting its properties writes files too, and with less precision.
        if let Some(unit) = &record.unit {
            Scope::of_unit(unit).update(&resources)?;
        }
        cgroup.update(&resources)?;
        Ok(left_out.then_some(
            "linux.resources.devices: the rules of a container stay as it was made with: left out",
        ))
    }

    /// Changes the L3 cache and the memory bandwidth of its class of service, as lines of a `schemata` file.
    pub fn update_class(&self, l3_cache: Option<&str>, bandwidth: Option<&str>) -> Result<()> {
        let record = self.must_be(&[Status::Created, Status::Running, Status::Paused], "updated")?;
        match &record.resctrl {
            Some(group) => resctrl::update(group, l3_cache, bandwidth),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                format!("container `{}` has no class of service to change", self.id),
            )
            .hint("its config has no linux.intelRdt")),
        }
    }

    /// Its record and the connection by which its init is told to go on, if it waits for that.
    pub(super) fn must_wait_for_start(&self) -> Result<(Record, OwnedFd)> {
        // Report a half-made container as such, rather than its status.
        let record = self.record()?;
        let status = match self.stopped_or_paused(&record)? {
            Some(status) => status,
            None => match socket::connect_if_listening(&self.directory, START, pidfd::KILLED_WITHIN)? {
                Some(word) => return Ok((record, word)),
                None => Status::Running,
            },
        };
        Err(self.cannot_be("started", status))
    }

    pub(super) fn cannot_be(&self, done: &str, status: Status) -> Error {
        Error::state(format!("container `{}` is {status} and cannot be {done}", self.id))
    }

    /// Its record, if its status is one of `wanted`; such a container is complete.
    pub(super) fn must_be(&self, wanted: &[Status], verb: &str) -> Result<Record> {
        let record = store::read(self)?;
        let status = self.status_of(record.as_ref())?;
        record.filter(|_| wanted.contains(&status)).ok_or_else(|| self.cannot_be(verb, status))
    }

    /// Waits until its killed init has ended, and with it all of its pid namespace; at once when it has.
    pub(super) fn await_end(&self, record: &Record) -> Result<()> {
        let Ok(Some(init)) = alive(record) else { return Ok(()) };
        if poll::wait_readable(init.as_fd(), pidfd::KILLED_WITHIN) {
            return Ok(());
        }
        let error = self.cgroup_of(record)?.unended(record.init.map(|init| init.pid));
        Err(error.context(format!("container `{}`", self.id)).hint("delete it again once that has ended"))
    }
}

/// The version that podrun's documents follow.
pub(super) fn oci_version() -> String {
    "1.3.0".to_owned()
}

/// The pidfd of a record's init, if that very process still runs.
fn alive(record: &Record) -> Result<Option<OwnedFd>> {
    let Some(init) = record.init else { return Ok(None) };
    let process = match pidfd::pidfd_open(init.pid) {
        // The number is free, or now a thread's of another process (EINVAL, and ENOENT since Linux 6.15).
        Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return Ok(None),
        other => other.map_err(|errno| errno.during(format!("pidfd_open({})", init.pid)))?,
    };
    // A zombie is readable; a stranger has another start time.
    let running = !poll::wait_readable(process.as_fd(), Duration::ZERO);
    Ok((running && init.is_same()).then_some(process))
}

/// The signal that `text` names: `9`, `KILL`, `SIGKILL`, `RTMIN+1`.
pub fn signal_number(text: &str) -> Result<i32> {
    match text {
        // Sends nothing, and tells whether the init is there (kill(2)).
        "0" => Ok(0),
        _ => crate::sys::process::signal::number(text)
            .ok_or_else(|| Error::new(ErrorKind::Usage, format!("`{text}` is no signal"))),
    }
}
