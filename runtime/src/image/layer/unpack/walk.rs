//! Finding a directory in the layer that is being made, and making it where only a layer below has it.
//!
//! Invariant: a walk goes name by name from the root's descriptor, follows links by their text and never
//! out of the root, and sees this layer over the ones below, as overlayfs will show them: where a name is
//! a link only below, the walk goes where it points, as it does for every tool that unpacks the layers on
//! top of each other.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::{OPAQUE_XATTR, Spot, Unpacker, is_whiteout, join, lower, refuse, split};
use crate::error::Result;
use crate::image::layer::archive::shown;
use crate::sys::file::dir::{self, Kind, Links};
use crate::sys::file::xattr;

/// How many links are followed on one walk: the kernel's own limit.
const LINKS_MAX: usize = 40;

/// The treatment of a directory that neither this layer nor one below has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made.
    Made,
    /// It stays away, and the walk ends with nothing.
    Left,
}

/// A directory of this layer.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) fd: Rc<OwnedFd>,
    /// Where it is, without a link on the way.
    pub(super) path: Vec<u8>,
    /// Whether it, or a parent, hides the files of the layers below.
    pub(super) hides_lower: bool,
}

impl Unpacker<'_> {
    /// The directory at `path`, made if missing, inside the root whatever links there are.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((known, fd)) = &self.parent
            && known == path
        {
            return Ok(Rc::clone(fd));
        }
        let fd = match dir::resolve(&*self.root, path, Links::InRoot) {
            Ok(fd) => Rc::new(fd),
            Err(error) if error.is_not_found() || error.is_not_a_directory() => {
                let Some(place) = self.walk(path, Missing::Made)? else {
                    return Err(refuse(format!("{} leads nowhere", shown(path))));
                };
                place.fd
            }
            Err(error) => return Err(error.into()),
        };
        self.parent = Some((path.to_vec(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// The directory at `path`; one that a layer below has is made here, as it is there.
    pub(super) fn walk(&mut self, path: &[u8], missing: Missing) -> Result<Option<Place>> {
        let mut ahead = parts_in_reverse(path);
        let mut here = self.root_place()?;
        let mut above: Vec<bool> = Vec::new();
        let mut links = LINKS_MAX;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                // Nothing is above the root.
                if let Some(hides_lower) = above.pop() {
                    let path = split(&here.path).0.to_vec();
                    let fd = Rc::new(dir::resolve(&*self.root, &path, Links::Refused)?);
                    here = Place { fd, path, hides_lower };
                }
                continue;
            }
            match self.step(&here, &name, missing)? {
                Step::Into(next) => above.push(std::mem::replace(&mut here, next).hides_lower),
                Step::Link(target) => {
                    links = links.checked_sub(1).ok_or_else(|| {
                        refuse(format!("{} has too many symbolic links on the way", shown(path)))
                    })?;
                    if target.starts_with(b"/") {
                        here = self.root_place()?;
                        above.clear();
                    }
                    ahead.extend(parts_in_reverse(&target));
                }
                Step::Nowhere => return Ok(None),
            }
        }
        Ok(Some(here))
    }

    fn root_place(&self) -> Result<Place> {
        let fd = Rc::clone(&self.root);
        Ok(Place { hides_lower: self.hides_root, fd, path: Vec::new() })
    }

    /// One name further down from `here`.
    fn step(&mut self, here: &Place, name: &[u8], missing: Missing) -> Result<Step> {
        let path = join(&here.path, name);
        match dir::stat_at(&*here.fd, name) {
            Ok(there) if there.kind == Kind::Directory => {
                let fd = dir::open_at(&*here.fd, name)?;
                let opaque = xattr::get(&fd, OPAQUE_XATTR)?.as_deref() == Some(b"y");
                Ok(Step::Into(Place { fd: Rc::new(fd), path, hides_lower: here.hides_lower || opaque }))
            }
            Ok(there) if there.kind == Kind::Symlink => Ok(Step::Link(dir::read_link(&*here.fd, name)?)),
            Ok(there) if is_whiteout(&there) => {
                if missing == Missing::Left {
                    return Ok(Step::Nowhere);
                }
                self.remove(Spot { parent: &here.fd, name, path: &path })?;
                let fd = self.make_plain(&here.fd, name)?;
                xattr::set(&fd, OPAQUE_XATTR, b"y")?;
                Ok(Step::Into(Place { fd: Rc::new(fd), path, hides_lower: true }))
            }
            Ok(_) if missing == Missing::Left => Ok(Step::Nowhere),
            Ok(_) => Err(refuse(format!("{} is not a directory", shown(&path)))),
            Err(error) if error.is_not_found() => self.step_below(here, name, path, missing),
            Err(error) => Err(error.into()),
        }
    }

    /// One name further, which this layer does not have.
    fn step_below(&mut self, here: &Place, name: &[u8], path: Vec<u8>, missing: Missing) -> Result<Step> {
        let below = if here.hides_lower { None } else { lower::find(self.lower.get()?, &path)? };
        let kind = below.as_ref().map(dir::stat).transpose()?.map(|stat| stat.kind);
        let place = |fd| Place { fd: Rc::new(fd), path: path.clone(), hides_lower: here.hides_lower };
        match (below, kind) {
            (Some(below), Some(Kind::Directory)) => {
                let fd = self.make_plain(&here.fd, name)?;
                let mtime = lower::copy_directory(&below, &fd)?;
                self.remember(path.clone(), mtime)?;
                self.borrow(path.clone())?;
                Ok(Step::Into(place(fd)))
            }
            (Some(below), Some(Kind::Symlink)) => Ok(Step::Link(dir::read_link_of_handle(&below)?)),
            // A file below is hidden by the directory that takes its place.
            _ if missing == Missing::Made => Ok(Step::Into(place(self.make_plain(&here.fd, name)?))),
            _ => Ok(Step::Nowhere),
        }
    }

    /// A directory that nothing describes: root's, 0755, and below one with setgid of its group and with setgid.
    fn make_plain(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd> {
        self.count_inode()?;
        dir::make_dir(parent, name, 0o755)?;
        let fd = dir::open_at(parent, name)?;
        let inherited = dir::stat(&fd)?.mode & 0o2000;
        dir::set_mode(&fd, 0o755 | inherited)?;
        Ok(fd)
    }
}

/// Where one name leads.
enum Step {
    Into(Place),
    /// To wherever this text says.
    Link(Vec<u8>),
    Nowhere,
}

/// The names in a path, the first one last.
fn parts_in_reverse(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}
