//! Manifests as tests write them, and what a container reports of itself.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::fixtures::reference;
use crate::host::Host;

/// A pod with `spec`, whose grace period is short unless the spec says otherwise.
pub fn pod(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if spec.get("terminationGracePeriodSeconds").is_none() {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
}

/// Decodes a Pod as Kubernetes does and gives the fields that it does not know.
pub fn unknown_fields(pod: &Value) -> Result<Vec<String>> {
    let mut unknown = Vec::new();
    let _pod: Pod = serde_ignored::deserialize(pod, |path| unknown.push(path.to_string()))?;
    Ok(unknown)
}

/// Fails unless `pod` is a v1 Pod to Kubernetes, with nothing unknown left over.
pub fn ensure_kubernetes_pod(pod: &Value) -> Result<()> {
    let unknown = unknown_fields(pod).with_context(|| format!("{pod:#}"))?;
    ensure!(unknown.is_empty(), "unknown to Kubernetes: {unknown:?} in {pod:#}");
    Ok(())
}

/// A container of the image `probe`.
pub fn probe(name: &str, arguments: &[&str]) -> Value {
    json!({ "name": name, "image": reference("probe"), "args": arguments })
}

/// A container of the image `busybox` that runs `script`.
pub fn shell(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": reference("busybox"), "command": ["sh", "-c", script] })
}

/// A pod of one container that sleeps until it is told to end.
pub fn sleeper(name: &str) -> Value {
    pod(name, &json!({ "containers": [probe("main", &["sleep"])] }))
}

/// What a process in the container sees, by `exec … /probe`.
pub fn report(host: &Host, pod: &str, container: &str) -> Result<Value> {
    let text = host.podrun(&["exec", pod, "-c", container, "--", "/probe"])?.ok()?;
    serde_json::from_str(&text).context("the probe's report")
}

/// What the container's first process saw: its log, for a container that runs `report` and ends.
pub fn logged_report(host: &Host, pod: &str, container: &str) -> Result<Value> {
    let text = host.podrun(&["logs", pod, "-c", container])?.ok()?;
    serde_json::from_str(&text).context("the probe's report")
}

/// A container's status in a pod as `get -o json` shows it, init containers included.
pub fn container_status<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .find_map(|list| pod["status"][list].as_array()?.iter().find(|status| status["name"] == name))
}

/// The pods' monitors, by the pids that they have in the host.
pub fn monitors(host: &Host) -> Result<Vec<String>> {
    let found = host.run("pgrep", &["-f", "podrun.* monitor"])?;
    Ok(found.stdout.split_whitespace().map(str::to_owned).collect())
}
