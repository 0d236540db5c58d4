//! What two answers to one manifest differ in.
//!
//! Invariant: pure. Compared are the fields that podrun's table calls done; what is a server's own (uid, managedFields,
//! defaults of the scheduler) is not.

use serde_json::Value;

use runtime::manifest::fields::{self, Object, Shape, State};
use runtime::manifest::{parse, place, qos_class};

/// What one of both says of a manifest.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// It would make this pod.
    Accepted { pod: Value, warnings: Vec<String> },
    /// It would not, and says why.
    Refused(String),
}

impl Answer {
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }
}

/// In what both differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The API takes what podrun refuses.
    Refuses,
    /// podrun takes what the API refuses.
    Accepts,
    /// Both take it, and make another pod of it.
    Makes,
    /// The API warns, and podrun says nothing of the same field.
    Silent,
}

impl Kind {
    pub(crate) const ALL: [(Kind, &'static str); 4] = [
        (Kind::Refuses, "refuses"),
        (Kind::Accepts, "accepts"),
        (Kind::Makes, "makes"),
        (Kind::Silent, "silent"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// One difference, and what was said.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// podrun's message where it refuses, the API's otherwise; for another pod the path and both values.
    pub(crate) said: String,
}

impl Difference {
    fn new(kind: Kind, said: impl Into<String>) -> Self {
        Self { kind, said: said.into() }
    }

    /// What is the same for differences of one kind in one field: without indices, numbers and what is quoted.
    pub(crate) fn class(&self) -> String {
        let mut class = format!("{} ", self.kind.name());
        let mut quote = None;
        // An init container's fields are a container's.
        for character in self.said.replace("initContainers", "containers").chars() {
            match (quote, character) {
                (Some(open), close) if open == close => quote = None,
                (Some(_), _) => {}
                (None, '"' | '`') => {
                    quote = Some(character);
                    class.push('…');
                }
                (None, digit) if digit.is_ascii_digit() => {
                    if !class.ends_with('0') {
                        class.push('0');
                    }
                }
                (None, other) => class.push(other),
            }
        }
        class
    }
}

/// What podrun says of a manifest, as its verbs read it. Should it panic, the manifest is the last thing that is printed.
pub(crate) fn podrun(text: &str) -> Answer {
    let asked = text.to_owned();
    std::panic::set_hook(Box::new(move |panic| eprintln!("podrun panicked: {panic}\n{asked}")));
    let read = parse("pod", text.as_bytes()).and_then(|mut documents| {
        documents.iter_mut().try_for_each(|document| place(&mut document.pod, None))?;
        Ok(documents)
    });
    match read {
        Err(error) => Answer::Refused(error.message().to_owned()),
        Ok(documents) if documents.len() != 1 => Answer::Refused(format!("{} documents", documents.len())),
        Ok(mut documents) => {
            let document = documents.remove(0);
            let class = qos_class(&document.pod.spec);
            let mut pod = serde_json::to_value(&document.pod).unwrap_or_default();
            pod["status"]["qosClass"] = serde_json::to_value(class).unwrap_or_default();
            Answer::Accepted { pod, warnings: document.warnings }
        }
    }
}

/// In what `ours` and `theirs` differ.
pub(crate) fn differences(ours: &Answer, theirs: &Answer) -> Vec<Difference> {
    match (ours, theirs) {
        (Answer::Refused(_), Answer::Refused(_)) => Vec::new(),
        (Answer::Refused(said), Answer::Accepted { .. }) => {
            vec![Difference::new(Kind::Refuses, sentence(said))]
        }
        (Answer::Accepted { .. }, Answer::Refused(said)) => vec![Difference::new(Kind::Accepts, said)],
        (
            Answer::Accepted { pod: our_pod, warnings: ours },
            Answer::Accepted { pod: their_pod, warnings: theirs },
        ) => {
            let mut found = Vec::new();
            object(fields::TABLE, "", our_pod, their_pod, &mut found);
            if our_pod["status"]["qosClass"] != their_pod["status"]["qosClass"] {
                let (ours, theirs) = (&our_pod["status"]["qosClass"], &their_pod["status"]["qosClass"]);
                found.push(format!("status.qosClass: {ours}, the API {theirs}"));
            }
            let mut found: Vec<_> =
                found.into_iter().map(|said| Difference::new(Kind::Makes, said)).collect();
            let silent = theirs.iter().filter(|theirs| !ours.iter().any(|ours| is_about(ours, theirs)));
            found.extend(silent.map(|said| Difference::new(Kind::Silent, said)));
            found
        }
    }
}

/// The first of podrun's problems, without the place in the file and the line that is shown.
fn sentence(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let after = first.trim_start_matches("pod:").trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    after.trim_start().to_owned()
}

/// Whether podrun's warning is of the field that the API's is of, or of one below.
fn is_about(ours: &str, theirs: &str) -> bool {
    let path = theirs.split(": ").next().unwrap_or(theirs);
    ours.contains(path)
}

/// Compares the fields that are done.
fn object(table: &Object, path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    for field in table.fields.iter().filter(|field| field.state == State::Done) {
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        // The server draws the name.
        if path == "metadata.name" && ours["generateName"].is_string() && ours.get("name").is_none() {
            continue;
        }
        value(&field.shape, &path, &ours[field.name], &theirs[field.name], found);
    }
}

fn value(shape: &Shape, path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    let is_object = |value: &Value| value.is_object() || value.is_null();
    match (shape, ours, theirs) {
        // An object that has nothing in it says what an absent one does.
        (Shape::Object(table), _, _) if is_object(ours) && is_object(theirs) => {
            object(table, path, ours, theirs, found);
        }
        (Shape::List(inner), Value::Array(some), Value::Array(others)) if some.len() == others.len() => {
            for (index, (one, other)) in some.iter().zip(others).enumerate() {
                value(inner, &format!("{path}[{index}]"), one, other, found);
            }
        }
        _ if ours != theirs => found.push(format!("{path}: {ours}, the API {theirs}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(spec: &Value, warnings: &[&str]) -> Answer {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" }, "spec": spec });
        Answer::Accepted { pod, warnings: warnings.iter().map(|&warning| warning.to_owned()).collect() }
    }

    fn said(ours: &Answer, theirs: &Answer) -> Vec<String> {
        let found = differences(ours, theirs);
        found.iter().map(|difference| format!("{}: {}", difference.kind.name(), difference.said)).collect()
    }

    #[test]
    fn each_kind_of_difference_is_seen() {
        let (refused, pod) = (Answer::Refused("pod:3:7: spec.a: no\n  | a".into()), made(&json!({}), &[]));
        assert!(differences(&refused, &refused).is_empty() && differences(&pod, &pod).is_empty());
        assert_eq!(said(&refused, &pod), ["refuses: spec.a: no"]);
        assert_eq!(said(&pod, &Answer::Refused("no".into())), ["accepts: no"]);
        let other = made(&json!({ "hostname": "h", "schedulerName": "its own" }), &[]);
        assert_eq!(said(&pod, &other), ["makes: spec.hostname: null, the API \"h\""]);
    }

    #[test]
    fn a_warning_is_answered_by_one_of_the_same_field() {
        let theirs = made(&json!({}), &["spec.a[0]: twice", "spec.b: dead"]);
        let ours = made(&json!({}), &["pod: spec.a[0].name: is there already"]);
        assert_eq!(said(&ours, &theirs), ["silent: spec.b: dead"]);
    }

    #[test]
    fn differences_of_one_kind_in_one_field_are_of_one_class() {
        let class = |said: &str| Difference::new(Kind::Accepts, said).class();
        assert_eq!(
            class("spec.containers[0].a: \"x\" is 12"),
            class("spec.initContainers[10].a: \"y z\" is 7")
        );
        assert_ne!(class("spec.a: no"), class("spec.b: no"));
    }
}
