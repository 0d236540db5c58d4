//! The OCI spec that a container's fields become.

use oci_spec::runtime::Mount;
use serde_json::json;

use super::*;
use crate::manifest::{Pod, VolumeMount};

fn spec_of(pod: serde_json::Value, sources: &[&Path]) -> Spec {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": pod})).unwrap();
    let facts = Facts::default();
    let config = crate::manifest::container_config(&pod, &pod.spec.containers[0], 0, &facts).unwrap();
    let image = ImageConfig { cmd: vec!["/run".into()], ..ImageConfig::default() };
    spec(&Inputs {
        config: &config,
        image: &image,
        user: &User { uid: 33, gid: 34, groups: vec![34, 50] },
        hostname: "web",
        cgroup: "/podrun/a/b",
        volume_sources: sources,
        seccomp_profile: None,
        facts: &facts,
    })
    .unwrap()
}

fn destinations(spec: &Spec) -> Vec<String> {
    spec.mounts().iter().flatten().map(|mount| mount.destination().display().to_string()).collect()
}

fn mount_at<'a>(spec: &'a Spec, at: &str) -> &'a Mount {
    spec.mounts().iter().flatten().find(|mount| mount.destination() == Path::new(at)).unwrap()
}

fn has(mount: &Mount, option: &str) -> bool {
    mount.options().iter().flatten().any(|own| own == option)
}

#[test]
fn parents_are_mounted_before_what_lies_in_them() {
    let mounts = json!([{"name": "v", "mountPath": "/etc/app/deep"}, {"name": "v", "mountPath": "/etc"}]);
    let spec = spec_of(
        json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c", "volumeMounts": mounts}]}),
        &[Path::new("/a"), Path::new("/b")],
    );
    let order = destinations(&spec);
    for (index, destination) in order.iter().enumerate() {
        for later in &order[index + 1..] {
            assert!(!Path::new(destination).starts_with(later), "{destination} before {later}");
        }
    }
    assert_eq!(order.iter().filter(|at| *at == "/etc").count(), 1);
}

#[test]
fn what_the_manifest_mounts_replaces_our_own() {
    let mounts = json!([{"name": "v", "mountPath": "/etc//hosts", "readOnly": true}, {"name": "v", "mountPath": "/dev/shm"}]);
    let spec = spec_of(
        json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c", "volumeMounts": mounts}]}),
        &[Path::new("/mine"), Path::new("/shm")],
    );
    let hosts = mount_at(&spec, "/etc/hosts");
    assert_eq!(hosts.source().as_deref(), Some(Path::new("/mine")));
    assert!(has(hosts, "ro"));
    assert_eq!(destinations(&spec).iter().filter(|at| *at == "/dev/shm").count(), 1);
}

#[test]
fn a_mount_point_is_absolute_and_never_climbs() {
    assert_eq!(mount_point("/a/./b//").unwrap(), Path::new("/a/b"));
    assert_eq!(mount_point("rel").unwrap(), Path::new("/rel"));
    for wrong in ["/", "", "/a/../b", "."] {
        assert!(mount_point(wrong).is_err(), "{wrong:?}");
    }
    let unused: VolumeMount = serde_json::from_value(json!({"name": "v"})).unwrap();
    assert!(mount_point(&unused.mount_path).is_err());
}

#[test]
fn a_plain_container_is_confined() {
    let spec = spec_of(json!({"containers": [{"name": "c"}]}), &[]);
    let process = spec.process().as_ref().unwrap();
    assert_eq!((process.user().uid(), process.user().gid()), (33, 34));
    assert_eq!(process.user().additional_gids().as_deref(), Some(&[34, 50][..]));
    assert_eq!(process.no_new_privileges(), Some(false), "Kubernetes' default");
    assert_eq!(process.oom_score_adj(), Some(1000));
    assert!(has(mount_at(&spec, "/sys"), "ro") && has(mount_at(&spec, "/sys/fs/cgroup"), "ro"));
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned()));
    assert!(linux.readonly_paths().as_ref().unwrap().contains(&"/proc/sys".to_owned()));
    let kinds: Vec<_> = linux.namespaces().iter().flatten().map(|own| own.typ()).collect();
    assert_eq!(kinds, [LinuxNamespaceType::Mount, LinuxNamespaceType::Pid, LinuxNamespaceType::Cgroup]);
    assert!(linux.devices().as_ref().is_none_or(Vec::is_empty));
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/podrun/a/b")));
    assert_eq!(spec.hostname(), &None);
}

#[test]
fn privileged_takes_the_walls_down() {
    let security = json!({"privileged": true, "allowPrivilegeEscalation": true});
    let spec =
        spec_of(json!({"hostPID": true, "containers": [{"name": "c", "securityContext": security}]}), &[]);
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.masked_paths().as_ref().is_none_or(Vec::is_empty));
    assert!(linux.readonly_paths().as_ref().is_none_or(Vec::is_empty));
    assert!(has(mount_at(&spec, "/sys"), "rw"));
    let kinds: Vec<_> = linux.namespaces().iter().flatten().map(|own| own.typ()).collect();
    assert_eq!(kinds, [LinuxNamespaceType::Mount]);
    let rules = linux.resources().as_ref().unwrap().devices().clone().unwrap();
    assert!(rules[0].allow());
}

#[test]
fn escalation_and_the_root_follow_the_security_context() {
    let security = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true});
    let spec = spec_of(json!({"containers": [{"name": "c", "tty": true, "securityContext": security}]}), &[]);
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.no_new_privileges(), Some(true));
    assert_eq!(process.terminal(), Some(true));
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    assert!(has(mount_at(&spec, "/etc/hosts"), "ro"));
}
