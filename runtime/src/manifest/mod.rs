//! Manifests: the v1 Pod, how it is read, checked and completed.
//!
//! Invariant: a [`Pod`] that left this module by [`parse`] is one that Kubernetes would accept and
//! that podrun can run as it says: no field of it was ignored in silence.

mod annotation;
mod check;
mod container;
mod defaults;
pub mod expand;
pub mod fields;
mod injected;
mod json;
mod kind;
pub mod path;
mod qos;
mod quantity;
mod report;
mod resources;
mod sandbox;
mod suggest;
mod tree;
pub mod types;
mod validate;
mod yaml;

pub use crate::pod::config::HostPathType;
pub use crate::time::{NotATime, Time};
pub use annotation::has_port_filter;
pub use container::container_config;
pub use defaults::{DEFAULT_NAMESPACE, default, place};
pub use expand::{Expanded, TooMuch, expand_container};
pub use path::{Path, Problem};
pub use qos::qos_class;
pub use quantity::{NotAQuantity, Quantity};
pub use sandbox::sandbox_config;
pub use suggest::nearest;
pub use types::*;
pub use validate::{Findings, lint, names, validate};

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use report::{Report, SHOWN};
use tree::{Node, SyntaxError, Value};

use crate::error::{harmless, quoted, shown};
use crate::{Error, ErrorKind, Result};

/// The largest file, in bytes: the limit of an API server's request. It is twice the size of an object that
/// etcd keeps.
pub const FILE_MAX: usize = 3 << 20;

/// One pod out of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The pod, checked and completed. Its namespace is empty where the manifest has none ([`place`]
    /// fills it); its name is empty where there is only a `generateName`.
    pub pod: Pod,
    /// Warnings about an accepted manifest, each with the file's name.
    pub warnings: Vec<String>,
}

/// Reads every pod of a manifest, JSON or YAML, one document or several. All that is wrong is in the
/// error: the first problems with `source_name`, line, column, the line itself and a caret, and the number of the others.
pub fn parse(source_name: &str, bytes: &[u8]) -> Result<Vec<Document>> {
    let called = harmless(source_name);
    if bytes.len() > FILE_MAX {
        let message = format!("{called}: larger than {FILE_MAX} bytes, which are the most of a manifest");
        return Err(refused(message).hint("several pods can be in several files"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
            return Err(refused(format!("{called}:{line}: not UTF-8 text")));
        }
    };
    let mut report = Report::new(source_name, text);
    let mut trees = Vec::new();
    match read(text) {
        Ok(read) => read.into_iter().for_each(|tree| kind::unfold(tree, &mut trees, &mut report)),
        Err(error) => report.add(error.at, error.message),
    }
    if trees.is_empty() && report.is_empty() {
        return Err(refused(format!("{called}: no manifest in it")));
    }
    let (mut documents, mut lines) = (Vec::new(), HashMap::new());
    for mut tree in trees {
        let Some(document) = decode(&called, &mut tree, &mut report) else { continue };
        refuse_repeated(&mut lines, &tree, &document.pod, &mut report);
        documents.push(document);
    }
    if !report.is_empty() {
        return Err(refused(report.render()));
    }
    Ok(documents)
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Manifest, message)
}

/// Decides as kubectl does: JSON if it begins with a brace, unless `---` separates YAML documents; YAML, which
/// has braces too, if it does not parse as JSON. If it is neither, or is JSON with `//` or `/*`, which YAML
/// would take for a key or a value, the JSON error is reported.
fn read(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let separated = || text.lines().any(|line| line.trim_end() == "---");
    if !text.trim_start().starts_with('{') || separated() {
        return yaml::read(text);
    }
    json::read(text).or_else(|error| match json::is_comment(text, error.at) {
        true => Err(error),
        false => yaml::read(text).map_err(|_| error),
    })
}

/// Decodes the pod of one document, and adds its problems to the report.
fn decode(source_name: &str, tree: &mut Node, report: &mut Report<'_>) -> Option<Document> {
    if let Err((at, message)) = kind::identify(tree) {
        report.add(at, message);
        return None;
    }
    if tree.entry("apiVersion").is_none() {
        report.add(tree.at, "apiVersion: required; a pod's is `apiVersion: v1`");
    }
    let taken = injected::take_out(tree);
    let check::Checked { json, problems, more, unknowable, mut ignored } = check::check(tree);
    ignored.extend(taken);
    for (at, problem) in problems {
        report.add(at, problem.to_string());
    }
    if more > 0 {
        // Later findings could only add to the problems that are not shown.
        report.add_more(more);
        return None;
    }
    let mut pod: Pod = match serde_json::from_value(json) {
        Ok(pod) => pod,
        Err(error) => {
            report.add(tree.at, shown(&error.to_string()).to_string());
            return None;
        }
    };
    let mut warnings = lint(&pod);
    if !ignored.is_empty() {
        let mut paths: Vec<_> = ignored.iter().take(SHOWN).map(ToString::to_string).collect();
        paths.extend(others(ignored.len()));
        warnings.insert(0, format!("not for podrun, and left out: {}", paths.join(", ")));
    }
    let left_out = others(warnings.len());
    warnings.truncate(SHOWN);
    warnings.extend(left_out);
    default(&mut pod);
    let known = |problem: &Problem| unknowable.iter().any(|path| problem.path.starts_with(path));
    let Findings { first, more } = validate(&pod);
    for problem in first.into_iter().chain(several_sources(tree)).filter(|problem| !known(problem)) {
        report.add(tree.locate(&problem.path), problem.to_string());
    }
    report.add_more(more);
    let warnings = warnings.into_iter().map(|warning| format!("{source_name}: {warning}")).collect();
    Some(Document { pod, warnings })
}

/// The line that counts the problems that are not shown.
fn others(count: usize) -> Option<String> {
    (count > SHOWN).then(|| format!("… and {} more", count - SHOWN))
}

/// Volumes with more than one source, which the types cannot even say.
fn several_sources(tree: &Node) -> Vec<Problem> {
    let volumes = tree.entry("spec").and_then(|spec| spec.node.entry("volumes"));
    let Some(Value::List(volumes)) = volumes.map(|volumes| &volumes.node.value) else { return Vec::new() };
    let is_set = |volume: &Node, source| volume.entry(source).is_some_and(|e| e.node.value != Value::Null);
    let both = |volume: &Node| is_set(volume, "emptyDir") && is_set(volume, "hostPath");
    let twice = volumes.iter().enumerate().filter(|(_, volume)| both(volume));
    twice
        .map(|(index, _)| Problem {
            path: Path::of("spec.volumes").index(index),
            message: "a volume has one source, not both emptyDir and hostPath".into(),
        })
        .collect()
}

/// Two documents cannot make a pod of the same name. `lines` has where each pod so far is named.
fn refuse_repeated(
    lines: &mut HashMap<(String, String), u32>,
    tree: &Node,
    pod: &Pod,
    report: &mut Report<'_>,
) {
    let ObjectMeta { name, namespace, .. } = &pod.metadata;
    if name.is_empty() {
        return;
    }
    let path = Path::of("metadata.name");
    let at = tree.locate(&path);
    match lines.entry((namespace.clone(), name.clone())) {
        Entry::Vacant(free) => drop(free.insert(at.line)),
        Entry::Occupied(first) => {
            let line = first.get();
            report.add(at, format!("{path}: the pod on line {line} is called {} too", quoted(name)));
        }
    }
}

#[cfg(test)]
mod tests;
