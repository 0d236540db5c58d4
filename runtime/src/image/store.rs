//! The image store: what images there are, under which names, and who needs them.
//!
//! Invariant: locks are held only around reading and replacing a few small files. Whoever makes
//! content holds `ingest` shared for as long as it takes, and whoever collects takes it exclusively
//! without waiting: so nothing that is being made is ever collected, and a crashed maker holds nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::digest::{ChainId, Digest, is_lower_hex};
use super::layers;
use super::record::{self, Image, Loaded, Record};
use super::reference::Reference;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::sys;

/// Fewer hex digits than this never name an image: words such as `beef` are names.
const ID_PREFIX_MIN: usize = 4;

/// The images below one data root.
#[derive(Debug, Clone)]
pub struct ImageStore {
    host: Host,
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// The names that are no longer.
    pub untagged: Vec<String>,
    /// The image that is no longer, if its last name went.
    pub deleted: Option<Digest>,
}

/// What an owner keeps from being collected.
#[derive(Debug, Serialize, Deserialize)]
struct Lease {
    images: Vec<Digest>,
    layers: Vec<ChainId>,
}

impl ImageStore {
    /// Opens the store, making its directories when they are not there. What a crash left half done
    /// is removed, unless somebody is at work.
    pub fn open(host: &Host) -> Result<Self> {
        let this = Self { host: host.clone() };
        if !this.images_dir().is_dir() {
            make_private(&host.root)?;
            for name in [
                "content",
                "content/sha256",
                "content/sha512",
                "layers",
                "leases",
                "tmp",
                "trash",
                "snapshots",
            ] {
                make_private(&host.root.join(name))?;
            }
            super::snapshot::make_mount_points(host)?;
            // The last one: with it the store is whole.
            make_private(&this.images_dir())?;
        }
        hide(&host.root)?;
        this.sweep()?;
        Ok(this)
    }

    /// The trees this store lies in.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn images_dir(&self) -> PathBuf {
        self.host.root.join("images")
    }

    pub(super) fn tmp_dir(&self) -> PathBuf {
        self.host.root.join("tmp")
    }

    /// A free name in the directory whose content anybody may delete.
    pub(super) fn trash_name(&self) -> PathBuf {
        self.host.root.join("trash").join(unique_name())
    }

    fn leases_dir(&self) -> PathBuf {
        self.host.root.join("leases")
    }

    /// All images, sorted by name; one whose record cannot be read is among them.
    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(record::load_all(&self.images_dir())?.into_iter().map(Loaded::into_image).collect())
    }

    /// The image of that name; a digest in it must be the image's.
    pub fn get(&self, reference: &Reference) -> Result<Option<Image>> {
        Ok(self.list()?.into_iter().find(|image| is_named(image, reference)))
    }

    /// The image that `text` means: a name, an id, or the unique beginning of an id. A name wins.
    pub fn find(&self, text: &str) -> Result<Option<Image>> {
        let mut all = self.list()?;
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(at) = all.iter().position(|image| is_named(image, reference))
        {
            return Ok(Some(all.swap_remove(at)));
        }
        let Some(prefix) = id_prefix(text) else { return reference.map(|_| None) };
        let mut matching = all.into_iter().filter(|image| image.id.hex().starts_with(prefix));
        match (matching.next(), matching.next()) {
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::Usage,
                format!("image {text:?}: several ids begin so; give more digits"),
            )),
            (found, _) => Ok(found),
        }
    }

    /// Removes a name, or, by id, an image with all its names. The last name takes the image with it.
    /// An image with a lease, or by id one with several names, goes only by `force`; the layers
    /// stay as long as somebody holds a lease on them.
    pub fn remove(&self, text: &str, force: bool) -> Result<Removal> {
        let removal = self.locked(|| {
            let image = self.known(text)?;
            let tag = tag_meant(text).filter(|tag| image.names.contains(tag));
            let untagged: Vec<String> = match &tag {
                Some(tag) => vec![tag.clone()],
                None => image.names.clone(),
            };
            if untagged.len() < image.names.len() {
                self.drop_names(&image.id, &untagged)?;
                return Ok(Removal { untagged, deleted: None });
            }
            self.check_removable(&image, tag.is_some(), force)?;
            record::delete(&self.images_dir(), &image.id)?;
            Ok(Removal { untagged, deleted: Some(image.id) })
        })?;
        if removal.deleted.is_some() {
            self.collect()?;
        }
        Ok(removal)
    }

    /// The image that `text` means; it is an error where there is none.
    pub fn known(&self, text: &str) -> Result<Image> {
        let missing = || Error::new(ErrorKind::NotFound, format!("image {text:?} not found"));
        self.find(text)?.ok_or_else(|| missing().hint("`podrun images` lists what is here"))
    }

    /// Gives the image that `text` means more names; an image that had one of them loses it.
    pub fn tag(&self, text: &str, names: &[Reference]) -> Result<Image> {
        if let Some(pinned) = names.iter().find(|name| name.digest().is_some()) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("{pinned}: an image is given a tag; its digest is what it is"),
            ));
        }
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.locked(|| {
            let image = self.known(text)?;
            let all = record::load_all(&self.images_dir())?;
            let Some(record) = all.iter().find_map(|loaded| match loaded {
                Loaded::Whole(record) if record.id == image.id => Some(record.as_ref().clone()),
                _ => None,
            }) else {
                let why = image.damage.unwrap_or_default();
                return Err(Error::new(ErrorKind::Image, format!("image {}: {why}", image.id)));
            };
            self.give(record, &names, &all)
        })
    }

    /// Whoever holds a lease on the image `id`.
    pub fn holders(&self, id: &Digest) -> Result<Vec<String>> {
        let leases = self.leases()?.into_iter();
        Ok(leases.filter(|(_, lease)| lease.images.contains(id)).map(|(owner, _)| owner).collect())
    }

    fn check_removable(&self, image: &Image, by_name: bool, force: bool) -> Result<()> {
        if force {
            return Ok(());
        }
        let holders = self.holders(&image.id)?;
        if let Some(first) = holders.first() {
            let others =
                if holders.len() > 1 { format!(" and {} more", holders.len() - 1) } else { String::new() };
            let short = first.get(..12).unwrap_or(first);
            return Err(Error::failed(format!(
                "image {} is in use by {short}{others}",
                image.display_name()
            ))
            .hint("delete the pods that run it, or give --force to remove the image under them"));
        }
        if !by_name && image.names.len() > 1 {
            return Err(Error::failed(format!(
                "image {} has several names: {}",
                image.id.short(),
                image.names.join(", ")
            ))
            .hint("remove them by name, or give --force"));
        }
        Ok(())
    }

    /// Keeps `images` and their layers for `owner` (a pod's id), in place of what it held before.
    pub fn lease(&self, owner: &str, images: &[&Image]) -> Result<()> {
        let lease = Lease {
            images: images.iter().map(|image| image.id.clone()).collect(),
            layers: images.iter().flat_map(|image| image.layers.iter().cloned()).collect(),
        };
        let text = serde_json::to_vec(&lease).expect("a lease is plain data");
        self.locked(|| {
            for image in images {
                for layer in &image.layers {
                    if layers::committed(&self.host, layer)?.is_none() {
                        return Err(Error::new(
                            ErrorKind::Image,
                            format!("image {}: its layer {layer} is gone", image.display_name()),
                        )
                        .hint("pull or load the image again"));
                    }
                }
            }
            sys::dir::place(&sys::dir::open(&self.leases_dir())?, owner.as_bytes(), &text)
                .context(|| format!("lease of {owner}"))
        })
    }

    /// Gives back what `owner` held; an owner without a lease is fine.
    pub fn release(&self, owner: &str) -> Result<()> {
        let path = self.leases_dir().join(owner);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::from(error).context(format!("remove {}", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// Who holds leases: so that those of owners that are no more can be given back.
    pub fn lease_owners(&self) -> Result<Vec<String>> {
        record::names_in(&self.leases_dir())
    }

    fn leases(&self) -> Result<Vec<(String, Lease)>> {
        let mut all = Vec::new();
        for owner in self.lease_owners()? {
            let path = self.leases_dir().join(&owner);
            let text = match fs::read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::from(error).context(path.display())),
            };
            let lease = serde_json::from_slice(&text)
                .map_err(|error| Error::failed(format!("lease {}: {error}", path.display())))?;
            all.push((owner, lease));
        }
        Ok(all)
    }

    /// Adds an image, or what is new of one that is there; its names leave the images that had them.
    pub(super) fn put(&self, mut new: Record, names: &[String]) -> Result<Image> {
        self.locked(|| {
            let all = record::load_all(&self.images_dir())?;
            for loaded in &all {
                let Loaded::Whole(old) = loaded else { continue };
                if old.id != new.id {
                    continue;
                }
                new.names.clone_from(&old.names);
                merge(&mut new.digests, &old.digests);
                merge(&mut new.blobs, &old.blobs);
            }
            self.give(new, names, &all)
        })
    }

    /// Saves `record` with `names`, which the others in `all` lose. The lock is the caller's.
    fn give(&self, mut record: Record, names: &[String], all: &[Loaded]) -> Result<Image> {
        let now = now_ns();
        record.names.extend(names.iter().map(|name| (name.clone(), now)));
        record::save(&self.images_dir(), &record)?;
        for other in all.iter().map(Loaded::id).filter(|id| **id != record.id) {
            self.drop_names(other, names)?;
        }
        Ok(Loaded::Whole(Box::new(record)).into_image())
    }

    /// Takes `names` from the image `id`, if it has any of them. The lock is the caller's.
    fn drop_names(&self, id: &Digest, names: &[String]) -> Result<()> {
        for loaded in record::load_all(&self.images_dir())? {
            let Loaded::Whole(mut old) = loaded else { continue };
            if old.id != *id {
                continue;
            }
            let before = old.names.len();
            old.names.retain(|name, _| !names.contains(name));
            if old.names.len() < before {
                record::save(&self.images_dir(), &old)?;
            }
        }
        Ok(())
    }

    /// Runs `work` with the records' lock.
    fn locked<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let lock = self.lock_file("lock")?;
        lock.lock().context(|| "lock the image records")?;
        work()
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.images_dir().join(format!(".{name}"));
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .context(|| format!("open {}", path.display()))
    }

    /// Says that content is being made, until the file is dropped.
    pub(super) fn begin_ingest(&self) -> Result<File> {
        let lock = self.lock_file("ingest")?;
        lock.lock_shared().context(|| "lock the image store for new content")?;
        Ok(lock)
    }

    /// The ingest lock for a collector, or nothing when somebody is making content.
    fn try_exclusive(&self) -> Result<Option<File>> {
        let lock = self.lock_file("ingest")?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::from(error).context("lock the image store")),
        }
    }

    /// Removes what no image and no lease needs, unless somebody is making content just now: then
    /// the next removal does it.
    pub(super) fn collect(&self) -> Result<()> {
        let collected = self.locked(|| {
            let Some(_lock) = self.try_exclusive()? else { return Ok(false) };
            let (mut layers, mut blobs) = (BTreeSet::new(), BTreeSet::new());
            for loaded in record::load_all(&self.images_dir())? {
                match loaded {
                    Loaded::Whole(record) => {
                        layers.extend(record.layers.iter().map(|layer| layer.directory().to_owned()));
                        blobs.extend(record.blobs.iter().cloned());
                    }
                    // What it needs cannot be known, so everything stays.
                    Loaded::Damaged(..) => return Ok(false),
                }
            }
            for (_, lease) in self.leases()? {
                layers.extend(lease.layers.iter().map(|layer| layer.directory().to_owned()));
            }
            for name in layers::names(&self.host)? {
                if !layers.contains(&name) {
                    layers::discard(&self.host, &name, &self.trash_name())?;
                }
            }
            super::content::retain(&self.host, &blobs)?;
            Ok(true)
        })?;
        if collected { self.empty_trash() } else { Ok(()) }
    }

    /// Removes what a crash left half done.
    fn sweep(&self) -> Result<()> {
        let left = record::names_in(&self.tmp_dir())?;
        if !left.is_empty()
            && let Some(_lock) = self.try_exclusive()?
        {
            for name in left {
                // Gone, or moved by another sweep: either is what was wanted.
                let _ = fs::rename(self.tmp_dir().join(name), self.trash_name());
            }
        }
        self.empty_trash()
    }

    fn empty_trash(&self) -> Result<()> {
        let path = self.host.root.join("trash");
        let names = record::names_in(&path)?;
        if names.is_empty() {
            return Ok(());
        }
        let trash = sys::dir::open(&path)?;
        for name in names {
            // Another process may be deleting the same tree; whatever stays is swept next time.
            let _ = sys::dir::remove_tree(&trash, name.as_bytes());
        }
        Ok(())
    }
}

fn is_named(image: &Image, reference: &Reference) -> bool {
    match reference.digest() {
        None => image.names.contains(&reference.to_string()),
        Some(digest) => image.digests.contains(&reference.with_digest(digest.clone()).to_string()),
    }
}

/// The name with a tag that `text` says, beside a digest or alone.
fn tag_meant(text: &str) -> Option<String> {
    let reference = text.parse::<Reference>().ok()?;
    reference.tag().map(|tag| format!("{}:{tag}", reference.repository()))
}

/// The hex digits that `text` gives as (the beginning of) an id.
fn id_prefix(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let long_enough = (ID_PREFIX_MIN..=64).contains(&hex.len());
    (long_enough && hex.bytes().all(is_lower_hex)).then_some(hex)
}

fn merge<T: Clone + PartialEq>(into: &mut Vec<T>, from: &[T]) {
    for item in from {
        if !into.contains(item) {
            into.push(item.clone());
        }
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A name that no other process and no other call of this one draws.
pub(super) fn unique_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}-{}", std::process::id(), now_ns(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn make_private(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("mkdir {}", path.display()))
}

/// The data root holds setuid files of strangers: nobody but root looks into it.
fn hide(root: &Path) -> Result<()> {
    let mode = fs::metadata(root).context(|| root.display())?.permissions().mode();
    if mode & 0o066 != 0 {
        fs::set_permissions(root, fs::Permissions::from_mode(mode & 0o711))
            .context(|| format!("chmod {}", root.display()))?;
    }
    Ok(())
}
