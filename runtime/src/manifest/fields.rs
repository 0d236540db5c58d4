//! The table of the v1 Pod's fields: each with its shape and its state in podrun.
//!
//! Invariant: every field of Kubernetes' v1 Pod is in the table, in one of three states: done, not
//! yet (refused by name), not ours (accepted and named in a warning). `docs/fields.md` is this table
//! written out; a test holds the table to k8s-openapi's Pod. A field that is not here is a typo.

use std::fmt::Write as _;

mod rest;
mod spec;

/// The v1 Pod.
pub static TABLE: &Object = &spec::Pod;

/// A v1 List, of anything.
pub static LIST: &Object = &spec::List;

/// A type of the API.
#[derive(Debug)]
pub struct Object {
    /// Its name in Kubernetes.
    pub name: &'static str,
    /// Its fields, in the order of their names.
    pub fields: &'static [Field],
}

/// A field of a type.
#[derive(Debug)]
pub struct Field {
    /// Its name in a manifest.
    pub name: &'static str,
    /// The shape of its value.
    pub shape: Shape,
    /// How far podrun supports it, where the enclosing field is done.
    pub state: State,
}

/// How far podrun supports a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has Kubernetes' meaning; so has each field of an object in this state, unless the table says
    /// otherwise.
    Done,
    /// Refused by name when it asks for something.
    NotYet {
        /// How the value that asks for nothing is written, where Kubernetes has one beside null, an empty list and an
        /// empty mapping with keys of the user's choice.
        harmless: Option<&'static str>,
        /// Why, and the alternative to write.
        why: &'static str,
    },
    /// The scheduler's, the API server's or another controller's: accepted, named in a warning.
    NotOurs,
}

/// The shape of a value.
#[derive(Debug)]
pub enum Shape {
    /// A string.
    String,
    /// One of these strings. The empty string, where it is listed, means absent.
    OneOf(&'static [&'static str]),
    /// true or false.
    Bool,
    /// A whole number of 32 bits.
    I32,
    /// A whole number of 64 bits.
    I64,
    /// A port: a whole number up to 65535, where 0 means absent.
    Port,
    /// A number with a suffix, as a string or bare.
    Quantity,
    /// A moment in RFC 3339.
    Time,
    /// A port's number or name.
    IntOrString,
    /// Any value at all.
    Any,
    /// An object of the API.
    Object(&'static Object),
    /// A list.
    List(&'static Shape),
    /// A mapping with keys of the user's choice.
    Map(&'static Shape),
}

const NOT_OURS: State = State::NotOurs;

const fn not_yet(why: &'static str) -> State {
    State::NotYet { harmless: None, why }
}

const fn not_yet_unless(harmless: &'static str, why: &'static str) -> State {
    State::NotYet { harmless: Some(harmless), why }
}

/// The types of the API in nearly its own notation: `name: string`, `[Container]` for a list,
/// `{Quantity}` for a mapping, `("A" | "B")` for a choice, and `= state` where it is not done.
macro_rules! objects {
    ($($object:ident { $($field:ident : $shape:tt $(= $state:expr)?),* $(,)? })*) => {
        $(
            #[expect(non_upper_case_globals, reason = "types are called as Kubernetes calls them")]
            pub(super) static $object: Object = Object {
                name: stringify!($object),
                fields: &[$($crate::manifest::fields::Field {
                    name: stringify!($field),
                    shape: $crate::manifest::fields::shape!($shape),
                    state: $crate::manifest::fields::state!($($state)?),
                }),*],
            };
        )*
    };
}

macro_rules! state {
    () => {
        $crate::manifest::fields::State::Done
    };
    ($state:expr) => {
        $state
    };
}

macro_rules! shape {
    (string) => { $crate::manifest::fields::Shape::String };
    (bool) => { $crate::manifest::fields::Shape::Bool };
    (i32) => { $crate::manifest::fields::Shape::I32 };
    (i64) => { $crate::manifest::fields::Shape::I64 };
    (port) => { $crate::manifest::fields::Shape::Port };
    (Quantity) => { $crate::manifest::fields::Shape::Quantity };
    (Time) => { $crate::manifest::fields::Shape::Time };
    (IntOrString) => { $crate::manifest::fields::Shape::IntOrString };
    (FieldsV1) => { $crate::manifest::fields::Shape::Any };
    ([$inner:tt]) => {
        $crate::manifest::fields::Shape::List(&$crate::manifest::fields::shape!($inner))
    };
    ({$inner:tt}) => {
        $crate::manifest::fields::Shape::Map(&$crate::manifest::fields::shape!($inner))
    };
    (($($value:literal)|+)) => { $crate::manifest::fields::Shape::OneOf(&[$($value),+]) };
    ($object:ident) => { $crate::manifest::fields::Shape::Object(&$object) };
}

use {objects, shape, state};

impl Object {
    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Shape {
    /// The type inside lists and mappings, if it is an object.
    pub fn object(&self) -> Option<&'static Object> {
        match self {
            Shape::Object(object) => Some(object),
            Shape::List(inner) | Shape::Map(inner) => inner.object(),
            _ => None,
        }
    }

    /// The shape in Kubernetes' terms, as the macro above writes it.
    pub fn describe(&self) -> String {
        match self {
            Shape::String | Shape::OneOf(_) => "string".into(),
            Shape::Bool => "bool".into(),
            Shape::I32 | Shape::Port => "i32".into(),
            Shape::I64 => "i64".into(),
            Shape::Quantity => "Quantity".into(),
            Shape::Time => "Time".into(),
            Shape::IntOrString => "IntOrString".into(),
            Shape::Any => "FieldsV1".into(),
            Shape::Object(object) => object.name.into(),
            Shape::List(inner) => format!("[{}]", inner.describe()),
            Shape::Map(inner) => format!("{{{}}}", inner.describe()),
        }
    }

    /// The suffix of the field's name in a path that means any of its items.
    fn suffix(&self) -> &'static str {
        match self {
            Shape::List(_) => "[]",
            Shape::Map(_) => "{}",
            _ => "",
        }
    }
}

/// Every type that can be reached from the pod, in the order of its first appearance.
pub fn all_objects() -> Vec<&'static Object> {
    let mut found = vec![TABLE];
    let mut next = 0;
    while let Some(object) = found.get(next).copied() {
        for inner in object.fields.iter().filter_map(|field| field.shape.object()) {
            if !found.iter().any(|known| std::ptr::eq(*known, inner)) {
                found.push(inner);
            }
        }
        next += 1;
    }
    found
}

/// `docs/fields.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# The fields of a Pod\n\n\
         Every field of Kubernetes' v1 Pod (1.36) and what podrun makes of it. This page is written by the\n\
         code (`runtime/src/manifest/fields.rs`), and a test holds it to both the code and the API.\n\n\
         - **done**: does what Kubernetes says.\n\
         - **not yet**: refused by name when it asks for something.\n\
         - **not ours**: a scheduler's, a server's or a controller's; accepted, and named in one warning.\n\n\
         The state of an object that is not done holds for everything below it.\n\n\
         | field | type | state |\n|---|---|---|\n",
    );
    rows(&mut text, TABLE, "");
    text.push_str("\n## Types below fields that are not done\n\n");
    let done = done_objects();
    for object in
        all_objects().iter().filter(|object| !done.iter().any(|known| std::ptr::eq(*known, **object)))
    {
        let fields: Vec<_> = object
            .fields
            .iter()
            .map(|field| format!("`{}` {}", field.name, field.shape.describe()))
            .collect();
        let _ = writeln!(text, "- **{}**: {}", object.name, fields.join(", "));
    }
    text
}

/// Fields that are done in part: the object, the field's name, and the part that is done.
const PARTS: [(&str, &str, &str); 5] = [
    (
        "Container",
        "restartPolicy",
        "`Always` in an init container, which makes it a sidecar; others are refused",
    ),
    ("EmptyDirVolumeSource", "sizeLimit", "with medium Memory; refused on disk"),
    ("ResourceRequirements", "limits", "cpu and memory; others are refused"),
    ("ResourceRequirements", "requests", "cpu and memory; others are refused"),
    ("Sysctl", "name", "those of the pod's own network and IPC namespaces; others are refused"),
];

fn rows(text: &mut String, object: &Object, prefix: &str) {
    for field in object.fields {
        let path = format!("{prefix}{}{}", field.name, field.shape.suffix());
        let part = PARTS.iter().find(|(of, name, _)| (*of, *name) == (object.name, field.name));
        let state = match field.state {
            State::Done => match (&field.shape, part) {
                (_, Some((.., part))) => format!("done: {part}"),
                (Shape::OneOf(values), _) => format!("done: {}", choices(values)),
                _ => "done".into(),
            },
            State::NotYet { harmless: None, why } => format!("not yet: {why}"),
            State::NotYet { harmless: Some(""), why } => format!("not yet, except `\"\"`: {why}"),
            State::NotYet { harmless: Some(harmless), why } => format!("not yet, except `{harmless}`: {why}"),
            State::NotOurs => "not ours".into(),
        };
        let _ = writeln!(text, "| `{path}` | {} | {state} |", field.shape.describe());
        if let (State::Done, Some(inner)) = (field.state, field.shape.object()) {
            rows(text, inner, &format!("{path}."));
        }
    }
}

/// The values of a choice as a sentence lists them.
pub(crate) fn choices(values: &[&str]) -> String {
    let name = |value: &&str| if value.is_empty() { "empty".into() } else { format!("{value:?}") };
    let quoted: Vec<_> = values.iter().map(name).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => String::new(),
    }
}

fn done_objects() -> Vec<&'static Object> {
    let mut found = vec![TABLE];
    let mut next = 0;
    while let Some(object) = found.get(next).copied() {
        let done = object.fields.iter().filter(|field| field.state == State::Done);
        found.extend(done.filter_map(|field| field.shape.object()));
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_table() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fields.md");
        let expected = document();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(page, &expected).unwrap();
        }
        let found = std::fs::read_to_string(page).unwrap_or_default();
        assert!(found == expected, "docs/fields.md is old: run this test with UPDATE_DOCS=1");
    }

    #[test]
    fn each_part_is_of_a_field_that_is_done() {
        for (of, name, _) in PARTS {
            let object = all_objects().into_iter().find(|object| object.name == of).unwrap();
            assert_eq!(object.field(name).unwrap().state, State::Done, "{of}.{name}");
        }
    }

    #[test]
    fn no_field_is_listed_twice() {
        for object in all_objects() {
            let mut names: Vec<_> = object.fields.iter().map(|field| field.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), object.fields.len(), "{}", object.name);
        }
    }
}
