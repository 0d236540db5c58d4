//! Parts of the runtime-spec that podrun does not support yet: refused by name.
//!
//! Invariant: a field is compiled or refused, never ignored: a spec that asks for an AppArmor profile
//! must not run without one.

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

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

/// Refuses a container's spec with an unsupported part: also groups in resctrl, where the caller has made none.
pub(super) fn spec(spec: &Spec, resctrl: bool) -> Result<()> {
    if let Some(linux) = spec.linux() {
        self::linux(linux, resctrl)?;
    }
    Ok(())
}

fn linux(linux: &Linux, resctrl: bool) -> Result<()> {
    let has = |kind| linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == kind);
    let mapped = some(linux.uid_mappings()) || some(linux.gid_mappings());
    if mapped && !has(LinuxNamespaceType::User) {
        return Err(Error::new(
            ErrorKind::Usage,
            "linux.uidMappings: there is no user namespace to map ids in",
        ));
    }
    if linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty())
        && !has(LinuxNamespaceType::Time)
    {
        return Err(Error::new(
            ErrorKind::Usage,
            "linux.timeOffsets: there is no time namespace to set them in",
        ));
    }
    refuse_if(linux.intel_rdt().is_some() && !resctrl, "linux.intelRdt")
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
        match spec(&serde_json::from_value(value).unwrap(), false) {
            Ok(()) => String::new(),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn each_field_is_refused_by_its_name() {
        for (json, name) in [
            (r#"{"linux":{"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}}"#, "linux.uidMappings"),
            (r#"{"linux":{"timeOffsets":{"boottime":{"secs":1}}}}"#, "linux.timeOffsets"),
            (r#"{"linux":{"intelRdt":{}}}"#, "linux.intelRdt"),
        ] {
            assert!(refusal(json).starts_with(name), "{name}: {:?}", refusal(json));
        }
        assert_eq!(refusal(r#"{"hooks":{},"linux":{"rootfsPropagation":"rslave"}}"#), "");
    }
}
