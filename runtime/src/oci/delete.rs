//! `delete` (runtime.md, "Delete"): removes exactly the parts that create made.
//!
//! Invariant: each step handles the remains of an earlier, interrupted delete; the directory, which reserves
//! the id, goes last.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use super::hooks::{self, Kind};
use super::record::{Record, RootMount};
use super::{Container, Status, Store, resctrl, store};
use crate::cgroup::{Cgroup, Scope};
use crate::engine::ProcessId;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::file::mount;
use crate::sys::{self, Errno};

/// One container among successive ones of the same id: each has another first process.
#[derive(Debug, Clone, Copy)]
pub struct Made(Option<ProcessId>);

impl Container {
    /// Deletes a stopped container; with `force` one that lives is killed first. Gives the failures of
    /// poststop hooks, which are to be said as warnings.
    pub fn delete(&self, force: bool) -> Result<Vec<Error>> {
        let _lock = store::lock(self)?;
        let record = store::read(self)?;
        // The lock is held here: a half-made container is no work in progress.
        let complete = record.as_ref().is_some_and(|record| record.complete);
        let status = if complete && !force { self.status()? } else { Status::Stopped };
        if status != Status::Stopped {
            return Err(self.cannot_be("deleted", status).hint("end it first, or delete it with --force"));
        }
        self.destroy(record)
    }

    /// Which of the containers that have had its id this is.
    pub fn made(&self) -> Result<Made> {
        Ok(Made(self.record()?.init))
    }

    /// Ends and deletes it, where it is still the one that was made: another client may have deleted that, and made its own.
    pub fn delete_made(&self, made: Made) -> Result<Vec<Error>> {
        let _lock = match store::lock(self) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            lock => lock?,
        };
        match store::read(self)?.filter(|record| record.init == made.0) {
            Some(record) => self.destroy(Some(record)),
            None => Ok(Vec::new()),
        }
    }

    /// Steps 12 and 13 of the lifecycle (runtime.md): removes the parts that create made, processes first, and
    /// runs the poststop hooks, whose failures are to be reported as warnings. For the holder of its lock.
    pub(super) fn destroy(&self, record: Option<Record>) -> Result<Vec<Error>> {
        // Before its directory goes.
        let spec = self.config().ok();
        self.take_away(record.as_ref())?;
        let (Some(spec), Some(record)) = (spec, record) else { return Ok(Vec::new()) };
        let state = self.state_of(record, Status::Stopped);
        Ok(hooks::run_all(spec, Kind::Poststop, &state))
    }

    /// Ends its processes, and removes the parts that create made.
    fn take_away(&self, record: Option<&Record>) -> Result<()> {
        if let Some(record) = record {
            self.kill_processes(record)?;
            self.await_end(record)?;
            detach_root(record)?;
            remove_cgroup(self, &self.cgroup_of(record)?, record)?;
            remove_groups(self, record)?;
        }
        self.remove_directory()
    }

    fn remove_directory(&self) -> Result<()> {
        let directory = self.directory();
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.context(|| format!("rmdir({directory:?})")),
        }
    }
}

impl Store {
    /// Deletes `id`; with `force` it is no error when there is none.
    pub fn delete(&self, id: &super::ContainerId, force: bool) -> Result<Vec<Error>> {
        match self.get(id).and_then(|container| container.delete(force)) {
            Err(error) if force && error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }
}

/// Takes away the root of a container that was in the host's mount namespace, with all that was mounted in it, if it is
/// still there.
fn detach_root(record: &Record) -> Result<()> {
    let Some(RootMount { number, over }) = record.root_mount else { return Ok(()) };
    match mount_at(&record.rootfs)? {
        Some((root, found)) if found == number => {
            mount::detach_from_here(root.as_fd())
                .map_err(|errno| errno.during(named("umount2", &record.rootfs)))?;
        }
        Some((_, found)) if found != over => {
            return Err(Error::failed(format!(
                "{:?}: another mount covers the container's root",
                record.rootfs
            ))
            .hint("unmount what is not the container's, and delete it again"));
        }
        _ => {}
    }
    Ok(())
}

/// The file at `path`, and the number of its mount, if there is one.
pub(super) fn mount_at(path: &Path) -> Result<Option<(OwnedFd, u64)>> {
    let found = match sys::file::dir::open(path) {
        Err(error) if error.errno == Errno::ENOENT.0 => return Ok(None),
        found => found?,
    };
    let number = mount::number(found.as_fd()).map_err(|errno| errno.during(named("statx", path)))?;
    Ok(Some((found, number)))
}

fn named(call: &str, path: &Path) -> String {
    format!("{call}({path:?})")
}

/// Removes the cgroup, and its parents that create made, unless other processes are in them: "resources
/// associated with the container, but not created by this container, MUST NOT be deleted" (runtime.md,
/// "Delete").
pub(super) fn remove_cgroup(container: &Container, cgroup: &Cgroup, record: &Record) -> Result<()> {
    let (Some(top), Some(path)) = (&record.made_cgroup, &record.cgroup) else { return Ok(()) };
    if let Some(unit) = &record.unit {
        // systemd has seen by itself that it is empty, or is about to. Parts that it does not know of are
        // removed below.
        Scope::of_unit(unit).stop()?;
    }
    cgroup.remove()?;
    let mut path = path.as_str();
    // podrun's own parent goes with the last one, whoever made it.
    while let Some((above, _)) = path.rsplit_once('/').filter(|(above, _)| !above.is_empty()) {
        if !(above.starts_with(top.as_str()) || above == "/podrun" || above.starts_with("/podrun/")) {
            break;
        }
        Cgroup::open(container.layout()?, above)?.remove_if_empty();
        path = above;
    }
    Ok(())
}

fn remove_groups(container: &Container, record: &Record) -> Result<()> {
    let group = record.resctrl.as_ref();
    group.map_or(Ok(()), |group| resctrl::remove(group, container.id(), record.complete))
}

/// Undoes a create that failed; the caller holds its lock. The next delete finds the rest. Returns the failures
/// of poststop hooks.
pub(super) fn undo(container: &Container) -> Vec<Error> {
    let record = store::read(container).ok().flatten();
    match record {
        // "Continue the lifecycle at step 12" (runtime.md): the container is destroyed, and its poststop hooks run.
        Some(Record { init: Some(_), .. }) => container.destroy(record).unwrap_or_default(),
        _ => {
            let _ = container.take_away(record.as_ref());
            Vec::new()
        }
    }
}
