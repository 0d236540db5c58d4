//! What is allowed and yet likely a mistake.
//!
//! Invariant: pure; a warning never stops a pod. Works on a pod before its defaults are filled in.

use std::collections::{HashMap, HashSet};

use super::super::path::Path;
use super::super::types::{Container, Pod, SeccompProfile, SeccompProfileType};
use super::container::each;
use crate::error::{quoted, shown};

/// A sentence for each likely mistake.
pub fn lint(pod: &Pod) -> Vec<String> {
    let mut warnings = Vec::new();
    if pod.spec.termination_grace_period_seconds < 0 {
        warnings.push("spec.terminationGracePeriodSeconds: negative, which means 1".into());
    }
    let (mut listening, init) = (HashMap::new(), Path::of("spec.initContainers"));
    for (path, container) in each(&pod.spec) {
        let runs_on = container.restarts_always() || !path.starts_with(&init);
        for (index, port) in container.ports.iter().enumerate().filter(|_| runs_on) {
            let first = listening.entry((port.container_port, port.protocol)).or_insert(&container.name);
            if *first != &container.name {
                warnings.push(format!(
                    "{path}.ports[{index}].containerPort: {} is declared by container {} too; the containers of \
                     a pod share one network, where only one of them can listen on it",
                    port.container_port,
                    quoted(first)
                ));
            }
        }
        for (index, _) in
            container.ports.iter().enumerate().filter(|(_, port)| !runs_on && port.host_port != 0)
        {
            warnings.push(format!(
                "{path}.ports[{index}].hostPort: an init container's is not opened; a sidecar's (restartPolicy: Always) is"
            ));
        }
        if container.stdin_once && !container.stdin {
            warnings.push(format!("{path}.stdinOnce: means nothing without stdin"));
        }
        let security = &container.security_context;
        let unconfined = |profile: &SeccompProfile| profile.kind == Some(SeccompProfileType::Unconfined);
        if security.privileged == Some(true)
            && security.seccomp_profile.as_ref().is_some_and(|own| !unconfined(own))
        {
            warnings.push(format!(
                "{path}.securityContext.seccompProfile: means nothing where privileged is true"
            ));
        }
        repeated_variables(container, &path.to_string(), &mut warnings);
    }
    warnings
}

fn repeated_variables(container: &Container, path: &str, warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, variable) in container.env.iter().enumerate() {
        if !seen.insert(&variable.name) {
            warnings.push(format!(
                "{path}.env[{index}].name: {} is set twice; the last value wins",
                shown(&variable.name)
            ));
        }
    }
    for (name, quantity) in container.resources.limits.iter().filter(|(name, _)| *name == "memory") {
        if quantity.nanos() % 1_000_000_000 != 0 {
            warnings.push(format!(
                "{path}.resources.limits[{name}]: {} is less than a whole byte",
                shown(&quantity.to_string())
            ));
        }
    }
}
