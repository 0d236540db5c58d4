//! Whether a document is a Pod, or a list of Pods, and the hint for one that is neither.
//!
//! Invariant: only `kind: Pod` passes, alone or as an item of a List; every other kind is refused by its name.

use super::report::Report;
use super::tree::{Entry, Node, Position, Value};
use super::{check, suggest};
use crate::error::shown;

/// Kinds that a user of Kubernetes may hand in, each with the alternative.
const OTHERS: &[(&[&str], &str)] = &[
    (
        &[
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
            "DaemonSet",
            "Job",
            "CronJob",
            "ReplicationController",
            "PodTemplate",
        ],
        "it makes pods out of a template: write its template's metadata and spec as a Pod with a name",
    ),
    (
        &["ConfigMap", "Secret"],
        "there are none yet: write the values out under env, or put the files in a hostPath volume",
    ),
    (
        &["Service", "Ingress", "Endpoints", "EndpointSlice"],
        "there is no cluster to serve in: publish a container's port with hostPort",
    ),
    (
        &["PersistentVolumeClaim", "PersistentVolume", "StorageClass"],
        "use a hostPath volume instead of the claim",
    ),
    (&["Namespace"], "namespaces need not be made: a pod's metadata.namespace is enough"),
    (
        &["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "NetworkPolicy"],
        "there is no API server that it could mean something to",
    ),
];

/// Adds the documents that `document` stands for to `documents`: itself, or the items of a List, as kubectl takes it.
pub(crate) fn unfold(document: Node, documents: &mut Vec<Node>, report: &mut Report<'_>) {
    let Some(kind @ ("List" | "PodList")) = text(&document, "kind") else {
        documents.push(document);
        return;
    };
    let of_pods = kind == "PodList";
    let check::Checked { problems, more, .. } = check::list(&document);
    problems.into_iter().for_each(|(at, problem)| report.add(at, problem.to_string()));
    report.add_more(more);
    if document.entry("apiVersion").is_none() {
        report.add(document.at, "apiVersion: required; a list's is `apiVersion: v1`");
    }
    let Value::Map(entries) = document.value else { return };
    let items = entries.into_iter().find(|entry| entry.key == "items").map(|entry| entry.node.value);
    let Some(Value::List(items)) = items else { return };
    // Of a null the check has told.
    for mut item in items.into_iter().filter(|item| item.value != Value::Null) {
        if of_pods {
            name_kind(&mut item);
        }
        unfold(item, documents, report);
    }
}

/// The items of an API server's PodList do not say themselves that they are Pods.
fn name_kind(item: &mut Node) {
    let at = item.at;
    for (key, value) in [("kind", "Pod"), ("apiVersion", "v1")] {
        let value = Value::String(value.into());
        if item.entry(key).is_none()
            && let Value::Map(entries) = &mut item.value
        {
            entries.push(Entry { at, key: key.into(), node: Node { at, value, spelt: None } });
        }
    }
}

fn text<'a>(document: &'a Node, key: &str) -> Option<&'a str> {
    match &document.entry(key)?.node.value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Why `document` is no Pod, and where that is seen. `Ok` leaves everything else to the table.
pub(crate) fn identify(document: &Node) -> Result<(), (Position, String)> {
    if !matches!(document.value, Value::Map(_)) {
        let message = format!("expected a manifest (a mapping with apiVersion and kind), got {document}");
        return Err((document.at, message));
    }
    let Some(entry) = document.entry("kind") else {
        let missing = match document.entry("apiVersion") {
            Some(_) => "kind: required; podrun runs `kind: Pod`",
            None => "apiVersion, kind: required; a pod's are `apiVersion: v1` and `kind: Pod`",
        };
        return Err((document.at, missing.into()));
    };
    let kind = match &entry.node.value {
        Value::String(kind) if kind == "Pod" => return Ok(()),
        Value::String(kind) => kind,
        _ => return Err((entry.node.at, format!("kind: expected \"Pod\", got {}", entry.node))),
    };
    let known = OTHERS.iter().find(|(kinds, _)| kinds.contains(&kind.as_str()));
    let hint = match (known, suggest::nearest(kind, ["Pod"].into_iter())) {
        (Some((_, hint)), _) => format!("not supported; {hint}"),
        (None, Some(pod)) => format!("not supported; did you mean {pod}?"),
        (None, None) => "not supported; podrun runs `kind: Pod`".into(),
    };
    Err((entry.node.at, format!("kind: {}: {hint}", shown(kind))))
}
