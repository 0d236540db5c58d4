//! Device nodes of podrun's own, in place of the host's: a process that holds the inode of a device, by a
//! descriptor or a mount, can change its mode and owner for everyone, and watch who opens it.
//!
//! Invariant: each inode given out belongs to a file system that this process has made, on a read-only mount.
//! Only where no node can be made, as in a plain user's user namespace, is it the host's, on a read-only mount.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::{Linux, LinuxIdMapping, Spec};

use super::content::NodeFile;
use super::failure::{Call, During as _, Fault};
use super::held_mounts::HeldMounts;
use super::paths::c_string;
use super::{idmap, labels};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Errno;
use crate::sys::file::fs::{self, Node, Want};
use crate::sys::file::mount::{self, Attributes, Depth, Propagation};

/// The runtime-spec's default devices: name, minor of major 1 or 5.
pub(super) const NODES: [(&CStr, u32, u32); 6] = [
    (c"null", 1, 3),
    (c"zero", 1, 5),
    (c"full", 1, 7),
    (c"random", 1, 8),
    (c"urandom", 1, 9),
    (c"tty", 5, 0),
];

/// The controlling terminal of its opener's session.
const TTY: Node = Node::Character(5, 0);

/// The null device.
const NULL: Node = Node::Character(1, 3);

/// The name in /dev of one of the default devices; `None`: it is none.
fn default_name(node: Node) -> Option<&'static CStr> {
    NODES.iter().find(|(_, major, minor)| Node::Character(*major, *minor) == node).map(|(name, ..)| *name)
}

/// The nodes that a process makes for containers and holds, each when it is first asked for.
#[derive(Debug)]
pub struct Nodes<'a> {
    held: &'a mut HeldMounts,
    /// The `linux` of the spec, by which they are labelled.
    linux: Option<&'a Linux>,
}

impl<'a> Nodes<'a> {
    /// The nodes that are, or will be, among `held`.
    pub fn among(held: &'a mut HeldMounts, linux: Option<&'a Linux>) -> Self {
        Self { held, linux }
    }

    /// A null device, open for reading and writing, for a stream that the caller does not give.
    pub fn null(&mut self) -> Result<OwnedFd> {
        self.open(NULL, fs::open_both_ways)
    }

    /// A process's stream for one of the caller's: the same, unless it is a default device, whose node is the
    /// host's; then podrun's own node of that device, opened in the same mode.
    pub fn stream(&mut self, given: OwnedFd) -> Result<OwnedFd> {
        let device = fs::special(given.as_fd()).map_err(|errno| errno.during("fstat(stdio)"))?;
        // Once open, /dev/tty is the caller's terminal, which is theirs.
        let own = |node: &Node| *node != TTY && default_name(*node).is_some();
        match device.map(|device| device.node).filter(own) {
            None => Ok(given),
            Some(node) => self.open(node, |own| fs::open_like(own, given.as_fd())),
        }
    }

    /// A null device as a mount, which is one container's alone, to cover files with. `None`: `spec` covers nothing.
    pub fn mask(&mut self, spec: &Spec) -> Result<Option<OwnedFd>> {
        let masked =
            spec.linux().as_ref().and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default();
        if masked.is_empty() {
            return Ok(None);
        }
        let (path, null) = self.hold_default(NULL)?;
        self.mount(&path, 0, &path, &null).map(Some)
    }

    /// Each device, by its path, as a mount of its own, for a container whose user namespace can make none.
    pub(super) fn mounts(&mut self, devices: &[(String, NodeFile)]) -> Result<Vec<OwnedFd>> {
        const NAME: &str = "devices";
        let asked: Vec<NodeFile> =
            devices.iter().map(|(path, file)| self.on_host(path, *file)).collect::<Result<_>>()?;
        let (uids, gids) = self.mappings();
        let root = (idmap::on_host(uids, 0), idmap::on_host(gids, 0));
        let made =
            asked.iter().map(|file| NodeFile { uid: file.uid.or(root.0), gid: file.gid.or(root.1), ..*file });
        self.hold(NAME, &made.collect::<Vec<_>>())?;
        let mut mounts = Vec::new();
        for (number, ((path, _), file)) in devices.iter().zip(&asked).enumerate() {
            mounts.push(self.mount(NAME, number, path, file)?);
        }
        Ok(mounts)
    }

    fn mappings(&self) -> (&'a [LinuxIdMapping], &'a [LinuxIdMapping]) {
        let uids = self.linux.and_then(|linux| linux.uid_mappings().as_deref());
        let gids = self.linux.and_then(|linux| linux.gid_mappings().as_deref());
        (uids.unwrap_or_default(), gids.unwrap_or_default())
    }

    /// A device's properties in the host's ids, from those in the container's.
    fn on_host(&self, path: &str, file: NodeFile) -> Result<NodeFile> {
        let (uids, gids) = self.mappings();
        let mapped = |what: &str, list: &[LinuxIdMapping], id: Option<u32>| match id {
            None => Ok(None),
            // Of a namespace that is joined the spec does not say them.
            Some(_) if list.is_empty() => Ok(None),
            Some(id) => idmap::on_host(list, id).map(Some).ok_or_else(|| {
                let what = format!("linux.devices: `{path}`: {what} {id} is not mapped");
                Error::new(ErrorKind::Usage, what).hint(
                    "linux.uidMappings and gidMappings say which ids the container's user namespace has",
                )
            }),
        };
        Ok(NodeFile { uid: mapped("uid", uids, file.uid)?, gid: mapped("gid", gids, file.gid)?, ..file })
    }

    fn open(
        &mut self,
        node: Node,
        open: impl FnOnce(BorrowedFd<'_>) -> Result<OwnedFd, Errno>,
    ) -> Result<OwnedFd> {
        let (path, file) = self.hold_default(node)?;
        let found = match self.entry(&path, 0)? {
            Some(found) => found,
            None => of_the_hosts(&path, &file)?,
        };
        open(found.as_fd()).map_err(|errno| {
            Error::from(errno.during(format!("open({path:?})")))
                .context("a stream that is to be a device of the container's own")
        })
    }

    /// Holds one of the devices that every container has, by its path.
    fn hold_default(&mut self, node: Node) -> Result<(String, NodeFile)> {
        let name = default_name(node).unwrap_or_default().to_string_lossy();
        let (path, file) = (format!("/dev/{name}"), NodeFile::plain(node));
        self.hold(&path, &[file])?;
        Ok((path, file))
    }

    /// Sees to it that a file system with these nodes, by their numbers, is held as `name`, if one can be made.
    fn hold(&mut self, name: &str, files: &[NodeFile]) -> Result<()> {
        if self.held.get(name).is_some() {
            return Ok(());
        }
        let label = labels::of_mounts(self.linux)?;
        let parameters: Vec<_> = label.iter().map(|label| (c"context", Some(label.as_c_str()))).collect();
        let tree = mount::make_detached(c"tmpfs", &parameters, Attributes::NOSUID | Attributes::NOEXEC)?;
        for (number, file) in files.iter().enumerate() {
            match make(number, file, tree.as_fd()) {
                Ok(()) => {}
                // By the kernel, for want of CAP_MKNOD over the machine, or by a device cgroup that podrun itself is in.
                Err(fault) if fault.errno == Errno::EPERM => return Ok(()),
                Err(fault) => {
                    return Err(fault.errno.during(format!("{}({name:?})", fault.call.name())).into());
                }
            }
        }
        make_readonly(tree.as_fd())?;
        self.held.insert(name, tree);
        Ok(())
    }

    /// The node where it is held, O_PATH.
    fn entry(&self, name: &str, number: usize) -> Result<Option<OwnedFd>> {
        let Some(tree) = self.held.get(name) else { return Ok(None) };
        let entry = entry_name(number);
        let found = fs::open_entry(tree, &entry, Want::Any);
        Ok(Some(found.map_err(|errno| errno.during(format!("openat2({name:?}, {entry:?})")))?))
    }

    fn mount(&mut self, name: &str, number: usize, path: &str, file: &NodeFile) -> Result<OwnedFd> {
        match self.entry(name, number)? {
            Some(entry) => Ok(self.held.copy(name, entry.as_fd(), Depth::One)?),
            None => of_the_hosts(path, file),
        }
    }
}

fn entry_name(number: usize) -> CString {
    CString::new(number.to_string()).unwrap_or_default()
}

/// Makes a node with exactly the given mode, whatever this process's umask.
fn make(number: usize, file: &NodeFile, tree: BorrowedFd<'_>) -> Result<(), Fault> {
    let name = entry_name(number);
    file.make(tree, &name)?;
    fs::chmod_entry(tree, &name, file.mode()).during(Call::Chmod)
}

/// A read-only mount of the host's own node. It has to be the same device: any other file in its place would be
/// given away (CVE-2025-31133).
fn of_the_hosts(path: &str, wanted: &NodeFile) -> Result<OwnedFd> {
    let named = name_in_dev(wanted.node).map(|name| format!("/dev/{name}"));
    let refused = |what: String| {
        Error::new(ErrorKind::Unsupported, format!("{path}: no device can be made here, and {what}"))
    };
    for path in std::iter::once(path).chain(named.as_deref()) {
        let tree = match mount::clone_host_tree(&c_string("/dev", path)?, Depth::One) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
            other => other.map_err(|errno| errno.during(format!("open_tree({path:?}, OPEN_TREE_CLONE)")))?,
        };
        let found = fs::special(tree.as_fd()).map_err(|errno| errno.during(format!("fstat({path:?})")))?;
        let Some(found) = found.filter(|found| found.node == wanted.node) else { continue };
        if !wanted.is(&found) {
            let mode = found.mode;
            let what =
                format!("the host's {path}, of mode {mode:04o}, has another mode or owner than is listed");
            return Err(
                refused(what).hint("leave fileMode, uid and gid out of linux.devices: it is bound as it is")
            );
        }
        make_readonly(tree.as_fd())?;
        return Ok(tree);
    }
    let (kind, major, minor) = numbers(wanted.node);
    Err(refused(format!("the host has none that is {kind} {major}:{minor}")))
}

/// The name of a device in the host's /dev.
fn name_in_dev(node: Node) -> Option<String> {
    let (kind, major, minor) = numbers(node);
    let folder = if kind == 'c' { "char" } else { "block" };
    let told = fs::read_kernel_file(format!("/sys/dev/{folder}/{major}:{minor}/uevent")).ok()?;
    told.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(str::to_owned)
}

fn numbers(node: Node) -> (char, u32, u32) {
    match node {
        Node::Character(major, minor) => ('c', major, minor),
        Node::Block(major, minor) => ('b', major, minor),
        Node::Fifo => ('p', 0, 0),
    }
}

fn make_readonly(tree: BorrowedFd<'_>) -> Result<()> {
    let attributes =
        Attributes { set: Attributes::RDONLY | Attributes::NOSUID | Attributes::NOEXEC, clear: 0 };
    mount::mount_setattr(tree, Depth::One, attributes, Some(Propagation::Private))
        .map_err(|errno| errno.during("mount_setattr(MOUNT_ATTR_RDONLY)").into())
}
