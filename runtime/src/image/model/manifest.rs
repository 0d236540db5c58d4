//! Manifests, indexes and configs, in OCI's and Docker's words.
//!
//! Invariant: a document is read whole or refused: it is bounded; it is either an index, an image's manifest or
//! an artifact's; and its own media type is the one it was fetched as.

use std::fmt;

use oci_spec::image::{self as oci, ImageConfiguration, ImageIndex, ImageManifest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::ImageConfig;
use super::digest::Digest;
use super::json;
use super::platform::Platform;
use crate::error::{Error, ErrorKind, Result, shown};

/// The largest manifest, index or config that is read.
pub(in crate::image) const DOCUMENT_MAX: u64 = 4 * 1024 * 1024;
const LAYERS_MAX: usize = 512;
/// The annotations that name an image: containerd's, else OCI's.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/// The most entries of an index: enough for layouts with many images.
const MANIFESTS_MAX: usize = 1000;

pub(in crate::image) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(in crate::image) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(in crate::image) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(in crate::image) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(in crate::image) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer as a plain tar; compressed it has `+gzip` or `+zstd` behind.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPES: [&str; 2] = [OCI_CONFIG, "application/vnd.docker.container.image.v1+json"];
/// How the types of layers begin, be they known or not.
const LAYER_FAMILIES: [&str; 2] =
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
/// Media types that an image's layer may have by mistake: no artifact uses types this generic.
const ANY_TYPES: [&str; 8] = [
    "",
    "application/octet-stream",
    "application/tar",
    "application/x-tar",
    "application/tar+gzip",
    "application/gzip",
    "application/x-gzip",
    "application/zstd",
];
const LAYER_TYPES: [&str; 6] = [
    OCI_LAYER,
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// A pointer to content: its type, its digest and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Descriptor {
    pub(in crate::image) media_type: String,
    pub(in crate::image) digest: Digest,
    pub(in crate::image) size: u64,
    pub(in crate::image) platform: Option<Platform>,
    /// The annotation that names the image: containerd's, else OCI's.
    pub(in crate::image) name: Option<String>,
}

impl Descriptor {
    /// Whether it says that it points to an index.
    pub(in crate::image) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }

    /// The message for one that is neither.
    pub(in crate::image) fn not_an_image(&self) -> String {
        format!("it is a {}, not an image", shown(&self.media_type))
    }

    /// Whether it points to an image's manifest, to an index, or does not say.
    pub(in crate::image) fn may_be_image(&self) -> bool {
        self.is_index() || matches!(self.media_type.as_str(), "" | OCI_MANIFEST | DOCKER_MANIFEST)
    }
}

/// A layer as it was packed when it came: a blob, which the content store may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Packed {
    /// The blob's type; empty if unknown.
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length.
    pub size: u64,
}

impl From<Descriptor> for Packed {
    fn from(layer: Descriptor) -> Self {
        Self { media_type: layer.media_type, digest: layer.digest, size: layer.size }
    }
}

/// The type of a manifest's bytes.
#[derive(Debug)]
pub(in crate::image) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
    /// Another thing than an image, and its name.
    Artifact(String),
}

/// One image: its config and its layers, the lowest first.
#[derive(Debug)]
pub(in crate::image) struct Manifest {
    pub(in crate::image) config: Descriptor,
    pub(in crate::image) layers: Vec<Descriptor>,
}

fn wrong(what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Image, format!("manifest: {what}"))
}

/// A parser's words, which may repeat its input.
fn unread(error: serde_json::Error) -> Error {
    wrong(shown(&error.to_string()))
}

/// A media type as they are compared: RFC 2045 has no case in them, and parameters behind a semicolon.
pub(in crate::image) fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads a manifest or an index that was fetched as `fetched` (a media type of a registry's header or a
/// descriptor; absent or empty if unknown).
pub(in crate::image) fn parse(bytes: &[u8], fetched: Option<&str>) -> Result<Document> {
    let value = json::parse(bytes).map_err(unread)?;
    let said = |text: &str| Some(media_type(text)).filter(|text| !text.is_empty());
    let own = value.get("mediaType").and_then(Value::as_str).and_then(said);
    let fetched = fetched.and_then(said);
    if let (Some(own), Some(fetched)) = (&own, &fetched)
        && own != fetched
    {
        return Err(wrong(format!("it calls itself {}, and was fetched as {}", shown(own), shown(fetched))));
    }
    if value.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
        return Err(
            wrong("Docker's schema 1 is not supported").hint("push the image again with a current client")
        );
    }
    let holds = |key: &str| value.get(key).is_some_and(|value| !value.is_null());
    let kind = own.or(fetched);
    let is_manifest = holds("layers") || holds("config");
    // Go writes null, or nothing at all, for a list without an entry.
    let is_called = matches!(kind.as_deref(), Some(OCI_INDEX | DOCKER_LIST));
    let is_index = holds("manifests") || !is_manifest && (is_called || value.get("manifests").is_some());
    match (is_index, is_manifest) {
        (true, true) => Err(wrong("it is an index and a manifest at once")),
        (false, false) => Err(wrong("it is neither an index nor an image's manifest")),
        (true, false) if matches!(kind.as_deref(), None | Some(OCI_INDEX | DOCKER_LIST)) => {
            parse_index(value)
        }
        (false, true) if matches!(kind.as_deref(), None | Some(OCI_MANIFEST | DOCKER_MANIFEST)) => {
            parse_manifest(value)
        }
        _ => Err(wrong(format!(
            "its media type {} does not fit its content",
            shown(&kind.unwrap_or_default())
        ))),
    }
}

/// An entry of a layout's index, or its name and the reason why it cannot be read.
pub(in crate::image) type Entry = std::result::Result<Descriptor, (String, Error)>;

/// Reads the index of a layout: an invalid entry does not keep the others from being read.
pub(in crate::image) fn parse_layout(bytes: &[u8]) -> Result<Vec<Entry>> {
    let whole = match parse(bytes, None) {
        Ok(Document::Index(entries)) => return Ok(entries.into_iter().map(Ok).collect()),
        Ok(_) => return Err(wrong("it is a manifest, not an index")),
        Err(error) => error,
    };
    let list = json::parse(bytes).ok().and_then(|mut value| {
        let list = value.get_mut("manifests")?.take();
        value["manifests"] = json!([]);
        // The error is in the list itself.
        parse(value.to_string().as_bytes(), None).ok().and(Some(list))
    });
    match list {
        Some(Value::Array(list)) if list.len() <= MANIFESTS_MAX => {
            Ok(list.into_iter().enumerate().map(|(at, entry)| parse_entry(at, entry)).collect())
        }
        _ => Err(whole),
    }
}

fn parse_entry(at: usize, entry: Value) -> Entry {
    let text = |key: &str| Some(entry.get(key)?.as_str()?.to_owned());
    let named = NAMES.iter().find_map(|key| entry.get("annotations")?.get(key)?.as_str());
    let called = named.map(str::to_owned).or_else(|| text("digest"));
    let called = called.filter(|called| !called.is_empty());
    let called =
        called.map_or_else(|| format!("entry {at} of index.json"), |called| shown(&called).to_string());
    let read = || -> Result<Descriptor> {
        let index: ImageIndex =
            json::read(json!({ "schemaVersion": 2, "manifests": [entry] }), &json::INDEX).map_err(unread)?;
        index.manifests().first().map_or_else(|| Err(wrong("it is empty")), descriptor)
    };
    read().map_err(|error| (called, error))
}

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// The compression by the first bytes of a stream.
    pub(in crate::image) fn detect(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The type of a layer that begins with these bytes.
pub(in crate::image) fn layer_type(first: &[u8]) -> &'static str {
    match Compression::detect(first) {
        Compression::None => LAYER_TYPES[0],
        Compression::Gzip => LAYER_TYPES[1],
        Compression::Zstd => LAYER_TYPES[2],
    }
}

/// The bytes of an OCI manifest.
pub(in crate::image) fn manifest_of(config: &Digest, config_size: usize, layers: &[Value]) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": config, "size": config_size },
        "layers": layers,
    });
    manifest.to_string().into_bytes()
}

/// Refuses a list of more entries before anything is made of them.
fn at_most(value: &Value, list: &str, most: usize) -> Result<()> {
    match value.get(list).and_then(Value::as_array).map_or(0, Vec::len) {
        count if count > most => Err(wrong(format!("it has {count} {list}, at most {most} are taken"))),
        _ => Ok(()),
    }
}

fn parse_index(value: Value) -> Result<Document> {
    at_most(&value, "manifests", MANIFESTS_MAX)?;
    let index: ImageIndex = json::read(value, &json::INDEX).map_err(unread)?;
    index.manifests().iter().map(descriptor).collect::<Result<_>>().map(Document::Index)
}

fn parse_manifest(value: Value) -> Result<Document> {
    at_most(&value, "layers", LAYERS_MAX)?;
    let Some(config_type) = value.pointer("/config/mediaType").and_then(Value::as_str).map(media_type) else {
        return Err(wrong("it says of no config what that is"));
    };
    // An artifact's layers may be of any type.
    if !CONFIG_TYPES.contains(&config_type.as_str()) {
        let own = value.get("artifactType").and_then(Value::as_str).filter(|own| !own.is_empty());
        return Ok(Document::Artifact(match own {
            Some(own) => format!("it is an artifact of type {}, not an image", shown(own)),
            None => format!("it is an artifact (its config is a {}), not an image", shown(&config_type)),
        }));
    }
    let manifest: ImageManifest = json::read(value, &json::MANIFEST).map_err(unread)?;
    let config = descriptor(manifest.config())?;
    let layers: Vec<Descriptor> = manifest.layers().iter().map(descriptor).collect::<Result<_>>()?;
    let unknown = |layer: &Descriptor| match layer.media_type.as_str() {
        "" => format!("its layer {} has no type", layer.digest),
        other => format!("its layer {} has the unknown type {}", layer.digest, shown(other)),
    };
    // As cosign and BuildKit attach data to an image: with an image's config, and layers that are none.
    let is_file = |layer: &Descriptor| {
        !LAYER_FAMILIES.iter().any(|family| layer.media_type.starts_with(family))
            && !ANY_TYPES.contains(&layer.media_type.as_str())
    };
    if let Some(first) = layers.first().filter(|_| layers.iter().all(is_file)) {
        return Ok(Document::Artifact(format!("it is an artifact ({}), not an image", unknown(first))));
    }
    for layer in &layers {
        if layer.media_type.contains("nondistributable") || layer.media_type.contains("foreign") {
            return Err(wrong(format!("its layer {} may not be distributed", layer.digest)));
        }
        if !LAYER_TYPES.contains(&layer.media_type.as_str()) {
            return Err(wrong(unknown(layer)));
        }
    }
    Ok(Document::Manifest(Manifest { config, layers }))
}

fn descriptor(from: &oci::Descriptor) -> Result<Descriptor> {
    let annotation = |key: &str| from.annotations().as_ref().and_then(|all| all.get(key)).cloned();
    let platform = from.platform().as_ref().map(|platform| Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone().filter(|variant| !variant.is_empty()),
    });
    Ok(Descriptor {
        media_type: media_type(from.media_type().as_ref()),
        digest: from.digest().to_string().parse()?,
        size: from.size(),
        platform: platform.filter(|said| !said.os.is_empty() || !said.architecture.is_empty()),
        name: NAMES.iter().find_map(|key| annotation(key)).filter(|name| !name.is_empty()),
    })
}

/// Reads a config, which has no more than podrun takes of anything, and the digests of the layers' plain tars.
pub(in crate::image) fn parse_config(bytes: &[u8]) -> Result<(ImageConfiguration, Vec<Digest>)> {
    let bad = |why: String| Error::new(ErrorKind::Image, format!("image config: {why}"));
    let unread = |error: serde_json::Error| bad(shown(&error.to_string()).to_string());
    let value = json::parse(bytes).map_err(unread)?;
    let config: ImageConfiguration = json::read(value, &json::CONFIG).map_err(unread)?;
    ImageConfig::checked(&config).map_err(bad)?;
    let count = config.rootfs().diff_ids().len();
    if count > LAYERS_MAX {
        return Err(bad(format!("it has {count} layers, at most {LAYERS_MAX} are taken")));
    }
    let diff_ids = config.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<_>>()?;
    Ok((config, diff_ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str, layer_type: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{D}","size":2}},
            "layers":[{{"mediaType":"{layer_type}","digest":"{D}","size":3}}]}}"#
        )
    }

    fn error(text: &str, media_type: Option<&str>) -> String {
        parse(text.as_bytes(), media_type).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_manifest_is_read() {
        let text = manifest("", LAYER_TYPES[1]);
        let Document::Manifest(read) = parse(text.as_bytes(), Some(OCI_MANIFEST)).unwrap() else { panic!() };
        assert_eq!((read.config.size, read.layers[0].size), (2, 3));
    }

    #[test]
    fn confusion_is_refused() {
        let good = manifest("", LAYER_TYPES[1]);
        assert!(error(&good, Some(OCI_INDEX)).contains("does not fit"));
        let named = manifest(&format!(r#""mediaType":"{OCI_MANIFEST}","#), LAYER_TYPES[1]);
        assert!(error(&named, Some(OCI_INDEX)).contains("calls itself"));
        assert!(error(&manifest(r#""manifests":[],"#, LAYER_TYPES[1]), None).contains("at once"));
        assert!(error(&manifest(r#""schemaVersion":2,"#, LAYER_TYPES[1]), None).contains("twice"));
        assert!(error(r#"{"schemaVersion":1,"fsLayers":[]}"#, None).contains("schema 1"));
        assert!(error(r#"{"schemaVersion":2}"#, None).contains("neither"));
        let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        assert!(error(&manifest("", encrypted), None).contains("unknown type"));
        let foreign = manifest("", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        assert!(error(&foreign, None).contains("may not be distributed"));
        assert!(error(&good.replace("sha256:", "sha256:../"), None).starts_with("manifest: "));
    }

    #[test]
    fn an_artifact_is_what_has_another_config_or_no_layer() {
        let read = |text: &str| parse(text.as_bytes(), None).unwrap();
        let artifact = |text: &str| match read(text) {
            Document::Artifact(what) => what,
            other => panic!("{other:?}"),
        };
        let image = manifest("", LAYER_TYPES[1]);
        // An image may say of which type of artifact it is.
        let typed = manifest(r#""artifactType":"application/vnd.example","#, LAYER_TYPES[1]);
        assert!(matches!(read(&typed), Document::Manifest(_)));
        let other = image.replace("oci.image.config.v1+json", "oci.empty.v1+json");
        assert!(artifact(&other).contains("its config is a application/vnd.oci.empty.v1+json"));
        let other = typed.replace("oci.image.config.v1+json", "oci.empty.v1+json");
        assert!(artifact(&other).contains("of type application/vnd.example"));
        assert!(
            artifact(&manifest("", "application/vnd.dev.cosign.simplesigning.v1+json"))
                .contains("simplesigning")
        );
        // A blob without a type counts as a layer, and a wrong one.
        assert!(error(&manifest("", ""), None).contains("has no type"));
        for vague in ["application/x-tar", "application/octet-stream"] {
            assert!(error(&manifest("", vague), None).contains(vague));
        }
    }

    #[test]
    fn one_wrong_entry_of_a_layout_keeps_no_other_from_being_read() {
        let index = |bad: &str| {
            format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{D}","size":1,"mediaType":""}},{bad}]}}"#)
        };
        for (bad, called) in [
            (r#"{"digest":"blake3:00","size":1}"#, "blake3:00"),
            (r#"{"size":1,"annotations":{"org.opencontainers.image.ref.name":"app:1"}}"#, "app:1"),
            (r#"{"platform":{"os":7}}"#, "entry 1 of index.json"),
            ("7", "entry 1 of index.json"),
        ] {
            let read = parse_layout(index(bad).as_bytes()).unwrap();
            assert!(read[0].is_ok() && read[1].as_ref().is_err_and(|(own, _)| own == called), "{read:?}");
        }
        for wrong in [r#"{"schemaVersion":2,"manifests":7}"#, r#"{"schemaVersion":1,"manifests":[]}"#, "{"] {
            assert!(parse_layout(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn media_types_have_no_case_and_may_have_parameters() {
        let text = manifest(
            r#""mediaType":"Application/Vnd.OCI.image.manifest.v1+JSON","#,
            "application/vnd.OCI.image.layer.v1.tar+GZIP; x=y",
        );
        let text = text.replace("vnd.oci.image.config", "VND.oci.image.config");
        let fetched = "application/VND.oci.image.manifest.v1+json; charset=utf-8";
        let Document::Manifest(read) = parse(text.as_bytes(), Some(fetched)).unwrap() else { panic!() };
        assert_eq!(
            (read.config.media_type.as_str(), read.layers[0].media_type.as_str()),
            (OCI_CONFIG, LAYER_TYPES[1])
        );
    }
}
