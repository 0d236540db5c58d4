//! JSON documents of strangers: manifests, indexes, configs and Docker's list, as the Go programs read them that wrote them.
//!
//! Invariant: no object has a key twice, and no field that podrun reads is null: a field that Go leaves empty
//! (null, or absent) gets the empty value of its kind, in every field by this one pass.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::error::quoted;

/// The kind of a field, and hence its empty value.
pub(in crate::image) enum Kind {
    Text,
    Number,
    List(&'static Kind),
    /// By names that strangers choose.
    Map(&'static Kind),
    /// Fields that are not in the list are left out where they are null.
    Object(&'static [(&'static str, Kind)]),
    /// Not read by podrun: left out, whatever its value.
    Unread,
}

const TEXTS: Kind = Kind::List(&Kind::Text);
const NOTHING: Kind = Kind::Object(&[]);
const PLATFORM: Kind = Kind::Object(&[
    ("architecture", Kind::Text),
    ("os", Kind::Text),
    ("os.features", Kind::Unread),
    ("features", Kind::Unread),
]);
const DESCRIPTOR: Kind = Kind::Object(&[
    ("mediaType", Kind::Text),
    ("digest", Kind::Text),
    ("size", Kind::Number),
    ("urls", Kind::Unread),
    ("annotations", Kind::Map(&Kind::Text)),
    ("platform", PLATFORM),
]);
pub(in crate::image) const INDEX: Kind = Kind::Object(&[
    ("schemaVersion", Kind::Number),
    ("manifests", Kind::List(&DESCRIPTOR)),
    ("subject", Kind::Unread),
    ("annotations", Kind::Unread),
]);
pub(in crate::image) const MANIFEST: Kind = Kind::Object(&[
    ("schemaVersion", Kind::Number),
    ("config", DESCRIPTOR),
    ("layers", Kind::List(&DESCRIPTOR)),
    ("subject", Kind::Unread),
    ("annotations", Kind::Unread),
]);
pub(in crate::image) const CONFIG: Kind = Kind::Object(&[
    ("architecture", Kind::Text),
    ("os", Kind::Text),
    ("os.features", Kind::Unread),
    (
        "config",
        Kind::Object(&[
            ("ExposedPorts", Kind::Map(&NOTHING)),
            ("Env", TEXTS),
            ("Entrypoint", TEXTS),
            ("Cmd", TEXTS),
            ("Volumes", Kind::Map(&NOTHING)),
            ("Labels", Kind::Map(&Kind::Text)),
        ]),
    ),
    ("rootfs", Kind::Object(&[("type", Kind::Text), ("diff_ids", TEXTS)])),
    ("history", Kind::List(&NOTHING)),
]);
pub(in crate::image) const DOCKER_LIST: Kind =
    Kind::List(&Kind::Object(&[("Config", Kind::Text), ("RepoTags", TEXTS), ("Layers", TEXTS)]));

impl Kind {
    fn empty(&self) -> Value {
        match self {
            Self::Text => json!(""),
            Self::Number => json!(0),
            Self::List(_) => json!([]),
            Self::Map(_) => json!({}),
            Self::Object(_) => self.filled(json!({})),
            Self::Unread => Value::Null,
        }
    }

    /// `value` with its empty fields filled; a value of another kind stays, for the reader to refuse.
    fn filled(&self, value: Value) -> Value {
        match (self, value) {
            (_, Value::Null) => self.empty(),
            (Self::List(each), Value::Array(list)) => {
                list.into_iter().map(|item| each.filled(item)).collect()
            }
            (Self::Map(each), Value::Object(map)) => {
                map.into_iter().map(|(name, value)| (name, each.filled(value))).collect()
            }
            (Self::Object(fields), Value::Object(mut map)) => {
                for (name, kind) in *fields {
                    let value = map.remove(*name).unwrap_or_default();
                    map.insert((*name).to_owned(), kind.filled(value));
                }
                map.retain(|_, value| !value.is_null());
                Value::Object(map)
            }
            (Self::Unread, _) => Value::Null,
            (_, value) => value,
        }
    }
}

/// Parses a document of unknown type.
pub(in crate::image) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Unique>(bytes).map(|unique| unique.0)
}

/// Reads a document of that kind.
pub(in crate::image) fn read<T: DeserializeOwned>(value: Value, kind: &Kind) -> Result<T, serde_json::Error> {
    serde_json::from_value(kind.filled(value))
}

/// JSON in which no object has a key twice: of two values one reader takes the first and another the last.
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
        let (mut map, mut seen) = (Map::new(), HashSet::new());
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
    use super::super::manifest::{self, Document};
    use super::*;
    use crate::image::transfer::load::parse_docker_list;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(media_type: &str) -> Value {
        json!({
            "mediaType": media_type, "digest": DIGEST, "size": 3, "urls": ["https://x"], "data": "e30=",
            "annotations": {"a": "b"}, "artifactType": "application/x",
            "platform": {
                "architecture": "amd64", "os": "linux", "os.version": "1", "os.features": ["x"], "variant": "v1",
                "features": ["x"],
            },
        })
    }

    /// Reads a document, to text that can be compared.
    type Read = fn(&[u8]) -> Result<String, String>;

    /// Each document with every field that its specification has, and how it is read.
    fn documents() -> Vec<(Value, Read)> {
        let parse = |bytes: &[u8]| match manifest::parse(bytes, None) {
            Ok(Document::Artifact(what)) => Err(what),
            Ok(other) => Ok(format!("{other:?}")),
            Err(error) => Err(error.message().to_owned()),
        };
        let config = |bytes: &[u8]| match manifest::parse_config(bytes) {
            Ok(read) => Ok(format!("{read:?}")),
            Err(error) => Err(error.message().to_owned()),
        };
        let list = |bytes: &[u8]| match parse_docker_list(bytes) {
            Ok(read) => Ok(format!("{read:?}")),
            Err(error) => Err(error.message().to_owned()),
        };
        let layer = "application/vnd.oci.image.layer.v1.tar";
        vec![
            (
                json!({
                    "schemaVersion": 2, "mediaType": manifest::OCI_INDEX, "artifactType": "application/x",
                    "manifests": [descriptor(manifest::OCI_MANIFEST), descriptor(manifest::OCI_INDEX)],
                    "subject": descriptor(manifest::OCI_MANIFEST), "annotations": {"a": "b"},
                }),
                parse,
            ),
            (
                json!({
                    "schemaVersion": 2, "mediaType": manifest::OCI_MANIFEST, "artifactType": "application/x",
                    "config": descriptor(manifest::OCI_CONFIG), "layers": [descriptor(layer), descriptor(layer)],
                    "subject": descriptor(manifest::OCI_MANIFEST), "annotations": {"a": "b"},
                }),
                parse,
            ),
            (
                json!({
                    "created": "2026-01-31T12:00:00Z", "author": "a", "architecture": "amd64", "variant": "v1",
                    "os": "linux", "os.version": "1", "os.features": ["x"],
                    "config": {
                        "User": "1", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=1"], "Entrypoint": ["a"], "Cmd": ["b"],
                        "Volumes": {"/v": {}}, "WorkingDir": "/", "Labels": {"a": "b"}, "StopSignal": "TERM",
                        "ArgsEscaped": true, "Memory": 1, "MemorySwap": 1, "CpuShares": 1,
                        "Healthcheck": {"Test": ["NONE"], "Interval": 1},
                    },
                    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
                    "history": [{
                        "created": "2026-01-31T12:00:00Z", "author": "a", "created_by": "b", "comment": "c",
                        "empty_layer": false,
                    }],
                }),
                config,
            ),
            (json!([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l.tar"], "Parent": "x"}]), list),
        ]
    }

    /// The places of all values in a document, its own among them.
    fn places(value: &Value, here: &str, all: &mut Vec<String>) {
        all.push(here.to_owned());
        match value {
            Value::Array(list) => list
                .iter()
                .enumerate()
                .for_each(|(number, item)| places(item, &format!("{here}/{number}"), all)),
            Value::Object(map) => map
                .iter()
                .for_each(|(key, item)| places(item, &format!("{here}/{}", key.replace('/', "~1")), all)),
            _ => {}
        }
    }

    /// Takes the value at `place` out of its object; says no where it is in a list.
    fn take_out(document: &mut Value, place: &str) -> bool {
        let Some((above, key)) = place.rsplit_once('/') else { return false };
        let above = document.pointer_mut(above).and_then(Value::as_object_mut);
        above.is_some_and(|map| map.remove(&key.replace("~1", "/")).is_some())
    }

    #[test]
    fn null_is_what_is_not_there_in_every_field() {
        // The members that an image requires.
        let required = [
            "",
            "/config",
            "/config/mediaType",
            "/config/digest",
            "/layers/0",
            "/layers/0/mediaType",
            "/layers/0/digest",
            "/layers/1",
            "/layers/1/mediaType",
            "/layers/1/digest",
            "/manifests/0",
            "/manifests/0/digest",
            "/manifests/1",
            "/manifests/1/digest",
            "/rootfs/diff_ids/0",
        ];
        for (document, read) in documents() {
            read(document.to_string().as_bytes()).unwrap();
            let mut all = Vec::new();
            places(&document, "", &mut all);
            assert!(all.len() > 5, "{all:?}");
            for place in &all {
                let (mut null, mut without) = (document.clone(), document.clone());
                *null.pointer_mut(place).unwrap() = Value::Null;
                let null = read(null.to_string().as_bytes());
                let error = null.as_ref().err().map(String::as_str).unwrap_or_default();
                assert!(!error.contains("null") && !error.contains("invalid type"), "{place}: {error}");
                // A name that strangers choose stays, with the empty value.
                let is_chosen = ["ExposedPorts/", "Volumes/", "Labels/", "annotations/"];
                if take_out(&mut without, place) && !is_chosen.iter().any(|map| place.contains(map)) {
                    assert_eq!(null, read(without.to_string().as_bytes()), "{place}");
                }
                let is_list = document.is_array() && place.is_empty();
                assert!(null.is_ok() || required.contains(&place.as_str()) && !is_list, "{place}: {error}");
            }
        }
    }

    #[test]
    fn names_with_nothing_behind_them_are_kept() {
        let text = json!({
            "config": {"ExposedPorts": {"80/tcp": null}, "Volumes": {"/v": null}, "Labels": {"a": null}},
        });
        let (config, diff_ids) = manifest::parse_config(text.to_string().as_bytes()).unwrap();
        let read = crate::image::ImageConfig::from(&config);
        assert_eq!((read.exposed_ports, read.volumes), (vec!["80/tcp".to_owned()], vec!["/v".to_owned()]));
        assert_eq!(read.labels.get("a").map(String::as_str), Some(""));
        assert!(diff_ids.is_empty() && read.os.is_empty() && read.architecture.is_empty());
    }
}
