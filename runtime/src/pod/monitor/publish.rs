//! What changed goes to disk, then to whoever watches.
//!
//! Invariant: sequence numbers grow by one with each change, and an event is sent after its record is on disk, so
//! that who misses the event finds the record.

use super::Monitor;
use super::end::Ending;
use crate::error::Result;
use crate::pod::protocol::{Change, Event, Message, Snapshot};
use crate::pod::record;

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
        let status = container.status.clone();
        let path = self.container_dir(&status.id).join("status.json");
        self.keep(record::write(&path, &status.record));
        self.send_change(Change::Container(Box::new(status)));
    }

    /// The sandbox, or the pod front's status in it, changed.
    pub(super) fn publish_sandbox(&mut self) {
        if self.is_vanishing() {
            return;
        }
        self.sequence += 1;
        let path = record::sandbox_status_path(&self.host, &self.id);
        self.keep(record::write(&path, &self.status));
        self.send_change(Change::Sandbox(Box::new(self.status.clone())));
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

    /// All that is known now; of the containers those that changed after `from`.
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

    /// Notes that a record could not be written. The pod goes on: what it does matters more than what is known of
    /// it, and the next change writes the whole record again.
    pub(super) fn keep(&mut self, written: Result<()>) {
        if let Err(error) = written {
            let log = self.host.pod_root(&self.id).join(super::LOG);
            let _ = super::start::append(&log, &format!("{error}\n"));
        }
    }
}
