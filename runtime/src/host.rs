//! Where podrun keeps its state on this host: three trees and the name of its cgroup.
//!
//! Passed explicitly, never global. The caller reads the command line and the config file.

use std::io::BufRead;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::file::own;
use crate::sys::io::tty;
use crate::sys::process::descriptors;

/// The places podrun may write to. Every path is absolute.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Host {
    /// The tree that outlives a reboot: images, layers, snapshots, pod records (`--root`), 0711.
    pub root: PathBuf,
    /// The tree that a reboot ends: sockets, locks, leases (`--state-dir`), on a tmpfs, 0711.
    pub state_dir: PathBuf,
    /// The containers' logs (`--log-dir`).
    pub log_dir: PathBuf,
    /// The cgroup below which each pod gets its own, in every hierarchy: `/podrun` (`--cgroup-parent`).
    pub cgroup_parent: String,
    /// The bridge network that pods join by default.
    pub network: NetworkConfig,
}

/// The bridge network, as the config file's section `network` gives it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct NetworkConfig {
    /// The bridge's name, at most 15 bytes (the kernel's IFNAMSIZ).
    pub bridge: String,
    /// The pods' IPv4 subnet in CIDR notation; the bridge takes its first address.
    pub subnet: String,
    /// The pods' IPv6 subnet in CIDR notation; empty: no IPv6.
    pub subnet6: String,
    /// Whether a pod may send from its own addresses alone, unless its annotation opens it.
    pub port_filter: bool,
    /// Seconds the bridge stays after its last pod, so that the next one finds it.
    pub idle_seconds: u64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            bridge: "podrun0".into(),
            subnet: "10.87.0.0/16".into(),
            subnet6: "fd10:87::/64".into(),
            port_filter: true,
            idle_seconds: 3,
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self {
            root: "/var/lib/podrun".into(),
            state_dir: Self::DEFAULT_STATE_DIR.into(),
            log_dir: "/var/log/pods".into(),
            cgroup_parent: "/podrun".into(),
            network: NetworkConfig::default(),
        }
    }
}

/// The capabilities that podrun needs: for namespaces and mounts, links and addresses, other users' files.
const NEEDED: [caps::Capability; 5] = [
    caps::Capability::CAP_SYS_ADMIN,
    caps::Capability::CAP_NET_ADMIN,
    caps::Capability::CAP_DAC_OVERRIDE,
    caps::Capability::CAP_CHOWN,
    caps::Capability::CAP_SETUID,
];

/// Root's own folders and files right below the state dir and the data root.
const STATE: [&str; 3] = ["pods", "net", "oci"];
const STATE_FILES: [&str; 1] = ["boot_id"];
const ROOT_FILES: [&str; 1] = ["layout.json"];
const ROOT: [&str; 12] = [
    "pods",
    "content",
    "filters",
    "images",
    "layers",
    "leases",
    "mountpoints",
    "partial",
    "seccomp",
    "snapshots",
    "tmp",
    "trash",
];

fn make_top(path: &Path, mode: u32) -> Result<()> {
    own::top(path, mode).context(|| format!("mkdir {}", path.display()))
}

fn mend(path: &Path, mode: u32) -> Result<()> {
    match own::mend(path, mode) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        mended => mended.context(|| format!("chmod {mode:o} {}", path.display())),
    }
}

impl Host {
    /// Raises the limit of this process's own descriptors as far as allowed; its programs get the caller's.
    pub fn raise_limit_of_descriptors() {
        descriptors::raise_limit();
    }

    /// The first capability that pods need and this process does not have in effect.
    pub fn lacking_capability() -> Option<String> {
        let held = caps::read(None, caps::CapSet::Effective).unwrap_or_default();
        NEEDED.iter().find(|needed| !held.contains(needed)).map(ToString::to_string)
    }

    /// Whether this process has the capability in effect; false for a name that is none.
    pub fn has_capability(name: &str) -> bool {
        let held = caps::read(None, caps::CapSet::Effective).unwrap_or_default();
        name.parse().is_ok_and(|wanted| held.contains(&wanted))
    }

    /// Whether this process has root's user id, whatever its capabilities.
    pub fn is_root() -> bool {
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
    }

    /// The host's name: `NODE`. Empty if it cannot be read.
    pub fn node_name() -> String {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim_end().to_owned()
    }

    /// A line that is typed at the terminal on standard input and not shown; nothing where that is no terminal. Ctrl-C
    /// gives up, and the terminal is as it was on every way out.
    pub fn read_unseen_line() -> Result<Option<String>> {
        let stdin = std::io::stdin();
        if !tty::is_terminal(stdin.as_fd()) {
            return Ok(None);
        }
        let _raw = tty::make_raw(stdin.as_fd())?;
        read_raw_line(stdin.lock()).map(Some)
    }

    /// The state dir whose pods are also listed in /run/netns, for `ip netns`.
    pub const DEFAULT_STATE_DIR: &'static str = "/run/podrun";

    /// Makes the state dir, where it is missing. All may go through it, and none may look around.
    pub(crate) fn make_state_dir(&self) -> Result<()> {
        make_top(&self.state_dir, own::PASSAGE)
    }

    /// Makes the data root, where it is missing: all may go through it to the pods' names.
    pub(crate) fn make_root(&self) -> Result<()> {
        make_top(&self.root, own::PASSAGE)
    }

    /// Corrects the modes of the trees: an older podrun made some folders with the mode of its caller's umask.
    /// Files below these are covered by them.
    pub fn mend(&self) -> Result<()> {
        let trees =
            [(&self.state_dir, &STATE[..], &STATE_FILES[..]), (&self.root, &ROOT[..], &ROOT_FILES[..])];
        for (top, folders, files) in trees {
            if !top.is_dir() {
                continue;
            }
            make_top(top, own::PASSAGE)?;
            folders.iter().try_for_each(|name| mend(&top.join(name), own::PRIVATE))?;
            files.iter().try_for_each(|name| mend(&top.join(name), own::SECRET))?;
        }
        if self.log_dir.is_dir() {
            make_top(&self.log_dir, own::LISTED)?;
        }
        let names = self.names();
        mend(&names, own::LISTED)?;
        let namespaces = std::fs::read_dir(names).into_iter().flatten().flatten();
        namespaces.into_iter().try_for_each(|entry| mend(&entry.path(), own::LISTED))
    }

    /// The folder of the pods' names: `<root>/names`, which all may read.
    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// The folder of the keys of a kubelet's sandboxes: `<root>/keys`.
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The runtime state of one pod: `<state-dir>/pods/<id>`.
    pub fn pod_state_dir(&self, id: &str) -> PathBuf {
        self.state_dir.join("pods").join(id)
    }

    /// The lasting records of one pod: `<root>/pods/<id>`.
    pub fn pod_root(&self, id: &str) -> PathBuf {
        self.root.join("pods").join(id)
    }

    /// The folder below which a `localhostProfile` is looked for: `<root>/seccomp`.
    pub fn seccomp_profiles(&self) -> PathBuf {
        self.root.join("seccomp")
    }

    /// Where compiled seccomp programs are kept: `<root>/filters`.
    pub fn seccomp_programs(&self) -> PathBuf {
        self.root.join("filters")
    }

    /// Whether the pods' network namespaces are linked in /run/netns.
    pub fn links_netns(&self) -> bool {
        self.state_dir == Path::new(Self::DEFAULT_STATE_DIR)
    }
}

/// A line as a terminal in raw mode gives it, with the keys that take back.
fn read_raw_line(from: impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    for byte in from.bytes() {
        match byte.context(|| "read the terminal")? {
            b'\r' | b'\n' => break,
            // Ctrl-D
            4 if line.is_empty() => break,
            // Ctrl-C
            3 => return Err(Error::new(ErrorKind::Interrupted, "given up")),
            // Ctrl-U
            21 => line.clear(),
            8 | 127 => {
                // One character, however many bytes it has.
                while line.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
            }
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(|_| Error::failed("what was typed is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_corrections() {
        let read = |typed: &str| read_raw_line(typed.as_bytes()).unwrap();
        assert_eq!(read("secret\rmore"), "secret");
        assert_eq!(read("wrong\u{15}s\u{e4}x\u{7f}\u{7f}ecret\n"), "secret");
        assert_eq!(read("\u{4}"), "");
        let given_up = read_raw_line("half\u{3}\r".as_bytes()).unwrap_err();
        assert_eq!(given_up.kind(), ErrorKind::Interrupted);
    }
}
