//! A layer's tar becomes a directory that overlayfs can use as a lower one.
//!
//! Invariant: every name is looked up by `openat2` inside the layer's own directory, each time anew (the one
//! remembered directory is forgotten when a link is made or anything is removed), and an entry is changed by
//! descriptor or by one name in an open directory. So no entry reaches anything outside, whatever links came
//! before it. Whiteouts become overlayfs' own, and an archive can bring neither those nor overlayfs' attributes
//! itself.

mod aufs;
mod lower;
#[cfg(test)]
mod tests;
mod walk;
mod whiteout;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;

pub(in crate::image) use self::lower::Lower;
use self::walk::Missing;
use self::whiteout::Borrowed;
use super::archive::{Entry, EntryKind, Sparse, TarStream, shown};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::disk::Space;
use crate::image::disk::WriteBehind;
use crate::sys;
use crate::sys::file::dir::{self, Kind, Links, Stat};
use crate::sys::file::xattr;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_XATTR: &[u8] = b"trusted.overlay.opaque";
const XATTR_MAX: usize = 64 * 1024;

/// The limits of one layer, however it is compressed.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Limits {
    /// The bytes in its files, holes included, and those of its plain tar.
    pub(in crate::image) bytes: u64,
    /// Its entries, and the inodes that they make.
    pub(in crate::image) entries: u64,
    /// The bytes in memory of its directories' names.
    pub(in crate::image) names: usize,
    /// The memory of the paths that it hides, and of its copies of files below.
    pub(in crate::image) borrowed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 1 << 20, names: 32 << 20, borrowed: 128 << 20 }
    }
}

/// The result of unpacking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::image) struct Unpacked {
    pub(in crate::image) bytes: u64,
    pub(in crate::image) inodes: u64,
}

/// Unpacks the plain tar `source` into the empty directory `tree`. `lower` are the layers below; `trash` is an
/// empty directory beside `tree` for replaced files.
pub(in crate::image) fn unpack(
    source: &mut dyn Read,
    tree: OwnedFd,
    trash: OwnedFd,
    lower: &Lower<'_>,
    limits: Limits,
) -> Result<Unpacked> {
    let mut unpacker = Unpacker {
        root: Rc::new(tree),
        trash,
        trashed: 0,
        lower,
        parent: None,
        directories: BTreeMap::new(),
        names: 0,
        borrowed: Borrowed::default(),
        linked: BTreeMap::new(),
        hides_root: false,
        has_root: false,
        limits,
        space: Space::default(),
        entries: 0,
        made: Unpacked::default(),
    };
    dir::set_mode(&unpacker.root, 0o755)?;
    let mut stream = TarStream::new(source, limits.bytes);
    while let Some(entry) = stream.next()? {
        unpacker.apply(&entry, &mut stream).map_err(|error| {
            error.context(format!("entry {}", shown(&entry.path))).with_kind(ErrorKind::Image)
        })?;
    }
    stream.drain()?;
    unpacker.adopt_root()?;
    unpacker.hide_root()?;
    unpacker.restore_directory_times()?;
    Ok(unpacker.made)
}

struct Unpacker<'a> {
    root: Rc<OwnedFd>,
    trash: OwnedFd,
    trashed: u64,
    lower: &'a Lower<'a>,
    /// The directory of the last entry, under the path it was asked for.
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// The times of the directories, which making their entries changes: set at the end.
    directories: BTreeMap<Vec<u8>, (i64, i64)>,
    /// The memory of their names.
    names: usize,
    /// Files here that are not the layer's own entries: copies from below, and whiteouts.
    borrowed: Borrowed,
    /// Files that AUFS kept for its hard links, by their names there.
    linked: BTreeMap<Vec<u8>, aufs::Linked>,
    /// Whether a whiteout hides all of the layers below.
    hides_root: bool,
    /// Whether an entry describes the root.
    has_root: bool,
    limits: Limits,
    space: Space,
    entries: u64,
    made: Unpacked,
}

/// Where an entry goes.
#[derive(Clone, Copy)]
struct Spot<'a> {
    parent: &'a OwnedFd,
    name: &'a [u8],
    /// Both as a path, perhaps with links on the way.
    path: &'a [u8],
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Image, why)
}

fn is_whiteout(stat: &Stat) -> bool {
    stat.kind == Kind::CharDevice && stat.device == (0, 0)
}

/// The parts of a path from an archive. A leading slash and dots mean nothing; a way up is refused.
fn normalise(path: &[u8]) -> Result<Vec<u8>> {
    if path.contains(&0) {
        return Err(refuse("the name holds a NUL byte"));
    }
    let mut normal = Vec::with_capacity(path.len());
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refuse(format!("{} leads upwards", shown(path)))),
            part => {
                if !normal.is_empty() {
                    normal.push(b'/');
                }
                normal.extend_from_slice(part);
            }
        }
    }
    Ok(normal)
}

/// `name` in the directory at `path`.
fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if !joined.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// A normalised path as directory and last part.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

impl Unpacker<'_> {
    /// The layer's root gets the attributes of the one below, if no entry set them: last of all, when the
    /// layers below are most likely done.
    fn adopt_root(&mut self) -> Result<()> {
        if self.has_root {
            return Ok(());
        }
        let Some(below) = lower::find(self.lower.get()?, b"")? else { return Ok(()) };
        let mtime = lower::copy_directory(&below, &self.root)?;
        self.remember(Vec::new(), mtime)
    }

    /// Keeps the time that a directory is to have at the end.
    fn remember(&mut self, path: Vec<u8>, mtime: (i64, i64)) -> Result<()> {
        let len = path.len() + size_of::<(Vec<u8>, (i64, i64))>();
        if self.directories.insert(path, mtime).is_none() {
            self.count_name(len)?;
        }
        Ok(())
    }

    /// Counts a name of `len` bytes that stays in memory.
    fn count_name(&mut self, len: usize) -> Result<()> {
        self.names += len;
        if self.names > self.limits.names {
            return Err(refuse(format!(
                "the names of the layer's directories take more than {} bytes",
                self.limits.names
            )));
        }
        Ok(())
    }

    /// Counts an inode before it is made.
    fn count_inode(&mut self) -> Result<()> {
        self.made.inodes += 1;
        if self.made.inodes > self.limits.entries {
            return Err(refuse(format!("the layer makes more than {} inodes", self.limits.entries)));
        }
        self.space.take(&self.root, 0, 1)
    }

    fn apply<R: Read>(&mut self, entry: &Entry, stream: &mut TarStream<R>) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(refuse(format!("the layer has more than {} entries", self.limits.entries)));
        }
        let path = normalise(&entry.path)?;
        if path.is_empty() {
            if entry.kind != EntryKind::Directory {
                return Err(refuse("the layer's root can only be a directory"));
            }
            self.has_root = true;
            let root = Rc::clone(&self.root);
            clear_attributes(&root)?;
            return self.finish_directory(&root, path, entry);
        }
        if aufs::is_left_over(&path) {
            return self.pass_over(&path, entry, stream);
        }
        let (parent, name) = split(&path);
        if parent.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
            return Err(refuse("a whiteout has no entries of its own"));
        }
        if name.starts_with(WHITEOUT) {
            return self.whiteout(parent, name);
        }
        let parent = self.directory(parent)?;
        self.count_inode()?;
        let spot = Spot { parent: &parent, name, path: &path };
        match entry.kind {
            EntryKind::Directory => self.make_directory(spot, entry),
            EntryKind::File => self.make_file(spot, entry, stream),
            EntryKind::Symlink => self.make_symlink(spot, entry),
            EntryKind::HardLink => self.make_hard_link(spot, entry),
            EntryKind::CharDevice => self.make_node(spot, Kind::CharDevice, entry),
            EntryKind::BlockDevice => self.make_node(spot, Kind::BlockDevice, entry),
            EntryKind::Fifo => self.make_node(spot, Kind::Fifo, entry),
        }
    }

    /// Removes a file: by renaming, so that its size costs nothing now.
    fn remove(&mut self, spot: Spot<'_>) -> Result<()> {
        self.forget_borrowed(spot)?;
        self.parent = None;
        self.trashed += 1;
        dir::rename(spot.parent, spot.name, &self.trash, self.trashed.to_string().as_bytes())?;
        Ok(())
    }

    /// Runs `make`, which must find no such name; if it does, the present file goes first: the last entry of a
    /// name counts.
    fn make_anew<T>(&mut self, spot: Spot<'_>, make: impl Fn() -> sys::Result<T>) -> Result<T> {
        match make() {
            Err(error) if error.is_taken() => {
                self.remove(spot)?;
                Ok(make()?)
            }
            result => Ok(result?),
        }
    }

    fn make_directory(&mut self, spot: Spot<'_>, entry: &Entry) -> Result<()> {
        let (mut stays, mut replaces) = (false, false);
        if let Err(error) = dir::make_dir(spot.parent, spot.name, 0o700) {
            if !error.is_taken() {
                return Err(error.into());
            }
            if dir::stat_at(spot.parent, spot.name)?.kind == Kind::Directory {
                stays = true;
                self.made.inodes -= 1;
                self.claim(spot.path)?;
            } else {
                replaces = true;
                self.remove(spot)?;
                dir::make_dir(spot.parent, spot.name, 0o700)?;
            }
        }
        let fd = dir::open_at(spot.parent, spot.name)?;
        if stays {
            clear_attributes(&fd)?;
        }
        // A whiteout or a file here hid the directory below, and so does its replacement.
        if replaces && !self.lower.is_empty() {
            xattr::set(&fd, OPAQUE_XATTR, b"y")?;
        }
        self.finish_directory(&fd, spot.path.to_vec(), entry)
    }

    fn finish_directory(&mut self, fd: &OwnedFd, path: Vec<u8>, entry: &Entry) -> Result<()> {
        set_metadata(fd, entry)?;
        self.remember(path, entry.mtime)
    }

    fn make_file<R: Read>(&mut self, spot: Spot<'_>, entry: &Entry, stream: &mut TarStream<R>) -> Result<()> {
        self.account(entry.sparse.as_ref().map_or(entry.size, |sparse| sparse.length), entry.size)?;
        let fd = self.make_anew(spot, || dir::create_file(spot.parent, spot.name, 0o600))?;
        let mut file = std::fs::File::from(fd);
        let mut behind = WriteBehind::default();
        match &entry.sparse {
            None => loop {
                let piece = stream.content()?;
                if piece.is_empty() {
                    break;
                }
                file.write_all(piece).context(|| "write")?;
                behind.wrote(&file, piece.len());
            },
            Some(sparse) => write_sparse(&file, sparse, stream)?,
        }
        behind.end(&file);
        set_metadata(&file, entry)?;
        Ok(dir::set_times(&file, entry.mtime)?)
    }

    /// Counts the bytes of a file before they are written, `stored` of them on the disk.
    fn account(&mut self, bytes: u64, stored: u64) -> Result<()> {
        self.made.bytes = self.made.bytes.saturating_add(bytes);
        if self.made.bytes > self.limits.bytes {
            return Err(refuse(format!("the layer unpacks to more than {} bytes", self.limits.bytes)));
        }
        self.space.take(&self.root, stored, 0)
    }

    fn make_symlink(&mut self, spot: Spot<'_>, entry: &Entry) -> Result<()> {
        if entry.link.is_empty() || entry.link.contains(&0) {
            return Err(refuse("a symbolic link must say where to"));
        }
        self.parent = None;
        self.make_anew(spot, || dir::make_symlink(spot.parent, spot.name, &entry.link))?;
        dir::set_owner_at(spot.parent, spot.name, entry.uid, entry.gid)?;
        Ok(dir::set_times_at(spot.parent, spot.name, entry.mtime)?)
    }

    fn make_hard_link(&mut self, spot: Spot<'_>, entry: &Entry) -> Result<()> {
        self.made.inodes -= 1;
        let path = normalise(&entry.link)?;
        let target = self
            .link_target(&path)?
            .ok_or_else(|| refuse(format!("the hard link's target {} is not there", shown(&entry.link))))?;
        let there = dir::stat(&target)?;
        if there.kind == Kind::Directory || is_whiteout(&there) {
            return Err(refuse(format!("the hard link's target {} is no file", shown(&entry.link))));
        }
        if dir::stat_at(spot.parent, spot.name).is_ok_and(|same| same.inode == there.inode) {
            return self.claim(spot.path);
        }
        self.make_anew(spot, || dir::publish(&target, spot.parent, spot.name))
    }

    /// The file that a hard link names: in this layer, or copied up into it from one below.
    fn link_target(&mut self, path: &[u8]) -> Result<Option<OwnedFd>> {
        if let Some(kept) = self.linked(path)? {
            return Ok(Some(kept));
        }
        let (above, name) = split(path);
        if name.is_empty() {
            return Ok(None);
        }
        let Some(place) = self.walk(above, Missing::Left)? else { return Ok(None) };
        // Where the last part is a link, the link itself gets the new name, not its target.
        match dir::resolve_handle(&*place.fd, name, Links::Refused) {
            Ok(target) => return Ok(Some(target)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        if place.hides_lower {
            return Ok(None);
        }
        let path = join(&place.path, name);
        let Some(below) = lower::find(self.lower.get()?, &path)? else { return Ok(None) };
        let there = dir::stat(&below)?;
        if there.kind == Kind::Directory {
            return Ok(Some(below));
        }
        self.account(there.size, there.size)?;
        self.count_inode()?;
        lower::copy(self.lower.get()?, &path, &place.fd, name)?;
        self.borrow(path)?;
        Ok(Some(dir::resolve_handle(&*place.fd, name, Links::Refused)?))
    }

    fn make_node(&mut self, spot: Spot<'_>, kind: Kind, entry: &Entry) -> Result<()> {
        let Spot { parent, name, .. } = spot;
        let (major, minor) = entry.device;
        if kind != Kind::Fifo && (major > 0xfff || minor > 0xf_ffff) {
            return Err(refuse(format!("there is no device {major}:{minor}")));
        }
        if kind == Kind::CharDevice && entry.device == (0, 0) {
            return Err(refuse("the device 0:0 is how overlayfs marks a removed file"));
        }
        let device = if kind == Kind::Fifo { (0, 0) } else { entry.device };
        self.make_anew(spot, || dir::make_node(parent, name, kind, 0o600, device)).map_err(|error| {
            if kind == Kind::Fifo { error } else { error.hint("only the host's own root may make devices") }
        })?;
        dir::set_owner_at(parent, name, entry.uid, entry.gid)?;
        let handle = dir::resolve_handle(parent, name, Links::Refused)?;
        dir::set_mode_of_handle(&handle, entry.mode)?;
        Ok(dir::set_times_at(parent, name, entry.mtime)?)
    }

    /// Sets the times of all directories; one that a later entry replaced has none to set.
    fn restore_directory_times(&self) -> Result<()> {
        for (path, mtime) in &self.directories {
            let fd = match dir::resolve(&*self.root, path, Links::InRoot) {
                Ok(fd) => fd,
                Err(error) if error.is_not_found() || error.is_not_a_directory() => continue,
                Err(error) => return Err(error.into()),
            };
            dir::set_times_at(&fd, b".", *mtime)?;
        }
        Ok(())
    }
}

/// Owner, then mode (changing the owner clears setuid), then attributes (it clears capabilities too).
fn set_metadata(fd: impl std::os::fd::AsFd, entry: &Entry) -> Result<()> {
    dir::set_owner(&fd, entry.uid, entry.gid)?;
    dir::set_mode(&fd, entry.mode)?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_allowed(name)) {
        if value.len() > XATTR_MAX {
            return Err(refuse(format!("the attribute {} is larger than {XATTR_MAX} bytes", shown(name))));
        }
        xattr::set(&fd, name, value)?;
    }
    Ok(())
}

/// Removes the attributes that an earlier entry, or a layer below, gave a directory.
fn clear_attributes(dir: &OwnedFd) -> Result<()> {
    for name in xattr::list(dir)?.iter().filter(|name| is_allowed(name)) {
        xattr::remove(dir, name)?;
    }
    Ok(())
}

/// The attributes an image may bring: its own, and capabilities. Labels belong to the host, and overlayfs'
/// would change the view of the layers below.
fn is_allowed(name: &[u8]) -> bool {
    let own = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    (own || name == b"security.capability") && !name.contains(&0)
}

fn write_sparse<R: Read>(file: &std::fs::File, sparse: &Sparse, stream: &mut TarStream<R>) -> Result<()> {
    use std::os::unix::fs::FileExt;
    file.set_len(sparse.length).context(|| "ftruncate")?;
    let mut pieces = sparse.pieces.iter().copied().filter(|(_, length)| *length > 0);
    let (mut offset, mut left) = pieces.next().unwrap_or_default();
    loop {
        let mut content = stream.content()?;
        if content.is_empty() {
            return Ok(());
        }
        while !content.is_empty() {
            let len = usize::try_from(left).map_or(content.len(), |left| left.min(content.len()));
            file.write_all_at(&content[..len], offset).context(|| "write")?;
            content = &content[len..];
            (offset, left) = (offset + len as u64, left - len as u64);
            if left == 0 {
                (offset, left) = pieces.next().unwrap_or((offset, u64::MAX));
            }
        }
    }
}
