//! Looking into the layers below the one that is being unpacked.
//!
//! Invariant: a lookup sees the view of overlayfs (whiteouts and opaque directories hide files below them),
//! follows no link, and only reads.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{OPAQUE_XATTR, is_allowed, is_whiteout};
use crate::error::{Context, Result};
use crate::sys::file::dir::{self, Kind, Links, Stat};
use crate::sys::file::xattr;

/// The layers below one that is being unpacked, the topmost first. They may still be made when it begins, and are waited
/// for when they are looked into.
pub(in crate::image) struct Lower<'a> {
    any: bool,
    open: &'a dyn Fn() -> Result<Vec<OwnedFd>>,
    layers: OnceCell<Vec<OwnedFd>>,
}

impl<'a> Lower<'a> {
    /// Layers that `open` gives when they are there; whether there are `any` is known at once.
    pub(in crate::image) fn new(any: bool, open: &'a dyn Fn() -> Result<Vec<OwnedFd>>) -> Self {
        Self { any, open, layers: OnceCell::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.any
    }

    /// The layers, once they are whole.
    pub(super) fn get(&self) -> Result<&[OwnedFd]> {
        if !self.any {
            return Ok(&[]);
        }
        if let Some(layers) = self.layers.get() {
            return Ok(layers);
        }
        let layers = (self.open)()?;
        Ok(self.layers.get_or_init(|| layers))
    }
}

/// The file at `path` in the merged `layers` (the topmost first), as a descriptor: a directory's can be read,
/// any other is a handle.
pub(super) fn find(layers: &[OwnedFd], path: &[u8]) -> Result<Option<OwnedFd>> {
    Ok(find_in(layers, path)?.map(|(_, fd)| fd))
}

/// The same, with the number of the layer it is in.
fn find_in(layers: &[OwnedFd], path: &[u8]) -> Result<Option<(usize, OwnedFd)>> {
    for (number, layer) in layers.iter().enumerate() {
        match look(layer, path)? {
            Look::Found(fd) => return Ok(Some((number, fd))),
            Look::Hidden => return Ok(None),
            Look::Below => {}
        }
    }
    Ok(None)
}

enum Look {
    Found(OwnedFd),
    /// This layer hides it, whatever is below.
    Hidden,
    /// This layer says nothing.
    Below,
}

fn look(layer: &OwnedFd, path: &[u8]) -> Result<Look> {
    let mut here = dir::open_at(layer, b".")?;
    let mut opaque = is_opaque(&here)?;
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
    while let Some(name) = parts.next() {
        let there = match dir::stat_at(&here, name) {
            Ok(there) => there,
            Err(error) if error.is_not_found() && !opaque => return Ok(Look::Below),
            Err(error) if error.is_not_found() => return Ok(Look::Hidden),
            Err(error) => return Err(error.into()),
        };
        if there.kind == Kind::Directory {
            here = dir::open_at(&here, name)?;
            opaque |= is_opaque(&here)?;
        } else if is_whiteout(&there) || parts.peek().is_some() {
            return Ok(Look::Hidden);
        } else {
            return Ok(Look::Found(dir::resolve_handle(&here, name, Links::Refused)?));
        }
    }
    Ok(Look::Found(here))
}

fn is_opaque(dir: &OwnedFd) -> Result<bool> {
    Ok(xattr::get(dir, OPAQUE_XATTR)?.as_deref() == Some(b"y"))
}

/// The names that the merged `layers` show in their root.
pub(super) fn names_in_root(layers: &[OwnedFd]) -> Result<BTreeSet<Vec<u8>>> {
    let mut names = BTreeSet::new();
    for layer in layers {
        for (name, _) in dir::entries(&dir::open_at(layer, b".")?)? {
            if !names.contains(&name) && find(layers, &name)?.is_some() {
                names.insert(name);
            }
        }
    }
    Ok(names)
}

/// Makes the directory `fd` look like `below`; gives the time it should have at the end.
pub(super) fn copy_directory(below: &OwnedFd, fd: &OwnedFd) -> Result<(i64, i64)> {
    let stat = dir::stat(below)?;
    dir::set_owner(fd, stat.uid, stat.gid)?;
    dir::set_mode(fd, stat.mode)?;
    copy_attributes(below, fd)?;
    Ok(stat.mtime)
}

/// Gives `to` the attributes of `from` that it does not have.
pub(super) fn copy_attributes(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let own = xattr::list(&to)?;
    for name in xattr::list(&from)? {
        if is_allowed(&name)
            && !own.contains(&name)
            && let Some(value) = xattr::get(&from, &name)?
        {
            xattr::set(&to, &name, &value)?;
        }
    }
    Ok(())
}

/// Copies the file at `path` of the merged `layers`, not a directory, to `name` in `dir`.
pub(super) fn copy(layers: &[OwnedFd], path: &[u8], to: &OwnedFd, name: &[u8]) -> Result<()> {
    let Some((number, below)) = find_in(layers, path)? else { return Ok(()) };
    let stat = dir::stat(&below)?;
    if stat.kind == Kind::File {
        let from = dir::resolve_file(&layers[number], path, Links::Refused)?;
        return copy_file(File::from(from), &stat, to, name);
    }
    if stat.kind == Kind::Symlink {
        dir::make_symlink(to, name, &dir::read_link_of_handle(&below)?)?;
        dir::set_owner_at(to, name, stat.uid, stat.gid)?;
    } else {
        dir::make_node(to, name, stat.kind, 0o600, stat.device)?;
        dir::set_owner_at(to, name, stat.uid, stat.gid)?;
        dir::set_mode_of_handle(dir::resolve_handle(to, name, Links::Refused)?, stat.mode)?;
    }
    Ok(dir::set_times_at(to, name, stat.mtime)?)
}

fn copy_file(mut from: File, stat: &Stat, to: &OwnedFd, name: &[u8]) -> Result<()> {
    let mut target = File::from(dir::create_file(to, name, 0o600)?);
    io::copy(&mut from, &mut target).context(|| "copy a file of a layer below")?;
    dir::set_owner(&target, stat.uid, stat.gid)?;
    dir::set_mode(&target, stat.mode)?;
    copy_attributes(&from, &target)?;
    Ok(dir::set_times(&target, stat.mtime)?)
}
