//! The image store: the images, their names, and their users.
//!
//! Invariant: the records' lock is held only around reading, replacing and renaming a few small files. A maker
//! of content first takes a lease on it (`lease.rs`), and holds `ingest` shared as long as it works: files in
//! `tmp` while it is held exclusively were left by a crash.

#[cfg(test)]
mod tests;

pub(super) mod check;
pub(super) mod collect;
pub(super) mod inspect;
pub(super) mod lease;
pub(super) mod mounted;
pub(super) mod record;
pub(super) mod usage;
pub(super) mod version;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::record::Image;
use self::record::{Loaded, Record};
use super::model::digest::{Algorithm, Digest, is_lower_hex};
use super::model::reference::Reference;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::lock;
use crate::sys::file::own;

/// Fewer hex digits than this never name an image: words such as `beef` are names.
const ID_PREFIX_MIN: usize = 4;

/// The images below one data root.
#[derive(Debug, Clone)]
pub struct ImageStore {
    host: Host,
}

/// The result of a removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// The names that are no longer.
    pub untagged: Vec<String>,
    /// The image that is no longer, if its last name went.
    pub deleted: Option<Digest>,
}

impl ImageStore {
    /// Opens the store, making it if missing and upgrading an older layout. Remains of a crash are removed,
    /// unless another process is at work.
    pub fn open(host: &Host) -> Result<Self> {
        let this = Self { host: host.clone() };
        version::ensure(&this)?;
        host.make_root()?;
        this.sweep()?;
        Ok(this)
    }

    /// Whether there is a store; [`Self::open`] would make it.
    pub fn is_there(host: &Host) -> bool {
        host.root.join("images").is_dir()
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

    /// A free name in the trash, whose content any process may delete.
    pub(super) fn trash_name(&self) -> PathBuf {
        self.host.root.join("trash").join(unique_name())
    }

    /// All images, sorted by name, including ones with an unreadable record.
    pub fn list(&self) -> Result<Vec<Image>> {
        record::images(&self.images_dir())
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
        let Some(prefix) = id_prefix(text) else {
            return reference.map(|_| None).map_err(|error| error.with_kind(ErrorKind::Usage));
        };
        let mut matching = all.into_iter().filter(|image| image.id.begins_with(prefix));
        match (matching.next(), matching.next()) {
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::Usage,
                format!("image {text:?}: several ids begin so; give more digits"),
            )),
            (found, _) => Ok(found),
        }
    }

    /// Removes a name, or, by id, an image with all its names. The last name takes the image with it. An image
    /// with a lease, or by id one with several names, needs `force`; the layers stay as long as a lease holds
    /// them.
    pub fn remove(&self, text: &str, force: bool) -> Result<Removal> {
        let removal = self.locked(|| {
            let image = self.known(text)?;
            let tag = tag_meant(text).filter(|tag| image.names.contains(tag));
            let untagged: Vec<String> = match &tag {
                Some(tag) => vec![tag.clone()],
                None => image.names.clone(),
            };
            if untagged.len() < image.names.len() {
                self.drop_names(record::load_all(&self.images_dir())?, &untagged)?;
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
        if let Some(image) = self.find(text)? {
            return Ok(image);
        }
        let error = Error::new(ErrorKind::NotFound, format!("image {text:?} not found"));
        let meant = text.parse().ok().and_then(|wanted| nearest(&wanted, self.list().ok()?));
        Err(match meant {
            Some(name) => error.hint(format!("did you mean {name}?")),
            None => error.hint("`podrun images` lists what is here"),
        })
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
            self.give(record, &names, all)
        })
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

    /// Adds an image, or the new parts of an existing one; its names leave other images.
    pub(super) fn put(&self, mut new: Record, names: &[String]) -> Result<Image> {
        self.locked(|| {
            let all = record::load_all(&self.images_dir())?;
            for loaded in &all {
                let Loaded::Whole(old) = loaded else { continue };
                // Another image's packed form of the same layer serves this one too, if its own blob is
                // missing.
                new.learn(old);
                if old.id != new.id {
                    continue;
                }
                new.names.clone_from(&old.names);
                merge(&mut new.digests, &old.digests);
                merge(&mut new.blobs, &old.blobs);
            }
            self.give(new, names, all)
        })
    }

    /// Saves `record` with `names`, which the others in `all` lose. The lock is the caller's.
    fn give(&self, mut record: Record, names: &[String], mut all: Vec<Loaded>) -> Result<Image> {
        let now = now_ns();
        record.names.extend(names.iter().map(|name| (name.clone(), now)));
        record::save(&self.images_dir(), &record)?;
        all.retain(|loaded| *loaded.id() != record.id);
        self.drop_names(all, names)?;
        Ok(Loaded::Whole(Box::new(record)).into_image())
    }

    /// Removes `names` from the images in `all`. The lock is the caller's.
    fn drop_names(&self, all: Vec<Loaded>, names: &[String]) -> Result<()> {
        for loaded in all {
            let Loaded::Whole(mut old) = loaded else { continue };
            let before = old.names.len();
            old.names.retain(|name, _| !names.contains(name));
            if old.names.len() < before {
                record::save(&self.images_dir(), &old)?;
            }
        }
        Ok(())
    }

    /// Runs `work` with the records' lock.
    pub(super) fn locked<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let lock = self.lock_file("lock")?;
        lock::take(&lock, &self.images_dir().join(".lock"), lock::LONG)?;
        work()
    }

    pub(super) fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.images_dir().join(format!(".{name}"));
        own::lock_file(&path).context(|| format!("open {}", path.display()))
    }

    /// Says that content is being made, until the file is dropped.
    pub(super) fn begin_ingest(&self) -> Result<File> {
        let lock = self.lock_file("ingest")?;
        lock::take_shared(&lock, &self.images_dir().join(".ingest"), lock::LONG)?;
        Ok(lock)
    }
}

fn is_named(image: &Image, reference: &Reference) -> bool {
    match reference.digest() {
        None => image.names.contains(&reference.to_string()),
        Some(digest) => image.digests.contains(&reference.with_digest(digest.clone()).to_string()),
    }
}

/// A name in the store whose repository ends like the wanted one's: of another registry, or with another tag.
fn nearest(wanted: &Reference, all: Vec<Image>) -> Option<String> {
    let last = |reference: &Reference| reference.path().rsplit('/').next().map(str::to_owned);
    let names = all.into_iter().flat_map(|image| image.names).filter_map(|name| name.parse().ok());
    let mut alike = names.filter(|name: &Reference| last(name) == last(wanted));
    let first = alike.next()?;
    let same_tag = std::iter::once(first.clone()).chain(alike).find(|name| name.tag() == wanted.tag());
    Some(same_tag.unwrap_or(first).familiar())
}

/// The name with a tag that `text` says, beside a digest or alone.
fn tag_meant(text: &str) -> Option<String> {
    let reference = text.parse::<Reference>().ok()?;
    reference.tag().map(|tag| format!("{}:{tag}", reference.repository()))
}

/// `text`, if it can be (the beginning of) an id: hex digits, perhaps behind an algorithm.
fn id_prefix(text: &str) -> Option<&str> {
    let with =
        |algorithm: Algorithm| Some((text.strip_prefix(algorithm.name())?.strip_prefix(':')?, algorithm));
    let said = Algorithm::ALL.into_iter().find_map(with);
    // Without a word on it the one with the most digits may be meant.
    let (hex, algorithm) = said.unwrap_or((text, Algorithm::Sha512));
    let is_as_long = (ID_PREFIX_MIN..=algorithm.hex_len()).contains(&hex.len());
    (is_as_long && hex.bytes().all(is_lower_hex)).then_some(text)
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

/// Makes a directory, with its parents, that root alone may enter.
pub(super) fn make_private(path: &Path) -> Result<()> {
    own::directories(path, own::PRIVATE).context(|| format!("mkdir {}", path.display()))
}
