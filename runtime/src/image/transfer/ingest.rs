//! One image on its way into the store, from any source.
//!
//! Invariant: nothing is visible before everything of the image is on the disk: blobs have no name,
//! layers lie in `tmp`; then one sync of the file system, then the names, the record last.

mod crew;

use std::fs::File;
use std::os::fd::OwnedFd;

use oci_spec::image::ImageConfiguration;

use self::crew::{Crew, Made};
use crate::error::{Error, ErrorKind, Result, shown};
use crate::image::content::{self, Arrived, Blob, Follower};
use crate::image::disk;
use crate::image::layer::layers;
use crate::image::model::config::ImageConfig;
use crate::image::model::digest::{ChainId, Digest};
use crate::image::model::manifest::{self, Descriptor};
use crate::image::model::platform::Platform;
use crate::image::progress::{Event, Progress};
use crate::image::store::lease::Hold;
use crate::image::store::record::{Loaded, Record};
use crate::image::store::unique_name;
use crate::image::store::{Image, ImageStore};
use crate::sys;

/// Where in a staged layer's directory that lies which later entries replace.
const REPLACED: &[u8] = b"replaced";

/// The facts of an image before its layers are there.
#[derive(Debug)]
pub(in crate::image) struct Candidate {
    /// The image's id.
    pub(in crate::image) id: Digest,
    pub(in crate::image) config: ImageConfiguration,
    pub(in crate::image) diff_ids: Vec<Digest>,
    /// The layers as they are stored, as many as there are diff ids.
    pub(in crate::image) layers: Vec<Descriptor>,
    /// Its index, manifest and config.
    pub(in crate::image) documents: Vec<Blob>,
    pub(in crate::image) names: Vec<String>,
    pub(in crate::image) digests: Vec<String>,
}

impl Candidate {
    /// A candidate out of its config's bytes; refused if its config and its manifest disagree on the layers.
    pub(in crate::image) fn new(id: Digest, config: &[u8], layers: Vec<Descriptor>) -> Result<Self> {
        let (config, diff_ids) = manifest::parse_config(config)?;
        if diff_ids.len() != layers.len() {
            return Err(Error::new(
                ErrorKind::Image,
                format!("the config names {} layers, the manifest {}", diff_ids.len(), layers.len()),
            ));
        }
        Ok(Self {
            id,
            config,
            diff_ids,
            layers,
            documents: Vec::new(),
            names: Vec::new(),
            digests: Vec::new(),
        })
    }

    /// The error of an image for another platform.
    pub(in crate::image) fn unfit(&self, platform: &Platform) -> Option<Error> {
        let (os, architecture) = (self.config.os().to_string(), self.config.architecture().to_string());
        if platform.fits(&os, &architecture) {
            return None;
        }
        let or = |said: String, wanted: &String| if said.is_empty() { wanted.clone() } else { said };
        let (os, architecture) = (or(os, &platform.os), or(architecture, &platform.architecture));
        let own = format!("{}/{}", shown(&os), shown(&architecture));
        let error = Error::new(ErrorKind::Image, format!("the image is for {own}, not for {platform}"));
        Some(error.hint(format!("--platform {own} takes it nevertheless")))
    }

    /// All its blobs.
    pub(in crate::image) fn blobs(&self) -> Vec<Digest> {
        let documents = self.documents.iter().map(|blob| blob.digest().clone());
        documents.chain(self.layers.iter().map(|layer| layer.digest.clone())).collect()
    }

    /// Whether the layer with that number is in the store in packed form, from whichever image: only then can
    /// it be saved and pushed.
    fn is_packed(&self, store: &ImageStore, making: &Making, number: usize, chain: &ChainId) -> Result<bool> {
        let layer = &self.layers[number];
        if content::open(store.host(), &layer.digest, layer.size)?.is_some() {
            return Ok(true);
        }
        for loaded in &making.records {
            if let Loaded::Whole(record) = loaded
                && content::has_one(store.host(), record.packed_as(number, chain))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The layers to fetch: those neither unpacked nor in the store as blobs, each once, with its number for
    /// `fetch`.
    pub(in crate::image) fn to_fetch(
        &self,
        store: &ImageStore,
        making: &Making,
    ) -> Result<Vec<(usize, Descriptor)>> {
        let mut wanted: Vec<(usize, Descriptor)> = Vec::new();
        for (number, chain) in ChainId::stack(&self.diff_ids).iter().enumerate() {
            let layer = &self.layers[number];
            let known = wanted.iter().any(|(_, other)| other.digest == layer.digest)
                || content::open(store.host(), &layer.digest, layer.size)?.is_some()
                || layers::committed(store.host(), chain)?.is_some()
                    && self.is_packed(store, making, number, chain)?;
            if !known {
                wanted.push((number, layer.clone()));
            }
        }
        Ok(wanted)
    }
}

/// Where the layers come from that are not here. Several are opened, read and closed side by side, the lower ones first.
pub(in crate::image) trait Layers: Sync {
    /// The stored content of the layer with that number, which may still be on its way.
    fn open(&self, number: usize) -> Result<Incoming>;

    /// The outcome of a layer, once it was read or given up: its blob, checked; nothing if it begins anew.
    fn close(&self, number: usize) -> Result<Option<Blob>>;

    /// Stops: the rest is not needed.
    fn stop(&self);
}

/// A layer's stored content.
pub(in crate::image) enum Incoming {
    /// All of it.
    Whole(File),
    /// The bytes as they arrive.
    Following(Follower),
}

impl Incoming {
    /// Whether nothing more is to come, asked at any time.
    fn arrival(&self) -> Option<Arrived> {
        match self {
            Self::Whole(_) => None,
            Self::Following(follower) => Some(follower.arrived()),
        }
    }
}

impl std::io::Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Whole(file) => file.read(buffer),
            Self::Following(follower) => follower.read(buffer),
        }
    }
}

/// A layer that was unpacked and is not visible yet: a directory in `tmp`, reached by its descriptor. It goes with this.
#[derive(Debug)]
struct Staged<'a> {
    store: &'a ImageStore,
    name: String,
    dir: OwnedFd,
}

impl<'a> Staged<'a> {
    /// Makes the directory, with its tree and a place for replaced files.
    fn new(store: &'a ImageStore) -> Result<Self> {
        let tmp = sys::file::dir::open(&store.tmp_dir())?;
        let name = unique_name();
        sys::file::dir::make_dir(&tmp, name.as_bytes(), 0o700)?;
        let dir = sys::file::dir::open_at(&tmp, name.as_bytes())?;
        let this = Self { store, name, dir };
        for name in [layers::TREE.as_bytes(), REPLACED] {
            sys::file::dir::make_dir(&this.dir, name, 0o700)?;
        }
        Ok(this)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After its publication there is nothing under this name; remains are swept when the store is opened
        // next.
        if let Ok(tmp) = sys::file::dir::open(&self.store.tmp_dir()) {
            let _ = sys::file::dir::remove_tree(&tmp, self.name.as_bytes());
        }
    }
}

/// The state of a maker of an image: a lease on all of its content, and the lock for work in `tmp`.
#[derive(Debug)]
pub(in crate::image) struct Making {
    hold: Hold,
    _lock: File,
    /// The images present when it began: their content is protected, too.
    records: Vec<Loaded>,
}

impl Making {
    /// Begins to make `candidate`, under a lock that [`ImageStore::begin_ingest`] gave.
    pub(in crate::image) fn begin(store: &ImageStore, lock: File, candidate: &Candidate) -> Result<Self> {
        let (hold, records) = store.hold(ChainId::stack(&candidate.diff_ids), candidate.blobs())?;
        Ok(Self { hold, _lock: lock, records })
    }
}

/// Takes `candidate` in; `source` has the layers that are not here.
pub(in crate::image) fn add(
    store: &ImageStore,
    mut making: Making,
    candidate: Candidate,
    source: &dyn Layers,
    progress: &dyn Progress,
) -> Result<Image> {
    let chain = ChainId::stack(&candidate.diff_ids);
    let known: Vec<_> = candidate.layers.iter().map(|layer| (layer.digest.clone(), layer.size)).collect();
    progress.event(&Event::Layers(&known));
    let made = Crew::new(store, &candidate, &chain, &making, source, progress).run()?;
    let image = commit(store, candidate, chain, made, progress).inspect(|image| making.hold.holds(image));
    // Held to the end: the image's content cannot be collected before.
    drop(making);
    image
}

/// Makes everything last, then visible.
fn commit(
    store: &ImageStore,
    candidate: Candidate,
    chain: Vec<ChainId>,
    made: Vec<Made<'_>>,
    progress: &dyn Progress,
) -> Result<Image> {
    let host = store.host();
    progress.event(&Event::Syncing);
    sys::file::dir::sync_file_system(sys::file::dir::open(&store.tmp_dir())?)?;
    for blob in candidate.documents.iter().chain(made.iter().filter_map(|made| made.blob.as_ref())) {
        blob.publish(host)?;
    }
    for (made, chain) in made.iter().zip(&chain) {
        if let Some(staged) = &made.staged {
            let path = store.tmp_dir().join(&staged.name);
            layers::publish(host, &path, chain, &store.trash_name())?;
        }
    }
    content::sync(host)?;
    disk::sync_dir(&host.root.join("layers"))?;
    let blobs = candidate.blobs();
    let mut new = Record::new(candidate.id, ImageConfig::from(&candidate.config));
    new.created.clone_from(candidate.config.created());
    new.size = made.iter().map(|made| made.bytes).sum();
    new.layers = chain;
    new.digests = candidate.digests;
    new.blobs = blobs;
    new.packed = candidate.layers.into_iter().map(|layer| vec![layer.into()]).collect();
    new.blobs.sort();
    new.blobs.dedup();
    store.put(new, &candidate.names)
}
