//! The observed state of a pod, in Kubernetes' words.
//!
//! Invariant: as in [`super`]: Kubernetes' names, order and meaning of absent fields. A container's
//! state is exactly one of waiting, running and terminated, which an enum says and serde spells as
//! Kubernetes does.

use serde::{Deserialize, Serialize};

use super::{Time, is_default};

/// The last observed state of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// PodReadyToStartContainers, Initialized, Ready, ContainersReady, PodScheduled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PodCondition>,
    /// The app containers, in the order of the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// The host's address.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
    /// The host's addresses.
    #[serde(rename = "hostIPs", skip_serializing_if = "Vec::is_empty")]
    pub host_ips: Vec<HostIp>,
    /// The init containers and sidecars, in the order of the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Why the pod is as it is, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The pod's life in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PodPhase>,
    /// The pod's first address.
    #[serde(rename = "podIP", skip_serializing_if = "String::is_empty")]
    pub pod_ip: String,
    /// The pod's addresses.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// How the pod is treated when the host is short of something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_class: Option<QosClass>,
    /// Why the pod is as it is, in one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the pod was accepted, before any image was pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
}

/// The pod's life in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PodPhase {
    /// Accepted; some container is not yet set up.
    Pending,
    /// All containers are made and at least one runs or will.
    Running,
    /// All ended well and none will be started again.
    Succeeded,
    /// All ended, at least one badly, and none will be started again.
    Failed,
    /// The pod's record is missing.
    Unknown,
}

/// How a pod is treated when the host is short of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum QosClass {
    /// Every container has cpu and memory limits equal to its requests.
    Guaranteed,
    /// Some container has a request or a limit.
    Burstable,
    /// None has.
    BestEffort,
}

/// One address of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIp {
    /// The address.
    pub ip: String,
}

/// One address of the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}

/// One aspect of the pod's life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Never set, and written as null, by Kubernetes too.
    pub last_probe_time: Option<Time>,
    /// When `status` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Why, in one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The aspect: `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// The state cannot be determined.
    #[default]
    Unknown,
}

/// The last observed state of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// `podrun://` and the id of the last attempt.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// The image as the manifest names it.
    pub image: String,
    /// The image's digest.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// How the attempt before ended.
    #[serde(with = "optional_state")]
    pub last_state: Option<ContainerState>,
    /// The container's name.
    pub name: String,
    /// Whether it runs and is ready for its work.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u32,
    /// Whether it runs and its start is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    /// Its current state.
    #[serde(with = "optional_state")]
    pub state: Option<ContainerState>,
}

impl ContainerStatus {
    /// The id of the last attempt; `None` before the first.
    pub fn attempt_id(&self) -> Option<&str> {
        self.container_id.strip_prefix("podrun://").filter(|id| !id.is_empty())
    }
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainerState {
    /// It runs.
    Running(ContainerStateRunning),
    /// It ended.
    Terminated(ContainerStateTerminated),
    /// It is to be started.
    Waiting(ContainerStateWaiting),
}

/// A container that runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateRunning {
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// A container that ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateTerminated {
    /// `podrun://` and the id of this attempt.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Its exit code, or 128 plus the number of the signal.
    pub exit_code: i32,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Its termination message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The signal that ended it; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub signal: i32,
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// A container that is to be started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateWaiting {
    /// The reason for waiting, for a reader.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// `ContainerCreating`, `PodInitializing`, `CrashLoopBackOff`, ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Kubernetes writes an absent state as `{}`.
mod optional_state {
    use serde::ser::SerializeMap as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting};

    #[derive(Deserialize)]
    struct Spelling {
        running: Option<ContainerStateRunning>,
        terminated: Option<ContainerStateTerminated>,
        waiting: Option<ContainerStateWaiting>,
    }

    pub(super) fn serialize<S: Serializer>(
        state: &Option<ContainerState>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match state {
            Some(state) => state.serialize(serializer),
            None => serializer.serialize_map(Some(0))?.end(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ContainerState>, D::Error> {
        let Spelling { running, terminated, waiting } = Spelling::deserialize(deserializer)?;
        Ok(running
            .map(ContainerState::Running)
            .or_else(|| terminated.map(ContainerState::Terminated))
            .or_else(|| waiting.map(ContainerState::Waiting)))
    }
}
