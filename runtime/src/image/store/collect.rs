//! Collection: removes content that no image and no lease needs, and the remains of a crash.
//!
//! Invariant: needed content is determined and the rest taken out of use under one hold of the records' lock,
//! while pulls, loads and creates go on: each has its lease before it relies on content. Taking out of use is a
//! rename to `trash`; the deletion comes after the lock.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};

use super::record::{self, Loaded};
use super::{Removal, lease};
use crate::error::{Error, Result};
use crate::image::content;
use crate::image::content::partial::{self, Partial};
use crate::image::disk::{self, set_aside};
use crate::image::layer::layers;
use crate::image::model::digest::{ChainId, Digest};
use crate::image::store::{Image, ImageStore};
use crate::sys;

/// The result of a collection, or of a pretended one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The images, each with its names.
    pub images: Vec<Removal>,
    /// How many layers.
    pub layers: usize,
    /// The number of blobs, including partial ones.
    pub blobs: usize,
    /// The bytes in those layers' files and in those blobs.
    pub bytes: u64,
    /// An image with an unreadable record: its needs are unknown, so no layer and no blob went.
    pub damaged: Option<Digest>,
}

/// Content without a user.
#[derive(Debug, Default)]
struct Garbage {
    layers: Vec<(String, u64)>,
    blobs: Vec<(Digest, u64)>,
    partial: Vec<(Digest, u64)>,
    damaged: Option<Digest>,
}

impl Garbage {
    fn bytes(&self) -> u64 {
        let blobs = self.blobs.iter().chain(&self.partial).map(|(_, bytes)| bytes);
        self.layers.iter().map(|(_, bytes)| bytes).chain(blobs).sum()
    }
}

impl ImageStore {
    /// Removes the images that `chosen` selects and no lease holds, and all content that no image and no lease
    /// needs, partial blobs included. With `pretend` it only reports.
    pub fn prune(&self, pretend: bool, chosen: impl Fn(&Image) -> bool) -> Result<Pruned> {
        let pruned = self.locked(|| {
            let leases = self.leases()?;
            let (gone, kept): (Vec<Loaded>, Vec<Loaded>) =
                record::load_all(&self.images_dir())?.into_iter().partition(|loaded| {
                    let held = leases.iter().any(|(_, lease)| lease.images.contains(loaded.id()));
                    let image = loaded.image();
                    !held && image.damage.is_none() && chosen(&image)
                });
            let garbage = self.garbage(&kept, |_| true)?;
            let images: Vec<Removal> = gone.into_iter().map(|loaded| removal(loaded.into_image())).collect();
            if !pretend {
                for id in images.iter().filter_map(|removal| removal.deleted.as_ref()) {
                    record::delete(&self.images_dir(), id)?;
                }
                self.discard(&garbage)?;
            }
            let bytes = garbage.bytes();
            let (layers, blobs) = (garbage.layers.len(), garbage.blobs.len() + garbage.partial.len());
            Ok(Pruned { images, layers, blobs, bytes, damaged: garbage.damaged })
        })?;
        self.empty_trash()?;
        Ok(pruned)
    }

    /// Removes content that no image and no lease needs. Partial blobs stay for a day, to be resumed.
    pub(in crate::image) fn collect(&self) -> Result<()> {
        self.locked(|| {
            let garbage = self.garbage(&record::load_all(&self.images_dir())?, |partial| partial.is_old)?;
            self.discard(&garbage)
        })?;
        self.empty_trash()
    }

    /// Content that neither the images in `kept` nor any lease needs; of partial blobs those that are
    /// `given_up`. The lock is the caller's.
    fn garbage(&self, kept: &[Loaded], given_up: impl Fn(&Partial) -> bool) -> Result<Garbage> {
        let mut garbage = Garbage::default();
        let (mut needed_layers, mut needed_blobs) = (BTreeSet::new(), BTreeSet::new());
        for loaded in kept {
            match loaded {
                Loaded::Whole(record) => {
                    needed_layers.extend(record.layers.iter().map(ChainId::directory));
                    needed_blobs.extend(&record.blobs);
                }
                // Its needs cannot be known, so everything stays.
                Loaded::Damaged(id, _) => {
                    garbage.damaged = Some(id.clone());
                    return Ok(garbage);
                }
            }
        }
        let leases = self.leases()?;
        let mut wanted = BTreeSet::new();
        for (_, lease) in &leases {
            wanted.extend(&lease.blobs);
            needed_layers.extend(lease.layers.iter().map(ChainId::directory));
            needed_blobs.extend(&lease.blobs);
        }
        for name in layers::names(self.host())? {
            if !needed_layers.contains(name.as_str()) {
                let bytes = layers::committed_as(self.host(), &name)?.map_or(0, |commit| commit.bytes);
                garbage.layers.push((name, bytes));
            }
        }
        let blobs = content::list(self.host())?;
        let here: BTreeSet<Digest> = blobs.iter().map(|(digest, _)| digest.clone()).collect();
        garbage.blobs = blobs.into_iter().filter(|(digest, _)| !needed_blobs.contains(digest)).collect();
        for partial in partial::list(self.host())? {
            // A complete blob needs no partial one.
            let is_here = here.contains(&partial.digest);
            let is_wanted = partial.comes || wanted.contains(&partial.digest);
            if !is_wanted && (is_here || given_up(&partial)) {
                garbage.partial.push((partial.digest, partial.bytes));
            }
        }
        Ok(garbage)
    }

    fn discard(&self, garbage: &Garbage) -> Result<()> {
        for (name, _) in &garbage.layers {
            layers::discard(self.host(), name, &self.trash_name())?;
        }
        for (digest, _) in &garbage.blobs {
            content::discard(self.host(), digest, &self.trash_name())?;
        }
        for (digest, _) in &garbage.partial {
            partial::discard(self.host(), digest, &self.trash_name())?;
        }
        Ok(())
    }

    /// The ingest lock for the removal of half-done work, or nothing while another process makes content.
    fn try_exclusive(&self) -> Result<Option<File>> {
        let lock = self.lock_file("ingest")?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::from(error).context("lock the image store")),
        }
    }

    /// Removes the remains of a crash.
    pub(in crate::image) fn sweep(&self) -> Result<()> {
        if record::has_unfinished(&self.images_dir()) {
            self.locked(|| record::remove_unfinished(&self.images_dir()))?;
        }
        let tmp = self.tmp_dir();
        let mut left = disk::names_in(&tmp)?;
        left.retain(|name| !lease::is_hold(&tmp, name));
        if !left.is_empty()
            && let Some(_lock) = self.try_exclusive()?
        {
            for name in left {
                // Gone, or moved by another sweep: both are fine.
                let _ = set_aside(&tmp.join(name), &self.trash_name());
            }
        }
        self.empty_trash()
    }

    fn empty_trash(&self) -> Result<()> {
        let path = self.host().root.join("trash");
        let names = disk::names_in(&path)?;
        if names.is_empty() {
            return Ok(());
        }
        let trash = sys::file::dir::open(&path)?;
        for name in names {
            // Another process may be deleting the same tree; the rest is swept next time.
            let _ = sys::file::dir::remove_tree(&trash, name.as_bytes());
        }
        Ok(())
    }
}

fn removal(image: Image) -> Removal {
    Removal { untagged: image.names, deleted: Some(image.id) }
}
