//! Mounts held by descriptor, which stand in no mount table of the host's, and of which each container gets a copy.
//!
//! Since Linux 6.15 a mount that is attached nowhere can be copied. Before, only one of the caller's own mount
//! namespace can: there the held mounts stand in a room, a mount namespace with nothing else in it that lives by this
//! process's descriptor alone, and each copy is a visit to it.
//!
//! Invariant: when a function returns, the caller is in its own mount namespace, root and working directory.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::Result;
use crate::sys::child::clone::SingleThreaded;
use crate::sys::errno::{Errno, Result as Plain};
use crate::sys::file::fs;
use crate::sys::file::mount::{self, Attributes, Depth};
use crate::sys::process::ns::{self, Namespaces};

/// The mounts of one process, by their names.
#[derive(Debug, Default)]
pub struct HeldMounts {
    trees: BTreeMap<String, Held>,
    room: Option<Room>,
}

#[derive(Debug)]
struct Held {
    tree: OwnedFd,
    in_room: bool,
}

/// The mount namespace in which held mounts stand on older kernels.
#[derive(Debug)]
struct Room {
    namespace: OwnedFd,
    /// Its root, an empty file system with a directory a mount.
    root: OwnedFd,
    /// How many have been brought into it.
    mounts: u32,
}

impl HeldMounts {
    /// Holds the detached mount `tree` from now on.
    pub fn insert(&mut self, name: &str, tree: OwnedFd) {
        self.trees.insert(name.to_owned(), Held { tree, in_room: false });
    }

    /// The root of a held mount.
    pub fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.trees.get(name).map(|held| held.tree.as_fd())
    }

    /// Releases all of them; existing copies stay.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether this kernel lets none be copied that stands nowhere.
    pub fn are_in_a_namespace(&self) -> bool {
        self.room.is_some()
    }

    /// A detached copy of the held mount `name`, with `part` of it, which is a descriptor below it, as the root.
    pub fn copy(&mut self, name: &str, part: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd> {
        match mount::clone_tree(part, depth) {
            Err(Errno::EINVAL) => self.copy_from_room(name, part, depth),
            other => other.map_err(|errno| errno.during("open_tree(a held mount, OPEN_TREE_CLONE)")),
        }
    }

    /// The same, as before Linux 6.15.
    pub fn copy_from_room(&mut self, name: &str, part: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd> {
        let copied =
            self.bring_into_room(name).and_then(|room| room.visit(|| mount::clone_tree(part, depth)));
        copied.map_err(|errno| {
            errno.during("open_tree(a held mount, OPEN_TREE_CLONE), in a mount namespace of its own (before Linux 6.15)")
        })
    }

    /// The room, with the held mount `name` in it.
    fn bring_into_room(&mut self, name: &str) -> Plain<&Room> {
        let held = self.trees.get_mut(name).ok_or(Errno::ENOENT)?;
        let room = match self.room.take() {
            Some(room) => room,
            None => Room::make()?,
        };
        let room = self.room.insert(room);
        if !held.in_room {
            room.mounts += 1;
            let place = CString::new(room.mounts.to_string()).map_err(|_| Errno::EINVAL)?;
            fs::mkdirat(room.root.as_fd(), &place, 0o700)?;
            let place = fs::open_entry(room.root.as_fd(), &place, fs::Want::Directory)?;
            room.visit(|| mount::attach(held.tree.as_fd(), place.as_fd()))?;
            held.in_room = true;
        }
        Ok(room)
    }
}

impl Room {
    fn make() -> Plain<Self> {
        let attributes = Attributes::NOSUID | Attributes::NODEV | Attributes::NOEXEC;
        let root = mount::make_detached(c"tmpfs", &[], attributes).map_err(|error| Errno(error.errno))?;
        away(|| {
            ns::unshare(Namespaces::MOUNT)?;
            mount::make_root_slave()?;
            mount::attach_over_root(root.as_fd())?;
            fs::fchdir(root.as_fd())?;
            // By a path of the old root, which the next step takes away.
            let namespace = fs::open_host_file(c"/proc/self/ns/mnt");
            mount::pivot_here()?;
            namespace
        })
        .map(|namespace| Self { namespace, root, mounts: 0 })
    }

    fn visit<T>(&self, act: impl FnOnce() -> Plain<T>) -> Plain<T> {
        away(|| ns::setns(self.namespace.as_fd(), Namespaces::MOUNT).and_then(|()| act()))
    }
}

/// Does something that leaves the caller's mount namespace, and comes back to it.
fn away<T>(act: impl FnOnce() -> Plain<T>) -> Plain<T> {
    let _alone = SingleThreaded::check()?;
    let home = fs::open_host_file(c"/proc/self/ns/mnt")?;
    let root = fs::open_host_directory(c"/")?;
    let folder = fs::open_host_directory(c".")?;
    let done = act();
    // Returning sets root and working directory to the namespace's, which may differ from the caller's own.
    ns::setns(home.as_fd(), Namespaces::MOUNT)?;
    fs::chroot(root.as_fd())?;
    fs::fchdir(folder.as_fd())?;
    done
}
