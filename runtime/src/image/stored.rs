//! An image as the content store has it: its manifest, its config, and its layers as they came.
//!
//! Invariant: a manifest that came with the image is given byte by byte, so that its digest stays; only an image that
//! came without one gets one made, out of its config and of blobs whose content was compared with it.

use std::fs::File;
use std::io;

use serde_json::json;

use super::content;
use super::decompress::{self, Compression};
use super::digest::Digest;
use super::manifest::{
    self, DOCKER_MANIFEST, DOCUMENT_MAX, Descriptor, Document, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST,
};
use super::record::Record;
use super::{Image, ImageStore};
use crate::error::{Context, Error, ErrorKind, Result};

/// What a registry gets of one image.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) manifest: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) config: Descriptor,
    /// The lowest first.
    pub(super) layers: Vec<Descriptor>,
}

impl ImageStore {
    /// The image's manifest, and what it names.
    pub(super) fn stored(&self, image: &Image) -> Result<Stored> {
        let record = self.record(&image.id)?;
        let mut found: Option<Stored> = None;
        for digest in &record.blobs {
            let Some(bytes) = self.small(digest)? else { continue };
            let Ok(Document::Manifest(parsed)) = manifest::parse(&bytes, None) else { continue };
            if parsed.config.digest != image.id {
                continue;
            }
            let known = image.digests.iter().any(|name| name.ends_with(&format!("@{digest}")));
            // Of several the one under which a registry knows the image.
            if found.is_none() || known {
                let media_type = media_type(&bytes, &parsed.config);
                found = Some(Stored {
                    manifest: bytes,
                    digest: digest.clone(),
                    media_type,
                    config: parsed.config,
                    layers: parsed.layers,
                });
            }
        }
        found.map_or_else(|| self.made(image, &record), Ok)
    }

    /// A blob that may be a document, whole; nothing if it is not there or larger than one.
    fn small(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some((mut file, size)) = content::find(self.host(), digest)? else { return Ok(None) };
        if size > DOCUMENT_MAX {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).context(|| format!("read blob {digest}"))?;
        Ok(Some(bytes))
    }

    /// A manifest for an image that came without one, as archives of `docker save` do.
    fn made(&self, image: &Image, record: &Record) -> Result<Stored> {
        let config = self.small(&image.id)?.ok_or_else(|| {
            Error::new(ErrorKind::Image, format!("its config {} is not in the store", image.id))
        })?;
        let (_, diff_ids) = manifest::parse_config(&config)?;
        let mut layers = Vec::new();
        for diff_id in &diff_ids {
            layers.push(self.layer(diff_id, record)?.ok_or_else(|| {
                Error::new(ErrorKind::Image, format!("no blob of its layer {diff_id} is in the store"))
                    .hint("it was unpacked already when the image came; remove the image, and load it again")
            })?);
        }
        let config = descriptor(OCI_CONFIG, image.id.clone(), config.len() as u64);
        let shown = |descriptor: &Descriptor| json!({ "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": shown(&config),
            "layers": layers.iter().map(shown).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = Digest::of(&manifest);
        Ok(Stored { manifest, digest, media_type: OCI_MANIFEST.into(), config, layers })
    }

    /// The blob whose plain content is `diff_id`: by its name if it is plain, else by looking into each.
    fn layer(&self, diff_id: &Digest, record: &Record) -> Result<Option<Descriptor>> {
        if let Some((_, size)) = content::find(self.host(), diff_id)? {
            return Ok(Some(descriptor(OCI_LAYER, diff_id.clone(), size)));
        }
        for digest in &record.blobs {
            let Some((mut file, size)) = content::find(self.host(), digest)? else { continue };
            let ending = match compression(&mut file)? {
                Compression::None => continue,
                Compression::Gzip => "+gzip",
                Compression::Zstd => "+zstd",
            };
            let read = |plain: &mut dyn io::Read| {
                io::copy(plain, &mut io::sink()).context(|| format!("blob {digest}"))
            };
            let (_, plain) = decompress::pipeline(file, diff_id.algorithm(), read)?;
            if plain == *diff_id {
                return Ok(Some(descriptor(&format!("{OCI_LAYER}{ending}"), digest.clone(), size)));
            }
        }
        Ok(None)
    }
}

fn compression(file: &mut File) -> Result<Compression> {
    let mut first = [0; 4];
    let len = io::Read::read(file, &mut first).context(|| "read a blob")?;
    io::Seek::rewind(file).context(|| "read a blob")?;
    Ok(Compression::detect(&first[..len]))
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, name: None }
}

/// What a manifest is: what it calls itself, else what its config belongs to.
fn media_type(bytes: &[u8], config: &Descriptor) -> String {
    let own = serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let own = own.and_then(|value| value.get("mediaType")?.as_str().map(str::to_owned));
    own.unwrap_or_else(|| {
        if config.media_type == OCI_CONFIG { OCI_MANIFEST } else { DOCKER_MANIFEST }.to_owned()
    })
}
