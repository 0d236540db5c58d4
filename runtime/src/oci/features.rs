//! The features document (features.md, features-linux.md): the features of this podrun, and no more.

use serde_json::{Value, json};

use super::hooks::Kind;
use crate::cgroup::Layout;
use crate::engine;

/// The document of this binary on this host.
pub fn features(version: &str) -> Value {
    let hooks: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let mut capabilities: Vec<String> = engine::all_known_capabilities();
    capabilities.sort();
    let layout = Layout::detect().map_or("none", |layout| layout.describe());
    let seccomp = engine::seccomp_features();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": super::container::oci_version(),
        "hooks": hooks,
        "mountOptions": engine::mount_options(),
        "linux": {
            "namespaces": engine::NAMESPACES,
            "capabilities": capabilities,
            "cgroup": {
                "v1": layout != "v2",
                "v2": layout != "v1",
                "systemd": true,
                "systemdUser": false,
                "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": seccomp.actions,
                "operators": seccomp.operators,
                "archs": seccomp.architectures,
                "knownFlags": seccomp.flags,
                "supportedFlags": seccomp.kernel_flags,
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "memoryPolicy": {"modes": engine::MEMORY_POLICY_MODES, "flags": engine::MEMORY_POLICY_FLAGS},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
        },
        "annotations": {"run.podrun.version": version},
        "potentiallyUnsafeConfigAnnotations": [],
    })
}
