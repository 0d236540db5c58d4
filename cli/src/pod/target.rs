//! Which pod and which container a command line means.
//!
//! Invariant: kubectl's habits hold for every verb alike: the resource word is optional and comes in
//! singular, plural and `pod/web`; without `-c` the annotation `kubectl.kubernetes.io/default-container`
//! decides, else the first container, which is said on stderr.

use runtime::pod::manifest::{Container, ContainerState, ContainerStatus, Pod};
use runtime::pod::store::{self, PodEntry};
use runtime::{Error, ErrorKind, Result};

use crate::args::Context;
use crate::output;
use crate::query::selector::Selector;

/// The annotation that names the container meant when none is.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Whether `word` is the resource itself.
fn is_resource(word: &str) -> bool {
    matches!(word, "pod" | "pods" | "po")
}

/// The pods' names in `words`: an optional resource word in front, and `pod/web` for `web`.
pub(crate) fn names(words: &[String]) -> Result<Vec<String>> {
    let rest = match words.split_first() {
        Some((first, rest)) if is_resource(first) => rest,
        _ => words,
    };
    rest.iter().map(|word| name(word).map(str::to_owned)).collect()
}

/// The pod's name in `word`: `web`, or `pod/web`.
pub(crate) fn name(word: &str) -> Result<&str> {
    match word.split_once('/') {
        None => Ok(word),
        Some((resource, name)) if is_resource(resource) && !name.is_empty() => Ok(name),
        Some((resource, _)) => {
            Err(Error::new(ErrorKind::Usage, format!("{word:?}: podrun has pods only, and no {resource:?}")))
        }
    }
}

/// The pod that `word` names.
pub(crate) fn find(context: &Context, word: &str) -> Result<PodEntry> {
    let name = name(word)?;
    store::find(&context.host, context.namespace(), name).map_err(|error| match error.kind() {
        ErrorKind::NotFound => explained(error, name),
        _ => error,
    })
}

/// The pods that `names` name, in that order, and an error for each that is not there.
pub(crate) fn each(context: &Context, names: &[String]) -> Result<(Vec<PodEntry>, Vec<Error>)> {
    let (mut entries, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match find(context, name) {
            Ok(entry) => entries.push(entry),
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok((entries, missing))
}

/// The pods with the labels asked for, of the namespace or of all of them.
pub(crate) fn all(context: &Context, everywhere: bool, selector: Option<&Selector>) -> Result<Vec<PodEntry>> {
    let mut entries = store::list(&context.host)?;
    entries.retain(|entry| {
        let here = everywhere || entry.namespace == context.namespace();
        here && selector.is_none_or(|selector| selector.matches(&entry.pod.metadata.labels))
    });
    Ok(entries)
}

/// Refuses names beside what chooses pods itself: `others` says whether that is given, and `what` it is.
pub(crate) fn refuse_names_beside(names: &[String], others: bool, what: &str) -> Result<()> {
    if names.is_empty() || !others {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("pods are named, and {what} is given too"))
        .hint("leave one of them out"))
}

/// The error of a pod that is not there, with a better hint where `name` is another resource's word.
fn explained(error: Error, name: &str) -> Error {
    let hint = match name {
        word if is_resource(word) => "with one pod write pod/NAME, or its name alone",
        list if list.contains(',') => "podrun has pods only; names are parted by spaces",
        "event" | "events" | "ev" => "`podrun describe pod NAME` shows a pod's events",
        "all" => "all that podrun has is pods: `podrun get pods -A`",
        "image" | "images" => "images are listed by `podrun images`",
        name if OTHERS.contains(&name) => "podrun has pods only: `podrun get pods`",
        _ => return error,
    };
    Error::new(error.kind(), error.message()).hint(hint)
}

/// Words that kubectl's users give where podrun has pods only.
const OTHERS: [&str; 20] = [
    "deployment",
    "deployments",
    "deploy",
    "service",
    "services",
    "svc",
    "node",
    "nodes",
    "no",
    "namespace",
    "namespaces",
    "ns",
    "job",
    "jobs",
    "configmap",
    "configmaps",
    "cm",
    "secret",
    "secrets",
    "containers",
];

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
            let id = status.map(|status| status.container_id.as_str()).unwrap_or_default();
            return Ok(id.strip_prefix("podrun://").unwrap_or(id));
        }
        Some(ContainerState::Waiting(waiting)) => format!("waiting: {}", waiting.reason),
        Some(ContainerState::Terminated(ended)) => {
            format!("terminated: {}, exit code {}", ended.reason, ended.exit_code)
        }
        None => "not started yet".into(),
    };
    Err(Error::failed(format!("container {name:?} in pod {:?} is not running ({why})", pod.metadata.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_resource_word_is_optional_in_each_of_its_forms() {
        for line in
            ["web job", "pod web job", "pods web job", "po web job", "pod/web pods/job", "pod po/web job"]
        {
            assert_eq!(names(&words(line)).unwrap(), ["web", "job"], "{line}");
        }
        assert!(names(&words("pods")).unwrap().is_empty());
        assert_eq!(names(&words("deploy/web")).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(names(&words("pod/")).unwrap_err().kind(), ErrorKind::Usage);
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
