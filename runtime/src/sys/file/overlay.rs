//! Overlay mounts by the new mount API, layers given by descriptor.
//!
//! Invariant: the mount is detached: it stands in no mount table until it is moved somewhere, and ends with its
//! descriptor. The caller has one thread: its working directory may change meanwhile.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::mount::{self, Attributes};
use crate::sys::{Errno, Error, Result};

fn failed<E: Into<Errno>>(call: &str, key: &str) -> impl FnOnce(E) -> Error {
    let call = format!("{call}(overlay, \"{key}\")");
    move |errno| errno.into().during(call)
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
        set_dir(fs.as_fd(), c"upperdir", upper)?;
        set_dir(fs.as_fd(), c"workdir", work)?;
        mount::fsconfig(fs.as_fd(), c"volatile", None).map_err(failed("fsconfig", "volatile"))?;
        create(fs.as_fd(), 0)
    })
}

/// Stacks `lower` (the topmost first), two at least, without a place for changes: read only, without devices and set-user-id bits.
pub fn mount_read_only(lower: &[BorrowedFd<'_>]) -> Result<OwnedFd> {
    let attributes = Attributes::RDONLY | Attributes::NODEV | Attributes::NOSUID;
    newest_first(|naming| working_for(naming, || create(open(lower, naming)?.as_fd(), attributes)))
}

/// Tries each layer by itself first.
fn newest_first(attempt: impl Fn(Naming) -> Result<OwnedFd>) -> Result<OwnedFd> {
    match attempt(Naming::Each) {
        Err(Error { errno, .. }) if matches!(Errno(errno), Errno::EINVAL | Errno::EOPNOTSUPP) => {
            attempt(Naming::Joined)
        }
        other => other,
    }
}

fn open(lower: &[BorrowedFd<'_>], naming: Naming) -> Result<OwnedFd> {
    let fs = mount::fsopen(c"overlay").map_err(failed("fsopen", ""))?;
    mount::fsconfig(fs.as_fd(), c"source", Some(c"overlay")).map_err(failed("fsconfig", "source"))?;
    match naming {
        Naming::Each => lower.iter().try_for_each(|dir| set_dir(fs.as_fd(), EACH, *dir))?,
        Naming::Joined => {
            let numbers: Vec<String> = lower.iter().map(|dir| dir.as_raw_fd().to_string()).collect();
            let shown = format!("lowerdir of {} layers", lower.len());
            let joined = CString::new(numbers.join(":")).expect("numbers hold no NUL");
            mount::fsconfig(fs.as_fd(), c"lowerdir", Some(&joined)).map_err(failed("fsconfig", &shown))?;
        }
    }
    Ok(fs)
}

/// Sets a directory by descriptor (Linux 6.13), or by the path under which this process reaches it.
fn set_dir(fs: BorrowedFd<'_>, key: &CStr, dir: BorrowedFd<'_>) -> Result<()> {
    let shown = key.to_string_lossy();
    match mount::fsconfig_fd(fs, key, dir) {
        // The answer of a file system without the new mount API, such as overlayfs up to Linux 6.4. It would
        // accept any name here.
        Err(Errno::EOPNOTSUPP) if key != EACH => by_path(fs, key, dir),
        Err(Errno::EINVAL) => by_path(fs, key, dir),
        set => set.map_err(failed("fsconfig(FSCONFIG_SET_FD)", &shown)),
    }
}

fn by_path(fs: BorrowedFd<'_>, key: &CStr, dir: BorrowedFd<'_>) -> Result<()> {
    let path = CString::new(format!("{FOLDER}/{}", dir.as_raw_fd())).expect("a number holds no NUL");
    mount::fsconfig(fs, key, Some(&path))
        .map_err(failed("fsconfig(FSCONFIG_SET_STRING)", &key.to_string_lossy()))
}

/// The parameter of one layer.
const EACH: &CStr = c"lowerdir+";

/// Where descriptors have names.
const FOLDER: &str = "/proc/self/fd";

fn create(fs: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    mount::fsconfig_create(fs).map_err(failed("fsconfig(FSCONFIG_CMD_CREATE)", ""))?;
    mount::fsmount(fs, attributes).map_err(failed("fsmount", ""))
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
