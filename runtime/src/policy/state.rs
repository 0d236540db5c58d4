//! The state of a pod in the policy: all of it, so that `step()` needs nothing else.
//!
//! Invariant: only [`super::step`] changes a state once it is made (and [`super::lose`], when there is
//! no monitor any more to step it). It is plain data that survives being written and read back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Journal, Moment, StartFailure, conditions};
use crate::manifest::{Container, Pod};

/// The state of a pod in the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodState {
    /// When the pod was accepted; the active deadline counts from here.
    pub started_at: Moment,
    /// When the active deadline has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Moment>,
    /// How far the pod's namespaces and network are.
    pub sandbox: Sandbox,
    /// The host's addresses.
    pub host_ips: Vec<String>,
    /// The pod's addresses; they stay when the network is gone.
    pub pod_ips: Vec<String>,
    /// The init containers and sidecars, then the app containers, each in the manifest's order.
    pub containers: Vec<ContainerRun>,
    /// The end of the pod, once it has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Stopping>,
    /// The deletion, once it has been asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// Why the pod as a whole is Failed or Unknown, where its containers do not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Since when each condition has had its value.
    pub conditions: BTreeMap<String, Transition>,
    /// The events that `describe` shows.
    pub events: Journal,
}

impl PodState {
    /// A pod that was just accepted. `images` has a fact for each container, by the container's name.
    pub fn new(pod: &Pod, images: &BTreeMap<String, ImageFact>, now: Moment) -> Self {
        let run = |role: Role, container: &Container| ContainerRun {
            name: container.name.clone(),
            role,
            image: images.get(&container.name).cloned().unwrap_or_default(),
            ..ContainerRun::default()
        };
        let init_role = |c: &Container| if c.restarts_always() { Role::Sidecar } else { Role::Init };
        let inits = pod.spec.init_containers.iter().map(|container| run(init_role(container), container));
        let apps = pod.spec.containers.iter().map(|container| run(Role::App, container));
        let deadline = pod.spec.active_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let mut state = Self {
            started_at: now,
            deadline_at: deadline.map(|seconds| now.plus_seconds(seconds)),
            containers: inits.chain(apps).collect(),
            ..Self::default()
        };
        conditions::note_transitions(&mut state, pod, now);
        state
    }

    /// The moment of the next due [`super::Event::Tick`]; `None`: no timer runs.
    pub fn wake_at(&self) -> Option<Moment> {
        if matches!(self.sandbox, Sandbox::Stopping | Sandbox::Stopped) {
            return None;
        }
        if let Some(stopping) = self.stopping {
            let asked = self.containers.iter().filter(|run| run.is_alive() && run.sent != Sent::Kill);
            let late = asked.filter_map(|run| run.kill_at);
            return if stopping.killed { late.min() } else { Some(stopping.kill_at) };
        }
        let starting = self.containers.iter().any(|run| run.phase == ContainerPhase::Starting);
        let restarts = self.containers.iter().filter(|_| !starting && self.sandbox == Sandbox::Ready);
        restarts.filter_map(|run| run.phase.due_at()).chain(self.deadline_at).min()
    }

    /// Whether the pod's life is over: nothing of it runs and nothing will.
    pub fn is_finished(&self) -> bool {
        self.sandbox == Sandbox::Stopped
    }

    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&ContainerRun> {
        self.containers.iter().find(|run| run.name == name)
    }
}

/// How far the pod's namespaces and network are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    /// Not yet there.
    #[default]
    Creating,
    /// There.
    Ready,
    /// Being taken down.
    Stopping,
    /// Gone: the pod is finished, nothing of it will run again.
    Stopped,
}

/// The role of a container in its pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Runs to its end before the next.
    Init,
    /// Is started in its turn among the init containers, and stays.
    Sidecar,
    /// The pod's purpose.
    #[default]
    App,
}

/// One container of the manifest, through all its attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerRun {
    /// Its name, unique in the pod.
    pub name: String,
    /// Its role in the pod.
    pub role: Role,
    /// The image it runs from.
    pub image: ImageFact,
    /// How many attempts there have been; the current one is `attempts - 1`.
    pub attempts: u32,
    /// The id of the last attempt that had one.
    pub id: String,
    /// Its current phase.
    pub phase: ContainerPhase,
    /// Whether any attempt was ever started.
    pub ever_started: bool,
    /// How the attempt before the current one ended; while none is under way, the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Ended>,
    /// How long it is kept from restarting.
    pub back_off: BackOff,
    /// The strongest signal sent to the current attempt.
    pub sent: Sent,
    /// When it is killed, of a sidecar that was asked to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_at: Option<Moment>,
}

/// The strongest signal sent to an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sent {
    /// Nothing.
    #[default]
    Nothing,
    /// Its stop signal.
    Stop,
    /// SIGKILL.
    Kill,
}

/// The phase of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "is")]
pub enum ContainerPhase {
    /// Nothing yet: its turn has not come.
    #[default]
    Idle,
    /// An attempt's start is unanswered.
    Starting,
    /// It runs.
    Running {
        /// Since when.
        since: Moment,
    },
    /// Its attempt is over; `restart_at` says whether and when there is another.
    Exited {
        /// How it ended.
        ended: Ended,
        /// When the next attempt is due; `None`: never.
        restart_at: Option<Moment>,
        /// Whether it is being kept back (CrashLoopBackOff), and for how many seconds.
        held_seconds: Option<u64>,
    },
    /// It could not even be made; it is tried again without an attempt being counted.
    Unmade {
        /// Why.
        failure: StartFailure,
        /// The whole story.
        message: String,
        /// When it is tried again, unless the pod ends before.
        retry_at: Moment,
    },
}

impl ContainerRun {
    /// Whether something of it runs or may be about to.
    pub fn is_alive(&self) -> bool {
        matches!(self.phase, ContainerPhase::Starting | ContainerPhase::Running { .. })
    }

    /// How often it was started again.
    pub fn restart_count(&self) -> u32 {
        self.attempts.saturating_sub(1)
    }

    /// How it last ended, if it ever did.
    pub fn latest_end(&self) -> Option<&Ended> {
        match &self.phase {
            ContainerPhase::Exited { ended, .. } => Some(ended),
            _ => self.last.as_ref(),
        }
    }

    /// Whether it is over for good with an exit code of which `verdict` is true.
    pub(super) fn is_over_with(&self, verdict: impl Fn(i32) -> bool) -> bool {
        matches!(&self.phase, ContainerPhase::Exited { ended, restart_at: None, .. } if verdict(ended.exit_code))
    }

    /// Whether the containers after it may have their turn.
    pub(super) fn lets_next_begin(&self) -> bool {
        match self.role {
            Role::Init => self.is_over_with(|code| code == 0),
            Role::Sidecar => self.ever_started,
            Role::App => true,
        }
    }
}

impl ContainerPhase {
    /// When the next attempt is due, if one is.
    pub(super) fn due_at(&self) -> Option<Moment> {
        match self {
            Self::Idle | Self::Starting | Self::Running { .. } => None,
            Self::Exited { restart_at, .. } => *restart_at,
            Self::Unmade { retry_at, .. } => Some(*retry_at),
        }
    }
}

/// The end of one attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ended {
    /// Its container id.
    pub id: String,
    /// 0 is success.
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `MonitorLost`, ...
    pub reason: String,
    /// Its termination message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was started, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Moment>,
    /// When it ended.
    pub finished_at: Moment,
    /// How far the start came, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_failure: Option<StartFailure>,
}

impl Ended {
    /// The exit code of a container whose program could not be executed.
    pub const START_ERROR: i32 = 128;
    /// The exit code of a container that was killed with its pod, or whose end nobody saw.
    pub const LOST: i32 = crate::pod::record::LOST;
}

/// How long a container is kept from restarting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackOff {
    /// The delay before the next restart, in seconds; 0: no restart yet.
    pub seconds: u64,
    /// When the last restart was decided.
    pub updated_at: Moment,
}

/// The end of the pod, while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopping {
    /// When it began.
    pub since: Moment,
    /// When every container left is killed, except sidecars that have not had their time.
    pub kill_at: Moment,
    /// Whether that has happened.
    pub killed: bool,
    /// Whether the grace period is zero.
    #[serde(default)]
    pub at_once: bool,
}

/// A deletion that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// When it is to be over: metadata.deletionTimestamp.
    pub due_at: Moment,
    /// The grace it was given: metadata.deletionGracePeriodSeconds.
    pub grace_seconds: u64,
}

/// The parts of the pod's end that do not follow from its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether nothing is known, rather than that it failed.
    pub unknown: bool,
    /// `DeadlineExceeded`, `MonitorLost`, ...
    pub reason: String,
    /// The whole sentence.
    pub message: String,
}

impl Verdict {
    pub(super) fn host_stopped() -> Self {
        Self {
            unknown: false,
            reason: "Terminated".into(),
            message: "Pod was terminated in response to imminent node shutdown.".into(),
        }
    }

    pub(super) fn deadline_exceeded() -> Self {
        Self {
            unknown: false,
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
        }
    }
}

/// Since when a condition has had its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Its value.
    pub holds: bool,
    /// Since when.
    pub at: Moment,
}

/// The image a container runs from, as its client had it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageFact {
    /// The image's name, normalised.
    pub name: String,
    /// `<repository>@<digest>` where it was pulled, else its id.
    pub id: String,
    /// Milliseconds the pull took; `None`: it was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulled_millis: Option<u64>,
    /// Its size in bytes.
    pub size: u64,
}
