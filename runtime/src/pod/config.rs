//! The neutral configuration of a sandbox and its containers, which every front fills.
//!
//! Invariant: nothing here names a v1 Pod or a CRI message. Records, sandbox and runtime specs are made from a
//! [`SandboxConfig`] and [`ContainerConfig`]s alone, whichever front filled them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::engine::sysctl;
pub use crate::net::etc::{DnsConfig, DnsPolicy};
pub use crate::net::{PortFilter, PortMap, Protocol};
pub use crate::sys::child::arguments;

use super::protocol::{HostAlias, LogSpec, NamespaceMode, Network};
use super::record::{Front, Role};

/// A pod sandbox, as its front asks for it.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The front that owns it.
    pub front: Front,
    /// Its name.
    pub name: String,
    /// The namespace of the name.
    pub namespace: String,
    /// The uid, which differs from that of an earlier pod of the same name.
    pub uid: String,
    /// The attempt of this uid's sandbox; 0 where a front has one only.
    pub attempt: u32,
    /// Labels, for selectors.
    pub labels: BTreeMap<String, String>,
    /// When it was asked for, in nanoseconds since 1970.
    pub created_at: u64,
    /// The hostname; `None`: the host's, with its network.
    pub hostname: Option<String>,
    /// The subdomain, which is a part of the full name in /etc/hosts.
    pub subdomain: Option<String>,
    /// Lines of /etc/hosts.
    pub host_aliases: Vec<HostAlias>,
    /// The parts of /etc/resolv.conf.
    pub dns: Dns,
    /// The network.
    pub network: Network,
    /// System V IPC, POSIX queues and /dev/shm.
    pub ipc: NamespaceMode,
    /// Process ids.
    pub pid: NamespaceMode,
    /// Sysctls of its namespaces, by their dotted names.
    pub sysctls: BTreeMap<String, String>,
    /// Limits of its cgroup, where that is ours.
    pub resources: LinuxResources,
    /// A cgroup that another program makes, limits and removes; `None`: podrun makes one.
    pub cgroup: Option<String>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// Its volumes by name, in the order in which they are asked for.
    pub volumes: Vec<(String, VolumeSource)>,
    /// The folder of the containers' logs.
    pub log_dir: PathBuf,
    /// Whether that goes with the pod.
    pub log_dir_owned: bool,
    /// The default grace of its containers, in milliseconds.
    pub grace: u64,
    /// The request, verbatim, in the front's own form.
    pub asked: Box<RawValue>,
}

/// The parts of /etc/resolv.conf, beside the host's own.
#[derive(Debug, Clone)]
pub struct Dns {
    /// Which of the host's is taken.
    pub policy: DnsPolicy,
    /// Settings beside those of the policy.
    pub config: DnsConfig,
}

/// Where a volume's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A folder among the pod's records, which goes with it.
    Disk,
    /// Memory that the monitor holds: so many bytes, or the kernel's own default.
    Memory {
        /// The limit in bytes.
        size: Option<u64>,
    },
    /// A path of the host's.
    HostPath(HostPathSource),
}

/// A path of the host, and the type of file expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPathSource {
    /// The path.
    pub path: String,
    /// The type of file that must exist, or is made.
    pub kind: HostPathType,
}

/// The type of file that must exist at a host path before the pod starts, or is made there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPathType {
    /// Nothing is checked.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// A directory, made 0755 if need be.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made 0644 if need be.
    FileOrCreate,
    /// A file.
    File,
    /// A UNIX socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// One attempt of one container, as its front asks for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerConfig {
    /// Its name in the pod.
    pub name: String,
    /// 0 for the first, one more for each restart.
    pub attempt: u32,
    /// Its part in the pod.
    pub role: Role,
    /// The image as it is named.
    pub image: String,
    /// Its program.
    pub process: ProcessConfig,
    /// Its user.
    pub user: UserRequest,
    /// Its rights.
    pub rights: Rights,
    /// The process ids it sees.
    pub pid: NamespaceMode,
    /// Its mounts, beside those of every container.
    pub mounts: Vec<MountConfig>,
    /// Whether its root cannot be written.
    pub read_only_root: bool,
    /// The limits of its cgroup, without the device rules.
    pub resources: LinuxResources,
    /// How readily the kernel kills it for want of memory.
    pub oom_score_adj: i32,
    /// The log file; absent: its output is read and dropped.
    pub log: Option<LogSpec>,
    /// Where it leaves a word on its end.
    pub termination_message: Option<TerminationPath>,
}

/// A container's program. Every `$(NAME)` is expanded already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessConfig {
    /// In the place of the image's Entrypoint.
    pub command: Vec<String>,
    /// In the place of the image's Cmd.
    pub args: Vec<String>,
    /// Variables beside the image's; a later one replaces an earlier one.
    pub env: Vec<(String, String)>,
    /// Where it starts; empty: where the image says.
    pub cwd: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether standard input stays open for attachers.
    pub stdin: bool,
    /// Whether standard input is closed when the first attacher closes it.
    pub stdin_once: bool,
}

/// The user of a container, where the image's does not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserRequest {
    /// The user id.
    pub uid: Option<u32>,
    /// The primary group.
    pub gid: Option<u32>,
    /// Groups beside those of the user in the image's /etc/group.
    pub groups: Vec<u32>,
    /// Whether root is refused.
    pub non_root: bool,
}

/// The rights of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Full root rights on the host.
    pub privileged: bool,
    /// Capabilities beside the default ones, or `ALL`.
    pub add: Vec<String>,
    /// Capabilities that are taken away, or `ALL`.
    pub drop: Vec<String>,
    /// Whether no process of it may gain a right that its parent has not.
    pub no_new_privileges: bool,
    /// The filter of syscalls.
    pub seccomp: Seccomp,
    /// Paths that appear empty; `None`: the default list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that are read-only; `None`: the default list.
    pub read_only_paths: Option<Vec<String>>,
}

/// The filter of a container's syscalls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// The default profile.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// The profile of this name below [`crate::host::Host::seccomp_profiles`].
    Localhost(String),
}

/// A container's view of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountConfig {
    /// The volume's name.
    pub volume: String,
    /// The volume.
    pub source: VolumeSource,
    /// Where, from the container's root on, as it was written.
    pub destination: String,
    /// A file or folder in the volume; empty: the whole.
    pub sub_path: String,
    /// Whether it cannot be written.
    pub read_only: bool,
}

/// A container's word on its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminationPath {
    /// The file in the container.
    pub path: String,
    /// Whether the log's end serves when that is empty and the container failed.
    pub fallback_to_logs: bool,
}
