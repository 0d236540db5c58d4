//! `load`: images from an archive or a directory into the store.
//!
//! Invariant: every blob is checked against the digest in its name, whatever the layout; each image that a
//! layout lists is reported as loaded, refused, or passed over as no image, until the host itself fails.

mod listed;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

#[cfg(any(test, fuzzing))]
pub(in crate::image) use self::listed::parse_docker_list;
use self::listed::{Listed, Origin};
#[cfg(fuzzing)]
pub(in crate::image) use self::listed::{Named, group_by_name, read_name};
use super::ingest::{self, Candidate, Incoming, Layers, Making};
use super::layout::{self, Layout};
use super::search::{Found, INDEX_DEPTH, Search, TRIES};
use crate::error::{Context, Error, ErrorKind, Result, shown};
use crate::image::content::Blob;
use crate::image::model::digest::{Algorithm, Digest, Hasher};
use crate::image::model::manifest::{self, Descriptor, Document};
use crate::image::model::platform::Platform;
use crate::image::model::reference::Reference;
use crate::image::progress::Progress;
use crate::image::store::{Image, ImageStore};

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Image, what)
}

/// The selection of images.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The platform to take of an image for several; nothing: the host's.
    pub platform: Option<Platform>,
    /// The name, the tag or the digest of the one image that is wanted; nothing: all.
    pub only: Option<String>,
}

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The image, with all the names that it has now.
    pub image: Image,
    /// The names that it came with: perhaps none.
    pub names: Vec<String>,
    /// The tag that was all of its name, and belongs to no repository that is known.
    pub lone_tag: Option<String>,
}

/// The outcome for each image of a layout.
#[derive(Debug, Default)]
pub struct Loads {
    /// The images that are in the store now.
    pub images: Vec<LoadedImage>,
    /// Entries that are no image, each by name and type.
    pub passed_over: Vec<String>,
    /// Refused images, each by name and reason.
    pub failed: Vec<Error>,
}

impl ImageStore {
    /// Loads the images of an OCI layout (a directory), or of an archive: an OCI or Docker one, plain or
    /// compressed; `-` reads it from standard input. A refused image does not keep the others from being
    /// loaded.
    pub fn load(&self, path: &Path, options: &LoadOptions, progress: &dyn Progress) -> Result<Loads> {
        let named = |error: Error| error.context(layout::shown(path));
        let loads = self.load_all(path, options, progress);
        let mut loads = loads.map_err(|error| named(error).with_kind(ErrorKind::Image))?;
        loads.failed = loads.failed.into_iter().map(named).collect();
        Ok(loads)
    }

    fn load_all(&self, path: &Path, options: &LoadOptions, progress: &dyn Progress) -> Result<Loads> {
        let layout = Layout::open(self.host(), path)?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let loader = Loader { store: self, layout: &layout, platform, progress };
        let mut all = listed::read(&layout, path)?;
        if let Some(only) = &options.only {
            all = listed::only(all, only)?;
        }
        let mut loads = Loads::default();
        for listed in all {
            let called = listed.called();
            match loader.take(listed) {
                Ok(Taken::Image(image)) => loads.images.push(*image),
                Ok(Taken::None(what)) => loads.passed_over.push(format!("{called}: {what}")),
                Err(error) => {
                    // A failure of the host would meet the next image, too.
                    let is_its_own = error.kind() == ErrorKind::Image;
                    loads.failed.push(error.context(called));
                    if !is_its_own {
                        break;
                    }
                }
            }
        }
        match loads.passed_over.first() {
            Some(first) if loads.images.is_empty() && loads.failed.is_empty() => {
                Err(wrong(format!("has no image: {first}")))
            }
            _ => Ok(loads),
        }
    }
}

/// The outcome for an entry of a layout.
enum Taken {
    Image(Box<LoadedImage>),
    /// It is no image, but of this type.
    None(String),
}

struct Loader<'a> {
    store: &'a ImageStore,
    layout: &'a Layout,
    platform: Platform,
    progress: &'a dyn Progress,
}

impl Loader<'_> {
    fn take(&self, listed: Listed) -> Result<Taken> {
        let names = listed.names;
        let image = match listed.origin {
            Origin::Wrong(error) => return Err(error),
            Origin::Docker(image) => {
                let config = image.config.clone();
                let layers =
                    image.layers.iter().map(|name| self.describe(name)).collect::<Result<Vec<_>>>()?;
                let places: HashMap<Digest, String> =
                    layers.iter().map(|layer| layer.digest.clone()).zip(image.layers).collect();
                let mut candidate = self.docker_candidate(&config, layers)?;
                candidate.names = names.iter().map(ToString::to_string).collect();
                self.add(candidate, |layer| places.get(&layer.digest).cloned().unwrap_or_default())?
            }
            Origin::Oci(entries) => {
                let search = Search::new(&self.platform);
                let (mut candidate, top) = match self.first_of(&search, &entries, 0)? {
                    Found::Image(found) => found,
                    Found::Other(error) => return Err(error),
                    Found::Artifact(what) => return Ok(Taken::None(what)),
                };
                self.refuse_twin(&entries, top)?;
                let known = |name: &Reference| name.with_digest(top.digest.clone()).to_string();
                candidate.digests = names.iter().map(known).collect();
                candidate.names = names.iter().map(ToString::to_string).collect();
                self.add(*candidate, |layer| blob_name(&layer.digest))?
            }
        };
        let lone_tag = listed.tag.filter(|_| image.names.is_empty());
        Ok(Taken::Image(Box::new(LoadedImage { lone_tag, ..image })))
    }

    /// The first of `entries` that leads to an image for the platform, and which of them that is.
    fn first_of<'e>(
        &self,
        search: &Search<'_>,
        entries: &'e [Descriptor],
        depth: usize,
    ) -> Result<Found<(Box<Candidate>, &'e Descriptor)>> {
        let mut choice = search.among(entries);
        while let Some(entry) = choice.next()? {
            match self.follow(search, entry, depth)? {
                Found::Image(candidate) => return Ok(Found::Image((candidate, entry))),
                other => choice.pass(other),
            }
        }
        Ok(choice.end())
    }

    /// Refuses two images for the platform under one name, or under none: a layout has no later one that counts.
    fn refuse_twin(&self, entries: &[Descriptor], taken: &Descriptor) -> Result<()> {
        let same: Vec<Descriptor> = entries
            .iter()
            .filter(|entry| entry.platform == taken.platform && entry.digest != taken.digest)
            .take(TRIES)
            .cloned()
            .collect();
        match self.first_of(&Search::new(&self.platform), &same, 0)? {
            Found::Image((_, twin)) => Err(wrong(format!(
                "two images are listed so: manifests {} and {}",
                taken.digest, twin.digest
            ))
            .hint("`podrun load PATH:DIGEST` loads one of them")),
            _ => Ok(()),
        }
    }

    /// The target of `here`: an image's manifest, an index of some, or an artifact's.
    fn follow(&self, search: &Search<'_>, here: &Descriptor, depth: usize) -> Result<Found<Box<Candidate>>> {
        if !here.may_be_image() {
            return Ok(Found::Artifact(here.not_an_image()));
        }
        if depth > INDEX_DEPTH {
            return Err(wrong("an index lies in an index in an index"));
        }
        let bytes = self.document(here)?;
        let blob = Blob::from_bytes(self.store.host(), &here.digest, &bytes)?;
        let parsed = manifest::parse(&bytes, Some(&here.media_type))
            .map_err(|error| error.context(format!("blob {}", here.digest)))?;
        let mut candidate = match parsed {
            Document::Artifact(what) => return Ok(Found::Artifact(what)),
            Document::Index(entries) => match self.first_of(search, &entries, depth + 1)? {
                Found::Image((candidate, _)) => candidate,
                Found::Other(error) => return Ok(Found::Other(error)),
                Found::Artifact(what) => return Ok(Found::Artifact(what)),
            },
            Document::Manifest(found) => {
                let config = self.document(&found.config)?;
                let id = found.config.digest;
                let mut candidate = Candidate::new(id.clone(), &config, found.layers)?;
                if let Some(error) = candidate.unfit(search.platform) {
                    return Ok(Found::Other(error));
                }
                candidate.documents.push(Blob::from_bytes(self.store.host(), &id, &config)?);
                Box::new(candidate)
            }
        };
        candidate.documents.push(blob);
        Ok(Found::Image(candidate))
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let name = blob_name(&descriptor.digest);
        let bytes = self.layout.document(&name)?;
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
        Ok(LoadedImage { image, names, lone_tag: None })
    }

    fn docker_candidate(&self, config: &str, layers: Vec<Descriptor>) -> Result<Candidate> {
        let bytes = self.layout.document(config)?;
        let id = listed::config_digest(config, &bytes)?;
        let mut candidate = Candidate::new(id.clone(), &bytes, layers)?;
        if let Some(error) = candidate.unfit(&self.platform) {
            return Err(error);
        }
        candidate.documents = vec![Blob::from_bytes(self.store.host(), &id, &bytes)?];
        Ok(candidate)
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

    /// A layer is copied before it is read: no work goes on by itself.
    fn stop(&self) {}
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
