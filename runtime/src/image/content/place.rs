//! The place of a blob on its way: a file in `partial/` under its digest, locked by its puller.
//!
//! Invariant: only the name is ever taken away; the bytes are never cut, since others may be reading them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::image::model::digest::Digest;

/// The file of a blob that is being brought, locked.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl Place {
    /// Whether the file still has its name: the end of the pull, or a collection, removes it.
    pub(super) fn is_named(&self) -> Result<bool> {
        let own = self.file.metadata().context(|| self.path.display())?;
        match fs::symlink_metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::from(error).context(self.path.display())),
        }
    }

    /// Removes the name. The bytes are never truncated: a reader may need them.
    pub(super) fn drop_name(&self) {
        if self.is_named().unwrap_or(false) {
            // A file that stays is found again, and found to be wrong or useless again.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Lets others go on. Readers have the same open file, so closing ours does not.
    pub(super) fn unlock(&self) {
        // An error can only say that there was no lock.
        let _ = self.file.unlock();
    }
}

pub(super) fn dir(host: &Host) -> PathBuf {
    host.root.join("partial")
}

pub(super) fn path(host: &Host, digest: &Digest) -> PathBuf {
    dir(host).join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
}

/// Removes the name of a partial blob that is now in the store, or not wanted; a missing one is fine.
pub(in crate::image) fn forget(host: &Host, digest: &Digest) {
    // A file that stays is collected.
    let _ = fs::remove_file(path(host, digest));
}
