//! Device rules beside the config's own: what the specification promises to every container.
//!
//! Invariant: rules are only added where the config has some: a config without any asks for no
//! restriction. They stand at the end, where runc has them too, so that "deny all" before them does not
//! take away what config-linux.md, "Default Devices", promises.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, Spec};

use crate::error::{Error, Result};

/// Major and minor of config-linux.md's default devices; `None` is every one: a terminal's peers.
const DEFAULT: [(i64, Option<i64>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// Adds to the config's rules that the default devices can be used, and that its own can be made.
pub(super) fn allow(spec: &mut Spec) -> Result<()> {
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let listed = linux.devices().clone().unwrap_or_default();
    let Some(resources) = linux.resources_mut() else { return Ok(()) };
    let Some(mut rules) = resources.devices().clone().filter(|rules| !rules.is_empty()) else {
        return Ok(());
    };
    for (major, minor) in DEFAULT {
        rules.push(rule(LinuxDeviceType::C, major, minor, "rwm")?);
    }
    for device in listed {
        match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::B => {
                // The nodes are made by a process that is in the cgroup already.
                let typ =
                    if device.typ() == LinuxDeviceType::B { LinuxDeviceType::B } else { LinuxDeviceType::C };
                rules.push(rule(typ, device.major(), Some(device.minor()), "m")?);
            }
            LinuxDeviceType::P | LinuxDeviceType::A => {}
        }
    }
    resources.set_devices(Some(rules));
    Ok(())
}

fn rule(typ: LinuxDeviceType, major: i64, minor: Option<i64>, access: &str) -> Result<LinuxDeviceCgroup> {
    let builder = LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).major(major).access(access);
    let built = match minor {
        Some(minor) => builder.minor(minor).build(),
        None => builder.build(),
    };
    built.map_err(|error| Error::failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(resources: &str) -> usize {
        let text = format!(
            r#"{{"ociVersion":"1.2.0","linux":{{"resources":{resources},"devices":[{{"path":"/dev/x","type":"b","major":7,"minor":1}}]}}}}"#
        );
        let mut spec: Spec = serde_json::from_str(&text).unwrap();
        allow(&mut spec).unwrap();
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()).unwrap();
        resources.devices().as_ref().map_or(0, Vec::len)
    }

    #[test]
    fn rules_are_added_where_there_are_some() {
        assert_eq!(rules(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#), 1 + DEFAULT.len() + 1);
        assert_eq!(rules(r#"{"devices":[]}"#), 0);
        assert_eq!(rules("{}"), 0);
    }
}
