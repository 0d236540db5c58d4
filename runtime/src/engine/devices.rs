//! /dev: the nodes and links that every container has, the spec's own, and the host's for the privileged.
//!
//! Invariant: they are made in a tmpfs that is attached only when complete (rule R10).

use std::ffi::{CStr, CString};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceType, Spec};

use super::content::Content;
use super::idmap;
use super::process::c_string;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::fs::{Node, device_numbers};

/// The runtime-spec's default devices: name, minor of major 1 or 5.
const NODES: [(&CStr, u32, u32); 6] = [
    (c"null", 1, 3),
    (c"zero", 1, 5),
    (c"full", 1, 7),
    (c"random", 1, 8),
    (c"urandom", 1, 9),
    (c"tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The rules of a cgroup by which a container may use the devices that every one has: those of [`NODES`], ptmx, and
/// each pty.
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

fn usage(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

/// The device that is whatever terminal its opener's session has.
pub(super) const TTY: (u32, u32) = (5, 0);

/// The node of one of the default devices; `None`: it is none.
pub(super) fn default_node(major: u32, minor: u32) -> Option<Content> {
    let found = NODES.iter().find(|(_, one, other)| (*one, *other) == (major, minor));
    found.map(|(name, ..)| plain(name, Node::Character(major, minor)))
}

/// The node of the null device.
pub(super) fn null() -> Content {
    plain(c"null", Node::Character(1, 3))
}

fn plain(name: &CStr, node: Node) -> Content {
    Content::Node { name: name.to_owned(), node, mode: 0o666, uid: 0, gid: 0 }
}

/// What is made in a fresh /dev.
pub(super) fn content(spec: &Spec) -> Result<Vec<Content>> {
    let default = |(name, major, minor): (&CStr, u32, u32)| plain(name, Node::Character(major, minor));
    let mut content: Vec<Content> = NODES.into_iter().map(default).collect();
    for (name, target) in LINKS {
        content.push(Content::Link { name: c_string("/dev", name)?, target: c_string("/dev", target)? });
    }
    let mut directories: Vec<CString> = Vec::new();
    let listed = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    for device in listed {
        let path = device.path().to_str().unwrap_or_default();
        let Some(below) = path.strip_prefix("/dev/").filter(|below| is_plain(below)) else {
            return Err(usage(format!("linux.devices: `{path}` is not a path below /dev")));
        };
        let name = c_string("linux.devices", below)?;
        // A default one is there already, as the spec wants it.
        if NODES.iter().any(|(known, ..)| *known == name.as_c_str())
            || LINKS.iter().any(|(known, _)| *known == below)
        {
            continue;
        }
        for (end, _) in below.match_indices('/') {
            let directory = c_string("linux.devices", below.get(..end).unwrap_or_default())?;
            if !directories.contains(&directory) {
                directories.push(directory.clone());
                content.push(Content::Directory { name: directory });
            }
        }
        content.push(node(device, name)?);
    }
    Ok(content)
}

/// What there is of it where no node can be made: in a user namespace. What is made there, and the nodes, with the
/// directories that they are in, to be made outside by whoever can and bound. Ids are the container's; there the host's.
pub(super) fn apart(content: Vec<Content>, spec: &Spec) -> (Vec<Content>, Vec<Content>) {
    let linux = spec.linux().as_ref();
    let uids = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
    let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for entry in content {
        match entry {
            Content::Node { name, node, mode, uid, gid } => {
                let (uid, gid) =
                    (idmap::on_host(uids, uid).unwrap_or(0), idmap::on_host(gids, gid).unwrap_or(0));
                outside.push(Content::Node { name, node, mode, uid, gid });
            }
            Content::Directory { name } => {
                outside.push(Content::Directory { name: name.clone() });
                inside.push(Content::Directory { name });
            }
            Content::Link { .. } => inside.push(entry),
        }
    }
    (inside, outside)
}

fn is_plain(below: &str) -> bool {
    below.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn node(device: &LinuxDevice, name: CString) -> Result<Content> {
    let number = |number: i64| {
        u32::try_from(number)
            .map_err(|_| usage(format!("linux.devices: {name:?}: {number} is no device number")))
    };
    let node = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => {
            Node::Character(number(device.major())?, number(device.minor())?)
        }
        LinuxDeviceType::B => Node::Block(number(device.major())?, number(device.minor())?),
        LinuxDeviceType::P => Node::Fifo,
        LinuxDeviceType::A => return Err(usage(format!("linux.devices: {name:?}: type `a` is no device"))),
    };
    let mode = device.file_mode().unwrap_or(0o666) & 0o7777;
    Ok(Content::Node { node, mode, uid: device.uid().unwrap_or(0), gid: device.gid().unwrap_or(0), name })
}

/// Every device node of the host's /dev, for a privileged container's `linux.devices`. Terminals and
/// the file systems mounted below /dev are left out: a container has its own.
pub fn host_devices() -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), &mut found);
    found
}

fn collect(directory: &Path, found: &mut Vec<LinuxDevice>) {
    /// What a container has of its own, or what is one of the host's sessions.
    const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", "console", "ptmx", ".lxd-mounts"];
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let kind = metadata.file_type();
        let typ = match () {
            () if kind.is_dir() => {
                collect(&path, found);
                continue;
            }
            () if kind.is_char_device() => LinuxDeviceType::C,
            () if kind.is_block_device() => LinuxDeviceType::B,
            () => continue,
        };
        let (major, minor) = device_numbers(metadata.rdev());
        let device = LinuxDeviceBuilder::default()
            .path(path)
            .typ(typ)
            .major(i64::from(major))
            .minor(i64::from(minor))
            .file_mode(metadata.mode() & 0o7777)
            .uid(metadata.uid())
            .gid(metadata.gid())
            .build();
        found.extend(device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(devices: &str) -> Spec {
        serde_json::from_str(&format!(r#"{{"ociVersion":"1.2.0","linux":{{"devices":{devices}}}}}"#)).unwrap()
    }

    #[test]
    fn directories_are_made_once_and_before_their_nodes() {
        let list = r#"[{"path":"/dev/net/tun","type":"c","major":10,"minor":200},
            {"path":"/dev/net/tap","type":"c","major":10,"minor":201},
            {"path":"/dev/null","type":"c","major":9,"minor":9}]"#;
        let content = content(&spec(list)).unwrap();
        let names = |content: &[Content]| -> Vec<String> {
            content.iter().map(|entry| entry.name().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&content)[NODES.len() + LINKS.len()..], ["net", "net/tun", "net/tap"]);
        let (inside, outside) = apart(content, &spec(list));
        assert_eq!(names(&inside)[LINKS.len()..], ["net"]);
        assert_eq!(names(&outside)[NODES.len()..], ["net", "net/tun", "net/tap"]);
    }

    #[test]
    fn nodes_made_outside_are_the_containers_users_there() {
        let text = r#"{"ociVersion":"1.2.0","linux":{
            "uidMappings":[{"containerID":0,"hostID":1000,"size":10}],
            "gidMappings":[{"containerID":0,"hostID":2000,"size":10}],
            "devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229,"uid":5,"gid":50}]}}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        let (_, outside) = apart(content(&spec).unwrap(), &spec);
        let owners: Vec<(u32, u32)> = outside
            .iter()
            .filter_map(|entry| match entry {
                Content::Node { uid, gid, .. } => Some((*uid, *gid)),
                _ => None,
            })
            .collect();
        // An id that is not mapped is nobody's inside: it stays the host's root.
        assert_eq!((owners[0], owners[6]), ((1000, 2000), (1005, 0)));
    }

    #[test]
    fn devices_stay_below_dev() {
        for path in ["/etc/x", "/dev/../etc/x", "/dev/", "/dev//x"] {
            let list = format!(r#"[{{"path":"{path}","type":"c","major":1,"minor":3}}]"#);
            assert!(content(&spec(&list)).is_err(), "{path}");
        }
    }
}
