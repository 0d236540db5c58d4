//! `start` (runtime.md, "Start"): the word for which the init waits.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;

use super::hooks::{self, Inside, Kind};
use super::record::Record;
use super::{Container, Notify, Status, store};
use crate::cgroup;
use crate::engine::{self, Failure};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::file::fs;
use crate::sys::io::poll;
use crate::sys::process::proc;

impl Container {
    /// Whether its start runs processes in it beside its program.
    pub fn has_hooks_of_its_own(&self) -> bool {
        // A config that cannot be read is told of by the start.
        self.config().is_ok_and(|spec| !hooks::of(spec, Kind::StartContainer).is_empty())
    }

    /// Starts the program of a created container. A hook that fails ends and destroys the container
    /// (runtime.md, "Lifecycle", steps 7 and 9). With `notify`, a service's socket (`NOTIFY_SOCKET`), it
    /// returns the notice to wait for, if the container was made with one.
    pub fn start(&self, notify: Option<&OsStr>) -> Result<Option<Notify>> {
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
            // It is in its own root by now, and they are as its program is to be.
            let env = process.env().as_deref().unwrap_or_default();
            let inside = Inside { init: init.as_fd(), cgroup: &cgroup, folder: process.cwd(), env };
            hooks::run_inside(spec, Kind::StartContainer, &state, inside)
                .or_else(|error| self.undo_start(&record, error))?;
        }
        let pid = record.init.map_or(0, |init| init.pid);
        let notify = notify.map(|host| Notify::listen(self, host, init.as_fd(), pid)).transpose()?.flatten();
        fs::write_whole(word.as_fd(), &[1]).map_err(|errno| errno.during("write(start.sock)"))?;
        if !poll::wait_readable(word.as_fd(), engine::PATIENCE) {
            let error = Error::new(ErrorKind::Timeout, "the container does not come to its program");
            self.undo_start(&record, cgroup::explain(error, pid))?;
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
        // A hook is told the pid and that it runs, even of a program that has ended by now.
        let state = self.state_of(record.clone(), Status::Running);
        hooks::run(spec, Kind::Poststart, &state).or_else(|error| self.undo_start(&record, error))?;
        Ok(notify)
    }

    /// Destroys the container of a start that failed with `error`.
    fn undo_start(&self, record: &Record, error: Error) -> Result<()> {
        Err(match self.destroy(Some(record.clone())) {
            Ok(failed) => error.and(&failed),
            Err(also) => error.and(&[also]),
        })
    }
}
