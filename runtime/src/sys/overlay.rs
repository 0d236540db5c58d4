//! Overlay mounts by the new mount API, layers given by descriptor.
//!
//! Invariant: the mount is detached: it stands in no mount table until somebody moves it somewhere,
//! and it is gone when its descriptor is.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::{Error, Result};

fn failed<'a>(call: &'a str, key: &'a str) -> impl FnOnce(Errno) -> Error + 'a {
    move |errno| Error::new(format!("{call}(overlay, \"{key}\")"), errno.raw_os_error())
}

/// Stacks `lower` (the topmost first) under `upper`, with `work` beside it on the same file system.
/// The mount is `volatile`: the kernel never waits for the upper layer to reach its disk.
pub fn mount(lower: &[BorrowedFd<'_>], upper: BorrowedFd<'_>, work: BorrowedFd<'_>) -> Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen", ""))?;
    fsconfig_set_string(fs.as_fd(), "source", "overlay").map_err(failed("fsconfig", "source"))?;
    set_lower(fs.as_fd(), lower)?;
    set_dir(fs.as_fd(), "upperdir", upper)?;
    set_dir(fs.as_fd(), "workdir", work)?;
    fsconfig_set_flag(fs.as_fd(), "volatile").map_err(failed("fsconfig", "volatile"))?;
    fsconfig_create(fs.as_fd()).map_err(failed("fsconfig(FSCONFIG_CMD_CREATE)", ""))?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(failed("fsmount", ""))
}

/// Stacks `lower` (the topmost first), two at least, without a place for changes: read only, without devices and set-user-id bits.
pub fn mount_read_only(lower: &[BorrowedFd<'_>]) -> Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen", ""))?;
    fsconfig_set_string(fs.as_fd(), "source", "overlay").map_err(failed("fsconfig", "source"))?;
    set_lower(fs.as_fd(), lower)?;
    fsconfig_create(fs.as_fd()).map_err(failed("fsconfig(FSCONFIG_CMD_CREATE)", ""))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("fsmount", ""))
}

/// Sets a directory by descriptor (Linux 6.13), or by the path under which this process reaches it.
fn set_dir(fs: BorrowedFd<'_>, key: &str, dir: BorrowedFd<'_>) -> Result<()> {
    match fsconfig_set_fd(fs, key, dir) {
        Err(Errno::INVAL) => {
            fsconfig_set_string(fs, key, path(dir)).map_err(failed("fsconfig(FSCONFIG_SET_STRING)", key))
        }
        result => result.map_err(failed("fsconfig(FSCONFIG_SET_FD)", key)),
    }
}

fn path(dir: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", dir.as_raw_fd())
}

/// One `lowerdir+` a layer; before Linux 6.7 they are one string.
fn set_lower(fs: BorrowedFd<'_>, lower: &[BorrowedFd<'_>]) -> Result<()> {
    let Some((first, rest)) = lower.split_first() else { return Ok(()) };
    if let Err(error) = set_dir(fs, "lowerdir+", *first) {
        if error.errno != Errno::INVAL.raw_os_error() {
            return Err(error);
        }
        let joined = lower.iter().map(|dir| path(*dir)).collect::<Vec<_>>().join(":");
        return fsconfig_set_string(fs, "lowerdir", joined).map_err(failed("fsconfig", "lowerdir"));
    }
    rest.iter().try_for_each(|dir| set_dir(fs, "lowerdir+", *dir))
}
