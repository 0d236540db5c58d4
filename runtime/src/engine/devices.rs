//! Devices: the nodes and links that every container has in /dev, and the spec's own.
//!
//! Invariant: the nodes of /dev are made in a tmpfs that is attached only when complete (rule R10). A listed
//! device is made as listed, or exists as listed, or is an error.

use std::ffi::CString;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, Mount, Spec};

use super::content::{Content, NodeFile};
use super::held_mounts::HeldMounts;
use super::nodes::{NODES, Nodes};
use super::paths::{self, c_string, usage};
use super::plan::{Device, Way};
use crate::error::{Error, Result};
use crate::sys::file::fs::Node;

const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The cgroup's rules for the devices of every container: [`NODES`], ptmx, and each pty.
pub fn default_device_rules() -> Vec<LinuxDeviceCgroup> {
    let rule = |major: u32, minor: Option<u32>| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_typ(Some(LinuxDeviceType::C)).set_access(Some("rwm".into()));
        rule.set_major(Some(major.into())).set_minor(minor.map(i64::from));
        rule
    };
    let nodes = NODES.iter().map(|(_, major, minor)| rule(*major, Some(*minor)));
    nodes.chain([rule(5, Some(2)), rule(136, None)]).collect()
}

/// A device that the spec lists.
struct Listed<'a> {
    path: &'a str,
    /// The same from the root, without `.` and `..`.
    place: String,
    file: NodeFile,
}

impl Listed<'_> {
    /// Its path from a fresh /dev; `None`: it is elsewhere, or below another mount of the spec.
    fn in_fresh_dev(&self, spec: &Spec) -> Option<&str> {
        let below = self.place.strip_prefix("dev/")?;
        let is_above = |mount: &Mount| {
            let at = paths::destination(mount).unwrap_or_default();
            let at = at.trim_start_matches('/');
            let below = self.place.strip_prefix(at).filter(|_| !at.is_empty() && at != "dev");
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let covered = spec.mounts().iter().flatten().any(is_above);
        (!covered).then_some(below)
    }
}

/// The spec's devices, each once.
fn listed(spec: &Spec) -> Result<Vec<Listed<'_>>> {
    let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let mut found: Vec<Listed<'_>> = Vec::new();
    for device in devices {
        let path = device.path().to_str().unwrap_or_default();
        let wrong = |what: &str| Err(usage(format!("linux.devices: `{path}`: {what}")));
        let place = paths::from_root("linux.devices", path)?;
        let file = node(device, path)?;
        match found.iter().find(|other| other.place == place) {
            _ if place.is_empty() => return wrong("it is the root"),
            // It is the container's own /dev/pts that has one, as runc and crun have it too.
            _ if place == "dev/ptmx" && file.node == Node::Character(5, 2) => {}
            _ if place == "dev/ptmx" => {
                return wrong("it is the ptmx of the container's own /dev/pts, c 5:2");
            }
            Some(same) if same.file == file => {}
            Some(_) => return wrong("it stands there twice, as two devices"),
            None => found.push(Listed { path, place, file }),
        }
    }
    Ok(found)
}

/// The content of a fresh /dev. A listed device replaces a default one, or a link.
pub(super) fn content(spec: &Spec) -> Result<Vec<Content>> {
    let listed = listed(spec)?;
    let listed: Vec<(&str, NodeFile)> =
        listed.iter().filter_map(|device| Some((device.in_fresh_dev(spec)?, device.file))).collect();
    let gives_way = |name: &str| listed.iter().any(|(listed, _)| *listed == name);
    let mut content = Vec::new();
    for (name, major, minor) in NODES {
        if !gives_way(name.to_str().unwrap_or_default()) {
            let file = NodeFile::plain(Node::Character(major, minor));
            content.push(Content::Node { name: name.to_owned(), file });
        }
    }
    for (name, target) in LINKS.into_iter().filter(|(name, _)| !gives_way(name)) {
        content.push(Content::Link { name: c_string("/dev", name)?, target: c_string("/dev", target)? });
    }
    let mut directories: Vec<CString> = Vec::new();
    for (below, file) in listed {
        for (end, _) in below.match_indices('/') {
            let directory = c_string("linux.devices", below.get(..end).unwrap_or_default())?;
            if !directories.contains(&directory) {
                directories.push(directory.clone());
                content.push(Content::Directory { name: directory });
            }
        }
        content.push(Content::Node { name: c_string("linux.devices", below)?, file });
    }
    Ok(content)
}

/// Its parts where no device can be made: in a user namespace. Returns the content to make, and the devices to
/// bind, by path.
pub(super) fn apart(content: Vec<Content>) -> (Vec<Content>, Vec<(String, NodeFile)>) {
    let (mut inside, mut bound) = (Vec::new(), Vec::new());
    for entry in content {
        match entry {
            Content::Node { name, file } if file.node != Node::Fifo => {
                bound.push((format!("/dev/{}", name.to_string_lossy()), file));
            }
            entry => inside.push(entry),
        }
    }
    (inside, bound)
}

/// The spec's devices that are not in a fresh /dev: all, where there is none. `user`: in a user namespace.
pub(super) fn elsewhere(spec: &Spec, fresh_dev: bool, user: bool) -> Result<Vec<Device>> {
    let mut held = HeldMounts::default();
    let mut nodes = Nodes::among(&mut held, spec.linux().as_ref());
    let found = |device: &Listed<'_>| !fresh_dev && device.place.starts_with("dev/");
    let bound = |device: &Listed<'_>| user && !found(device) && device.file.node != Node::Fifo;
    let mut listed = listed(spec)?;
    listed.retain(|device| !fresh_dev || device.in_fresh_dev(spec).is_none());
    let paths = listed.iter().filter(|device| bound(device));
    let paths: Vec<_> = paths.map(|device| (format!("/{}", device.place), device.file)).collect();
    let mut mounts = nodes.mounts(&paths)?.into_iter();
    let mut devices = Vec::new();
    for device in listed {
        let way = match bound(&device).then(|| mounts.next()).flatten() {
            Some(mount) => Way::Bound(mount),
            None if found(&device) => Way::Found,
            None => Way::Made,
        };
        let (parent, name) = device.place.rsplit_once('/').unwrap_or(("", &device.place));
        devices.push(Device {
            parent: paths::place("linux.devices", &format!("/{parent}"))?,
            name: c_string(device.path, name)?,
            path: c_string(device.path, &device.place)?,
            file: device.file,
            way,
        });
    }
    Ok(devices)
}

fn node(device: &LinuxDevice, path: &str) -> Result<NodeFile> {
    // Numbers that the kernel takes; mknod(2) drops the bits of larger ones.
    let number = |what: &str, number: i64, bits: u32| {
        u32::try_from(number).ok().filter(|number| number >> bits == 0).ok_or_else(|| {
            usage(format!(
                "linux.devices: `{path}`: the {what} number {number} is none from 0 to {}",
                (1_u32 << bits) - 1
            ))
        })
    };
    let numbers =
        || Ok::<_, Error>((number("major", device.major(), 12)?, number("minor", device.minor(), 20)?));
    let node = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => {
            numbers().map(|(major, minor)| Node::Character(major, minor))?
        }
        LinuxDeviceType::B => numbers().map(|(major, minor)| Node::Block(major, minor))?,
        LinuxDeviceType::P => Node::Fifo,
        LinuxDeviceType::A => return Err(usage(format!("linux.devices: `{path}`: type `a` is no device"))),
    };
    let mode = device.file_mode().map(|mode| mode & 0o7777);
    Ok(NodeFile { node, mode, uid: device.uid(), gid: device.gid() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(devices: &str) -> Spec {
        serde_json::from_str(&format!(r#"{{"ociVersion":"1.2.0","linux":{{"devices":{devices}}}}}"#)).unwrap()
    }

    fn names(content: &[Content]) -> Vec<&str> {
        let name = content.iter().map(|entry| match entry {
            Content::Directory { name } | Content::Link { name, .. } | Content::Node { name, .. } => name,
        });
        name.map(|name| name.to_str().unwrap()).collect()
    }

    #[test]
    fn directories_are_made_once_and_before_their_nodes() {
        let list = r#"[{"path":"/dev/net/tun","type":"c","major":10,"minor":200},
            {"path":"/dev/net/tap","type":"c","major":10,"minor":201},
            {"path":"/dev/net/tap","type":"u","major":10,"minor":201},
            {"path":"/dev/./initctl","type":"p"}]"#;
        let content = content(&spec(list)).unwrap();
        assert_eq!(names(&content)[NODES.len() + LINKS.len()..], ["net", "net/tun", "net/tap", "initctl"]);
        let (inside, bound) = apart(content);
        assert_eq!(names(&inside)[LINKS.len()..], ["net", "initctl"]);
        let bound: Vec<&str> = bound.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(bound[NODES.len()..], ["/dev/net/tun", "/dev/net/tap"]);
    }

    #[test]
    fn what_is_there_by_default_gives_way_to_what_is_listed() {
        let list = r#"[{"path":"/dev/null","type":"c","major":1,"minor":5},
            {"path":"/dev/full","type":"c","major":1,"minor":7,"fileMode":384,"uid":5,"gid":6},
            {"path":"/dev/stdin","type":"c","major":1,"minor":3},
            {"path":"/dev/ptmx","type":"c","major":5,"minor":2}]"#;
        let content = content(&spec(list)).unwrap();
        assert_eq!(content.len(), NODES.len() + LINKS.len(), "{content:?}");
        let file = |name: &str| {
            content.iter().find_map(|entry| match entry {
                Content::Node { name: found, file } if found.to_str() == Ok(name) => Some(*file),
                _ => None,
            })
        };
        assert_eq!(file("null").unwrap().node, Node::Character(1, 5));
        let full = NodeFile { node: Node::Character(1, 7), mode: Some(0o600), uid: Some(5), gid: Some(6) };
        assert_eq!((file("full"), file("ptmx")), (Some(full), None));
        assert!(file("stdin").is_some());
    }

    #[test]
    fn devices_are_in_a_fresh_dev_or_anywhere_else() {
        let text = r#"{"ociVersion":"1.2.0",
            "mounts":[{"destination":"/dev","type":"tmpfs"},{"destination":"/dev/shm/","type":"tmpfs"},
                {"destination":"/dev/kvm","type":"bind","source":"/dev/kvm"}],
            "linux":{"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229},
                {"path":"/dev/shmem","type":"c","major":1,"minor":1},
                {"path":"/dev/shm/x","type":"c","major":1,"minor":3},
                {"path":"/dev/kvm","type":"c","major":10,"minor":232},
                {"path":"/dev/../opt/dev0","type":"c","major":1,"minor":3}]}}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        let content = content(&spec).unwrap();
        let fresh = names(&content);
        assert_eq!(fresh[NODES.len() + LINKS.len()..], ["fuse", "shmem"]);
        let others = elsewhere(&spec, true, false).unwrap();
        let paths: Vec<&str> = others.iter().map(|device| device.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["dev/shm/x", "dev/kvm", "opt/dev0"]);
        // In a foreign /dev nothing is made.
        let others = elsewhere(&spec, false, false).unwrap();
        assert_eq!(others.iter().filter(|device| matches!(device.way, Way::Found)).count(), 4);
    }

    #[test]
    fn what_is_no_device_is_refused_by_its_path() {
        for (list, says) in [
            (r#"[{"path":"dev/x","type":"c","major":1,"minor":3}]"#, "absolute"),
            (r#"[{"path":"/dev/..","type":"c","major":1,"minor":3}]"#, "it is the root"),
            (r#"[{"path":"/dev/x","type":"a","major":1,"minor":3}]"#, "`/dev/x`: type `a`"),
            (r#"[{"path":"/dev/x","type":"c","major":4096,"minor":3}]"#, "major number 4096"),
            (r#"[{"path":"/dev/x","type":"b","major":1,"minor":-1}]"#, "minor number -1"),
            (r#"[{"path":"/dev/ptmx","type":"c","major":1,"minor":3}]"#, "`/dev/ptmx`"),
            (
                r#"[{"path":"/dev/x","type":"c","major":1,"minor":3},{"path":"/dev/x","type":"c","major":1,"minor":5}]"#,
                "twice",
            ),
        ] {
            let error = content(&spec(list)).unwrap_err();
            assert!(error.message().contains(says), "{list}: {error:?}");
        }
    }
}
