//! OCI image layouts and archives: blobs by digest, a config, a manifest, an index.
//!
//! Invariant: an image stands at its final path only when it is whole (written aside, then renamed).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::tree::Tree;

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The same instant as `tree::MADE_AT`.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// A layer as stored: its bytes, what they are, and the digest of the tar within.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) diff_id: String,
}

impl Layer {
    /// `tree` as a layer.
    pub(crate) fn new(tree: &Tree, compression: Compression) -> Result<Self> {
        let tar = tree.to_tar()?;
        let diff_id = digest(&tar);
        let (media_type, bytes) = match compression {
            Compression::Plain => ("application/vnd.oci.image.layer.v1.tar", tar),
            Compression::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                gzip.write_all(&tar)?;
                ("application/vnd.oci.image.layer.v1.tar+gzip", gzip.finish()?)
            }
            Compression::Zstd => {
                ("application/vnd.oci.image.layer.v1.tar+zstd", zstd::encode_all(tar.as_slice(), 3)?)
            }
        };
        Ok(Self { media_type, bytes, diff_id })
    }
}

/// One platform's image: layers from the lowest up, and the config's own part.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
    pub(crate) layers: Vec<Layer>,
    /// OCI's `config`: Entrypoint, Cmd, Env and the like.
    pub(crate) config: Value,
}

/// `sha256:` and the digest of `bytes`.
pub(crate) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every write");
        text
    })
}

/// An OCI layout that is being written.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// An empty layout at `folder`.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256")).with_context(|| format!("`{}`", folder.display()))?;
        fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where the blob `digest` lies.
    pub(crate) fn blob_path(&self, digest: &str) -> PathBuf {
        self.folder.join("blobs").join(digest.replace(':', "/"))
    }

    /// Stores a blob and describes it.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        fs::write(self.blob_path(&digest), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    /// Stores an image's layers, config and manifest, and describes the manifest.
    pub(crate) fn image(&self, image: &Image) -> Result<Value> {
        let layers: Vec<Value> = image
            .layers
            .iter()
            .map(|layer| self.blob(layer.media_type, &layer.bytes))
            .collect::<Result<_>>()?;
        let config = self.blob(CONFIG, config(image).to_string().as_bytes())?;
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let mut descriptor = self.blob(MANIFEST, manifest.to_string().as_bytes())?;
        descriptor["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
        if let Some(variant) = &image.variant {
            descriptor["platform"]["variant"] = json!(variant);
        }
        Ok(descriptor)
    }

    /// Writes index.json with `descriptor` under the full name `name`.
    pub(crate) fn finish(&self, mut descriptor: Value, name: &str) -> Result<()> {
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] });
        fs::write(self.folder.join("index.json"), index.to_string())?;
        Ok(())
    }
}

/// An image's config, whose digest is the image's id in whatever it is stored.
fn config(image: &Image) -> Value {
    let diff_ids: Vec<&String> = image.layers.iter().map(|layer| &layer.diff_id).collect();
    let history: Vec<Value> = (1..=diff_ids.len())
        .map(|number| json!({ "created": CREATED, "created_by": format!("rootfs-fixtures, layer {number}") }))
        .collect();
    let mut config = json!({
        "created": CREATED,
        "architecture": image.architecture,
        "os": "linux",
        "config": image.config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    });
    if let Some(variant) = &image.variant {
        config["variant"] = json!(variant);
    }
    config
}

/// The layout in `folder` as one tar, oci-archive.
pub(crate) fn archive(folder: &Path) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    for name in ["oci-layout", "index.json"] {
        tree.file(name, fs::read(folder.join(name))?);
    }
    for blob in fs::read_dir(folder.join("blobs/sha256"))? {
        let blob = blob?;
        tree.file(&format!("blobs/sha256/{}", blob.file_name().to_string_lossy()), fs::read(blob.path())?);
    }
    tree.to_tar()
}

/// `image` as `docker save` writes it: one tar with manifest.json and uncompressed layers.
pub(crate) fn docker_archive(image: &Image, trees: &[&Tree], name: &str) -> Result<Vec<u8>> {
    let mut out = Tree::default();
    let mut names = Vec::new();
    for tree in trees {
        let tar = tree.to_tar()?;
        let path = format!("{}/layer.tar", digest(&tar).trim_start_matches("sha256:"));
        out.file(&path, tar);
        names.push(path);
    }
    let config = config(image).to_string();
    let config_name = format!("{}.json", digest(config.as_bytes()).trim_start_matches("sha256:"));
    out.file(&config_name, config);
    out.file(
        "manifest.json",
        json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]).to_string(),
    );
    out.to_tar()
}

/// Writes a file at `path` whole or not at all.
pub(crate) fn publish(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_oci_writes_it() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), empty);
    }

    #[test]
    fn a_gzip_layer_carries_no_time() {
        let mut tree = Tree::default();
        tree.file("a", "b");
        let layer = Layer::new(&tree, Compression::Gzip).unwrap();
        assert_eq!(layer.bytes[4..8], [0; 4], "the gzip header's time");
    }
}
