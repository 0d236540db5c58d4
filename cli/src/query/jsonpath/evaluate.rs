//! What a compiled template is, and what it selects of a value.
//!
//! Invariant: a path that names an absent field yields nothing, and is no error.

use std::cmp::Ordering;

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    /// `$` starts at the document, `@`, `.` and a bare name at the current value.
    pub(super) from_root: bool,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Field(String),
    /// `..name`: every field of that name at any depth; `..*` and `..` every value.
    Recursive(Option<String>),
    Wildcard,
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    Index(i64),
    Union(Vec<Step>),
    Filter {
        left: Operand,
        op: Option<(Comparison, Operand)>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

pub(super) fn render_nodes(nodes: &[Node], root: &Value, current: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let texts: Vec<String> = path.select(root, current).into_iter().map(plain).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(path, body) => {
                for item in path.select(root, current) {
                    render_nodes(body, root, item, out);
                }
            }
        }
    }
}

/// A value as jsonpath prints it: strings bare, the rest as compact JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Path {
    pub(super) fn select<'v>(&self, root: &'v Value, current: &'v Value) -> Vec<&'v Value> {
        let mut values = vec![if self.from_root { root } else { current }];
        for step in &self.steps {
            values = values.into_iter().flat_map(|value| step.apply(root, value)).collect();
        }
        values
    }
}

impl Step {
    fn apply<'v>(&self, root: &'v Value, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Wildcard => children(value),
            Self::Recursive(name) => {
                let mut found = Vec::new();
                descend(value, name.as_deref(), &mut found);
                found
            }
            Self::Index(index) => value
                .as_array()
                .and_then(|items| items.get(position(*index, items.len())?))
                .into_iter()
                .collect(),
            Self::Slice { start, end, step } => slice(value, *start, *end, *step),
            Self::Union(steps) => steps.iter().flat_map(|step| step.apply(root, value)).collect(),
            Self::Filter { left, op } => {
                let keep = |item: &&Value| match op {
                    None => !left.values(root, item).is_empty(),
                    Some((comparison, right)) => holds(left, *comparison, right, root, item),
                };
                children(value).into_iter().filter(keep).collect()
            }
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn descend<'v>(value: &'v Value, name: Option<&str>, found: &mut Vec<&'v Value>) {
    match name {
        Some(name) => found.extend(value.get(name)),
        None => found.push(value),
    }
    for child in children(value) {
        descend(child, name, found);
    }
}

/// The place of `index` in a list of `len`; negative ones count from the end.
fn position(index: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    usize::try_from(if index < 0 { index + len } else { index }).ok()
}

fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<&Value> {
    let Some(items) = value.as_array() else { return Vec::new() };
    let bound = |index: i64| position(index, items.len()).unwrap_or(0).min(items.len());
    let (from, to) = (start.map_or(0, bound), end.map_or(items.len(), bound));
    let stride = usize::try_from(step).unwrap_or(1).max(1);
    items.get(from..to.max(from)).unwrap_or_default().iter().step_by(stride).collect()
}

impl Operand {
    fn values<'v>(&'v self, root: &'v Value, item: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Path(path) => path.select(root, item),
            Self::Literal(value) => vec![value],
        }
    }
}

fn holds(left: &Operand, comparison: Comparison, right: &Operand, root: &Value, item: &Value) -> bool {
    let (left, right) = (left.values(root, item), right.values(root, item));
    let (Some(left), Some(right)) = (left.first(), right.first()) else { return false };
    match comparison {
        Comparison::Equal => left == right || compare(left, right) == Some(Ordering::Equal),
        Comparison::NotEqual => compare(left, right).is_some_and(|order| order != Ordering::Equal),
        Comparison::Less => compare(left, right) == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(compare(left, right), Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => compare(left, right) == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => {
            matches!(compare(left, right), Some(Ordering::Greater | Ordering::Equal))
        }
    }
}

/// How two values stand to each other; `None` where they are of kinds that have no order.
pub(crate) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}
