//! The end of a pod: the order in which containers are stopped, and the deadline for each.
//!
//! Invariant: apps are stopped first, all at once; a sidecar is stopped when every app and every later sidecar
//! has ended. One grace period covers them all; when it is over, every container left is killed. A sidecar has
//! [`SIDECAR_SECONDS`] from its own stop, as under a kubelet, unless the grace period is zero.

use super::{
    Action, ContainerPhase, ContainerRun, Deletion, Moment, PodState, Role, Sandbox, Sent, Stopping, Verdict,
    narrate,
};
use crate::manifest::Pod;

/// How long a sidecar has at least to end by itself: a kubelet's `minimumGracePeriodInSeconds`.
const SIDECAR_SECONDS: u64 = 2;

/// The grace that the manifest gives.
pub(super) fn grace_of(pod: &Pod) -> u64 {
    u64::try_from(pod.spec.termination_grace_period_seconds).unwrap_or(0)
}

/// A deletion was asked for, perhaps not for the first time: it can only come sooner by that.
pub(super) fn request_deletion(pod: &Pod, state: &mut PodState, grace: Option<u64>, now: Moment) {
    let grace_seconds = grace.unwrap_or_else(|| grace_of(pod));
    let due_at = now.plus_seconds(grace_seconds);
    if state.deletion.is_none_or(|deletion| due_at < deletion.due_at) {
        state.deletion = Some(Deletion { due_at, grace_seconds });
    }
    begin(state, grace_seconds, now);
}

/// The host shuts down. A pod that was not ending fails, as under a kubelet that shuts its node down; its
/// deletion was not requested.
pub(super) fn end_with_host(pod: &Pod, state: &mut PodState, now: Moment) {
    if state.stopping.is_none() {
        narrate::host_stops(&mut state.events, now);
        state.verdict.get_or_insert_with(Verdict::host_stopped);
    }
    begin(state, grace_of(pod), now);
}

/// Begins to end the pod, or shortens the grace if that has begun.
pub(super) fn begin(state: &mut PodState, grace_seconds: u64, now: Moment) {
    let kill_at = now.plus_seconds(grace_seconds);
    let at_once = grace_seconds == 0;
    if let Some(stopping) = &mut state.stopping {
        stopping.kill_at = stopping.kill_at.min(kill_at);
        stopping.at_once |= at_once;
        let sidecar_kill_at = kill_at.max(now.plus_seconds(SIDECAR_SECONDS));
        for at in state.containers.iter_mut().filter_map(|run| run.kill_at.as_mut()) {
            *at = sidecar_kill_at.min(*at);
        }
        return;
    }
    state.stopping = Some(Stopping { since: now, kill_at, killed: false, at_once });
    for run in &mut state.containers {
        if let ContainerPhase::Exited { restart_at, held_seconds, .. } = &mut run.phase {
            (*restart_at, *held_seconds) = (None, None);
        }
    }
}

/// Asks, kills, or finds that nothing is left.
pub(super) fn go_on(state: &mut PodState, now: Moment, actions: &mut Vec<Action>) {
    let Some(stopping) = &mut state.stopping else { return };
    stopping.killed |= stopping.kill_at <= now;
    let stopping = *stopping;
    let whom = if stopping.killed { indices(state, ContainerRun::is_alive) } else { whose_turn(state) };
    for index in whom {
        let what = match stopping.killed && !has_time(&state.containers[index], stopping, now) {
            true => Sent::Kill,
            false => Sent::Stop,
        };
        send(state, index, what, stopping, now, actions);
    }
    if !state.containers.iter().any(ContainerRun::is_alive) {
        state.sandbox = Sandbox::Stopping;
    }
}

/// Whether it is a sidecar that may still end by itself though the grace is spent: its turn came late, or comes now.
fn has_time(run: &ContainerRun, stopping: Stopping, now: Moment) -> bool {
    run.role == Role::Sidecar
        && matches!(run.phase, ContainerPhase::Running { .. })
        && !stopping.at_once
        && run.kill_at.is_none_or(|kill_at| now < kill_at)
}

/// Apps and init containers at once, then the sidecars from the last to the first.
fn whose_turn(state: &PodState) -> Vec<usize> {
    let others = indices(state, |run| run.role != Role::Sidecar && run.is_alive());
    if state.containers.iter().any(|run| run.role == Role::App && run.is_alive()) {
        return others;
    }
    let last_sidecar = state.containers.iter().rposition(|run| run.role == Role::Sidecar && run.is_alive());
    others.into_iter().chain(last_sidecar).collect()
}

fn indices(state: &PodState, which: impl Fn(&ContainerRun) -> bool) -> Vec<usize> {
    let runs = state.containers.iter().enumerate();
    runs.filter(|(_, run)| which(run)).map(|(index, _)| index).collect()
}

/// Sends `what` unless it, or a stronger signal, was sent before. A container whose start is not answered yet
/// can only be killed by its cgroup.
fn send(
    state: &mut PodState,
    index: usize,
    what: Sent,
    stopping: Stopping,
    now: Moment,
    actions: &mut Vec<Action>,
) {
    let run = &mut state.containers[index];
    let Some(attempt) = run.attempts.checked_sub(1) else { return };
    let asked_too_early = what == Sent::Stop && run.phase == ContainerPhase::Starting;
    if run.sent >= what || asked_too_early {
        return;
    }
    if run.sent == Sent::Nothing {
        narrate::killing(&mut state.events, &run.name, now);
    }
    run.sent = what;
    if what == Sent::Stop && run.role == Role::Sidecar {
        run.kill_at = Some(stopping.kill_at.max(now.plus_seconds(SIDECAR_SECONDS)));
    }
    let container = run.name.clone();
    actions.push(match what {
        Sent::Kill => Action::Kill { container, attempt },
        Sent::Stop | Sent::Nothing => Action::Stop { container, attempt },
    });
}
