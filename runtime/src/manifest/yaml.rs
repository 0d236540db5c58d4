//! Reads YAML into a [`Node`] tree, with the line and column of every key and value.
//!
//! Invariant: scalars mean what kubectl takes them for (YAML 1.1: `yes` is a boolean, `0644` is octal). Anchors
//! cannot multiply without end: an alias counts at its expanded size. The only file that knows the YAML
//! library.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::FILE_MAX;
use super::tree::{DEPTH_MAX, Entry, Node, Position, SyntaxError, VALUES_MAX, Value};
use crate::error::shown;

mod mend;

/// As many documents as a file may have.
const DOCUMENTS_MAX: usize = 1024;

/// The bytes of all keys and values: twice the largest file, so that aliases may expand to as much again.
const TEXT_MAX: usize = 2 * FILE_MAX;

/// Every document in `text` that is not empty.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut text = Cow::Borrowed(text);
    let mut tries = mend::tries(&text);
    loop {
        let error = match documents(&text) {
            Ok(found) => {
                let was = match text {
                    Cow::Borrowed(_) => |read| read,
                    Cow::Owned(_) => mend::restore,
                };
                return Ok(found.into_iter().map(|found| found.node(&text, was)).collect());
            }
            Err(error) => error,
        };
        if tries == 0 || !mend::mend(text.to_mut(), error.at) {
            return Err(error);
        }
        tries -= 1;
    }
}

fn documents(text: &str) -> Result<Vec<Found>, SyntaxError> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_documents: DOCUMENTS_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: VALUES_MAX,
            max_total_scalar_bytes: TEXT_MAX,
            max_recorded_anchor_bytes: TEXT_MAX,
        },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let at = error.location().map_or(Position { line: 1, column: 1 }, position);
        SyntaxError { at, message: bare(&error) }
    })
}

fn position(location: Location) -> Position {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Position { line: narrow(location.line()), column: narrow(location.column()) }
}

/// The library's message without its location and its limits, which are reported in podrun's own words.
fn bare(error: &serde_saphyr::Error) -> String {
    let mut cause = error.without_snippet();
    // Each alias on the way is an error around the one behind it.
    while let serde_saphyr::Error::AliasError { error, .. } = cause {
        cause = error;
    }
    if let serde_saphyr::Error::Budget { breach, .. } = cause {
        return match breach {
            BudgetBreach::Documents { .. } => format!("more than {DOCUMENTS_MAX} documents"),
            BudgetBreach::Depth { .. } => format!("nested deeper than {DEPTH_MAX} levels"),
            BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
                format!("more than {VALUES_MAX} values and keys, aliases written out")
            }
            BudgetBreach::ScalarBytes { .. } => format!("more than {TEXT_MAX} bytes, aliases written out"),
            _ => "more anchors and aliases than any manifest has".into(),
        };
    }
    let message = cause.to_string();
    let first = message.lines().next().unwrap_or_default();
    let cut = first.find(" at line ").unwrap_or(first.len());
    shown(first[..cut].trim_end_matches([',', ' '])).to_string()
}

/// A node as the library gives it.
struct Found {
    at: Position,
    /// Where it is written, which is elsewhere for an alias: bytes of the text.
    source: Range<usize>,
    value: FoundValue,
}

enum FoundValue {
    Scalar(Value),
    List(Vec<Found>),
    Map(Vec<(Position, String, Found)>),
}

impl Found {
    /// The node as kubectl understands it. `was` gives a string as it was before the text was mended.
    fn node(self, text: &str, was: fn(String) -> String) -> Node {
        let Self { at, source, value } = self;
        let value = match value {
            FoundValue::Scalar(Value::String(text)) => Value::String(was(text)),
            FoundValue::Scalar(value) => return scalar(at, value, text.get(source).unwrap_or_default()),
            FoundValue::List(items) => {
                Value::List(items.into_iter().map(|item| item.node(text, was)).collect())
            }
            FoundValue::Map(entries) => {
                let entry = |(at, key, found): (_, _, Found)| Entry {
                    at,
                    key: was(key),
                    node: found.node(text, was),
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { at, value, spelt: None }
    }
}

/// As kubectl's reader spells booleans. The library is content with any case.
const BOOLEANS: [&str; 22] = [
    "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO",
    "false", "False", "FALSE", "off", "Off", "OFF",
];

/// A scalar that is no string, as `written`.
fn scalar(at: Position, value: Value, written: &str) -> Node {
    match value {
        Value::Bool(_) if written.chars().all(char::is_alphabetic) && !BOOLEANS.contains(&written) => {
            Node { at, value: Value::String(written.into()), spelt: None }
        }
        value => Node::spelt(at, value, written),
    }
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, defined } = Spanned::<FoundValue>::deserialize(deserializer)?;
        let span = defined.span();
        let bytes =
            |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
        let begin = bytes(span.byte_offset());
        Ok(Self { at: position(referenced), source: begin..begin + bytes(span.byte_len()), value })
    }
}

impl<'de> Deserialize<'de> for FoundValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = FoundValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<FoundValue, E> {
        Ok(FoundValue::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<FoundValue, E> {
        Ok(FoundValue::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<FoundValue, D::Error> {
        FoundValue::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<FoundValue, E> {
        Ok(FoundValue::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<FoundValue, E> {
        Ok(FoundValue::Scalar(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<FoundValue, E> {
        Ok(FoundValue::Scalar(Value::Number(value.into())))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<FoundValue, E> {
        serde_json::Number::from_f64(value)
            .map(|number| FoundValue::Scalar(Value::Number(number)))
            .ok_or_else(|| E::custom("a number that is none has no place in a manifest"))
    }

    fn visit_str<E>(self, value: &str) -> Result<FoundValue, E> {
        Ok(FoundValue::Scalar(Value::String(value.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FoundValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(FoundValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FoundValue, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, found)) = map.next_entry::<Spanned<String>, Found>()? {
            entries.push((position(key.referenced), key.value, found));
        }
        Ok(FoundValue::Map(entries))
    }
}
