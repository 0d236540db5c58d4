//! Looking things up inside a directory that a stranger may have filled: a volume, a root file system.
//!
//! Invariant: every lookup is one `openat2` with `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH`, so that neither `..`
//! nor a symbolic link, even one that changes meanwhile, leads out of the directory; magic links are refused.
//! The result is a descriptor; the caller works on it and never on the path again.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::fs::openat2;
use crate::sys::{Error, Result};

/// The treatment of a link that leads out of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outward {
    /// It leads to the same path inside, as for a process with this root.
    Inside,
    /// The lookup fails: [`Error::leads_out`].
    Refused,
}

/// Opens `path` of the host as a handle (`O_PATH`), following symbolic links: for a path that the
/// manifest's author chose.
pub fn open_host(path: &Path) -> Result<OwnedFd> {
    fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::new(format!("open({path:?}, O_PATH)"), errno.raw_os_error()))
}

/// Opens the file at `path` inside `root` as a handle (`O_PATH`).
pub fn open_handle(root: impl AsFd, path: &Path, outward: Outward) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH, outward)
}

/// Opens the regular file at `path` inside `root` for reading; `None`: something else is there, which is not opened, since
/// that alone makes a device's driver act (a watchdog's starts to count) and may wait for it.
pub fn open_regular(root: impl AsFd, path: &Path) -> Result<Option<OwnedFd>> {
    let handle = open_handle(root, path, Outward::Inside)?;
    let found =
        fs::fstat(&handle).map_err(|errno| Error::new(format!("fstat({path:?})"), errno.raw_os_error()))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    // The file that was checked, whatever its path leads to by now.
    let itself = format!("/proc/self/fd/{}", handle.as_raw_fd());
    fs::openat(CWD, &itself, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map(Some)
        .map_err(|errno| Error::new(format!("open({path:?}, by its handle)"), errno.raw_os_error()))
}

/// Opens the directory at `path` inside `root` as a handle, making missing parts with `mode`.
pub fn make_dirs(root: impl AsFd, path: &Path, mode: u32, outward: Outward) -> Result<OwnedFd> {
    let mut reached = std::path::PathBuf::new();
    let look_up = |path: &Path| open(&root, path, OFlags::PATH | OFlags::DIRECTORY, outward);
    let mut handle = look_up(Path::new("."))?;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        reached.push(name);
        handle = match look_up(&reached) {
            Err(error) if error.errno == Errno::NOENT.raw_os_error() => {
                make_dir(&handle, Path::new(name), mode)?;
                look_up(&reached)?
            }
            result => result?,
        };
    }
    Ok(handle)
}

/// Makes the directory `name` in `dir` with exactly `mode`, whatever the umask; one that appeared meanwhile is
/// left as it is.
fn make_dir(dir: impl AsFd, name: &Path, mode: u32) -> Result<()> {
    let call = || format!("mkdirat({name:?}, {mode:o})");
    match fs::mkdirat(&dir, name, Mode::from_raw_mode(mode & 0o777)) {
        Err(Errno::EXIST) => return Ok(()),
        result => result.map_err(|errno| Error::new(call(), errno.raw_os_error()))?,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(&dir, name, flags, Mode::empty())
        .and_then(|made| fs::fchmod(made, Mode::from_raw_mode(mode)))
        .map_err(|errno| Error::new(call(), errno.raw_os_error()))
}

fn open(root: impl AsFd, path: &Path, flags: OFlags, outward: Outward) -> Result<OwnedFd> {
    let how = match outward {
        Outward::Inside => ResolveFlags::IN_ROOT,
        Outward::Refused => ResolveFlags::BENEATH,
    } | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), how)
        .map_err(|errno| errno.during(format!("openat2(root, {path:?})")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_host(dir.path()).unwrap();
        symlink("/etc", dir.path().join("absolute")).unwrap();
        symlink("../../../../../etc", dir.path().join("climbing")).unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "ours").unwrap();
        for path in ["absolute/passwd", "climbing/passwd", "/../../etc/passwd", "etc/passwd"] {
            let file = std::fs::File::from(open_regular(&root, Path::new(path)).unwrap().unwrap());
            assert_eq!(std::io::read_to_string(file).unwrap(), "ours", "{path}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_host(dir.path()).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        // open(2) fails with ENXIO, as for a device without a driver, which only root could make.
        assert!(open_regular(&root, Path::new("socket")).unwrap().is_none());
        assert!(open_regular(&root, Path::new(".")).unwrap().is_none());
        assert!(open_regular(&root, Path::new("none")).unwrap_err().is_not_found());
    }

    #[test]
    fn missing_directories_are_made_and_links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_host(dir.path()).unwrap();
        make_dirs(&root, Path::new("a/b/c"), 0o777, Outward::Inside).unwrap();
        let made = std::fs::metadata(dir.path().join("a/b/c")).unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, 0o777, "the umask does not count");
        symlink("/elsewhere", dir.path().join("link")).unwrap();
        let make = |outward| make_dirs(&root, Path::new("link/x"), 0o755, outward);
        assert!(make(Outward::Inside).is_err(), "a dangling link is not followed");
        std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
        assert!(make(Outward::Refused).unwrap_err().leads_out());
        assert!(!dir.path().join("elsewhere/x").exists());
        let inside = std::fs::File::from(make(Outward::Inside).unwrap());
        let expected = std::fs::metadata(dir.path().join("elsewhere/x")).unwrap().ino();
        assert_eq!(inside.metadata().unwrap().ino(), expected);
    }
}
