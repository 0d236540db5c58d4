//! A container's rights: capabilities, and the hidden or read-only parts of /proc and /sys.
//!
//! Invariant: a capability that is asked for by name and that this host cannot give is an error by
//! its name; ambient and inheritable sets stay empty.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::Facts;
use crate::error::{Error, ErrorKind, Result};
use crate::pod::config::Rights;

/// The default capabilities: containerd's and docker's. A file with one of them in its xattr, such as ping with
/// `cap_net_raw`, cannot be executed without it.
const DEFAULT: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::SysChroot,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::Kill,
];

/// Files and folders that a container sees empty.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/fs/selinux",
];

/// Folders of /proc that a container cannot write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The capabilities of a container.
pub(super) fn capabilities(rights: &Rights, facts: &Facts) -> Result<LinuxCapabilities> {
    let mut set: HashSet<Capability> = if rights.privileged {
        facts.capabilities.clone()
    } else {
        DEFAULT.into_iter().filter(|default| facts.capabilities.contains(default)).collect()
    };
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    if all(&rights.add) {
        set.clone_from(&facts.capabilities);
    }
    if all(&rights.drop) {
        set.clear();
    }
    for name in rights.add.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        let capability = parse(name)?;
        if !facts.capabilities.contains(&capability) {
            let message = format!("capability {name}: podrun itself does not have it on this host");
            return Err(Error::new(ErrorKind::Unsupported, message).hint("see `podrun doctor`"));
        }
        set.insert(capability);
    }
    // Of a name that is none, which the manifest's check has warned of, there is nothing to drop.
    for capability in rights.drop.iter().filter_map(|name| parse(name).ok()) {
        set.remove(&capability);
    }
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build();
    Ok(capabilities.expect("every set is given"))
}

/// The paths to mask, and those to make read-only.
pub(super) fn hidden(rights: &Rights, facts: &Facts) -> (Vec<String>, Vec<String>) {
    if rights.privileged {
        return (Vec::new(), Vec::new());
    }
    let masked = || MASKED.iter().map(ToString::to_string).chain(facts.throttles.iter().cloned()).collect();
    let read_only = || READ_ONLY.iter().map(ToString::to_string).collect();
    (
        rights.masked_paths.clone().unwrap_or_else(masked),
        rights.read_only_paths.clone().unwrap_or_else(read_only),
    )
}

pub(super) fn parse(name: &str) -> Result<Capability> {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).parse().map_err(|_| {
        Error::new(ErrorKind::Manifest, format!("capability {name:?}: the kernel has none of that name"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(security: serde_json::Value) -> Rights {
        let pod = serde_json::json!({"spec": {"containers": [{"name": "c", "securityContext": security}]}});
        let pod: crate::manifest::Pod = serde_json::from_value(pod).unwrap();
        let facts = Facts::default();
        crate::manifest::container_config(&pod, &pod.spec.containers[0], 0, &facts).unwrap().rights
    }

    fn names(security: serde_json::Value) -> Result<Vec<String>> {
        let facts = Facts {
            capabilities: [Capability::Chown, Capability::Kill, Capability::NetRaw, Capability::SysAdmin]
                .into(),
            ..Facts::default()
        };
        let set = capabilities(&given(security), &facts)?;
        assert_eq!(set.bounding(), set.effective());
        assert_eq!(set.bounding(), set.permitted());
        assert!(set.inheritable().iter().flatten().chain(set.ambient().iter().flatten()).next().is_none());
        let mut names: Vec<String> = set.bounding().iter().flatten().map(ToString::to_string).collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn all_goes_first_then_names() {
        use serde_json::json;
        assert_eq!(
            names(json!({})).unwrap(),
            ["CHOWN", "KILL", "NET_RAW"],
            "of the default, what this host has"
        );
        assert_eq!(
            names(json!({"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}})).unwrap(),
            ["NET_RAW"]
        );
        assert_eq!(names(json!({"capabilities": {"add": ["ALL"], "drop": ["KILL"]}})).unwrap().len(), 3);
        assert_eq!(names(json!({"capabilities": {"add": ["CAP_SYS_ADMIN"]}})).unwrap().len(), 4);
        let drop = json!({"capabilities": {"drop": ["FLY", "kill", "CAP_CHOWN"]}});
        assert_eq!(names(drop).unwrap(), ["NET_RAW"], "what there is of them");
        assert_eq!(names(json!({"privileged": true})).unwrap().len(), 4);
    }

    #[test]
    fn a_capability_that_is_not_to_be_had_is_named() {
        use serde_json::json;
        let missing = names(json!({"capabilities": {"add": ["SYS_RESOURCE"]}})).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Unsupported);
        assert!(missing.message().contains("SYS_RESOURCE"));
        let unknown = names(json!({"capabilities": {"add": ["FLY"]}})).unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::Manifest);
    }
}
