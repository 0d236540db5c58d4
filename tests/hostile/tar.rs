//! Layers that no library would write: a tar made header by header, and an OCI layout around it whose
//! every number can be a lie.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A tar's bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// A header of `kind` that says it is `size` bytes long; whatever is to follow it is the caller's.
    pub(crate) fn entry(self, name: &str, kind: u8, size: u64) -> Self {
        self.header(name, kind, 0o644, &format!("{size:011o}\0"), "", (0, 0))
    }

    /// A header whose size is the field `size` as it stands.
    pub(crate) fn sized(self, name: &str, size: &[u8; 12]) -> Self {
        self.raw(name.as_bytes(), b'0', 0o644, size, b"", (0, 0))
    }

    /// A file.
    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, b'0', content.len() as u64).body(content)
    }

    /// A directory, 0755.
    pub(crate) fn dir(self, name: &str) -> Self {
        self.mode(name, b'5', 0o755)
    }

    /// An empty entry of `kind` with a mode.
    pub(crate) fn mode(self, name: &str, kind: u8, mode: u32) -> Self {
        self.header(name, kind, mode, "00000000000\0", "", (0, 0))
    }

    /// A symbolic link.
    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.header(name, b'2', 0o777, "00000000000\0", target, (0, 0))
    }

    /// A hard link.
    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.header(name, b'1', 0o644, "00000000000\0", target, (0, 0))
    }

    /// A device: `b'3'` for characters, `b'4'` for blocks.
    pub(crate) fn device(self, name: &str, kind: u8, device: (u32, u32)) -> Self {
        self.header(name, kind, 0o666, "00000000000\0", "", device)
    }

    /// PAX records in front of the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.records(b'x', records)
    }

    /// PAX records for all that follows.
    pub(crate) fn global(self, records: &[(&str, &[u8])]) -> Self {
        self.records(b'g', records)
    }

    fn records(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut len = rest + 1;
            while len != rest + len.to_string().len() {
                len = rest + len.to_string().len();
            }
            text.extend_from_slice(format!("{len} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.entry("pax", kind, text.len() as u64).body(&text)
    }

    /// Content, padded to blocks.
    pub(crate) fn body(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The bytes without an end.
    pub(crate) fn cut(self) -> Vec<u8> {
        self.0
    }

    /// The bytes with the two empty blocks that end a tar.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    fn header(self, name: &str, kind: u8, mode: u32, size: &str, link: &str, device: (u32, u32)) -> Self {
        let mut field = [0; 12];
        field.copy_from_slice(size.as_bytes());
        self.raw(name.as_bytes(), kind, mode, &field, link.as_bytes(), device)
    }

    fn raw(
        mut self,
        name: &[u8],
        kind: u8,
        mode: u32,
        size: &[u8; 12],
        link: &[u8],
        device: (u32, u32),
    ) -> Self {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name);
        let mut octal = |at: usize, len: usize, value: u64| {
            block[at..at + len].copy_from_slice(format!("{value:0width$o}\0", width = len - 1).as_bytes());
        };
        octal(100, 8, mode.into());
        octal(108, 8, 0);
        octal(116, 8, 0);
        octal(136, 12, 1_000_000_000);
        octal(329, 8, device.0.into());
        octal(337, 8, device.1.into());
        block[124..136].copy_from_slice(size);
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }
}

/// `bytes` in one member of gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The name that every image here has.
pub(crate) const NAME: &str = "localhost/hostile/image:1";

/// `sha256:` and the digest of `bytes`.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// This machine, as Go names it.
pub(crate) fn architecture() -> &'static str {
    if std::env::consts::ARCH == "x86_64" { "amd64" } else { "arm64" }
}

/// An OCI layout that is being written.
#[derive(Debug)]
pub(crate) struct Layout(pub(crate) PathBuf);

impl Layout {
    /// An empty layout.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder.join("blobs/sha256"))?;
        std::fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
        Ok(Self(folder.to_owned()))
    }

    /// Stores a blob and describes it as it is.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        std::fs::write(self.0.join("blobs").join(digest.replace(':', "/")), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    /// An image's config for these plain layers, with `own` as its part `config`.
    pub(crate) fn config(diff_ids: &[String], own: &Value) -> Value {
        let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
        json!({ "architecture": architecture(), "os": "linux", "config": own, "rootfs": rootfs })
    }

    /// Stores a manifest of what was stored before, and describes it.
    pub(crate) fn manifest(&self, config: &Value, layers: &[Value]) -> Result<Value> {
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Writes index.json with `descriptor` under [`NAME`].
    pub(crate) fn finish(&self, mut descriptor: Value) -> Result<()> {
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": NAME });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] });
        Ok(std::fs::write(self.0.join("index.json"), index.to_string())?)
    }

    /// A whole image of plain layers, stored as they are.
    pub(crate) fn image(folder: &Path, layers: &[Vec<u8>]) -> Result<()> {
        let stored: Vec<_> = layers.iter().map(|layer| (digest(layer), layer.clone())).collect();
        Self::stored(folder, &stored, &json!({}))
    }

    /// A whole image of layers that are stored so, each with the digest of what it holds.
    pub(crate) fn stored(folder: &Path, layers: &[(String, Vec<u8>)], own: &Value) -> Result<()> {
        let layout = Self::create(folder)?;
        let described =
            layers.iter().map(|(_, bytes)| layout.blob(LAYER, bytes)).collect::<Result<Vec<_>>>()?;
        let diff_ids: Vec<String> = layers.iter().map(|(diff_id, _)| diff_id.clone()).collect();
        let config = layout.blob(CONFIG, Self::config(&diff_ids, own).to_string().as_bytes())?;
        let manifest = layout.manifest(&config, &described)?;
        layout.finish(manifest)
    }
}
