//! Files by descriptor: looked up inside a root, made component by component, verified once open.
//!
//! Invariant: a name that a container could have chosen is only ever resolved by openat2, confined to the given
//! descriptor. Functions for the child half allocate nothing.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, StatxFlags, Uid};
use rustix::path::Arg;

use crate::sys::errno::{Errno, Result};

/// The type that a lookup requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A file of any type.
    Any,
    /// A directory.
    Directory,
}

/// openat2 gives up with EAGAIN when something was renamed meanwhile: it cannot tell whether that led the lookup out. After
/// this many the lookup fails closed.
const LOOKUPS: u32 = 128;

/// The one openat2: the descriptor is CLOEXEC. With a `&CStr` it allocates nothing.
pub(in crate::sys) fn openat2<P: Arg + Copy>(
    dir: impl AsFd,
    path: P,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    let mut left = LOOKUPS;
    loop {
        match rustix::fs::openat2(&dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if left > 0 => left -= 1,
            other => return Ok(other?),
        }
    }
}

/// An O_PATH descriptor for `path` with `root` as its root: links lead where they would inside a
/// chroot, and never out of it.
pub fn open_in_root(root: BorrowedFd<'_>, path: &CStr, want: Want) -> Result<OwnedFd> {
    let flags = match want {
        Want::Any => OFlags::PATH,
        Want::Directory => OFlags::PATH | OFlags::DIRECTORY,
    };
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// The regular file at `path` for reading, with `root` as its root as in [`open_in_root`]; `None`: it has
/// another type, which could have side effects or block when opened.
pub fn open_regular_in_root(root: BorrowedFd<'_>, path: &CStr) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, flags, Mode::empty(), resolve)?;
    let regular = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile;
    Ok(regular.then_some(file))
}

/// An O_PATH descriptor for the entry `name` of `dir` itself: a link is an error.
pub fn open_entry(dir: BorrowedFd<'_>, name: &CStr, want: Want) -> Result<OwnedFd> {
    let flags = match want {
        Want::Any => OFlags::PATH,
        Want::Directory => OFlags::PATH | OFlags::DIRECTORY,
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(dir, name, flags, Mode::empty(), resolve)
}

/// The target of the link `name` of `dir`: as much of it as fits, and its length. EINVAL: it is no link.
pub fn read_link(dir: BorrowedFd<'_>, name: &CStr, said: &mut [u8]) -> Result<usize> {
    Ok(rustix::fs::readlinkat_raw(dir, name, said)?)
}

/// Writes all of `text` into a file of a kernel file system below `dir`, by one write(2) and on that very mount.
pub fn write_kernel_file(dir: BorrowedFd<'_>, path: &CStr, text: &[u8]) -> Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = openat2(dir, path, OFlags::WRONLY | OFlags::NOFOLLOW, Mode::empty(), resolve)?;
    write_whole(file.as_fd(), text)
}

/// Writes all of `text` by one write(2).
pub fn write_whole(file: BorrowedFd<'_>, text: &[u8]) -> Result<()> {
    match rustix::io::write(file, text)? {
        written if written == text.len() => Ok(()),
        _ => Err(Errno::EIO),
    }
}

/// Reads once; 0 at the end.
pub fn read(file: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize> {
    loop {
        match rustix::io::read(file, &mut *bytes) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// The text of a file that the kernel writes when it is read. Into room that is there: the standard library's first reads are
/// of 32 bytes, and mountinfo is made anew for each.
pub fn read_kernel_file(path: impl AsRef<std::path::Path>) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::with_capacity(16 << 10);
    std::fs::File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// A mount point as mountinfo has it: space, tab, newline and backslash are three octal digits.
pub fn unescape_mount_point(field: &str) -> std::path::PathBuf {
    let plain =
        field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    std::path::PathBuf::from(plain)
}

/// The bytes that a user may still write to the file system of `path`, which is the caller's own. See statvfs(3).
pub fn free_bytes(path: &std::path::Path) -> crate::sys::Result<u64> {
    let found = rustix::fs::statvfs(path)
        .map_err(|errno| crate::sys::Error::new(format!("statvfs({path:?})"), errno.raw_os_error()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Opens a directory of the host's, O_PATH.
pub fn open_host_directory(path: &CStr) -> Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a path of the host's for reading.
pub fn open_host_file(path: &CStr) -> Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a path of the host, O_PATH, whatever its type.
pub fn open_host_path(path: &CStr) -> Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Reopens the file of `file`, O_PATH or not, in the mode of `like`: reading, writing, appending, non-blocking.
/// It never becomes the controlling terminal.
pub fn open_like(file: BorrowedFd<'_>, like: BorrowedFd<'_>) -> Result<OwnedFd> {
    let kept = OFlags::ACCMODE | OFlags::APPEND | OFlags::NONBLOCK;
    reopen(file, rustix::fs::fcntl_getfl(like)? & kept)
}

/// Opens a file anew, for reading and writing, that is held by `file`, O_PATH or not.
pub fn open_both_ways(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    reopen(file, OFlags::RDWR)
}

fn reopen(file: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::open(path, flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a kernel file of the host's for writing.
pub fn open_host_for_writing(path: &CStr) -> Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes the directory `name` in `dir`.
pub fn mkdirat(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode))?)
}

/// Makes the empty file `name` in `dir`; EEXIST when there is anything of this name.
pub fn create_file(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(dir, name, flags, Mode::from_raw_mode(mode), resolve)
}

/// Makes the symbolic link `name` in `dir`.
pub fn symlinkat(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// The types of special file that a container can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Makes the special file `name` in `dir`.
pub fn mknodat(dir: BorrowedFd<'_>, name: &CStr, node: Node, mode: u32) -> Result<()> {
    let (kind, device) = match node {
        Node::Character(major, minor) => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
        Node::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        Node::Fifo => (FileType::Fifo, 0),
    };
    Ok(rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(mode), device)?)
}

/// Sets the mode of the entry `name` of `dir`, which is no link.
pub fn chmod_entry(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    Ok(rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())?)
}

/// Changes the owner of the entry `name` of `dir`; of a link itself, not of its target.
pub fn chown_entry(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives an open file to a user and a group.
pub fn fchown(file: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Gives an open file to a user; its group stays.
pub fn fchown_user(file: BorrowedFd<'_>, uid: u32) -> Result<()> {
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(uid)), None)?)
}

/// Whether an open file is a directory, by the kernel's cached knowledge: the server of a network file system,
/// which may not answer, is not asked.
pub fn is_directory(file: BorrowedFd<'_>) -> Result<bool> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let mode = match rustix::fs::statx(file, c"", flags, StatxFlags::TYPE) {
        // A seccomp filter around this process refuses it.
        Err(rustix::io::Errno::NOSYS) => rustix::fs::fstat(file)?.st_mode,
        found => found?.stx_mode.into(),
    };
    Ok(FileType::from_raw_mode(mode) == FileType::Directory)
}

/// Whether two open files are the same file of the same file system.
pub fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok(one.st_dev == other.st_dev && one.st_ino == other.st_ino)
}

/// A special file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Special {
    /// Its numbers.
    pub node: Node,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The numbers of an open special file; `None`: it is none.
pub fn special(file: BorrowedFd<'_>) -> Result<Option<Special>> {
    let stat = rustix::fs::fstat(file)?;
    let (major, minor) = device_numbers(stat.st_rdev);
    let node = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Node::Character(major, minor),
        FileType::BlockDevice => Node::Block(major, minor),
        FileType::Fifo => Node::Fifo,
        _ => return Ok(None),
    };
    Ok(Some(Special { node, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }))
}

/// Whether an open file is a regular one with nothing in it.
pub fn is_empty_file(file: BorrowedFd<'_>) -> Result<bool> {
    let stat = rustix::fs::fstat(file)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0)
}

/// Whether an open file is a pipe, a socket, or a regular file that can be written to by this descriptor.
pub fn is_stream(file: BorrowedFd<'_>) -> Result<bool> {
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) {
        FileType::Fifo | FileType::Socket => true,
        FileType::RegularFile => {
            let flags = rustix::fs::fcntl_getfl(file)?;
            !flags.contains(OFlags::PATH) && flags.intersects(OFlags::WRONLY | OFlags::RDWR)
        }
        _ => false,
    })
}

/// Whether an open file is on a procfs.
pub fn is_on_procfs(file: BorrowedFd<'_>) -> Result<bool> {
    Ok(rustix::fs::fstatfs(file)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Whether an open file is on a procfs or a sysfs: the kernel's own, of which a container has parts masked.
pub fn is_kernels(file: BorrowedFd<'_>) -> Result<bool> {
    const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572;
    let kind = rustix::fs::fstatfs(file)?.f_type;
    Ok(kind == rustix::fs::PROC_SUPER_MAGIC || kind == SYSFS_MAGIC)
}

/// Whether an open directory is the root of a procfs.
pub fn is_procfs_root(file: BorrowedFd<'_>) -> Result<bool> {
    const PROC_ROOT_INODE: u64 = 1;
    Ok(is_on_procfs(file)? && rustix::fs::fstat(file)?.st_ino == PROC_ROOT_INODE)
}

/// Makes an open directory the working directory.
pub fn fchdir(dir: BorrowedFd<'_>) -> Result<()> {
    Ok(rustix::process::fchdir(dir)?)
}

/// Makes an open directory the root and the working directory of the caller's process.
pub fn chroot(dir: BorrowedFd<'_>) -> Result<()> {
    fchdir(dir)?;
    Ok(rustix::process::chroot(c".")?)
}

/// ENOENT when the working directory is not below the root: the kernel names such a one
/// `(unreachable)/…`, and a process in it stands outside its container (CVE-2024-21626).
pub fn check_cwd_reachable() -> Result<()> {
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes at most as many bytes as `buffer` has, which lives until the call returns.
    Errno::result(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    if buffer.first() == Some(&b'/') { Ok(()) } else { Err(Errno::ENOENT) }
}

/// A copy of `fd`, CLOEXEC, with a number of at least `minimum`.
pub fn dup_above(fd: BorrowedFd<'_>, minimum: RawFd) -> Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, minimum)?)
}

/// EBADF for the number of a descriptor that this process was not started with: none, or one that it opened itself, CLOEXEC
/// as they all are.
pub fn was_inherited(number: RawFd) -> Result<()> {
    // SAFETY: F_GETFD only reads; a number that is no descriptor is EBADF.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    if flags & i64::from(libc::FD_CLOEXEC) != 0 { Err(Errno::EBADF) } else { Ok(()) }
}

/// A copy, CLOEXEC and with a number of at least `minimum`, of a descriptor that this process inherited, and
/// whose number the caller was told.
pub fn copy_of_inherited(number: RawFd, minimum: RawFd) -> Result<OwnedFd> {
    was_inherited(number)?;
    // SAFETY: F_DUPFD_CLOEXEC leaves `number` as it is, whoever owns it: one that is no descriptor is EBADF.
    let copy = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, minimum) }.into())?;
    let copy = RawFd::try_from(copy).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made `copy`, so nothing else owns it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(copy) })
}

/// Whether the caller may write to a file of the host's, or make entries in a directory.
pub fn may_write(path: &std::path::Path) -> bool {
    rustix::fs::accessat(rustix::fs::CWD, path, rustix::fs::Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// The major and minor number in a file's `st_rdev`.
pub fn device_numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}
