//! The records of the images on disk: `images/<image id>.json`.
//!
//! Invariant: a record is replaced by one rename, and a reader takes no lock. A name belongs to the
//! record that got it last, so moving a name between two images is safe at every point.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result, shown};
use crate::image::disk::{names_in, sync_dir};
use crate::image::model::config::ImageConfig;
use crate::image::model::digest::{ChainId, Digest};
use crate::image::model::manifest::Packed;
use crate::parallel;
use crate::sys::file::dir::Links;
use crate::sys::file::own;
use crate::sys::{self, Errno};

const VERSION: u32 = 1;
/// The bytes of a record that are read: more than any config and any number of layers come to.
const MOST: u64 = 64 << 20;
/// The bytes that are read at first: records of everyday images are smaller.
const AT_FIRST: usize = 16 << 10;
/// How many records one thread reads.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(500).expect("it is not zero");

/// An image as callers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The digest of its config: the identity of an image.
    pub id: Digest,
    /// Its names, normalised and sorted: `docker.io/library/busybox:latest`.
    pub names: Vec<String>,
    /// Where its manifest is known under a digest: `docker.io/library/busybox@sha256:…`.
    pub digests: Vec<String>,
    /// The bytes in the files of its layers.
    pub size: u64,
    /// When it was built, in RFC 3339, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its layers, the lowest first.
    pub layers: Vec<ChainId>,
    /// Its settings for running it.
    pub config: ImageConfig,
    /// Why its record cannot be read; then only the id is true.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub damage: Option<String>,
}

impl Image {
    /// The name to show for this image: its first, else its id.
    pub fn display_name(&self) -> String {
        self.names.first().cloned().unwrap_or_else(|| self.id.to_string())
    }
}

/// An image's record on disk. A reader of the [`Image`] alone skips its blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::image) struct Record<Blobs = Vec<Digest>, Ways = Vec<Vec<Packed>>> {
    pub(in crate::image) version: u32,
    pub(in crate::image) id: Digest,
    /// Each name with the time it was given, in nanoseconds: the youngest claim counts.
    pub(in crate::image) names: BTreeMap<String, u64>,
    pub(in crate::image) digests: Vec<String>,
    pub(in crate::image) size: u64,
    pub(in crate::image) created: Option<String>,
    pub(in crate::image) layers: Vec<ChainId>,
    /// Everything of it in the content store: manifests, config, layers.
    pub(in crate::image) blobs: Blobs,
    /// For each layer how it came packed, which is another way from every registry or archive that had it.
    #[serde(default)]
    pub(in crate::image) packed: Ways,
    pub(in crate::image) config: ImageConfig,
}

impl Record {
    pub(in crate::image) fn new(id: Digest, config: ImageConfig) -> Self {
        Self {
            version: VERSION,
            id,
            names: BTreeMap::new(),
            digests: Vec::new(),
            size: 0,
            created: None,
            layers: Vec::new(),
            blobs: Vec::new(),
            packed: Vec::new(),
            config,
        }
    }

    /// The ways in which the layer `chain`, which an image has as the one with that number, came packed with this image.
    pub(in crate::image) fn packed_as(&self, number: usize, chain: &ChainId) -> &[Packed] {
        // A chain id says how many layers there are below: the same one stands at the same place.
        let same = self.layers.get(number) == Some(chain);
        self.packed.get(number).filter(|_| same).map(Vec::as_slice).unwrap_or_default()
    }

    /// Takes over from `other` the packed forms of common layers, and their blobs.
    pub(in crate::image) fn learn(&mut self, other: &Self) {
        for (number, layer) in self.layers.iter().enumerate() {
            let Some(own) = self.packed.get_mut(number) else { continue };
            for packed in other.packed_as(number, layer) {
                if !own.contains(packed) {
                    own.push(packed.clone());
                    self.blobs.push(packed.digest.clone());
                }
            }
        }
        self.blobs.sort();
        self.blobs.dedup();
    }
}

impl<Blobs, Ways> Record<Blobs, Ways> {
    fn image(self, damage: Option<String>) -> Image {
        Image {
            id: self.id,
            names: self.names.into_keys().collect(),
            digests: self.digests,
            size: self.size,
            created: self.created,
            layers: self.layers,
            config: self.config,
            damage,
        }
    }
}

/// One file of the records' directory.
#[derive(Debug)]
pub(in crate::image) enum Loaded<R = Record> {
    /// A record as it should be.
    Whole(Box<R>),
    /// A file named as a record that is none, and why.
    Damaged(Digest, String),
}

impl Loaded {
    pub(in crate::image) fn image(&self) -> Image {
        match self {
            Self::Whole(record) => record.as_ref().clone().image(None),
            Self::Damaged(id, why) => {
                Record::new(id.clone(), ImageConfig::default()).image(Some(why.clone()))
            }
        }
    }
}

impl<Blobs, Ways> Loaded<Record<Blobs, Ways>> {
    pub(in crate::image) fn id(&self) -> &Digest {
        match self {
            Self::Whole(record) => &record.id,
            Self::Damaged(id, _) => id,
        }
    }

    /// The sort key of images: those without a name come last.
    fn place(&self) -> (bool, String) {
        let first = match self {
            Self::Whole(record) => record.names.keys().next(),
            Self::Damaged(..) => None,
        };
        (first.is_none(), first.map_or_else(|| self.id().to_string(), Clone::clone))
    }

    pub(in crate::image) fn into_image(self) -> Image {
        match self {
            Self::Whole(record) => record.image(None),
            Self::Damaged(id, why) => Record::new(id, ImageConfig::default()).image(Some(why)),
        }
    }
}

/// How the damage of a record begins that is none.
const NEWER: &str = "written by a newer podrun";

/// Whether a record's error says that a newer podrun wrote it.
pub(in crate::image) fn is_newer(damage: &str) -> bool {
    damage.starts_with(NEWER)
}

fn record_path(dir: &Path, id: &Digest) -> PathBuf {
    dir.join(format!("{}.json", id.hex()))
}

/// The records in `dir`, each name with the youngest claim only, sorted by their names.
pub(in crate::image) fn load_all(dir: &Path) -> Result<Vec<Loaded>> {
    read_all(dir)
}

/// The images with records in `dir`, sorted by their names.
pub(in crate::image) fn images(dir: &Path) -> Result<Vec<Image>> {
    Ok(read_all::<IgnoredAny, IgnoredAny>(dir)?.into_iter().map(Loaded::into_image).collect())
}

fn read_all<Blobs, Ways>(dir: &Path) -> Result<Vec<Loaded<Record<Blobs, Ways>>>>
where
    Blobs: DeserializeOwned + Send,
    Ways: DeserializeOwned + Default + Send,
{
    let names = names_in(dir)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // Looked up from there: a thousand times the whole path takes a tenth of all the time.
    let at = sys::file::dir::open(dir)?;
    let mut all = parallel::over(&names, AT_ONCE, |names| {
        let mut room = vec![0; AT_FIRST];
        names.iter().filter_map(|name| load(at.as_fd(), name, &mut room)).collect()
    })
    .context(|| format!("read {}", dir.display()))?;
    keep_youngest_claims(&mut all);
    all.sort_by_cached_key(Loaded::place);
    Ok(all)
}

fn keep_youngest_claims<Blobs, Ways>(all: &mut [Loaded<Record<Blobs, Ways>>]) {
    let mut youngest: HashMap<&str, u64> = HashMap::with_capacity(all.len());
    let mut moved = BTreeMap::new();
    for loaded in all.iter() {
        let Loaded::Whole(record) = loaded else { continue };
        for (name, time) in &record.names {
            let before = youngest.insert(name, *time);
            if let Some(before) = before.filter(|before| before != time) {
                let time = before.max(*time);
                youngest.insert(name, time);
                moved.insert(name.clone(), time);
            }
        }
    }
    // Most often there are none: a name is moved by two files' changes.
    if moved.is_empty() {
        return;
    }
    for loaded in all {
        let Loaded::Whole(record) = loaded else { continue };
        record.names.retain(|name, time| moved.get(name).is_none_or(|youngest| youngest == time));
    }
}

/// The id of the image whose record has that file name, if it is one.
fn id_of(name: &str) -> Option<Digest> {
    Digest::of_hex(name.strip_suffix(".json")?)
}

/// The record in the file `name`, if that is one's name and it is still there. `room` is where it is read to.
fn load<Blobs, Ways>(dir: BorrowedFd<'_>, name: &str, room: &mut [u8]) -> Option<Loaded<Record<Blobs, Ways>>>
where
    Blobs: DeserializeOwned,
    Ways: DeserializeOwned + Default,
{
    let id = id_of(name)?;
    let damaged = |why: String| Some(Loaded::Damaged(id.clone(), why));
    let file = match sys::file::dir::resolve_file(dir, name.as_bytes(), Links::Refused) {
        Ok(file) => File::from(file).take(MOST),
        Err(error) if error.errno == Errno::ENOENT.0 => return None,
        Err(error) => return damaged(Error::from(error).message().to_owned()),
    };
    match parse::<Record<Blobs, Ways>>(file, room) {
        Ok(Ok(record)) if record.version > VERSION => {
            damaged(format!("{NEWER} (version {})", record.version))
        }
        Ok(Ok(record)) if record.id == id => match record.config.check() {
            Ok(()) => Some(Loaded::Whole(Box::new(record))),
            // It came before there were such limits.
            Err(why) => damaged(format!("image config: {why}")),
        },
        Ok(Ok(record)) => damaged(format!("it is the record of {}", record.id)),
        Ok(Err(error)) => damaged(shown(&error.to_string()).to_string()),
        Err(error) => damaged(Error::from(error).message().to_owned()),
    }
}

/// Parses a file. It is read once, and further only where that was not all: with a thousand images a second
/// read for the end shows.
fn parse<R: DeserializeOwned>(mut file: impl Read, room: &mut [u8]) -> io::Result<serde_json::Result<R>> {
    let count = file.read(room)?;
    let begin = room.get(..count).unwrap_or_default();
    match serde_json::from_slice(begin) {
        Err(error) if error.is_eof() => {
            let mut whole = begin.to_vec();
            file.read_to_end(&mut whole)?;
            Ok(serde_json::from_slice(&whole))
        }
        parsed => Ok(parsed),
    }
}

/// Replaces the record of an image; it is on the disk when this returns, and was read back: content that
/// readers would reject or show as damaged is an error here, at its arrival.
pub(in crate::image) fn save(dir: &Path, record: &Record) -> Result<()> {
    let text = serde_json::to_vec_pretty(record).expect("a record is plain data");
    let path = record_path(dir, &record.id);
    replace_file(&path, &text)?;
    let lost = |why: &str| Error::failed(format!("{}: the record that was written {why}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let at = sys::file::dir::open(dir)?;
    match load::<Vec<Digest>, Vec<Vec<Packed>>>(at.as_fd(), name, &mut vec![0; AT_FIRST]) {
        Some(Loaded::Whole(read)) if *read == *record => Ok(()),
        Some(Loaded::Whole(_)) => Err(lost("is read as another")),
        Some(Loaded::Damaged(_, why)) => Err(lost(&format!("cannot be read: {why}"))),
        None => Err(lost("is not found")),
    }
}

/// Whether there is a record of that image, readable or not.
pub(in crate::image) fn exists(dir: &Path, id: &Digest) -> bool {
    record_path(dir, id).exists()
}

/// Forgets an image.
pub(in crate::image) fn delete(dir: &Path, id: &Digest) -> Result<()> {
    let path = record_path(dir, id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::from(error).context(format!("remove {}", path.display())))
        }
        _ => sync_dir(dir),
    }
}

/// The name of a file while it is written. All writers hold the records' lock: there is one at a time.
const NEW: &str = ".new";

/// Whether a file is being written in `dir`, or its writer was killed.
pub(in crate::image) fn has_unfinished(dir: &Path) -> bool {
    dir.join(NEW).exists()
}

/// Removes the remains of a killed writer in `dir`. The records' lock is the caller's.
pub(in crate::image) fn remove_unfinished(dir: &Path) -> Result<()> {
    match fs::remove_file(dir.join(NEW)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::from(error).context(format!("remove {}", dir.join(NEW).display())))
        }
        _ => Ok(()),
    }
}

/// Replaces a small file whole: written beside it, then renamed; it is on the disk when this returns. The records' lock is
/// the caller's.
pub(in crate::image) fn replace_file(path: &Path, text: &[u8]) -> Result<()> {
    let dir = path.parent().expect("a state file lies in a directory");
    own::replace_by(&dir.join(NEW), path, text, own::SECRET, own::Outlives::Power)
        .context(|| format!("write {}", path.display()))?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, diff_ids: &[&str], packed: &[&str]) -> Record {
        let mut record = Record::new(Digest::of(name.as_bytes()), ImageConfig::default());
        let diff_ids: Vec<_> = diff_ids.iter().map(|id| Digest::of(id.as_bytes())).collect();
        record.layers = ChainId::stack(&diff_ids);
        let blob = |text: &&str| {
            vec![Packed { media_type: String::new(), digest: Digest::of(text.as_bytes()), size: 1 }]
        };
        record.packed = packed.iter().map(blob).collect();
        record
    }

    #[test]
    fn a_record_is_read_whole_however_it_comes() {
        let mut record = record("a", &["x"], &["y"]);
        record.names.insert("z".repeat(1000), 1);
        let text = serde_json::to_vec(&record).unwrap();
        for room in [1, 100, text.len() - 1, text.len(), text.len() + 1] {
            let read: Record = parse(text.as_slice(), &mut vec![0; room]).unwrap().unwrap();
            assert_eq!(read, record, "{room}");
        }
        for cut in [0, 1, text.len() - 1] {
            assert!(parse::<Record>(&text[..cut], &mut [0; 64]).unwrap().is_err(), "{cut}");
        }
    }

    #[test]
    fn a_name_is_of_the_record_that_got_it_last() {
        let claims = [[("a", 3), ("b", 1)], [("a", 5), ("c", 1)], [("a", 4), ("d", 7)], [("d", 7), ("e", 1)]];
        let mut all: Vec<Loaded> = Vec::new();
        for names in claims {
            let mut record = record(&format!("{names:?}"), &[], &[]);
            record.names = names.map(|(name, time)| (name.to_owned(), time)).into();
            all.push(Loaded::Whole(Box::new(record)));
        }
        keep_youngest_claims(&mut all);
        let left: Vec<_> = all.iter().map(|loaded| loaded.image().names.join(" ")).collect();
        // Of two at the same moment neither is older.
        assert_eq!(left, ["b", "a c", "d", "d e"]);
    }

    #[test]
    fn an_image_learns_how_others_have_its_layers_and_no_more() {
        let mut new = record("new", &["a", "b", "c"], &["a.tar", "b.tar", "c.tar"]);
        // The same layers below, another one on top; and the same layer over another one, which is another layer.
        new.learn(&record("one", &["a", "b", "x"], &["a.gz", "b.tar", "x.gz"]));
        new.learn(&record("two", &["y", "b"], &["y.gz", "b.gz"]));
        // A record from before anything was noted.
        new.learn(&record("old", &["a"], &[]));
        let known = |number: usize| new.packed_as(number, &new.layers[number]).len();
        assert_eq!((known(0), known(1), known(2)), (2, 1, 1));
        assert_eq!(new.blobs, [Digest::of(b"a.gz")]);
        assert!(new.packed_as(0, &new.layers[1]).is_empty() && new.packed_as(9, &new.layers[0]).is_empty());
    }
}
