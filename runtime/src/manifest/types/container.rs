//! A container of a v1 Pod.
//!
//! Invariant: as in [`super`]: Kubernetes' names, order and meaning of absent fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Quantity, is_default};
use crate::image::PullPolicy;

/// One container, app, init or sidecar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Arguments; the image's Cmd when absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The program; the image's Entrypoint (and Cmd) when absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Variables beside the image's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// The image's reference.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// When the image is pulled; filled by `manifest::default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Unique among all containers of the pod.
    pub name: String,
    /// The ports that the container listens on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    /// Limits and requests.
    pub resources: ResourceRequirements,
    /// `Always` in an init container makes it a sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<ContainerRestartPolicy>,
    /// Users, capabilities and the like.
    #[serde(skip_serializing_if = "is_default")]
    pub security_context: SecurityContext,
    /// Keep a standard input that can be attached to.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: bool,
    /// Close it when the first client that attached is gone.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin_once: bool,
    /// The file that holds the termination message.
    pub termination_message_path: String,
    /// Where the termination message comes from.
    pub termination_message_policy: TerminationMessagePolicy,
    /// Give the container a terminal.
    #[serde(skip_serializing_if = "is_default")]
    pub tty: bool,
    /// Where the pod's volumes are seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// The working directory; the image's when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
}

impl Container {
    /// The termination message's file in a manifest that names none.
    pub const DEFAULT_TERMINATION_MESSAGE_PATH: &'static str = "/dev/termination-log";

    /// Whether this init container is a sidecar.
    pub fn restarts_always(&self) -> bool {
        self.restart_policy == Some(ContainerRestartPolicy::Always)
    }
}

impl Default for Container {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            command: Vec::new(),
            env: Vec::new(),
            image: String::new(),
            image_pull_policy: None,
            name: String::new(),
            ports: Vec::new(),
            resources: ResourceRequirements::default(),
            restart_policy: None,
            security_context: SecurityContext::default(),
            stdin: false,
            stdin_once: false,
            termination_message_path: Self::DEFAULT_TERMINATION_MESSAGE_PATH.into(),
            termination_message_policy: TerminationMessagePolicy::default(),
            tty: false,
            volume_mounts: Vec::new(),
            working_dir: String::new(),
        }
    }
}

/// A restart policy of a container's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerRestartPolicy {
    /// Makes an init container a sidecar.
    Always,
    /// Not supported yet.
    OnFailure,
    /// Not supported yet.
    Never,
}

/// One variable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value, in which `$(NAME)` stands for an earlier variable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    /// Each time; the default of the tag `latest`.
    Always,
    /// When it is not here; the default of every other reference.
    IfNotPresent,
    /// Not at all.
    Never,
}

impl From<ImagePullPolicy> for PullPolicy {
    fn from(policy: ImagePullPolicy) -> Self {
        match policy {
            ImagePullPolicy::Always => Self::Always,
            ImagePullPolicy::IfNotPresent => Self::IfNotPresent,
            ImagePullPolicy::Never => Self::Never,
        }
    }
}

/// A port the container listens on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// The port inside the pod.
    pub container_port: u16,
    /// The host's address for `host_port`; all when empty.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
    /// The host's port that leads here; none when 0.
    #[serde(skip_serializing_if = "is_default")]
    pub host_port: u16,
    /// A name, unique in the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// TCP when absent.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// Limits and requests by resource name; podrun honours `cpu` and `memory`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRequirements {
    /// The most a container may use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
    /// The guaranteed amounts; the limit where absent, filled in by `manifest::default`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
}

impl ResourceRequirements {
    /// The CPU limit in thousandths of a CPU.
    pub fn cpu_limit(&self) -> Option<u64> {
        self.limits.get("cpu").map(Quantity::milli)
    }

    /// The CPU request in thousandths of a CPU.
    pub fn cpu_request(&self) -> Option<u64> {
        self.requests.get("cpu").map(Quantity::milli)
    }

    /// The memory limit in bytes.
    pub fn memory_limit(&self) -> Option<u64> {
        self.limits.get("memory").map(Quantity::value)
    }

    /// The memory request in bytes.
    pub fn memory_request(&self) -> Option<u64> {
        self.requests.get("memory").map(Quantity::value)
    }
}

/// User, capabilities and other rights of one container; a field absent here falls back to the pod's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    /// Whether a process may gain rights its parent has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_privilege_escalation: Option<bool>,
    /// Capabilities added to and dropped from the default set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Full root rights on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// The root file system cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_root_filesystem: Option<bool>,
    /// The numeric group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<i64>,
    /// Refuse to start as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_non_root: Option<bool>,
    /// The numeric user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<i64>,
    /// Which syscalls it may make; the pod's profile when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<SeccompProfile>,
}

/// Which syscalls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompProfile {
    /// The profile's file, for `Localhost`: a path below `<root>/seccomp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub localhost_profile: Option<String>,
    /// Where the profile comes from; required.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<SeccompProfileType>,
}

/// Where a seccomp profile comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfileType {
    /// podrun's own.
    RuntimeDefault,
    /// A file on this host.
    Localhost,
    /// There is none.
    Unconfined,
}

/// Capabilities by name, without `CAP_`; `ALL` means every one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// More than the default set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Fewer than the default set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
}

/// Where the termination message comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TerminationMessagePolicy {
    /// The file's contents.
    #[default]
    File,
    /// The file's contents, or else the log's last lines if the container failed.
    FallbackToLogsOnError,
}

/// Where a container sees one of the pod's volumes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// The path inside the container.
    pub mount_path: String,
    /// The volume's name.
    pub name: String,
    /// The container cannot write to it.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// The path inside the volume; its root when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_path: String,
}
