//! The generator: every field that podrun's table calls done, each in the smallest pod that has it.
//!
//! Invariant: what is made depends on the table and the seed alone. A mutation is a list of edits of the same small pod, so
//! that what shows a difference is short.

use serde_json::{Value, json};

use runtime::manifest::fields::{self, Field, Object, Shape, State};

use support::dice::Dice;

use crate::values::{self, SPELLINGS};
use crate::yaml::{self, RAW};

/// A change of the smallest pod: what stands at `path` afterwards, if anything.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edit {
    path: Vec<Step>,
    value: Option<Value>,
}

/// A step of a path, with the type of the API that it leads into.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(&'static str),
    /// The first item of a list, and the type that the list is of.
    First(Option<&'static str>),
}

/// One manifest that both are asked about.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) text: String,
    edits: Vec<Edit>,
}

impl Case {
    /// The case of these edits, as JSON, or as YAML where it is asked for or a spelling needs it.
    pub(crate) fn of(edits: Vec<Edit>, as_yaml: bool) -> Self {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "c", "image": "i" }] },
        });
        for edit in &edits {
            edit.apply(&mut pod);
        }
        let json = pod.to_string();
        let text = if as_yaml || json.contains(RAW) { yaml::block(&pod) } else { json };
        Self { text, edits }
    }

    /// A manifest that is given as it is.
    pub(crate) fn whole(text: String) -> Self {
        Self { text, edits: Vec::new() }
    }

    /// The cases that lack one of its edits each.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let without = |index: usize| [&self.edits[..index], &self.edits[index + 1..]].concat();
        (0..self.edits.len()).map(|index| Self::of(without(index), false)).collect()
    }
}

impl Edit {
    fn apply(&self, pod: &mut Value) {
        let Some((last, before)) = self.path.split_last() else { return };
        let mut at = &mut *pod;
        for (index, step) in before.iter().enumerate() {
            at = step.enter(at, self.path.get(index + 1));
        }
        let needs_volume = self.path.contains(&Step::Field("volumeMounts"));
        match (last, &self.value) {
            (Step::Field(name), Some(value)) if at.is_object() => at[name] = value.clone(),
            (Step::Field(name), None) => drop(at.as_object_mut().and_then(|object| object.remove(*name))),
            // An edit before this one has put something else there.
            _ => {}
        }
        if needs_volume && pod["spec"].get("volumes").is_none() && pod["spec"].is_object() {
            pod["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
        }
    }

    /// The object that is edited: two edits of the same one are likelier to have to do with each other.
    pub(crate) fn parent(&self) -> String {
        format!("{:?}", &self.path[..self.path.len() - 1])
    }
}

impl Step {
    /// What is below `at`; made, the smallest of its type, where it is not there. `next` is where the path goes on.
    fn enter<'a>(&self, at: &'a mut Value, next: Option<&Step>) -> &'a mut Value {
        match self {
            Step::Field(name) => {
                let is_list = matches!(next, Some(Step::First(_)));
                if !at.is_object() {
                    *at = json!({});
                }
                let below = &mut at[*name];
                if is_list && !below.is_array() {
                    *below = json!([]);
                } else if !is_list && !below.is_object() {
                    *below = smallest(name);
                }
                below
            }
            Step::First(object) => {
                let Value::Array(items) = at else { unreachable!("a list was made by the step before") };
                if items.is_empty() {
                    let has_source = matches!(next, Some(Step::Field("name")));
                    items.push(smallest_item(object.unwrap_or_default(), has_source));
                }
                &mut items[0]
            }
        }
    }
}

/// The smallest object that the API takes in a field.
fn smallest(field: &str) -> Value {
    match field {
        "hostPath" => json!({ "path": "/h" }),
        "seccompProfile" => json!({ "type": "RuntimeDefault" }),
        "os" => json!({ "name": "linux" }),
        _ => json!({}),
    }
}

/// The smallest item of a list of `object`s; a volume has a source only where the path does not go to one.
fn smallest_item(object: &str, has_source: bool) -> Value {
    match object {
        "Container" => json!({ "name": "i", "image": "i" }),
        "EnvVar" => json!({ "name": "A", "value": "b" }),
        "ContainerPort" => json!({ "containerPort": 80 }),
        "VolumeMount" => json!({ "name": "v", "mountPath": "/v" }),
        "Volume" if has_source => json!({ "name": "v", "emptyDir": {} }),
        "Volume" => json!({ "name": "v" }),
        "Sysctl" => json!({ "name": "kernel.shm_rmid_forced", "value": "0" }),
        "HostAlias" => json!({ "ip": "1.2.3.4", "hostnames": ["h"] }),
        "PodDNSConfigOption" => json!({ "name": "o" }),
        _ => json!({}),
    }
}

/// Every edit of one field: the values that its shape is tried with, and none; the items of its lists twice.
pub(crate) fn edits() -> Vec<Edit> {
    let mut edits = Vec::new();
    walk(fields::TABLE, &[], &mut edits);
    edits
}

fn walk(object: &'static Object, path: &[Step], edits: &mut Vec<Edit>) {
    for field in object.fields {
        let path = [path, &[Step::Field(field.name)]].concat();
        let edit = |value| Edit { path: path.clone(), value };
        edits.push(edit(None));
        edits.extend(values_of(field).into_iter().map(|value| edit(Some(value))));
        if field.state != State::Done {
            continue;
        }
        match &field.shape {
            Shape::Object(inner) => walk(inner, &path, edits),
            Shape::List(Shape::Object(inner)) => {
                let item = smallest_item(inner.name, true);
                edits.push(edit(Some(json!([item, item]))));
                edits.push(edit(Some(json!([item, null]))));
                let mut below = path;
                below.push(Step::First(Some(inner.name)));
                walk(inner, &below, edits);
            }
            _ => {}
        }
    }
}

/// The values of a field; of one that is not done only those that ask for nothing, or might. What is not podrun's is not
/// looked into.
fn values_of(field: &Field) -> Vec<Value> {
    if field.state == State::NotOurs {
        return vec![Value::Null];
    }
    if field.state != State::Done {
        let few = [
            json!(null),
            json!(""),
            json!([]),
            json!({}),
            json!(false),
            json!(true),
            json!(0),
            json!("x"),
            json!([{}]),
        ];
        return few.into();
    }
    let mut values = values::of(field.name, &field.shape);
    if field.shape.object().is_none() && !matches!(field.shape, Shape::List(_) | Shape::Map(_)) {
        values.extend(SPELLINGS.iter().map(|raw| json!(format!("{RAW}{raw}"))));
    }
    let known: Vec<Value> = std::mem::take(&mut values);
    for value in known {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// `count` cases of two or three edits out of `pool`, half of them of the same object.
pub(crate) fn combined(pool: &[Edit], count: usize, dice: &mut Dice) -> Vec<Case> {
    let mut by_parent = std::collections::BTreeMap::<String, Vec<&Edit>>::new();
    for edit in pool {
        by_parent.entry(edit.parent()).or_default().push(edit);
    }
    (0..count)
        .map(|number| {
            let first = dice.one_of(pool);
            let near = &by_parent[&first.parent()];
            let mut edits = vec![first.clone()];
            for _ in 0..=dice.below(2) {
                let other = if dice.below(2) == 0 { dice.one_of(near) } else { dice.one_of(pool) };
                edits.push(other.clone());
            }
            Case::of(edits, number % 4 == 0)
        })
        .collect()
}
