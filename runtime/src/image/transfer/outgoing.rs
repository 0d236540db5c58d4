//! An image as the content store has it: its manifests, and its layers as they came packed.
//!
//! Invariant: a manifest that came with the image is given byte by byte, so that its digest stays; one is made only of
//! blobs that are here and of which the record says that they are the image's layers.

use std::io::Read;

use serde_json::json;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::content;
use crate::image::model::digest::Digest;
use crate::image::model::manifest::Packed;
use crate::image::model::manifest::{self, DOCKER_MANIFEST, Descriptor, Document, OCI_CONFIG, OCI_MANIFEST};
use crate::image::store::record::Record;
use crate::image::store::{Image, ImageStore};

/// The parts of one image for a registry or an archive.
#[derive(Debug)]
pub(in crate::image) struct Outgoing {
    pub(in crate::image) manifest: Vec<u8>,
    pub(in crate::image) digest: Digest,
    pub(in crate::image) media_type: String,
    pub(in crate::image) config: Descriptor,
    /// The lowest first.
    pub(in crate::image) layers: Vec<Descriptor>,
}

impl ImageStore {
    /// The image's manifest for a registry, and its blobs.
    pub(in crate::image) fn outgoing(&self, image: &Image, record: &Record) -> Result<Outgoing> {
        // Of several the one under which a registry knows the image.
        let mut all = self.manifests_of(record);
        let is_known = |stored: &Outgoing| {
            image.digests.iter().any(|name| name.ends_with(&format!("@{}", stored.digest)))
        };
        let known = all.iter().position(is_known).unwrap_or(0);
        if known < all.len() {
            return Ok(all.swap_remove(known));
        }
        self.made_of(record, self.document(&image.id)?.len())
    }

    /// The manifests with which the image came, as far as they are here.
    pub(in crate::image) fn manifests_of(&self, record: &Record) -> Vec<Outgoing> {
        let is_layer =
            |digest: &Digest| record.packed.iter().flatten().any(|packed| packed.digest == *digest);
        let documents = record.blobs.iter().filter(|digest| **digest != record.id && !is_layer(digest));
        let stored = documents.filter_map(|digest| Outgoing::of(self.document(digest).ok()?, digest.clone()));
        stored.filter(|stored| stored.config.digest == record.id).collect()
    }

    /// A manifest of the stored blobs, for an image that came without one or without its blobs.
    pub(in crate::image) fn made_of(&self, record: &Record, config_size: usize) -> Result<Outgoing> {
        let mut layers = Vec::new();
        for number in 0..record.layers.len() {
            let Packed { digest, size, .. } = self.packed_layer(record, number)?;
            let file = content::open(self.host(), &digest, size)?;
            let file = file.ok_or_else(|| Error::new(ErrorKind::Image, format!("blob {digest} is gone")))?;
            let mut first = Vec::new();
            file.take(4).read_to_end(&mut first).context(|| format!("read blob {digest}"))?;
            let media_type = manifest::layer_type(&first);
            layers.push(json!({ "mediaType": media_type, "digest": digest, "size": size }));
        }
        let bytes = manifest::manifest_of(&record.id, config_size, &layers);
        let digest = Digest::of(&bytes);
        Outgoing::of(bytes, digest).ok_or_else(|| Error::failed("a manifest of our own is none"))
    }

    /// A form of the layer with that number that is here as it came packed.
    pub(in crate::image) fn packed_layer(&self, record: &Record, number: usize) -> Result<Packed> {
        let layer = &record.layers[number];
        for packed in record.packed_as(number, layer) {
            if content::open(self.host(), &packed.digest, packed.size)?.is_some() {
                return Ok(packed.clone());
            }
        }
        Err(Error::new(ErrorKind::Image, format!("its layer {layer} is not here as it was packed"))
            .hint("pull or load the image again: that brings it"))
    }
}

impl Outgoing {
    /// A manifest with its blobs; nothing if the bytes are none.
    fn of(manifest: Vec<u8>, digest: Digest) -> Option<Self> {
        let Ok(Document::Manifest(parsed)) = manifest::parse(&manifest, None) else { return None };
        let media_type = media_type(&manifest, &parsed.config);
        Some(Self { manifest, digest, media_type, config: parsed.config, layers: parsed.layers })
    }
}

/// The type of a manifest: its own, else by its config's.
fn media_type(bytes: &[u8], config: &Descriptor) -> String {
    let own = serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let own = own.and_then(|value| value.get("mediaType")?.as_str().map(manifest::media_type));
    let own = own.filter(|own| !own.is_empty());
    own.unwrap_or_else(|| {
        if config.media_type == OCI_CONFIG { OCI_MANIFEST } else { DOCKER_MANIFEST }.to_owned()
    })
}
