//! The version of the store's layout on disk: `layout.json` in the data root says it.
//!
//! Invariant: no other part of a store is read or written before its version is known to be supported. A
//! missing or old one is made or upgraded under the records' lock, by repeatable steps; the version is written
//! last, so that a crash half-way leads to another run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::store::ImageStore;
use crate::sys::file::own;

/// The layout that this podrun reads and writes:
///
/// 1. no `layout.json`; a record was written beside itself under a name of the writer's, which stayed when it was killed.
/// 2. `partial/`, with partial blobs; a record is written as `.new`.
const VERSION: u32 = 2;
/// The first version, which did not say so.
const UNSAID: u32 = 1;
const FILE: &str = "layout.json";
/// More than that file has in any version.
const MOST: u64 = 4096;

/// The directories of a store, as of now.
const DIRECTORIES: [&str; 9] = [
    "content",
    "content/sha256",
    "content/sha512",
    "layers",
    "leases",
    "partial",
    "snapshots",
    "tmp",
    "trash",
];

#[derive(Serialize, Deserialize)]
struct Layout {
    version: u32,
}

/// Makes the store, or upgrades it, if it is not of this version; refuses one that a newer podrun wrote.
pub(in crate::image) fn ensure(store: &ImageStore) -> Result<()> {
    let root = &store.host().root;
    if read(root)? == Some(VERSION) {
        return Ok(());
    }
    store.host().make_root()?;
    super::make_private(&store.images_dir())?;
    store.locked(|| {
        // Another process may have been first.
        let found = read(root)?;
        if found == Some(VERSION) {
            return Ok(());
        }
        for name in DIRECTORIES {
            super::make_private(&root.join(name))?;
        }
        crate::image::layer::snapshot::make_mount_points(store.host())?;
        if found.unwrap_or(UNSAID) < 2 {
            remove_unfinished_records(&store.images_dir())?;
        }
        let text = serde_json::to_vec(&Layout { version: VERSION }).expect("a version is plain data");
        record::replace_file(&root.join(FILE), &text)
    })
}

/// The version of the store in `root`; nothing where none is said.
fn read(root: &Path) -> Result<Option<u32>> {
    let path = root.join(FILE);
    let text = match own::read(&path, MOST) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from(error).context(path.display())),
    };
    match serde_json::from_slice::<Layout>(&text) {
        Ok(layout) if layout.version <= VERSION => Ok(Some(layout.version)),
        Ok(layout) => Err(newer(root, layout.version)),
        Err(error) => Err(Error::new(ErrorKind::Image, format!("{}: cannot be read: {error}", path.display()))
            .hint("where no newer podrun wrote it, remove it: the next command looks at what is there and writes it anew")),
    }
}

fn newer(root: &Path, version: u32) -> Error {
    let what = format!(
        "the image store {} was written by a newer podrun: its layout has version {version}, this one knows {VERSION}",
        root.display()
    );
    Error::new(ErrorKind::Image, what)
        .hint("use that podrun, or give this one a store of its own with --root")
}

/// Removes the files of killed writers beside the records, `.<image id>.json.<pid>`.
fn remove_unfinished_records(images: &Path) -> Result<()> {
    let entries = fs::read_dir(images).context(|| format!("read {}", images.display()))?;
    for entry in entries {
        let entry = entry.context(|| format!("read {}", images.display()))?;
        let name = entry.file_name();
        let is_unfinished =
            name.to_str().is_some_and(|name| name.starts_with('.') && name.contains(".json."));
        if is_unfinished {
            let path: PathBuf = entry.path();
            fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}
