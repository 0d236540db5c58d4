//! The pod's conditions: which are met, since when, and why not.
//!
//! Invariant: a condition's value follows from the state alone; only the moment at which it last changed
//! is remembered.

use super::status::phase;
use super::{ContainerPhase, ContainerRun, Moment, PodState, Role, Sandbox, Transition};
use crate::manifest::{ConditionStatus, Pod, PodCondition, PodPhase};

/// The test of a condition.
type Question = fn(&Pod, &PodState) -> Finding;

/// The conditions in Kubernetes' order. podrun has no readiness gates: a pod is ready when its containers are.
const CONDITIONS: [(&str, Question); 5] = [
    ("PodReadyToStartContainers", |_, state| Finding::plain(state.sandbox == Sandbox::Ready)),
    ("Initialized", initialized),
    ("Ready", containers_ready),
    ("ContainersReady", containers_ready),
    ("PodScheduled", |_, _| Finding::plain(true)),
];

/// A condition's value and, where there is one, the reason and the message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn plain(holds: bool) -> Self {
        Self { holds, reason: "", message: String::new() }
    }

    fn because(holds: bool, reason: &'static str) -> Self {
        Self { holds, reason, message: String::new() }
    }

    /// False for as long as some container is not there yet.
    fn lacking(reason: &'static str, what: &str, names: &[&str]) -> Self {
        if names.is_empty() {
            return Self::plain(true);
        }
        Self {
            holds: false,
            reason,
            message: format!("containers with {what} status: [{}]", names.join(" ")),
        }
    }
}

/// Remembers which conditions changed.
pub(super) fn note_transitions(state: &mut PodState, pod: &Pod, now: Moment) {
    for (kind, find) in CONDITIONS {
        let holds = find(pod, state).holds;
        let known = state.conditions.get(kind);
        if known.is_none_or(|transition| transition.holds != holds) {
            state.conditions.insert(kind.to_owned(), Transition { holds, at: now });
        }
    }
}

/// The conditions as Kubernetes writes them.
pub(super) fn conditions(pod: &Pod, state: &PodState) -> Vec<PodCondition> {
    let condition = |(kind, find): (&str, Question)| {
        let Finding { holds, reason, message } = find(pod, state);
        PodCondition {
            kind: kind.to_owned(),
            status: if holds { ConditionStatus::True } else { ConditionStatus::False },
            reason: reason.to_owned(),
            message,
            last_probe_time: None,
            last_transition_time: state.conditions.get(kind).map(|transition| transition.at.into()),
        }
    };
    CONDITIONS.map(condition).into()
}

fn initialized(pod: &Pod, state: &PodState) -> Finding {
    if phase(pod, state) == PodPhase::Succeeded {
        return Finding::because(true, "PodCompleted");
    }
    let lacking = names(state, |run| !run.lets_next_begin());
    Finding::lacking("ContainersNotInitialized", "incomplete", &lacking)
}

fn containers_ready(pod: &Pod, state: &PodState) -> Finding {
    match phase(pod, state) {
        PodPhase::Succeeded => Finding::because(false, "PodCompleted"),
        PodPhase::Failed => Finding::because(false, "PodFailed"),
        _ => {
            let lacking = names(state, |run| run.role != Role::Init && !is_ready(run));
            Finding::lacking("ContainersNotReady", "unready", &lacking)
        }
    }
}

fn names(state: &PodState, which: impl Fn(&ContainerRun) -> bool) -> Vec<&str> {
    state.containers.iter().filter(|run| which(run)).map(|run| run.name.as_str()).collect()
}

/// Whether a container is ready, or an init container has succeeded.
pub(super) fn is_ready(run: &ContainerRun) -> bool {
    match run.role {
        Role::Init => run.lets_next_begin(),
        Role::Sidecar | Role::App => matches!(run.phase, ContainerPhase::Running { .. }),
    }
}
