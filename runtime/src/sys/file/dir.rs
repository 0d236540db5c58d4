//! Directories by descriptor: looking up, making and removing entries.
//!
//! Invariant: a path that a stranger chose is resolved by `openat2` inside the directory it belongs
//! to, never through a magic link and never onto another mount; every other call here takes one name
//! in a directory that is already open.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{
    self, AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, Timespec, Timestamps,
    Uid,
};

use super::fs::openat2;
use crate::sys::{Error, Result};

/// How deep a removal recurses before it flattens the tree instead: one descriptor a level.
const REMOVE_DEPTH: usize = 64;

/// The type of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket, or a future type.
    Other,
}

/// The metadata of an inode, as far as copying it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its type.
    pub kind: Kind,
    /// The permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The length of a file.
    pub size: u64,
    /// The major and minor number of a device.
    pub device: (u32, u32),
    /// The file system and the inode on it.
    pub inode: (u64, u64),
    /// When its content changed: seconds and nanoseconds.
    pub mtime: (i64, i64),
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}

fn call(call: &str, fd: RawFd, name: &[u8]) -> String {
    let base = if fd == CWD.as_raw_fd() { "AT_FDCWD".to_owned() } else { fd.to_string() };
    format!("{call}({base}, \"{}\")", shown(name))
}

fn failed<'a>(name: &'a str, fd: impl AsFd, of: &'a [u8]) -> impl FnOnce(rustix::io::Errno) -> Error + 'a {
    let fd = fd.as_fd().as_raw_fd();
    move |errno| Error::new(call(name, fd, of), errno.raw_os_error())
}

/// Opens a directory of our own by its path, for reading and as a base of lookups.
pub fn open(path: &Path) -> Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(CWD, path, flags, Mode::empty()).map_err(failed("openat", CWD, path.as_os_str().as_bytes()))
}

/// Puts a small file, readable by root alone, into `dir` in place of the entry of that name. It gets its name
/// when it is whole: a killed writer leaves nothing (`O_TMPFILE`, open(2)).
pub fn place(dir: impl AsFd, name: &[u8], bytes: &[u8]) -> Result<()> {
    let file = create_unnamed(&dir)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).map_err(failed("write", &dir, name))?;
        rest = &rest[written..];
    }
    publish_in_place(&file, &dir, name)
}

/// Opens the directory `name` in `dir`; a symbolic link is refused.
pub fn open_at(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(&dir, name, flags, Mode::empty()).map_err(failed("openat", &dir, name))
}

/// The links that a lookup by [`resolve`] may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Symbolic links are followed, as if `root` were `/`.
    InRoot,
    /// A symbolic link anywhere is `ELOOP`.
    Refused,
}

/// Looks up a directory at `path` inside `root`, for use as a base (`O_PATH`).
pub fn resolve(root: impl AsFd, path: &[u8], links: Links) -> Result<OwnedFd> {
    lookup(root, path, OFlags::PATH | OFlags::DIRECTORY, links)
}

/// Looks up the file at `path` inside `root`, without following a link in the last place, as a handle
/// (`O_PATH`) that can be examined and linked elsewhere.
pub fn resolve_handle(root: impl AsFd, path: &[u8], links: Links) -> Result<OwnedFd> {
    lookup(root, path, OFlags::PATH | OFlags::NOFOLLOW, links)
}

/// Opens the regular file or device at `path` inside `root` for reading, without waiting for a pipe's other
/// end. The caller checks the result.
pub fn resolve_file(root: impl AsFd, path: &[u8], links: Links) -> Result<OwnedFd> {
    lookup(root, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY, links)
}

fn lookup(root: impl AsFd, path: &[u8], flags: OFlags, links: Links) -> Result<OwnedFd> {
    let how = ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV
        | match links {
            Links::InRoot => ResolveFlags::IN_ROOT,
            Links::Refused => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        };
    let path = if path.is_empty() { b"." } else { path };
    openat2(&root, path, flags, Mode::empty(), how)
        .map_err(|errno| errno.during(call("openat2", root.as_fd().as_raw_fd(), path)))
}

/// Makes the file `name`, which must not exist, for writing.
pub fn create_file(dir: impl AsFd, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(&dir, name, flags, Mode::from_raw_mode(mode)).map_err(failed("openat", &dir, name))
}

/// Opens, or makes, the file `name` in `dir` for appending; a symbolic link is refused, a pipe is not waited
/// for. It then has `mode`, whatever the umask and whoever made it.
pub fn open_for_appending(dir: impl AsFd, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode);
    let file = fs::openat(&dir, name, flags, mode).map_err(failed("openat(O_APPEND|O_CREAT)", &dir, name))?;
    let found = fs::fstat(&file).map_err(failed("fstat", &file, name))?;
    if Mode::from_raw_mode(found.st_mode & 0o7777) != mode {
        fs::fchmod(&file, mode).map_err(failed("fchmod", &file, name))?;
    }
    Ok(file)
}

/// Opens a file without a name in `dir`, for writing and reading; [`publish`] gives it one.
pub fn create_unnamed(dir: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    fs::openat(&dir, b".".as_slice(), flags, Mode::from_raw_mode(0o600)).map_err(failed(
        "openat(O_TMPFILE)",
        &dir,
        b".",
    ))
}

/// Gives the file `fd`, perhaps without a name until now, the name `name` in `dir`.
pub fn publish(fd: impl AsFd, dir: impl AsFd, name: &[u8]) -> Result<()> {
    fs::linkat(&fd, b"".as_slice(), &dir, name, AtFlags::EMPTY_PATH).map_err(failed("linkat", &dir, name))
}

/// The same in place of the file that has the name, if one has.
pub fn publish_in_place(fd: impl AsFd, dir: impl AsFd, name: &[u8]) -> Result<()> {
    loop {
        match publish(&fd, &dir, name) {
            Err(error) if error.is_taken() => remove_file(&dir, name)?,
            published => return published,
        }
    }
}

/// Makes the directory `name`.
pub fn make_dir(dir: impl AsFd, name: &[u8], mode: u32) -> Result<()> {
    fs::mkdirat(&dir, name, Mode::from_raw_mode(mode)).map_err(failed("mkdirat", &dir, name))
}

/// Makes the symbolic link `name` that says `target`.
pub fn make_symlink(dir: impl AsFd, name: &[u8], target: &[u8]) -> Result<()> {
    fs::symlinkat(target, &dir, name).map_err(failed("symlinkat", &dir, name))
}

/// Makes a device or a pipe.
pub fn make_node(dir: impl AsFd, name: &[u8], kind: Kind, mode: u32, device: (u32, u32)) -> Result<()> {
    let kind = match kind {
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let number = fs::makedev(device.0, device.1);
    fs::mknodat(&dir, name, kind, Mode::from_raw_mode(mode), number).map_err(failed("mknodat", &dir, name))
}

/// Gives the inode `name` (a link itself, never its target) to an owner.
pub fn set_owner_at(dir: impl AsFd, name: &[u8], uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    fs::chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("fchownat", &dir, name))
}

/// Gives an open file or directory to an owner.
pub fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed("fchown", &fd, b""))
}

/// Sets the permission bits of an open file or directory.
pub fn set_mode(fd: impl AsFd, mode: u32) -> Result<()> {
    fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(failed("fchmod", &fd, b""))
}

/// Sets the permission bits of the file of the `O_PATH` handle `fd`.
pub fn set_mode_of_handle(fd: impl AsFd, mode: u32) -> Result<()> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    fs::chmod(&path, Mode::from_raw_mode(mode)).map_err(failed("chmod", CWD, path.as_bytes()))
}

fn both(mtime: (i64, i64)) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1 };
    Timestamps { last_access: time, last_modification: time }
}

/// Sets access and modification time of an open file or directory.
pub fn set_times(fd: impl AsFd, mtime: (i64, i64)) -> Result<()> {
    fs::futimens(&fd, &both(mtime)).map_err(failed("futimens", &fd, b""))
}

/// Sets access and modification time of the inode `name`, a link's own.
pub fn set_times_at(dir: impl AsFd, name: &[u8], mtime: (i64, i64)) -> Result<()> {
    fs::utimensat(&dir, name, &both(mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(failed(
        "utimensat",
        &dir,
        name,
    ))
}

/// Removes the name of anything but a directory.
pub fn remove_file(dir: impl AsFd, name: &[u8]) -> Result<()> {
    fs::unlinkat(&dir, name, AtFlags::empty()).map_err(failed("unlinkat", &dir, name))
}

/// Removes a directory that holds nothing; one that holds something [is taken](Error::is_taken).
pub fn remove_dir(dir: impl AsFd, name: &[u8]) -> Result<()> {
    fs::unlinkat(&dir, name, AtFlags::REMOVEDIR).map_err(failed("unlinkat(AT_REMOVEDIR)", &dir, name))
}

/// Renames within one file system; replaces the new name as rename(2) does.
pub fn rename(from: impl AsFd, old: &[u8], to: impl AsFd, new: &[u8]) -> Result<()> {
    fs::renameat(&from, old, &to, new).map_err(failed("renameat", &from, old))
}

/// The target of a symbolic link.
pub fn read_link(dir: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    fs::readlinkat(&dir, name, Vec::new()).map(std::ffi::CString::into_bytes).map_err(failed(
        "readlinkat",
        &dir,
        name,
    ))
}

/// The target of a link's `O_PATH` handle.
pub fn read_link_of_handle(fd: impl AsFd) -> Result<Vec<u8>> {
    read_link(fd, b"")
}

/// The metadata of an open file or handle.
pub fn stat(fd: impl AsFd) -> Result<Stat> {
    fs::fstat(&fd).map(|stat| convert(&stat)).map_err(failed("fstat", &fd, b""))
}

/// The metadata of the inode `name`, a link's own.
pub fn stat_at(dir: impl AsFd, name: &[u8]) -> Result<Stat> {
    fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| convert(&stat)).map_err(failed(
        "newfstatat",
        &dir,
        name,
    ))
}

fn convert(stat: &fs::Stat) -> Stat {
    Stat {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            _ => Kind::Other,
        },
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        device: (fs::major(stat.st_rdev), fs::minor(stat.st_rdev)),
        inode: (stat.st_dev, stat.st_ino),
        #[expect(clippy::cast_possible_wrap, reason = "nanoseconds are below a billion")]
        mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
    }
}

/// The size of a file system, and the free part for users other than root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Its inodes; 0 where they are made as they are needed.
    pub inodes: u64,
    /// Inodes that are free.
    pub free_inodes: u64,
}

/// The space of the file system that holds `fd`.
pub fn free(fd: impl AsFd) -> Result<Free> {
    let all = fs::fstatvfs(&fd).map_err(failed("fstatfs", &fd, b""))?;
    Ok(Free {
        bytes: all.f_blocks.saturating_mul(all.f_frsize),
        free_bytes: all.f_bavail.saturating_mul(all.f_frsize),
        inodes: all.f_files,
        free_inodes: all.f_favail,
    })
}

/// Starts writeback of the `len` bytes at `offset` of the file `fd`, without waiting (sync_file_range(2)):
/// durability comes only from [`sync_file_system`].
pub fn begin_writeback(fd: impl AsFd, offset: u64, len: u64) {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
    // SAFETY: `fd` is open until the call returns, and the other arguments are integers: no memory is passed.
    unsafe {
        libc::sync_file_range(fd.as_fd().as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// Waits until all of the file system that holds `fd` is on its disk; an error of an earlier write
/// shows here.
pub fn sync_file_system(fd: impl AsFd) -> Result<()> {
    fs::syncfs(&fd).map_err(failed("syncfs", &fd, b""))
}

/// Removes `name` in `dir` with all that is in it, however deep; a missing one is fine, and so is
/// another process that removes it too. Never follows a link and never enters another file system.
pub fn remove_tree(dir: impl AsFd, name: &[u8]) -> Result<()> {
    let dir = dir.as_fd();
    loop {
        match remove_tree_alone(dir, name) {
            // Each time something of it was gone, so that this ends.
            Err(error) if error.errno == rustix::io::Errno::NOENT.raw_os_error() => {}
            result => return result,
        }
    }
}

fn remove_tree_alone(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match remove_file(dir, name) {
        Ok(()) => return Ok(()),
        Err(error) if error.errno == rustix::io::Errno::NOENT.raw_os_error() => return Ok(()),
        Err(error) if error.errno == rustix::io::Errno::ISDIR.raw_os_error() => {}
        Err(error) => return Err(error),
    }
    let mut flattened = 0;
    loop {
        let top = open_at(dir, name)?;
        let device = stat(&top)?.inode.0;
        if empty(&top, &top, device, 0, &mut flattened)? {
            break;
        }
    }
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(failed("unlinkat(AT_REMOVEDIR)", dir, name))
}

/// Empties `dir`; directories that lie too deep are moved up into `top` and left for another round.
/// Says whether nothing was left.
fn empty(dir: &OwnedFd, top: &OwnedFd, device: u64, depth: usize, flattened: &mut u64) -> Result<bool> {
    let mut done = true;
    for (name, is_dir) in entries(dir)? {
        if !is_dir {
            remove_file(dir, &name)?;
            continue;
        }
        if depth >= REMOVE_DEPTH {
            move_up(dir, &name, top, flattened)?;
            done = false;
            continue;
        }
        let child = open_at(dir, &name)?;
        if stat(&child)?.inode.0 != device {
            return Err(Error::new(
                format!("openat({}, \"{}\")", dir.as_raw_fd(), shown(&name)),
                rustix::io::Errno::XDEV.raw_os_error(),
            ));
        }
        done &= empty(&child, top, device, depth + 1, flattened)?;
        fs::unlinkat(dir, name.as_slice(), AtFlags::REMOVEDIR).map_err(failed(
            "unlinkat(AT_REMOVEDIR)",
            dir,
            &name,
        ))?;
    }
    Ok(done)
}

/// Moves the directory `name` to a free name in `top`.
fn move_up(dir: &OwnedFd, name: &[u8], top: &OwnedFd, flattened: &mut u64) -> Result<()> {
    loop {
        *flattened += 1;
        let free = format!(".removed-{flattened}");
        match fs::renameat_with(dir, name, top, free.as_bytes(), RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => {}
            result => return result.map_err(failed("renameat2", dir, name)),
        }
    }
}

/// The names in `dir` without `.` and `..`, each with whether it is a directory.
pub fn entries(dir: &OwnedFd) -> Result<Vec<(Vec<u8>, bool)>> {
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut reader = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        let entry = entry.map_err(failed("getdents64", dir, b""))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Unknown => stat_at(dir, name)?.kind == Kind::Directory,
            kind => kind == FileType::Directory,
        };
        names.push((name.to_vec(), is_dir));
    }
    Ok(names)
}

/// The path under which this process reaches the open directory `fd`.
pub fn path_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

impl Error {
    /// Whether the named file does not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno == rustix::io::Errno::NOENT.raw_os_error()
    }

    /// Whether the caller has as many descriptors, or its user as many objects of the kind, as they may have.
    pub fn is_over_limit(&self) -> bool {
        self.errno == rustix::io::Errno::MFILE.raw_os_error()
    }

    /// Whether a lookup that was not to leave its directory would have.
    pub fn leads_out(&self) -> bool {
        self.errno == rustix::io::Errno::XDEV.raw_os_error()
    }

    /// Whether the name is taken.
    pub fn is_taken(&self) -> bool {
        matches!(
            rustix::io::Errno::from_raw_os_error(self.errno),
            rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY
        )
    }

    /// Whether a directory was wanted, and something else (a link, where links are refused) is there.
    pub fn is_not_a_directory(&self) -> bool {
        matches!(
            rustix::io::Errno::from_raw_os_error(self.errno),
            rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2022-21658: a folder that becomes a link while the tree around it is removed.
    #[test]
    fn a_link_in_a_tree_goes_and_what_it_leads_to_stays() {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "").unwrap();
        for _ in 0..200 {
            std::fs::create_dir_all(dir.path().join("tree/folder/inner")).unwrap();
            std::os::unix::fs::symlink(&outside, dir.path().join("tree/link")).unwrap();
            let [folder, link] = ["tree/folder", "tree/link"].map(|name| dir.path().join(name));
            std::thread::scope(|scope| {
                // Until both are gone.
                let swap = || while renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).is_ok() {};
                scope.spawn(swap);
                // A swap at the wrong moment makes an attempt fail; none may go through the link.
                while remove_tree(open(dir.path()).unwrap(), b"tree").is_err() {}
            });
            assert!(outside.join("file").exists());
            assert!(!dir.path().join("tree").exists());
        }
    }

    #[test]
    fn two_who_remove_one_tree_both_succeed() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..50 {
            for number in 0..20 {
                std::fs::create_dir_all(dir.path().join(format!("tree/{number}/a/b"))).unwrap();
                std::fs::write(dir.path().join(format!("tree/{number}/file")), "").unwrap();
            }
            let remove = || remove_tree(open(dir.path()).unwrap(), b"tree");
            std::thread::scope(|scope| {
                let other = scope.spawn(remove);
                remove().unwrap();
                other.join().unwrap().unwrap();
            });
            assert!(!dir.path().join("tree").exists());
        }
    }
}
