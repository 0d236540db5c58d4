//! The names of pods: each is a link to the pod's id, and whoever makes the link has the name.
//!
//! ```text
//! <root>/names/<namespace>/<name> -> <id>
//! ```
//!
//! Invariants: a link is made by one symlink(2), which fails if the name is taken, so two creators
//! never both have it and no lock is held. A link is only made once the pod's folder exists and is
//! removed after the folder has lost its id, so a link without a folder is a pod whose records a
//! power cut took, and its name stays reserved until it is deleted. A namespace is a folder of its
//! own because a namespace and a name together (63 + 253) are longer than a file name may be.

use std::io::ErrorKind as IoKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::pod::store;
use crate::sys::file::own;

/// Reserves `name` in `namespace` for the pod `id`; [`ErrorKind::Exists`] when it is taken.
pub fn reserve(host: &Host, namespace: &str, name: &str, id: &str) -> Result<()> {
    let path = link(host, namespace, name)
        .ok_or_else(|| Error::new(ErrorKind::Usage, format!("{namespace}/{name} is no name of a pod")))?;
    let made = match symlink(id, &path) {
        Err(error) if error.kind() == IoKind::NotFound => {
            make_folder(path.parent().expect("a link lies in its namespace's folder"))?;
            symlink(id, &path)
        }
        made => made,
    };
    match made {
        Err(error) if error.kind() == IoKind::AlreadyExists => {
            Err(Error::new(ErrorKind::Exists, format!("pods {name:?} already exists")))
        }
        made => made.context(|| format!("reserve the name {name:?}")),
    }
}

/// Gives a name back, if it is still the pod `id`'s; no error when it is not.
pub fn release(host: &Host, namespace: &str, name: &str, id: &str) -> Result<()> {
    let Some(path) = link(host, namespace, name) else { return Ok(()) };
    if holder(&path)?.as_deref() != Some(id) {
        return Ok(());
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != IoKind::NotFound => {
            Err(Error::from(error).context(format_args!("release the name {name:?}")))
        }
        _ => Ok(()),
    }
}

/// The id of the pod that has the name.
pub fn lookup(host: &Host, namespace: &str, name: &str) -> Result<Option<String>> {
    link(host, namespace, name).map_or(Ok(None), |path| holder(&path))
}

/// Every reserved name: namespace, name and the pod's id, sorted.
pub fn all(host: &Host) -> Result<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for namespace in store::folder_names(&host.names())? {
        let folder = host.names().join(&namespace);
        for name in store::folder_names(&folder)? {
            if let Some(id) = holder(&folder.join(&name))? {
                found.push((namespace.clone(), name, id));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The namespace and the name of the pod `id`, as far as it has one.
pub(super) fn of(host: &Host, id: &str) -> Result<Option<(String, String)>> {
    let named = all(host)?.into_iter().find(|(_, _, holder)| holder == id);
    Ok(named.map(|(namespace, name, _)| (namespace, name)))
}

/// Where the link of a name lies; `None` for what can be no name at all.
fn link(host: &Host, namespace: &str, name: &str) -> Option<PathBuf> {
    let sound = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\0']);
    (sound(namespace) && sound(name)).then(|| host.names().join(namespace).join(name))
}

/// What the link at `path` names; `None` where there is none, or something else.
fn holder(path: &Path) -> Result<Option<String>> {
    use IoKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    match std::fs::read_link(path) {
        Ok(id) => Ok(id.into_os_string().into_string().ok()),
        Err(error) if matches!(error.kind(), InvalidFilename | InvalidInput | NotADirectory | NotFound) => {
            Ok(None)
        }
        Err(error) => Err(Error::from(error).context(format_args!("readlink {}", path.display()))),
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    own::directories(folder, own::LISTED).context(|| format!("mkdir {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().to_owned(), ..Host::default() };
        (dir, host)
    }

    #[test]
    fn a_name_has_one_holder_at_a_time() {
        let (_dir, host) = host();
        reserve(&host, "default", "web", "1111").unwrap();
        let taken = reserve(&host, "default", "web", "2222").unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Exists);
        reserve(&host, "other", "web", "2222").unwrap();
        assert_eq!(lookup(&host, "default", "web").unwrap().as_deref(), Some("1111"));
        release(&host, "default", "web", "2222").unwrap();
        assert_eq!(lookup(&host, "default", "web").unwrap().as_deref(), Some("1111"), "not the holder");
        release(&host, "default", "web", "1111").unwrap();
        release(&host, "default", "web", "1111").unwrap();
        assert_eq!(all(&host).unwrap(), [("other".into(), "web".into(), "2222".into())]);
    }

    #[test]
    fn the_longest_name_fits() {
        let (_dir, host) = host();
        reserve(&host, &"n".repeat(63), &"p".repeat(253), "1").unwrap();
    }

    #[test]
    fn what_is_no_name_reaches_no_file() {
        let (_dir, host) = host();
        for name in ["", ".", "..", "../x", "a/b"] {
            assert!(reserve(&host, "default", name, "1").is_err(), "{name:?}");
            assert_eq!(lookup(&host, "default", name).unwrap(), None, "{name:?}");
        }
    }
}
