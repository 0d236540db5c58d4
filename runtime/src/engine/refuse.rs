//! What the runtime-spec has and podrun does not do yet: refused by name.
//!
//! Invariant: a field is compiled or refused, never ignored: a spec that asks for an AppArmor profile
//! must not run without one.

use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};

use crate::error::{Error, ErrorKind, Result};

fn refused<T>(field: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, format!("{field}: not supported yet")))
}

fn refuse_if(asked: bool, field: &str) -> Result<()> {
    if asked { refused(field) } else { Ok(()) }
}

fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

/// Refuses a container's spec that asks for what is not done.
pub(super) fn spec(spec: &Spec) -> Result<()> {
    refuse_if(spec.vm().is_some(), "vm")?;
    refuse_if(spec.windows().is_some(), "windows")?;
    refuse_if(spec.solaris().is_some(), "solaris")?;
    if let Some(linux) = spec.linux() {
        self::linux(linux)?;
    }
    spec.process().as_ref().map_or(Ok(()), process)
}

fn linux(linux: &Linux) -> Result<()> {
    let mut kinds = linux.namespaces().iter().flatten().map(|namespace| namespace.typ());
    refuse_if(kinds.any(|kind| kind == LinuxNamespaceType::Time), "linux.namespaces: time")?;
    let user = |one: &oci_spec::runtime::LinuxNamespace| one.typ() == LinuxNamespaceType::User;
    let mapped = some(linux.uid_mappings()) || some(linux.gid_mappings());
    if mapped && !linux.namespaces().iter().flatten().any(user) {
        return Err(Error::new(
            ErrorKind::Usage,
            "linux.uidMappings: there is no user namespace to map ids in",
        ));
    }
    refuse_if(linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()), "linux.mountLabel")?;
    refuse_if(linux.intel_rdt().is_some(), "linux.intelRdt")?;
    refuse_if(linux.memory_policy().is_some(), "linux.memoryPolicy")?;
    refuse_if(linux.personality().is_some(), "linux.personality")?;
    refuse_if(linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()), "linux.timeOffsets")?;
    refuse_if(linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()), "linux.netDevices")
}

/// Refuses a process that asks for what is not done.
pub(super) fn process(process: &Process) -> Result<()> {
    let named = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    refuse_if(named(process.apparmor_profile()), "process.apparmorProfile")?;
    refuse_if(named(process.selinux_label()), "process.selinuxLabel")?;
    refuse_if(process.io_priority().is_some(), "process.ioPriority")?;
    refuse_if(process.scheduler().is_some(), "process.scheduler")?;
    refuse_if(process.exec_cpu_affinity().is_some(), "process.execCPUAffinity")?;
    refuse_if(process.user().username().is_some(), "process.user.username")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        let base = r#"{"ociVersion":"1.2.0","process":{"cwd":"/","user":{"uid":0,"gid":0}}}"#;
        let mut value: serde_json::Value = serde_json::from_str(base).unwrap();
        let change: serde_json::Value = serde_json::from_str(json).unwrap();
        for (key, part) in change.as_object().unwrap() {
            if let (Some(old), Some(new)) = (value[key].as_object_mut(), part.as_object()) {
                old.extend(new.clone());
            } else {
                value[key] = part.clone();
            }
        }
        match spec(&serde_json::from_value(value).unwrap()) {
            Ok(()) => String::new(),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn each_field_is_refused_by_its_name() {
        for (json, name) in [
            (r#"{"linux":{"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}}"#, "linux.uidMappings"),
            (r#"{"linux":{"namespaces":[{"type":"time"}]}}"#, "linux.namespaces: time"),
            (r#"{"linux":{"personality":{"domain":"LINUX"}}}"#, "linux.personality"),
            (r#"{"process":{"apparmorProfile":"x"}}"#, "process.apparmorProfile"),
        ] {
            assert!(refusal(json).starts_with(name), "{name}: {:?}", refusal(json));
        }
        assert_eq!(refusal(r#"{"hooks":{},"linux":{"rootfsPropagation":"rslave"}}"#), "");
    }
}
