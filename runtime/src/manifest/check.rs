//! Holds a manifest's tree to the table of fields.
//!
//! Invariant: the tree that remains ([`Checked::json`]) has only fields that are done, each with a value of its
//! shape, so that it always decodes into [`super::types::Pod`]. Every field taken out is either a problem or
//! named in the warning. Only the first problems get a message: a suggestion costs a thousand times as much as
//! reading a key.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use serde_json::Map;

use super::fields::{Field, LIST, Object, Shape, State, TABLE, choices};
use super::path::{Path, Problem};
use super::report::SHOWN;
use super::suggest;
use super::tree::{Entry, Node, Position, Value};
use super::{Quantity, Time};
use crate::error::quoted;

/// The outcome of checking a tree.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// The valid fields that podrun honours.
    pub(crate) json: serde_json::Value,
    /// The first problems, each with its position.
    pub(crate) problems: Vec<(Position, Problem)>,
    /// How many more there are.
    pub(crate) more: usize,
    /// Fields that later checks must not report as missing: their values are problems already.
    pub(crate) unknowable: Vec<Path>,
    /// The fields that are not ours.
    pub(crate) ignored: Vec<Path>,
}

/// Checks a whole manifest.
pub(crate) fn check(tree: &Node) -> Checked {
    let mut checked = Checked::default();
    checked.json =
        checked.object(TABLE, tree, &Path::root()).map_or(serde_json::Value::Null, serde_json::Value::Object);
    checked
}

/// Checks the fields around the items of a list of manifests.
pub(crate) fn list(tree: &Node) -> Checked {
    let mut checked = Checked::default();
    checked.object(LIST, tree, &Path::root());
    checked
}

impl Checked {
    /// Adds a problem. Its message is built only if there is room for it.
    fn problem(&mut self, at: Position, path: &Path, message: impl FnOnce(&mut Self) -> String) {
        if self.problems.len() == SHOWN {
            self.more += 1;
            return;
        }
        let message = message(self);
        self.unknowable.push(path.clone());
        self.problems.push((at, Problem { path: path.clone(), message }));
    }

    /// A value without the shape that its field has.
    fn wrong<T>(&mut self, node: &Node, path: &Path, expected: &str) -> Option<T> {
        self.problem(node.at, path, |_| {
            let mut message = format!("expected {expected}, got {node}");
            if expected == "a string" && matches!(node.value, Value::Number(_) | Value::Bool(_)) {
                message.push_str(&format!("; quote it: \"{}\"", node.text()));
            }
            message
        });
        None
    }

    /// The value in its field's shape; `None` for null and for a problem.
    fn value(&mut self, shape: &Shape, node: &Node, path: &Path) -> Option<serde_json::Value> {
        if node.value == Value::Null {
            return None;
        }
        match shape {
            Shape::Object(object) => self.object(object, node, path).map(serde_json::Value::Object),
            Shape::List(inner) => self.list(inner, node, path),
            Shape::Map(inner) => self.map(inner, node, path),
            Shape::String => match &node.value {
                Value::String(text) => Some(text.as_str().into()),
                _ => self.wrong(node, path, "a string"),
            },
            Shape::OneOf(values) => self.choice(values, node, path),
            Shape::Bool => match &node.value {
                Value::Bool(value) => Some((*value).into()),
                _ => self.wrong(node, path, "true or false"),
            },
            Shape::I32 => self.integer(node, path, i64::from(i32::MIN)..=i64::from(i32::MAX)),
            Shape::I64 => self.integer(node, path, i64::MIN..=i64::MAX),
            Shape::Port => self.port(node, path),
            Shape::Quantity => self.quantity(node, path),
            Shape::Time => self.time(node, path),
            Shape::IntOrString => match &node.value {
                Value::String(text) => Some(text.as_str().into()),
                Value::Number(number) if number.is_i64() => Some(number.clone().into()),
                _ => self.wrong(node, path, "a port's number or name"),
            },
            Shape::Any => None,
        }
    }

    fn object(
        &mut self,
        object: &'static Object,
        node: &Node,
        path: &Path,
    ) -> Option<Map<String, serde_json::Value>> {
        let Value::Map(entries) = &node.value else {
            return self.wrong(node, path, &format!("a mapping ({})", object.name));
        };
        self.repeated(entries, |key| path.field(key));
        let mut json = Map::new();
        for entry in entries {
            let path = path.field(&entry.key);
            match object.field(&entry.key) {
                Some(field) => {
                    if let Some(value) = self.field(field, entry, &path) {
                        json.insert(entry.key.clone(), value);
                    }
                }
                None => self.unknown(object, entry, &path),
            }
        }
        Some(json)
    }

    fn field(&mut self, field: &Field, entry: &Entry, path: &Path) -> Option<serde_json::Value> {
        match field.state {
            State::Done => self.value(&field.shape, &entry.node, path),
            State::NotYet { harmless, why } => {
                match fits(&field.shape, &entry.node.value) {
                    // Its own words for that.
                    false => drop(self.value(&field.shape, &entry.node, path)),
                    true if asks_for_nothing(&entry.node.value, &field.shape, harmless) => {}
                    true => self.problem(entry.at, path, |_| format!("not supported yet; {why}")),
                }
                None
            }
            State::NotOurs => {
                // Nothing of it is kept, yet a typo in it is one all the same.
                let before = self.ignored.len();
                self.value(&field.shape, &entry.node, path);
                self.ignored.truncate(before);
                if !entry.node.value.is_empty() {
                    self.ignored.push(path.clone());
                }
                None
            }
        }
    }

    fn unknown(&mut self, object: &Object, entry: &Entry, path: &Path) {
        self.problem(entry.at, path, |this| {
            let names = object.fields.iter().map(|field| field.name);
            match suggest::nearest(&entry.key, names) {
                Some(meant) => {
                    this.unknowable.push(path.parent().field(meant));
                    format!("unknown field; did you mean {meant}?")
                }
                None => "unknown field".into(),
            }
        });
    }

    fn repeated(&mut self, entries: &[Entry], path: impl Fn(&str) -> Path) {
        let mut seen = HashMap::with_capacity(entries.len());
        for entry in entries {
            match seen.entry(entry.key.as_str()) {
                Slot::Vacant(free) => drop(free.insert(entry.at.line)),
                Slot::Occupied(first) => {
                    let message =
                        |_: &mut Self| format!("the key is repeated; line {} has it too", first.get());
                    self.problem(entry.at, &path(&entry.key), message);
                }
            }
        }
    }

    fn list(&mut self, inner: &Shape, node: &Node, path: &Path) -> Option<serde_json::Value> {
        let Value::List(items) = &node.value else {
            return self.wrong(node, path, "a list");
        };
        let mut json = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            match self.value(inner, item, &path) {
                Some(value) => json.push(value),
                // An item keeps its place, so that paths found in the decoded pod fit the tree.
                None => {
                    if item.value == Value::Null {
                        self.problem(item.at, &path, |_| "a list's item cannot be null".into());
                    }
                    json.push(placeholder(inner));
                }
            }
        }
        Some(json.into())
    }

    fn map(&mut self, inner: &Shape, node: &Node, path: &Path) -> Option<serde_json::Value> {
        let Value::Map(entries) = &node.value else {
            return self.wrong(node, path, "a mapping");
        };
        self.repeated(entries, |key| path.key(key));
        let mut json = Map::new();
        for entry in entries {
            let path = path.key(&entry.key);
            // To Kubernetes a null is the type's own zero there.
            let zero = match inner {
                Shape::String => Some(""),
                Shape::Quantity => Some("0"),
                _ => None,
            };
            if let (Value::Null, Some(zero)) = (&entry.node.value, zero) {
                json.insert(entry.key.clone(), zero.into());
            } else if let Some(value) = self.value(inner, &entry.node, &path) {
                json.insert(entry.key.clone(), value);
            }
        }
        Some(json.into())
    }

    fn choice(&mut self, values: &'static [&str], node: &Node, path: &Path) -> Option<serde_json::Value> {
        let Value::String(text) = &node.value else {
            return self.wrong(node, path, "a string");
        };
        if values.contains(&text.as_str()) {
            return Some(text.as_str()).filter(|text| !text.is_empty()).map(Into::into);
        }
        self.problem(node.at, path, |_| {
            let mut message = format!("must be {}, got {}", choices(values), quoted(text));
            let named = values.iter().copied().filter(|value| !value.is_empty());
            if let Some(meant) = suggest::nearest(text, named) {
                message.push_str(&format!("; did you mean {meant}?"));
            }
            message
        });
        None
    }

    fn integer(
        &mut self,
        node: &Node,
        path: &Path,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<serde_json::Value> {
        let Value::Number(number) = &node.value else {
            return self.wrong(node, path, "a whole number");
        };
        match number.as_i64().or_else(|| whole(number)) {
            Some(value) if range.contains(&value) => Some(value.into()),
            _ => self.wrong(node, path, &format!("a whole number from {} to {}", range.start(), range.end())),
        }
    }

    fn port(&mut self, node: &Node, path: &Path) -> Option<serde_json::Value> {
        let port = self.integer(node, path, i64::from(i32::MIN)..=i64::from(i32::MAX))?;
        if port.as_i64().is_some_and(|port| !(0..=65535).contains(&port)) {
            self.problem(node.at, path, |_| format!("must be a port from 1 to 65535, got {port}"));
            return None;
        }
        Some(port)
    }

    fn quantity(&mut self, node: &Node, path: &Path) -> Option<serde_json::Value> {
        // Space around it is passed over, as by Kubernetes.
        let text = match &node.value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => bare(number),
            _ => return self.wrong(node, path, "a quantity like 500m or 1Gi"),
        };
        if let Err(error) = text.parse::<Quantity>() {
            self.problem(node.at, path, |_| format!("{error}, got {}", quoted(&text)));
            return None;
        }
        Some(text.into())
    }

    fn time(&mut self, node: &Node, path: &Path) -> Option<serde_json::Value> {
        let Value::String(text) = &node.value else {
            return self.wrong(node, path, "a time as a string");
        };
        if let Err(error) = text.parse::<Time>() {
            self.problem(node.at, path, |_| format!("{error}, got {}", quoted(text)));
            return None;
        }
        Some(text.as_str().into())
    }
}

/// Whether a value itself has this shape. The values inside it may have another.
fn fits(shape: &Shape, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Map(_) => matches!(shape, Shape::Object(_) | Shape::Map(_)),
        Value::List(_) => matches!(shape, Shape::List(_)),
        Value::Bool(_) => matches!(shape, Shape::Bool),
        Value::String(_) => !matches!(shape, Shape::Object(_) | Shape::Map(_) | Shape::List(_) | Shape::Bool),
        Value::Number(_) => matches!(shape, Shape::I32 | Shape::I64 | Shape::Port | Shape::Quantity),
    }
}

/// Whether a value of an unsupported field requests nothing. An object that is set is a request even when
/// empty: Kubernetes makes no empty directory of an empty source.
fn asks_for_nothing(value: &Value, shape: &Shape, harmless: Option<&str>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => harmless == Some(if *value { "true" } else { "false" }),
        Value::String(text) => harmless == Some(text),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => {
            entries.is_empty() && (harmless == Some("{}") || matches!(shape, Shape::Map(_)))
        }
        Value::Number(_) => false,
    }
}

/// A number as kubectl sends it: plain digits, unless it is very small or very large.
fn bare(number: &serde_json::Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(value) if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) => format!("{value:e}"),
        Some(value) => value.to_string(),
        None => number.to_string(),
    }
}

/// `30.0` is the whole number 30, in Kubernetes too.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let value = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 9e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and far below 2^63, as was just checked")]
    Some(value as i64)
}

/// The placeholder for an item that is a problem.
fn placeholder(shape: &Shape) -> serde_json::Value {
    match shape {
        Shape::Object(_) | Shape::Map(_) => serde_json::Value::Object(Map::new()),
        Shape::List(_) => serde_json::Value::Array(Vec::new()),
        Shape::OneOf(values) => values.first().copied().unwrap_or_default().into(),
        Shape::Bool => false.into(),
        Shape::I32 | Shape::I64 | Shape::Port | Shape::Quantity => 0.into(),
        Shape::Time => Time::default().to_string().into(),
        Shape::String | Shape::IntOrString | Shape::Any => "".into(),
    }
}
