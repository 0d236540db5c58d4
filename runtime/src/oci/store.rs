//! The containers of one `--root`: found, listed, and their directories made and locked.
//!
//! Invariant: a verb that makes, starts or deletes a container holds its lock from before the first change
//! until after the last one; readers take none, since records are replaced by rename.

use std::fs::File;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{Record, VERSION};
use super::{Container, ContainerId};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::lock;
use crate::sys::file::own;

/// More than a record or a config takes.
pub(super) const RECORD_MAX: u64 = 16 << 20;

/// The containers below one directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A container's lock; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its flock")] File);

impl Store {
    /// The store at `root`, which need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(super) fn directory(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// The container `id`.
    pub fn get(&self, id: &ContainerId) -> Result<Container> {
        let container = Container::new(id.clone(), self.directory(id));
        if container.directory().is_dir() { Ok(container) } else { Err(gone(&container)) }
    }

    /// Every container there is, half-made ones too, by id.
    pub fn list(&self) -> Result<Vec<Container>> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == Io::NotFound => return Ok(Vec::new()),
            other => other.context(|| self.root.display().to_string())?,
        };
        let mut containers = Vec::new();
        for entry in entries {
            let entry = entry.context(|| self.root.display().to_string())?;
            let id = entry.file_name().to_str().and_then(|name| name.parse::<ContainerId>().ok());
            if let Some(id) = id.filter(|_| entry.path().is_dir()) {
                containers.push(Container::new(id, entry.path()));
            }
        }
        containers.sort_by(|one, other| one.id().cmp(other.id()));
        Ok(containers)
    }

    /// Makes the directory of a new container and locks it.
    pub(super) fn reserve(&self, id: &ContainerId) -> Result<(Container, Lock)> {
        let root = self.root.display();
        own::top(&self.root, own::PASSAGE).context(|| root.to_string())?;
        let directory = self.directory(id);
        match own::new_directory(&directory, own::PRIVATE) {
            Ok(()) => {}
            Err(error) if error.kind() == Io::AlreadyExists => {
                return Err(Error::new(ErrorKind::Exists, format!("container `{id}` exists already"))
                    .hint("delete it, or use another id"));
            }
            Err(error) => return Err(Error::from(error).context(format!("mkdir({directory:?})"))),
        }
        let container = Container::new(id.clone(), directory);
        let lock = lock(&container)?;
        Ok((container, lock))
    }
}

/// How long a verb waits for another verb on the same container: for one that ends soon by itself, unlike a
/// `run`.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes a container's lock, or says that another command has it.
pub(super) fn lock(container: &Container) -> Result<Lock> {
    let path = container.file("lock");
    let file = match own::lock_file(&path) {
        Err(error) if error.kind() == Io::NotFound => return Err(gone(container)),
        other => other.context(|| path.display().to_string())?,
    };
    lock::take(&file, &path, PATIENCE).map_err(|error| match error.kind() {
        ErrorKind::Timeout => {
            Error::failed(format!("container `{}` is in use by another command", container.id()))
                .hint("it is being created, started or deleted: wait for that to end")
        }
        _ => error,
    })?;
    // The former holder may have deleted the container.
    if path.exists() { Ok(Lock(file)) } else { Err(gone(container)) }
}

/// Whether a command holds the container's lock.
pub(super) fn is_locked(container: &Container) -> Result<bool> {
    let path = container.file("lock");
    let locked = match File::open(&path).map(|file| file.try_lock_shared()) {
        Ok(Ok(())) => Ok(false),
        Ok(Err(std::fs::TryLockError::WouldBlock)) => Ok(true),
        Err(error) if error.kind() == Io::NotFound => Ok(false),
        Err(error) | Ok(Err(std::fs::TryLockError::Error(error))) => Err(error),
    };
    locked.context(|| format!("lock {}", path.display()))
}

fn gone(container: &Container) -> Error {
    Error::new(ErrorKind::NotFound, format!("container `{}` does not exist", container.id()))
}

/// Replaces the container's record.
pub(super) fn write(container: &Container, record: &Record) -> Result<()> {
    let text = serde_json::to_string(record).map_err(|error| Error::failed(error.to_string()))?;
    replace(&container.file("state.json"), text.as_bytes())
}

/// Replaces `path` by a file that root alone reads.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    own::replace(path, bytes, own::SECRET).context(|| format!("write({path:?})"))
}

/// Replaces `path` by a file for the caller: it is not among podrun's own, and everyone may read it.
pub(super) fn replace_callers(path: &Path, bytes: &[u8]) -> Result<()> {
    own::replace(path, bytes, 0o644).context(|| format!("write({path:?})"))
}

/// The container's record; `None` when creating it has not come so far.
pub(super) fn read(container: &Container) -> Result<Option<Record>> {
    let path = container.file("state.json");
    let text = match own::read(&path, RECORD_MAX) {
        Err(error) if error.kind() == Io::NotFound => return Ok(None),
        other => other.context(|| path.display().to_string())?,
    };
    let record: Record = serde_json::from_slice(&text)
        .map_err(|error| Error::failed(format!("{}: {error}", path.display())))?;
    match record.version {
        VERSION => Ok(Some(record)),
        other => Err(Error::failed(format!("{}: version {other} is not this podrun's", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_given_once_and_a_lock_to_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("oci"));
        let id: ContainerId = "web".parse().unwrap();
        let (container, held) = store.reserve(&id).unwrap();
        assert_eq!(store.reserve(&id).unwrap_err().kind(), ErrorKind::Exists);
        assert!(is_locked(&container).unwrap() && lock(&container).is_err());
        drop(held);
        assert!(!is_locked(&container).unwrap());
        lock(&container).unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        assert_eq!(read(&container).unwrap(), None);
    }
}
