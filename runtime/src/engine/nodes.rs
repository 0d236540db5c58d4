//! Device nodes of podrun's own making, for those who are not to have the host's: whoever holds the inode of a device, by a
//! descriptor or a mount, can change its mode and owner for everybody, and watch who opens it.
//!
//! Invariant: what is given here is an inode of a file system that this process has made, on a read-only mount. Only where
//! no node can be made, as in a plain user's user namespace, is it the host's, on a mount as read-only.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::{Linux, Spec};

use super::content::Content;
use super::failure::{Call, During as _, Fault};
use super::process::c_string;
use super::{devices, labels};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::fs::{self, Node, Want};
use crate::sys::held::HeldMounts;
use crate::sys::mount::{self, Attributes, Depth, Propagation};
use crate::sys::{Errno, detached};

/// The nodes that a process makes for containers and holds, each when it is first asked for.
#[derive(Debug)]
pub struct Nodes<'a> {
    held: &'a mut HeldMounts,
    /// The `linux` of the spec, by which they are labelled.
    linux: Option<&'a Linux>,
}

impl<'a> Nodes<'a> {
    /// Those that are, or will be, among `held`.
    pub fn among(held: &'a mut HeldMounts, linux: Option<&'a Linux>) -> Self {
        Self { held, linux }
    }

    /// A null device, open for reading and writing, for a stream that nobody gives.
    pub fn null(&mut self) -> Result<OwnedFd> {
        self.open(&devices::null(), fs::open_both_ways)
    }

    /// What a process gets for a stream that its caller gives: that, unless it is one of the devices that every
    /// container has, whose node is the host's; then what our own node of that device leads to, opened for as much.
    pub fn stream(&mut self, given: OwnedFd) -> Result<OwnedFd> {
        let device = fs::character_device(given.as_fd()).map_err(|errno| errno.during("fstat(stdio)"))?;
        // Once open, /dev/tty is the caller's terminal, which is theirs.
        let node = device.filter(|device| *device != devices::TTY);
        match node.and_then(|(major, minor)| devices::default_node(major, minor)) {
            None => Ok(given),
            Some(node) => self.open(&node, |own| fs::open_like(own, given.as_fd())),
        }
    }

    /// A null device as a mount, which is one container's alone, to cover files with. `None`: `spec` covers nothing.
    pub fn mask(&mut self, spec: &Spec) -> Result<Option<OwnedFd>> {
        let masked =
            spec.linux().as_ref().and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default();
        if masked.is_empty() {
            return Ok(None);
        }
        let null = devices::null();
        self.hold(&path(&null), std::slice::from_ref(&null))?;
        self.mount(&path(&null), &null).map(Some)
    }

    /// Each node of `content` as a mount of its own, with its path.
    pub(super) fn mounts(&mut self, content: &[Content]) -> Result<Vec<(String, OwnedFd)>> {
        self.hold("/dev", content)?;
        let nodes = content.iter().filter(|entry| matches!(entry, Content::Node { .. }));
        nodes.map(|node| Ok((path(node), self.mount("/dev", node)?))).collect()
    }

    fn open(
        &mut self,
        node: &Content,
        open: impl FnOnce(BorrowedFd<'_>) -> Result<OwnedFd, Errno>,
    ) -> Result<OwnedFd> {
        let path = path(node);
        self.hold(&path, std::slice::from_ref(node))?;
        let found = match self.entry(&path, node)? {
            Some(found) => found,
            None => of_the_hosts(node)?,
        };
        open(found.as_fd()).map_err(|errno| {
            Error::from(errno.during(format!("open({path:?})")))
                .context("a stream that is to be a device of the container's own")
        })
    }

    /// Sees to it that a file system with `content` is held as `name`, if one can be made.
    fn hold(&mut self, name: &str, content: &[Content]) -> Result<()> {
        if self.held.get(name).is_some() {
            return Ok(());
        }
        let label = labels::of_mounts(self.linux)?;
        let parameters: Vec<_> = label.iter().map(|label| (c"context", Some(label.as_c_str()))).collect();
        let tree = detached::make(c"tmpfs", &parameters, Attributes::NOSUID | Attributes::NOEXEC)?;
        for entry in content {
            match make(entry, tree.as_fd()) {
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
    fn entry(&self, name: &str, node: &Content) -> Result<Option<OwnedFd>> {
        let Some(tree) = self.held.get(name) else { return Ok(None) };
        let found = fs::open_entry(tree, node.name(), Want::Any);
        Ok(Some(found.map_err(|errno| errno.during(format!("openat2({:?})", node.name())))?))
    }

    fn mount(&mut self, name: &str, node: &Content) -> Result<OwnedFd> {
        match self.entry(name, node)? {
            Some(entry) => Ok(self.held.copy(name, entry.as_fd(), Depth::One)?),
            None => of_the_hosts(node),
        }
    }
}

/// Makes an entry; a node's mode is what it says, whatever this process's own mask.
fn make(entry: &Content, tree: BorrowedFd<'_>) -> Result<(), Fault> {
    entry.make_in(tree)?;
    match entry {
        Content::Node { name, mode, .. } => fs::chmod_entry(tree, name, *mode).during(Call::Chmod),
        Content::Directory { .. } | Content::Link { .. } => Ok(()),
    }
}

/// The path of a node that is below /dev.
fn path(node: &Content) -> String {
    format!("/dev/{}", node.name().to_string_lossy())
}

/// A read-only mount of the host's own node, which has to be the same device: whatever else stands there would be
/// given away (CVE-2025-31133).
fn of_the_hosts(node: &Content) -> Result<OwnedFd> {
    let path = path(node);
    let tree = mount::clone_host_tree(&c_string("/dev", &path)?, Depth::One)
        .map_err(|errno| errno.during(format!("open_tree({path:?}, OPEN_TREE_CLONE)")))?;
    let found =
        fs::character_device(tree.as_fd()).map_err(|errno| errno.during(format!("fstat({path:?})")))?;
    if let Content::Node { node: Node::Character(major, minor), .. } = node
        && found != Some((*major, *minor))
    {
        let what = format!("{path}: the host's is not the device {major}:{minor}, and none can be made here");
        return Err(Error::new(ErrorKind::Unsupported, what));
    }
    make_readonly(tree.as_fd())?;
    Ok(tree)
}

fn make_readonly(tree: BorrowedFd<'_>) -> Result<()> {
    let attributes =
        Attributes { set: Attributes::RDONLY | Attributes::NOSUID | Attributes::NOEXEC, clear: 0 };
    mount::mount_setattr(tree, Depth::One, attributes, Some(Propagation::Private))
        .map_err(|errno| errno.during("mount_setattr(MOUNT_ATTR_RDONLY)").into())
}
