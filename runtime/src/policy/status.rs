//! The state in Kubernetes' words: the `status` of `get -o json`.
//!
//! Invariant: a pure view; the same state always reads the same, whenever and by whomever it is read.

use super::conditions::{conditions, is_ready};
use super::{ContainerPhase, ContainerRun, Ended, Moment, PodState, Role, Sandbox, narrate};
use crate::manifest::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIp, Pod, PodIp, PodPhase, PodStatus, RestartPolicy, Time, qos_class,
};

impl From<Moment> for Time {
    fn from(moment: Moment) -> Self {
        Self::from_unix(i64::try_from(moment.0 / 1000).unwrap_or(i64::MAX))
    }
}

/// The status of the pod.
pub fn status(pod: &Pod, state: &PodState) -> PodStatus {
    let unknown = state.verdict.as_ref().is_some_and(|verdict| verdict.unknown);
    let statuses = |apps: bool| {
        let runs = state.containers.iter().filter(|run| !unknown && (run.role == Role::App) == apps);
        runs.map(|run| container_status(pod, run)).collect()
    };
    PodStatus {
        conditions: if unknown { Vec::new() } else { conditions(pod, state) },
        container_statuses: statuses(true),
        init_container_statuses: statuses(false),
        host_ip: state.host_ips.first().cloned().unwrap_or_default(),
        host_ips: state.host_ips.iter().map(|ip| HostIp { ip: ip.clone() }).collect(),
        pod_ip: state.pod_ips.first().cloned().unwrap_or_default(),
        pod_ips: state.pod_ips.iter().map(|ip| PodIp { ip: ip.clone() }).collect(),
        message: state.verdict.as_ref().map(|verdict| verdict.message.clone()).unwrap_or_default(),
        reason: state.verdict.as_ref().map(|verdict| verdict.reason.clone()).unwrap_or_default(),
        phase: Some(phase(pod, state)),
        qos_class: Some(qos_class(&pod.spec)),
        start_time: Some(state.started_at.into()),
    }
}

/// The pod with its status, and its deletion if requested: the object that `get -o json` prints.
pub fn observed(mut pod: Pod, state: &PodState) -> Pod {
    pod.status = status(&pod, state);
    if let Some(deletion) = state.deletion {
        pod.metadata.deletion_timestamp = Some(deletion.due_at.into());
        pod.metadata.deletion_grace_period_seconds = i64::try_from(deletion.grace_seconds).ok();
    }
    pod
}

/// How many containers are in which condition, as far as the phase depends on it.
#[derive(Default)]
struct Tally {
    /// Init containers and sidecars that have not finished or started yet.
    pending: usize,
    init_failed: usize,
    /// Apps that never ran.
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

impl Tally {
    fn of(state: &PodState) -> Self {
        let mut tally = Self::default();
        for run in &state.containers {
            match run.role {
                Role::Init => tally.count_init(run),
                Role::Sidecar => tally.count_sidecar(run),
                Role::App => tally.count_app(run),
            }
        }
        tally
    }

    fn count_init(&mut self, run: &ContainerRun) {
        match (&run.phase, run.latest_end()) {
            (ContainerPhase::Running { .. }, _) | (_, None) => self.pending += 1,
            (_, Some(ended)) => self.init_failed += usize::from(ended.exit_code != 0),
        }
    }

    fn count_sidecar(&mut self, run: &ContainerRun) {
        self.running += usize::from(counts_as_running(run));
        self.pending += usize::from(!run.ever_started && run.latest_end().is_none());
    }

    fn count_app(&mut self, run: &ContainerRun) {
        match run.latest_end() {
            _ if counts_as_running(run) => self.running += 1,
            None => self.waiting += 1,
            Some(ended) => {
                self.stopped += 1;
                self.succeeded += usize::from(ended.exit_code == 0);
            }
        }
    }
}

/// Running, or on its way to run again: a restart must not look like the pod's end.
fn counts_as_running(run: &ContainerRun) -> bool {
    match run.phase {
        ContainerPhase::Running { .. } => true,
        ContainerPhase::Starting => run.last.is_some(),
        _ => false,
    }
}

/// The pod's life in one word, by Kubernetes' order of questions.
pub(super) fn phase(pod: &Pod, state: &PodState) -> PodPhase {
    if let Some(verdict) = &state.verdict {
        return if verdict.unknown { PodPhase::Unknown } else { PodPhase::Failed };
    }
    let over = matches!(state.sandbox, Sandbox::Stopping | Sandbox::Stopped);
    match (phase_of_life(pod.spec.restart_policy, &Tally::of(state), over), over) {
        // Its end came before all of it ever ran.
        (PodPhase::Pending, true) => PodPhase::Failed,
        (phase, _) => phase,
    }
}

fn phase_of_life(policy: RestartPolicy, tally: &Tally, over: bool) -> PodPhase {
    let all_well = tally.stopped == tally.succeeded;
    let restarts = match policy {
        RestartPolicy::Always => !over,
        RestartPolicy::OnFailure => !over && !all_well,
        RestartPolicy::Never => false,
    };
    if tally.init_failed > 0 && policy == RestartPolicy::Never {
        PodPhase::Failed
    } else if tally.pending > 0 || tally.waiting > 0 {
        PodPhase::Pending
    } else if tally.running > 0 || restarts {
        PodPhase::Running
    } else if all_well {
        PodPhase::Succeeded
    } else {
        PodPhase::Failed
    }
}

/// Bytes that the termination messages of a pod's containers share evenly, as in a kubelet's status.
const MESSAGES_MAX: usize = 12 << 10;

fn container_status(pod: &Pod, run: &ContainerRun) -> ContainerStatus {
    let named = pod.spec.all_containers().find(|container| container.name == run.name);
    let (state, before) = container_state(pod, run);
    ContainerStatus {
        container_id: container_id(&run.id),
        image: named.map(|container| container.image.clone()).unwrap_or_default(),
        image_id: run.image.id.clone(),
        last_state: before.map(|ended| ContainerState::Terminated(terminated(pod, ended))),
        name: run.name.clone(),
        ready: is_ready(run),
        restart_count: run.restart_count(),
        started: Some(matches!(run.phase, ContainerPhase::Running { .. })),
        state: Some(state),
    }
}

/// The state of the container, and the end of the attempt before.
fn container_state<'a>(pod: &Pod, run: &'a ContainerRun) -> (ContainerState, Option<&'a Ended>) {
    let waiting = |reason: &str, message: String| {
        ContainerState::Waiting(ContainerStateWaiting { message, reason: reason.to_owned() })
    };
    match &run.phase {
        ContainerPhase::Idle | ContainerPhase::Starting => {
            let inits = !pod.spec.init_containers.is_empty();
            let reason = if inits { "PodInitializing" } else { "ContainerCreating" };
            (waiting(reason, String::new()), run.last.as_ref())
        }
        ContainerPhase::Unmade { failure, message, .. } => {
            (waiting(failure.reason(), message.clone()), run.last.as_ref())
        }
        ContainerPhase::Running { since } => {
            let running = ContainerStateRunning { started_at: Some((*since).into()) };
            (ContainerState::Running(running), run.last.as_ref())
        }
        ContainerPhase::Exited { ended, held_seconds: Some(seconds), .. } => {
            let message = narrate::back_off_message(pod, &run.name, *seconds);
            (waiting("CrashLoopBackOff", message), Some(ended))
        }
        ContainerPhase::Exited { ended, held_seconds: None, .. } => {
            (ContainerState::Terminated(terminated(pod, ended)), run.last.as_ref())
        }
    }
}

fn terminated(pod: &Pod, ended: &Ended) -> ContainerStateTerminated {
    let share = MESSAGES_MAX / pod.spec.all_containers().count().max(1);
    ContainerStateTerminated {
        container_id: container_id(&ended.id),
        exit_code: ended.exit_code,
        finished_at: Some(ended.finished_at.into()),
        message: ended.message[..ended.message.floor_char_boundary(share)].to_owned(),
        reason: ended.reason.clone(),
        signal: ended.signal.unwrap_or(0),
        started_at: ended.started_at.map(Time::from),
    }
}

/// `podrun://<id>`; nothing for a container that has none yet.
fn container_id(id: &str) -> String {
    if id.is_empty() { String::new() } else { format!("podrun://{id}") }
}
