//! The sentences of the journal, as Kubernetes words them.
//!
//! Invariant: each sentence is written here and nowhere else.

use super::journal::Severity::{Normal, Warning};
use super::{ContainerRun, Journal, Moment, back_off};
use crate::manifest::{Container, Pod};

/// `web_default(0f1e…)`: how Kubernetes names a pod in a sentence.
fn full_name(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    format!("{}_{}({})", metadata.name, metadata.namespace, metadata.uid)
}

/// Why a container in CrashLoopBackOff waits.
pub(super) fn back_off_message(pod: &Pod, container: &str, seconds: u64) -> String {
    let delay = back_off::go_seconds(seconds);
    format!("back-off {delay} restarting failed container={container} pod={}", full_name(pod))
}

/// The image is there for this attempt.
pub(super) fn pulled(journal: &mut Journal, pod: &Pod, run: &ContainerRun, attempt: u32, now: Moment) {
    let named = |container: &&Container| container.name == run.name;
    let image = pod.spec.all_containers().find(named).map_or("", |container| container.image.as_str());
    let message = match run.image.pulled_millis.filter(|_| attempt == 0) {
        Some(millis) => {
            let took = format!("{}.{:03}s", millis / 1000, millis % 1000);
            let size = run.image.size;
            format!(
                "Successfully pulled image \"{image}\" in {took} ({took} including waiting). \
                 Image size: {size} bytes."
            )
        }
        None => format!("Container image \"{image}\" already present on machine"),
    };
    journal.note(Normal, "Pulled", Some(&run.name), message, now);
}

pub(super) fn created(journal: &mut Journal, container: &str, now: Moment) {
    journal.note(Normal, "Created", Some(container), format!("Created container: {container}"), now);
}

pub(super) fn started(journal: &mut Journal, container: &str, now: Moment) {
    journal.note(Normal, "Started", Some(container), format!("Started container {container}"), now);
}

pub(super) fn failed(journal: &mut Journal, container: &str, error: &str, now: Moment) {
    journal.note(Warning, "Failed", Some(container), format!("Error: {error}"), now);
}

pub(super) fn back_off(journal: &mut Journal, pod: &Pod, container: &str, now: Moment) {
    let message = format!("Back-off restarting failed container {container} in pod {}", full_name(pod));
    journal.note(Warning, "BackOff", Some(container), message, now);
}

pub(super) fn killing(journal: &mut Journal, container: &str, now: Moment) {
    journal.note(Normal, "Killing", Some(container), format!("Stopping container {container}"), now);
}

pub(super) fn deadline_exceeded(journal: &mut Journal, now: Moment) {
    let message = "Pod was active on the node longer than the specified deadline".to_owned();
    journal.note(Normal, "DeadlineExceeded", None, message, now);
}

pub(super) fn host_stops(journal: &mut Journal, now: Moment) {
    let message = "Pod is terminated in response to imminent node shutdown".to_owned();
    journal.note(Warning, "Terminated", None, message, now);
}
