//! The policy's inputs and outputs: its whole interface to the monitor.
//!
//! Invariant: an event is a fact that has happened and an action is work that has not; neither holds a
//! descriptor or a pid, so a history can be written down and replayed.

use serde::{Deserialize, Serialize};

use super::Moment;
pub use crate::pod::driver::Act as Action;

/// Something that happened to the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// The namespaces, the network and the pod's cgroup are there; containers can be started.
    SandboxReady {
        /// The host's addresses as the pod sees them, the first being the main one.
        host_ips: Vec<String>,
        /// The pod's own addresses, the first being the main one.
        pod_ips: Vec<String>,
    },
    /// An attempt's program was executed (end of file on the child's wire).
    Started {
        /// The container's name.
        container: String,
        /// The attempt that [`Action::Start`] named.
        attempt: u32,
        /// The attempt's container id (64 hex digits).
        id: String,
    },
    /// [`Action::Start`] came to nothing; no process of the attempt is left.
    StartFailed {
        /// The container's name.
        container: String,
        /// The attempt that [`Action::Start`] named.
        attempt: u32,
        /// The attempt's container id, where it came that far.
        id: Option<String>,
        /// How far it came.
        failure: StartFailure,
        /// The engine's sentence: `execve("/nope"): ENOENT`.
        message: String,
    },
    /// An attempt that had been started ended; its log is drained and nothing of it runs any more.
    Exited {
        /// The container's name.
        container: String,
        /// The attempt that ended.
        attempt: u32,
        /// How it ended.
        exit: Exit,
    },
    /// Time passed: [`super::PodState::wake_at`] has come. Told too early it changes nothing.
    Tick,
    /// The pod is to be ended for good and its records removed.
    DeleteRequested {
        /// Seconds of grace; `None` takes the manifest's. A second request can only shorten the first.
        grace_seconds: Option<u64>,
    },
    /// The host goes down: the pod is to be ended, and stays to be seen.
    HostStops,
    /// [`Action::StopSandbox`] is done: network and cgroups are down.
    SandboxStopped,
}

/// How far a start came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFailure {
    /// The manifest and the image do not fit (`runAsNonRoot` and a root image): nothing was made.
    CreateContainerConfigError,
    /// The container's record, snapshot or cgroup could not be made: nothing was made.
    CreateContainerError,
    /// It was made, and its program does not exist in it.
    CommandNotFound,
    /// It was made, and its program cannot be executed.
    CommandNotExecutable,
    /// It was made, and its namespaces, mounts or rights could not be set up.
    StartError,
}

impl StartFailure {
    /// Whether the attempt existed at all: if so it has ended with 128, else it is simply tried again.
    pub fn consumes_attempt(self) -> bool {
        !matches!(self, Self::CreateContainerConfigError | Self::CreateContainerError)
    }

    /// Kubernetes' word for it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::CreateContainerConfigError => "CreateContainerConfigError",
            Self::CreateContainerError => "CreateContainerError",
            Self::CommandNotFound | Self::CommandNotExecutable | Self::StartError => "StartError",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exit {
    /// The exit code; 128 and the signal where a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the kernel killed something in its cgroup for want of memory.
    pub oom_killed: bool,
    /// The termination message, by the container's policy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was seen to end.
    pub at: Moment,
}
