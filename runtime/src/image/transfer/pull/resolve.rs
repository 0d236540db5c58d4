//! From a name to one image at a registry: through indexes to its manifest and its config.
//!
//! Invariant: an index's statements about a manifest are true, or the pull ends: only entries for another
//! platform, or of no image, are passed over. No layer is fetched before the config is known to be for the
//! platform.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::pin::Pin;

use tokio::sync::watch;

use super::Bring;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::content::{self, Blob};
use crate::image::model::digest::Digest;
use crate::image::model::manifest::{self, DOCUMENT_MAX, Descriptor, Document};
use crate::image::model::platform::Platform;
use crate::image::model::reference::Reference;
use crate::image::registry::Registry;
use crate::image::store::ImageStore;
use crate::image::transfer::ingest::Candidate;
use crate::image::transfer::search::{Found, INDEX_DEPTH, Search};

/// A config that was fetched before a lease held it: when the pull ends, the store has it or it is not needed.
pub(super) struct Fetched<'a> {
    host: &'a Host,
    digest: Digest,
}

impl Drop for Fetched<'_> {
    fn drop(&mut self) {
        content::forget(self.host, &self.digest);
    }
}

/// Finds the image that `reference` names for `platform`.
pub(super) async fn resolve<'a>(
    store: &'a ImageStore,
    registry: &Registry<'_>,
    reference: &Reference,
    platform: &Platform,
) -> Result<(Candidate, Vec<Fetched<'a>>)> {
    let target = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    let resolving = Resolving { store, registry, search: Search::new(platform), fetched: RefCell::default() };
    let (mut candidate, top) = match resolving.follow(target, None, 0).await? {
        Found::Image(found) => found,
        Found::Other(error) => return Err(error),
        Found::Artifact(what) => return Err(Error::new(ErrorKind::Image, what)),
    };
    candidate.digests = vec![reference.with_digest(top).to_string()];
    if reference.digest().is_none() {
        candidate.names = vec![reference.to_string()];
    }
    Ok((candidate, resolving.fetched.into_inner()))
}

struct Resolving<'a, 'r> {
    store: &'a ImageStore,
    registry: &'r Registry<'r>,
    search: Search<'r>,
    fetched: RefCell<Vec<Fetched<'a>>>,
}

/// An image, and the digest of the document that led to it.
type Resolved<'f> = Pin<Box<dyn Future<Output = Result<Found<(Candidate, Digest)>>> + 'f>>;

impl Resolving<'_, '_> {
    /// The image of `target` (a tag or a digest), whose type an index may have stated.
    fn follow(&self, target: String, promised: Option<Descriptor>, depth: usize) -> Resolved<'_> {
        Box::pin(async move {
            if depth > INDEX_DEPTH {
                return Err(Error::new(ErrorKind::Image, "an index lies in an index in an index"));
            }
            let (bytes, digest, media_type) =
                self.registry.any(async |source| source.manifest(&target).await).await?;
            if let Some(promised) = &promised {
                check_promise(promised, bytes.len(), media_type.as_deref())?;
            }
            let blob = Blob::from_bytes(self.store.host(), &digest, &bytes)?;
            let promised = promised.as_ref().map(|descriptor| descriptor.media_type.as_str());
            let mut candidate = match manifest::parse(&bytes, media_type.as_deref().or(promised))? {
                Document::Artifact(what) => return Ok(Found::Artifact(what)),
                Document::Index(entries) => match self.first_of(&entries, depth).await? {
                    Found::Image((candidate, _)) => candidate,
                    Found::Artifact(what) if depth == 0 => {
                        return Ok(Found::Artifact(format!("its index has no image: {what}")));
                    }
                    other => return Ok(other),
                },
                Document::Manifest(found) => {
                    let (blob, config) = self.config(&found.config).await?;
                    let mut candidate = Candidate::new(found.config.digest, &config, found.layers)?;
                    if let Some(error) = candidate.unfit(self.search.platform) {
                        return Ok(Found::Other(error));
                    }
                    candidate.documents.push(blob);
                    candidate
                }
            };
            candidate.documents.push(blob);
            Ok(Found::Image((candidate, digest)))
        })
    }

    /// The first of an index's entries that is an image for the platform.
    async fn first_of(&self, entries: &[Descriptor], depth: usize) -> Result<Found<(Candidate, Digest)>> {
        let mut choice = self.search.among(entries);
        while let Some(entry) = choice.next()? {
            match self.follow(entry.digest.to_string(), Some(entry.clone()), depth + 1).await? {
                found @ Found::Image(_) => return Ok(found),
                other => choice.pass(other),
            }
        }
        Ok(choice.end())
    }

    /// The image's config, which may be here.
    async fn config(&self, config: &Descriptor) -> Result<(Blob, Vec<u8>)> {
        if config.size > DOCUMENT_MAX {
            let what = format!("blob {} is larger than {DOCUMENT_MAX} bytes", config.digest);
            return Err(Error::new(ErrorKind::Image, what));
        }
        let host = self.store.host();
        self.fetched.borrow_mut().push(Fetched { host, digest: config.digest.clone() });
        let (broken, stop) = (&Cell::new(false), &watch::Sender::new(false));
        let bring = Bring { host, blob: config, begun: &|_| (), came: &|_| Ok(()), broken, stop };
        let blob = self.registry.any(async |source| bring.from(source).await).await?;
        let mut bytes = Vec::new();
        blob.reader()?.read_to_end(&mut bytes).context(|| format!("blob {}", config.digest))?;
        let found = Digest::with(config.digest.algorithm(), &bytes);
        if found != config.digest {
            let what = format!("blob {} has the wrong digest: its content is {found}", config.digest);
            return Err(Error::new(ErrorKind::Image, what).hint("`podrun image fsck --repair` drops it"));
        }
        Ok((blob, bytes))
    }
}

/// An index's statement about a manifest must be true.
fn check_promise(expected: &Descriptor, len: usize, media_type: Option<&str>) -> Result<()> {
    let wrong =
        |what: String| Err(Error::new(ErrorKind::Image, format!("manifest {}: {what}", expected.digest)));
    if len as u64 != expected.size {
        return wrong(format!("has {len} bytes, the index says {}", expected.size));
    }
    match media_type {
        Some(other) if !expected.media_type.is_empty() && other != expected.media_type => {
            wrong(format!("comes as {other}, the index says {}", expected.media_type))
        }
        _ => Ok(()),
    }
}
