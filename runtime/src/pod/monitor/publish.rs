//! Publishing changes: first to disk, then to the watchers.
//!
//! Invariants: sequence numbers grow by one with each change, and an event is sent after its record is on disk,
//! so that a client that misses the event finds the record. A record that the disk refuses is retried until it
//! is written, and until then the monitor does not exit. An uncommitted pod is undone whole when its maker
//! goes: its records may lag by [`LAG`], which saves most creates all but the last of them, and the commit
//! waits for all of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::Monitor;
use super::container::Container;
use super::deadlines::Due;
use super::end::Ending;
use super::sandbox::Sandbox;
use crate::error::{Context, Result};
use crate::pod::protocol::{Change, Event, Message, Snapshot};
use crate::pod::record;

/// How long the changes of an uncommitted pod may stay invisible to others.
const LAG: Duration = Duration::from_millis(100);

/// How soon a refused write is retried: nothing notifies of free space.
const RETRY: Duration = Duration::from_secs(1);

/// Which of the pod's own records are behind; a container knows of its own.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// `live.json`.
    live: bool,
    /// `status.json`.
    status: bool,
    /// Whether how the pod or a container fares could not be written.
    refused: bool,
    /// Whether it was noted that something could not be written.
    noted: bool,
}

impl Unwritten {
    /// Whether something that lasts could not be written: it is tried again, after [`RETRY`].
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }
}

impl Monitor {
    /// The container in `slot` changed.
    pub(super) fn publish_container(&mut self, slot: u32) {
        if self.is_vanishing() {
            return;
        }
        self.sequence += 1;
        let sequence = self.sequence;
        let Some(container) = self.container(slot) else { return };
        container.changed = sequence;
        container.unwritten = true;
        let status = container.status.clone();
        self.record_soon();
        self.send_change(Change::Container(Box::new(status)));
    }

    /// The sandbox, or the pod front's status in it, changed.
    pub(super) fn publish_sandbox(&mut self) {
        if self.is_vanishing() {
            return;
        }
        self.sequence += 1;
        self.unwritten.status = true;
        self.record_soon();
        self.send_change(Change::Sandbox(Box::new(self.status.clone())));
    }

    /// The pod's processes, or its link in /run/netns, changed; the change itself is published next.
    pub(super) fn processes_changed(&mut self) {
        self.unwritten.live = true;
    }

    /// Writes stale records: at once, or for an uncommitted pod within [`LAG`].
    fn record_soon(&mut self) {
        if self.owner.is_none() {
            self.record_now();
        } else if self.deadlines.get(Due::Records).is_none() {
            self.deadlines.set_after(Due::Records, LAG);
        }
    }

    /// Writes stale records, or schedules a retry. Of repeated failures the first is logged.
    pub(super) fn record_now(&mut self) {
        let written = self.write_records();
        let noted = std::mem::replace(&mut self.unwritten.noted, written.is_err());
        if let Err(error) = written {
            self.deadlines.set_after(Due::Records, RETRY);
            if !noted {
                self.keep(Err(error));
            }
        }
    }

    /// Writes every stale record, the pod's status last. A record that cannot be written stays stale, and stops
    /// no other.
    ///
    /// # Errors
    /// The first record's that cannot be written.
    pub(super) fn write_records(&mut self) -> Result<()> {
        self.deadlines.cancel(Due::Records);
        if self.is_vanishing() {
            return Ok(());
        }
        let mut outcome = Ok(());
        if self.unwritten.live {
            let written = self.write_live();
            self.unwritten.live = written.is_err();
            outcome = outcome.and(written);
        }
        let (host, pod) = (&self.host, &self.id);
        for container in self.containers.iter_mut() {
            if let Some(records) = &container.records {
                let written = records.write();
                container.records.take_if(|_| written.is_ok());
                outcome = outcome.and(written);
            }
            if !container.unwritten {
                continue;
            }
            let folder = record::container_dir(host, pod, &container.spec.id);
            let written = record::write(&folder.join("status.json"), &container.status.record);
            container.unwritten = written.is_err();
            outcome = outcome.and(written);
        }
        if self.unwritten.status {
            let written = record::write_status(&self.host, &self.id, &self.status);
            self.unwritten.status = written.is_err();
            outcome = outcome.and(written);
        }
        let behind =
            self.containers.iter().any(|container| container.unwritten || container.records.is_some());
        self.unwritten.refused = behind || self.unwritten.status;
        outcome
    }

    /// Writes `live.json`: the pod's processes, for recovery after the monitor's death.
    fn write_live(&self) -> Result<()> {
        let running = |container: &Container| Some((container.spec.id.clone(), container.host_process()?));
        let live = record::Live {
            version: record::Version,
            monitor: self.me,
            init: self.sandbox.as_ref().and_then(Sandbox::init_process),
            containers: self.containers.iter().filter_map(running).collect::<BTreeMap<_, _>>(),
            netns_link: self.sandbox.as_ref().and_then(|sandbox| sandbox.netns_link().map(Path::to_owned)),
        };
        record::write(&record::live_path(&self.host, &self.id), &live).context(|| "live.json")
    }

    /// A container is forgotten.
    pub(super) fn publish_removal(&mut self, container: &str) {
        self.sequence += 1;
        self.send_change(Change::Removed { container: container.into() });
    }

    fn send_change(&mut self, change: Change) {
        let watchers = self.connections.watchers();
        if watchers.is_empty() {
            return;
        }
        let message = Message::Event(Event { sequence: self.sequence, change });
        for watcher in watchers {
            self.tell(watcher, &message, Vec::new());
        }
    }

    /// The current state; of the containers those changed after `from`.
    pub(super) fn snapshot(&self, from: u64) -> Snapshot {
        let changed = self.containers.iter().filter(|container| container.changed > from);
        Snapshot {
            sequence: self.sequence,
            sandbox: Box::new(self.status.clone()),
            containers: changed.map(|container| container.status.clone()).collect(),
            present: self.containers.iter().map(|container| container.spec.id.clone()).collect(),
        }
    }

    /// Whether the pod's records are being deleted: then nothing is written any more.
    pub(super) fn is_vanishing(&self) -> bool {
        self.ending == Some(Ending::Remove)
    }

    /// Logs a failure. The pod goes on: running it matters more than recording it.
    pub(super) fn keep(&mut self, written: Result<()>) {
        if let Err(error) = written {
            let log = self.host.pod_root(&self.id).join(super::LOG);
            let _ = super::start::append(&log, &format!("{error}\n"));
        }
    }
}
