//! Kubernetes' validation of a Pod, and the checks without which no pod could run.
//!
//! Invariant: pure, and complete: every problem counts, and the first ones are listed, each with its path; a
//! pod without a problem is accepted by Kubernetes too. The work is linear in the pod's size. `lint` lists
//! fields that are valid and yet likely a mistake.

mod container;
mod lint;
pub mod names;
mod network;
mod security;
mod volume;

pub use lint::lint;

use super::annotation;
use super::path::{Path, Problem};
use super::report::SHOWN;
use super::types::{ObjectMeta, Pod, StringMap};

/// The longest all annotations together may be.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Validates a pod whose defaults are filled in.
pub fn validate(pod: &Pod) -> Findings {
    let mut findings = Findings::default();
    metadata(&pod.metadata, &mut findings);
    pod_spec(pod, &mut findings);
    volume::volumes(&pod.spec, &mut findings);
    container::containers(&pod.spec, &mut findings);
    network::network(&pod.spec, &mut findings);
    security::security(&pod.spec, &mut findings);
    findings
}

/// The problems of a pod.
#[derive(Debug, Default)]
pub struct Findings {
    /// The first problems.
    pub first: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

impl Findings {
    fn add(&mut self, path: Path, message: impl Into<String>) {
        self.add_with(path, || message.into());
    }

    /// As [`Self::add`], of a message that is dear to make.
    fn add_with(&mut self, path: Path, message: impl FnOnce() -> String) {
        match self.first.len() < SHOWN {
            true => self.first.push(Problem { path, message: message() }),
            false => self.more += 1,
        }
    }

    /// Adds the finding of a check of [`names`], if any.
    fn hold(&mut self, path: Path, verdict: Result<(), String>) {
        if let Err(message) = verdict {
            self.add(path, message);
        }
    }

    /// As [`Self::hold`], where an empty text counts as absent.
    fn hold_unless_empty(&mut self, path: Path, text: &str, check: fn(&str) -> Result<(), String>) {
        if !text.is_empty() {
            self.hold(path, check(text));
        }
    }
}

fn metadata(metadata: &ObjectMeta, findings: &mut Findings) {
    let path = Path::of("metadata");
    if metadata.name.is_empty() && metadata.generate_name.is_empty() {
        findings.add(path.field("name"), "required; or set generateName to have one drawn");
    }
    findings.hold_unless_empty(path.field("name"), &metadata.name, names::dns_subdomain);
    findings.hold_unless_empty(path.field("generateName"), &metadata.generate_name, names::name_prefix);
    findings.hold_unless_empty(path.field("namespace"), &metadata.namespace, names::dns_label);
    for (key, value) in &metadata.labels {
        let path = path.field("labels").key(key);
        findings.hold(path.clone(), names::qualified_name(key));
        findings.hold(path, names::label_value(value));
    }
    annotations(&metadata.annotations, &path.field("annotations"), findings);
}

fn annotations(annotations: &StringMap, path: &Path, findings: &mut Findings) {
    for (key, value) in annotations {
        findings.hold(path.key(key), names::qualified_name(&key.to_lowercase()));
        findings.hold(path.key(key), annotation::check(key, value));
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        findings.add(path.clone(), format!("{size} bytes in all, and {MAX_ANNOTATIONS} are the most"));
    }
}

fn pod_spec(pod: &Pod, findings: &mut Findings) {
    let (spec, path) = (&pod.spec, Path::of("spec"));
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let message = format!("must be from 1 to {}, got {seconds}", i32::MAX);
        findings.add(path.field("activeDeadlineSeconds"), message);
    }
    if spec.os.is_some_and(|os| os.name.is_none()) {
        findings.add(path.field("os").field("name"), "required; podrun runs linux");
    }
    findings.hold_unless_empty(path.field("hostname"), &spec.hostname, names::dns_label);
    findings.hold_unless_empty(path.field("subdomain"), &spec.subdomain, names::dns_label);
    if spec.host_pid && spec.share_process_namespace == Some(true) {
        let message = "cannot be true with hostPID, which shares the host's processes already";
        findings.add(path.field("shareProcessNamespace"), message);
    }
}

#[cfg(test)]
mod tests;
