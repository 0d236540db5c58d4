//! Device rules beside the config's own: the default devices that the specification promises to every
//! container.
//!
//! Invariant: rules are added only to a config that has some: a config without any asks for no restriction.
//! They come last, as with runc, so that a "deny all" before them does not take the default devices away
//! (config-linux.md, "Default Devices").

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};

use crate::engine;

/// Adds to the config's rules that the default devices can be used, and that its own can be made.
pub(super) fn allow(spec: &mut Spec) {
    let Some(linux) = spec.linux_mut() else { return };
    let listed = linux.devices().clone().unwrap_or_default();
    let Some(resources) = linux.resources_mut() else { return };
    let Some(mut rules) = resources.devices().clone().filter(|rules| !rules.is_empty()) else {
        return;
    };
    rules.extend(engine::default_device_rules());
    // Of /dev/net/tun, which no container has unless it is listed or made: callers of runc and crun count on the rule.
    rules.push(rule(LinuxDeviceType::C, 10, 200, "rwm"));
    for device in listed {
        match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::B => {
                // The nodes are made by a process that is in the cgroup already.
                let typ =
                    if device.typ() == LinuxDeviceType::B { LinuxDeviceType::B } else { LinuxDeviceType::C };
                rules.push(rule(typ, device.major(), device.minor(), "m"));
            }
            LinuxDeviceType::P | LinuxDeviceType::A => {}
        }
    }
    resources.set_devices(Some(rules));
}

fn rule(typ: LinuxDeviceType, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true).set_typ(Some(typ)).set_access(Some(access.into()));
    rule.set_major(Some(major)).set_minor(Some(minor));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(resources: &str) -> usize {
        let text = format!(
            r#"{{"ociVersion":"1.2.0","linux":{{"resources":{resources},"devices":[{{"path":"/dev/x","type":"b","major":7,"minor":1}}]}}}}"#
        );
        let mut spec: Spec = serde_json::from_str(&text).unwrap();
        allow(&mut spec);
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()).unwrap();
        resources.devices().as_ref().map_or(0, Vec::len)
    }

    #[test]
    fn rules_are_added_where_there_are_some() {
        assert_eq!(rules(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#), 1 + 8 + 1 + 1);
        assert_eq!(rules(r#"{"devices":[]}"#), 0);
        assert_eq!(rules("{}"), 0);
    }
}
