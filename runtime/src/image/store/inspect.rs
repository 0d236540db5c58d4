//! All that is known of one image: its layers as they lie here and as they came, and how it was built.
//!
//! Invariant: unreadable parts are reported, never made up: a config with a wrong digest is an error, and a
//! missing layer is shown as missing.

use std::io::Read;

use oci_spec::image::ImageConfiguration;
use serde::Serialize;

use super::record::{self, Loaded, Record};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::content;
use crate::image::layer::layers;
use crate::image::model::config::ImageConfig;
use crate::image::model::digest::{ChainId, Digest};
use crate::image::model::manifest::{self, DOCUMENT_MAX, Packed};
use crate::image::store::{Image, ImageStore};

/// An image with everything that is known of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The digest of its config.
    pub id: Digest,
    /// Its names.
    pub names: Vec<String>,
    /// Where its manifest is known under a digest.
    pub digests: Vec<String>,
    /// The bytes in the files of its layers.
    pub size: u64,
    /// When it was built, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The author, if stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The architecture it is for.
    pub architecture: String,
    /// The variant of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system it is for.
    pub os: String,
    /// The user of its program; empty: root.
    pub user: String,
    /// Its settings for running it.
    pub config: ImageConfig,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// How it was built, the first step first.
    pub history: Vec<Step>,
}

/// One layer of an image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// The digest of its plain tar.
    pub diff_id: Digest,
    /// Its name including all layers below: its key in the store.
    pub chain_id: ChainId,
    /// The bytes in its files; nothing where it is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The inodes that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// The ways it came packed.
    pub packed: Vec<Blob>,
}

/// A packed layer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// Its packed form.
    #[serde(flatten)]
    pub packed: Packed,
    /// Whether the store has it; the blob of a layer that was already unpacked is not fetched.
    pub present: bool,
}

/// One step of an image's build.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// When it was done, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command that made it, if stated.
    pub created_by: String,
    /// A comment.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The layer that it made, if it made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<ChainId>,
    /// The bytes in that layer's files.
    pub size: u64,
}

impl ImageStore {
    /// All that is known of the image that `text` means.
    pub fn details(&self, text: &str) -> Result<Details> {
        let image = self.known(text)?;
        let name = image.display_name();
        self.details_of(image).map_err(|error| {
            error.context(format!("image {name}")).hint("`podrun image fsck` looks for all damage")
        })
    }

    fn details_of(&self, image: Image) -> Result<Details> {
        let record = self.record(&image.id)?;
        let config = self.config(&image.id)?;
        let layers = self.layers_of(&record, &config)?;
        let history = history(&config, &layers);
        Ok(Details {
            author: config.author().clone(),
            variant: config.variant().clone(),
            architecture: image.config.architecture.clone(),
            os: image.config.os.clone(),
            user: image.config.user.clone(),
            id: image.id,
            names: image.names,
            digests: image.digests,
            size: image.size,
            created: image.created,
            config: image.config,
            layers,
            history,
        })
    }

    /// The record of the image `id`.
    pub(in crate::image) fn record(&self, id: &Digest) -> Result<Record> {
        let all = record::load_all(&self.images_dir())?;
        match all.into_iter().find(|loaded| loaded.id() == id) {
            Some(Loaded::Whole(record)) => Ok(*record),
            Some(Loaded::Damaged(_, why)) => Err(Error::new(ErrorKind::Image, why)),
            None => Err(Error::new(ErrorKind::NotFound, "it is gone")),
        }
    }

    /// The image's config, whose digest is its id.
    pub(in crate::image) fn config(&self, id: &Digest) -> Result<ImageConfiguration> {
        let bytes = self.document(id)?;
        let (config, _) = manifest::parse_config(&bytes)?;
        Ok(config)
    }

    /// A manifest or a config, checked.
    pub(in crate::image) fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let wrong = |what: String| Error::new(ErrorKind::Image, format!("blob {digest} {what}"));
        let (file, _) = content::find(self.host(), digest)?.ok_or_else(|| wrong("is missing".into()))?;
        let mut bytes = Vec::new();
        file.take(DOCUMENT_MAX).read_to_end(&mut bytes).context(|| format!("read blob {digest}"))?;
        let found = Digest::with(digest.algorithm(), &bytes);
        if found != *digest {
            return Err(wrong(format!("has the wrong digest: its content is {found}")));
        }
        Ok(bytes)
    }

    fn layers_of(&self, record: &Record, config: &ImageConfiguration) -> Result<Vec<Layer>> {
        let diff_ids =
            config.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<Vec<Digest>>>()?;
        if ChainId::stack(&diff_ids) != record.layers {
            return Err(Error::new(ErrorKind::Image, "its record and its config name different layers"));
        }
        let layer = |(number, diff_id): (usize, Digest)| {
            let chain_id = record.layers[number].clone();
            let commit = layers::committed(self.host(), &chain_id)?;
            let packed = record.packed.get(number).into_iter().flatten().map(|packed| {
                let present = content::open(self.host(), &packed.digest, packed.size)?.is_some();
                Ok(Blob { packed: packed.clone(), present })
            });
            Ok(Layer {
                diff_id,
                chain_id,
                size: commit.as_ref().map(|commit| commit.bytes),
                inodes: commit.as_ref().map(|commit| commit.inodes),
                packed: packed.collect::<Result<_>>()?,
            })
        };
        diff_ids.into_iter().enumerate().map(layer).collect()
    }
}

/// The steps of the build, each with the layer it made; layers of which the history knows nothing have steps without words.
fn history(config: &ImageConfiguration, layers: &[Layer]) -> Vec<Step> {
    let mut left = layers.iter();
    let told = config.history().iter().flatten().map(|entry| {
        let layer = if entry.empty_layer() == Some(true) { None } else { left.next() };
        Step {
            created: entry.created().clone(),
            created_by: entry.created_by().clone().unwrap_or_default(),
            comment: entry.comment().clone().unwrap_or_default(),
            layer: layer.map(|layer| layer.chain_id.clone()),
            size: layer.and_then(|layer| layer.size).unwrap_or(0),
        }
    });
    let mut steps: Vec<Step> = told.collect();
    steps.extend(left.map(|layer| Step {
        created: None,
        created_by: String::new(),
        comment: String::new(),
        layer: Some(layer.chain_id.clone()),
        size: layer.size.unwrap_or(0),
    }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_does_not_fit_the_layers_loses_none() {
        let layer = |name: &str| {
            let diff_id = Digest::of(name.as_bytes());
            let chain_id = ChainId::of(None, &diff_id);
            Layer { diff_id, chain_id, size: Some(5), inodes: None, packed: Vec::new() }
        };
        let layers = [layer("a"), layer("b"), layer("c")];
        let config = |history: &str| -> ImageConfiguration {
            let text = format!(
                r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"history":{history}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let shown = |text: &str, layers: &[Layer]| -> Vec<(String, bool)> {
            let steps = history(&config(text), layers).into_iter();
            steps.map(|step| (step.created_by, step.layer.is_some())).collect()
        };
        let step = |name: &str, layer: bool| (name.to_owned(), layer);
        let text = r#"[{"created_by":"A"},{"created_by":"ENV","empty_layer":true},{"created_by":"B"}]"#;
        let all = [step("A", true), step("ENV", false), step("B", true), step("", true)];
        assert_eq!(shown(text, &layers), all);
        assert_eq!(shown(text, &layers[..1]), [step("A", true), step("ENV", false), step("B", false)]);
        assert_eq!(shown("[]", &layers[..1]), [step("", true)]);
    }
}
