//! The status of a pod whose monitor was killed, and of one whose record is gone.
//!
//! Invariant: beside [`super::step`] these are the only ways to a pod's end. The caller holds the pod's lock,
//! so no monitor is alive.

use std::collections::BTreeMap;

use super::journal::Severity;
use super::{ContainerPhase, ContainerRun, Ended, Moment, PodState, Sandbox, Verdict, conditions, status};
use crate::manifest::{Pod, PodPhase};
use crate::pod::driver::Loss;

impl Loss {
    fn reason(self) -> &'static str {
        match self {
            Self::MonitorLost => "MonitorLost",
            Self::HostRebooted => "HostRebooted",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::MonitorLost => "The pod's monitor ended unexpectedly, and its containers with it",
            Self::HostRebooted => "The host was rebooted while the pod was running",
        }
    }
}

/// Ends the pod: counts each live container as killed, and sets the phase to Failed unless the pod had ended
/// before.
pub fn lose(pod: &Pod, state: &mut PodState, loss: Loss, now: Moment) {
    if state.is_finished() {
        return;
    }
    let had_ended = matches!(status::phase(pod, state), PodPhase::Succeeded | PodPhase::Failed);
    for run in &mut state.containers {
        end(run, loss, now);
    }
    if !had_ended {
        let (reason, message) = (loss.reason().to_owned(), loss.message().to_owned());
        state.events.note(Severity::Warning, &reason, None, message.clone(), now);
        state.verdict = Some(Verdict { unknown: false, reason, message });
    }
    state.sandbox = Sandbox::Stopped;
    conditions::note_transitions(state, pod, now);
}

fn end(run: &mut ContainerRun, loss: Loss, now: Moment) {
    let started_at = match &mut run.phase {
        ContainerPhase::Idle | ContainerPhase::Unmade { .. } => return,
        ContainerPhase::Exited { restart_at, held_seconds, .. } => {
            (*restart_at, *held_seconds) = (None, None);
            return;
        }
        ContainerPhase::Starting => None,
        ContainerPhase::Running { since } => Some(*since),
    };
    let ended = Ended {
        id: run.id.clone(),
        exit_code: Ended::LOST,
        reason: loss.reason().to_owned(),
        message: loss.message().to_owned(),
        started_at,
        finished_at: now,
        ..Ended::default()
    };
    run.phase = ContainerPhase::Exited { ended, restart_at: None, held_seconds: None };
}

impl PodState {
    /// The state of a pod of which only the manifest is left: Unknown, with nothing running.
    pub fn unknown(pod: &Pod, message: impl Into<String>, now: Moment) -> Self {
        let verdict = Verdict { unknown: true, reason: String::new(), message: message.into() };
        Self { sandbox: Sandbox::Stopped, verdict: Some(verdict), ..Self::new(pod, &BTreeMap::new(), now) }
    }
}
