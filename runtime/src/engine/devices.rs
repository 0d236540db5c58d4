//! /dev: the nodes and links that every container has, the spec's own, and the host's for the privileged.
//!
//! Invariant: they are made in a tmpfs that is attached only when complete (rule R10).

use std::ffi::CString;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceType, Spec};

use super::plan::Content;
use super::process::c_string;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::fs::{Node, device_numbers};

/// The runtime-spec's default devices: name, minor of major 1 or 5.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

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

/// What is made in a fresh /dev. In a user namespace no node can be made there: see [`binds`].
pub(super) fn content(spec: &Spec, user: bool) -> Result<Vec<Content>> {
    let mut content = Vec::new();
    for (name, major, minor) in NODES.into_iter().filter(|_| !user) {
        let name = c_string("/dev", name)?;
        content.push(Content::Node {
            name,
            node: Node::Character(major, minor),
            mode: 0o666,
            uid: 0,
            gid: 0,
        });
    }
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
        if NODES.iter().any(|(known, ..)| *known == below) || LINKS.iter().any(|(known, _)| *known == below) {
            continue;
        }
        for (end, _) in below.match_indices('/') {
            let directory = c_string("linux.devices", below.get(..end).unwrap_or_default())?;
            if !directories.contains(&directory) {
                directories.push(directory.clone());
                content.push(Content::Directory { name: directory });
            }
        }
        if !user {
            content.push(node(device, name)?);
        }
    }
    Ok(content)
}

/// The devices of the host's that stand in for nodes: their paths, which are those inside too.
pub(super) fn binds(spec: &Spec) -> Vec<String> {
    let mut paths: Vec<String> = NODES.iter().map(|(name, ..)| format!("/dev/{name}")).collect();
    let listed = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    for path in listed.iter().filter_map(|device| device.path().to_str()) {
        if !paths.iter().any(|known| known == path) {
            paths.push(path.to_owned());
        }
    }
    paths
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
        let names: Vec<String> = content(&spec(list), false)
            .unwrap()
            .iter()
            .skip(NODES.len() + LINKS.len())
            .map(|content| match content {
                Content::Directory { name } | Content::Link { name, .. } | Content::Node { name, .. } => {
                    name.to_str().unwrap().to_owned()
                }
            })
            .collect();
        assert_eq!(names, ["net", "net/tun", "net/tap"]);
    }

    #[test]
    fn devices_stay_below_dev() {
        for path in ["/etc/x", "/dev/../etc/x", "/dev/", "/dev//x"] {
            let list = format!(r#"[{{"path":"{path}","type":"c","major":1,"minor":3}}]"#);
            assert!(content(&spec(&list), false).is_err(), "{path}");
        }
    }
}
