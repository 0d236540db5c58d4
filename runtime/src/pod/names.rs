//! The unique keys of pods within each front: a key is a link to the pod's id, and its maker owns the key.
//!
//! ```text
//! <root>/names/<namespace>/<name> -> <id>      the pod front's
//! <root>/keys/<SHA-256 of the key> -> <id>     a kubelet's: several of one name, of any length
//! ```
//!
//! Invariants: a link is made by one symlink(2), which fails if the name is taken: two creators never both have
//! it, and no lock is held. A link is made after the pod's folder and removed after the folder has lost its id,
//! so a link without a folder is a pod whose records were lost in a power cut; its name stays reserved until it
//! is deleted. A namespace is a folder of its own because a namespace and a name together (63 + 253) exceed the
//! length of a file name.

use std::io::ErrorKind as IoKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::Digest;
use crate::pod::record::{Front, Sandbox};
use crate::pod::store;
use crate::sys::file::own;

/// A key that no two pods of a front share.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// The pod front's.
    Pod {
        /// metadata.namespace.
        namespace: &'a str,
        /// metadata.name.
        name: &'a str,
    },
    /// A kubelet's: while one sandbox of a pod ends, the next attempt is there.
    Cri {
        /// metadata.name.
        name: &'a str,
        /// metadata.namespace.
        namespace: &'a str,
        /// metadata.uid.
        uid: &'a str,
        /// metadata.attempt.
        attempt: u32,
    },
}

impl<'a> Key<'a> {
    /// The key of a sandbox.
    pub fn of(sandbox: &'a Sandbox) -> Self {
        let Sandbox { front, name, namespace, uid, attempt, .. } = sandbox;
        match front {
            Front::Pod => Self::Pod { namespace, name },
            Front::Cri => Self::Cri { name, namespace, uid, attempt: *attempt },
        }
    }

    fn name(&self) -> &'a str {
        match self {
            Self::Pod { name, .. } | Self::Cri { name, .. } => name,
        }
    }

    /// The path of its link; `None` if it cannot be a key at all.
    fn link(&self, host: &Host) -> Option<PathBuf> {
        match self {
            Self::Pod { namespace, name } => link(host, namespace, name),
            Self::Cri { name, namespace, uid, attempt } => {
                // With lengths: no two keys are one text.
                let text = format!(
                    "{}:{name}{}:{namespace}{}:{uid}{attempt}",
                    name.len(),
                    namespace.len(),
                    uid.len()
                );
                Some(host.keys().join(Digest::of(text.as_bytes()).hex()))
            }
        }
    }
}

impl Key<'_> {
    /// The mode of the folder of its link: the pod front's may be listed, for completion.
    fn folder_mode(&self) -> u32 {
        match self {
            Self::Pod { .. } => own::LISTED,
            Self::Cri { .. } => own::PRIVATE,
        }
    }
}

/// Reserves `key` for the pod `id`; [`ErrorKind::Exists`] when it is taken.
pub fn reserve(host: &Host, key: &Key<'_>, id: &str) -> Result<()> {
    let name = key.name();
    let path = key
        .link(host)
        .ok_or_else(|| Error::new(ErrorKind::Usage, format!("{name:?} is no name of a pod")))?;
    let made = match symlink(id, &path) {
        Err(error) if error.kind() == IoKind::NotFound => {
            make_folder(path.parent().expect("a link lies in a folder"), key.folder_mode())?;
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

/// Gives a key back, if it is still the pod `id`'s; no error when it is not.
pub fn release(host: &Host, key: &Key<'_>, id: &str) -> Result<()> {
    key.link(host).map_or(Ok(()), |path| release_link(&path, id))
}

/// Releases all keys of the pod `id`, whose record cannot be read.
pub(super) fn release_all(host: &Host, id: &str) -> Result<()> {
    links(host)?.iter().try_for_each(|path| release_link(path, id))
}

/// Whether the pod `id` has a key.
pub(super) fn has_any(host: &Host, id: &str) -> Result<bool> {
    for path in links(host)? {
        if holder(&path)?.as_deref() == Some(id) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn release_link(path: &Path, id: &str) -> Result<()> {
    if holder(path)?.as_deref() != Some(id) {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != IoKind::NotFound => {
            Err(Error::from(error).context(format_args!("unlink {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Every front's links.
fn links(host: &Host) -> Result<Vec<PathBuf>> {
    let mut folders = vec![host.keys()];
    folders.extend(store::folder_names(&host.names())?.iter().map(|name| host.names().join(name)));
    let mut links = Vec::new();
    for folder in folders {
        links.extend(store::folder_names(&folder)?.iter().map(|name| folder.join(name)));
    }
    Ok(links)
}

/// The id of the pod that has the name.
pub fn lookup(host: &Host, namespace: &str, name: &str) -> Result<Option<String>> {
    link(host, namespace, name).map_or(Ok(None), |path| holder(&path))
}

/// Every name that the pod front has reserved: namespace, name and the pod's id, sorted.
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

/// The path of a name's link; `None` if it cannot be a name at all.
fn link(host: &Host, namespace: &str, name: &str) -> Option<PathBuf> {
    let sound = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\0']);
    (sound(namespace) && sound(name)).then(|| host.names().join(namespace).join(name))
}

/// The id that the link at `path` names; `None` if there is no such link.
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

fn make_folder(folder: &Path, mode: u32) -> Result<()> {
    own::directories(folder, mode).context(|| format!("mkdir {}", folder.display()))
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
        let web = Key::Pod { namespace: "default", name: "web" };
        reserve(&host, &web, "1111").unwrap();
        let taken = reserve(&host, &web, "2222").unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Exists);
        reserve(&host, &Key::Pod { namespace: "other", name: "web" }, "2222").unwrap();
        assert_eq!(lookup(&host, "default", "web").unwrap().as_deref(), Some("1111"));
        release(&host, &web, "2222").unwrap();
        assert_eq!(lookup(&host, "default", "web").unwrap().as_deref(), Some("1111"), "not the holder");
        release(&host, &web, "1111").unwrap();
        release(&host, &web, "1111").unwrap();
        assert_eq!(all(&host).unwrap(), [("other".into(), "web".into(), "2222".into())]);
    }

    #[test]
    fn a_kubelets_sandboxes_of_one_name_are_told_apart() {
        let (_dir, host) = host();
        let key = |uid, attempt| Key::Cri { name: "web", namespace: "default", uid, attempt };
        let long = "u".repeat(4096);
        let keys = [key("u", 0), key("u", 1), key("u1", 0), key("", 0), key(&long, 0), key("../..", 0)];
        for (number, key) in keys.iter().enumerate() {
            reserve(&host, key, &number.to_string()).unwrap();
            assert_eq!(reserve(&host, key, "again").unwrap_err().kind(), ErrorKind::Exists);
        }
        reserve(&host, &Key::Pod { namespace: "default", name: "web" }, "pod").unwrap();
        assert_eq!(all(&host).unwrap().len(), 1, "the pod front sees its own");
        release(&host, &keys[1], "1").unwrap();
        reserve(&host, &keys[1], "1").unwrap();
        release_all(&host, "1").unwrap();
        assert!(!has_any(&host, "1").unwrap() && has_any(&host, "0").unwrap());
    }

    #[test]
    fn the_longest_name_fits() {
        let (_dir, host) = host();
        reserve(&host, &Key::Pod { namespace: &"n".repeat(63), name: &"p".repeat(253) }, "1").unwrap();
    }

    #[test]
    fn what_is_no_name_reaches_no_file() {
        let (_dir, host) = host();
        for name in ["", ".", "..", "../x", "a/b"] {
            assert!(reserve(&host, &Key::Pod { namespace: "default", name }, "1").is_err(), "{name:?}");
            assert_eq!(lookup(&host, "default", name).unwrap(), None, "{name:?}");
        }
    }
}
