//! The columns of `get pods` that need thought: READY, STATUS, RESTARTS and AGE.
//!
//! Invariant: they are computed from the v1 Pod alone, by kubectl's own rules in kubectl's own order, so that
//! they equal the columns of `kubectl get pods` for the same object.

use crate::manifest::{
    ConditionStatus, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodPhase, Time,
};

/// One pod's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// `1/2`
    pub ready: String,
    /// `Running`, `Init:0/2`, `CrashLoopBackOff`, `Terminating`, ...
    pub status: String,
    /// `3 (20s ago)`
    pub restarts: String,
    /// `5d3h`
    pub age: String,
}

/// A pod's row at the moment `now`.
pub fn columns(pod: &Pod, now: Time) -> Columns {
    let mut row = Row::new(pod);
    let initializing = row.read_inits(pod);
    if !initializing || condition_holds(pod, "Initialized") {
        row.read_apps(pod);
    }
    let ended = matches!(pod.status.phase, Some(PodPhase::Succeeded | PodPhase::Failed));
    if pod.metadata.deletion_timestamp.is_some() && !ended {
        row.status = "Terminating".into();
    }
    let ago = |last: Time| format!("{} ({} ago)", row.restarts, human_duration(now.unix() - last.unix()));
    let restarts = match row.last_restart {
        Some(last) if row.restarts != 0 => ago(last),
        _ => row.restarts.to_string(),
    };
    let age = match pod.metadata.creation_timestamp {
        Some(created) => human_duration(now.unix() - created.unix()),
        None => "<unknown>".into(),
    };
    Columns { ready: format!("{}/{}", row.ready, row.total), status: row.status, restarts, age }
}

/// The columns computed so far.
struct Row {
    total: usize,
    ready: usize,
    status: String,
    restarts: u32,
    last_restart: Option<Time>,
    sidecar_restarts: u32,
    last_sidecar_restart: Option<Time>,
}

impl Row {
    fn new(pod: &Pod) -> Self {
        let sidecars = pod.spec.init_containers.iter().filter(|container| container.restarts_always());
        let phase = pod.status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default();
        let reason = &pod.status.reason;
        Self {
            total: pod.spec.containers.len() + sidecars.count(),
            ready: 0,
            status: if reason.is_empty() { phase } else { reason.clone() },
            restarts: 0,
            last_restart: None,
            sidecar_restarts: 0,
            last_sidecar_restart: None,
        }
    }

    /// Goes through the init containers up to the first that is not done; whether there is one.
    fn read_inits(&mut self, pod: &Pod) -> bool {
        for (index, status) in pod.status.init_container_statuses.iter().enumerate() {
            let sidecar =
                pod.spec.init_containers.iter().any(|c| c.name == status.name && c.restarts_always());
            self.restarts += status.restart_count;
            self.last_restart = self.last_restart.max(last_end(status));
            if sidecar {
                self.sidecar_restarts += status.restart_count;
                self.last_sidecar_restart = self.last_sidecar_restart.max(last_end(status));
            }
            let why = match &status.state {
                Some(ContainerState::Terminated(ended)) if ended.exit_code == 0 => continue,
                _ if sidecar && status.started == Some(true) => {
                    self.ready += usize::from(status.ready);
                    continue;
                }
                Some(ContainerState::Terminated(ended)) => end_word(ended),
                Some(ContainerState::Waiting(waiting))
                    if !waiting.reason.is_empty() && waiting.reason != "PodInitializing" =>
                {
                    waiting.reason.clone()
                }
                _ => format!("{index}/{}", pod.spec.init_containers.len()),
            };
            self.status = format!("Init:{why}");
            return true;
        }
        false
    }

    /// Goes through the app containers from the last to the first: the first one has the last word.
    fn read_apps(&mut self, pod: &Pod) {
        self.restarts = self.sidecar_restarts;
        self.last_restart = self.last_sidecar_restart;
        let mut running = false;
        for status in pod.status.container_statuses.iter().rev() {
            self.restarts += status.restart_count;
            self.last_restart = self.last_restart.max(last_end(status));
            match &status.state {
                Some(ContainerState::Waiting(waiting)) if !waiting.reason.is_empty() => {
                    self.status.clone_from(&waiting.reason);
                }
                Some(ContainerState::Terminated(ended)) => self.status = end_word(ended),
                Some(ContainerState::Running(_)) if status.ready => {
                    running = true;
                    self.ready += 1;
                }
                _ => {}
            }
        }
        if self.status == "Completed" && running {
            self.status = if condition_holds(pod, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }
}

fn condition_holds(pod: &Pod, kind: &str) -> bool {
    let mut conditions = pod.status.conditions.iter();
    conditions.any(|condition| condition.kind == kind && condition.status == ConditionStatus::True)
}

/// When the attempt before the current one ended.
fn last_end(status: &ContainerStatus) -> Option<Time> {
    match &status.last_state {
        Some(ContainerState::Terminated(ended)) => ended.finished_at,
        _ => None,
    }
}

/// `Error`; where there is no reason, the signal or the exit code.
fn end_word(ended: &ContainerStateTerminated) -> String {
    match (ended.reason.as_str(), ended.signal) {
        ("", 0) => format!("ExitCode:{}", ended.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// A duration as kubectl writes it: two units at most, and the second only while it matters.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match seconds {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two_units(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two_units(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 8 * 24 => two_units(days, 'd', hours % 24, 'h'),
        _ if days < 2 * 365 => format!("{days}d"),
        _ if days < 8 * 365 => two_units(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

fn two_units(big: i64, big_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
}
