//! Users, capabilities and kernel settings.
//!
//! Invariant: as in [`super`]. No kernel setting passes that would reach beyond the pod's own
//! namespaces.

use std::collections::HashSet;

use caps::Capability;

use super::super::path::Path;
use super::super::suggest;
use super::super::types::{PodSpec, SeccompProfile, SeccompProfileType, SecurityContext, Sysctl};
use super::container::each;
use super::{Findings, names};
use crate::error::quoted;
use crate::pod::config::sysctl::{Owner, Setting};

pub(super) fn security(spec: &PodSpec, findings: &mut Findings) {
    let path = Path::of("spec.securityContext");
    let context = &spec.security_context;
    id(context.run_as_user, path.field("runAsUser"), findings);
    id(context.run_as_group, path.field("runAsGroup"), findings);
    for (index, group) in context.supplemental_groups.iter().enumerate() {
        id(Some(*group), path.field("supplementalGroups").index(index), findings);
    }
    seccomp(context.seccomp_profile.as_ref(), &path.field("seccompProfile"), findings);
    sysctls(&context.sysctls, &path.field("sysctls"), spec, findings);
    for (path, container) in each(spec) {
        self::container(&container.security_context, &path.field("securityContext"), findings);
    }
}

fn id(id: Option<i64>, path: Path, findings: &mut Findings) {
    if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
        findings.add(path, format!("must be from 0 to {}, got {id}", i32::MAX));
    }
}

fn container(context: &SecurityContext, path: &Path, findings: &mut Findings) {
    id(context.run_as_user, path.field("runAsUser"), findings);
    id(context.run_as_group, path.field("runAsGroup"), findings);
    seccomp(context.seccomp_profile.as_ref(), &path.field("seccompProfile"), findings);
    if context.allow_privilege_escalation == Some(false) && context.privileged == Some(true) {
        findings.add(path.field("allowPrivilegeEscalation"), "cannot be false where privileged is true");
    }
    let Some(capabilities) = &context.capabilities else { return };
    for (index, name) in capabilities.add.iter().enumerate() {
        if !is_capability(name) {
            let path = path.field("capabilities").field("add").index(index);
            findings.add_with(path, || no_capability(name));
        }
    }
}

/// Kubernetes' rules for a SeccompProfile.
fn seccomp(profile: Option<&SeccompProfile>, path: &Path, findings: &mut Findings) {
    let Some(profile) = profile else { return };
    let file = path.field("localhostProfile");
    match (profile.kind, profile.localhost_profile.as_deref()) {
        (None, _) => findings.add(path.field("type"), "required: RuntimeDefault, Localhost or Unconfined"),
        (Some(SeccompProfileType::Localhost), None | Some("")) => {
            findings.add(file, "required where type is Localhost");
        }
        (Some(SeccompProfileType::Localhost), Some(name)) if name.starts_with('/') => {
            findings.add(file, "must be a relative path: profiles lie below <root>/seccomp");
        }
        (Some(SeccompProfileType::Localhost), Some(name)) if name.split('/').any(|part| part == "..") => {
            findings.add(file, "must not contain '..'");
        }
        (Some(SeccompProfileType::RuntimeDefault | SeccompProfileType::Unconfined), Some(_)) => {
            findings.add(file, "can only be set where type is Localhost");
        }
        _ => {}
    }
}

fn is_capability(name: &str) -> bool {
    name == "ALL" || format!("CAP_{name}").parse::<Capability>().is_ok()
}

/// The kernel's capabilities, in the order of their numbers.
fn capabilities() -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().collect();
    all.sort_by_key(Capability::index);
    all.iter().map(|one| one.to_string().trim_start_matches("CAP_").to_owned()).collect()
}

/// Whether a capability has this name, in either of its spellings.
pub(super) fn is_droppable(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    is_capability(upper.strip_prefix("CAP_").unwrap_or(&upper))
}

/// The message about an unknown capability.
pub(super) fn no_capability(name: &str) -> String {
    let bare = name.strip_prefix("CAP_").unwrap_or(name);
    let message = format!("no capability is called {}", quoted(name));
    match suggest::nearest(bare, capabilities().iter().map(String::as_str)) {
        Some(meant) => format!("{message}; did you mean {meant}?"),
        None => message,
    }
}

fn sysctls(sysctls: &[Sysctl], path: &Path, spec: &PodSpec, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let at = path.index(index).field("name");
        if sysctl.name.is_empty() {
            findings.add(at, "required");
            continue;
        }
        if let Err(message) = names::sysctl_name(&sysctl.name) {
            findings.add(at, message);
            continue;
        }
        let Some(setting) = Setting::parse(&sysctl.name) else {
            findings.add(at, format!("{} is not the name of a kernel setting", quoted(&sysctl.name)));
            continue;
        };
        let name = setting.dotted();
        match setting.owner() {
            Owner::Host => findings.add(at, format!("{name} belongs to the whole host, not to a pod")),
            Owner::Uts | Owner::User | Owner::Pid => {
                findings.add(at, format!("{name} is neither of the pod's network nor of its IPC"));
            }
            Owner::Network if spec.host_network => {
                findings.add(at, format!("{name} would be the host's with hostNetwork"));
            }
            Owner::Ipc if spec.host_ipc => {
                findings.add(at, format!("{name} would be the host's with hostIPC"));
            }
            _ if sysctl.value.contains(char::is_control) => {
                let at = path.index(index).field("value");
                findings
                    .add(at, format!("must not contain control characters, got {}", quoted(&sysctl.value)));
            }
            _ if seen.contains(&name) => findings.add(at, format!("{name} is set twice")),
            _ => {}
        }
        seen.insert(name);
    }
}
