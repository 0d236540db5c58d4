//! The pod's end: asked for, come by itself, or forced; and then the monitor's.
//!
//! Invariant: a monitor that returns from [`Monitor::finish`] has left no process, cgroup, network or file of
//! the state dir; clients that wait for the end are answered after that.

use std::time::Duration;

use super::Monitor;
use super::serve::Waiter;
use crate::error::{Error, Result};
use crate::net::{self, Idle};
use crate::pod::driver::Fact;
use crate::pod::record::SandboxState;
use crate::pod::{shared, store};

/// How the pod is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With grace, without a policy.
    Stop,
    /// At once, with all its records: a client asked for it, or the pod was never committed. Deleted here, so
    /// that a client killed meanwhile leaves no pod that seems to run.
    Remove,
}

impl Monitor {
    /// Answers `commit`.
    pub(super) fn commit(&mut self) -> Result<()> {
        if self.ending.is_some() {
            return Err(Error::state("the pod is ending"));
        }
        self.status.committed = true;
        self.publish_sandbox();
        // A pod whose records cannot be written would be gone with its monitor: then it still belongs to its
        // maker.
        self.write_records().inspect_err(|_| self.status.committed = false)?;
        self.owner = None;
        Ok(())
    }

    /// Answers `stop-sandbox` when the pod has ended.
    pub(super) fn stop_pod_for(&mut self, grace: Option<u64>, waiter: Waiter) {
        self.enders.push(waiter);
        self.stop_pod(grace);
    }

    /// Answers `remove-sandbox` when the pod has ended.
    pub(super) fn remove_pod_for(&mut self, waiter: Waiter) {
        self.enders.push(waiter);
        self.force(Ending::Remove);
    }

    /// The client that the pod belonged to is gone before it committed.
    pub(super) fn undo_pod(&mut self) {
        self.force(Ending::Remove);
    }

    /// Ends the pod with grace (milliseconds; absent: as the pod says). A policy knows the order of exits.
    pub(super) fn stop_pod(&mut self, grace: Option<u64>) {
        if self.driver.is_some() {
            return self.facts.push_back(Fact::EndAsked { grace });
        }
        self.ending.get_or_insert(Ending::Stop);
        let usual = self.sandbox.as_ref().map_or(0, |sandbox| sandbox.spec.grace);
        let grace = Duration::from_millis(grace.unwrap_or(usual));
        let alive = self.containers.iter().filter(|container| container.is_alive());
        for slot in alive.map(|container| container.slot).collect::<Vec<_>>() {
            self.stop_container(slot, Some(grace));
        }
    }

    /// A signal that every process gets when the host goes down: the pod ends with grace, and its records stay.
    pub(super) fn end_with_host(&mut self) {
        match self.driver {
            Some(_) => self.facts.push_back(Fact::HostStops),
            None => self.stop_pod(None),
        }
    }

    /// Kills all of the pod. Nothing is written about it any more, and no policy is asked.
    fn force(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.call_off_host_paths(None);
        self.driver = None;
        if let Some(cgroup) = self.sandbox.as_ref().and_then(|sandbox| sandbox.cgroup.as_ref()) {
            let killed = cgroup.kill();
            self.keep(killed);
        }
        for slot in self.containers.iter().map(|container| container.slot).collect::<Vec<_>>() {
            self.kill_container(slot);
        }
    }

    /// Whether nothing is left to wait for.
    pub(super) fn may_finish(&mut self) -> bool {
        // Until it is on disk, only this process knows how the pod ended; a deletion needs no record of it.
        if self.unwritten.is_refused() && !self.is_vanishing() && self.enders.is_empty() {
            return false;
        }
        if let Some(driver) = &self.driver {
            // A pod that is over before its maker commits waits for the word whether it is to be seen at all.
            return driver.is_finished() && self.owner.is_none();
        }
        if self.ending.is_none() || self.containers.iter().any(|container| container.is_alive()) {
            return false;
        }
        // The last process: all others in its pid namespace go with it.
        !self.stop_pod_init()
    }

    /// Leaves nothing, and answers the clients that wait for it. If a part cannot be undone or recorded, no
    /// client is told that it was: the pod's lock and folder stay, and recovery continues from there.
    pub(super) fn finish(mut self) -> Result<()> {
        self.take_down();
        if self.left_over {
            self.connections.clear();
            return Ok(());
        }
        self.status.state = SandboxState::Ended;
        self.publish_sandbox();
        if self.unwritten.is_refused() && !self.is_vanishing() {
            self.connections.clear();
            return Ok(());
        }
        // Once the lock file is gone, the pod looks lost to every other verb, unless its folder is held: by the
        // client that makes it, or by this process.
        let guard = store::hold(&self.host, &self.id);
        let removed = match &guard {
            // Its maker still makes folders for it, and removes them all when it fails.
            Ok(None) if self.is_vanishing() => store::unlock(&self.host, &self.id),
            _ if self.is_vanishing() => store::remove(&self.host, &self.id),
            _ => store::unmark(&self.host, &self.id),
        };
        let left_over = removed.is_err();
        self.keep(guard.and(removed));
        if left_over {
            self.connections.clear();
            return Ok(());
        }
        // Without an idle time nothing is to be left when the answer comes.
        if self.host.network.idle_seconds == 0 {
            self.release_bridge();
        }
        let enders = std::mem::take(&mut self.enders);
        self.answer_all(enders, &Ok(()));
        self.connections.flush(&self.epoll);
        self.connections.clear();
        self.listener = None;
        self.release_bridge();
        // It is in the monitors' cgroup. No client waits for this process any more, so it may wait.
        self.host_paths.await_ends();
        shared::leave_monitors(&self.host, &self.layout, &self.among)
    }

    /// Takes the bridge down after the idle time if this was its last pod and no other came. The monitor is
    /// back on the host by then, whose sysctls are restored, and holds nothing of the pod.
    fn release_bridge(&mut self) {
        let Some(mut left) = self.left.take() else { return };
        left.leave_namespaces();
        loop {
            match net::remove_idle_bridge(&mut left.sockets, &self.host) {
                Ok(Idle::Wait(time)) => std::thread::sleep(time),
                removed => return self.keep(removed.map(drop)),
            }
        }
    }
}
