//! `start` (runtime.md, "Start"): the word for which the init waits.

use std::os::fd::AsFd as _;

use super::hooks::{self, Inside, Kind};
use super::{Container, Status, store};
use crate::cgroup;
use crate::engine::{self, Failure};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{fs, pidfd, proc};

impl Container {
    /// Whether its start runs processes in it beside its program.
    pub fn has_hooks_of_its_own(&self) -> bool {
        // A config that cannot be read is told of by the start.
        self.config().is_ok_and(|spec| !hooks::of(spec, Kind::StartContainer).is_empty())
    }

    /// Starts the program of a created container. Gives the failures of poststart hooks, which do not
    /// undo the start: they are to be said as warnings.
    pub fn start(&self) -> Result<Vec<Error>> {
        let _lock = store::lock(self)?;
        let (record, word) = self.must_wait_for_start()?;
        let spec = self.config()?;
        let Some(process) = spec.process() else {
            return Err(Error::new(
                ErrorKind::Usage,
                "process: config.json has none, there is nothing to start",
            ));
        };
        let program = process.args().iter().flatten().next().cloned().unwrap_or_default();
        let init = self.init(&record)?;
        if !hooks::of(spec, Kind::StartContainer).is_empty() {
            let cgroup = self.cgroup_of(&record)?;
            let mut state = self.state_of(record.clone(), Status::Created);
            state.pid = proc::innermost_pid(state.pid)?;
            let inside = Inside { init: init.as_fd(), cgroup: &cgroup };
            if let Err(error) = hooks::run_inside(spec, Kind::StartContainer, &state, inside) {
                // "Stop the container" (runtime.md, lifecycle 7); what is left is delete's.
                self.kill_processes(&record)?;
                return Err(error);
            }
        }
        fs::write_whole(word.as_fd(), &[1]).map_err(|errno| errno.during("write(start.sock)"))?;
        if !pidfd::wait_readable(word.as_fd(), engine::PATIENCE) {
            let error = Error::new(ErrorKind::Timeout, "the container does not come to its program");
            return Err(cgroup::explain(error, record.init.map_or(0, |init| init.pid)));
        }
        let mut bytes = [0; Failure::SIZE];
        let count = match fs::read(word.as_fd(), &mut bytes) {
            // The init was killed with our byte unread.
            Err(crate::sys::Errno::ECONNRESET) => 0,
            other => other.map_err(|errno| errno.during("read(start.sock)"))?,
        };
        if count != 0 {
            return Err(match Failure::parse(bytes.get(..count).unwrap_or_default()) {
                Some(failure) => failure.render_start(&program),
                None => Error::failed("the container's init said what is no record"),
            });
        }
        let status = if pidfd::wait_readable(init.as_fd(), std::time::Duration::ZERO) {
            Status::Stopped
        } else {
            Status::Running
        };
        let mut state = self.state_of(record.clone(), status);
        // A hook is told the pid and that it runs, even of a program that has ended by now.
        (state.pid, state.status) = (record.init.map_or(0, |init| init.pid), Status::Running);
        Ok(hooks::run_all(spec, Kind::Poststart, &state))
    }
}
