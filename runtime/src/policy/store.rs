//! The pods of the pod front, as `get` and `describe` show them: the v1 Pod that was asked for with its status.
//!
//! Invariant: what cannot be read becomes a pod whose phase is Unknown, with its name still reserved, so that it can be seen
//! and deleted. An error to read is an error.

use std::path::PathBuf;

use super::driver::asked;
use super::{Journal, PodState, observed};
use crate::error::Result;
use crate::host::Host;
use crate::manifest::{Pod, PodPhase, Time, qos_class};
use crate::pod::record::{Front, Sandbox, SandboxStatus};
use crate::pod::store::{self, Entry};

/// One pod.
#[derive(Debug, Clone)]
pub struct PodEntry {
    /// 64 hex digits.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name in the namespace.
    pub name: String,
    /// What was asked for; `None` when that record cannot be read.
    pub sandbox: Option<Sandbox>,
    /// What became of it.
    pub status: SandboxStatus,
    /// The v1 Pod: what was asked for with its status.
    pub pod: Pod,
}

impl PodEntry {
    /// What happened to the pod, as `describe` shows it.
    pub fn journal(&self) -> Journal {
        PodState::of(&self.status).map(|state| state.events).unwrap_or_default()
    }

    /// Its containers in the manifest's order: their names, and the ids of their last attempts.
    pub fn containers(&self) -> impl Iterator<Item = (&str, &str)> {
        let status = &self.pod.status;
        let statuses = status.init_container_statuses.iter().chain(&status.container_statuses);
        statuses.map(|status| (status.name.as_str(), status.attempt_id().unwrap_or_default()))
    }

    /// The folder of the logs of `container`; `None` when the record that says it cannot be read.
    pub fn container_logs(&self, container: &str) -> Option<PathBuf> {
        self.sandbox.as_ref().map(|sandbox| sandbox.log_dir.join(container))
    }
}

/// Every pod of the pod front, by namespace and name; those that are still being made are Pending.
///
/// # Errors
/// The records cannot be read.
pub fn list(host: &Host) -> Result<Vec<PodEntry>> {
    store::list(host, Front::Pod, shown)
}

/// The pod that is called `name` in `namespace`, or whose id alone begins with it; a name wins.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`]; or its records cannot be read.
pub fn find(host: &Host, namespace: &str, name: &str) -> Result<PodEntry> {
    store::find(host, Front::Pod, namespace, name).map(shown)
}

/// The pod with this whole id; `None`: it is gone, not there yet, or another front's.
///
/// # Errors
/// Its records cannot be read.
pub fn with_id(host: &Host, id: &str) -> Result<Option<PodEntry>> {
    Ok(store::with_id(host, Front::Pod, id)?.map(shown))
}

fn shown(entry: Entry) -> PodEntry {
    let Entry { id, namespace, name, sandbox, status, mut trouble } = entry;
    let mut pod = completed(sandbox.as_ref(), &mut trouble);
    name.clone_into(&mut pod.metadata.name);
    namespace.clone_into(&mut pod.metadata.namespace);
    if let Some(state) = PodState::of(&status) {
        pod = observed(pod, &state);
    } else {
        pod.status.phase = Some(PodPhase::Pending);
    }
    if let Some(why) = trouble {
        pod.status.phase = Some(PodPhase::Unknown);
        pod.status.reason = "RecordUnreadable".into();
        pod.status.message = why;
    }
    PodEntry { id, namespace, name, sandbox, status, pod }
}

/// The v1 Pod that was asked for, with what the system set when it was made.
fn completed(sandbox: Option<&Sandbox>, trouble: &mut Option<String>) -> Pod {
    let Some(sandbox) = sandbox else { return Pod::default() };
    let mut pod = asked(sandbox).unwrap_or_else(|error| {
        trouble.get_or_insert(error.message().to_owned());
        Pod::default()
    });
    pod.metadata.uid.clone_from(&sandbox.uid);
    let seconds = i64::try_from(sandbox.created_at / 1_000_000_000).unwrap_or(i64::MAX);
    pod.metadata.creation_timestamp = Some(Time::from_unix(seconds));
    pod.status.qos_class.get_or_insert_with(|| qos_class(&pod.spec));
    pod
}

#[cfg(test)]
mod tests;
