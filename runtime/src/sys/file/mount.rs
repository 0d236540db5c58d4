//! The mount API of Linux 5.2 to 5.12: a mount is made detached, given its attributes, and then
//! moved onto a descriptor. No function here takes a path into a container.
//!
//! Invariant: every descriptor made is CLOEXEC. Functions for a child half allocate nothing: all except
//! [`make_detached`], [`number`] and [`detach_from_here`].

use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, StatxFlags};
use rustix::mount as rm;

use crate::sys::errno::{Errno, Result};

/// Attributes of a mount (MOUNT_ATTR_*): those to set and those to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// The bits to set.
    pub set: u64,
    /// The bits to clear, before the others are set.
    pub clear: u64,
}

impl Attributes {
    /// Nothing can be written through it.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes are only files.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed from it.
    pub const NOEXEC: u64 = 0x8;
    /// The mask of the three kinds of access times; zero is relatime.
    pub const ATIME_MASK: u64 = 0x70;
    /// Access times are not kept.
    pub const NOATIME: u64 = 0x10;
    /// Access times are kept at each access.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NODIRATIME: u64 = 0x80;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;

    /// All but how access times are kept.
    pub const FLAGS: u64 =
        Self::RDONLY | Self::NOSUID | Self::NODEV | Self::NOEXEC | Self::NODIRATIME | Self::NOSYMFOLLOW;

    /// The bits' names, as strace has them.
    pub fn names(bits: u64) -> String {
        const NAMES: [(u64, &str); 8] = [
            (Attributes::RDONLY, "MOUNT_ATTR_RDONLY"),
            (Attributes::NOSUID, "MOUNT_ATTR_NOSUID"),
            (Attributes::NODEV, "MOUNT_ATTR_NODEV"),
            (Attributes::NOEXEC, "MOUNT_ATTR_NOEXEC"),
            (Attributes::NOATIME, "MOUNT_ATTR_NOATIME"),
            (Attributes::STRICTATIME, "MOUNT_ATTR_STRICTATIME"),
            (Attributes::NODIRATIME, "MOUNT_ATTR_NODIRATIME"),
            (Attributes::NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"),
        ];
        let is_mask = bits & Self::ATIME_MASK == Self::ATIME_MASK;
        let mask = is_mask.then_some("MOUNT_ATTR__ATIME");
        let left = if is_mask { bits & !Self::ATIME_MASK } else { bits };
        let names = NAMES.iter().filter(|(bit, _)| left & bit != 0).map(|(_, name)| *name);
        let all: Vec<&str> = names.chain(mask).collect();
        if all.is_empty() { "0".to_owned() } else { all.join("|") }
    }

    /// Whether nothing is asked for.
    pub const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// How mounts below a mount travel to and from its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither way.
    Private,
    /// From the peers to here.
    Slave,
    /// Both ways.
    Shared,
    /// Neither way, and it cannot be bound again.
    Unbindable,
}

impl Propagation {
    const fn bits(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// Whether an act takes the mount alone, or all that is mounted below it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The mount alone.
    One,
    /// The mount and all below it.
    Recursive,
}

/// Opens a context for a new file system of `kind`.
pub fn fsopen(kind: &CStr) -> Result<OwnedFd> {
    Ok(rm::fsopen(kind, rm::FsOpenFlags::FSOPEN_CLOEXEC)?)
}

/// Sets one parameter of a context: a flag without a value.
pub fn fsconfig(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> Result<()> {
    match value {
        Some(value) => rm::fsconfig_set_string(context, key, value)?,
        None => rm::fsconfig_set_flag(context, key)?,
    }
    Ok(())
}

/// Sets a parameter of a context that is a descriptor.
pub fn fsconfig_fd(context: BorrowedFd<'_>, key: &CStr, value: BorrowedFd<'_>) -> Result<()> {
    Ok(rm::fsconfig_set_fd(context, key, value)?)
}

/// Makes (or finds) the file system that a context describes.
pub fn fsconfig_create(context: BorrowedFd<'_>) -> Result<()> {
    Ok(rm::fsconfig_create(context)?)
}

/// Opens a context for the file system that is mounted at `mount`, the root of it, to change it.
pub fn fspick(mount: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = rm::FsPickFlags::FSPICK_CLOEXEC | rm::FsPickFlags::FSPICK_EMPTY_PATH;
    Ok(rm::fspick(mount, c"", flags)?)
}

/// Reconfigures the file system of a context with its parameters.
pub fn fsconfig_reconfigure(context: BorrowedFd<'_>) -> Result<()> {
    Ok(rm::fsconfig_reconfigure(context)?)
}

/// A detached mount of a context's file system.
pub fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    let attributes = u32::try_from(attributes).map_err(|_| Errno::EINVAL)?;
    let flags = rm::MountAttrFlags::from_bits_retain(attributes);
    Ok(rm::fsmount(context, rm::FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// Makes a file system of `kind` with these parameters, and a detached mount of it with these attributes,
/// reachable only by the returned descriptor.
pub fn make_detached(
    kind: &CStr,
    parameters: &[(&CStr, Option<&CStr>)],
    attributes: u64,
) -> crate::sys::Result<OwnedFd> {
    let during =
        |call: &'static str| move |errno: Errno| errno.during(format!("{call}({})", kind.to_string_lossy()));
    let context = fsopen(kind).map_err(during("fsopen"))?;
    for (key, value) in parameters {
        fsconfig(context.as_fd(), key, *value).map_err(|errno| {
            errno.during(format!("fsconfig({}, {key:?}, {value:?})", kind.to_string_lossy()))
        })?;
    }
    fsconfig_create(context.as_fd()).map_err(during("fsconfig"))?;
    fsmount(context.as_fd(), attributes).map_err(during("fsmount"))
}

/// A detached copy of the mount that `fd` is on, with `fd` as its root.
pub fn clone_tree(fd: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd> {
    Ok(rm::open_tree(fd, c"", clone_flags(depth) | rm::OpenTreeFlags::AT_EMPTY_PATH)?)
}

/// A detached copy of the tree at a path of the host's, for sources that the caller names.
pub fn clone_host_tree(path: &CStr, depth: Depth) -> Result<OwnedFd> {
    Ok(rm::open_tree(rustix::fs::CWD, path, clone_flags(depth))?)
}

fn clone_flags(depth: Depth) -> rm::OpenTreeFlags {
    let flags = rm::OpenTreeFlags::OPEN_TREE_CLONE | rm::OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match depth {
        Depth::One => flags,
        Depth::Recursive => flags | rm::OpenTreeFlags::AT_RECURSIVE,
    }
}

/// Moves the detached mount `tree` onto the file or directory `target`.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = rm::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | rm::MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rm::move_mount(tree, c"", target, c"", flags)?)
}

/// Moves the detached mount `tree` over the caller's root, from where [`pivot_here`] makes it the root.
pub fn attach_over_root(tree: BorrowedFd<'_>) -> Result<()> {
    Ok(rm::move_mount(tree, c"", rustix::fs::CWD, c"/", rm::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Makes the working directory, which is a mount's root, the root of the mount namespace, and
/// takes the old root with all its mounts away.
pub fn pivot_here() -> Result<()> {
    rustix::process::pivot_root(c".", c".")?;
    Ok(rm::unmount(c".", rm::UnmountFlags::DETACH)?)
}

/// Takes the mount at `path` out of the caller's mount namespace, with all that is mounted below it.
pub fn detach(path: &CStr) -> Result<()> {
    Ok(rm::unmount(path, rm::UnmountFlags::DETACH | rm::UnmountFlags::NOFOLLOW)?)
}

/// `STATX_MNT_ID_UNIQUE` of Linux 6.8: a kernel that does not know it gives the other number.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The number of the mount that `fd` is in, attached or not. Since Linux 6.8 no other mount ever has the same; before, none
/// at the same time.
pub fn number(fd: BorrowedFd<'_>) -> Result<u64> {
    match rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | UNIQUE) {
        Err(rustix::io::Errno::NOSYS) => number_in_proc(fd),
        found => Ok(found?.stx_mnt_id),
    }
}

/// The same by proc(5), for a filter that refuses statx.
fn number_in_proc(fd: BorrowedFd<'_>) -> Result<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap_or_default();
    let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    number.ok_or(Errno::ENOSYS)
}

/// Takes the mount that the directory `fd` is the root of out of the caller's mount namespace, with all that is mounted
/// below it.
pub fn detach_from_here(fd: BorrowedFd<'_>) -> Result<()> {
    Ok(rm::unmount(format!("/proc/self/fd/{}", fd.as_raw_fd()), rm::UnmountFlags::DETACH)?)
}

/// Makes the whole mount namespace of the caller receive from the host's and give nothing back.
pub fn make_root_slave() -> Result<()> {
    Ok(rm::mount_change(c"/", rm::MountPropagationFlags::DOWNSTREAM | rm::MountPropagationFlags::REC)?)
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes attributes and propagation of the mount that `fd` is the root of.
pub fn mount_setattr(
    fd: BorrowedFd<'_>,
    depth: Depth,
    attributes: Attributes,
    propagation: Option<Propagation>,
) -> Result<()> {
    let propagation = propagation.map_or(0, Propagation::bits);
    setattr(fd, depth, &MountAttr { set: attributes.set, clear: attributes.clear, propagation, userns_fd: 0 })
}

/// Maps the owners of a detached mount's files by a user namespace (nsfs).
pub fn map_owners(fd: BorrowedFd<'_>, depth: Depth, user_namespace: BorrowedFd<'_>) -> Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let userns_fd = user_namespace.as_raw_fd().cast_unsigned().into();
    setattr(fd, depth, &MountAttr { set: MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, userns_fd })
}

fn setattr(fd: BorrowedFd<'_>, depth: Depth, request: &MountAttr) -> Result<()> {
    let flags = match depth {
        Depth::One => libc::AT_EMPTY_PATH,
        Depth::Recursive => libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
    };
    // SAFETY: the kernel reads an empty string and as many bytes as a `MountAttr` has, which is its `struct mount_attr` of the
    // first version; both live until the call returns.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(request),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_mount_has_one_number_and_another_one_another() {
        let open = |path: &str| File::open(path).unwrap();
        for of in [number, number_in_proc] {
            let (own, same, other) = (open("/proc/self"), open("/proc/version"), open("/"));
            assert_eq!(of(own.as_fd()), of(same.as_fd()));
            assert_ne!(of(own.as_fd()).unwrap(), of(other.as_fd()).unwrap());
        }
    }
}
