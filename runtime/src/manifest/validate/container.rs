//! Containers: names, images, variables, mounts, resources.
//!
//! Invariant: as in [`super`].

use std::collections::{BTreeMap, HashSet};

use super::super::Quantity;
use super::super::path::Path;
use super::super::types::{Container, PodSpec, ResourceRequirements, VolumeMount};
use super::{Findings, names};
use crate::error::{quoted, shown};
use crate::image::Reference;
use crate::manifest::expand::{TooMuch, expand_container};

pub(super) fn containers(spec: &PodSpec, findings: &mut Findings) {
    let path = Path::of("spec");
    if spec.containers.is_empty() {
        findings.add(path.field("containers"), "required; a pod has at least one container");
    }
    let mut seen: BTreeMap<&str, Path> = BTreeMap::new();
    let volumes = spec.volumes.iter().map(|volume| volume.name.as_str()).collect();
    for (path, container) in each(spec) {
        name(container, &path, &mut seen, findings);
        self::container(container, &path, &volumes, findings);
        restart_policy(container, &path, findings);
    }
}

/// The one that makes a sidecar is the only one of a container's own.
fn restart_policy(container: &Container, path: &Path, findings: &mut Findings) {
    let is_init = path.starts_with(&Path::of("spec.initContainers"));
    if container.restart_policy.is_some() && !(is_init && container.restarts_always()) {
        let message =
            "not supported yet, except Always in an init container; the pod's restartPolicy decides";
        findings.add(path.field("restartPolicy"), message);
    }
}

/// Every container with its path.
pub(super) fn each(spec: &PodSpec) -> impl Iterator<Item = (Path, &Container)> {
    let with_paths = |list: &'static str, containers| -> std::vec::IntoIter<(Path, _)> {
        let path = Path::of("spec").field(list);
        let items: &Vec<Container> = containers;
        items.iter().enumerate().map(|(i, item)| (path.index(i), item)).collect::<Vec<_>>().into_iter()
    };
    with_paths("initContainers", &spec.init_containers).chain(with_paths("containers", &spec.containers))
}

fn name<'a>(
    container: &'a Container,
    path: &Path,
    seen: &mut BTreeMap<&'a str, Path>,
    findings: &mut Findings,
) {
    let at = path.field("name");
    if container.name.is_empty() {
        findings.add(at, "required");
        return;
    }
    findings.hold(at.clone(), names::dns_label(&container.name));
    if let Some(first) = seen.get(container.name.as_str()) {
        findings.add(at, format!("{first} is called {} too", quoted(&container.name)));
    } else {
        seen.insert(&container.name, path.clone());
    }
}

fn container(container: &Container, path: &Path, volumes: &HashSet<&str>, findings: &mut Findings) {
    let image = &container.image;
    if image.is_empty() {
        findings.add(path.field("image"), "required");
    } else if image.trim() != image {
        findings
            .add(path.field("image"), format!("must not begin or end with a space, got {}", quoted(image)));
    } else if let Err(error) = image.parse::<Reference>() {
        findings.add(path.field("image"), error.message());
    }
    for (index, variable) in container.env.iter().enumerate() {
        let path = path.field("env").index(index).field("name");
        findings.hold(path.clone(), names::env_name(&variable.name));
        if variable.value.contains('\0') {
            findings.add(path.parent().field("value"), "must not contain a NUL byte");
        }
    }
    for (list, texts) in [("command", &container.command), ("args", &container.args)] {
        for (index, _) in texts.iter().enumerate().filter(|(_, text)| text.contains('\0')) {
            findings.add(path.field(list).index(index), "must not contain a NUL byte");
        }
    }
    program(container, path, findings);
    working_dir(path.field("workingDir"), &container.working_dir, findings);
    mounted_at(path.field("terminationMessagePath"), &container.termination_message_path, findings);
    resources(&container.resources, &path.field("resources"), findings);
    mounts(&container.volume_mounts, &path.field("volumeMounts"), volumes, findings);
}

/// Program, arguments and variables that execve(2) would refuse, whatever the image adds.
fn program(container: &Container, path: &Path, findings: &mut Findings) {
    let Err(TooMuch { list, index, why }) = expand_container(container) else { return };
    let mut at = path.field(list).index(index);
    let mut what = format!("container {}", quoted(&container.name));
    if list == "env" {
        at = at.field("value");
        what.push_str(&format!(", variable {}", quoted(&container.env[index].name)));
    }
    findings.add(at, format!("{what}: {why}, once `$(NAME)` is replaced"));
}

/// A kubelet hands a relative one on, and no runtime below it takes that.
fn working_dir(path: Path, text: &str, findings: &mut Findings) {
    if !text.is_empty() && !text.starts_with('/') {
        findings.add(path, format!("must be an absolute path, got {}", quoted(text)));
    } else if text.contains('\0') {
        findings.add(path, "must not contain a NUL byte");
    }
}

/// Where something is mounted, from the container's root on whether it begins with a slash or not: its parts, if it is well.
fn mounted_at<'a>(path: Path, text: &'a str, findings: &mut Findings) -> Option<Vec<&'a str>> {
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if text.is_empty() {
        findings.add(path, "required");
    } else if parts.is_empty() {
        findings.add(path, "must not be the container's root");
    } else if parts.contains(&"..") {
        findings.add(path, format!("must not contain `..`, got {}", quoted(text)));
    } else if text.contains('\0') {
        findings.add(path, "must not contain a NUL byte");
    } else {
        return Some(parts);
    }
    None
}

fn mounts(mounts: &[VolumeMount], path: &Path, volumes: &HashSet<&str>, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = path.index(index);
        if mount.name.is_empty() {
            findings.add(path.field("name"), "required");
        } else if !volumes.contains(mount.name.as_str()) {
            findings.add(
                path.field("name"),
                format!("spec.volumes has no volume called {}", quoted(&mount.name)),
            );
        }
        let (at, target) = (path.field("mountPath"), mount.mount_path.as_str());
        if mounted_at(at.clone(), target, findings).is_some_and(|parts| !seen.insert(parts)) {
            findings.add(at, format!("{} is the path of another mount too", quoted(target)));
        }
        let (at, inside) = (path.field("subPath"), mount.sub_path.as_str());
        if inside.starts_with('/') {
            findings.add(at, format!("must be a path relative to the volume, got {}", quoted(inside)));
        } else if inside.split('/').any(|part| part == "..") || inside.contains('\0') {
            findings.add(at, format!("must not contain `..`, got {}", quoted(inside)));
        }
    }
}

/// The resources that podrun limits.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

fn resources(resources: &ResourceRequirements, path: &Path, findings: &mut Findings) {
    for (list, quantities) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for (name, quantity) in quantities {
            let at = path.field(list).key(name);
            // A limit's copy among the requests is no second mistake.
            let is_copy = list == "requests" && resources.limits.get(name) == Some(quantity);
            if is_copy {
                continue;
            }
            if !RESOURCES.contains(&name.as_str()) {
                findings.add(at, "not supported yet; podrun limits cpu and memory");
            } else if quantity.nanos() < 0 {
                findings.add(at, format!("must not be negative, got {}", shown(&quantity.to_string())));
            } else if (list, name.as_str()) == ("limits", "memory") {
                findings.hold(at, memory_limit(quantity));
            }
        }
    }
    for (name, request) in &resources.requests {
        if let Some(limit) = resources.limits.get(name)
            && exceeds(request, limit)
        {
            let (request, limit) = (request.to_string(), limit.to_string());
            let message = format!("{} is more than the limit, {}", shown(&request), shown(&limit));
            findings.add(path.field("requests").key(name), message);
        }
    }
}

/// In less no container starts: with half of it the kernel ends busybox's shell before its first command, with a thirtieth it
/// makes no cgroup.
const MEMORY_MIN: u64 = 256 << 10;

/// Whether a program can be started in so much memory. None is no limit.
fn memory_limit(limit: &Quantity) -> Result<(), String> {
    if limit.nanos() == 0 || limit.value() >= MEMORY_MIN {
        return Ok(());
    }
    let text = limit.to_string();
    let meant = text
        .strip_suffix('m')
        .map(|number| format!("; did you mean {}M? `m` is a thousandth", shown(number)));
    let least = MEMORY_MIN >> 10;
    Err(format!(
        "{} is too little for any program to start in; {least}Ki are the least{}",
        shown(&text),
        meant.unwrap_or_default()
    ))
}

fn exceeds(request: &Quantity, limit: &Quantity) -> bool {
    request.nanos() > limit.nanos()
}
