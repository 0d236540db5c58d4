//! The places of the child half's mounts: found from the root's descriptor, or made, one entry at a time.
//!
//! Invariant: nothing here allocates. A symbolic link, also a dangling one, leads where it would for a process
//! with this root. Following a link by its words only decides which path is tried next; openat2 looks up and
//! makes each path inside the root, so that a racer's links lead no further.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::engine::failure::{Call, During as _, Fault};
use crate::sys::Errno;
use crate::sys::file::fs::{self, Want};

/// The kernel's PATH_MAX, which counts the NUL.
const PATH_MAX: usize = 4096;

/// As many links as the kernel follows in one lookup.
const LINKS_MAX: usize = 40;

/// An entry in the root.
pub(in crate::engine) struct Place {
    /// It itself, O_PATH.
    pub(in crate::engine) fd: OwnedFd,
    /// Whether it was not there before.
    pub(super) made: bool,
}

/// Opens the entry at `path` in `root`; missing parts are made. Without `links`, a link on the way is ELOOP.
pub(in crate::engine) fn find_or_make(
    root: BorrowedFd<'_>,
    path: &CStr,
    want: Want,
    links: bool,
) -> Result<Place, Fault> {
    let found = if links { fs::open_in_root(root, path, want) } else { fs::open_entry(root, path, want) };
    match found {
        Err(Errno::ENOENT) => {}
        other => return Ok(Place { fd: other.during(Call::Openat)?, made: false }),
    }
    let fd = match make(root, path.to_bytes(), want, links) {
        // The last missing name is a dangling link.
        Err(Fault { errno: Errno::ELOOP, .. }) if links => {
            make(root, resolve(root, path)?.bytes(), want, links)?
        }
        other => other?,
    };
    Ok(Place { fd, made: true })
}

/// Makes the missing parts of `path`, which has no `..`.
fn make(root: BorrowedFd<'_>, path: &[u8], want: Want, links: bool) -> Result<OwnedFd, Fault> {
    let mut reached = Words::EMPTY;
    let mut here: Option<OwnedFd> = None;
    let mut left = parts(path).count();
    for part in parts(path) {
        reached.push(part)?;
        left -= 1;
        let want = if left == 0 { want } else { Want::Directory };
        let found = match (left, links) {
            // The last one is the entry itself, which was not there a moment ago.
            (0, _) => Err(Errno::ENOENT),
            (_, true) => fs::open_in_root(root, reached.path(), want),
            (_, false) => fs::open_entry(root, reached.path(), want),
        };
        here = Some(match found {
            Err(Errno::ENOENT) => {
                make_entry(here.as_ref().map_or(root, OwnedFd::as_fd), reached.name(), want)?
            }
            other => other.during(Call::Openat)?,
        });
    }
    here.ok_or(Errno::ENOENT).during(Call::Openat)
}

/// Makes `name` and opens just that: a link that is there, or that a racer puts there, is ELOOP.
pub(super) fn make_entry(parent: BorrowedFd<'_>, name: &CStr, want: Want) -> Result<OwnedFd, Fault> {
    match want {
        Want::Directory => match fs::mkdirat(parent, name, 0o755) {
            // Another container that shares the volume was faster.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).during(Call::Mkdirat),
        },
        Want::Any => match fs::create_file(parent, name, 0o644) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).during(Call::Openat),
        },
    }
    fs::open_entry(parent, name, want).during(Call::Openat)
}

/// The path without links to which `path` leads. A missing part is taken by its words, as by runc: a `..` after
/// it removes it again.
fn resolve(root: BorrowedFd<'_>, path: &CStr) -> Result<Words, Fault> {
    let mut done = Words::EMPTY;
    let mut todo = Words::EMPTY;
    todo.append(path.to_bytes())?;
    let mut links = 0;
    'next: loop {
        let mut rest = Words::EMPTY;
        let mut parts = parts(todo.bytes());
        while let Some(part) = parts.next() {
            match part {
                b".." => {
                    done.pop();
                    continue;
                }
                part => done.push(part)?,
            }
            if !read_link(root, &done, &mut rest)? {
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::ELOOP).during(Call::Openat);
            }
            if rest.bytes().starts_with(b"/") {
                done = Words::EMPTY
            } else {
                done.pop()
            }
            for part in parts {
                rest.push(part)?;
            }
            todo = rest;
            continue 'next;
        }
        return Ok(done);
    }
}

/// The target of the link at `at`, if it is one.
fn read_link(root: BorrowedFd<'_>, at: &Words, said: &mut Words) -> Result<bool, Fault> {
    let mut directory = Words::EMPTY;
    directory.append(at.bytes())?;
    directory.pop();
    let parent = match fs::open_in_root(root, directory.path(), Want::Directory) {
        Err(Errno::ENOENT) => return Ok(false),
        other => other.during(Call::Openat)?,
    };
    match fs::read_link(parent.as_fd(), at.name(), &mut said.bytes) {
        Ok(length) => said.end_at(length).during(Call::Readlink)?,
        Err(Errno::EINVAL | Errno::ENOENT) => return Ok(false),
        Err(errno) => return Err(errno).during(Call::Readlink),
    }
    // A magic one leads elsewhere than it says.
    if fs::is_on_procfs(parent.as_fd()).during(Call::Procfs)? {
        return Err(Errno::EPERM).during(Call::Procfs);
    }
    Ok(true)
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// A path in a buffer; after its last byte there are only zeros.
struct Words {
    bytes: [u8; PATH_MAX],
    length: usize,
}

impl Words {
    const EMPTY: Self = Self { bytes: [0; PATH_MAX], length: 0 };

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The path; `.` for the root.
    fn path(&self) -> &CStr {
        match self.length {
            0 => c".",
            _ => CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default(),
        }
    }

    /// The last part.
    fn name(&self) -> &CStr {
        let from = self.bytes().iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        CStr::from_bytes_until_nul(self.bytes.get(from..).unwrap_or_default()).unwrap_or_default()
    }

    fn append(&mut self, more: &[u8]) -> Result<(), Fault> {
        let end = self.length + more.len();
        // The last byte stays zero.
        let room = self.bytes.get_mut(self.length..end).filter(|_| end < PATH_MAX);
        room.ok_or(Errno::ENAMETOOLONG).during(Call::Openat)?.copy_from_slice(more);
        self.length = end;
        Ok(())
    }

    fn push(&mut self, part: &[u8]) -> Result<(), Fault> {
        if self.length > 0 {
            self.append(b"/")?;
        }
        self.append(part)
    }

    /// Takes the last part away; the root's parent is the root.
    fn pop(&mut self) {
        let end = self.bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if let Some(gone) = self.bytes.get_mut(end..self.length) {
            gone.fill(0);
        }
        self.length = end;
    }

    /// Takes the bytes written into the buffer.
    fn end_at(&mut self, length: usize) -> Result<(), Errno> {
        if length >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.bytes.get_mut(length..).unwrap_or_default().fill(0);
        self.length = length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn words_are_pushed_and_popped() {
        let mut words = Words::EMPTY;
        words.pop();
        assert_eq!((words.path(), words.name()), (c".", c""));
        words.push(b"a").unwrap();
        words.push(b"bc").unwrap();
        assert_eq!((words.path(), words.name()), (c"a/bc", c"bc"));
        words.pop();
        assert_eq!((words.path(), words.name()), (c"a", c"a"));
        words.pop();
        assert!(words.append(&[b'x'; PATH_MAX]).is_err());
        words.append(&[b'x'; PATH_MAX - 1]).unwrap();
        assert_eq!(words.path().to_bytes().len(), PATH_MAX - 1);
        assert!(words.push(b"y").is_err());
    }

    #[test]
    fn a_link_to_nothing_is_followed_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        for (link, target) in [
            ("absolute", "/made/absolute"),
            ("climbing", "../../../made/climbing"),
            ("chain", "climbs/on/../chain"),
            ("climbs", "absolute"),
            ("way", "/made/way/."),
        ] {
            symlink(target, dir.path().join(link)).unwrap();
        }
        for (path, want, made) in [
            (c"absolute", Want::Any, "made/absolute"),
            (c"climbing", Want::Directory, "made/climbing"),
            (c"way/below/file", Want::Any, "made/way/below/file"),
        ] {
            assert!(find_or_make(root.as_fd(), path, want, true).unwrap().made);
            let found = std::fs::symlink_metadata(dir.path().join(made)).unwrap();
            assert_eq!(found.is_dir(), want == Want::Directory, "{made}");
            assert!(!find_or_make(root.as_fd(), path, want, true).unwrap().made);
        }
        let fault = find_or_make(root.as_fd(), c"chain", Want::Any, true).err().unwrap();
        assert_eq!(fault.errno, Errno::ENOTDIR, "climbs leads to the file absolute by now");
        std::fs::remove_file(dir.path().join("made/absolute")).unwrap();
        find_or_make(root.as_fd(), c"chain", Want::Any, true).unwrap();
        assert!(dir.path().join("made/absolute").is_dir(), "on the way to what lies in it");
        assert!(dir.path().join("made/absolute/chain").is_file());
    }

    #[test]
    fn links_in_a_circle_and_links_where_none_may_be_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        symlink("b/x", dir.path().join("a")).unwrap();
        symlink("a/x", dir.path().join("b")).unwrap();
        symlink("nothing/../a", dir.path().join("c")).unwrap();
        symlink("nothing", dir.path().join("plain")).unwrap();
        for (path, links) in [(c"a", true), (c"c", true), (c"plain", false), (c"plain/below", false)] {
            let fault = find_or_make(root.as_fd(), path, Want::Directory, links).err().unwrap();
            assert_eq!(fault.errno, Errno::ELOOP, "{path:?}");
        }
        assert!(!dir.path().join("nothing").exists());
    }
}
