//! One image on its way into the store, whatever it comes from.
//!
//! Invariant: nothing is visible before everything of the image is on the disk: blobs have no name,
//! layers lie in `tmp`; then one sync of the file system, then the names, the record last.

use std::fs::File;
use std::os::fd::OwnedFd;

use oci_spec::image::ImageConfiguration;

use super::config::ImageConfig;
use super::content::{self, Blob};
use super::digest::{ChainId, Digest};
use super::layers::{self, Commit};
use super::lease::Hold;
use super::manifest::Descriptor;
use super::platform::Platform;
use super::progress::{Event, Phase, Progress};
use super::record::{Loaded, Record};
use super::store::unique_name;
use super::unpack::{Limits, unpack};
use super::{Image, ImageStore, decompress, manifest, record};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// Where in a staged layer's directory that lies which later entries replace.
const REPLACED: &[u8] = b"replaced";

/// What is known of an image before its layers are there.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The image's id.
    pub(super) id: Digest,
    pub(super) config: ImageConfiguration,
    pub(super) diff_ids: Vec<Digest>,
    /// The layers as they are stored, as many as there are diff ids.
    pub(super) layers: Vec<Descriptor>,
    /// Its index, manifest and config.
    pub(super) documents: Vec<Blob>,
    pub(super) names: Vec<String>,
    pub(super) digests: Vec<String>,
}

impl Candidate {
    /// A candidate out of its config's bytes; refused if it is for another platform, or if its config
    /// and its manifest disagree on the layers.
    pub(super) fn new(
        id: Digest,
        config: &[u8],
        layers: Vec<Descriptor>,
        platform: &Platform,
    ) -> Result<Self> {
        let (config, diff_ids) = manifest::parse_config(config)?;
        if diff_ids.len() != layers.len() {
            return Err(Error::new(
                ErrorKind::Image,
                format!("the config names {} layers, the manifest {}", diff_ids.len(), layers.len()),
            ));
        }
        let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
        if os != platform.os || architecture != platform.architecture {
            return Err(Error::new(
                ErrorKind::Image,
                format!("the image is for {os}/{architecture}, not for {platform}"),
            )
            .hint(format!("--platform {os}/{architecture} takes it nevertheless")));
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

    /// All its blobs.
    pub(super) fn blobs(&self) -> Vec<Digest> {
        let documents = self.documents.iter().map(|blob| blob.digest().clone());
        documents.chain(self.layers.iter().map(|layer| layer.digest.clone())).collect()
    }

    /// The record of the layer with that number, if it is here unpacked and packed, by whatever image it came: only
    /// so can it be saved and pushed.
    fn is_here(
        &self,
        store: &ImageStore,
        making: &Making,
        number: usize,
        chain: &ChainId,
    ) -> Result<Option<Commit>> {
        let Some(commit) = layers::committed(store.host(), chain)? else { return Ok(None) };
        let layer = &self.layers[number];
        if content::open(store.host(), &layer.digest, layer.size)?.is_some() {
            return Ok(Some(commit));
        }
        for loaded in &making.records {
            if let Loaded::Whole(record) = loaded
                && content::has_one(store.host(), record.packed_as(number, chain))?
            {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    /// The layers that must be fetched: those that are neither unpacked nor there as blobs, each once,
    /// with the number under which `fetch` will be asked for it.
    pub(super) fn to_fetch(&self, store: &ImageStore, making: &Making) -> Result<Vec<(usize, Descriptor)>> {
        let mut wanted: Vec<(usize, Descriptor)> = Vec::new();
        for (number, chain) in ChainId::stack(&self.diff_ids).iter().enumerate() {
            let layer = &self.layers[number];
            let known = wanted.iter().any(|(_, other)| other.digest == layer.digest)
                || self.is_here(store, making, number, chain)?.is_some()
                || content::open(store.host(), &layer.digest, layer.size)?.is_some();
            if !known {
                wanted.push((number, layer.clone()));
            }
        }
        Ok(wanted)
    }
}

/// A layer that was unpacked and is not visible yet: a directory in `tmp`, reached by its descriptor.
#[derive(Debug)]
struct Staged {
    chain: ChainId,
    name: String,
    dir: OwnedFd,
}

/// The making of one image.
#[derive(Debug)]
struct Ingest<'a> {
    store: &'a ImageStore,
    blobs: Vec<(Digest, Blob)>,
    staged: Vec<Staged>,
    /// Held to the end: nobody takes away what it counts on.
    making: Making,
}

/// What whoever makes an image has: a lease on all that it will have, and the right to lay things down in `tmp`.
#[derive(Debug)]
pub(super) struct Making {
    _hold: Hold,
    _lock: File,
    /// The images that there were when it began: what they have is kept, too.
    records: Vec<Loaded>,
}

impl Making {
    /// Begins to make `candidate`, under a lock that [`ImageStore::begin_ingest`] gave.
    pub(super) fn begin(store: &ImageStore, lock: File, candidate: &Candidate) -> Result<Self> {
        let (hold, records) = store.hold(candidate)?;
        Ok(Self { _hold: hold, _lock: lock, records })
    }
}

/// Takes `candidate` in; `fetch` gives the blob of the layer with that number when it is not there.
pub(super) fn add(
    store: &ImageStore,
    making: Making,
    candidate: Candidate,
    fetch: &mut dyn FnMut(usize) -> Result<Blob>,
    progress: &dyn Progress,
) -> Result<Image> {
    let mut ingest = Ingest { store, blobs: Vec::new(), staged: Vec::new(), making };
    let chain = ChainId::stack(&candidate.diff_ids);
    let known: Vec<_> = candidate.layers.iter().map(|layer| (layer.digest.clone(), layer.size)).collect();
    progress.event(&Event::Layers(&known));
    let mut size = 0;
    for number in 0..chain.len() {
        let (layer, diff_id) = (&candidate.layers[number], &candidate.diff_ids[number]);
        let say = |phase, done| {
            progress.event(&Event::Layer { digest: &layer.digest, phase, done, total: layer.size });
        };
        if let Some(commit) = candidate.is_here(store, &ingest.making, number, &chain[number])? {
            size += commit.bytes;
            say(Phase::Exists, layer.size);
            continue;
        }
        let blob = ingest.blob(layer, || fetch(number))?;
        if let Some(commit) = layers::committed(store.host(), &chain[number])? {
            // Only the blob was missing.
            size += commit.bytes;
            say(Phase::Complete, layer.size);
            continue;
        }
        let source = Counted { source: blob, done: 0, said: 0, say: &|done| say(Phase::Unpacking, done) };
        size += ingest
            .unpack(source, diff_id, &chain[..=number])
            .map_err(|error| error.context(format!("layer {}", layer.digest)).with_kind(ErrorKind::Image))?;
        say(Phase::Complete, layer.size);
    }
    ingest.commit(candidate, chain, size, progress)
}

impl Ingest<'_> {
    /// A layer's stored content: from the store, from this image, or fetched.
    fn blob(&mut self, layer: &Descriptor, fetch: impl FnOnce() -> Result<Blob>) -> Result<File> {
        if let Some((_, blob)) = self.blobs.iter().find(|(digest, _)| *digest == layer.digest) {
            return blob.reader();
        }
        if let Some(file) = content::open(self.store.host(), &layer.digest, layer.size)? {
            return Ok(file);
        }
        let blob = fetch()?;
        let reader = blob.reader()?;
        self.blobs.push((layer.digest.clone(), blob));
        Ok(reader)
    }

    /// Unpacks one layer into `tmp`; `chain` ends with its own id.
    fn unpack(
        &mut self,
        source: impl std::io::Read + Send,
        diff_id: &Digest,
        chain: &[ChainId],
    ) -> Result<u64> {
        let (own, below) = chain.split_last().expect("a chain ends with the layer itself");
        let lower = below.iter().rev().map(|chain| self.tree(chain)).collect::<sys::Result<Vec<_>>>()?;
        let (tree, trash) = self.stage(own)?;
        let (made, found) = decompress::pipeline(source, diff_id.algorithm(), |plain| {
            unpack(plain, tree, trash, &lower, Limits::default())
        })?;
        if found != *diff_id {
            return Err(Error::new(
                ErrorKind::Image,
                format!("its plain content is {found}, the config says {diff_id}"),
            ));
        }
        let staged = self.staged.last().expect("staged in this function");
        sys::dir::remove_tree(&staged.dir, REPLACED)?;
        layers::write_commit(&staged.dir, &Commit::new(diff_id.clone(), made.bytes, made.inodes))?;
        Ok(made.bytes)
    }

    /// Makes the directory in which the layer `chain` is unpacked, with its tree and a place for what
    /// later entries replace.
    fn stage(&mut self, chain: &ChainId) -> Result<(OwnedFd, OwnedFd)> {
        let tmp = sys::dir::open(&self.store.tmp_dir())?;
        let name = unique_name();
        sys::dir::make_dir(&tmp, name.as_bytes(), 0o700)?;
        // Staged before anything can fail in it, so that it is removed whatever does.
        let dir = sys::dir::open_at(&tmp, name.as_bytes())?;
        self.staged.push(Staged { chain: chain.clone(), name, dir });
        let dir = &self.staged.last().expect("pushed in the line above").dir;
        for name in [layers::TREE.as_bytes(), REPLACED] {
            sys::dir::make_dir(dir, name, 0o700)?;
        }
        Ok((layers::open_tree(dir)?, sys::dir::open_at(dir, REPLACED)?))
    }

    /// The tree of a lower layer: still staged, or in its place.
    fn tree(&self, chain: &ChainId) -> sys::Result<OwnedFd> {
        match self.staged.iter().find(|staged| staged.chain == *chain) {
            Some(staged) => layers::open_tree(&staged.dir),
            None => sys::dir::open(&layers::layer_dir(self.store.host(), chain)),
        }
    }

    /// Makes everything last, then visible.
    fn commit(
        mut self,
        candidate: Candidate,
        chain: Vec<ChainId>,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let host = self.store.host();
        progress.event(&Event::Syncing);
        sys::dir::sync_file_system(sys::dir::open(&self.store.tmp_dir())?)?;
        for blob in candidate.documents.iter().chain(self.blobs.iter().map(|(_, blob)| blob)) {
            blob.publish(host)?;
        }
        for staged in self.staged.drain(..) {
            let path = self.store.tmp_dir().join(&staged.name);
            layers::publish(host, &path, &staged.chain, &self.store.trash_name())?;
        }
        record::sync_dir(&host.root.join("content/sha256"))?;
        record::sync_dir(&host.root.join("layers"))?;
        let blobs = candidate.blobs();
        let mut new = Record::new(candidate.id, ImageConfig::from(&candidate.config));
        new.created.clone_from(candidate.config.created());
        new.size = size;
        new.layers = chain;
        new.digests = candidate.digests;
        new.blobs = blobs;
        new.packed = candidate.layers.into_iter().map(|layer| vec![layer.into()]).collect();
        new.blobs.sort();
        new.blobs.dedup();
        self.store.put(new, &candidate.names)
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        let Ok(tmp) = sys::dir::open(&self.store.tmp_dir()) else { return };
        for staged in &self.staged {
            // What stays is swept when the store is opened next.
            let _ = sys::dir::remove_tree(&tmp, staged.name.as_bytes());
        }
    }
}

/// Reports how much of a layer's stored content was read, every megabyte.
struct Counted<'a> {
    source: File,
    done: u64,
    said: u64,
    say: &'a (dyn Fn(u64) + Sync),
}

impl std::io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.done += len as u64;
        if self.done - self.said >= 1 << 20 {
            self.said = self.done;
            (self.say)(self.done);
        }
        Ok(len)
    }
}
