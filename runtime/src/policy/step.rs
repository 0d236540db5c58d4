//! `step()`: an event changes the state; the actions follow from the new state.
//!
//! Invariant: [`apply`] records facts and decides nothing that depends on another container; [`settle`] derives
//! the actions from the state alone. So no action depends on the path by which a state was reached, and an
//! event that comes twice, late or early is harmless.

use super::back_off::restarts;
use super::{
    Action, ContainerPhase, ContainerRun, Ended, Event, Exit, Moment, PodState, Role, Sandbox, Sent,
    StartFailure, Verdict, conditions, narrate, stop,
};
use crate::manifest::{Pod, RestartPolicy};

/// Seconds after which a container that could not be made is tried again.
const REMAKE_SECONDS: u64 = 10;

/// Records `event` and returns the actions that are due, in order.
///
/// The monitor performs the actions one after the other, then arms its one timer for
/// [`PodState::wake_at`]. Probes and hooks will be further events and actions of this same function.
pub fn step(pod: &Pod, state: &mut PodState, event: Event, now: Moment) -> Vec<Action> {
    if state.is_finished() {
        return Vec::new();
    }
    let before = state.clone();
    apply(pod, state, event, now);
    let mut actions = Vec::new();
    settle(pod, state, now, &mut actions);
    conditions::note_transitions(state, pod, now);
    if *state != before {
        actions.push(Action::WriteStatus);
    }
    if state.sandbox == Sandbox::Stopping && before.sandbox != Sandbox::Stopping {
        actions.push(Action::StopSandbox);
    }
    if state.is_finished() {
        actions.push(Action::Finish { remove: state.deletion.is_some() });
    }
    actions
}

/// Writes the fact down.
fn apply(pod: &Pod, state: &mut PodState, event: Event, now: Moment) {
    match event {
        Event::SandboxReady { host_ips, pod_ips } if state.sandbox == Sandbox::Creating => {
            state.sandbox = Sandbox::Ready;
            state.host_ips = host_ips;
            state.pod_ips = pod_ips;
        }
        Event::SandboxStopped if state.sandbox == Sandbox::Stopping => state.sandbox = Sandbox::Stopped,
        Event::Started { container, attempt, id } => started(state, &container, attempt, id, now),
        Event::StartFailed { container, attempt, failure, message, .. } if !failure.consumes_attempt() => {
            unmade(state, &container, attempt, failure, message, now);
        }
        Event::StartFailed { container, attempt, id, failure, message } => {
            let ended = Ended {
                id: id.unwrap_or_default(),
                exit_code: Ended::START_ERROR,
                reason: failure.reason().to_owned(),
                message,
                finished_at: now,
                start_failure: Some(failure),
                ..Ended::default()
            };
            never_ran(pod, state, &container, attempt, ended, now);
        }
        Event::Exited { container, attempt, exit } => exited(pod, state, &container, attempt, exit, now),
        Event::DeleteRequested { grace_seconds } => stop::request_deletion(pod, state, grace_seconds, now),
        Event::HostStops => stop::end_with_host(pod, state, now),
        Event::Tick | Event::SandboxReady { .. } | Event::SandboxStopped => {}
    }
}

/// The container's index, if this is its current attempt and it has not ended yet.
fn live(state: &PodState, container: &str, attempt: u32) -> Option<usize> {
    let is = |run: &ContainerRun| {
        run.name == container && run.is_alive() && run.attempts.checked_sub(1) == Some(attempt)
    };
    state.containers.iter().position(is)
}

/// The same, if its start is still unanswered.
fn starting(state: &PodState, container: &str, attempt: u32) -> Option<usize> {
    live(state, container, attempt).filter(|&index| state.containers[index].phase == ContainerPhase::Starting)
}

fn started(state: &mut PodState, container: &str, attempt: u32, id: String, now: Moment) {
    let Some(index) = starting(state, container, attempt) else { return };
    let run = &mut state.containers[index];
    run.phase = ContainerPhase::Running { since: now };
    run.ever_started = true;
    run.id = id;
    // A signal sent while there was perhaps no process yet may have been lost.
    (run.sent, run.kill_at) = (Sent::Nothing, None);
    narrate::created(&mut state.events, container, now);
    narrate::started(&mut state.events, container, now);
}

/// Nothing was made, so there was no attempt: its number is used again.
fn unmade(
    state: &mut PodState,
    container: &str,
    attempt: u32,
    failure: StartFailure,
    message: String,
    now: Moment,
) {
    let Some(index) = starting(state, container, attempt) else { return };
    let run = &mut state.containers[index];
    run.attempts = attempt;
    narrate::failed(&mut state.events, container, &message, now);
    run.phase = ContainerPhase::Unmade { failure, message, retry_at: now.plus_seconds(REMAKE_SECONDS) };
}

/// The attempt was made and its program did not run.
fn never_ran(pod: &Pod, state: &mut PodState, container: &str, attempt: u32, ended: Ended, now: Moment) {
    let Some(index) = starting(state, container, attempt) else { return };
    narrate::created(&mut state.events, container, now);
    narrate::failed(&mut state.events, container, &ended.message, now);
    end_attempt(pod, state, index, ended, now);
}

fn exited(pod: &Pod, state: &mut PodState, container: &str, attempt: u32, exit: Exit, now: Moment) {
    let Some(index) = live(state, container, attempt) else { return };
    let run = &mut state.containers[index];
    let started_at = match run.phase {
        ContainerPhase::Running { since } => since,
        // The exit overtook the news of the start.
        _ => exit.at,
    };
    run.ever_started = true;
    let reason = match (exit.oom_killed, exit.code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    let ended = Ended {
        id: run.id.clone(),
        exit_code: exit.code,
        signal: exit.signal,
        reason: reason.to_owned(),
        message: exit.message,
        started_at: Some(started_at),
        finished_at: exit.at,
        start_failure: None,
    };
    end_attempt(pod, state, index, ended, now);
}

/// An attempt is over: says whether and when there is another.
fn end_attempt(pod: &Pod, state: &mut PodState, index: usize, ended: Ended, now: Moment) {
    let stopping = state.stopping.is_some();
    let run = &mut state.containers[index];
    run.id.clone_from(&ended.id);
    let again = !stopping && restarts(pod.spec.restart_policy, run.role, ended.exit_code);
    let held = if again { run.back_off.held_after(ended.finished_at) } else { 0 };
    let restart_at = again.then(|| ended.finished_at.plus_seconds(held));
    if held > 0 {
        narrate::back_off(&mut state.events, pod, &run.name, now);
    }
    run.phase = ContainerPhase::Exited { ended, restart_at, held_seconds: (held > 0).then_some(held) };
}

/// Derives the actions from the state: begins or continues the pod's end, or starts the containers that are
/// due.
fn settle(pod: &Pod, state: &mut PodState, now: Moment, actions: &mut Vec<Action>) {
    if matches!(state.sandbox, Sandbox::Stopping | Sandbox::Stopped) {
        return;
    }
    if state.stopping.is_none() {
        if state.deadline_at.is_some_and(|deadline| deadline <= now) {
            state.verdict = Some(Verdict::deadline_exceeded());
            narrate::deadline_exceeded(&mut state.events, now);
            stop::begin(state, stop::grace_of(pod), now);
        } else if is_done(pod, state) {
            stop::begin(state, stop::grace_of(pod), now);
        }
    }
    if state.stopping.is_some() {
        stop::go_on(state, now, actions);
    } else if let Some(index) = next_start(state, now) {
        start(pod, state, index, now, actions);
    }
}

/// Whether the pod came to its end by itself: its apps are done, or an init container failed for good.
fn is_done(pod: &Pod, state: &PodState) -> bool {
    let init_failed = pod.spec.restart_policy == RestartPolicy::Never
        && state.containers.iter().any(|run| run.role == Role::Init && run.is_over_with(|code| code != 0));
    let mut apps = state.containers.iter().filter(|run| run.role == Role::App);
    init_failed || apps.all(|run| run.is_over_with(|_| true))
}

/// The container to be started now, if any. One start at a time, in the manifest's order.
fn next_start(state: &PodState, now: Moment) -> Option<usize> {
    let busy = state.containers.iter().any(|run| run.phase == ContainerPhase::Starting);
    if busy || state.sandbox != Sandbox::Ready {
        return None;
    }
    for (index, run) in state.containers.iter().enumerate() {
        if run.phase == ContainerPhase::Idle || run.phase.due_at().is_some_and(|due| due <= now) {
            return Some(index);
        }
        if !run.lets_next_begin() {
            return None;
        }
    }
    None
}

fn start(pod: &Pod, state: &mut PodState, index: usize, now: Moment, actions: &mut Vec<Action>) {
    let run = &mut state.containers[index];
    if let ContainerPhase::Exited { ended, .. } = std::mem::take(&mut run.phase) {
        run.last = Some(ended);
        run.back_off.restarted(now);
    }
    let attempt = run.attempts;
    run.attempts = attempt.saturating_add(1);
    run.phase = ContainerPhase::Starting;
    (run.sent, run.kill_at) = (Sent::Nothing, None);
    narrate::pulled(&mut state.events, pod, run, attempt, now);
    actions.push(Action::Start { container: run.name.clone(), attempt });
}
