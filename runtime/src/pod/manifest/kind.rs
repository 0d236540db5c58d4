//! Whether a document is a Pod at all, and what to do about one that is not.
//!
//! Invariant: only `kind: Pod` passes; every other kind is refused by its name.

use super::suggest;
use super::tree::{Node, Position, Value};
use crate::error::shown;

/// What a user of Kubernetes may hand in, with what to do instead.
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
    (&["List", "PodList"], "write its items as documents of their own, separated by `---`"),
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

/// Why `document` is no Pod, and where that is seen. `Ok` leaves everything else to the table.
pub(crate) fn identify(document: &Node) -> Result<(), (Position, String)> {
    if !matches!(document.value, Value::Map(_)) {
        let message =
            format!("expected a manifest (a mapping with apiVersion and kind), got {}", document.value);
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
        other => return Err((entry.node.at, format!("kind: expected \"Pod\", got {other}"))),
    };
    let known = OTHERS.iter().find(|(kinds, _)| kinds.contains(&kind.as_str()));
    let hint = match (known, suggest::nearest(kind, ["Pod"].into_iter())) {
        (Some((_, hint)), _) => format!("not supported; {hint}"),
        (None, Some(pod)) => format!("not supported; did you mean {pod}?"),
        (None, None) => "not supported; podrun runs `kind: Pod`".into(),
    };
    Err((entry.node.at, format!("kind: {}: {hint}", shown(kind))))
}
