//! Requests about a container's process: stop, signal, limits, removal.
//!
//! Invariant: each request is answered once; one for an end when no process of the attempt runs any more.

use std::time::Duration;

use oci_spec::runtime::LinuxResources;

use super::super::deadlines::Due;
use super::super::serve::Waiter;
use super::Monitor;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::process::signal;

impl Monitor {
    /// Answers `stop` when the container has ended.
    pub(in crate::pod::monitor) fn stop_for(&mut self, id: &str, grace: u64, waiter: Waiter) {
        let slot = match self.slot_of(id) {
            Ok(slot) => slot,
            Err(error) => return self.answer(waiter, Err(error)),
        };
        let Some(container) = self.container(slot) else { return };
        if !container.is_alive() {
            return self.answer_all(vec![waiter], &Ok(()));
        }
        container.stoppers.push(waiter);
        self.stop_container(slot, Some(Duration::from_millis(grace)));
    }

    /// Sends the stop signal, and has SIGKILL follow after `grace`. A second stop only ever shortens the grace.
    pub(in crate::pod::monitor) fn stop_container(&mut self, slot: u32, grace: Option<Duration>) {
        let Some(container) = self.container(slot) else { return };
        let asked = container.spec.stop_signal;
        if let Some(process) = &container.process {
            let _ = signal::send(&process.child.pidfd, if asked == 0 { signal::TERM } else { asked });
        }
        let Some(grace) = grace else { return };
        if grace.is_zero() {
            return self.kill_container(slot);
        }
        let before = self.deadlines.get(Due::Kill(slot));
        let at = std::time::Instant::now().checked_add(grace);
        if let Some(at) = at.filter(|at| before.is_none_or(|before| *at < before)) {
            self.deadlines.set(Due::Kill(slot), at);
        }
    }

    /// SIGKILL to the whole container, in any state.
    pub(in crate::pod::monitor) fn kill_container(&mut self, slot: u32) {
        self.deadlines.cancel(Due::Kill(slot));
        let Some(container) = self.container(slot) else { return };
        if let Some(cgroup) = &container.cgroup {
            let _ = cgroup.kill();
        }
        if let Some(process) = &container.process {
            let _ = signal::send(&process.child.pidfd, signal::KILL);
        }
    }

    /// Answers `kill`.
    pub(in crate::pod::monitor) fn signal_container(
        &mut self,
        id: &str,
        number: i32,
        all: bool,
    ) -> Result<()> {
        let slot = self.slot_of(id)?;
        let Some(container) = self.container(slot) else { return Ok(()) };
        let Some(process) = &container.process else { return Err(container.not_running()) };
        match (all, number) {
            (false, _) => Ok(signal::send(&process.child.pidfd, number)?),
            (true, signal::KILL) => {
                self.kill_container(slot);
                Ok(())
            }
            (true, _) => Err(Error::new(ErrorKind::Usage, "only SIGKILL can be sent to all of a container")),
        }
    }

    /// Answers `remove` when the container has ended, by SIGKILL if it runs, and is forgotten.
    pub(in crate::pod::monitor) fn remove_for(&mut self, id: &str, waiter: Waiter) {
        let slot = match self.slot_of(id) {
            Ok(slot) => slot,
            Err(error) => return self.answer(waiter, Err(error)),
        };
        let Some(container) = self.container(slot) else { return };
        container.removers.push(waiter);
        if container.is_alive() {
            self.kill_container(slot);
        } else {
            self.forget_container(slot);
        }
    }

    pub(super) fn forget_if_wanted(&mut self, slot: u32) {
        if self.container(slot).is_some_and(|container| !container.removers.is_empty()) {
            self.forget_container(slot);
        }
    }

    /// Forgets an ended container.
    pub(in crate::pod::monitor) fn forget_container(&mut self, slot: u32) {
        let Some(index) = self.containers.iter().position(|container| container.slot == slot) else { return };
        let container = self.containers.remove(index);
        self.publish_removal(&container.spec.id);
        self.answer_all(container.removers, &Ok(()));
    }

    /// Answers `update`.
    pub(in crate::pod::monitor) fn update_container(
        &mut self,
        id: &str,
        resources: &LinuxResources,
    ) -> Result<()> {
        let slot = self.slot_of(id)?;
        let Some(container) = self.container(slot) else { return Ok(()) };
        match &container.cgroup {
            Some(cgroup) => cgroup.complete(resources).and_then(|resources| cgroup.update(&resources)),
            None => Err(container.not_running()),
        }
    }
}
