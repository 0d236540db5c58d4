//! Containers: names, images, variables, mounts, resources.
//!
//! Invariant: as in [`super`].

use std::collections::{BTreeMap, HashSet};

use super::super::Quantity;
use super::super::path::Path;
use super::super::types::{Container, PodSpec, ResourceRequirements, VolumeMount};
use super::{Findings, names};
use crate::error::{quoted, shown};
use crate::pod::manifest::expand::{TooMuch, expand_container};

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
    }
    for (index, container) in spec.containers.iter().enumerate() {
        if container.restart_policy.is_some() {
            let path = path.field("containers").index(index).field("restartPolicy");
            findings.add(path, "only an init container can have one, which makes it a sidecar");
        }
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
    absolute(path.field("workingDir"), &container.working_dir, findings);
    absolute(path.field("terminationMessagePath"), &container.termination_message_path, findings);
    resources(&container.resources, &path.field("resources"), findings);
    mounts(&container.volume_mounts, &path.field("volumeMounts"), volumes, findings);
}

/// What the kernel would not take of the program, its arguments and its variables, whatever the image adds.
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

fn absolute(path: Path, text: &str, findings: &mut Findings) {
    if !text.is_empty() && !text.starts_with('/') {
        findings.add(path, format!("must be an absolute path, got {}", quoted(text)));
    } else if text.contains('\0') {
        findings.add(path, "must not contain a NUL byte");
    }
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
        let parts: Vec<&str> = target.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if target.is_empty() {
            findings.add(at, "required");
        } else if parts.is_empty() {
            findings.add(at, "must not be the container's root");
        } else if parts.contains(&"..") {
            findings.add(at, format!("must not contain `..`, got {}", quoted(target)));
        } else if !seen.insert(parts) {
            findings.add(at, format!("{} is the path of another mount too", quoted(target)));
        } else {
            absolute(at, target, findings);
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

fn exceeds(request: &Quantity, limit: &Quantity) -> bool {
    request.nanos() > limit.nanos()
}
