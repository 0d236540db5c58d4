//! Unpacked layers: one directory for each chain id, with a record that says it is whole.
//!
//! Invariant: `layers/<chain id>` appears by one rename, with its record inside and on the disk; a
//! directory without a record is never mounted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::disk::set_aside;
use crate::image::model::digest::{ChainId, Digest};
use crate::sys;

/// The file beside a layer's tree that says the layer is whole.
const COMMIT: &str = "commit.json";
/// The layer's tree.
pub(in crate::image) const TREE: &str = "tree";
const VERSION: u32 = 1;

/// The facts of an unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::image) struct Commit {
    /// The version of this record's form.
    version: u32,
    /// The digest of the layer's plain tar, checked while unpacking.
    pub(in crate::image) diff_id: Digest,
    /// The bytes in its files.
    pub(in crate::image) bytes: u64,
    /// The inodes it takes.
    pub(in crate::image) inodes: u64,
}

impl Commit {
    pub(in crate::image) fn new(diff_id: Digest, bytes: u64, inodes: u64) -> Self {
        Self { version: VERSION, diff_id, bytes, inodes }
    }
}

fn layers_dir(host: &Host) -> PathBuf {
    host.root.join("layers")
}

/// The directory that overlayfs gets for the layer `chain`.
pub(in crate::image) fn layer_dir(host: &Host, chain: &ChainId) -> PathBuf {
    layers_dir(host).join(chain.directory()).join(TREE)
}

/// The tree inside an open directory in which a layer is being made.
pub(in crate::image) fn open_tree(staged: &OwnedFd) -> sys::Result<OwnedFd> {
    sys::file::dir::open_at(staged, TREE.as_bytes())
}

/// Writes the record into the open directory in which a layer was made. The caller syncs the file system
/// before it calls [`publish`].
pub(in crate::image) fn write_commit(staged: &OwnedFd, commit: &Commit) -> Result<()> {
    let text = serde_json::to_vec(commit).expect("a commit record is plain data");
    let file = sys::file::dir::create_file(staged, COMMIT.as_bytes(), 0o600)?;
    File::from(file).write_all(&text).context(|| format!("write {COMMIT}"))
}

/// The record of the layer `chain`, if the layer is there and whole.
pub(in crate::image) fn committed(host: &Host, chain: &ChainId) -> Result<Option<Commit>> {
    committed_as(host, chain.directory())
}

/// The record of the layer in the directory of that name.
pub(in crate::image) fn committed_as(host: &Host, name: &str) -> Result<Option<Commit>> {
    let path = layers_dir(host).join(name).join(COMMIT);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from(error).context(path.display())),
    };
    match serde_json::from_slice::<Commit>(&text) {
        Ok(commit) if commit.version == VERSION => Ok(Some(commit)),
        Ok(commit) => Err(Error::new(
            ErrorKind::Image,
            format!("{}: made by a newer podrun (version {})", path.display(), commit.version),
        )),
        // A record that cannot be read is no record: the layer is made anew.
        Err(_) => Ok(None),
    }
}

/// Gives a finished layer its name. Another process may have been first: then ours is left for the
/// sweep. Something without a record under that name is moved to `trash`.
pub(in crate::image) fn publish(host: &Host, staged: &Path, chain: &ChainId, trash: &Path) -> Result<()> {
    let target = layers_dir(host).join(chain.directory());
    for _ in 0..2 {
        match fs::rename(staged, &target) {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(code) if is_taken(code)) => {}
            Err(error) => return Err(Error::from(error).context(format!("rename {}", target.display()))),
        }
        if committed(host, chain)?.is_some() {
            return Ok(());
        }
        fs::rename(&target, trash).context(|| format!("rename {}", target.display()))?;
    }
    Err(Error::failed(format!("{}: taken again and again", target.display())))
}

fn is_taken(code: i32) -> bool {
    sys::Error::new(String::new(), code).is_taken()
}

/// Whether there is a layer directory of that name, whole or not.
pub(in crate::image) fn exists(host: &Host, name: &str) -> bool {
    layers_dir(host).join(name).exists()
}

/// Whether the layer directory of that name has a tree.
pub(in crate::image) fn has_tree(host: &Host, name: &str) -> bool {
    fs::symlink_metadata(layers_dir(host).join(name).join(TREE)).is_ok_and(|meta| meta.is_dir())
}

/// The names of all layer directories, whole or not.
pub(in crate::image) fn names(host: &Host) -> Result<Vec<String>> {
    crate::image::disk::names_in(&layers_dir(host))
}

/// Takes the layer directory `name` out of use, by moving it to `trash`.
pub(in crate::image) fn discard(host: &Host, name: &str, trash: &Path) -> Result<()> {
    set_aside(&layers_dir(host).join(name), trash)
}
