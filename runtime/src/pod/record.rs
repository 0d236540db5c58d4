//! The records of a pod on disk: the request, and the state.
//!
//! Invariants: a record is replaced whole (temporary file, rename) and read without a lock; each file has one
//! writer. A file that is no record is an answer ([`Loaded::Unreadable`]), never a silent gap; a failed read is
//! an error, never an answer: a pod is not gone for want of a descriptor. Of two statuses the later one is
//! true, wherever it lies. Pod records are not fsynced: after a power cut a missing one is Unknown.
//!
//! ```text
//! <root>/pods/<id>/sandbox.json                    Sandbox          immutable
//!                  status.json                     SandboxStatus    written by who holds the lock
//!                  containers/<cid>/container.json ContainerRecord  immutable
//!                                   config.json    the OCI Spec     immutable
//!                                   status.json    ContainerStatusRecord
//! <state>/pods/<id>/live.json                      Live             gone with a reboot
//!                   status.json                    SandboxStatus    what the one in <root> should be, while that cannot be written
//! ```

use std::collections::BTreeMap;
use std::io::ErrorKind as IoKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use oci_spec::runtime::Spec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub use crate::engine::ProcessId;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::sys::file::own;

/// The version that this podrun writes into every record.
const VERSION: u32 = 1;

/// The monitor's lock in a pod's state dir.
pub const LOCK: &str = "lock";

/// The exit code of a container whose end was not seen: that of a killed one.
pub const LOST: i32 = 137;

/// A record larger than this is not ours: a manifest is limited to 1 MiB, a spec to a few.
const LIMIT: u64 = 16 << 20;

/// The format of a record; one from a newer podrun is refused rather than misread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u32(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            version if version <= VERSION => Ok(Self),
            version => Err(serde::de::Error::custom(format_args!(
                "written by a newer podrun (record version {version}, this one knows {VERSION})"
            ))),
        }
    }
}

/// Which front a pod belongs to; each lists only its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Front {
    /// `podrun create`: `asked` is a v1 Pod.
    Pod,
    /// `podrun cri serve`: `asked` is a PodSandboxConfig.
    Cri,
}

/// Which of the host's namespaces a pod uses, and whether its containers share their PID namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent switches of the manifest, under its names"
)]
pub struct Sharing {
    /// The host's network and hostname.
    pub host_network: bool,
    /// The host's PID namespace.
    #[serde(rename = "hostPID")]
    pub host_pid: bool,
    /// The host's IPC namespace and /dev/shm.
    #[serde(rename = "hostIPC")]
    pub host_ipc: bool,
    /// One PID namespace for all containers of the pod.
    pub share_process_namespace: bool,
}

/// `sandbox.json`: the pod's identity and the request. Never changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// The record's format.
    pub version: Version,
    /// 64 hex digits that we drew.
    pub id: String,
    /// The front that owns the pod.
    pub front: Front,
    /// metadata.name, unique in its namespace for the pod front.
    pub name: String,
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.uid; any string under CRI.
    pub uid: String,
    /// The attempt of this uid's sandbox, for CRI; 0 else.
    #[serde(default)]
    pub attempt: u32,
    /// metadata.labels, for selectors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When the pod was asked for, in nanoseconds since 1970.
    pub created_at: u64,
    /// The host's boot in which it was made.
    pub boot_id: String,
    /// The hostname that the containers see; `None` with the host's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The namespaces that it does not have of its own.
    #[serde(default)]
    pub sharing: Sharing,
    /// The cgroup below which the containers' are made.
    pub cgroup: String,
    /// Whether podrun makes, limits and removes that cgroup. In another owner's (the kubelet's) it touches only
    /// cgroups named by a container's id, or the sandbox's.
    pub cgroup_owned: bool,
    /// The folder of the containers' logs.
    pub log_dir: PathBuf,
    /// Whether it goes with the pod; another's (the kubelet's) stays.
    #[serde(default = "yes")]
    pub log_dir_owned: bool,
    /// The request, verbatim: the v1 Pod with its defaults, or the PodSandboxConfig.
    pub asked: Box<RawValue>,
}

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxState {
    /// In the making, before the commit.
    #[default]
    Creating,
    /// Its namespaces and network are there.
    Ready,
    /// It has ended; only records, volumes and snapshots are left.
    Ended,
    /// Its status cannot be read.
    Unknown,
}

/// `status.json` of a pod: its state, and all that its teardown needs without a monitor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxStatus {
    /// The record's format.
    pub version: Version,
    /// Of two such records, in the places of [`write_status`], the one with the higher number is the later one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sequence: u64,
    /// How far it is.
    pub state: SandboxState,
    /// Whether its maker said that the pod stands: one that is not committed is undone when found dead.
    #[serde(default)]
    pub committed: bool,
    /// When it became ready, in nanoseconds since 1970; 0 before.
    #[serde(default)]
    pub ready_at: u64,
    /// The pod's addresses, IPv4 first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// The network's own record of its attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Box<RawValue>>,
    /// When its end was asked for, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_at: Option<u64>,
    /// The grace that the end was given, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_grace: Option<u64>,
    /// The state of the front's rules, in the front's own form ([`super::driver::DriverStatus`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Box<RawValue>>,
}

/// Records of before podrun knew of folders that are not its own.
fn yes() -> bool {
    true
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Which part a container plays in its pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that keeps running beside the others.
    Sidecar,
    /// A main container.
    #[default]
    App,
}

/// `container.json`: one attempt of one container. Never changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRecord {
    /// The record's format.
    pub version: Version,
    /// 64 hex digits that we drew.
    pub id: String,
    /// The container's name in the pod.
    pub name: String,
    /// 0 for the first, one more for each restart.
    pub attempt: u32,
    /// Its part in the pod.
    pub role: Role,
    /// The image as it was named.
    pub image: String,
    /// The image's id: the digest of its config.
    pub image_id: String,
    /// When the record was made, in nanoseconds since 1970.
    pub created_at: u64,
    /// The log file.
    pub log_path: PathBuf,
    /// The request, verbatim, if it is not part of the sandbox's `asked` (CRI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<RawValue>>,
}

/// How far a container's attempt is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// A record, and no process yet.
    #[default]
    Created,
    /// Its first process runs.
    Running,
    /// Its first process has ended, or could not be started.
    Exited,
    /// Its status cannot be read.
    Unknown,
}

/// `status.json` of a container's attempt.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatusRecord {
    /// The record's format.
    pub version: Version,
    /// How far it is.
    pub state: ContainerState,
    /// Its first process on the host, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// In nanoseconds since 1970; 0 before.
    pub started_at: u64,
    /// In nanoseconds since 1970; 0 before.
    pub finished_at: u64,
    /// The exit code; 128 + n for a signal, as Kubernetes has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The termination message, or why it could not start.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// `live.json`: the processes of a running pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// The record's format.
    pub version: Version,
    /// The pod's monitor.
    pub monitor: ProcessId,
    /// The init of a shared PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<ProcessId>,
    /// The containers' first processes, by container id.
    #[serde(default)]
    pub containers: BTreeMap<String, ProcessId>,
    /// The link in /run/netns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_link: Option<PathBuf>,
}

/// The result of loading a record.
#[derive(Debug, Clone)]
pub enum Loaded<T> {
    /// The record.
    Present(T),
    /// There is none.
    Missing,
    /// The file is no record, and why.
    Unreadable(String),
}

impl<T> Loaded<T> {
    /// The record, if it could be read.
    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(record) => Some(record),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }
}

/// Replaces the record at `path` whole.
pub fn write<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let bytes = serde_json::to_vec(record)
        .map_err(|error| crate::Error::failed(error.to_string()))
        .context(|| format!("record {}", path.display()))?;
    write_bytes(path, &bytes)
}

/// Replaces the file at `path` whole by `bytes`, readable by root only.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    own::replace(path, bytes, own::SECRET).context(|| format!("record {}", path.display()))
}

/// Writes a new record in a folder that is not published yet: no temporary file.
pub fn write_new<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let bytes = serde_json::to_vec(record)
        .map_err(|error| crate::Error::failed(error.to_string()))
        .context(|| format!("record {}", path.display()))?;
    own::write(path, &bytes, own::SECRET).context(|| format!("record {}", path.display()))
}

/// Replaces the pod's `status.json`. If the disk refuses it, it goes to the state dir, where it takes
/// precedence over the stale one on the disk. One that remains in the state dir later is older than the one on
/// the disk again.
///
/// # Errors
/// It is not on the disk: to be tried again.
pub fn write_status(host: &Host, pod: &str, status: &SandboxStatus) -> Result<()> {
    let (path, spare) = (sandbox_status_path(host, pod), spare_status_path(host, pod));
    let sequence = |path: &Path| load(path).ok()?.present().map(|status: SandboxStatus| status.sequence);
    let spared = sequence(&spare);
    let later =
        |than: Option<u64>| SandboxStatus { sequence: than.map_or(0, |than| than + 1), ..status.clone() };
    let written = write(&path, &later(spared));
    match &written {
        Ok(()) => drop(std::fs::remove_file(&spare)),
        // There may be no room for that either.
        Err(_) => drop(write(&spare, &later(sequence(&path).max(spared)))),
    }
    written
}

/// The pod's `status.json`, and whether it is still to be put on the disk.
pub fn load_status(host: &Host, pod: &str) -> Result<(Loaded<SandboxStatus>, bool)> {
    let spare = load::<SandboxStatus>(&spare_status_path(host, pod))?.present();
    let status = load::<SandboxStatus>(&sandbox_status_path(host, pod))?;
    Ok(match (spare, status) {
        (Some(spare), Loaded::Present(status)) if status.sequence > spare.sequence => {
            (Loaded::Present(status), false)
        }
        (Some(spare), _) => (Loaded::Present(spare), true),
        (None, status) => (status, false),
    })
}

/// The runtime spec at `path`.
pub fn load_spec(path: &Path) -> Result<Spec> {
    let context = || path.display().to_string();
    let bytes = own::read(path, LIMIT).context(context)?;
    serde_json::from_slice(&bytes).map_err(|error| crate::Error::failed(error.to_string())).context(context)
}

/// Reads the record at `path`.
///
/// # Errors
/// A failed read: no descriptor is free, the disk does not answer, permission is denied.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Loaded<T>> {
    let bytes = match own::read(path, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == IoKind::NotFound => return Ok(Loaded::Missing),
        Err(error) if own::is_about_the_place(&error) => {
            return Ok(Loaded::Unreadable(crate::Error::from(error).to_string()));
        }
        Err(error) => {
            return Err(crate::Error::from(error).context(format_args!("record {}", path.display())));
        }
    };
    Ok(match serde_json::from_slice(&bytes) {
        Ok(record) => Loaded::Present(record),
        Err(error) => Loaded::Unreadable(error.to_string()),
    })
}

/// `<root>/pods/<id>/sandbox.json`.
pub fn sandbox_path(host: &Host, pod: &str) -> PathBuf {
    host.pod_root(pod).join("sandbox.json")
}

/// `<root>/pods/<id>/status.json`.
pub fn sandbox_status_path(host: &Host, pod: &str) -> PathBuf {
    host.pod_root(pod).join("status.json")
}

/// `<root>/pods/<id>/containers/<cid>`: the folder of `container.json`, `config.json` and `status.json`.
pub fn container_dir(host: &Host, pod: &str, container: &str) -> PathBuf {
    host.pod_root(pod).join("containers").join(container)
}

/// `<state>/pods/<id>/live.json`.
pub fn live_path(host: &Host, pod: &str) -> PathBuf {
    host.pod_state_dir(pod).join("live.json")
}

/// `<state>/pods/<id>/status.json`: there only while `<root>` takes no writes.
fn spare_status_path(host: &Host, pod: &str) -> PathBuf {
    host.pod_state_dir(pod).join("status.json")
}

/// `<state>/pods/<id>/lock`: held by flock for the monitor's life.
pub fn lock_path(host: &Host, pod: &str) -> PathBuf {
    host.pod_state_dir(pod).join(LOCK)
}

/// Now, as records have it: nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> SandboxStatus {
        SandboxStatus {
            state: SandboxState::Ready,
            committed: true,
            ips: vec!["10.87.0.2".parse().unwrap()],
            pod: Some(RawValue::from_string(r#"{"phase": "Running"}"#.into()).unwrap()),
            ..SandboxStatus::default()
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        write(&path, &status()).unwrap();
        let Loaded::Present(back) = load::<SandboxStatus>(&path).unwrap() else { panic!("not present") };
        assert_eq!(back.state, SandboxState::Ready);
        assert_eq!(back.pod.unwrap().get(), r#"{"phase": "Running"}"#, "asked and status stay verbatim");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn what_cannot_be_read_is_said_and_never_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        let load = || load::<SandboxStatus>(&path).unwrap();
        assert!(matches!(load(), Loaded::Missing));
        for torn in ["", "{", "null", r#"{"version": 1}"#, r#"{"version": 2, "state": "ready"}"#] {
            std::fs::write(&path, torn).unwrap();
            assert!(matches!(load(), Loaded::Unreadable(_)), "{torn:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(load(), Loaded::Unreadable(_)), "a folder");
        std::fs::remove_dir(&path).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(load(), Loaded::Unreadable(_)), "a socket");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert!(matches!(load(), Loaded::Unreadable(_)), "a link to itself");
    }

    #[test]
    fn of_two_statuses_the_later_one_is_true() {
        let dir = tempfile::tempdir().unwrap();
        let host =
            Host { root: dir.path().join("root"), state_dir: dir.path().join("state"), ..Host::default() };
        let (path, spare) = (sandbox_status_path(&host, "a"), spare_status_path(&host, "a"));
        std::fs::create_dir_all(host.pod_root("a")).unwrap();
        std::fs::create_dir_all(host.pod_state_dir("a")).unwrap();
        let write = |ready_at| write_status(&host, "a", &SandboxStatus { ready_at, ..status() });
        let told = || {
            let (status, is_behind) = load_status(&host, "a").unwrap();
            (status.present().unwrap().ready_at, is_behind)
        };
        // A file in the way of the temporary file acts like a full disk.
        let in_the_way = path.with_extension("json.new");
        write(1).unwrap();
        assert_eq!(told(), (1, false));
        for round in [10, 20] {
            std::fs::create_dir(&in_the_way).unwrap();
            for turn in 1..=2 {
                write(round + turn).unwrap_err();
                assert_eq!(told(), (round + turn, true));
            }
            let stale = std::fs::read(&spare).unwrap();
            std::fs::remove_dir(&in_the_way).unwrap();
            write(round + 3).unwrap();
            assert!(!spare.exists());
            // As after a kill before the removal.
            std::fs::write(&spare, stale).unwrap();
            assert_eq!(told(), (round + 3, false));
        }
        write(31).unwrap();
        assert!(told() == (31, false) && !spare.exists());
    }

    #[test]
    fn a_newer_version_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        std::fs::write(&path, r#"{"version": 2, "state": "ready"}"#).unwrap();
        let Loaded::Unreadable(why) = load::<SandboxStatus>(&path).unwrap() else { panic!("readable") };
        assert!(why.contains("newer podrun"), "{why}");
    }
}
