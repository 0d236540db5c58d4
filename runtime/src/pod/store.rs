//! The pods on this host, as their records tell: listed, and found by name or id.
//!
//! Invariant: reading takes no lock and skips nothing. A record that is none becomes a pod with a
//! trouble, with its name still reserved, so that it can be seen and deleted. An error to read is an error.

mod edit;

pub(crate) use edit::folder_names;
pub use edit::{Guard, begin, boot_id, fill, hold, hold_for_removal, remove};
pub(in crate::pod) use edit::{is_removed, is_there, mark, unlock, unmark};

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::ErrorKind as IoKind;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::names::{self, Key};
use super::record::{
    self, ContainerState, ContainerStatusRecord, Front, Loaded, Sandbox, SandboxState, SandboxStatus,
};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::host::Host;
use crate::parallel;
use crate::sys::file::flock::{self, Share};

/// How many pods' records are worth a thread.
const AT_ONCE: usize = 40;
/// How many threads read at the most: each has a descriptor open.
const THREADS: usize = 4;

/// One pod.
#[derive(Debug, Clone)]
pub struct Entry {
    /// 64 hex digits.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name in the namespace.
    pub name: String,
    /// The request; `None` if the record cannot be read.
    pub sandbox: Option<Sandbox>,
    /// The state.
    pub status: SandboxStatus,
    /// Why one of its records cannot be read.
    pub trouble: Option<String>,
}

/// Every pod of `front` in the form of `view`, by namespace and name, including those in the making.
pub fn list<T: Send>(host: &Host, front: Front, view: impl Fn(Entry) -> T + Sync) -> Result<Vec<T>> {
    let load = |(namespace, name, id): &Name| {
        load(host, front, id, namespace, name).map(|found| found.map(&view)).transpose()
    };
    let mut names = names::all(host)?;
    names.extend(restore_names(host, &names)?);
    names.sort();
    let piece = NonZeroUsize::new(names.len().div_ceil(THREADS).max(AT_ONCE)).expect("it is not zero");
    parallel::over(&names, piece, |names| names.iter().filter_map(load).collect::<Vec<_>>())
        .context(|| "read the pods' records")?
        .into_iter()
        .collect()
}

/// The pod of `front` called `name` in `namespace`, or the only one whose id begins with `name`; a name wins.
pub fn find(host: &Host, front: Front, namespace: &str, name: &str) -> Result<Entry> {
    let missing = || {
        Error::new(ErrorKind::NotFound, format!("pod {name:?} not found in namespace {namespace:?}"))
            .hint("`podrun get pods -A` lists the pods of all namespaces")
    };
    if let Some(id) = names::lookup(host, namespace, name)? {
        return load(host, front, &id, namespace, name)?.ok_or_else(missing);
    }
    let mut names = names::all(host)?;
    names.extend(restore_names(host, &names)?);
    let is_it = |known: &&Name| (known.0.as_str(), known.1.as_str()) == (namespace, name);
    if let Some((namespace, name, id)) = names.iter().find(is_it) {
        return load(host, front, id, namespace, name)?.ok_or_else(missing);
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let mut found = names.into_iter().filter(|(_, _, id)| id.starts_with(name));
    match (found.next(), found.next()) {
        (Some((namespace, name, id)), None) => load(host, front, &id, &namespace, &name)?.ok_or_else(missing),
        (Some(_), Some(_)) => {
            Err(Error::new(ErrorKind::NotFound, format!("several pods have an id that begins with {name:?}")))
        }
        (None, _) => Err(missing()),
    }
}

/// A reserved name: namespace, name and the pod's id.
type Name = (String, String, String);

/// Restores the links of pods whose links were deleted, unless another pod has the name: `names` are the
/// existing ones.
fn restore_names(host: &Host, names: &[Name]) -> Result<Vec<Name>> {
    let named: BTreeSet<&str> = names.iter().map(|(_, _, id)| id.as_str()).collect();
    let mut restored = Vec::new();
    for id in folder_names(&host.root.join("pods"))? {
        if id.starts_with('.') || named.contains(id.as_str()) {
            continue;
        }
        // Before the commit a pod may have no name, or none any more.
        let (Loaded::Present(SandboxStatus { committed: true, .. }), _) = record::load_status(host, &id)?
        else {
            continue;
        };
        let Loaded::Present(sandbox) = record::load::<Sandbox>(&record::sandbox_path(host, &id))? else {
            continue;
        };
        let key = Key::of(&sandbox);
        if sandbox.front != Front::Pod || names::reserve(host, &key, &id).is_err() {
            continue;
        }
        // It may have been deleted meanwhile, which takes the folder away before the name.
        if !host.pod_root(&id).exists() {
            names::release(host, &key, &id)?;
        }
        restored.push((sandbox.namespace, sandbox.name, id));
    }
    Ok(restored)
}

/// The exit code of the attempt `container` (an id) of pod `pod`; `None` while it has not ended.
///
/// # Errors
/// The pod was deleted, or the record cannot be read.
pub fn exit_code(host: &Host, pod: &str, container: &str) -> Result<Option<i32>> {
    let path = record::container_dir(host, pod, container).join("status.json");
    match record::load::<ContainerStatusRecord>(&path)? {
        Loaded::Present(status) if status.state == ContainerState::Exited => {
            Ok(Some(status.exit_code.unwrap_or_default()))
        }
        Loaded::Present(_) => Ok(None),
        Loaded::Missing => Err(Error::failed("the pod was deleted")),
        Loaded::Unreadable(why) => Err(Error::failed(format!("the container's status: {why}"))),
    }
}

/// Whether the monitor of pod `id` runs: it holds the pod's lock for its life.
///
/// # Errors
/// The lock cannot be examined: a monitor in doubt must not count as dead.
pub fn is_alive(host: &Host, id: &str) -> Result<bool> {
    let path = record::lock_path(host, id);
    let locked = match File::open(&path).map(|lock| lock.try_lock_shared()) {
        Ok(Ok(())) => Ok(false),
        Ok(Err(TryLockError::WouldBlock)) => Ok(true),
        Err(error) if error.kind() == IoKind::NotFound => Ok(false),
        Err(error) | Ok(Err(TryLockError::Error(error))) => Err(error),
    };
    locked.context(|| format!("lock {}", path.display()))
}

/// Waits until no monitor of pod `id` runs; false when the time is over first.
pub(in crate::pod) fn await_end(host: &Host, id: &str, patience: Duration) -> Result<bool> {
    let path = record::lock_path(host, id);
    let file = match File::open(&path) {
        Err(error) if error.kind() == IoKind::NotFound => return Ok(true),
        opened => opened.context(|| format!("lock {}", path.display()))?,
    };
    let waited = flock::lock_within(&file, Share::Shared, patience);
    Ok(waited.map_err(|errno| errno.during(format!("flock({path:?})")))?)
}

/// The pod of `front` with this whole id; `None`: it is gone, not there yet, or another front's.
pub fn with_id(host: &Host, front: Front, id: &str) -> Result<Option<Entry>> {
    let named = match record::load::<Sandbox>(&record::sandbox_path(host, id))? {
        Loaded::Present(Sandbox { namespace, name, .. }) => {
            let holder = names::lookup(host, &namespace, &name)?;
            (holder.as_deref() == Some(id)).then_some((namespace, name))
        }
        Loaded::Missing => None,
        Loaded::Unreadable(_) => names::of(host, id)?,
    };
    named.map_or(Ok(None), |(namespace, name)| load(host, front, id, &namespace, &name))
}

/// The pod `id`, which has the name; `None` if it is another front's.
fn load(host: &Host, front: Front, id: &str, namespace: &str, name: &str) -> Result<Option<Entry>> {
    let (sandbox, mut trouble) = match record::load::<Sandbox>(&record::sandbox_path(host, id))? {
        Loaded::Present(sandbox) if sandbox.front != front => return Ok(None),
        Loaded::Present(sandbox) => (Some(sandbox), None),
        Loaded::Missing if is_gone(host, id, namespace, name)? => return Ok(None),
        Loaded::Missing => (None, Some("the pod's record is missing".to_owned())),
        Loaded::Unreadable(why) => (None, Some(format!("the pod's record: {why}"))),
    };
    let status = match record::load_status(host, id)?.0 {
        Loaded::Present(status) => status,
        Loaded::Missing if is_gone(host, id, namespace, name)? => return Ok(None),
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
    let (namespace, name) = (namespace.into(), name.into());
    Ok(Some(Entry { id: id.into(), namespace, name, sandbox, status, trouble }))
}

/// Whether the pod `id`, one of whose records is missing, was deleted since its name was read. A removal takes
/// the folder away, then the name, then the folder's remains: checking in this order misses none of them.
fn is_gone(host: &Host, id: &str, namespace: &str, name: &str) -> Result<bool> {
    if is_there(&host.pod_root(id))? {
        return Ok(false);
    }
    Ok(edit::is_being_removed(host, id)? || names::lookup(host, namespace, name)?.as_deref() != Some(id))
}
