//! `load`: images from an archive or a directory into the store.
//!
//! Invariant: every blob is checked against the digest under which it is named, whatever the layout.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::content::Blob;
use super::digest::{Algorithm, Digest, Hasher};
use super::ingest::{self, Candidate, Incoming, Layers, Making};
use super::layout::{self, Layout};
use super::manifest::{self, DOCUMENT_MAX, Descriptor, Document};
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::{Image, ImageStore};
use crate::error::{Context, Error, ErrorKind, Result, shown};

/// How deep an index may lie in an index.
const INDEX_DEPTH: usize = 2;
/// How many images one archive may hold.
const IMAGES_MAX: usize = 1000;

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Image, what)
}

/// One image of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Reads Docker's `manifest.json`.
pub(super) fn parse_docker_list(bytes: &[u8]) -> Result<Vec<DockerImage>> {
    let bad = |error: serde_json::Error| wrong(format!("manifest.json: {error}"));
    let value = manifest::unique_keys(bytes).map_err(bad)?;
    let list: Vec<DockerImage> = serde_json::from_value(value).map_err(bad)?;
    if list.len() > IMAGES_MAX {
        return Err(wrong(format!("the archive has more than {IMAGES_MAX} images")));
    }
    Ok(list)
}

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The image, with all the names that it has now.
    pub image: Image,
    /// The names that it came with: perhaps none.
    pub names: Vec<String>,
}

impl ImageStore {
    /// Loads every image of an OCI layout (a directory), or of an archive: an OCI or Docker one,
    /// plain or compressed; `-` reads it from standard input. Of an image for several platforms the
    /// one for `platform` is taken (nothing: the host's).
    pub fn load(
        &self,
        path: &Path,
        platform: Option<&Platform>,
        progress: &dyn Progress,
    ) -> Result<Vec<LoadedImage>> {
        let platform = platform.cloned().unwrap_or_else(Platform::host);
        self.load_all(path, &platform, progress)
            .map_err(|error| error.context(layout::shown(path)).with_kind(ErrorKind::Image))
    }

    fn load_all(
        &self,
        path: &Path,
        platform: &Platform,
        progress: &dyn Progress,
    ) -> Result<Vec<LoadedImage>> {
        let layout = Layout::open(self.host(), path)?;
        let loader = Loader { store: self, layout: &layout, platform, progress };
        if let Some(index) = layout.read("index.json", DOCUMENT_MAX)? {
            return loader.load_oci(&index, path);
        }
        if let Some(list) = layout.read("manifest.json", DOCUMENT_MAX)? {
            return loader.load_docker(&list);
        }
        Err(wrong(
            "is neither an OCI layout (no index.json) nor an archive of docker save (no manifest.json)",
        )
        .hint("`podrun image import` makes an image of a root file system's tar"))
    }
}

struct Loader<'a> {
    store: &'a ImageStore,
    layout: &'a Layout,
    platform: &'a Platform,
    progress: &'a dyn Progress,
}

impl Loader<'_> {
    fn load_oci(&self, index: &[u8], path: &Path) -> Result<Vec<LoadedImage>> {
        let entries = match manifest::parse(index, None).context(|| "index.json")? {
            Document::Index(entries) if !entries.is_empty() => entries,
            Document::Index(_) => return Err(wrong("index.json names no image")),
            Document::Manifest(_) => return Err(wrong("index.json is a manifest, not an index")),
        };
        let mut images = Vec::new();
        for (name, group) in group_by_name(entries)? {
            let names = match &name {
                None => Vec::new(),
                Some(name) => vec![full_name(name, path)?],
            };
            let chosen = if group.len() == 1 { &group[0] } else { manifest::choose(&group, self.platform)? };
            let image = self.load_descriptor(chosen, names);
            images.push(image.map_err(|error| match name {
                Some(name) => error.context(shown(&name)),
                None => error,
            })?);
        }
        Ok(images)
    }

    /// Follows indexes down to one manifest, and takes that image in.
    fn load_descriptor(&self, top: &Descriptor, names: Vec<Reference>) -> Result<LoadedImage> {
        let mut documents = Vec::new();
        let mut here = top.clone();
        for _ in 0..=INDEX_DEPTH {
            let bytes = self.document(&here)?;
            documents.push(Blob::from_bytes(self.store.host(), &here.digest, &bytes)?);
            let parsed = manifest::parse(&bytes, Some(&here.media_type))
                .map_err(|error| error.context(format!("blob {}", here.digest)))?;
            match parsed {
                Document::Index(entries) => here = manifest::choose(&entries, self.platform)?.clone(),
                Document::Manifest(found) => {
                    let config = self.document(&found.config)?;
                    documents.push(Blob::from_bytes(self.store.host(), &found.config.digest, &config)?);
                    let mut candidate =
                        Candidate::new(found.config.digest.clone(), &config, found.layers, self.platform)?;
                    candidate.documents = documents;
                    candidate.digests =
                        names.iter().map(|name| name.with_digest(top.digest.clone()).to_string()).collect();
                    candidate.names = names.iter().map(ToString::to_string).collect();
                    return self.add(candidate, |layer| blob_name(&layer.digest));
                }
            }
        }
        Err(wrong("an index lies in an index in an index"))
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let name = blob_name(&descriptor.digest);
        let bytes = self
            .layout
            .read(&name, DOCUMENT_MAX)?
            .ok_or_else(|| wrong(format!("{} is missing", shown(&name))))?;
        if bytes.len() as u64 != descriptor.size {
            return Err(wrong(format!("{name} has {} bytes, not {}", bytes.len(), descriptor.size)));
        }
        Ok(bytes)
    }

    fn add(&self, candidate: Candidate, place: impl Fn(&Descriptor) -> String + Sync) -> Result<LoadedImage> {
        let names = candidate.names.clone();
        let layers = candidate.layers.clone();
        let source = Files { loader: self, layers, place, opened: Mutex::default() };
        let making = Making::begin(self.store, self.store.begin_ingest()?, &candidate)?;
        let image = ingest::add(self.store, making, candidate, &source, self.progress)?;
        Ok(LoadedImage { image, names })
    }

    fn load_docker(&self, list: &[u8]) -> Result<Vec<LoadedImage>> {
        let list = parse_docker_list(list)?;
        let named = |image: &DockerImage| image.repo_tags.iter().flatten().next().cloned();
        list.iter()
            .map(|image| {
                self.load_docker_image(image).map_err(|error| match named(image) {
                    Some(name) => error.context(shown(&name)),
                    None => error,
                })
            })
            .collect()
    }

    fn load_docker_image(&self, image: &DockerImage) -> Result<LoadedImage> {
        let config = self
            .layout
            .read(&image.config, DOCUMENT_MAX)?
            .ok_or_else(|| wrong(format!("{} is missing", image.config)))?;
        let id = Digest::of(&config);
        let layers = image.layers.iter().map(|name| self.describe(name)).collect::<Result<Vec<_>>>()?;
        let places: Vec<(Digest, String)> = layers
            .iter()
            .zip(&image.layers)
            .map(|(layer, name)| (layer.digest.clone(), name.clone()))
            .collect();
        let mut candidate = Candidate::new(id.clone(), &config, layers, self.platform)?;
        candidate.documents = vec![Blob::from_bytes(self.store.host(), &id, &config)?];
        for tag in image.repo_tags.iter().flatten() {
            candidate.names.push(tag.parse::<Reference>()?.to_string());
        }
        self.add(candidate, |layer| {
            places
                .iter()
                .find(|(digest, _)| *digest == layer.digest)
                .map(|(_, name)| name.clone())
                .unwrap_or_default()
        })
    }

    /// Docker's archives give no digests of the layers as they lie there: they are taken now.
    fn describe(&self, name: &str) -> Result<Descriptor> {
        let (mut reader, size) =
            self.layout.file(name)?.ok_or_else(|| wrong(format!("{} is missing", shown(name))))?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 256 * 1024];
        let mut media_type = None;
        loop {
            match std::io::Read::read(&mut reader, &mut buffer).context(|| format!("read {}", shown(name)))? {
                0 => break,
                len => {
                    media_type.get_or_insert_with(|| manifest::layer_type(&buffer[..len]));
                    hasher.update(&buffer[..len]);
                }
            }
        }
        Ok(Descriptor {
            media_type: media_type.unwrap_or_default().to_owned(),
            digest: hasher.finish(),
            size,
            platform: None,
            name: None,
        })
    }
}

/// The layers of an image as they lie in a layout.
struct Files<'a, P> {
    loader: &'a Loader<'a>,
    layers: Vec<Descriptor>,
    place: P,
    opened: Mutex<HashMap<usize, Blob>>,
}

impl<P: Fn(&Descriptor) -> String + Sync> Layers for Files<'_, P> {
    fn open(&self, number: usize) -> Result<Incoming> {
        let layer = &self.layers[number];
        let name = (self.place)(layer);
        let Some((mut reader, size)) = self.loader.layout.file(&name)? else {
            return Err(wrong(format!("{} is missing", shown(&name))));
        };
        if size != layer.size {
            return Err(wrong(format!("{} is truncated: {size} of {} bytes", shown(&name), layer.size)));
        }
        let blob = Blob::copy(self.loader.store.host(), &layer.digest, layer.size, &mut reader)?;
        let content = Incoming::Whole(blob.reader()?);
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(number, blob);
        Ok(content)
    }

    fn close(&self, number: usize) -> Result<Option<Blob>> {
        Ok(self.opened.lock().unwrap_or_else(PoisonError::into_inner).remove(&number))
    }

    /// A layer is copied before it is read: nothing goes on by itself.
    fn stop(&self) {}
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The entries of an index by name, in their order; those without one stand for themselves, unless
/// they are one image's platforms.
pub(super) fn group_by_name(entries: Vec<Descriptor>) -> Result<Vec<(Option<String>, Vec<Descriptor>)>> {
    if entries.len() > IMAGES_MAX {
        return Err(wrong(format!("the layout has more than {IMAGES_MAX} images")));
    }
    let mut groups: Vec<(Option<String>, Vec<Descriptor>)> = Vec::new();
    for entry in entries {
        let same_image = |name: &Option<String>| {
            *name == entry.name && (name.is_some() || (entry.platform.is_some() && !entry.is_index()))
        };
        match groups.iter_mut().find(|(name, _)| same_image(name)) {
            Some((_, group)) => group.push(entry),
            None => groups.push((entry.name.clone(), vec![entry])),
        }
    }
    Ok(groups)
}

/// The name an annotation gives: a whole one, or only a tag, which belongs to the file's own name.
pub(super) fn full_name(annotation: &str, path: &Path) -> Result<Reference> {
    if annotation.contains(['/', ':', '@']) {
        return annotation.parse();
    }
    let stem = path
        .file_name()
        .and_then(|name| name.to_str())
        .map(|name| name.split('.').next().unwrap_or(name).to_lowercase())
        .filter(|stem| !stem.is_empty() && *stem != "-");
    match stem.map(|stem| format!("{stem}:{annotation}").parse()) {
        Some(Ok(reference)) => Ok(reference),
        _ => annotation.parse(),
    }
}
