//! Waiting for pods to change, without a monitor's help: their records and logs are watched on disk.
//!
//! Invariant: a monitor writes before it tells, so whoever reads the records again after a wake-up
//! sees the change. A monitor that is killed writes nothing; its closed socket wakes the reader instead.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::client::Monitor;
use super::{recovery, store};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::sys::own;
use crate::sys::poll::{self, Interest};
use crate::sys::watch::Watch;

/// How long a monitor takes at the most from the closing of its socket to its end.
const DIES_WITHIN: Duration = Duration::from_secs(1);

const TOO_MANY_WATCHERS: &str = "fs.inotify.max_user_instances says how many clients of a user may wait at once: \
    `sysctl -w fs.inotify.max_user_instances=1024` allows more";

/// What wakes a client that waits for pods.
#[derive(Debug)]
pub struct Changes {
    host: Host,
    watch: Watch,
    /// A connection to each followed pod's monitor, `None` where it runs no more.
    monitors: BTreeMap<String, Option<Monitor>>,
}

impl Changes {
    /// Wakes when a pod is made or removed.
    pub fn new(host: &Host) -> Result<Self> {
        let pods = host.root.join("pods");
        host.make_root()?;
        own::directory(&pods, own::PRIVATE).context(|| format!("pod records {}", pods.display()))?;
        let watch = Watch::new().map_err(|error| match error.is_over_limit() {
            true => Error::from(error).hint(TOO_MANY_WATCHERS),
            false => error.into(),
        })?;
        watch.directory(&pods)?;
        Ok(Self { host: host.clone(), watch, monitors: BTreeMap::new() })
    }

    /// Wakes also when pod `id` changes, or its monitor ends. A pod that has gone meanwhile is no error.
    pub fn follow(&mut self, id: &str) -> Result<()> {
        if !self.monitors.contains_key(id) {
            self.directory(&self.host.pod_root(id))?;
            let monitor = Monitor::connect(&self.host, id).ok();
            if monitor.is_none() {
                // It may have been killed since the records were read: they are to be read again.
                drop(recovery::reap(&self.host));
            }
            self.monitors.insert(id.into(), monitor);
        }
        Ok(())
    }

    /// Wakes also when any pod changes that is there by now, one that is not up yet too.
    pub fn all(&self) -> Result<()> {
        let pods = self.host.root.join("pods");
        for name in store::folder_names(&pods) {
            self.directory(&pods.join(name))?;
        }
        Ok(())
    }

    /// Wakes also when a file in `directory` is written; false where there is none yet.
    pub fn directory(&self, directory: &Path) -> Result<bool> {
        match self.watch.directory(directory) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something changed; false when `deadline` came first.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Result<bool> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let millis = left.map(|left| u32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u32::MAX));
            let mut polled = vec![(self.watch.as_fd(), Interest::Read)];
            polled.extend(self.monitors.values().flatten().map(|monitor| (monitor.as_fd(), Interest::Read)));
            let ready = poll::poll(&polled, millis)?;
            if ready.iter().any(|one| one.readable) {
                self.watch.changes()?;
                // Nothing was asked of a monitor, so that it speaks only by closing.
                let mut ended = ready.iter().skip(1).map(|one| one.readable);
                for (id, monitor) in self.monitors.iter_mut().filter(|(_, monitor)| monitor.is_some()) {
                    if ended.next().unwrap_or(false) {
                        let ended = monitor.take();
                        // One that was killed wrote nothing down: what it left is brought to its end now.
                        // One that closed its socket alone is left alone.
                        let dies = |monitor: Monitor| monitor.await_death(DIES_WITHIN);
                        if !store::is_alive(&self.host, id) || ended.is_some_and(dies) {
                            // What cannot be done now is the next verb's to try again, and to tell.
                            drop(recovery::reap(&self.host));
                        }
                    }
                }
                return Ok(true);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }
}
