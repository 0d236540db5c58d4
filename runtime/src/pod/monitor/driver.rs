//! The half of the monitor that serves a front's rules: facts go to its [`Driver`], the returned acts are calls
//! of the mechanism.
//!
//! Invariant: nothing is done here that a client could not ask for by the protocol, and nothing decided.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use super::Monitor;
use super::container::Material;
use super::deadlines::Due;
use super::end::Ending;
use crate::error::{Error, ErrorKind, Result};
use crate::image::Image;
use crate::image::snapshot;
use crate::pod::attempt::{self, Prepared};
use crate::pod::bundle::Facts;
use crate::pod::config::ContainerConfig;
use crate::pod::driver::{Act, Driver, DriverStatus, Fact};
use crate::pod::protocol::HandOver;
use crate::pod::record::{self, Sandbox};
use crate::pod::volume::Source;
use crate::sys::process::errand;

/// A pod that is run by its front's rules.
#[derive(Debug)]
pub(super) struct Driven {
    rules: Box<dyn Driver>,
    images: BTreeMap<String, Image>,
    /// The rows and columns that its terminals have at first.
    pub(super) window: Option<(u16, u16)>,
    first_attempts: BTreeMap<String, String>,
    sandbox: Sandbox,
    host_facts: Facts,
    finished: bool,
}

impl Driven {
    /// The configuration of an attempt of this container.
    pub(super) fn config(&self, name: &str, attempt: u32) -> Result<ContainerConfig> {
        self.rules.container(name, attempt, &self.host_facts)
    }

    /// Whether the rules have said that nothing will happen any more.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }
}

impl Monitor {
    /// Answers `hand-over`.
    pub(super) fn hand_over(&mut self, handed: HandOver) -> Result<()> {
        let Some(sandbox) = &self.sandbox else { return Err(Error::state("the pod has no sandbox yet")) };
        if self.driver.is_some() || self.ending.is_some() {
            return Err(Error::state("the pod has its policy already, or is ending"));
        }
        let host_ips = sandbox.host_addresses().to_vec();
        let path = record::sandbox_path(&self.host, &self.id);
        let record: Sandbox = record::load(&path)?
            .present()
            .ok_or_else(|| Error::failed(format!("{}: cannot be read", path.display())))?;
        let rules = (self.fronts)(record.front).ok_or_else(|| {
            let message = format!("no rules for pods of the front {:?} are linked", record.front);
            Error::new(ErrorKind::Unsupported, message)
        })?;
        self.driver = Some(Driven {
            rules: (rules.drive)(&record, &handed.rules)?,
            images: handed.images,
            window: handed.window,
            first_attempts: handed.first_attempts,
            sandbox: record,
            host_facts: Facts::read(&self.layout),
            finished: false,
        });
        self.facts.push_back(Fact::SandboxReady { host_ips, pod_ips: self.status.ips.clone() });
        Ok(())
    }

    /// Passes the new facts to the rules, and performs the acts.
    pub(super) fn drive(&mut self) {
        if self.driver.is_none() {
            return self.facts.clear();
        }
        while let (Some(fact), Some(driven)) = (self.facts.pop_front(), &mut self.driver) {
            let acts = driven.rules.tell(fact);
            let is_stopping = driven.rules.is_stopping();
            for act in acts {
                self.perform(act);
            }
            // A container that waits for its host paths has no process yet that could be stopped.
            if is_stopping {
                self.call_off_host_paths(Some(Error::failed(
                    "the pod ends, and its host paths are not open yet",
                )));
            }
        }
        match self.driver.as_ref().and_then(|driven| driven.rules.wake_in()) {
            Some(wait) => self.deadlines.set_after(Due::Policy, wait),
            None => self.deadlines.cancel(Due::Policy),
        }
    }

    fn perform(&mut self, act: Act) {
        match act {
            Act::Start { container, attempt } => self.start_attempt(&container, attempt),
            Act::Stop { container, attempt } => {
                if let Some(slot) = self.slot_of_attempt(&container, attempt) {
                    self.stop_container(slot, None);
                }
            }
            Act::Kill { container, attempt } => {
                if let Some(slot) = self.slot_of_attempt(&container, attempt) {
                    self.kill_container(slot);
                }
            }
            Act::WriteStatus => self.write_status(),
            Act::StopSandbox => {
                self.stop_pod_init();
                self.take_down();
                self.facts.push_back(Fact::SandboxStopped);
            }
            Act::Finish { remove } => {
                if let Some(driven) = &mut self.driver {
                    driven.finished = true;
                }
                // The requester of the deletion may not have waited.
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
        let config = match self.driver.as_ref().map(|driven| driven.config(name, attempt)) {
            Some(Ok(config)) => config,
            Some(Err(error)) => return self.fact_unmade(name, attempt, &error),
            None => return,
        };
        match self.open_host_paths(config) {
            // It continues when they are open.
            Ok(None) => {}
            Ok(Some(config)) => self.make_attempt(&config, Vec::new()),
            Err(error) => self.fact_unmade(name, attempt, &error),
        }
    }

    /// Makes the attempt, with its mounts of the host, and starts it.
    pub(super) fn make_attempt(&mut self, config: &ContainerConfig, host_paths: Vec<Source>) {
        let (name, attempt) = (config.name.as_str(), config.attempt);
        let made = self.prepare_attempt(config, host_paths).and_then(|(prepared, rootfs)| {
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
        &mut self,
        config: &ContainerConfig,
        host_paths: Vec<Source>,
    ) -> Result<(Prepared, OwnedFd)> {
        let driven = self.driver.as_mut().ok_or_else(|| Error::failed("the pod has no rules"))?;
        let name = &config.name;
        let image = driven.images.get(name).ok_or_else(|| Error::failed(format!("no image for `{name}`")))?;
        // Used once: a failure removes its folder, and the next try of attempt 0 begins another.
        let id = match driven.first_attempts.remove(name) {
            Some(id) => id,
            None => attempt::begin(&self.host, &self.id)?,
        };
        let rootfs = snapshot::prepared(&self.host, &id, &image.layers).and_then(|made| made.mount());
        let prepared = rootfs.and_then(|rootfs| {
            let inputs = attempt::Inputs {
                host: &self.host,
                sandbox: &driven.sandbox,
                config,
                image,
                facts: &driven.host_facts,
            };
            Ok((attempt::prepare(&id, &inputs, rootfs.as_fd(), host_paths)?, rootfs))
        });
        prepared.inspect_err(|_| attempt::give_up(&self.host, &self.id, &id))
    }

    /// Keeps the previous attempt's record and drops its root; drops earlier attempts whole.
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
        // A root may hold a tree of any size: a child deletes it. The rest goes with the pod.
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

    /// Records the state of the rules, and notifies the watchers.
    fn write_status(&mut self) {
        let Some(driven) = &self.driver else { return };
        let DriverStatus { text, deletion } = driven.rules.status();
        self.status.pod = text;
        if let Some((at, grace)) = deletion {
            (self.status.deletion_at, self.status.deletion_grace) = (Some(at), Some(grace));
        }
        self.publish_sandbox();
    }

    /// The program of the container in `slot` runs.
    pub(super) fn fact_started(&mut self, slot: u32) {
        if let Some((container, attempt, id)) = self.named(slot) {
            self.facts.push_back(Fact::Started { container, attempt, id });
        }
    }

    /// The attempt could not be made: nothing of it is there.
    pub(super) fn fact_unmade(&mut self, name: &str, attempt: u32, error: &Error) {
        let (container, kind, message) = (name.to_owned(), error.kind(), error.message().to_owned());
        self.facts.push_back(Fact::StartFailed { container, attempt, id: None, kind, message });
    }

    /// The container in `slot` could not be started.
    pub(super) fn fact_start_failed(&mut self, slot: u32, error: &Error) {
        if let Some((container, attempt, id)) = self.named(slot) {
            let (kind, message) = (error.kind(), error.message().to_owned());
            self.facts.push_back(Fact::StartFailed { container, attempt, id: Some(id), kind, message });
        }
    }

    /// The container in `slot` has ended.
    pub(super) fn fact_exited(&mut self, slot: u32) {
        let Some((container, attempt, _)) = self.named(slot) else { return };
        let Some(record) = self.container(slot).map(|container| container.status.record.clone()) else {
            return;
        };
        self.facts.push_back(Fact::Exited { container, attempt, record });
    }

    fn named(&self, slot: u32) -> Option<(String, u32, String)> {
        let container = self.containers.iter().find(|container| container.slot == slot)?;
        Some((container.spec.name.clone(), container.spec.attempt, container.spec.id.clone()))
    }
}
