//! Which pod and which container a command line means.
//!
//! Invariant: kubectl's habits hold for every verb alike: the resource word is optional and comes in
//! singular, plural and `pod/web`; without `-c` the annotation `kubectl.kubernetes.io/default-container`
//! decides, else the first container, which is said on stderr.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap_complete::engine::ArgValueCompleter;
use runtime::error::quoted;
use runtime::manifest::{Container, ContainerState, ContainerStatus, Pod};
use runtime::pod::names;
use runtime::policy::store::{self, PodEntry};
use runtime::{Error, ErrorKind, Result};

use super::manifests;
use super::resource::{Resource, resource};
use crate::context::Context;
use crate::print;
use crate::query::fields::FieldSelector;
use crate::query::selector::Selector;
use crate::{completion, output};

/// The annotation that names the container meant when none is.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Which pods a verb is about, where it may be several.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Pods by name; a word `pods` before them may be given
    #[arg(value_name = "POD", add = ArgValueCompleter::new(completion::pods))]
    pub(crate) words: Vec<String>,
    /// The pods of this manifest; may be given several times
    #[arg(short, long, value_name = "FILE", conflicts_with = "words", value_hint = clap::ValueHint::AnyPath)]
    filename: Vec<PathBuf>,
    /// The pods with these labels: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "filename")]
    selector: Option<Selector>,
    /// The pods with these fields: status.phase!=Running
    #[arg(long, value_name = "FIELDS", conflicts_with = "filename")]
    field_selector: Option<FieldSelector>,
    /// The pods of all namespaces
    #[arg(short = 'A', long, conflicts_with = "filename")]
    pub(crate) all_namespaces: bool,
}

/// The pods that a [`Choice`] means, which may come and go.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Each by its namespace and name, in this order.
    Named(Vec<(String, String)>),
    /// All that are selected.
    Selected,
}

impl Choice {
    /// What is meant; files are read once.
    pub(crate) fn wanted(&self, context: &Context) -> Result<Wanted> {
        let names = names(context, &self.words)?;
        refuse_names_beside(&names, self.selector.is_some(), "-l")?;
        refuse_names_beside(&names, self.field_selector.is_some(), "--field-selector")?;
        refuse_names_beside(&names, self.all_namespaces, "-A")?;
        let here = |name| (context.namespace().to_owned(), name);
        let mut wanted: Vec<_> = names.into_iter().map(here).collect();
        for pod in manifests::read(&self.filename, context.given_namespace.as_deref())? {
            if pod.metadata.name.is_empty() {
                let message = "a manifest with generateName names no pod";
                return Err(Error::new(ErrorKind::Usage, message).hint("choose the pods by name, or by -l"));
            }
            wanted.push((pod.metadata.namespace, pod.metadata.name));
        }
        let mut seen = BTreeSet::new();
        wanted.retain(|pod| seen.insert(pod.clone()));
        Ok(if wanted.is_empty() { Wanted::Selected } else { Wanted::Named(wanted) })
    }

    /// Whether labels or fields select the pods.
    pub(crate) fn selects(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some()
    }

    /// The pods that are there, each once, and an error for each that is named and is not.
    pub(crate) fn find(&self, context: &Context, wanted: &Wanted) -> Result<(Vec<PodEntry>, Vec<Error>)> {
        let Wanted::Named(named) = wanted else {
            let mut entries = store::list(&context.host)?;
            entries.retain(|entry| self.is_selected(context, entry));
            return Ok((entries, Vec::new()));
        };
        let (mut entries, mut missing) = (Vec::new(), Vec::new());
        for (namespace, name) in named {
            match find_in(context, namespace, name) {
                Ok(entry) => entries.push(entry),
                Err(error) if error.kind() == ErrorKind::NotFound => missing.push(error),
                Err(error) => return Err(error),
            }
        }
        let mut seen = BTreeSet::new();
        entries.retain(|entry: &PodEntry| seen.insert(entry.id.clone()));
        Ok((entries, missing))
    }

    /// Whether a pod is among those that are selected.
    pub(crate) fn is_selected(&self, context: &Context, entry: &PodEntry) -> bool {
        is_chosen(context, self.all_namespaces, self.selector.as_ref(), entry)
            && self.field_selector.as_ref().is_none_or(|fields| fields.matches(&print::json_of(&entry.pod)))
    }

    /// Says that nothing is there, as kubectl does.
    pub(crate) fn note_none(&self, context: &Context) {
        let place = if self.all_namespaces { "" } else { &format!(" in {} namespace", context.namespace()) };
        output::note(format_args!("No resources found{place}."));
    }
}

/// The pods' names in `words`: an optional resource word in front, and `pod/web` for `web`. Another resource's word in
/// front is refused, unless it is all there is and a pod is called so.
pub(crate) fn names(context: &Context, words: &[String]) -> Result<Vec<String>> {
    let rest = match words.split_first().map(|(first, rest)| (first, rest, resource(first))) {
        Some((_, rest, Some(Resource::Pods))) => rest,
        Some((first, rest, Some(Resource::Other(instead)))) => {
            let is_pod = names::lookup(&context.host, context.namespace(), first)?.is_some();
            if is_pod && rest.is_empty() {
                words
            } else {
                let hint = match is_pod {
                    true => format!("{instead}; the pod of that name is written pod/{first}"),
                    false => instead.to_owned(),
                };
                return Err(no_such_resource(first).hint(hint));
            }
        }
        _ => words,
    };
    rest.iter().map(|word| name(word).map(str::to_owned)).collect()
}

/// The pod's name in `word`: `web`, or `pod/web`.
pub(crate) fn name(word: &str) -> Result<&str> {
    let Some((kind, name)) = word.split_once('/') else { return Ok(word) };
    match resource(kind) {
        Some(Resource::Pods) if !name.is_empty() => Ok(name),
        Some(Resource::Pods) => Err(Error::new(ErrorKind::Usage, format!("{word:?}: a name is wanted"))),
        Some(Resource::Other(instead)) => Err(no_such_resource(kind).context(quoted(word)).hint(instead)),
        None => Err(no_such_resource(kind).context(quoted(word))),
    }
}

fn no_such_resource(word: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("podrun has pods only, and no {}", quoted(word)))
}

/// The pod that `word` names.
pub(crate) fn find(context: &Context, word: &str) -> Result<PodEntry> {
    find_in(context, context.namespace(), name(word)?)
}

/// The pod that is called `name` in `namespace`.
pub(crate) fn find_in(context: &Context, namespace: &str, name: &str) -> Result<PodEntry> {
    store::find(&context.host, namespace, name).map_err(|error| match error.kind() {
        ErrorKind::NotFound => explained(error, name),
        _ => error,
    })
}

/// The pods with the labels asked for, of the namespace or of all of them.
pub(crate) fn all(context: &Context, everywhere: bool, selector: Option<&Selector>) -> Result<Vec<PodEntry>> {
    let mut entries = store::list(&context.host)?;
    entries.retain(|entry| is_chosen(context, everywhere, selector, entry));
    Ok(entries)
}

/// Whether [`all`] would give the pod.
pub(crate) fn is_chosen(
    context: &Context,
    everywhere: bool,
    selector: Option<&Selector>,
    entry: &PodEntry,
) -> bool {
    let here = everywhere || entry.namespace == context.namespace();
    here && selector.is_none_or(|selector| selector.matches(&entry.pod.metadata.labels))
}

/// Refuses names beside what chooses pods itself: `others` says whether that is given, and `what` it is.
pub(crate) fn refuse_names_beside<T>(names: &[T], others: bool, what: &str) -> Result<()> {
    if names.is_empty() || !others {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("pods are named, and {what} is given too"))
        .hint("leave one of them out"))
}

/// The error of a pod that is not there, with a better hint where `name` is a resource's word.
fn explained(error: Error, name: &str) -> Error {
    let hint = match resource(name) {
        Some(Resource::Pods) => "with one pod write pod/NAME, or its name alone",
        Some(Resource::Other(instead)) => instead,
        None if name.contains(',') => "podrun has pods only; names are parted by spaces",
        None => return error,
    };
    Error::new(error.kind(), error.message()).hint(hint)
}

/// The container of `pod` that is meant: `given`, or the default one, which is said where there is a choice.
pub(crate) fn container<'p>(pod: &'p Pod, given: Option<&str>) -> Result<&'p Container> {
    let known = |name: &str| pod.spec.all_containers().find(|container| container.name == name);
    let named = given.or_else(|| pod.metadata.annotations.get(DEFAULT_CONTAINER).map(String::as_str));
    if let Some(name) = named {
        return known(name).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("container {name:?} in pod {:?} not found", pod.metadata.name),
            )
            .hint(format!("it has {}", listed(pod)))
        });
    }
    let first = pod.spec.containers.first().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("pod {:?}: its record names no container", pod.metadata.name))
    })?;
    if pod.spec.all_containers().count() > 1 {
        output::note(format_args!("Defaulted container {:?} out of: {}", first.name, listed(pod)));
    }
    Ok(first)
}

/// The containers' names, init containers marked, as kubectl lists them.
fn listed(pod: &Pod) -> String {
    let apps = pod.spec.containers.iter().map(|container| container.name.clone());
    let inits = pod.spec.init_containers.iter().map(|container| format!("{} (init)", container.name));
    apps.chain(inits).collect::<Vec<_>>().join(", ")
}

/// The status of the container `name`, if there is one yet.
pub(crate) fn status<'p>(pod: &'p Pod, name: &str) -> Option<&'p ContainerStatus> {
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    statuses.into_iter().find(|status| status.name == name)
}

/// The container id of the running container `name`.
pub(crate) fn running_id<'p>(pod: &'p Pod, name: &str) -> Result<&'p str> {
    let status = status(pod, name);
    let why = match status.and_then(|status| status.state.as_ref()) {
        Some(ContainerState::Running(_)) => {
            return Ok(status.and_then(ContainerStatus::attempt_id).unwrap_or_default());
        }
        Some(ContainerState::Waiting(waiting)) => format!("waiting: {}", waiting.reason),
        Some(ContainerState::Terminated(ended)) => {
            format!("terminated: {}, exit code {}", ended.reason, ended.exit_code)
        }
        None => "not started yet".into(),
    };
    Err(Error::state(format!("container {name:?} in pod {:?} is not running ({why})", pod.metadata.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_alone_or_behind_the_resource() {
        for word in ["web", "pod/web", "pods/web", "po/web", "Pod/web", "pods.v1./web"] {
            assert_eq!(name(word).unwrap(), "web", "{word}");
        }
        for word in ["deploy/web", "pod/", "nothing/web"] {
            assert_eq!(name(word).unwrap_err().kind(), ErrorKind::Usage, "{word}");
        }
        assert!(name("svc/web").unwrap_err().hint_text().unwrap().contains("hostPort"));
    }

    fn pod(annotation: Option<&str>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.annotations.extend(annotation.map(|name| (DEFAULT_CONTAINER.into(), name.into())));
        for name in ["main", "side"] {
            pod.spec.containers.push(Container { name: name.into(), ..Container::default() });
        }
        pod.spec.init_containers.push(Container { name: "prepare".into(), ..Container::default() });
        pod
    }

    #[test]
    fn the_container_is_the_given_the_annotated_or_the_first() {
        let chosen = |annotation, given| container(&pod(annotation), given).map(|found| found.name.clone());
        assert_eq!(chosen(None, None).unwrap(), "main");
        assert_eq!(chosen(Some("side"), None).unwrap(), "side");
        assert_eq!(chosen(Some("side"), Some("prepare")).unwrap(), "prepare");
        let error = chosen(None, Some("nope")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint_text(), Some("it has main, side, prepare (init)"));
    }
}
