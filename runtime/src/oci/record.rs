//! A container's record (`state.json`), and the state document that callers are shown.
//!
//! Invariant: a record holds facts of the creation, never the present state: the kernel is asked whether the
//! container runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::container::Status;
use super::resctrl::Group;
use crate::engine::ProcessId;
use crate::time::Time;

/// The version of the records' form.
pub(super) const VERSION: u32 = 1;

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) oci_version: String,
    /// The bundle's absolute path.
    pub(super) bundle: PathBuf,
    /// The root's absolute path.
    pub(super) rootfs: PathBuf,
    pub(super) created: Time,
    /// The user who created it.
    pub(super) owner: String,
    pub(super) annotations: BTreeMap<String, String>,
    /// Its cgroup's path below each hierarchy's root; absent where its maker has no right to one.
    pub(super) cgroup: Option<String>,
    /// The topmost cgroup on its path that create made: delete removes it with its children. Absent where the
    /// cgroup existed before.
    pub(super) made_cgroup: Option<String>,
    /// The unit of systemd's that its cgroup is; absent where podrun made it.
    #[serde(default)]
    pub(super) unit: Option<String>,
    /// The mount over `rootfs` that is its root, where that is in its creator's mount namespace.
    #[serde(default)]
    pub(super) root_mount: Option<RootMount>,
    /// Its class and monitoring group in resctrl; absent where it asked for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resctrl: Option<Group>,
    /// Its init; absent before it is born.
    pub(super) init: Option<ProcessId>,
    /// Whether create has come to its end.
    pub(super) complete: bool,
}

/// A mount, by the numbers that the kernel gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootMount {
    /// Its own.
    pub(super) number: u64,
    /// The number of the mount below it at its place.
    pub(super) over: u64,
}

impl State {
    /// The state as the specification alone has it: the form that a seccomp agent gets.
    pub(super) fn plain(&self) -> oci_spec::runtime::State {
        let mut plain = oci_spec::runtime::State::default();
        plain.set_version(self.oci_version.clone()).set_id(self.id.clone()).set_bundle(self.bundle.clone());
        plain.set_status(self.status.plain()).set_pid((self.pid > 0).then_some(self.pid));
        let annotations = self.annotations.clone().into_iter().collect();
        plain.set_annotations((!self.annotations.is_empty()).then_some(annotations));
        plain
    }
}

/// The state of a container (runtime.md, "State"), with runc's additions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification that this document follows.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The init's pid; 0 when it has ended.
    pub pid: i32,
    /// `creating`, `created`, `running`, `paused` or `stopped`.
    pub status: Status,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The root's absolute path.
    pub rootfs: PathBuf,
    /// When it was created: RFC 3339, in UTC.
    pub created: Time,
    /// The annotations of `config.json`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user who created it.
    pub owner: String,
}
