//! A pod's records made and removed.
//!
//! Invariants: a pod that is alive or half done has a folder in the state dir, made first and removed last. Its
//! maker or remover holds that folder's flock, so that recovery tells work in progress from abandoned work.
//! Removal first takes the id from the records by one rename: from then on the pod is gone, and every further
//! step can be repeated.

use std::fs::File;
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::image::ImageStore;
use crate::image::snapshot;
use crate::lock;
use crate::pod::attempt::{draw_id, lease_owner};
use crate::pod::config::SandboxConfig;
use crate::pod::names::{self, Key};
use crate::pod::record::{self, Sandbox};
use crate::pod::sandbox;
use crate::sys;
use crate::sys::file::own;

/// A pod in the making or in removal: no other process touches it while this lives.
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "held for its flock")] File);

/// Draws the id of a new pod, makes its folder in the state dir, and holds it.
pub fn begin(host: &Host) -> Result<(String, Guard)> {
    loop {
        let id = draw_id()?;
        mark(host, &id)?;
        if let Some(guard) = hold(host, &id)? {
            return Ok((id, guard));
        }
    }
}

/// Makes the records of the pod `id`, which the caller holds, and reserves its name. After a failure the caller
/// calls [`remove`], or tries another name.
///
/// # Errors
/// [`crate::ErrorKind::Exists`]: the name is taken.
pub fn fill(host: &Host, id: &str, config: &SandboxConfig) -> Result<Sandbox> {
    make_folder(&host.pod_root(id), || host.make_root())?;
    let sandbox = sandbox::record(host, id, config)?;
    record::write_new(&record::sandbox_path(host, id), &sandbox)?;
    names::reserve(host, &Key::of(&sandbox), id)?;
    Ok(sandbox)
}

/// This boot of the host.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).context(|| path)?.trim().to_owned())
}

/// Takes the pod `id` for work on its records; `None`: another process holds it, or it is gone.
pub fn hold(host: &Host, id: &str) -> Result<Option<Guard>> {
    let path = host.pod_state_dir(id);
    let folder = match File::open(&path) {
        Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
        opened => opened.context(|| format!("open {}", path.display()))?,
    };
    match folder.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
        Err(std::fs::TryLockError::Error(error)) => {
            return Err(Error::from(error).context(format_args!("flock {}", path.display())));
        }
    }
    // The former holder may have removed it.
    let linked = folder.metadata().context(|| format!("stat {}", path.display()))?.nlink() > 0;
    Ok(linked.then_some(Guard(folder)))
}

/// Takes the pod `id` for its removal, after any other holder: a verb that found it without a monitor is
/// quickly done with it.
pub fn hold_for_removal(host: &Host, id: &str, patience: Duration) -> Result<Guard> {
    loop {
        mark(host, id)?;
        let path = host.pod_state_dir(id);
        let folder = match File::open(&path) {
            Err(error) if error.kind() == IoKind::NotFound => continue,
            opened => opened.context(|| format!("open {}", path.display()))?,
        };
        lock::take(&folder, &path, patience)?;
        if folder.metadata().context(|| format!("stat {}", path.display()))?.nlink() > 0 {
            return Ok(Guard(folder));
        }
    }
}

/// Removes all that is left on disk of a pod that has no monitor any more. Can be done again after
/// every failure and at every point where it was cut off.
pub fn remove(host: &Host, id: &str) -> Result<()> {
    mark(host, id)?;
    let pods = host.root.join("pods");
    let (folder, gone) = (pods.join(id), pods.join(removed_name(id)));
    match std::fs::rename(&folder, &gone) {
        Err(error) if error.kind() != IoKind::NotFound => {
            return Err(Error::from(error).context(format_args!("rename {}", folder.display())));
        }
        _ => {}
    }
    let sandbox = record::load::<Sandbox>(&gone.join("sandbox.json"))?.present();
    release_name(host, id, sandbox.as_ref())?;
    let images = ImageStore::open(host)?;
    images.release(id)?;
    for container in folder_names(&gone.join("containers"))? {
        images.release(&lease_owner(id, &container))?;
        snapshot::remove(host, &container)?;
    }
    if let Some(sandbox) = sandbox.filter(|sandbox| sandbox.log_dir_owned) {
        remove_logs(&sandbox)?;
    }
    remove_folders(host, id)
}

/// Makes the folder in the state dir: the sign that something of this pod is alive or under way.
pub(in crate::pod) fn mark(host: &Host, id: &str) -> Result<()> {
    make_folder(&host.pod_state_dir(id), || host.make_state_dir())
}

/// Takes the pod's lock away: it has no monitor any more, and left nothing of itself.
pub(in crate::pod) fn unlock(host: &Host, id: &str) -> Result<()> {
    let path = record::lock_path(host, id);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != IoKind::NotFound => {
            Err(Error::from(error).context(format_args!("unlink {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Removes that folder: nothing of this pod is alive or under way.
pub(in crate::pod) fn unmark(host: &Host, id: &str) -> Result<()> {
    // Remove the lock before the socket beside it: without a lock no client looks for a monitor.
    let _ = unlock(host, id);
    remove_tree(&host.state_dir.join("pods"), id.as_bytes())
}

/// The name of a pod's folder during its removal.
fn removed_name(id: &str) -> String {
    format!(".{id}")
}

/// Whether nothing is left of the pod `id`.
pub(in crate::pod) fn is_removed(host: &Host, id: &str) -> Result<bool> {
    Ok(!is_there(&host.pod_root(id))? && !is_being_removed(host, id)? && !is_there(&host.pod_state_dir(id))?)
}

/// Whether a file exists at `path`; a failed check is an error, not an absence.
pub(in crate::pod) fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().context(|| path.display().to_string())
}

/// Whether the pod's folder was taken away, and its remains still exist.
pub(super) fn is_being_removed(host: &Host, id: &str) -> Result<bool> {
    is_there(&host.root.join("pods").join(removed_name(id)))
}

fn release_name(host: &Host, id: &str, sandbox: Option<&Sandbox>) -> Result<()> {
    match sandbox {
        Some(sandbox) => names::release(host, &Key::of(sandbox), id),
        None => names::release_all(host, id),
    }
}

fn remove_logs(sandbox: &Sandbox) -> Result<()> {
    let (Some(parent), Some(name)) = (sandbox.log_dir.parent(), sandbox.log_dir.file_name()) else {
        return Ok(());
    };
    remove_tree(parent, name.as_encoded_bytes())
}

/// Removes the pod's folders, the one in the state dir last.
fn remove_folders(host: &Host, id: &str) -> Result<()> {
    let pods = host.root.join("pods");
    remove_tree(&pods, removed_name(id).as_bytes())?;
    remove_tree(&pods, id.as_bytes())?;
    unmark(host, id)
}

fn remove_tree(parent: &Path, name: &[u8]) -> Result<()> {
    let folder = match sys::file::dir::open(parent) {
        Err(error) if error.is_not_found() => return Ok(()),
        opened => opened?,
    };
    sys::file::dir::remove_tree(&folder, name)
        .map_err(Error::from)
        .context(|| format!("remove in {}", parent.display()))
}

/// The names in a folder; none where there is no folder.
pub(crate) fn folder_names(folder: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(std::io::Result::transpose).collect()
    };
    read().context(|| format!("read {}", folder.display()))
}

/// Makes a pod's folder, private to root, and its missing parents: the top of its tree by `make_top`.
fn make_folder(path: &Path, make_top: impl FnOnce() -> Result<()>) -> Result<()> {
    let made = match own::directory(path, own::PRIVATE) {
        Err(error) if error.kind() == IoKind::NotFound => {
            make_top()?;
            own::directories(path, own::PRIVATE)
        }
        made => made,
    };
    made.context(|| format!("mkdir {}", path.display()))
}
