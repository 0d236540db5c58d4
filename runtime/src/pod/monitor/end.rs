//! The pod's end: asked for, come by itself, or forced; and then the monitor's.
//!
//! Invariant: a monitor that returns from [`Monitor::finish`] has left no process, cgroup, network or file of the
//! state dir; whoever waited for the end is answered after that.

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
    /// At once, with all its records: a client asked for that, or nobody wanted the pod in the end. Deleted here, so
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
        // A pod whose records cannot be written would be gone with its monitor: then it is its maker's still.
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
        // How the pod has ended is known here alone until it is on the disk; who deletes it wants no record of that.
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
        // The last process: with it goes whatever shares its pid namespace.
        !self.stop_pod_init()
    }

    /// Leaves nothing, and says so to whoever waits for it. Where something cannot be undone, or written down, nobody is
    /// told that it was: the pod's lock and folder stay, and whoever finds them without a monitor goes on from there.
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
        // To every other verb the pod looks lost as soon as the lock's file is gone, unless somebody holds its
        // folder: the client that makes it, or this process.
        let guard = store::hold(&self.host, &self.id);
        let removed = match &guard {
            // Who makes it still makes folders for it, and removes them all now that it comes to nothing.
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
        // It is in the monitors' cgroup. Nobody waits for this process any more, so it may wait.
        self.host_paths.await_ends();
        shared::leave_monitors(&self.host, &self.layout, &self.among)
    }

    /// Takes the bridge down if this pod was its last, after the idle time in which the next one would find it. The
    /// monitor is back on the host by then, whose sysctls are restored, and holds nothing of the pod's.
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
