//! What a file system is filled with before anybody can see it, by the child that attaches it or by its parent.
//!
//! Invariant: making an entry allocates nothing, and follows no link: names are relative to the file system's root.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use super::failure::{Call, During as _, Fault};
use crate::sys::fs::{self, Node};

/// An entry of a file system that is not attached yet.
#[derive(Debug)]
pub(super) enum Content {
    Directory { name: CString },
    Link { name: CString, target: CString },
    Node { name: CString, node: Node, mode: u32, uid: u32, gid: u32 },
}

impl Content {
    /// Its path from the root.
    pub(super) fn name(&self) -> &CStr {
        match self {
            Self::Directory { name } | Self::Link { name, .. } | Self::Node { name, .. } => name,
        }
    }

    /// Makes it in the file system whose root is `tree`.
    pub(super) fn make_in(&self, tree: BorrowedFd<'_>) -> Result<(), Fault> {
        match self {
            Self::Directory { name } => fs::mkdirat(tree, name, 0o755).during(Call::Mkdirat),
            Self::Link { name, target } => fs::symlinkat(target, tree, name).during(Call::Symlinkat),
            Self::Node { name, node, mode, uid, gid } => {
                fs::mknodat(tree, name, *node, *mode).during(Call::Mknodat)?;
                match (*uid, *gid) {
                    (0, 0) => Ok(()),
                    (uid, gid) => fs::chown_entry(tree, name, uid, gid).during(Call::Chown),
                }
            }
        }
    }
}
