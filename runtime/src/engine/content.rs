//! The content of a new file system, made before the mount is attached, by the child that attaches it or by its
//! parent.
//!
//! Invariant: making an entry allocates nothing, and follows no link: names are relative to the file system's root.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use super::failure::{Call, During as _, Fault};
use crate::sys::file::fs::{self, Node, Special};

/// An entry of a file system that is not attached yet.
#[derive(Debug)]
pub(super) enum Content {
    Directory { name: CString },
    Link { name: CString, target: CString },
    Node { name: CString, file: NodeFile },
}

/// A device node: its numbers and the requested properties; absent ones: mode 0666, owner root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeFile {
    pub(super) node: Node,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl NodeFile {
    /// A node without requested properties.
    pub(super) fn plain(node: Node) -> Self {
        Self { node, mode: None, uid: None, gid: None }
    }

    /// Its mode where it is made.
    pub(super) fn mode(&self) -> u32 {
        self.mode.unwrap_or(0o666)
    }

    /// Makes it as the entry `name` of `dir`; its mode is the process's mask's too.
    pub(super) fn make(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Fault> {
        fs::mknodat(dir, name, self.node, self.mode()).during(Call::Mknodat)?;
        match (self.uid.unwrap_or(0), self.gid.unwrap_or(0)) {
            (0, 0) => Ok(()),
            (uid, gid) => fs::chown_entry(dir, name, uid, gid).during(Call::Chown),
        }
    }

    /// Whether `found` is it, with all that is asked of it.
    pub(super) fn is(&self, found: &Special) -> bool {
        self.node == found.node
            && self.mode.is_none_or(|mode| mode == found.mode)
            && self.uid.is_none_or(|uid| uid == found.uid)
            && self.gid.is_none_or(|gid| gid == found.gid)
    }
}

impl Content {
    /// Makes it in the file system whose root is `tree`.
    pub(super) fn make_in(&self, tree: BorrowedFd<'_>) -> Result<(), Fault> {
        match self {
            Self::Directory { name } => fs::mkdirat(tree, name, 0o755).during(Call::Mkdirat),
            Self::Link { name, target } => fs::symlinkat(target, tree, name).during(Call::Symlinkat),
            Self::Node { name, file } => file.make(tree, name),
        }
    }
}
