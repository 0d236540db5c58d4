//! `push`: an image from the store to a registry.
//!
//! Invariant: the manifest goes last, after everything that it names; content that the registry has is not sent
//! again; the only change in the store is a name under which a registry knows the image.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use tokio::runtime::Builder;

use super::outgoing::Outgoing;
use super::pull::at_most;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::content;
use crate::image::model::digest::Digest;
use crate::image::model::manifest::Descriptor;
use crate::image::model::reference::Reference;
use crate::image::progress::{Event, Phase, Progress};
use crate::image::registry::{Access, Target, Transport, Upload};
use crate::image::store::record::{self, Loaded, Record};
use crate::image::store::{Image, ImageStore};

/// How many blobs go at once.
const UPLOADS: usize = 3;

/// How to push.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// How registries are reached.
    pub access: Access,
}

impl ImageStore {
    /// Pushes `image` as `to`, and gives the digest under which the registry knows it.
    pub fn push(
        &self,
        image: &Image,
        to: &Reference,
        options: &PushOptions,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        self.push_now(image, to, options, progress)
            .map_err(|error| error.context(format!("push {}", to.familiar())).with_kind(ErrorKind::Image))
    }

    fn push_now(
        &self,
        image: &Image,
        to: &Reference,
        options: &PushOptions,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let record = self.record(&image.id)?;
        // Protected to the end, even if the image is removed meanwhile.
        let _hold = self.hold_record(&record)?;
        let mut stored = self.outgoing(image, &record)?;
        if let Some(digest) = to.digest().filter(|digest| **digest != stored.digest) {
            let message = format!("the image's manifest is {}, not {digest}", stored.digest);
            return Err(Error::new(ErrorKind::Image, message).hint("push it under a tag"));
        }
        let runtime =
            Builder::new_current_thread().enable_all().build().context(|| "start the HTTP client")?;
        let transport = Transport::new(&options.access, progress);
        let target = Target::new(to, &siblings(image, to), &transport)?;
        let lacking = self.lacking(&stored)?;
        if !lacking.is_empty() && !runtime.block_on(lends(&target, &lacking))? {
            stored = self.otherwise_packed(&record, to, &lacking[0].digest, progress)?;
        }
        let mut blobs: Vec<&Descriptor> = Vec::new();
        for blob in stored.layers.iter().chain([&stored.config]) {
            if !blobs.iter().any(|other| other.digest == blob.digest) {
                blobs.push(blob);
            }
        }
        let known: Vec<_> = blobs.iter().map(|blob| (blob.digest.clone(), blob.size)).collect();
        progress.event(&Event::Layers(&known));
        let pushing = Pushing { store: self, target: &target, progress, failed: Mutex::default() };
        runtime.block_on(async {
            pushing.all(&blobs).await?;
            let name = to.tag().map_or_else(|| stored.digest.to_string(), str::to_owned);
            put_manifest(&target, &stored, &name).await
        })?;
        self.known_as(image, &to.with_digest(stored.digest.clone()).to_string())?;
        Ok(stored.digest)
    }

    /// The layers that are not here as the manifest names them: they were here in another form when the image came.
    fn lacking(&self, stored: &Outgoing) -> Result<Vec<Descriptor>> {
        let mut lacking = Vec::new();
        for layer in &stored.layers {
            if content::open(self.host(), &layer.digest, layer.size)?.is_none() {
                lacking.push(layer.clone());
            }
        }
        Ok(lacking)
    }

    /// The image with a manifest of the blobs that are here, where `blob` of its own is neither here nor there.
    fn otherwise_packed(
        &self,
        record: &Record,
        to: &Reference,
        blob: &Digest,
        progress: &dyn Progress,
    ) -> Result<Outgoing> {
        let what = format!("blob {blob} is not in the store, and the registry lacks it");
        let made = self.made_of(record, self.document(&record.id)?.len());
        let made = made.map_err(|error| error.context(&what))?;
        if to.digest().is_some() {
            return Err(Error::new(ErrorKind::Image, what)
                .hint("its layer is here packed in another way: under a tag it goes with another digest"));
        }
        progress.event(&Event::Warning(&format!(
            "{what}: its layer goes as it is packed here, and the image has another digest there, {}",
            made.digest
        )));
        Ok(made)
    }

    /// Notes that a registry knows the image under this digest, if the image is still there.
    fn known_as(&self, image: &Image, name: &str) -> Result<()> {
        self.locked(|| {
            for loaded in record::load_all(&self.images_dir())? {
                let Loaded::Whole(mut record) = loaded else { continue };
                if record.id == image.id && !record.digests.iter().any(|known| known == name) {
                    record.digests.push(name.to_owned());
                    record::save(&self.images_dir(), &record)?;
                }
            }
            Ok(())
        })
    }
}

/// Whether the registry has all of these blobs, in the repository or to lend.
async fn lends(target: &Target<'_>, blobs: &[Descriptor]) -> Result<bool> {
    for blob in blobs {
        if !target.has(&blob.digest).await? && !target.give(&blob.digest, None).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn put_manifest(target: &Target<'_>, stored: &Outgoing, name: &str) -> Result<()> {
    match target.put_manifest(name, &stored.manifest, &stored.media_type).await? {
        Some(taken) if taken.algorithm() == stored.digest.algorithm() && taken != stored.digest => {
            Err(Error::new(
                ErrorKind::Image,
                format!("the registry took it as {taken}, not as {}", stored.digest),
            ))
        }
        _ => Ok(()),
    }
}

/// The other repositories of the same registry that are known to have the image, and so may lend its blobs.
fn siblings(image: &Image, to: &Reference) -> Vec<String> {
    let mut paths: Vec<String> = image
        .digests
        .iter()
        .filter_map(|name| name.parse::<Reference>().ok())
        .filter(|name| name.domain() == to.domain() && name.path() != to.path())
        .map(|name| name.path().to_owned())
        .collect();
    paths.dedup();
    // Each is a right that is asked for.
    paths.truncate(2);
    paths
}

struct Pushing<'a> {
    store: &'a ImageStore,
    target: &'a Target<'a>,
    progress: &'a dyn Progress,
    failed: Mutex<Option<Error>>,
}

impl Pushing<'_> {
    /// Sends `blobs`, several at once; the first error ends all of them.
    async fn all(&self, blobs: &[&Descriptor]) -> Result<()> {
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let each = blobs.iter().map(|blob| async move {
            if let Err(error) = self.blob(blob).await {
                let error = error.context(format!("blob {}", blob.digest));
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
        let mut all = std::pin::pin!(at_most(UPLOADS, each));
        poll_fn(|context| {
            let polled = all.as_mut().poll(context);
            if failed().is_some() { Poll::Ready(()) } else { polled }
        })
        .await;
        failed().take().map_or(Ok(()), Err)
    }

    async fn blob(&self, blob: &Descriptor) -> Result<()> {
        let say = |phase, done| {
            self.progress.event(&Event::Layer { digest: &blob.digest, phase, done, total: blob.size });
        };
        if self.target.has(&blob.digest).await? {
            say(Phase::Exists, blob.size);
            return Ok(());
        }
        let file = content::open(self.store.host(), &blob.digest, blob.size)?;
        let watch = |done| say(Phase::Uploading, done);
        say(Phase::Uploading, 0);
        let upload = file.as_ref().map(|file| Upload { file, size: blob.size, watch: &watch });
        if !self.target.give(&blob.digest, upload.as_ref()).await? {
            // One that was there a moment ago, and has gone from both.
            return Err(Error::new(ErrorKind::Image, "it is not in the store, and the registry lacks it"));
        }
        say(Phase::Complete, blob.size);
        Ok(())
    }
}
