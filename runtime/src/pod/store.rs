//! The pods on this host, as their records tell: listed, and found by name or id.
//!
//! Invariant: reading takes no lock and skips nothing. A record that cannot be read becomes a pod whose
//! phase is Unknown, with its name still reserved, so that it can be seen and deleted.

mod edit;

pub use edit::{Guard, begin, boot_id, fill, hold, hold_for_removal, remove};
pub(in crate::pod) use edit::{folder_names, mark, unlock, unmark};

use std::fs::{File, TryLockError};
use std::num::NonZeroUsize;
use std::path::Path;

use super::manifest::{Pod, PodPhase, Time};
use super::names;
use super::policy::{self, Journal};
use super::record::{self, Front, Loaded, Sandbox, SandboxState, SandboxStatus};
use super::resources;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::host::Host;
use crate::spread;

/// How many pods' records one thread reads.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(40).expect("it is not zero");

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
        self.status.pod_state().map(|state| state.events).unwrap_or_default()
    }

    /// The folder of the containers' logs; `None` when the record that says it cannot be read.
    pub fn log_dir(&self) -> Option<&Path> {
        self.sandbox.as_ref().map(|sandbox| sandbox.log_dir.as_path())
    }
}

/// Every pod of the pod front, by namespace and name; those that are still being made are Pending.
pub fn list(host: &Host) -> Result<Vec<PodEntry>> {
    let load = |(namespace, name, id): &(String, String, String)| load(host, id, namespace, name);
    let mut entries =
        spread::over(&names::all(host), AT_ONCE, |names| names.iter().filter_map(load).collect())
            .context(|| "read the pods' records")?;
    entries.sort_by(|left, right| (&left.namespace, &left.name).cmp(&(&right.namespace, &right.name)));
    Ok(entries)
}

/// The pod that is called `name` in `namespace`, or whose id alone begins with it; a name wins.
pub fn find(host: &Host, namespace: &str, name: &str) -> Result<PodEntry> {
    let missing = || {
        Error::new(ErrorKind::NotFound, format!("pod {name:?} not found in namespace {namespace:?}"))
            .hint("`podrun get pods -A` lists the pods of all namespaces")
    };
    if let Some(id) = names::lookup(host, namespace, name) {
        return load(host, &id, namespace, name).ok_or_else(missing);
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let mut found = names::all(host).into_iter().filter(|(_, _, id)| id.starts_with(name));
    match (found.next(), found.next()) {
        (Some((namespace, name, id)), None) => load(host, &id, &namespace, &name).ok_or_else(missing),
        (Some(_), Some(_)) => {
            Err(Error::new(ErrorKind::NotFound, format!("several pods have an id that begins with {name:?}")))
        }
        (None, _) => Err(missing()),
    }
}

/// Whether the monitor of pod `id` runs: it holds the pod's lock for its life.
pub fn is_alive(host: &Host, id: &str) -> bool {
    File::open(record::lock_path(host, id))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The pod `id`, which has the name; `None` if it is another front's.
fn load(host: &Host, id: &str, namespace: &str, name: &str) -> Option<PodEntry> {
    let (sandbox, mut trouble) = match record::load::<Sandbox>(&record::sandbox_path(host, id)) {
        Loaded::Present(sandbox) if sandbox.front != Front::Pod => return None,
        Loaded::Present(sandbox) => (Some(sandbox), None),
        Loaded::Missing if is_gone(host, id, namespace, name) => return None,
        Loaded::Missing => (None, Some("the pod's record is missing".to_owned())),
        Loaded::Unreadable(why) => (None, Some(format!("the pod's record: {why}"))),
    };
    let status = match record::load::<SandboxStatus>(&record::sandbox_status_path(host, id)) {
        Loaded::Present(status) => status,
        Loaded::Missing if is_gone(host, id, namespace, name) => return None,
        Loaded::Missing => {
            let of_this_boot = |own: &Sandbox| boot_id().is_ok_and(|boot| boot == own.boot_id);
            if !sandbox.as_ref().is_some_and(of_this_boot) {
                trouble.get_or_insert("the pod's status is missing".to_owned());
            }
            SandboxStatus::default()
        }
        Loaded::Unreadable(why) => {
            trouble.get_or_insert(format!("the pod's status: {why}"));
            SandboxStatus { state: SandboxState::Unknown, ..SandboxStatus::default() }
        }
    };
    let mut pod = asked(sandbox.as_ref(), &mut trouble);
    name.clone_into(&mut pod.metadata.name);
    namespace.clone_into(&mut pod.metadata.namespace);
    if let Some(state) = status.pod_state() {
        pod = policy::observed(pod, &state);
    } else {
        pod.status.phase = Some(PodPhase::Pending);
    }
    if let Some(why) = trouble {
        pod.status.phase = Some(PodPhase::Unknown);
        pod.status.reason = "RecordUnreadable".into();
        pod.status.message = why;
    }
    Some(PodEntry { id: id.into(), namespace: namespace.into(), name: name.into(), sandbox, status, pod })
}

/// Whether the pod `id`, one of whose records is missing, was deleted since its name was read. A removal takes the folder
/// away, then the name, then what was the folder: looked for in this order, none of them is missed.
fn is_gone(host: &Host, id: &str, namespace: &str, name: &str) -> bool {
    !host.pod_root(id).exists()
        && (edit::is_being_removed(host, id) || names::lookup(host, namespace, name).as_deref() != Some(id))
}

/// The v1 Pod that was asked for, with what the system set when it was made.
fn asked(sandbox: Option<&Sandbox>, trouble: &mut Option<String>) -> Pod {
    let Some(sandbox) = sandbox else { return Pod::default() };
    let mut pod: Pod = serde_json::from_str(sandbox.asked.get()).unwrap_or_else(|error| {
        trouble.get_or_insert(format!("the pod's record: {error}"));
        Pod::default()
    });
    pod.metadata.uid.clone_from(&sandbox.uid);
    let seconds = i64::try_from(sandbox.created_at / 1_000_000_000).unwrap_or(i64::MAX);
    pod.metadata.creation_timestamp = Some(Time::from_unix(seconds));
    pod.status.qos_class.get_or_insert_with(|| resources::qos_class(&pod.spec));
    pod
}

#[cfg(test)]
mod tests;
