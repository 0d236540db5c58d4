//! The v1 Pod as Kubernetes writes it: the type that a manifest decodes to and `get -o json` prints.
//!
//! Invariant: names, order of keys and the meaning of an absent field are Kubernetes' own, so that every pod is
//! written back as the same v1 Pod. A field that is a pointer in Kubernetes' Go types is an `Option`; any other
//! one has the value Kubernetes gives it when absent (empty, or the API's default). Only the fields that podrun
//! honours are here; the table in [`super`] lists the others with their states.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod container;
mod status;
mod volume;

pub use container::{
    Capabilities, Container, ContainerPort, ContainerRestartPolicy, EnvVar, ImagePullPolicy, Protocol,
    ResourceRequirements, SeccompProfile, SeccompProfileType, SecurityContext, TerminationMessagePolicy,
    VolumeMount,
};
pub use status::{
    ConditionStatus, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIp, PodCondition, PodIp, PodPhase, PodStatus, QosClass,
};
pub use volume::{EmptyDirVolumeSource, HostPathVolumeSource, StorageMedium, Volume, VolumeSource};

use super::quantity::Quantity;
use crate::time::Time;

/// Labels, annotations and the like, in the order of their keys.
pub type StringMap = BTreeMap<String, String>;

/// Whether a value equals that of an absent field; such a field is not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One pod: its desired state (`metadata`, `spec`) and its observed state (`status`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Always `v1`.
    pub api_version: ApiVersion,
    /// Always `Pod`.
    pub kind: Kind,
    /// The pod's name, labels and annotations.
    pub metadata: ObjectMeta,
    /// The desired state.
    pub spec: PodSpec,
    /// The last observed state; absent in a manifest.
    #[serde(skip_serializing_if = "is_default")]
    pub status: PodStatus,
}

/// The only API version there is: `v1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// `v1`
    #[default]
    #[serde(rename = "v1")]
    V1,
}

/// The only kind there is: `Pod`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `Pod`
    #[default]
    Pod,
}

/// The pod's identity, and the fields that the system sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Annotations. podrun reads only the ones below `podrun.io/`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: StringMap,
    /// When the pod was made; set by podrun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Time>,
    /// The grace that a deletion under way was given; set by podrun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// When a deletion under way is to be over; set by podrun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Time>,
    /// The prefix of a generated name; unused when `name` is set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generate_name: String,
    /// Labels, which selectors match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: StringMap,
    /// The pod's name; empty only as long as `generate_name` has not been used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The namespace, `default` when the manifest has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The pod's own id for ever (a UUID); set by podrun.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The desired state of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Seconds after its start after which the pod is ended and fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<i64>,
    /// The containers that are the pod's purpose; at least one.
    pub containers: Vec<Container>,
    /// Entries for /etc/resolv.conf beside those of `dns_policy`.
    #[serde(rename = "dnsConfig", skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<PodDnsConfig>,
    /// Where /etc/resolv.conf comes from.
    #[serde(rename = "dnsPolicy")]
    pub dns_policy: DnsPolicy,
    /// More lines for /etc/hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_aliases: Vec<HostAlias>,
    /// The pod has the host's IPC namespace.
    #[serde(rename = "hostIPC", skip_serializing_if = "is_default")]
    pub host_ipc: bool,
    /// The pod has the host's network and hostname.
    #[serde(skip_serializing_if = "is_default")]
    pub host_network: bool,
    /// The pod has the host's processes.
    #[serde(rename = "hostPID", skip_serializing_if = "is_default")]
    pub host_pid: bool,
    /// The hostname inside, where it is not the pod's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Containers that run before the others, one after the other. One with `restartPolicy: Always` is a
    /// sidecar and stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// The system the pod is for; only Linux is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<PodOs>,
    /// Whether ended containers are started again.
    pub restart_policy: RestartPolicy,
    /// The security settings of every container that does not set its own.
    pub security_context: PodSecurityContext,
    /// All containers see each other's processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_process_namespace: Option<bool>,
    /// The domain below which the pod's hostname is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subdomain: String,
    /// Seconds between the polite signal and the last one.
    pub termination_grace_period_seconds: i64,
    /// The volumes that containers can mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
}

impl PodSpec {
    /// The grace period of a manifest that gives none.
    pub const DEFAULT_GRACE_SECONDS: i64 = 30;

    /// Every container, the init containers first, in the order of the manifest.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }
}

impl Default for PodSpec {
    fn default() -> Self {
        Self {
            active_deadline_seconds: None,
            containers: Vec::new(),
            dns_config: None,
            dns_policy: DnsPolicy::default(),
            host_aliases: Vec::new(),
            host_ipc: false,
            host_network: false,
            host_pid: false,
            hostname: String::new(),
            init_containers: Vec::new(),
            os: None,
            restart_policy: RestartPolicy::default(),
            security_context: PodSecurityContext::default(),
            share_process_namespace: None,
            subdomain: String::new(),
            termination_grace_period_seconds: Self::DEFAULT_GRACE_SECONDS,
            volumes: Vec::new(),
        }
    }
}

/// The system a pod is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodOs {
    /// Always `linux`; required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<OsName>,
}

/// The only system there is: `linux`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OsName {
    /// `linux`
    Linux,
}

/// When an ended container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Restart at any exit code.
    #[default]
    Always,
    /// When its exit code is not 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// Where /etc/resolv.conf comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsPolicy {
    /// The cluster's resolver. podrun has no cluster: as `Default`.
    #[default]
    ClusterFirst,
    /// As `ClusterFirst`, with `hostNetwork` too.
    ClusterFirstWithHostNet,
    /// The host's own.
    Default,
    /// Only the settings of `dnsConfig`.
    None,
}

/// Entries of /etc/resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDnsConfig {
    /// Addresses of name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Resolver options, `ndots` for one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<PodDnsConfigOption>,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<String>,
}

/// One resolver option: `name` or `name:value`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDnsConfigOption {
    /// The option's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its value, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// One line of /etc/hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostAlias {
    /// The names of the address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// The address.
    pub ip: String,
}

/// The security settings of every container of a pod that does not set its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    /// The numeric group; the image's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<i64>,
    /// Refuse to start as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_non_root: Option<bool>,
    /// The numeric user; the image's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<i64>,
    /// Which syscalls its containers may make; RuntimeDefault when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<SeccompProfile>,
    /// More groups for every process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supplemental_groups: Vec<i64>,
    /// Kernel settings of the pod's own namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<Sysctl>,
}

/// One kernel setting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sysctl {
    /// Its name, with dots or slashes.
    pub name: String,
    /// The value written to it.
    pub value: String,
}
