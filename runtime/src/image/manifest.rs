//! Manifests, indexes and configs, in OCI's and Docker's words.
//!
//! Invariant: a document is read whole or refused: it is bounded, has no key twice, and is an index
//! or a manifest and never both, and what it calls itself is what it was fetched as.

use std::collections::HashSet;
use std::fmt;

use oci_spec::image::{self as oci, ImageConfiguration, ImageIndex, ImageManifest};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::config::ImageConfig;
use super::decompress::Compression;
use super::digest::Digest;
use super::platform::Platform;
use super::record::Packed;
use crate::error::{Error, ErrorKind, Result, quoted, shown};

/// The largest manifest, index or config that is read.
pub(super) const DOCUMENT_MAX: u64 = 4 * 1024 * 1024;
const LAYERS_MAX: usize = 512;

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer as a plain tar; compressed it has `+gzip` or `+zstd` behind.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPES: [&str; 2] = [OCI_CONFIG, "application/vnd.docker.container.image.v1+json"];
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
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
    /// The annotation that names the image: containerd's, else OCI's.
    pub(super) name: Option<String>,
}

impl Descriptor {
    /// Whether it says that it points to an index.
    pub(super) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }
}

impl From<Descriptor> for Packed {
    fn from(layer: Descriptor) -> Self {
        Self { media_type: layer.media_type, digest: layer.digest, size: layer.size }
    }
}

/// What a manifest's bytes turned out to be.
#[derive(Debug)]
pub(super) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

/// One image: its config and its layers, the lowest first.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

fn wrong(what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Image, format!("manifest: {what}"))
}

/// A parser's words, which may repeat what it was given.
fn unread(error: serde_json::Error) -> Error {
    wrong(shown(&error.to_string()))
}

/// Reads a manifest or an index that was fetched as `media_type` (from a registry's header or a
/// descriptor; nothing where nobody said).
pub(super) fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Document> {
    let value = unique_keys(bytes).map_err(unread)?;
    let own = value.get("mediaType").and_then(Value::as_str);
    if let (Some(own), Some(fetched)) = (own, media_type)
        && own != fetched
    {
        return Err(wrong(format!("it calls itself {}, and was fetched as {}", shown(own), shown(fetched))));
    }
    if value.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
        return Err(
            wrong("Docker's schema 1 is not supported").hint("push the image again with a current client")
        );
    }
    let has = |key: &str| value.get(key).is_some();
    let kind = own.or(media_type);
    match (has("manifests"), has("layers") || has("config")) {
        (true, true) => Err(wrong("it is an index and a manifest at once")),
        (false, false) => Err(wrong("it is neither an index nor an image's manifest")),
        (true, false) if matches!(kind, None | Some(OCI_INDEX | DOCKER_LIST)) => parse_index(value),
        (false, true) if matches!(kind, None | Some(OCI_MANIFEST | DOCKER_MANIFEST)) => parse_manifest(value),
        _ => {
            Err(wrong(format!("its media type {} does not fit its content", shown(kind.unwrap_or_default()))))
        }
    }
}

/// The type of a layer that begins with these bytes.
pub(super) fn layer_type(first: &[u8]) -> &'static str {
    match Compression::detect(first) {
        Compression::None => LAYER_TYPES[0],
        Compression::Gzip => LAYER_TYPES[1],
        Compression::Zstd => LAYER_TYPES[2],
    }
}

/// The bytes of an OCI manifest.
pub(super) fn manifest_of(config: &Digest, config_size: usize, layers: &[Value]) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": config, "size": config_size },
        "layers": layers,
    });
    manifest.to_string().into_bytes()
}

fn parse_index(value: Value) -> Result<Document> {
    let index: ImageIndex = serde_json::from_value(value).map_err(unread)?;
    index.manifests().iter().map(descriptor).collect::<Result<_>>().map(Document::Index)
}

fn parse_manifest(value: Value) -> Result<Document> {
    let manifest: ImageManifest = serde_json::from_value(value).map_err(unread)?;
    if let Some(artifact) = manifest.artifact_type() {
        return Err(wrong(format!("it is an artifact of type {}, not an image", shown(artifact.as_ref()))));
    }
    let config = descriptor(manifest.config())?;
    if !CONFIG_TYPES.contains(&config.media_type.as_str()) {
        return Err(wrong(format!(
            "it is an artifact (its config is a {}), not an image",
            shown(&config.media_type)
        )));
    }
    let layers: Vec<Descriptor> = manifest.layers().iter().map(descriptor).collect::<Result<_>>()?;
    if layers.len() > LAYERS_MAX {
        return Err(wrong(format!("it has {} layers, at most {LAYERS_MAX} are taken", layers.len())));
    }
    for layer in &layers {
        if layer.media_type.contains("nondistributable") || layer.media_type.contains("foreign") {
            return Err(wrong(format!("its layer {} may not be distributed", layer.digest)));
        }
        if !LAYER_TYPES.contains(&layer.media_type.as_str()) {
            return Err(wrong(format!(
                "its layer {} has the unknown type {}",
                layer.digest,
                shown(&layer.media_type)
            )));
        }
    }
    Ok(Document::Manifest(Manifest { config, layers }))
}

fn descriptor(from: &oci::Descriptor) -> Result<Descriptor> {
    let annotation = |key: &str| from.annotations().as_ref().and_then(|all| all.get(key)).cloned();
    Ok(Descriptor {
        media_type: from.media_type().to_string(),
        digest: from.digest().to_string().parse()?,
        size: from.size(),
        platform: from.platform().as_ref().map(|platform| Platform {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone().filter(|variant| !variant.is_empty()),
        }),
        name: annotation("io.containerd.image.name")
            .or_else(|| annotation("org.opencontainers.image.ref.name")),
    })
}

/// The image among `manifests` that runs best on `platform`. One without a platform fits if it is
/// the only one: its config will tell.
pub(super) fn choose<'a>(manifests: &'a [Descriptor], platform: &Platform) -> Result<&'a Descriptor> {
    if let [only] = manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let ranked = manifests
        .iter()
        .filter_map(|entry| {
            entry.platform.as_ref().and_then(|theirs| platform.rank(theirs)).map(|rank| (rank, entry))
        })
        // Of two that rank the same the first counts, as everywhere.
        .rev()
        .max_by_key(|(rank, _)| *rank);
    ranked.map(|(_, entry)| entry).ok_or_else(|| {
        let there: Vec<String> = manifests
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
            .map(ToString::to_string)
            .collect();
        let there = there.join(", ");
        Error::new(ErrorKind::Image, format!("no image for {platform}; there is {}", shown(&there)))
            .hint("choose one of them with --platform")
    })
}

/// Reads a config, which has no more than podrun takes of anything, and the digests of the layers' plain tars.
pub(super) fn parse_config(bytes: &[u8]) -> Result<(ImageConfiguration, Vec<Digest>)> {
    let bad = |why: String| Error::new(ErrorKind::Image, format!("image config: {why}"));
    let unread = |error: serde_json::Error| bad(shown(&error.to_string()).to_string());
    let value = unique_keys(bytes).map_err(unread)?;
    let config: ImageConfiguration = serde_json::from_value(value).map_err(unread)?;
    ImageConfig::checked(&config).map_err(bad)?;
    let count = config.rootfs().diff_ids().len();
    if count > LAYERS_MAX {
        return Err(bad(format!("it has {count} layers, at most {LAYERS_MAX} are taken")));
    }
    let diff_ids = config.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<_>>()?;
    Ok((config, diff_ids))
}

/// Parses JSON in which no object has a key twice: of two values one reader takes the first and
/// another the last.
pub(super) fn unique_keys(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Unique>(bytes).map(|unique| unique.0)
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let (mut map, mut seen) = (serde_json::Map::new(), HashSet::new());
        while let Some(key) = access.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format!(
                    "the key {} stands twice in one object",
                    quoted(&key)
                )));
            }
            let Unique(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
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
        assert!(error(&manifest("", "text/plain"), None).contains("unknown type"));
        let foreign = manifest("", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        assert!(error(&foreign, None).contains("may not be distributed"));
        assert!(error(&manifest(r#""artifactType":"a/b","#, LAYER_TYPES[1]), None).contains("artifact"));
        assert!(error(&good.replace("sha256:", "sha256:../"), None).starts_with("manifest: "));
    }

    #[test]
    fn the_best_platform_is_chosen() {
        let entry = |platform: &str, size| Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: D.parse().unwrap(),
            size,
            platform: Some(platform.parse().unwrap()),
            name: None,
        };
        let all = [
            entry("linux/arm64", 1),
            entry("linux/amd64", 2),
            entry("linux/amd64/v2", 3),
            entry("linux/amd64/v4", 4),
        ];
        let host = "linux/amd64/v3".parse().unwrap();
        assert_eq!(choose(&all, &host).unwrap().size, 3);
        let error = choose(&all[..1], &host).unwrap_err();
        assert!(error.message().contains("there is linux/arm64"), "{error}");
    }
}
