//! The wait for a container's host paths: between the rules' wish to start an attempt and the making of it.
//!
//! Invariants: nothing of the attempt is made before its host paths are open, so that a failure leaves nothing.
//! The rules have at most one start unanswered, so at most one child is out. A killed child that hangs in its
//! file system, beyond SIGKILL, is left to the kernel: its container sends out no other until it has ended, and
//! the monitor waits for it after all else is taken down.

use super::deadlines::Due;
use super::{Monitor, Token};
use crate::error::{Error, Result};
use crate::pod::config::ContainerConfig;
use crate::pod::volume::{HostPath, Opening, PATIENCE};
use crate::sys::io::epoll::Interest;
use crate::sys::process::errand::CalledOff;

/// The child that is out, and killed ones that may not have ended.
#[derive(Debug, Default)]
pub(super) struct HostPaths {
    waiting: Option<Waiting>,
    killed: Vec<Killed>,
}

/// An attempt that waits.
#[derive(Debug)]
struct Waiting {
    config: ContainerConfig,
    opening: Opening,
}

/// A child that was killed.
#[derive(Debug)]
struct Killed {
    container: String,
    child: CalledOff,
    hung_on: String,
}

impl HostPaths {
    /// Fails while a child of this container hangs.
    fn check_free(&mut self, container: &str) -> Result<()> {
        self.killed.retain(|killed| !killed.child.has_ended());
        match self.killed.iter().find(|killed| killed.container == container) {
            Some(killed) => Err(Error::failed(format!("{}, and has not since", killed.hung_on))),
            None => Ok(()),
        }
    }

    /// Waits for the last child, however long the kernel keeps it.
    pub(super) fn await_ends(&mut self) {
        self.killed.drain(..).for_each(|killed| killed.child.await_end());
    }
}

impl Monitor {
    /// Begins to open the attempt's mounts of the host. Returns at once if there are none.
    pub(super) fn open_host_paths(&mut self, config: ContainerConfig) -> Result<Option<ContainerConfig>> {
        let Some(sandbox) = &self.sandbox else { return Ok(Some(config)) };
        let host_paths = HostPath::of_container(&config.mounts);
        if host_paths.is_empty() {
            return Ok(Some(config));
        }
        self.host_paths.check_free(&config.name)?;
        let opening = Opening::begin(&host_paths, sandbox.home())?;
        self.epoll.add(&opening, Token::HostPaths.pack(), Interest::Read)?;
        self.deadlines.set_after(Due::HostPaths, PATIENCE);
        self.host_paths.waiting = Some(Waiting { config, opening });
        Ok(None)
    }

    /// The child has answered something.
    pub(super) fn host_paths_ready(&mut self) {
        let Some(waiting) = &mut self.host_paths.waiting else { return };
        let opened = match waiting.opening.is_answered() {
            Ok(false) => return,
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        let Some(Waiting { config, opening }) = self.end_wait() else { return };
        match opened.and_then(|()| opening.outcome()) {
            Ok(sources) => self.make_attempt(&config, sources),
            Err(error) => self.fact_unmade(&config.name, config.attempt, &error),
        }
    }

    /// The file systems did not answer in time.
    pub(super) fn host_paths_overdue(&mut self) {
        self.call_off_host_paths(None);
    }

    /// Gives up the wait, if there is one, because of `error`: else because there is no answer.
    pub(super) fn call_off_host_paths(&mut self, error: Option<Error>) {
        let Some(Waiting { config, opening }) = self.end_wait() else { return };
        let (child, silence) = opening.call_off();
        self.fact_unmade(&config.name, config.attempt, error.as_ref().unwrap_or(&silence));
        self.host_paths.killed.push(Killed {
            container: config.name,
            child,
            hung_on: silence.message().to_owned(),
        });
    }

    fn end_wait(&mut self) -> Option<Waiting> {
        let waiting = self.host_paths.waiting.take()?;
        self.epoll.remove(&waiting.opening);
        self.deadlines.cancel(Due::HostPaths);
        Some(waiting)
    }
}
