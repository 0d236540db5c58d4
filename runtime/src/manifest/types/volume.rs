//! A volume of a v1 Pod: a name and exactly one source.
//!
//! Invariant: a [`Volume`] has exactly one source; Kubernetes' JSON, in which the source is a key
//! beside the name, is only its spelling. A volume that names none is an empty directory, as in
//! Kubernetes.

use crate::pod::config::HostPathType;
use serde::{Deserialize, Serialize};

use super::{Quantity, is_default};

/// A volume that a container can mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Spelling", into = "Spelling")]
pub struct Volume {
    /// Unique in the pod.
    pub name: String,
    /// Where its files are.
    pub source: VolumeSource,
}

/// Where a volume's files are.
#[derive(Debug, Clone, PartialEq)]
pub enum VolumeSource {
    /// A directory that lives as long as the pod.
    EmptyDir(EmptyDirVolumeSource),
    /// A file or directory of the host.
    HostPath(HostPathVolumeSource),
}

impl Default for VolumeSource {
    fn default() -> Self {
        Self::EmptyDir(EmptyDirVolumeSource::default())
    }
}

/// A directory that lives as long as the pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EmptyDirVolumeSource {
    /// On the disk or in memory.
    #[serde(skip_serializing_if = "is_default")]
    pub medium: StorageMedium,
    /// The most it may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
}

/// The medium of an emptyDir.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageMedium {
    /// The disk below podrun's root.
    #[default]
    #[serde(rename = "")]
    Disk,
    /// A tmpfs, one for the whole pod.
    Memory,
}

/// A file or directory of the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPathVolumeSource {
    /// Its path on the host; symbolic links are followed.
    pub path: String,
    /// The type of file that must exist, or is made.
    #[serde(rename = "type")]
    pub kind: HostPathType,
}

/// A volume as Kubernetes spells it.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spelling {
    #[serde(skip_serializing_if = "Option::is_none")]
    empty_dir: Option<EmptyDirVolumeSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_path: Option<HostPathVolumeSource>,
    name: String,
}

impl From<Spelling> for Volume {
    fn from(spelling: Spelling) -> Self {
        let source = match (spelling.host_path, spelling.empty_dir) {
            (Some(host_path), _) => VolumeSource::HostPath(host_path),
            (None, empty_dir) => VolumeSource::EmptyDir(empty_dir.unwrap_or_default()),
        };
        Self { name: spelling.name, source }
    }
}

impl From<Volume> for Spelling {
    fn from(volume: Volume) -> Self {
        let (empty_dir, host_path) = match volume.source {
            VolumeSource::EmptyDir(source) => (Some(source), None),
            VolumeSource::HostPath(source) => (None, Some(source)),
        };
        Self { empty_dir, host_path, name: volume.name }
    }
}
