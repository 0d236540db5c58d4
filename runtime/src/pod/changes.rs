//! Waiting for pods to change, without a monitor's help: their records and logs are watched on disk, and so are the
//! monitors' locks, which the kernel closes when a monitor ends, however that ends.
//!
//! Invariants: a monitor writes before it notifies, so a client that reads the records after a wake-up sees the
//! change. Watching takes one descriptor for all pods; a change costs the reading of the changed pods, and a
//! removed pod is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::driver::Fronts;
use super::{record, recovery, store};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::sys::file::own;
use crate::sys::file::watch::{For, Watch, Watched, What};
use crate::sys::io::poll::{self, Interest};

/// How long a monitor that lets go of its lock takes at the most to be rid of it.
const LETS_GO_WITHIN: Duration = Duration::from_secs(1);

const TOO_MANY_WATCHERS: &str = "fs.inotify.max_user_instances says how many clients of a user may wait at once: \
    `sysctl -w fs.inotify.max_user_instances=1024` allows more";

/// The events that wake a client waiting for pods.
#[derive(Debug)]
pub struct Changes {
    host: Host,
    fronts: Fronts,
    watch: Watch,
    places: BTreeMap<Watched, Place>,
    followed: BTreeSet<String>,
    /// Whether every pod is followed that is made.
    all: bool,
}

/// The kind of a watched directory.
#[derive(Debug)]
enum Place {
    /// The records of all pods.
    Pods,
    /// A pod's records.
    Records(String),
    /// A pod's state.
    State(String),
    /// A container's logs.
    Logs,
}

/// Which pods may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Any: more has happened than the kernel could keep.
    Any,
    /// These, by their ids.
    Pods(BTreeSet<String>),
}

impl Changes {
    /// Wakes when a pod is made or removed.
    pub fn new(host: &Host, fronts: Fronts) -> Result<Self> {
        let pods = host.root.join("pods");
        host.make_root()?;
        own::directory(&pods, own::PRIVATE).context(|| format!("pod records {}", pods.display()))?;
        let watch = Watch::new().map_err(|error| match error.is_over_limit() {
            true => Error::from(error).hint(TOO_MANY_WATCHERS),
            false => error.into(),
        })?;
        let places = BTreeMap::from([(watch.directory(&pods, For::Changes)?, Place::Pods)]);
        Ok(Self { host: host.clone(), fronts, watch, places, followed: BTreeSet::new(), all: false })
    }

    /// Wakes at the change of any pod, present or future.
    pub fn of_all(host: &Host, fronts: Fronts) -> Result<Self> {
        let mut changes = Self::new(host, fronts)?;
        changes.all = true;
        changes.follow_all()?;
        Ok(changes)
    }

    fn follow_all(&mut self) -> Result<()> {
        for name in store::folder_names(&self.host.root.join("pods"))? {
            self.follow(id_of(&name))?;
        }
        Ok(())
    }

    /// Wakes also when pod `id` changes, or its monitor ends. A pod that has gone meanwhile is no error.
    pub fn follow(&mut self, id: &str) -> Result<()> {
        if self.followed.contains(id)
            || !self.place(&self.host.pod_root(id), For::Changes, Place::Records(id.into()))?
        {
            return Ok(());
        }
        self.followed.insert(id.into());
        self.place(&self.host.pod_state_dir(id), For::Closes, Place::State(id.into()))?;
        // Its monitor may have been killed since the records were read. The next verb retries a failure here,
        // and reports it.
        drop(recovery::reap_one(&self.host, self.fronts, id));
        Ok(())
    }

    /// Wakes also when a file in `directory` is written; false where there is none yet.
    pub fn directory(&mut self, directory: &Path) -> Result<bool> {
        self.place(directory, For::Changes, Place::Logs)
    }

    fn place(&mut self, directory: &Path, what: For, place: Place) -> Result<bool> {
        match self.watch.directory(directory, what) {
            Ok(watched) => {
                self.places.insert(watched, place);
                Ok(true)
            }
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something changed; `None` when `deadline` came first.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Result<Option<Changed>> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let ready = poll::poll(&[(self.watch.as_fd(), Interest::Read)], left)?;
            if ready.iter().any(|one| one.readable)
                && let Some(changed) = self.changed()?
            {
                return Ok(Some(changed));
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
        }
    }

    /// The change, unless it is irrelevant.
    fn changed(&mut self) -> Result<Option<Changed>> {
        let (mut pods, mut is_known) = (BTreeSet::new(), false);
        for what in self.watch.changes()? {
            match what {
                What::Lost => {
                    if self.all {
                        self.follow_all()?;
                    }
                    return Ok(Some(Changed::Any));
                }
                What::Gone(watched) => {
                    if let Some(Place::Records(id)) = self.places.remove(&watched) {
                        self.followed.remove(&id);
                        pods.insert(id);
                    }
                }
                What::File(watched, name) => is_known |= self.note(watched, &name, &mut pods)?,
            }
        }
        Ok((is_known || !pods.is_empty()).then_some(Changed::Pods(pods)))
    }

    /// Notes the change of a file. False: irrelevant, or told by `pods` already.
    fn note(&mut self, watched: Watched, name: &OsString, pods: &mut BTreeSet<String>) -> Result<bool> {
        match self.places.get(&watched) {
            Some(Place::Logs) => return Ok(true),
            Some(Place::Records(id)) => _ = pods.insert(id.clone()),
            Some(Place::State(id)) if name == record::LOCK => {
                // A killed monitor wrote nothing: finish its pod now. inotify reports the close before the lock
                // is free.
                if store::await_end(&self.host, id, LETS_GO_WITHIN)? {
                    drop(recovery::reap_one(&self.host, self.fronts, id));
                }
                pods.insert(id.clone());
            }
            Some(Place::Pods) => {
                let Some(name) = name.to_str() else { return Ok(false) };
                if self.all && id_of(name) == name {
                    self.follow(name)?;
                }
                pods.insert(id_of(name).to_owned());
            }
            Some(Place::State(_)) | None => {}
        }
        Ok(false)
    }
}

/// The id of the pod whose records are, or were, in the folder of this name.
fn id_of(folder: &str) -> &str {
    folder.trim_start_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_is_gone_is_not_kept_and_can_be_followed_when_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let host =
            Host { root: dir.path().join("root"), state_dir: dir.path().join("state"), ..Host::default() };
        let mut changes = Changes::new(&host, |_| None).unwrap();
        changes.follow("a").unwrap();
        assert!(changes.followed.is_empty());
        own::directory(&host.pod_root("a"), own::PRIVATE).unwrap();
        let a = Some(Changed::Pods(BTreeSet::from(["a".into()])));
        let mut told = || {
            let soon = Instant::now() + Duration::from_secs(10);
            changes.follow("a").unwrap();
            changes.wait(Some(soon)).unwrap()
        };
        assert_eq!(told(), a, "it was made");
        own::write(&host.pod_root("a").join("status.json"), b"", own::SECRET).unwrap();
        assert_eq!(told(), a, "it is followed");
        std::fs::remove_dir_all(host.pod_root("a")).unwrap();
        assert_eq!(changes.wait(None).unwrap(), a);
        assert!(changes.followed.is_empty());
    }
}
