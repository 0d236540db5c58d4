//! The policy half: facts go to [`step`], its actions come back as calls of the mechanism.
//!
//! Invariant: the driver does nothing that a client could not ask for by the protocol, and decides nothing.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde_json::value::RawValue;

use super::Monitor;
use super::container::Material;
use super::deadlines::Due;
use super::end::Ending;
use crate::error::{Error, ErrorKind, Result};
use crate::image::snapshot;
use crate::manifest::{Container, Pod};
use crate::pod::attempt::{self, Prepared};
use crate::pod::bundle::Facts;
use crate::pod::protocol::{Policy, PolicyImage};
use crate::pod::record::{self, Sandbox};
use crate::pod::volume::Source;
use crate::policy::{Action, Event, Exit, Moment, PodState, StartFailure, step};
use crate::sys::process::errand;

/// A pod that is run by Kubernetes' rules.
#[derive(Debug)]
pub(super) struct Driver {
    pod: Box<Pod>,
    images: BTreeMap<String, PolicyImage>,
    /// The rows and columns that its terminals have at first.
    pub(super) window: Option<(u16, u16)>,
    first_attempts: BTreeMap<String, String>,
    sandbox: Sandbox,
    host_facts: Facts,
    state: PodState,
    finished: bool,
}

impl Driver {
    /// The pod, and its container of this name.
    pub(super) fn container(&self, name: &str) -> Result<(&Pod, &Container)> {
        let mut containers = self.pod.spec.init_containers.iter().chain(&self.pod.spec.containers);
        let container = containers.find(|container| container.name == name);
        let none = || Error::failed(format!("no container {name:?} in the pod"));
        Ok((&self.pod, container.ok_or_else(none)?))
    }

    /// Whether the policy has said that nothing will happen any more.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }
}

impl Monitor {
    /// Answers `policy`.
    pub(super) fn adopt_policy(&mut self, policy: Policy) -> Result<()> {
        let Some(sandbox) = &self.sandbox else { return Err(Error::state("the pod has no sandbox yet")) };
        if self.driver.is_some() || self.ending.is_some() {
            return Err(Error::state("the pod has its policy already, or is ending"));
        }
        let host_ips: Vec<String> = sandbox.host_addresses().iter().map(ToString::to_string).collect();
        let pod_ips = match policy.pod.spec.host_network {
            true => host_ips.clone(),
            false => self.status.ips.iter().map(ToString::to_string).collect(),
        };
        let path = record::sandbox_path(&self.host, &self.id);
        let record = record::load(&path)?.present();
        let record = record.ok_or_else(|| Error::failed(format!("{}: cannot be read", path.display())))?;
        let facts = policy.images.iter().map(|(name, image)| (name.clone(), image.fact.clone())).collect();
        let state = PodState::new(&policy.pod, &facts, Moment::now());
        let containers = policy.pod.spec.init_containers.iter().chain(&policy.pod.spec.containers);
        let privileged =
            containers.into_iter().any(|container| container.security_context.privileged == Some(true));
        self.driver = Some(Driver {
            pod: policy.pod,
            images: policy.images,
            window: policy.window,
            first_attempts: policy.first_attempts,
            sandbox: record,
            host_facts: Facts::read(privileged, &self.layout),
            state,
            finished: false,
        });
        self.facts.push_back(Event::SandboxReady { host_ips, pod_ips });
        Ok(())
    }

    /// Tells the policy what has happened since, and does what it asks for.
    pub(super) fn drive(&mut self) {
        if self.driver.is_none() {
            return self.facts.clear();
        }
        while let (Some(event), Some(driver)) = (self.facts.pop_front(), &mut self.driver) {
            let actions = step(&driver.pod, &mut driver.state, event, Moment::now());
            let is_stopping = driver.state.stopping.is_some();
            for action in actions {
                self.perform(action);
            }
            // What waits for its host paths has no process yet that could be asked to end.
            if is_stopping {
                self.call_off_host_paths(Some(Error::failed(
                    "the pod ends, and its host paths are not open yet",
                )));
            }
        }
        let wake_at = self.driver.as_ref().and_then(|driver| driver.state.wake_at());
        match wake_at {
            Some(at) => {
                let wait = Duration::from_millis(at.millis_since(Moment::now()));
                self.deadlines.set_after(Due::Policy, wait);
            }
            None => self.deadlines.cancel(Due::Policy),
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { container, attempt } => self.start_attempt(&container, attempt),
            Action::Stop { container, attempt } => {
                if let Some(slot) = self.slot_of_attempt(&container, attempt) {
                    self.stop_container(slot, None);
                }
            }
            Action::Kill { container, attempt } => {
                if let Some(slot) = self.slot_of_attempt(&container, attempt) {
                    self.kill_container(slot);
                }
            }
            Action::WriteStatus => self.write_status(),
            Action::StopSandbox => {
                self.stop_pod_init();
                self.take_down();
                self.facts.push_back(Event::SandboxStopped);
            }
            Action::Finish { remove } => {
                if let Some(driver) = &mut self.driver {
                    driver.finished = true;
                }
                // Whoever asked for the deletion may not have waited.
                if remove {
                    self.ending = Some(Ending::Remove);
                }
            }
        }
    }

    fn slot_of_attempt(&self, name: &str, attempt: u32) -> Option<u32> {
        let is = |spec: &crate::pod::protocol::ContainerSpec| spec.name == name && spec.attempt == attempt;
        self.containers.iter().find(|container| is(&container.spec)).map(|container| container.slot)
    }

    fn start_attempt(&mut self, name: &str, attempt: u32) {
        match self.open_host_paths(name, attempt) {
            // It goes on when they are open.
            Ok(true) => {}
            Ok(false) => self.make_attempt(name, attempt, Vec::new()),
            Err(error) => self.fact_unmade(name, attempt, &error),
        }
    }

    /// Makes the attempt, with what it mounts of the host, and starts it.
    pub(super) fn make_attempt(&mut self, name: &str, attempt: u32, host_paths: Vec<Source>) {
        let made = self.prepare_attempt(name, attempt, host_paths).and_then(|(prepared, rootfs)| {
            let Prepared { container, spec, sources, records } = prepared;
            let material = Material { spec, rootfs: Some(rootfs), sources };
            Ok((self.admit_container(container, Some(material))?, records))
        });
        match made {
            Ok((slot, records)) => {
                let launched = self.launch(slot);
                // The child has its mounts to make meanwhile.
                let written = records.write();
                if let (Err(_), Some(container)) = (&written, self.container(slot)) {
                    container.records = Some(records);
                }
                self.keep(written);
                self.publish_container(slot);
                if let Err(error) = launched {
                    self.start_failed(slot, &error);
                }
                self.forget_attempts_before(name, attempt);
            }
            Err(error) => self.fact_unmade(name, attempt, &error),
        }
    }

    /// Makes the attempt's root, records and spec.
    fn prepare_attempt(
        &self,
        name: &str,
        attempt: u32,
        host_paths: Vec<Source>,
    ) -> Result<(Prepared, OwnedFd)> {
        let driver = self.driver.as_ref().ok_or_else(|| Error::failed("the pod has no policy"))?;
        let (pod, container) = driver.container(name)?;
        let image =
            &driver.images.get(name).ok_or_else(|| Error::failed(format!("no image for `{name}`")))?.image;
        let id = match driver.first_attempts.get(name) {
            Some(id) if attempt == 0 => id.clone(),
            _ => attempt::begin(&self.host, &self.id)?,
        };
        let rootfs = snapshot::prepared(&self.host, &id, &image.layers).and_then(|made| made.mount());
        let prepared = rootfs.and_then(|rootfs| {
            let inputs = attempt::Inputs {
                host: &self.host,
                sandbox: &driver.sandbox,
                pod,
                container,
                attempt,
                image,
                facts: &driver.host_facts,
            };
            Ok((attempt::prepare(&id, &inputs, rootfs.as_fd(), host_paths)?, rootfs))
        });
        prepared.inspect_err(|_| attempt::give_up(&self.host, &self.id, &id))
    }

    /// Of a container that was started again, only the attempt before is still of interest, and of that one only what
    /// is said of it: its root goes now.
    fn forget_attempts_before(&mut self, name: &str, attempt: u32) {
        let ended =
            self.containers.iter().filter(|container| container.spec.name == name && !container.is_alive());
        let (old, last): (Vec<_>, Vec<_>) = ended
            .filter(|container| container.spec.attempt < attempt)
            .map(|container| (container.slot, container.spec.clone()))
            .partition(|(_, spec)| spec.attempt + 1 < attempt);
        if old.is_empty() && last.is_empty() {
            return;
        }
        for (slot, _) in &old {
            self.forget_container(*slot);
        }
        let (host, pod) = (&self.host, &self.id);
        // A tree of any size may lie in a root: a child deletes it. What it does not finish goes with the pod.
        let deleting = errand::run_apart(|| {
            for (_, spec) in &last {
                drop(snapshot::remove(host, &spec.id));
            }
            for (_, spec) in &old {
                drop(attempt::forget(host, pod, &spec.id));
                if let Some(log) = &spec.log {
                    drop(std::fs::remove_file(log.file(&host.log_dir)));
                }
            }
        });
        self.keep(deleting.map_err(Error::from));
    }

    /// Writes down what the policy makes of it all, and tells the watchers.
    fn write_status(&mut self) {
        let Some(driver) = &self.driver else { return };
        let text = serde_json::to_string(&driver.state).expect("a state has string keys only");
        self.status.pod = RawValue::from_string(text).ok();
        if let Some(deletion) = driver.state.deletion {
            self.status.deletion_at = Some(deletion.due_at.0.saturating_mul(1_000_000));
            self.status.deletion_grace = Some(deletion.grace_seconds);
        }
        self.publish_sandbox();
    }

    /// The program of the container in `slot` runs.
    pub(super) fn fact_started(&mut self, slot: u32) {
        if let Some((container, attempt, id)) = self.named(slot) {
            self.facts.push_back(Event::Started { container, attempt, id });
        }
    }

    /// The attempt could not be made: nothing of it is there.
    pub(super) fn fact_unmade(&mut self, name: &str, attempt: u32, error: &Error) {
        let failure = match error.kind() {
            ErrorKind::Manifest => StartFailure::CreateContainerConfigError,
            _ => StartFailure::CreateContainerError,
        };
        let (container, message) = (name.to_owned(), error.message().to_owned());
        self.facts.push_back(Event::StartFailed { container, attempt, id: None, failure, message });
    }

    /// The container in `slot` could not be started.
    pub(super) fn fact_start_failed(&mut self, slot: u32, error: &Error) {
        if let Some((container, attempt, id)) = self.named(slot) {
            let failure = match error.kind() {
                ErrorKind::CommandNotFound => StartFailure::CommandNotFound,
                ErrorKind::CommandNotExecutable => StartFailure::CommandNotExecutable,
                _ => StartFailure::StartError,
            };
            let message = error.message().to_owned();
            self.facts.push_back(Event::StartFailed { container, attempt, id: Some(id), failure, message });
        }
    }

    /// The container in `slot` has ended.
    pub(super) fn fact_exited(&mut self, slot: u32) {
        let Some((container, attempt, _)) = self.named(slot) else { return };
        let Some(record) = self.container(slot).map(|container| &container.status.record) else { return };
        let exit = Exit {
            code: record.exit_code.unwrap_or_default(),
            signal: record.signal,
            oom_killed: record.oom_killed,
            message: record.message.clone(),
            at: Moment(record.finished_at / 1_000_000),
        };
        self.facts.push_back(Event::Exited { container, attempt, exit });
    }

    fn named(&self, slot: u32) -> Option<(String, u32, String)> {
        let container = self.containers.iter().find(|container| container.slot == slot)?;
        Some((container.spec.name.clone(), container.spec.attempt, container.spec.id.clone()))
    }
}
