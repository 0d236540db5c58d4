//! Hiding files of the layers below.
//!
//! Invariant: a whiteout hides files below, and removes copies of them here; the layer's own entries stay, in
//! whichever order they come. There is no whiteout without a file below it, nor below an opaque directory:
//! overlayfs would list it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::walk::Missing;
use super::{OPAQUE_XATTR, Spot, Unpacker, WHITEOUT, is_whiteout, join, lower, refuse, split};
use crate::error::Result;
use crate::sys::file::dir::{self, Kind, Links};
use crate::sys::file::xattr;

pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// The paths of copies and whiteouts, without a link on the way.
#[derive(Debug, Default)]
pub(super) struct Borrowed {
    paths: BTreeSet<Vec<u8>>,
    /// How many of them end in each name.
    names: HashMap<Vec<u8>, usize>,
    /// The memory of both.
    bytes: usize,
}

impl Borrowed {
    fn size(path: &[u8]) -> usize {
        path.len() + split(path).1.len() + size_of::<(Vec<u8>, Vec<u8>, usize)>()
    }

    fn insert(&mut self, path: Vec<u8>) {
        let (size, name) = (Self::size(&path), split(&path).1.to_vec());
        if self.paths.insert(path) {
            self.bytes += size;
            *self.names.entry(name).or_default() += 1;
        }
    }

    fn remove(&mut self, path: &[u8]) -> bool {
        if !self.paths.remove(path) {
            return false;
        }
        self.bytes -= Self::size(path);
        let name = split(path).1;
        if let Some(count) = self.names.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.names.remove(name);
            }
        }
        true
    }

    /// The paths below `top`, the deepest first.
    fn below(&self, top: &[u8]) -> Vec<Vec<u8>> {
        let start = join(top, b"");
        let after = (Bound::Excluded(start.as_slice()), Bound::Unbounded);
        let mut below: Vec<_> =
            self.paths.range::<[u8], _>(after).take_while(|path| path.starts_with(&start)).cloned().collect();
        below.reverse();
        below
    }
}

impl Unpacker<'_> {
    /// `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` all of the directory's.
    pub(super) fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        let opaque = name == OPAQUE;
        let hidden = &name[WHITEOUT.len()..];
        if !opaque && (matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT)) {
            return Err(refuse("a whiteout of a name that no file has"));
        }
        // Where neither this layer nor one below has the directory, there is nothing to hide.
        let Some(place) = self.walk(parent, Missing::Left)? else { return Ok(()) };
        if self.lower.is_empty() || place.hides_lower {
            return Ok(());
        }
        if !opaque {
            return self.hide(&place.fd, &join(&place.path, hidden));
        }
        self.hides_root |= place.path.is_empty();
        self.return_below(&place.path)?;
        let fd = dir::open_at(&*place.fd, b".")?;
        Ok(xattr::set(&fd, OPAQUE_XATTR, b"y")?)
    }

    /// Hides the lower layers' files at `path`, which is in `parent`, but not this layer's own there.
    fn hide(&mut self, parent: &OwnedFd, path: &[u8]) -> Result<()> {
        let (_, name) = split(path);
        match dir::stat_at(parent, name) {
            Ok(there) if is_whiteout(&there) => return Ok(()),
            Ok(there) if there.kind == Kind::Directory => {
                self.return_below(path)?;
                if !self.return_borrowed(path)? {
                    let fd = dir::open_at(parent, name)?;
                    return Ok(xattr::set(&fd, OPAQUE_XATTR, b"y")?);
                }
            }
            Ok(_) if self.return_borrowed(path)? => {}
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {
                if lower::find(self.lower.get()?, path)?.is_none() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.count_inode()?;
        dir::make_node(parent, name, Kind::CharDevice, 0o000, (0, 0))?;
        self.borrow(path.to_vec())
    }

    /// Overlayfs merges the layers' roots whatever their attributes: to hide all below, each name is hidden,
    /// once this layer's own names are known.
    pub(super) fn hide_root(&mut self) -> Result<()> {
        if !self.hides_root {
            return Ok(());
        }
        let root = Rc::clone(&self.root);
        for name in lower::names_in_root(self.lower.get()?)? {
            self.hide(&root, &name)?;
        }
        Ok(())
    }

    /// Notes that the file at `path`, without a link on the way, is a copy from below, or hides a file there.
    pub(super) fn borrow(&mut self, path: Vec<u8>) -> Result<()> {
        self.borrowed.insert(path);
        if self.borrowed.bytes > self.limits.borrowed {
            return Err(refuse(format!(
                "the paths that the layer hides or changes take more than {} bytes",
                self.limits.borrowed
            )));
        }
        Ok(())
    }

    /// An entry names the file at `path`: from now on it is this layer's own.
    pub(super) fn claim(&mut self, path: &[u8]) -> Result<()> {
        if let Some(path) = self.without_links(path, false)? {
            self.borrowed.remove(&path);
        }
        Ok(())
    }

    /// The file goes, with all below it.
    pub(super) fn forget_borrowed(&mut self, spot: Spot<'_>) -> Result<()> {
        if self.borrowed.paths.is_empty() {
            return Ok(());
        }
        let has_below = dir::stat_at(spot.parent, spot.name)?.kind == Kind::Directory;
        if let Some(path) = self.without_links(spot.path, has_below)? {
            for below in self.borrowed.below(&path) {
                self.borrowed.remove(&below);
            }
            self.borrowed.remove(&path);
        }
        Ok(())
    }

    /// `path` as it is called in `borrowed`; nothing where it cannot be there, nor anything below it if that counts: in most
    /// layers, and for most entries, this is known without a walk.
    fn without_links(&mut self, path: &[u8], has_below: bool) -> Result<Option<Vec<u8>>> {
        let (above, name) = split(path);
        if self.borrowed.paths.is_empty() || !has_below && !self.borrowed.names.contains_key(name) {
            return Ok(None);
        }
        Ok(self.walk(above, Missing::Left)?.map(|place| join(&place.path, name)))
    }

    /// Removes the borrowed files below `top`.
    fn return_below(&mut self, top: &[u8]) -> Result<()> {
        for path in self.borrowed.below(top) {
            self.return_borrowed(&path)?;
        }
        Ok(())
    }

    /// Removes the file at `path` if it is borrowed, but not a directory with files of this layer; returns
    /// whether it went.
    fn return_borrowed(&mut self, path: &[u8]) -> Result<bool> {
        if !self.borrowed.remove(path) {
            return Ok(false);
        }
        let (above, name) = split(path);
        let parent = dir::resolve(&*self.root, above, Links::Refused)?;
        self.parent = None;
        if dir::stat_at(&parent, name)?.kind != Kind::Directory {
            dir::remove_file(&parent, name)?;
            return Ok(true);
        }
        match dir::remove_dir(&parent, name) {
            Err(error) if error.is_taken() => return Ok(false),
            result => result?,
        }
        self.directories.remove(path);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_not_counted_any_more() {
        let mut borrowed = Borrowed::default();
        for path in ["a", "a/b", "a/c/b", "ab", "a/b"] {
            borrowed.insert(path.into());
        }
        assert_eq!((borrowed.paths.len(), borrowed.names[&b"b"[..]]), (4, 2));
        assert_eq!(borrowed.below(b"a"), [b"a/c/b".to_vec(), b"a/b".to_vec()]);
        assert!(borrowed.remove(b"a/b") && !borrowed.remove(b"a/b"));
        assert_eq!(borrowed.names[&b"b"[..]], 1);
        for path in ["a", "a/c/b", "ab"] {
            assert!(borrowed.remove(path.as_bytes()), "{path}");
        }
        assert!(borrowed.paths.is_empty() && borrowed.names.is_empty() && borrowed.bytes == 0);
    }
}
