//! Fields that are valid and yet likely a mistake.
//!
//! Invariant: pure and linear in the pod's size; a warning never stops a pod. Works on a pod before its
//! defaults are filled in. Repeats every warning of the API server about a field that is done.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::annotation;
use super::super::path::Path;
use super::super::types::{
    Container, ContainerPort, ObjectMeta, Pod, PodSpec, Protocol, SeccompProfile, SeccompProfileType,
};
use super::container::each;
use super::{names, security};
use crate::error::{quoted, shown};

/// A sentence for each likely mistake.
pub fn lint(pod: &Pod) -> Vec<String> {
    let mut warnings = Vec::new();
    metadata(&pod.metadata, &mut warnings);
    if pod.spec.termination_grace_period_seconds < 0 {
        warnings.push("spec.terminationGracePeriodSeconds: negative, which means 1".into());
    }
    addresses(&pod.spec, &mut warnings);
    let mut ports = Ports::default();
    for (path, container) in each(&pod.spec) {
        ports.lint(&path, container, pod.spec.host_network, &mut warnings);
        self::container(&path, container, &mut warnings);
    }
    warnings
}

fn metadata(metadata: &ObjectMeta, warnings: &mut Vec<String>) {
    if !metadata.name.is_empty() && names::dns_label(&metadata.name).is_err() {
        warnings.push(
            "metadata.name: the pod's hostname is made of it, and should be a DNS label: at most 63 characters, no dots"
                .into(),
        );
    }
    let path = Path::of("metadata.annotations");
    for key in metadata.annotations.keys() {
        if let Some(field) = annotation::dead(key) {
            warnings.push(format!("{}: means nothing any more; set {field} instead", path.key(key)));
        }
    }
}

fn addresses(spec: &PodSpec, warnings: &mut Vec<String>) {
    for (index, server) in spec.dns_config.iter().flat_map(|config| &config.nameservers).enumerate() {
        spelling(&format!("spec.dnsConfig.nameservers[{index}]"), server, warnings);
    }
    let mut seen = HashSet::new();
    for (index, alias) in spec.host_aliases.iter().enumerate() {
        spelling(&format!("spec.hostAliases[{index}].ip"), &alias.ip, warnings);
        let Ok(ip) = alias.ip.parse::<IpAddr>() else { continue };
        if !seen.insert(ip) {
            warnings.push(format!(
                "spec.hostAliases[{index}].ip: {ip} has an entry before; one can have all hostnames"
            ));
        }
    }
}

fn spelling(path: &str, text: &str, warnings: &mut Vec<String>) {
    if let Ok(ip) = text.parse::<IpAddr>()
        && ip.to_string() != text
    {
        warnings.push(format!("{path}: {} is written {ip} (RFC 5952)", shown(text)));
    }
}

/// The ports that were seen so far.
#[derive(Default)]
struct Ports<'a> {
    /// The ports of containers that run at the same time, each with its first path and container.
    listening: HashMap<(u16, Protocol), (Path, &'a Container, &'a ContainerPort)>,
    /// The names, with where each is first.
    named: HashMap<&'a str, Path>,
}

impl<'a> Ports<'a> {
    fn lint(
        &mut self,
        path: &Path,
        container: &'a Container,
        host_network: bool,
        warnings: &mut Vec<String>,
    ) {
        let runs_on = container.restarts_always() || !path.starts_with(&Path::of("spec.initContainers"));
        let mut own = HashMap::new();
        for (index, port) in container.ports.iter().enumerate() {
            let path = path.field("ports").index(index);
            let listening = if runs_on { &mut self.listening } else { &mut own };
            let (first, who, other) = listening
                .entry((port.container_port, port.protocol))
                .or_insert_with(|| (path.clone(), container, port));
            if who.name != container.name {
                warnings.push(format!(
                    "{path}.containerPort: {} is declared by container {} too; the containers of a pod share one \
                     network, where only one of them can listen on it",
                    port.container_port,
                    quoted(&who.name)
                ));
            } else if *first != path && says_no_more(port, other) {
                warnings.push(format!(
                    "{path}.containerPort: {} is declared by {first} already",
                    port.container_port
                ));
            }
            if !runs_on && port.host_port != 0 {
                warnings.push(format!(
                    "{path}.hostPort: an init container's is not opened; a sidecar's (restartPolicy: Always) is"
                ));
            }
            if !port.host_ip.is_empty() && port.host_port == 0 && !host_network {
                warnings.push(format!("{path}.hostIP: means nothing without hostPort"));
            }
            if port.name.is_empty() {
                continue;
            }
            match self.named.get(port.name.as_str()) {
                // Twice in one container is a mistake, and said as such.
                Some(first) if first.parent() != path.parent() => warnings.push(format!(
                    "{path}.name: {first} is called {} too; who goes by the name finds that one",
                    quoted(&port.name)
                )),
                Some(_) => {}
                None => drop(self.named.insert(&port.name, path)),
            }
        }
    }
}

/// Whether a port of a container opens nothing that another declaration of it does not.
fn says_no_more(port: &ContainerPort, other: &ContainerPort) -> bool {
    port.host_port == 0
        || other.host_port == 0
        || port.host_port == other.host_port && port.host_ip == other.host_ip
}

fn container(path: &Path, container: &Container, warnings: &mut Vec<String>) {
    if container.stdin_once && !container.stdin {
        warnings.push(format!("{path}.stdinOnce: means nothing without stdin"));
    }
    let context = &container.security_context;
    let unconfined = |profile: &SeccompProfile| profile.kind == Some(SeccompProfileType::Unconfined);
    if context.privileged == Some(true)
        && context.seccomp_profile.as_ref().is_some_and(|own| !unconfined(own))
    {
        warnings
            .push(format!("{path}.securityContext.seccompProfile: means nothing where privileged is true"));
    }
    let dropped = context.capabilities.iter().flat_map(|capabilities| &capabilities.drop);
    for (index, name) in dropped.enumerate().filter(|(_, name)| !security::is_droppable(name)) {
        let why = security::no_capability(name);
        warnings.push(format!("{path}.securityContext.capabilities.drop[{index}]: {why}"));
    }
    let mut seen = HashSet::new();
    for (index, variable) in container.env.iter().enumerate() {
        // A reference to the variable's first value extends it.
        let reference = format!("$({})", variable.name);
        let adds = variable.value != reference && variable.value.contains(&reference);
        if !seen.insert(&variable.name) && !adds {
            warnings.push(format!(
                "{path}.env[{index}].name: {} is set twice; the last value wins",
                shown(&variable.name)
            ));
        }
    }
    let resources = &container.resources;
    for (list, quantities) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        let Some(quantity) = quantities.get("memory").filter(|quantity| !quantity.is_whole()) else {
            continue;
        };
        warnings.push(format!(
            "{path}.resources.{list}[memory]: {} is no whole number of bytes",
            shown(&quantity.to_string())
        ));
    }
}
