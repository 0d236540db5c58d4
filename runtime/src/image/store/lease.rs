//! Leases: protection of content from collection, whatever happens to the images.
//!
//! Invariant: a pod's lease is a file named by its id and lasts until it is released. A [`Hold`] is the lease
//! of a working process: a file in `tmp` that it keeps locked, so that it ends with the process in any case.
//! Both are written under the records' lock, which collection holds too: content found after its lease was
//! written stays as long as the lease.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{self, Loaded};
use super::unique_name;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::disk;
use crate::image::layer::layers;
use crate::image::model::digest::{ChainId, Digest};
use crate::image::store::{Image, ImageStore};
use crate::sys;

/// How the files of holds begin in `tmp`; nothing else there does.
const HOLD: &str = "hold-";

/// More than a lease takes that names every layer of every container of a pod.
const LEASE_MAX: u64 = 16 << 20;

/// The content that an owner protects.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::image) struct Lease {
    pub(in crate::image) images: Vec<Digest>,
    pub(in crate::image) layers: Vec<ChainId>,
    #[serde(default)]
    pub(in crate::image) blobs: Vec<Digest>,
}

/// A lease that ends when this is dropped, or when the process ends.
#[derive(Debug)]
pub struct Hold {
    store: ImageStore,
    /// The image to collect at the end, if it was removed meanwhile.
    image: Option<Digest>,
    path: PathBuf,
    // Its lock shows that the process is still at work.
    _file: File,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A file that stays is found unlocked, and removed when the store is opened next.
        let _ = fs::remove_file(&self.path);
        // A removal of the image in the meantime left its layers to this hold. After a failure the next collection does it.
        let is_gone = |image: &Digest| !record::exists(&self.store.images_dir(), image);
        if self.image.as_ref().is_some_and(is_gone) {
            let _ = self.store.collect();
        }
    }
}

impl Hold {
    /// Notes that the image is in the store now, from where another process may remove it.
    pub(in crate::image) fn holds(&mut self, image: &Image) {
        self.image = Some(image.id.clone());
    }
}

impl ImageStore {
    pub(in crate::image) fn leases_dir(&self) -> PathBuf {
        self.host().root.join("leases")
    }

    /// Protects `images` and their layers for `owner` (a pod's id, or `<pod>.<container>`), in place of its
    /// former lease.
    pub fn lease(&self, owner: &str, images: &[&Image]) -> Result<()> {
        let lease = Lease {
            images: images.iter().map(|image| image.id.clone()).collect(),
            layers: images.iter().flat_map(|image| image.layers.iter().cloned()).collect(),
            blobs: Vec::new(),
        };
        let text = serde_json::to_vec(&lease).expect("a lease is plain data");
        self.locked(|| {
            images.iter().try_for_each(|image| self.check_whole(image))?;
            sys::file::dir::place(&sys::file::dir::open(&self.leases_dir())?, owner.as_bytes(), &text)
                .context(|| format!("lease of {owner}"))
        })
    }

    /// Whether the image is in the store, with all its layers.
    pub fn has(&self, image: &Image) -> bool {
        self.check_whole(image).is_ok()
    }

    fn check_whole(&self, image: &Image) -> Result<()> {
        let gone = |what: String| {
            Err(Error::new(ErrorKind::Image, format!("image {}: {what}", image.display_name()))
                .hint("pull or load the image again"))
        };
        if !record::exists(&self.images_dir(), &image.id) {
            return gone("it was removed meanwhile".into());
        }
        for layer in &image.layers {
            if layers::committed(self.host(), layer)?.is_none() {
                return gone(format!("its layer {layer} is gone"));
            }
        }
        Ok(())
    }

    /// Keeps the layers and the blobs that an image will have, whether they are here or not. Gives the records that there
    /// were then.
    pub(in crate::image) fn hold(
        &self,
        layers: Vec<ChainId>,
        mut blobs: Vec<Digest>,
    ) -> Result<(Hold, Vec<Loaded>)> {
        self.locked(|| {
            // The same layers as other images came with them: that is as good, and not fetched again.
            let records = record::load_all(&self.images_dir())?;
            for loaded in &records {
                let Loaded::Whole(record) = loaded else { continue };
                for (number, layer) in layers.iter().enumerate() {
                    blobs.extend(record.packed_as(number, layer).iter().map(|packed| packed.digest.clone()));
                }
            }
            let hold = self.hold_lease(None, &Lease { images: Vec::new(), layers, blobs })?;
            Ok((hold, records))
        })
    }

    /// Protects an image while it is read.
    pub(in crate::image) fn hold_record(&self, record: &record::Record) -> Result<Hold> {
        let (layers, blobs) = (record.layers.clone(), record.blobs.clone());
        let lease = Lease { images: vec![record.id.clone()], layers, blobs };
        self.locked(|| self.hold_lease(Some(record.id.clone()), &lease))
    }

    /// Writes a lease of this process, for `image`. The records' lock is the caller's.
    fn hold_lease(&self, image: Option<Digest>, lease: &Lease) -> Result<Hold> {
        let text = serde_json::to_vec(lease).expect("a lease is plain data");
        let name = format!("{HOLD}{}", unique_name());
        let write = || -> Result<Hold> {
            let dir = sys::file::dir::open(&self.tmp_dir())?;
            let mut file = File::from(sys::file::dir::create_unnamed(&dir)?);
            file.write_all(&text)?;
            // Lock before naming: no process ever finds it unlocked while this one lives.
            file.lock()?;
            sys::file::dir::publish(&file, &dir, name.as_bytes())?;
            Ok(Hold { store: self.clone(), image, path: self.tmp_dir().join(&name), _file: file })
        };
        write().map_err(|error| error.context("lease of this process"))
    }

    /// Releases the lease of `owner`; an owner without a lease is fine.
    pub fn release(&self, owner: &str) -> Result<()> {
        let path = self.leases_dir().join(owner);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::from(error).context(format!("remove {}", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// The owners of leases: those of removed pods can be released.
    pub fn lease_owners(&self) -> Result<Vec<String>> {
        disk::names_in(&self.leases_dir())
    }

    /// The holders of a lease on the image `id`: a pod's id, `<pod>.<container>`, or `process 4711`.
    pub fn holders(&self, id: &Digest) -> Result<Vec<String>> {
        let leases = self.leases()?.into_iter();
        Ok(leases.filter(|(_, lease)| lease.images.contains(id)).map(|(owner, _)| owner).collect())
    }

    /// All leases with their owners; leases of ended processes are removed.
    pub(in crate::image) fn leases(&self) -> Result<Vec<(String, Lease)>> {
        let all = self.leases_one_by_one()?.into_iter();
        all.map(|(owner, lease)| lease.map(|lease| (owner, lease))).collect()
    }

    /// The same, where one that cannot be read leaves the others readable.
    pub(in crate::image) fn leases_one_by_one(&self) -> Result<Vec<(String, Result<Lease>)>> {
        let pods = self.lease_owners()?.into_iter().map(|id| (self.leases_dir().join(&id), id));
        let mut all = Vec::new();
        for (path, owner) in pods.chain(self.live_holds()?) {
            let text = match sys::file::own::read(&path, LEASE_MAX) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::from(error).context(path.display())),
            };
            let lease = serde_json::from_slice(&text)
                .map_err(|error| Error::failed(format!("lease {}: {error}", path.display())));
            all.push((owner, lease));
        }
        Ok(all)
    }

    /// The files of holding processes, each with its name for messages.
    fn live_holds(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut all = Vec::new();
        for name in disk::names_in(&self.tmp_dir())? {
            let path = self.tmp_dir().join(&name);
            if let Some(rest) = name.strip_prefix(HOLD)
                && lives(&path)?
            {
                all.push((path, format!("process {}", rest.split('-').next().unwrap_or_default())));
            }
        }
        Ok(all)
    }
}

/// Whether the entry of that name in `tmp` is a live hold; a dead one is removed.
pub(in crate::image) fn is_hold(tmp: &Path, name: &str) -> bool {
    name.starts_with(HOLD) && lives(&tmp.join(name)).is_ok()
}

/// Whether the maker of the hold at `path` is alive; a dead one's is removed.
fn lives(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::from(error).context(path.display())),
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(Error::from(error).context(path.display())),
        Ok(()) => {
            // It may be gone already, as wanted.
            let _ = fs::remove_file(path);
            Ok(false)
        }
    }
}
