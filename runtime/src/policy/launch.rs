//! What a kubelet does to bring a pod up: its name drawn, its sandbox asked for, the policy handed over, its progress awaited.
//!
//! Invariant: a pod that [`up`] does not return is not there any more.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::{ContainerPhase, ImageFact, PodState, Progress, StartFailure, WaitFor, create_progress};
use crate::error::{Error, ErrorKind, Result, shown};
use crate::host::Host;
use crate::image::{Image, Reference};
use crate::manifest::{Pod, sandbox_config};
use crate::pod::client::Client;
use crate::pod::launch::{self, Raising};
use crate::pod::logs;
use crate::pod::record::{self, Sandbox, SandboxStatus};
use crate::pod::{draw_suffix, draw_uid};

/// How often another end of a generated name is tried.
const GENERATE_TRIES: usize = 16;
/// As much of a generateName is used, so that a name that is drawn is no longer than a label may be, as in Kubernetes.
const GENERATE_BASE_MAX: usize = 58;

/// An image that is here, and how it came.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The image.
    pub image: Image,
    /// The name that the manifest calls it by, normalised.
    pub name: String,
    /// Milliseconds the pull took; `None`: it was here.
    pub pulled_millis: Option<u64>,
}

/// How to bring a pod up.
#[derive(Debug)]
pub struct Options {
    /// What to wait for before the pod is committed to.
    pub wait: WaitFor,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// The rows and columns that terminals of the pod have from the start.
    pub window: Option<(u16, u16)>,
}

/// A pod that is up.
#[derive(Debug)]
pub struct Up {
    /// Its record, with its name.
    pub sandbox: Sandbox,
    /// The connection to its monitor.
    pub monitor: Client,
    /// What its user should know.
    pub warnings: Vec<String>,
}

/// Brings `pod` up with `images` by container name; `note` is told what it waits for.
///
/// # Errors
/// [`ErrorKind::Exists`], [`ErrorKind::Timeout`], [`ErrorKind::Interrupted`]; and
/// [`ErrorKind::CommandNotFound`] or [`ErrorKind::CommandNotExecutable`] for a program that cannot be run.
pub fn up(
    host: &Host,
    pod: &mut Pod,
    images: &BTreeMap<String, Ready>,
    options: &Options,
    note: &mut dyn FnMut(&str),
) -> Result<Up> {
    let ((sandbox, warnings), monitor) = launch::up(host, pod.spec.host_pid, |raising| {
        let (sandbox, warnings) = ask(raising, pod, options.deadline)?;
        let facts: BTreeMap<&String, ImageFact> =
            images.iter().map(|(container, ready)| (container, image_fact(ready))).collect();
        let rules = serde_json::value::to_raw_value(&facts)
            .map_err(|error| Error::failed(format!("what is known of the images: {error}")))?;
        let images =
            images.iter().map(|(container, ready)| (container.clone(), ready.image.clone())).collect();
        raising.hand_over(images, options.window, rules)?;
        if options.wait != WaitFor::None {
            wait(raising, options, &sandbox.log_dir, note)?;
        }
        Ok((sandbox, warnings))
    })?;
    Ok(Up { sandbox, monitor, warnings })
}

/// Asks for the pod's sandbox; `pod` gets its name (if that is generated), its uid and its creation time.
fn ask(
    raising: &mut Raising<'_>,
    pod: &mut Pod,
    deadline: Option<Instant>,
) -> Result<(Sandbox, Vec<String>)> {
    let generated = pod.metadata.name.is_empty();
    let created_at = record::now();
    pod.metadata.uid = draw_uid()?;
    pod.metadata.creation_timestamp = Some((UNIX_EPOCH + Duration::from_nanos(created_at)).into());
    for tries in 1.. {
        if generated {
            let base = pod.metadata.generate_name.get(..GENERATE_BASE_MAX);
            pod.metadata.name = format!("{}{}", base.unwrap_or(&pod.metadata.generate_name), draw_suffix()?);
        }
        let config = sandbox_config(pod, created_at, raising.log_dir(), raising.missing())?;
        match raising.sandbox(&config, deadline) {
            Err(error) if generated && error.kind() == ErrorKind::Exists && tries < GENERATE_TRIES => {}
            asked => return asked,
        }
    }
    unreachable!("the loop ends at its last try")
}

/// What the status and the events say of an image.
fn image_fact(ready: &Ready) -> ImageFact {
    // Of an image with several names, the digest of the one that the manifest uses.
    let repository = ready.name.parse().map(|name: Reference| name.repository()).unwrap_or_default();
    let digests = &ready.image.digests;
    let own = digests.iter().find(|digest| digest.split_once('@').is_some_and(|(of, _)| of == repository));
    let id = own.or(digests.first()).cloned().unwrap_or_else(|| ready.image.id.to_string());
    ImageFact { name: ready.name.clone(), id, pulled_millis: ready.pulled_millis, size: ready.image.size }
}

/// How long a creation may take before a person is told what it waits for.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// Waits until the pod is as far as `options` ask.
fn wait(
    raising: &mut Raising<'_>,
    options: &Options,
    log_dir: &Path,
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut status = raising.watch()?;
    let mut awaited = Awaited::default();
    // When what is awaited becomes worth a line although nothing went wrong.
    let mut silent_until = Some(Instant::now() + SILENT_FOR);
    loop {
        if reached(&status, options.wait, log_dir, &mut awaited, note)? {
            return Ok(());
        }
        if silent_until.is_some_and(|until| until <= Instant::now()) {
            silent_until = None;
            if !awaited.note.is_empty() {
                note(&format!("waiting: {}", awaited.note));
            }
        }
        if options.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            let message = format!("timed out; the pod is removed again ({})", awaited.note);
            let message = with_last_words(message.replace(" ()", ""), log_dir, awaited.container.as_deref());
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        let until = [options.deadline, silent_until].into_iter().flatten().min();
        if let Some(changed) = raising.changed(until)? {
            status = changed;
        }
    }
}

/// What was waited for when it was last looked at.
#[derive(Default)]
struct Awaited {
    container: Option<String>,
    note: String,
}

fn reached(
    status: &SandboxStatus,
    goal: WaitFor,
    log_dir: &Path,
    awaited: &mut Awaited,
    note: &mut dyn FnMut(&str),
) -> Result<bool> {
    let Some(state) = PodState::of(status) else { return Ok(false) };
    match create_progress(&state, goal) {
        Progress::Done => Ok(true),
        Progress::Pending { container, note: waits } => {
            // What lasts for an instant is not worth a line.
            if waits != awaited.note && is_news(&state) {
                note(&waits);
            }
            *awaited = Awaited { container, note: waits };
            Ok(false)
        }
        Progress::Failed { container, failure, message } => {
            let message = with_last_words(message, log_dir, container.as_deref());
            let error = Error::new(kind(failure), message);
            Err(hint(failure).into_iter().fold(error, Error::hint))
        }
    }
}

/// As many lines of a container's log as the error of its pod quotes.
const LAST_WORDS: usize = 10;

/// `message` with what `container` wrote last: the pod goes, and its logs with it.
fn with_last_words(message: String, log_dir: &Path, container: Option<&str>) -> String {
    let Some(container) = container else { return message };
    let lines = logs::latest_words(&log_dir.join(container), LAST_WORDS);
    // A termination message that falls back to the log says so already.
    if lines.iter().all(|line| message.contains(line.as_str())) {
        return message;
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("\n  {}", shown(line))).collect();
    format!("{message}; its log ends:{}", lines.concat())
}

/// Whether something went wrong that will be tried again: only then a person is told what is awaited.
fn is_news(state: &PodState) -> bool {
    state.containers.iter().any(|run| {
        matches!(run.phase, ContainerPhase::Unmade { .. })
            || run.latest_end().is_some_and(|ended| ended.exit_code != 0)
    })
}

fn kind(failure: Option<StartFailure>) -> ErrorKind {
    match failure {
        Some(StartFailure::CommandNotFound) => ErrorKind::CommandNotFound,
        Some(StartFailure::CommandNotExecutable) => ErrorKind::CommandNotExecutable,
        _ => ErrorKind::Failed,
    }
}

fn hint(failure: Option<StartFailure>) -> Option<&'static str> {
    match failure? {
        StartFailure::CommandNotFound => Some(
            "the image has no such program, or not the interpreter that it names; see command and args in the manifest",
        ),
        StartFailure::CommandNotExecutable => {
            Some("it is no executable file, or the container's user may not execute it")
        }
        _ => None,
    }
}
