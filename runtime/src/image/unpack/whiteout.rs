//! Hiding what the layers below have.
//!
//! Invariant: a whiteout takes away what is below, and what is here only as a copy of that; what the layer's own
//! entries bring stays, whichever of them come first. None stands where nothing is below, nor below an opaque
//! directory: overlayfs would list it.

use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::walk::Missing;
use super::{OPAQUE_XATTR, Unpacker, WHITEOUT, is_whiteout, join, lower, refuse, split};
use crate::error::Result;
use crate::sys::dir::{self, Kind, Links};
use crate::sys::xattr;

pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

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

    /// Hides what the layers below have at `path`, which is in `parent`, and nothing of this layer's own there.
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

    /// Overlayfs merges the layers' roots whatever their attributes say: to hide all below, each name is
    /// hidden, once it is known which of them this layer has itself.
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

    /// Keeps in mind that what is at `path`, without a link on the way, is a copy of what is below, or hides it.
    pub(super) fn borrow(&mut self, path: Vec<u8>) -> Result<()> {
        self.count_name(path.len() + size_of::<Vec<u8>>())?;
        self.borrowed.insert(path);
        Ok(())
    }

    /// An entry names what is at `path`: from now on that is this layer's own.
    pub(super) fn claim(&mut self, path: &[u8]) -> Result<()> {
        if let Some(path) = self.without_links(path)? {
            self.borrowed.remove(&path);
        }
        Ok(())
    }

    /// What is at `path` goes, with all that is below.
    pub(super) fn forget_borrowed(&mut self, path: &[u8]) -> Result<()> {
        if let Some(path) = self.without_links(path)? {
            for below in self.borrowed_below(&path) {
                self.borrowed.remove(&below);
            }
            self.borrowed.remove(&path);
        }
        Ok(())
    }

    /// `path` as it is called in `borrowed`; nothing where that is empty, as it is in most layers.
    fn without_links(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.borrowed.is_empty() {
            return Ok(None);
        }
        let (above, name) = split(path);
        Ok(self.walk(above, Missing::Left)?.map(|place| join(&place.path, name)))
    }

    /// What is borrowed below `top`, the deepest first.
    fn borrowed_below(&self, top: &[u8]) -> Vec<Vec<u8>> {
        let start = join(top, b"");
        let after = (Bound::Excluded(start.as_slice()), Bound::Unbounded);
        let mut below: Vec<_> = self
            .borrowed
            .range::<[u8], _>(after)
            .take_while(|path| path.starts_with(&start))
            .cloned()
            .collect();
        below.reverse();
        below
    }

    /// Takes away what is borrowed below `top`.
    fn return_below(&mut self, top: &[u8]) -> Result<()> {
        for path in self.borrowed_below(top) {
            self.return_borrowed(&path)?;
        }
        Ok(())
    }

    /// Takes away what is at `path` if it is borrowed, and no directory in which this layer has something; says
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
