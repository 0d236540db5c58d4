//! How far a pod is on its way up, as the client that creates it wants to know.
//!
//! Invariant: [`Progress::Failed`] is returned only for a failure that no retry can mend. The client then
//! removes the pod, never the policy.

use super::{ContainerPhase, ContainerRun, Ended, PodState, Role, StartFailure, conditions};

/// The state that a client waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitFor {
    /// Nothing.
    None,
    /// Every init container is done and every other one was started.
    #[default]
    Started,
    /// Every sidecar and app is ready, or the pod has succeeded.
    Ready,
}

/// How far a pod is on its way up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not yet; the pending condition, in words.
    Pending {
        /// The container that it waits for, if it is one.
        container: Option<String>,
        /// `init container "setup": exit code 1 (Error), restarting in 10s`
        note: String,
    },
    /// The state is reached.
    Done,
    /// It will not come.
    Failed {
        /// The container that it hangs on, if it is one.
        container: Option<String>,
        /// The failure of its start, if any: `run -it` exits with 127 or 126 by it.
        failure: Option<StartFailure>,
        /// The story, to be put after the pod's name.
        message: String,
    },
}

/// How near the pod is to the awaited state.
pub fn create_progress(state: &PodState, wait: WaitFor) -> Progress {
    let reached = match wait {
        WaitFor::None => true,
        WaitFor::Started => state.containers.iter().all(is_started),
        WaitFor::Ready => state.containers.iter().all(conditions::is_ready) || has_succeeded(state),
    };
    if reached {
        return Progress::Done;
    }
    if let Some(failed) = state.containers.iter().find_map(hopeless) {
        return failed;
    }
    if let Some((container, message)) = why_over(state) {
        return Progress::Failed { container, failure: None, message };
    }
    let awaited = state.containers.iter().find_map(|run| Some((run.name.clone(), note(run, wait)?)));
    let (container, note) = awaited.unzip();
    Progress::Pending { container, note: note.unwrap_or_default() }
}

fn is_started(run: &ContainerRun) -> bool {
    if run.role == Role::Init { run.lets_next_begin() } else { run.ever_started }
}

fn has_succeeded(state: &PodState) -> bool {
    let mut purpose = state.containers.iter().filter(|run| run.role != Role::Sidecar);
    purpose.all(|run| run.is_over_with(|code| code == 0))
}

/// A container that no retry can mend.
fn hopeless(run: &ContainerRun) -> Option<Progress> {
    // The manifest and the image stay as they are.
    if let ContainerPhase::Unmade { failure: StartFailure::CreateContainerConfigError, message, .. } =
        &run.phase
        && !run.ever_started
    {
        let message = format!("{}: {message}", title(run));
        return Some(Progress::Failed { container: Some(run.name.clone()), failure: None, message });
    }
    let ended = run.latest_end()?;
    let failure = ended.start_failure.filter(|_| !run.ever_started);
    let init_failed = run.role == Role::Init && run.is_over_with(|code| code != 0);
    let message = match failure {
        Some(_) => format!("{}: {}", title(run), ended.message),
        None if init_failed => format!("{}: {}", title(run), how_ended(ended)),
        None => return None,
    };
    Some(Progress::Failed { container: Some(run.name.clone()), failure, message })
}

/// Why the pod ends before it reached the awaited state, and the failed container.
fn why_over(state: &PodState) -> Option<(Option<String>, String)> {
    if let Some(verdict) = &state.verdict {
        return Some((None, format!("{}: {}", verdict.reason, verdict.message)));
    }
    state.stopping?;
    if state.deletion.is_some() {
        return Some((None, "deleted before it was up".into()));
    }
    let bad = |run: &ContainerRun| run.role == Role::App && run.is_over_with(|code| code != 0);
    let failed = state.containers.iter().find(|run| bad(run));
    let story = failed.and_then(|run| {
        Some((Some(run.name.clone()), format!("{}: {}", title(run), how_ended(run.latest_end()?))))
    });
    Some(story.unwrap_or_else(|| (None, "ended before it was up".into())))
}

/// The note about the first container that is not there yet.
fn note(run: &ContainerRun, wait: WaitFor) -> Option<String> {
    let there = if wait == WaitFor::Ready { conditions::is_ready(run) } else { is_started(run) };
    if there {
        return None;
    }
    let title = title(run);
    Some(match &run.phase {
        ContainerPhase::Idle => format!("{title}: waiting for its turn"),
        ContainerPhase::Starting => format!("{title}: starting"),
        ContainerPhase::Running { .. } => format!("{title}: running"),
        ContainerPhase::Unmade { failure, message, .. } => {
            format!("{title}: {}: {message}; trying again", failure.reason())
        }
        ContainerPhase::Exited { ended, held_seconds: Some(seconds), .. } => {
            format!("{title}: {}, restarting in {}", how_ended(ended), super::back_off::go_seconds(*seconds))
        }
        ContainerPhase::Exited { ended, .. } => format!("{title}: {}, restarting", how_ended(ended)),
    })
}

fn title(run: &ContainerRun) -> String {
    let role = match run.role {
        Role::Init => "init container",
        Role::Sidecar => "sidecar",
        Role::App => "container",
    };
    format!("{role} {:?}", run.name)
}

fn how_ended(ended: &Ended) -> String {
    let Ended { exit_code, reason, message, .. } = ended;
    let colon = if message.is_empty() { "" } else { ": " };
    format!("exit code {exit_code} ({reason}){colon}{message}")
}
