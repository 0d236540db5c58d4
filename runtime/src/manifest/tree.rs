//! A manifest as it stands in its file: values that know their line and column.
//!
//! Invariant: a tree holds the common subset of JSON and YAML; after the two readers ([`super::json`],
//! [`super::yaml`]) the syntax of the manifest is unknown. Repeated keys are kept, so that the check can name
//! them all.

use std::fmt;

use super::path::{Path, Segment};
use crate::error::{quoted, shown};

/// A place in a file; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// One value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
    /// How a number or a boolean is written in the file, where that is not how it would be printed.
    pub(crate) spelt: Option<Box<str>>,
}

/// As many values and keys as a file may have: a hundred pods of the largest, and 50 MiB of memory at the most.
pub(super) const VALUES_MAX: usize = 250_000;

/// As many lists and mappings may lie in each other: three times as many as in any field of a pod, few enough for the
/// readers' stack, which each takes some kilobytes of.
pub(super) const DEPTH_MAX: usize = 32;

/// The values that JSON and YAML share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value, and where the key begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Position,
    pub(crate) key: String,
    pub(crate) node: Node,
}

/// Why a file is no JSON or YAML at all, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) message: String,
}

impl Value {
    /// Whether the value asks for nothing, as if it were absent.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

/// The value as an error message names it: `the number 8080`, `a list`.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Null => f.write_str("null"),
            Value::Bool(_) => write!(f, "the boolean {}", self.text()),
            Value::Number(_) => write!(f, "the number {}", self.text()),
            Value::String(value) => write!(f, "the string {}", quoted(value)),
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a mapping"),
        }
    }
}

impl Node {
    /// A number or a boolean, as `written` in the file.
    pub(crate) fn spelt(at: Position, value: Value, written: &str) -> Self {
        let mut node = Self { at, value, spelt: None };
        if !written.is_empty() && node.text() != written {
            node.spelt = Some(written.into());
        }
        node
    }

    /// A number or a boolean as it is written in the file, fit to be shown.
    pub(crate) fn text(&self) -> String {
        match (&self.spelt, &self.value) {
            (Some(spelt), _) => shown(spelt).to_string(),
            (None, Value::Bool(value)) => value.to_string(),
            (None, Value::Number(value)) => value.to_string(),
            (None, _) => String::new(),
        }
    }

    /// The entry of a mapping with this key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value of a mapping's entry with this key.
    pub(crate) fn entry_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
            }
            _ => None,
        }
    }

    /// Where `path` is, or else where the last part of it that there is begins.
    pub(crate) fn locate(&self, path: &Path) -> Position {
        let mut node = self;
        let mut at = self.at;
        for segment in path.segments() {
            match (segment, &node.value) {
                (Segment::Field(key), _) => {
                    let Some(entry) = node.entry(key) else { break };
                    node = &entry.node;
                    at = node.at;
                }
                (Segment::Key(key), _) => {
                    let Some(entry) = node.entry(key) else { break };
                    node = &entry.node;
                    at = entry.at;
                }
                (Segment::Index(index), Value::List(items)) => {
                    let Some(item) = items.get(*index) else { break };
                    node = item;
                    at = node.at;
                }
                (Segment::Index(_), _) => break,
            }
        }
        at
    }
}
