//! A cgroup's life and end: its processes, freeze, kill, count, remove.
//!
//! Invariant: each act is idempotent, and none moves a process elsewhere. Removal waits for the kernel's notice
//! that the last process has left, never for a fixed time.

use std::collections::BTreeSet;
use std::io::{ErrorKind as Io, Read as _, Seek as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::layout::Controller;
use super::{Cgroup, unended, write_file};
use crate::error::{Context as _, Error, Result};
use crate::sys;

/// How long a removal waits for processes that are dying. Dead ones leave within a millisecond.
const DEADLINE: Duration = Duration::from_secs(2);

impl Cgroup {
    /// Sends SIGKILL to everything inside, below included; no error when it is gone.
    pub fn kill(&self) -> Result<()> {
        if let Some(unified) = &self.unified {
            match write_if_there(&unified.join("cgroup.kill"), "1") {
                // A task that the v1 freezer holds ends when that lets it go.
                Ok(true) => return self.set_frozen_v1("THAWED"),
                // Before 5.14 there is no such file.
                Ok(false) => {}
                Err(error) => return Err(error.context(format!("cgroup {}", self.path))),
            }
        }
        self.kill_each()
    }

    /// Kills without `cgroup.kill`, for a cgroup that gets further processes: a kernel that counts the kills of
    /// a cgroup (Linux 6.14, and those with the backport) kills every later child that clone3 makes in it from
    /// outside.
    pub fn kill_each(&self) -> Result<()> {
        // A task that the v1 freezer holds ignores SIGKILL until it is let go.
        self.thaw()?;
        let deadline = Instant::now() + sys::process::pidfd::KILLED_WITHIN;
        let left = || deadline.saturating_duration_since(Instant::now());
        while !left().is_zero() {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            let mut killed = Vec::new();
            for process in pids.into_iter().filter_map(|pid| sys::process::pidfd::pidfd_open(pid).ok()) {
                // It may be dead already, as wanted.
                let _ = sys::process::pidfd::pidfd_send_signal(process.as_fd(), sys::process::pidfd::SIGKILL);
                killed.push(process);
            }
            // Most are dead by now; one may have been born meanwhile.
            for process in &killed {
                sys::io::poll::wait_readable(process.as_fd(), left());
            }
        }
        Err(self.unended(None).context(format!("cgroup {}", self.path)))
    }

    /// Stops everything inside.
    pub fn freeze(&self) -> Result<()> {
        match &self.unified {
            Some(directory) => self.freezer(&directory.join("cgroup.freeze"), "1"),
            None => self.set_frozen_v1("FROZEN"),
        }
    }

    /// Stops everything inside, and waits a bounded time until the kernel says that it stands.
    pub fn freeze_and_wait(&self) -> Result<()> {
        self.freeze()?;
        let deadline = Instant::now() + DEADLINE;
        let events =
            self.unified.as_ref().and_then(|unified| std::fs::File::open(unified.join("cgroup.events")).ok());
        while !self.is_frozen() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // A process in an uninterruptible call cannot be stopped: better all of it runs than a part.
                self.thaw()?;
                return Err(Error::failed(format!("cgroup {}: its processes do not freeze", self.path)));
            }
            match &events {
                Some(events) => sys::io::poll::wait_exceptional(events.as_fd(), left),
                // v1 says so at the next look; there is nothing to wait on.
                None => false,
            };
        }
        Ok(())
    }

    /// Whether everything inside stands still, by its own cgroup or one above, in whichever hierarchy.
    pub fn is_frozen(&self) -> bool {
        let by_unified = self.unified.as_ref().is_some_and(|directory| {
            let text = std::fs::read_to_string(directory.join("cgroup.events")).unwrap_or_default();
            field(&text, "frozen") == Some(1)
        });
        let state = |directory: &PathBuf| is_said(&directory.join("freezer.state"), "FROZEN");
        by_unified || self.directory(Controller::Freezer).is_some_and(state)
    }

    /// Undoes [`Cgroup::freeze`], and a freeze of the v1 freezer by another program.
    pub fn thaw(&self) -> Result<()> {
        if let Some(directory) = &self.unified {
            self.freezer(&directory.join("cgroup.freeze"), "0")?;
        }
        self.set_frozen_v1("THAWED")
    }

    fn set_frozen_v1(&self, word: &str) -> Result<()> {
        let directory = self.directory(Controller::Freezer);
        directory.map_or(Ok(()), |directory| self.freezer(&directory.join("freezer.state"), word))
    }

    fn freezer(&self, file: &Path, word: &str) -> Result<()> {
        write_if_there(file, word).map(drop).map_err(|error| error.context(format!("cgroup {}", self.path)))
    }

    /// Whether it is there, in any hierarchy.
    pub fn exists(&self) -> bool {
        self.directories().any(|directory| directory.is_dir())
    }

    /// How many processes of this very cgroup the kernel killed for want of memory; 0 when it is gone.
    pub fn oom_kills(&self) -> u64 {
        let file = match (self.directory(Controller::Memory), &self.unified) {
            (Some(directory), _) => directory.join("memory.oom_control"),
            (None, Some(directory)) => directory.join("memory.events.local"),
            (None, None) => return 0,
        };
        let text = std::fs::read_to_string(file).unwrap_or_default();
        field(&text, "oom_kill").unwrap_or(0)
    }

    /// Becomes ready when the kernel kills for want of memory, or may have; absent where that is not counted.
    pub fn oom_notices(&self) -> Result<Option<OomNotices>> {
        let (file, control) = match (self.directory(Controller::Memory), &self.unified) {
            (Some(directory), _) => {
                (directory.join("memory.oom_control"), Some(directory.join("cgroup.event_control")))
            }
            (None, Some(directory)) => (directory.join("memory.events"), None),
            (None, None) => return Ok(None),
        };
        let file = match std::fs::File::open(&file) {
            Err(error) if is_gone(&error) => return Ok(None),
            other => other.context(|| format!("open({file:?})"))?,
        };
        let Some(control) = control else { return Ok(Some(OomNotices { file, counter: None })) };
        let counter = sys::io::poll::counter()?;
        write_file(&control, &format!("{} {}", counter.as_raw_fd(), file.as_raw_fd()))?;
        Ok(Some(OomNotices { file, counter: Some(counter.into()) }))
    }

    /// The names of the cgroups right below it, in whichever hierarchy.
    pub fn children(&self) -> BTreeSet<String> {
        let below = self.directories().flat_map(|directory| subdirectories(directory));
        below.filter_map(|child| Some(child.file_name()?.to_str()?.to_owned())).collect()
    }

    /// The processes inside, below included, in the caller's pid namespace.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let joined = self.v1.iter().find(|place| place.joined).map(|place| &place.directory);
        let mut pids = Vec::new();
        if let Some(directory) = self.unified.as_ref().or(joined) {
            collect_pids(directory, &mut pids).context(|| format!("cgroup {}", self.path))?;
        }
        Ok(pids)
    }

    /// The processes of this cgroup itself, in any hierarchy; 0 stands for those without a pid in the caller's
    /// pid namespace.
    pub fn own_processes(&self) -> Result<BTreeSet<i32>> {
        let mut found = BTreeSet::new();
        for directory in self.directories() {
            match std::fs::read_to_string(directory.join("cgroup.procs")) {
                Ok(text) => found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error).context(|| format!("cgroup {}", self.path)),
            }
        }
        Ok(found)
    }

    /// Removes it and all below, in every hierarchy; no error when it is gone. Its processes must
    /// be dead or dying: it waits a bounded time for the last one to leave.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        // The unified one first: it alone says when the last process has left all of them.
        let mut failed = None;
        for directory in self.directories() {
            if let Err(error) = remove_tree(directory, deadline) {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), |error| Err(error.context(format!("cgroup {}", self.path))))
    }

    /// Moves the calling process, which has one thread, into the hierarchies' roots: the last act of a
    /// supervisor, after which its cgroup can be removed. The move waits for a grace period; no other process
    /// waits for it.
    pub fn leave(&self) -> Result<()> {
        for place in self.v1.iter().filter(|place| place.joined) {
            write_file(&place.mount.join("tasks"), "0")?;
        }
        let root =
            |unified: &PathBuf| unified.ancestors().nth(self.path.matches('/').count()).map(Path::to_owned);
        match self.unified.as_ref().and_then(root) {
            Some(root) => write_file(&root.join("cgroup.procs"), "0"),
            None => Ok(()),
        }
    }

    /// Removes it if it has neither processes nor children; for a parent that the last pod leaves.
    pub fn remove_if_empty(&self) {
        for directory in self.directories() {
            // In use by another pod, or gone: both are fine.
            let _ = std::fs::remove_dir(directory);
        }
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.unified.iter().chain(self.v1.iter().map(|place| &place.directory))
    }
}

/// The kernel's notices of [`Cgroup::oom_notices`].
#[derive(Debug)]
pub struct OomNotices {
    file: std::fs::File,
    /// v1 counts its notices there.
    counter: Option<std::fs::File>,
}

impl OomNotices {
    /// The descriptor to wait for, and the events.
    pub fn awaited(&self) -> (BorrowedFd<'_>, sys::io::poll::Interest) {
        match &self.counter {
            Some(counter) => (counter.as_fd(), sys::io::poll::Interest::Read),
            None => (self.file.as_fd(), sys::io::poll::Interest::Change),
        }
    }

    /// Consumes the pending notice, so that the next wait is for the next one.
    pub fn take(&mut self) -> Result<()> {
        let mut taken = [0; 1024];
        let read = match &mut self.counter {
            Some(counter) => counter.read(&mut taken),
            None => self.file.rewind().and_then(|()| self.file.read(&mut taken)),
        };
        match read {
            Err(error) if is_gone(&error) || error.kind() == Io::WouldBlock => Ok(()),
            other => other.map(drop).context(|| "read(a cgroup's notices)"),
        }
    }
}

/// Writes into a file of a cgroup that may be gone: whether it was there.
fn write_if_there(file: &Path, value: &str) -> Result<bool> {
    match file.try_exists() {
        Ok(true) => {}
        _ => return Ok(false),
    }
    match write_file(file, value) {
        Err(_) if !file.exists() => Ok(false),
        other => other.map(|()| true),
    }
}

/// Whether a file has `word` and nothing else.
pub(super) fn is_said(file: &Path, word: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.trim() == word)
}

/// The number after `name` in a file of `name number` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

fn collect_pids(directory: &Path, pids: &mut Vec<i32>) -> Result<()> {
    let text = match std::fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // 0 stands for a process that the reader's pid namespace cannot name.
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid != 0));
    for below in subdirectories(directory) {
        collect_pids(&below, pids)?;
    }
    Ok(())
}

/// ENOENT before, ENODEV while a cgroup is being removed.
fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == Io::NotFound || error.raw_os_error() == Some(sys::Errno::ENODEV.0)
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(directory: &Path, deadline: Instant) -> Result<()> {
    loop {
        let error = match std::fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == Io::NotFound => return Ok(()),
            Err(error) => error,
        };
        if error.raw_os_error() != Some(sys::Errno::EBUSY.0) {
            return Err(Error::from(error).context(format!("rmdir({directory:?})")));
        }
        let below = subdirectories(directory);
        let leaf = below.is_empty();
        for directory in below {
            remove_tree(&directory, deadline)?;
        }
        if leaf && !wait_until_left(directory, deadline) {
            let mut inside = Vec::new();
            let known = collect_pids(directory, &mut inside).ok().and(inside.first());
            let error = known.map_or_else(|| Error::from(error), |pid| unended(*pid));
            return Err(error.context(format!("rmdir({directory:?})")));
        }
    }
}

/// Waits until the cgroup has no process; false at the deadline.
fn wait_until_left(directory: &Path, deadline: Instant) -> bool {
    let left = || deadline.saturating_duration_since(Instant::now());
    let Ok(mut events) = std::fs::File::open(directory.join("cgroup.events")) else {
        // v1 has no events: the processes themselves tell.
        let mut pids = Vec::new();
        if collect_pids(directory, &mut pids).is_err() {
            return true;
        }
        for pidfd in pids.into_iter().filter_map(|pid| sys::process::pidfd::pidfd_open(pid).ok()) {
            sys::io::poll::wait_readable(pidfd.as_fd(), left());
        }
        return !left().is_zero();
    };
    let mut waited = false;
    loop {
        let mut text = String::new();
        if events.rewind().is_err() || events.read_to_string(&mut text).is_err() {
            return true; // the cgroup is gone
        }
        if field(&text, "populated") == Some(0) {
            if !waited {
                // From 6.19 on rmdir may say EBUSY a moment longer than this file does.
                sys::io::poll::wait_exceptional(events.as_fd(), left().min(Duration::from_millis(1)));
            }
            return !left().is_zero();
        }
        if left().is_zero() {
            return false;
        }
        waited = sys::io::poll::wait_exceptional(events.as_fd(), left());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill"), Some(3));
        assert_eq!(field("low 0\noom 1\noom_kill 2\noom_group_kill 9\n", "oom_kill"), Some(2));
        assert_eq!(field("populated 0\n", "frozen"), None);
    }
}
