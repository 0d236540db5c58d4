//! Overlay mounts by the new mount API, layers given by descriptor.
//!
//! Invariant: the mount is detached: it stands in no mount table until somebody moves it somewhere,
//! and it is gone when its descriptor is. The caller has one thread: its working directory may change meanwhile.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::sys::{Error, Result};

fn failed<'a>(call: &'a str, key: &'a str) -> impl FnOnce(Errno) -> Error + 'a {
    move |errno| Error::new(format!("{call}(overlay, \"{key}\")"), errno.raw_os_error())
}

/// How a kernel is told of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// One after the other: since Linux 6.7, or 6.13 by descriptor.
    Each,
    /// By one string, which may have 255 bytes: enough for some eighty layers, if each is but the number of a descriptor.
    Joined,
}

/// Stacks `lower` (the topmost first) under `upper`, with `work` beside it on the same file system.
/// The mount is `volatile`: the kernel never waits for the upper layer to reach its disk.
pub fn mount(lower: &[BorrowedFd<'_>], upper: BorrowedFd<'_>, work: BorrowedFd<'_>) -> Result<OwnedFd> {
    newest_first(|naming| mount_by(naming, lower, upper, work))
}

/// The same in one way of naming layers.
pub fn mount_by(
    naming: Naming,
    lower: &[BorrowedFd<'_>],
    upper: BorrowedFd<'_>,
    work: BorrowedFd<'_>,
) -> Result<OwnedFd> {
    working_for(naming, || {
        let fs = open(lower, naming)?;
        set_dir(fs.as_fd(), "upperdir", upper)?;
        set_dir(fs.as_fd(), "workdir", work)?;
        fsconfig_set_flag(fs.as_fd(), "volatile").map_err(failed("fsconfig", "volatile"))?;
        create(fs.as_fd(), MountAttrFlags::empty())
    })
}

/// Stacks `lower` (the topmost first), two at least, without a place for changes: read only, without devices and set-user-id bits.
pub fn mount_read_only(lower: &[BorrowedFd<'_>]) -> Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    newest_first(|naming| working_for(naming, || create(open(lower, naming)?.as_fd(), attributes)))
}

/// Tries each layer by itself first.
fn newest_first(attempt: impl Fn(Naming) -> Result<OwnedFd>) -> Result<OwnedFd> {
    let older = [Errno::INVAL, Errno::OPNOTSUPP].map(Errno::raw_os_error);
    match attempt(Naming::Each) {
        Err(error) if older.contains(&error.errno) => attempt(Naming::Joined),
        other => other,
    }
}

fn open(lower: &[BorrowedFd<'_>], naming: Naming) -> Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen", ""))?;
    fsconfig_set_string(fs.as_fd(), "source", "overlay").map_err(failed("fsconfig", "source"))?;
    match naming {
        Naming::Each => lower.iter().try_for_each(|dir| set_dir(fs.as_fd(), EACH, *dir))?,
        Naming::Joined => {
            let numbers: Vec<String> = lower.iter().map(|dir| dir.as_raw_fd().to_string()).collect();
            let shown = format!("lowerdir of {} layers", lower.len());
            fsconfig_set_string(fs.as_fd(), "lowerdir", numbers.join(":"))
                .map_err(failed("fsconfig", &shown))?;
        }
    }
    Ok(fs)
}

/// Sets a directory by descriptor (Linux 6.13), or by the path under which this process reaches it.
fn set_dir(fs: BorrowedFd<'_>, key: &str, dir: BorrowedFd<'_>) -> Result<()> {
    match fsconfig_set_fd(fs, key, dir) {
        // What a file system of before the new mount API says, as overlayfs up to Linux 6.4. It would take any name here.
        Err(Errno::OPNOTSUPP) if key == EACH => {
            Err(failed("fsconfig(FSCONFIG_SET_FD)", key)(Errno::OPNOTSUPP))
        }
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            let path = format!("{FOLDER}/{}", dir.as_raw_fd());
            fsconfig_set_string(fs, key, path).map_err(failed("fsconfig(FSCONFIG_SET_STRING)", key))
        }
        result => result.map_err(failed("fsconfig(FSCONFIG_SET_FD)", key)),
    }
}

/// The parameter of one layer.
const EACH: &str = "lowerdir+";

/// Where descriptors have names.
const FOLDER: &str = "/proc/self/fd";

fn create(fs: BorrowedFd<'_>, attributes: MountAttrFlags) -> Result<OwnedFd> {
    fsconfig_create(fs).map_err(failed("fsconfig(FSCONFIG_CMD_CREATE)", ""))?;
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("fsmount", ""))
}

/// Layers that are named by numbers are looked for where this process works: when they are told, or, up to Linux 6.4,
/// when the file system is made.
fn working_for(naming: Naming, attempt: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    if naming == Naming::Each {
        return attempt();
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = rustix::fs::open(".", flags, Mode::empty()).map_err(failed("open", "."))?;
    rustix::process::chdir(FOLDER).map_err(failed("chdir", FOLDER))?;
    let made = attempt();
    rustix::process::fchdir(home).map_err(failed("fchdir", "."))?;
    made
}
