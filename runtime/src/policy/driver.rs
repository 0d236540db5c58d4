//! The policy as the monitor and recovery know it: their facts become its events.
//!
//! Invariant: what is decided, [`step`] decides; here are only its words for what the monitor knows, and the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{Action, Event, Exit, ImageFact, Moment, PodState, StartFailure, lose, step};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Pod, container_config};
use crate::pod::Facts;
use crate::pod::config::ContainerConfig;
use crate::pod::driver::{Driver, DriverStatus, Fact, Loss, Rules};
use crate::pod::record::{Front, Sandbox, SandboxStatus};

/// The rules of the fronts that this library has.
pub fn fronts(front: Front) -> Option<Rules> {
    match front {
        Front::Pod => Some(Rules { drive, lose: lost }),
        Front::Cri => None,
    }
}

/// A pod that is run by Kubernetes' rules.
#[derive(Debug)]
struct Kubelet {
    pod: Pod,
    state: PodState,
}

fn drive(sandbox: &Sandbox, rules: &RawValue) -> Result<Box<dyn Driver>> {
    let pod = asked(sandbox)?;
    let images: BTreeMap<String, ImageFact> = serde_json::from_str(rules.get())
        .map_err(|error| Error::failed(format!("what is known of the images: {error}")))?;
    let state = PodState::new(&pod, &images, Moment::now());
    Ok(Box::new(Kubelet { pod, state }))
}

fn lost(sandbox: &Sandbox, status: &RawValue, loss: Loss) -> Option<Box<RawValue>> {
    let mut state: PodState = serde_json::from_str(status.get()).ok()?;
    lose(&asked(sandbox).ok()?, &mut state, loss, Moment::now());
    text(&state)
}

/// The v1 Pod that was asked for.
pub(super) fn asked(sandbox: &Sandbox) -> Result<Pod> {
    serde_json::from_str(sandbox.asked.get())
        .map_err(|error| Error::failed(format!("the pod's record: {error}")))
}

fn text(state: &PodState) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(state).ok()
}

impl PodState {
    /// What the policy knew of the pod when its status was written; `None` before it began, and for a pod of another
    /// front.
    pub fn of(status: &SandboxStatus) -> Option<Self> {
        serde_json::from_str(status.pod.as_ref()?.get()).ok()
    }
}

impl Driver for Kubelet {
    fn tell(&mut self, fact: Fact) -> Vec<Action> {
        step(&self.pod, &mut self.state, event(&self.pod, fact), Moment::now())
    }

    fn wake_in(&self) -> Option<Duration> {
        self.state.wake_at().map(|at| Duration::from_millis(at.millis_since(Moment::now())))
    }

    fn container(&self, name: &str, attempt: u32, host: &Facts) -> Result<ContainerConfig> {
        let found = self.pod.spec.all_containers().find(|container| container.name == name);
        let container = found.ok_or_else(|| Error::failed(format!("no container {name:?} in the pod")))?;
        container_config(&self.pod, container, attempt, host)
    }

    fn is_stopping(&self) -> bool {
        self.state.stopping.is_some()
    }

    fn status(&self) -> DriverStatus {
        let deletion = self.state.deletion.as_ref();
        DriverStatus {
            text: text(&self.state),
            deletion: deletion.map(|own| (own.due_at.0.saturating_mul(1_000_000), own.grace_seconds)),
        }
    }
}

/// What the policy calls it.
fn event(pod: &Pod, fact: Fact) -> Event {
    match fact {
        Fact::SandboxReady { host_ips, pod_ips } => {
            let text = |ips: Vec<std::net::IpAddr>| ips.iter().map(ToString::to_string).collect::<Vec<_>>();
            let host_ips = text(host_ips);
            let pod_ips = if pod.spec.host_network { host_ips.clone() } else { text(pod_ips) };
            Event::SandboxReady { host_ips, pod_ips }
        }
        Fact::Started { container, attempt, id } => Event::Started { container, attempt, id },
        Fact::StartFailed { container, attempt, id, kind, message } => {
            let failure = failure(id.is_some(), kind);
            Event::StartFailed { container, attempt, id, failure, message }
        }
        Fact::Exited { container, attempt, record } => {
            let exit = Exit {
                code: record.exit_code.unwrap_or_default(),
                signal: record.signal,
                oom_killed: record.oom_killed,
                message: record.message,
                at: Moment(record.finished_at / 1_000_000),
            };
            Event::Exited { container, attempt, exit }
        }
        Fact::Tick => Event::Tick,
        Fact::EndAsked { grace } => {
            Event::DeleteRequested { grace_seconds: grace.map(|milliseconds| milliseconds.div_ceil(1000)) }
        }
        Fact::HostStops => Event::HostStops,
        Fact::SandboxStopped => Event::SandboxStopped,
    }
}

/// How far a start came that failed with an error of this kind; `made`: whether the attempt existed.
fn failure(made: bool, kind: ErrorKind) -> StartFailure {
    match (made, kind) {
        (false, ErrorKind::Manifest) => StartFailure::CreateContainerConfigError,
        (false, _) => StartFailure::CreateContainerError,
        (true, ErrorKind::CommandNotFound) => StartFailure::CommandNotFound,
        (true, ErrorKind::CommandNotExecutable) => StartFailure::CommandNotExecutable,
        (true, _) => StartFailure::StartError,
    }
}
