//! Attempts of a container: their ids and mounts, and the remains of a refused one.

use std::os::fd::AsFd;

use serde_json::json;

use super::*;
use crate::image::ImageConfig;
use crate::manifest::{self, Pod};
use crate::pod::record::Front;
use crate::sys::file::confined;

fn sandbox(pod: &Pod) -> Sandbox {
    Sandbox {
        version: Version,
        id: "a".repeat(64),
        front: Front::Pod,
        name: pod.metadata.name.clone(),
        namespace: "default".into(),
        uid: "u".into(),
        attempt: 0,
        labels: Default::default(),
        created_at: 1,
        boot_id: String::new(),
        hostname: None,
        sharing: Default::default(),
        cgroup: "/podrun/a".into(),
        cgroup_owned: true,
        log_dir: "/logs".into(),
        log_dir_owned: true,
        asked: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
    }
}

struct Case {
    _dir: tempfile::TempDir,
    host: Host,
    rootfs: PathBuf,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host =
            Host { root: dir.path().join("root"), state_dir: dir.path().join("state"), ..Host::default() };
        let rootfs = dir.path().join("rootfs");
        std::fs::create_dir(&rootfs).unwrap();
        Self { _dir: dir, host, rootfs }
    }

    fn prepare(&self, spec: serde_json::Value, runs: ImageConfig) -> Result<Prepared> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
        let sandbox = sandbox(&pod);
        let facts = Facts::default();
        let asked = manifest::sandbox_config(&pod, 1, Path::new("/logs"), facts.missing).unwrap();
        volume::make(&self.host, &sandbox.id, &asked.volumes).unwrap();
        let config = manifest::container_config(&pod, &pod.spec.containers[0], 0, &facts)?;
        let image = Image {
            id: crate::image::Digest::of(b"config"),
            names: vec![],
            digests: vec![],
            size: 0,
            created: None,
            layers: vec![],
            config: runs,
            damage: None,
        };
        let inputs =
            Inputs { host: &self.host, sandbox: &sandbox, config: &config, image: &image, facts: &facts };
        let rootfs = confined::open_host(&self.rootfs).unwrap();
        std::fs::create_dir_all(self.host.pod_root(&sandbox.id)).unwrap();
        let id = begin(&self.host, &sandbox.id).unwrap();
        prepare(&id, &inputs, rootfs.as_fd(), Vec::new())
            .inspect_err(|_| give_up(&self.host, &sandbox.id, &id))
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        cmd: vec!["/run".into()],
        stop_signal: Some("SIGQUIT".into()),
        volumes: vec!["/data".into()],
        ..ImageConfig::default()
    }
}

#[test]
fn volumes_are_descriptors_beside_a_spec_of_paths() {
    let case = Case::new();
    let spec = json!({
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}],
        "containers": [{"name": "c", "image": "i", "volumeMounts": [
            {"name": "v", "mountPath": "/v/", "readOnly": true}, {"name": "m", "mountPath": "/m", "subPath": "s"}]}],
    });
    let prepared = case.prepare(spec, image()).unwrap();
    let source = |spec: &Spec, at: &str| {
        let mounts = spec.mounts().as_ref().unwrap();
        mounts.iter().find(|mount| mount.destination() == Path::new(at)).unwrap().source().clone().unwrap()
    };
    let opened: Vec<_> = prepared.sources.iter().map(|source| source.destination.as_str()).collect();
    assert_eq!(opened, ["/v"], "an image's volume is in the container's own root");
    assert_eq!(source(&prepared.spec, "/v"), prepared.sources[0].path);
    let folder = record::container_dir(&case.host, &"a".repeat(64), &prepared.container.id);
    assert!(!folder.join("config.json").exists(), "its process is on its way before its records are written");
    prepared.records.write().unwrap();
    let on_disk = Spec::load(folder.join("config.json")).unwrap();
    assert!(source(&on_disk, "/v").ends_with("volumes/v"));
    let held: Vec<_> = prepared
        .container
        .held_mounts
        .iter()
        .map(|held| {
            (held.destination.as_str(), held.tree.as_str(), held.sub_path.as_deref().unwrap_or_default())
        })
        .collect();
    let (files, id) = (HeldMount::FILES, prepared.container.id.as_str());
    let expected = [
        ("/m", "m", "s"),
        ("/etc/hosts", files, "hosts"),
        ("/etc/hostname", files, "hostname"),
        ("/etc/resolv.conf", files, "resolv.conf"),
        (SHM, HeldMount::SHM, ""),
        ("/dev/termination-log", files, id),
    ];
    assert_eq!(held, expected);
    assert_eq!(prepared.container.stop_signal, 3);
    assert!(case.rootfs.join("data").is_dir(), "the image's volume is made");
    assert_eq!(prepared.container.termination_message.unwrap().file, prepared.container.id);
}

#[test]
fn what_the_manifest_mounts_takes_the_place_of_the_pods_own() {
    let case = Case::new();
    let spec = json!({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [{"name": "c", "image": "i", "terminationMessagePath": "/said", "volumeMounts": [
            {"name": "v", "mountPath": "/etc//hosts"}, {"name": "v", "mountPath": "/dev/shm/"},
            {"name": "v", "mountPath": "/said"}]}],
    });
    let prepared = case.prepare(spec, image()).unwrap();
    let held: Vec<_> = prepared.container.held_mounts.iter().map(|held| held.destination.as_str()).collect();
    assert_eq!(held, ["/etc/hostname", "/etc/resolv.conf"]);
}

#[test]
fn an_image_volume_is_writable_below_a_read_only_root() {
    let case = Case::new();
    let security = json!({"readOnlyRootFilesystem": true});
    let spec = json!({"containers": [{"name": "c", "image": "i", "securityContext": security}]});
    let prepared = case.prepare(spec, image()).unwrap();
    let mounts = prepared.spec.mounts().as_ref().unwrap();
    assert!(mounts.iter().any(|mount| mount.destination() == Path::new("/data")));
}

#[test]
fn a_refused_attempt_leaves_nothing() {
    let case = Case::new();
    let spec =
        json!({"containers": [{"name": "c", "image": "i", "securityContext": {"runAsNonRoot": true}}]});
    let refused = case.prepare(spec, image()).unwrap_err();
    assert!(refused.message().contains("runAsNonRoot"), "{refused}");
    let containers = case.host.root.join("pods").join("a".repeat(64)).join("containers");
    assert_eq!(std::fs::read_dir(containers).unwrap().count(), 0);
}

#[test]
fn ids_are_drawn_in_their_forms() {
    let id = draw_id().unwrap();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(id, draw_id().unwrap());
    let uid = draw_uid().unwrap();
    assert_eq!(uid.len(), 36);
    assert_eq!(&uid[14..15], "4");
    assert_eq!(draw_suffix().unwrap().len(), 5);
}
