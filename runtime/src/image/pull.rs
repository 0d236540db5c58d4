//! `pull`: an image from a registry into the store.
//!
//! Invariant: the async runtime lives inside this call and on one thread; unpacking runs on the
//! caller's thread beside it, a layer as soon as it has come.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::thread;

use tokio::runtime::{Builder, Runtime};

use super::content::{self, Blob, BlobWriter};
use super::ingest::{self, Candidate, Making};
use super::layers;
use super::manifest::{self, Descriptor, Document};
use super::platform::Platform;
use super::progress::{Event, Phase, Progress};
use super::reference::Reference;
use super::registry::Registry;
use super::{Image, ImageStore};
use crate::error::{Context, Error, ErrorKind, Result};

/// How many layers come at once.
const DOWNLOADS: usize = 3;
/// How deep an index may lie in an index.
const INDEX_DEPTH: usize = 2;
/// How many bytes come between two events.
const REPORT_EVERY: u64 = 256 * 1024;

/// How to pull.
#[derive(Clone, Default)]
pub struct PullOptions {
    /// The platform wanted; nothing: the host's.
    pub platform: Option<Platform>,
    /// Files that may hold credentials, in Docker's form; the first match counts.
    pub auth_files: Vec<PathBuf>,
    /// User name and password given with the call, before any file.
    pub credentials: Option<(String, String)>,
    /// Registries (`host` or `host:port`) that may be spoken to in plain HTTP, beside the loopback's.
    pub insecure_registries: Vec<String>,
}

impl std::fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullOptions")
            .field("platform", &self.platform)
            .field("auth_files", &self.auth_files)
            .field("credentials", &self.credentials.is_some())
            .field("insecure_registries", &self.insecure_registries)
            .finish()
    }
}

impl ImageStore {
    /// Pulls `reference`; what is here already is not fetched again.
    pub fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image> {
        self.pull_now(reference, options, progress).map_err(|error| {
            error.context(format!("image {}", reference.familiar())).with_kind(ErrorKind::Image)
        })
    }

    fn pull_now(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let lock = self.begin_ingest()?;
        let runtime =
            Builder::new_current_thread().enable_all().build().context(|| "start the HTTP client")?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let registry = Registry::new(reference, options)?;
        if let Some(image) = self.unchanged(&runtime, &registry, reference, &platform)? {
            return Ok(image);
        }
        let candidate = runtime.block_on(self.resolve(&registry, reference, &platform))?;
        // Before anything is counted on: from here on nobody takes it away.
        let making = Making::begin(self, lock, &candidate)?;
        let wanted = candidate.to_fetch(self, &making)?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let (give, take) = channel();
            let downloads = Downloads { store: self, registry: &registry, progress, stop: &stop };
            scope.spawn(move || downloads.run(&runtime, &wanted, &give));
            let mut arrived = HashMap::new();
            let result = ingest::add(
                self,
                making,
                candidate,
                &mut |number| receive(&take, &mut arrived, number),
                progress,
            );
            // After an error nobody wants the rest.
            stop.store(true, Ordering::Relaxed);
            result
        })
    }

    /// The image that is here, if it is whole, for `platform`, and still what the registry has: a digest says so by
    /// itself, of a tag the registry is asked for its digest.
    fn unchanged(
        &self,
        runtime: &Runtime,
        registry: &Registry,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<Image>> {
        let Some(image) = self.get(reference)? else { return Ok(None) };
        let config = &image.config;
        if config.os != platform.os || config.architecture != platform.architecture {
            return Ok(None);
        }
        if !self.is_complete(&image)? {
            return Ok(None);
        }
        let tag = reference.tag().filter(|_| reference.digest().is_none());
        let Some(tag) = tag else { return Ok(Some(image)) };
        let now = runtime.block_on(registry.digest_of(tag)).map(|now| reference.with_digest(now).to_string());
        Ok(now.filter(|now| image.digests.contains(now)).map(|_| image))
    }

    /// Whether all of the image is here: its config, and its layers, unpacked and packed.
    fn is_complete(&self, image: &Image) -> Result<bool> {
        let Ok(record) = self.record(&image.id) else { return Ok(false) };
        if content::open_any(self.host(), &image.id)?.is_none() {
            return Ok(false);
        }
        for (number, layer) in record.layers.iter().enumerate() {
            let packed = record.packed_as(number, layer);
            if layers::committed(self.host(), layer)?.is_none() || !content::has_one(self.host(), packed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fetches manifests down to one image, and its config.
    async fn resolve(
        &self,
        registry: &Registry,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Candidate> {
        let mut documents = Vec::new();
        let mut target = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let (mut top, mut expected): (Option<_>, Option<Descriptor>) = (None, None);
        for _ in 0..=INDEX_DEPTH {
            let (bytes, digest, media_type) = registry.manifest(&target).await?;
            if let Some(expected) = &expected {
                check_promise(expected, bytes.len(), media_type.as_deref())?;
            }
            documents.push(Blob::from_bytes(self.host(), &digest, &bytes)?);
            let top = top.get_or_insert(digest).clone();
            let promised = expected.as_ref().map(|descriptor| descriptor.media_type.as_str());
            match manifest::parse(&bytes, media_type.as_deref().or(promised))? {
                Document::Index(entries) => {
                    let chosen = manifest::choose(&entries, platform)?;
                    target = chosen.digest.to_string();
                    expected = Some(chosen.clone());
                }
                Document::Manifest(found) => {
                    let config = registry.small_blob(&found.config).await?;
                    documents.push(Blob::from_bytes(self.host(), &found.config.digest, &config)?);
                    let mut candidate = Candidate::new(found.config.digest, &config, found.layers, platform)?;
                    candidate.documents = documents;
                    candidate.digests = vec![reference.with_digest(top).to_string()];
                    if reference.digest().is_none() {
                        candidate.names = vec![reference.to_string()];
                    }
                    return Ok(candidate);
                }
            }
        }
        Err(Error::new(ErrorKind::Image, "an index lies in an index in an index"))
    }
}

/// What an index said of a manifest must be so.
fn check_promise(expected: &Descriptor, len: usize, media_type: Option<&str>) -> Result<()> {
    let wrong =
        |what: String| Err(Error::new(ErrorKind::Image, format!("manifest {}: {what}", expected.digest)));
    if len as u64 != expected.size {
        return wrong(format!("has {len} bytes, the index says {}", expected.size));
    }
    match media_type {
        Some(other) if other != expected.media_type => {
            wrong(format!("comes as {other}, the index says {}", expected.media_type))
        }
        _ => Ok(()),
    }
}

/// Waits for the layer with that number; others that come first are kept.
fn receive(
    take: &Receiver<(usize, Result<Blob>)>,
    arrived: &mut HashMap<usize, Blob>,
    wanted: usize,
) -> Result<Blob> {
    loop {
        if let Some(blob) = arrived.remove(&wanted) {
            return Ok(blob);
        }
        let (number, blob) =
            take.recv().map_err(|_| Error::new(ErrorKind::Image, "a layer was not downloaded"))?;
        arrived.insert(number, blob?);
    }
}

struct Downloads<'a> {
    store: &'a ImageStore,
    registry: &'a Registry,
    progress: &'a dyn Progress,
    stop: &'a AtomicBool,
}

impl Downloads<'_> {
    fn run(&self, runtime: &Runtime, wanted: &[(usize, Descriptor)], give: &Sender<(usize, Result<Blob>)>) {
        let all = wanted.iter().map(|(number, layer)| async move {
            let result = self.download(layer).await;
            if result.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            // Nobody listening means that something else failed already.
            let _ = give.send((*number, result));
        });
        runtime.block_on(at_most(DOWNLOADS, all));
    }

    async fn download(&self, layer: &Descriptor) -> Result<Blob> {
        let mut writer = BlobWriter::new(self.store.host(), &layer.digest, layer.size)?;
        let (mut done, mut said) = (0, 0);
        let say = |phase, done| {
            self.progress.event(&Event::Layer { digest: &layer.digest, phase, done, total: layer.size });
        };
        say(Phase::Downloading, 0);
        self.registry
            .blob(layer, |piece| {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::new(ErrorKind::Interrupted, "another layer failed"));
                }
                writer.write(piece)?;
                done += piece.len() as u64;
                if done - said >= REPORT_EVERY {
                    said = done;
                    say(Phase::Downloading, done);
                }
                Ok(())
            })
            .await?;
        let blob = writer.finish()?;
        say(Phase::Downloaded, layer.size);
        Ok(blob)
    }
}

/// Runs all `futures`, so many at once, in their order.
async fn at_most<F: Future<Output = ()>>(width: usize, mut futures: impl Iterator<Item = F>) {
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    poll_fn(|context| {
        loop {
            while running.len() < width
                && let Some(next) = futures.next()
            {
                running.push(Box::pin(next));
            }
            let before = running.len();
            running.retain_mut(|future| future.as_mut().poll(context).is_pending());
            match running.len() {
                0 if before == 0 => return Poll::Ready(()),
                now if now == before => return Poll::Pending,
                // One ended: the next may begin.
                _ => {}
            }
        }
    })
    .await;
}
