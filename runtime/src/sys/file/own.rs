//! Directories and files of podrun's own trees, each made with the mode that is said.
//!
//! Invariant: no mode depends on the caller's umask, and an existing file with another mode, left by an older
//! podrun or changed since, has the right one when the function returns. No link is followed to a file to
//! correct: a tree that was open to all for a while may hold a stranger's.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The mode of a directory that root alone looks into.
pub const PRIVATE: u32 = 0o700;
/// The mode of a directory through which all may go, and in which none may look around.
pub const PASSAGE: u32 = 0o711;
/// The mode of a directory that all may list.
pub const LISTED: u32 = 0o755;
/// The mode of a file that root alone reads.
pub const SECRET: u32 = 0o600;

const PERMISSIONS: u32 = 0o7777;
const STICKY: u32 = 0o1000;

/// Makes the directory at `path` with `mode`; it is an error when something is there.
pub fn new_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    mend_made(path, mode)
}

/// Makes the directory at `path` with `mode`, or gives that to the one that is there.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    mend_made(path, mode)
}

/// As [`mend`], of a directory that existed a moment ago: if it is gone, its owner has removed it.
fn mend_made(path: &Path, mode: u32) -> io::Result<()> {
    match mend(path, mode) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        mended => mended,
    }
}

/// Gives the directory or file at `path` its mode. A link is left as it is: the host's owner put the tree elsewhere.
pub fn mend(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() {
        check_owner(&found)?;
    }
    if found.mode() & PERMISSIONS == mode || found.is_symlink() {
        return Ok(());
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let open = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    open.set_permissions(Permissions::from_mode(mode))
}

/// The owner of a directory may rename and replace its entries. Root's is accepted for every user.
fn check_owner(found: &Metadata) -> io::Result<()> {
    let (owner, own) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == own || owner == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        ErrorKind::PermissionDenied,
        format!("it belongs to user {owner}, who may replace what is in it"),
    ))
}

/// The same for a directory whose parents may be missing, too: `mode` is for every directory made.
pub fn directories(path: &Path, mode: u32) -> io::Result<()> {
    match directory(path, mode) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).ok_or(error)?;
            if !parent.is_dir() {
                directories(parent, mode)?;
            }
            directory(path, mode)
        }
        made => made,
    }
}

/// Makes the top directory of a tree. An existing one may be the user's choice: it is never opened wider, and
/// loses bits beyond `mode`; with the sticky bit it is shared by all, as /tmp is, and stays as it is. Missing
/// parents are made passable for all.
pub fn top(path: &Path, mode: u32) -> io::Result<()> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
                directories(parent, mode | 0o011)?;
            }
            return directory(path, mode);
        }
        found => found?,
    };
    check_owner(&found)?;
    check_owner(&fs::symlink_metadata(path)?)?;
    if found.mode() & STICKY == 0 && found.mode() & 0o777 & !mode != 0 {
        fs::set_permissions(path, Permissions::from_mode(found.mode() & PERMISSIONS & !(0o777 & !mode)))?;
    }
    Ok(())
}

/// Opens a file as `how` says, and makes it with `mode` where that says so.
pub fn open(path: &Path, how: &mut OpenOptions, mode: u32) -> io::Result<File> {
    let file = how.mode(mode).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)?;
    set_mode(&file, &file.metadata()?, mode)?;
    Ok(file)
}

fn set_mode(file: &File, found: &Metadata, mode: u32) -> io::Result<()> {
    match found.mode() & PERMISSIONS == mode {
        true => Ok(()),
        false => file.set_permissions(Permissions::from_mode(mode)),
    }
}

/// Opens the lock file at `path`, making it if missing; root alone can open it, since a reader of a file can
/// lock it (flock(2)).
pub fn lock_file(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().create(true).truncate(false).write(true), SECRET)
}

/// Writes a file with `mode`, replacing its content.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    open(path, OpenOptions::new().create(true).truncate(true).write(true), mode)?.write_all(bytes)
}

/// Adds to a file that root alone reads.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    open(path, OpenOptions::new().create(true).append(true), SECRET)?.write_all(bytes)
}

/// The event that a replaced file survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlives {
    /// Its writer.
    Process,
    /// The machine's power: its bytes are on the disk, and its name once its folder is too.
    Power,
}

/// Writes a file beside `path` and renames it there: readers see the old one or the new one. Nothing else is left.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    replace_by(Path::new(&beside), path, bytes, mode, Outlives::Process)
}

/// The same by way of `beside`, in the same directory, where only one writer may be at a time.
pub fn replace_by(beside: &Path, path: &Path, bytes: &[u8], mode: u32, outlives: Outlives) -> io::Result<()> {
    let replaced = || {
        let mut file = open(beside, OpenOptions::new().create(true).truncate(true).write(true), mode)?;
        file.write_all(bytes)?;
        if outlives == Outlives::Power {
            file.sync_all()?;
        }
        fs::rename(beside, path)
    };
    // Half a file is useless; the first error matters.
    replaced().inspect_err(|_| drop(fs::remove_file(beside)))
}

/// Reads a file that is `most` bytes long at the most; a longer one is `FileTooLarge`. A pipe in its place is not waited for.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(most)).unwrap_or(0) + 1);
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("longer than the {most} bytes that it may have"),
        ));
    }
    Ok(bytes)
}

/// The same for a text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// Whether an error of [`read`] means that the file is not podrun's, rather than that this process or the disk
/// cannot read it.
pub fn is_about_the_place(error: &io::Error) -> bool {
    use ErrorKind::{FileTooLarge, IsADirectory, NotADirectory};
    matches!(error.kind(), FileTooLarge | IsADirectory | NotADirectory)
        // A socket; a link that leads to itself.
        || matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ELOOP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & PERMISSIONS
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_there_with_another_mode_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        directories(&folder, PRIVATE).unwrap();
        assert_eq!((mode(&folder), mode(&dir.path().join("a"))), (PRIVATE, PRIVATE));
        set(&folder, 0o777);
        directory(&folder, PRIVATE).unwrap();
        assert_eq!(mode(&folder), PRIVATE);
        let file = folder.join("lock");
        lock_file(&file).unwrap();
        set(&file, 0o666);
        lock_file(&file).unwrap();
        assert_eq!(mode(&file), SECRET);
    }

    #[test]
    fn a_top_is_never_opened_wider_and_a_shared_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("top/tree");
        top(&path, PASSAGE).unwrap();
        assert_eq!((mode(&path), mode(&dir.path().join("top"))), (PASSAGE, PASSAGE));
        for (before, after) in [(0o777, 0o711), (0o755, 0o711), (0o700, 0o700), (0o1777, 0o1777)] {
            set(&path, before);
            top(&path, PASSAGE).unwrap();
            assert_eq!(mode(&path), after, "{before:o}");
        }
    }

    #[test]
    fn no_link_is_followed_to_what_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let (other, link) = (dir.path().join("other"), dir.path().join("link"));
        fs::create_dir(&other).unwrap();
        set(&other, 0o755);
        std::os::unix::fs::symlink(&other, &link).unwrap();
        directory(&link, PRIVATE).unwrap();
        assert_eq!(mode(&other), 0o755, "the host's owner put the tree there");
        fs::write(other.join("file"), "").unwrap();
        set(&other.join("file"), 0o644);
        let link = dir.path().join("lock");
        std::os::unix::fs::symlink(other.join("file"), &link).unwrap();
        lock_file(&link).unwrap_err();
        assert_eq!(mode(&other.join("file")), 0o644);
    }

    #[test]
    fn a_file_is_read_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, b"12345", SECRET).unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(mode(&path), SECRET);
    }
}
