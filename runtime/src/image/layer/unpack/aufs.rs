//! Remains of AUFS in old layers: its own folders in the layer's root.
//!
//! Invariant: nothing of them is in the tree. The files that its hard links name are kept beside it until the layer is whole,
//! and count from the first link on.

use std::io::Read;
use std::os::fd::OwnedFd;

use super::whiteout::OPAQUE;
use super::{Entry, EntryKind, Spot, TarStream, Unpacker, split};
use crate::error::{Context, Result};
use crate::sys::file::dir::{self, Links};

/// How the names begin that AUFS has for itself; one of them is OCI's, too.
const OWN: &[u8] = b".wh..wh.";
/// Where files lie that have links in several folders.
const LINKED: &[u8] = b".wh..wh.plnk";

/// A file of that folder.
#[derive(Debug)]
pub(super) struct Linked {
    /// Its name beside the tree.
    place: Vec<u8>,
    /// The bytes in it, until a link has it.
    bytes: Option<u64>,
}

/// Whether a normalised path is AUFS' own. Docker, containerd and containers/storage look in the root alone, too.
pub(super) fn is_left_over(path: &[u8]) -> bool {
    let top = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    top.starts_with(OWN) && top != OPAQUE
}

impl Unpacker<'_> {
    /// Passes over such an entry, but for a file that a hard link may name.
    pub(super) fn pass_over<R: Read>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> Result<()> {
        let (folder, name) = split(path);
        if entry.kind != EntryKind::File || folder != LINKED {
            return Ok(());
        }
        self.count_name(name.len() + size_of::<(Vec<u8>, Linked)>())?;
        self.trashed += 1;
        let place = self.trashed.to_string().into_bytes();
        let beside = self.trash.try_clone().context(|| "dup")?;
        let before = self.made.bytes;
        self.make_file(Spot { parent: &beside, name: &place, path }, entry, stream)?;
        let bytes = self.made.bytes - before;
        self.made.bytes = before;
        self.linked.insert(name.to_vec(), Linked { place, bytes: Some(bytes) });
        Ok(())
    }

    /// The file that a hard link names in AUFS' folder, if it is one.
    pub(super) fn linked(&mut self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let (folder, name) = split(path);
        let Some(linked) = self.linked.get_mut(name).filter(|_| folder == LINKED) else { return Ok(None) };
        if let Some(bytes) = linked.bytes.take() {
            self.made.bytes += bytes;
            self.made.inodes += 1;
        }
        Ok(Some(dir::resolve_handle(&self.trash, &linked.place, Links::Refused)?))
    }
}
