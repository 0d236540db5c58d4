//! The annotations that podrun reads: those below `podrun.io/`, and those that stand, or stood, for a field.
//! podrun ignores all others.
//!
//! Invariant: one below `podrun.io/` that means nothing is refused, as an unknown field is; one that Kubernetes takes for
//! a field is treated as that field is.

use super::StringMap;
use super::suggest;
use crate::error::quoted;

const PREFIX: &str = "podrun.io/";

/// `off`: the pod may send any frame onto its bridge.
const PORT_FILTER: &str = "podrun.io/port-filter";

const KNOWN: [(&str, [&str; 2]); 1] = [(PORT_FILTER, ["on", "off"])];

/// The prefix, before a container's name, of the annotation that Kubernetes takes for its appArmorProfile.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The field that some of the next stood for.
const SECCOMP: &str = "securityContext.seccompProfile";

/// Annotations, or prefixes of annotations, that stood for a field in past releases, each with that field.
/// Kubernetes no longer reads them.
const DEAD: [(&str, &str); 5] = [
    ("seccomp.security.alpha.kubernetes.io/pod", SECCOMP),
    ("container.seccomp.security.alpha.kubernetes.io/", "securityContext.seccompProfile of the container"),
    ("scheduler.alpha.kubernetes.io/critical-pod", "priorityClassName"),
    ("security.alpha.kubernetes.io/sysctls", "securityContext.sysctls"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "securityContext.sysctls"),
];

/// Whether the pod is held to its own addresses.
pub fn has_port_filter(annotations: &StringMap) -> bool {
    annotations.get(PORT_FILTER).is_none_or(|value| value != "off")
}

/// As Kubernetes still judges the values that it reads no more.
fn seccomp_profile(value: &str) -> Result<(), String> {
    let is_path = |path: &str| !path.starts_with('/') && path.split('/').all(|part| part != "..");
    let is_profile = match value {
        "unconfined" | "runtime/default" | "docker/default" => true,
        _ => value.strip_prefix("localhost/").is_some_and(is_path),
    };
    let message = || format!("must be unconfined, runtime/default or localhost/PATH, got {}", quoted(value));
    if is_profile { Ok(()) } else { Err(message()) }
}

/// The field to use instead of an annotation that no longer has a meaning.
pub(super) fn dead(key: &str) -> Option<&'static str> {
    let is_it = |known: &str| if known.ends_with('/') { key.starts_with(known) } else { key == known };
    DEAD.iter().find(|(known, _)| is_it(known)).map(|(_, field)| *field)
}

/// Checks the value of an annotation that podrun reads; passes any other.
pub(super) fn check(key: &str, value: &str) -> Result<(), String> {
    if key.starts_with(APPARMOR) {
        let why = "not supported yet; it is the container's securityContext.appArmorProfile, and AppArmor profiles are not applied";
        return Err(why.into());
    }
    if dead(key).is_some_and(|field| field.starts_with(SECCOMP)) {
        return seccomp_profile(value);
    }
    if !key.starts_with(PREFIX) {
        return Ok(());
    }
    let Some((_, values)) = KNOWN.iter().find(|(known, _)| *known == key) else {
        let names = || KNOWN.iter().map(|(known, _)| *known);
        let meant = suggest::nearest(key, names()).map(|meant| format!("; did you mean {meant}?"));
        return Err(format!("podrun has no such annotation{}", meant.unwrap_or_default()));
    };
    if values.contains(&value) {
        return Ok(());
    }
    Err(format!("must be {}, got {}", values.join(" or "), quoted(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podruns_own_are_known_and_others_are_let_be() {
        assert!(check("example.org/port-filter", "x").is_ok());
        assert!(check(PORT_FILTER, "off").is_ok() && check(PORT_FILTER, "on").is_ok());
        assert_eq!(check(PORT_FILTER, "no").unwrap_err(), "must be on or off, got \"no\"");
        assert!(
            check("podrun.io/portfilter", "off")
                .unwrap_err()
                .ends_with("did you mean podrun.io/port-filter?")
        );
        assert!(check("podrun.io/x", "").is_err());
        assert!(check("container.apparmor.security.beta.kubernetes.io/a", "localhost/p").is_err());
        assert_eq!(dead("container.seccomp.security.alpha.kubernetes.io/a"), Some(DEAD[1].1));
        assert_eq!(dead("seccomp.security.alpha.kubernetes.io/pod"), Some(DEAD[0].1));
        assert_eq!(dead("seccomp.security.alpha.kubernetes.io/pods"), None);
        for (value, is_well) in
            [("docker/default", true), ("localhost/a/b", true), ("localhost/../a", false), ("x", false)]
        {
            assert_eq!(
                check("container.seccomp.security.alpha.kubernetes.io/a", value).is_ok(),
                is_well,
                "{value}"
            );
        }
        let open = [(PORT_FILTER.to_owned(), "off".to_owned())].into();
        assert!(!has_port_filter(&open) && has_port_filter(&StringMap::new()));
    }
}
