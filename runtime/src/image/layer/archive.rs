//! Reading a tar stream: tar-core's parser, fed from any reader.
//!
//! Invariant: the memory of an entry is bounded before it is read, and so is that of the whole stream; an entry
//! that two readers of tar could interpret differently is an error.

mod pax;

use std::io::{self, Read};

use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, Header};

use crate::error::{Error, ErrorKind, Result, quoted};

/// Small under a fuzzer, whose inputs would never reach its end.
const BUFFER: usize = if cfg!(fuzzing) { 1024 } else { 256 * 1024 };
const BLOCK_LEN: usize = 512;
const BLOCK: u64 = BLOCK_LEN as u64;
/// All that stands before an entry's content: long names, PAX records, a sparse map.
const METADATA_MAX: u32 = 1024 * 1024;
/// The same with headers and padding: the largest size of the buffer.
const HEADERS_MAX: usize = 4 * 1024 * 1024;
const PATH_MAX: u32 = 4096;
/// The largest size of a file: the kernel's `off_t`.
const SIZE_MAX: u64 = i64::MAX as u64;
/// The most bytes after the archive's end: tars are padded to records, of up to 10 MiB in practice.
const TRAILER_MAX: u64 = 16 * 1024 * 1024;

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum EntryKind {
    File,
    Directory,
    Symlink,
    HardLink,
    CharDevice,
    BlockDevice,
    Fifo,
}

/// One entry's header, with GNU's and PAX' extensions applied.
#[derive(Debug, Clone)]
pub(in crate::image) struct Entry {
    pub(in crate::image) kind: EntryKind,
    pub(in crate::image) path: Vec<u8>,
    pub(in crate::image) link: Vec<u8>,
    pub(in crate::image) mode: u32,
    pub(in crate::image) uid: u32,
    pub(in crate::image) gid: u32,
    pub(in crate::image) mtime: (i64, i64),
    pub(in crate::image) device: (u32, u32),
    pub(in crate::image) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The bytes of content in the stream.
    pub(in crate::image) size: u64,
    /// The places of those bytes, and the file's length, if it has holes.
    pub(in crate::image) sparse: Option<Sparse>,
}

/// A file with holes: its pieces (offset, length) in the order of the stream.
#[derive(Debug, Clone)]
pub(in crate::image) struct Sparse {
    pub(in crate::image) pieces: Vec<(u64, u64)>,
    pub(in crate::image) length: u64,
}

/// A tar stream.
pub(in crate::image) struct TarStream<R> {
    source: R,
    parser: Parser,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Content of the current entry that was not taken yet, and the padding behind it.
    content: u64,
    padding: u64,
    /// How many bytes before an entry's header, from `start` on, were searched, and the time found there.
    mended: usize,
    mtime: Option<(i64, i64)>,
    /// Where in the stream `start` stands.
    position: u64,
    /// How long the stream may be.
    limit: u64,
    /// The entry that was read last, to say where something is wrong.
    last: Vec<u8>,
}

impl<R: Read> TarStream<R> {
    /// A stream of at most `limit` bytes.
    pub(in crate::image) fn new(source: R, limit: u64) -> Self {
        let limits =
            Limits { max_metadata_size: METADATA_MAX, max_path_len: Some(PATH_MAX), ..Limits::default() };
        let mut parser = Parser::new(limits);
        // An empty name is refused with the entry, where the error can say which one it is.
        parser.set_allow_empty_path(true);
        Self {
            source,
            parser,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            content: 0,
            padding: 0,
            mended: 0,
            mtime: None,
            position: 0,
            limit,
            last: Vec::new(),
        }
    }

    /// The next entry, or nothing at the archive's end. Content that was not taken is skipped.
    pub(in crate::image) fn next(&mut self) -> Result<Option<Entry>> {
        if !self.skip(self.content)? {
            return Err(self.truncated());
        }
        // `umoci insert` ends its archives before the padding of their last file, and readers take it.
        let is_padded = self.skip(self.padding)?;
        (self.content, self.padding) = (0, 0);
        if !is_padded {
            return Ok(None);
        }
        self.next_header().map_err(|error| {
            if self.last.is_empty() {
                error
            } else {
                error.context(format!("after entry {}", shown(&self.last)))
            }
        })
    }

    fn next_header(&mut self) -> Result<Option<Entry>> {
        loop {
            self.mend()?;
            let (step, consumed) = match self.parser.parse(&self.buffer[self.start..self.end]) {
                Ok(ParseEvent::NeedData { min_bytes }) => (Step::Need(min_bytes), 0),
                Ok(ParseEvent::Entry { consumed, entry }) => {
                    (Step::Entry(convert(&entry, None, self.mtime)?), consumed)
                }
                Ok(ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size }) => {
                    let pieces = sparse_map.iter().map(|piece| (piece.offset, piece.length)).collect();
                    let sparse = Some(Sparse { pieces, length: real_size });
                    (Step::Entry(convert(&entry, sparse, self.mtime)?), consumed)
                }
                Ok(ParseEvent::GlobalExtensions { consumed, pax_data }) => {
                    check_global(pax_data)?;
                    (Step::Again, consumed)
                }
                Ok(ParseEvent::End { consumed }) => (Step::End, consumed),
                Err(_) if self.position == 0 && !is_ustar(&self.buffer[self.start..self.end]) => {
                    return Err(Error::new(ErrorKind::Image, "it is no tar archive"));
                }
                Err(error) => return Err(wrong(format!("at byte {}: {error}", self.position))),
            };
            self.advance(consumed);
            if consumed > 0 {
                (self.mended, self.mtime) = (0, None);
            }
            match step {
                Step::Again => {}
                Step::End => return Ok(None),
                Step::Need(bytes) => {
                    // The parser may ask for less than it has: of a sparse map in which no line ends it wants "a block more",
                    // counted from where it began.
                    let more = self.end - self.start + 1;
                    if !self.fill(bytes.max(more))? {
                        return Ok(None);
                    }
                }
                Step::Entry(entry) => {
                    self.content = entry.size;
                    self.padding = (BLOCK - entry.size % BLOCK) % BLOCK;
                    self.last.clone_from(&entry.path);
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Looks through the PAX records that are here of the coming entry, before the parser does.
    fn mend(&mut self) -> Result<()> {
        loop {
            let at = self.start + self.mended;
            let Some(block) = self.buffer[..self.end].get(at..).and_then(<[u8]>::first_chunk) else {
                return Ok(());
            };
            let header = Header::from_bytes(block);
            let is_extension = header.is_gnu() || header.is_ustar();
            let (size, is_pax) = match header.entry_type() {
                EntryType::XHeader if is_extension => (header.entry_size(), true),
                EntryType::GnuLongName | EntryType::GnuLongLink if is_extension => {
                    (header.entry_size(), false)
                }
                // A single block of zeros is skipped; the second one ends the archive, and later bytes do not
                // belong to it.
                _ if is_zero(block) && !(self.mended > 0 && is_zero(&self.buffer[at - BLOCK_LEN..at])) => {
                    (Ok(0), false)
                }
                _ => return Ok(()),
            };
            // The parser refuses a larger one.
            let size = size.ok().filter(|size| *size <= u64::from(METADATA_MAX));
            let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else { return Ok(()) };
            let content = at + BLOCK_LEN;
            if content + size > self.end {
                return Ok(());
            }
            if is_pax {
                self.mtime = pax::mend(&mut self.buffer[content..content + size])?;
            }
            self.mended = content + size.next_multiple_of(BLOCK_LEN) - self.start;
        }
    }

    /// The next piece of the current entry's content; empty at its end.
    pub(in crate::image) fn content(&mut self) -> Result<&[u8]> {
        if self.content == 0 {
            return Ok(&[]);
        }
        if self.start == self.end && !self.fill(1)? {
            return Err(self.truncated());
        }
        let available = self.end - self.start;
        let len = usize::try_from(self.content).map_or(available, |left| left.min(available));
        let from = self.start;
        self.content -= len as u64;
        self.advance(len);
        Ok(&self.buffer[from..from + len])
    }

    /// Where in the stream the current entry's content begins; asked before any of it is taken.
    pub(in crate::image) fn position(&self) -> u64 {
        self.position
    }

    /// Reads the rest of the stream, so that its digest and length cover all of it.
    pub(in crate::image) fn drain(&mut self) -> Result<()> {
        let end = self.position;
        while self.read_some()? > 0 {
            self.advance(self.end - self.start);
            if self.position - end > TRAILER_MAX {
                return Err(wrong(format!("goes on for more than {TRAILER_MAX} bytes after its end")));
            }
        }
        Ok(())
    }

    fn advance(&mut self, len: usize) {
        self.start += len;
        self.position += len as u64;
    }

    /// Passes over `len` bytes; says no where the stream ends before.
    fn skip(&mut self, mut len: u64) -> Result<bool> {
        while len > 0 {
            if self.start == self.end && self.read_some()? == 0 {
                return Ok(false);
            }
            let available = self.end - self.start;
            let step = usize::try_from(len).map_or(available, |len| len.min(available));
            self.advance(step);
            len -= step as u64;
        }
        Ok(true)
    }

    /// Gets `wanted` bytes into the buffer. At a clean end of the stream says no: an archive without
    /// its closing blocks is taken, as every tar takes it.
    fn fill(&mut self, wanted: usize) -> Result<bool> {
        if wanted > HEADERS_MAX {
            return Err(wrong(format!(
                "at byte {}: an entry's headers are larger than {HEADERS_MAX} bytes",
                self.position
            )));
        }
        while self.end - self.start < wanted {
            if self.read_some()? == 0 {
                let rest = &self.buffer[self.start..self.end];
                return if rest.iter().all(|byte| *byte == 0) && self.content == 0 {
                    Ok(false)
                } else {
                    Err(self.truncated())
                };
            }
        }
        Ok(true)
    }

    fn read_some(&mut self) -> Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(len) => {
                    self.end += len;
                    if self.position + (self.end - self.start) as u64 > self.limit {
                        return Err(wrong(format!("is longer than {} bytes", self.limit)));
                    }
                    return Ok(len);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(wrong(format!("after {} bytes: {error}", self.position))),
            }
        }
    }

    fn truncated(&self) -> Error {
        wrong(format!("is truncated after {} bytes", self.position + (self.end - self.start) as u64))
    }
}

enum Step {
    Again,
    Need(usize),
    Entry(Entry),
    End,
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Whether a block has the magic of a header, POSIX's or GNU tar's.
fn is_ustar(block: &[u8]) -> bool {
    block.get(257..262) == Some(b"ustar")
}

fn wrong(what: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Image, format!("tar archive {}", what.as_ref()))
}

/// The printable form of a name from an archive: without characters that steer a terminal.
pub(in crate::image) fn shown(name: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(name)).to_string()
}

/// A global header would change every later entry, and readers disagree about that: only a comment is accepted,
/// and an empty value, which has nothing to delete.
fn check_global(pax: &[u8]) -> Result<()> {
    for record in tar_core::PaxExtensions::new(pax) {
        let record = record.map_err(|error| wrong(format!("has a broken global header: {error}")))?;
        if record.key_bytes() != b"comment" && !record.value_bytes().is_empty() {
            return Err(wrong(format!("has a global header with {}", shown(record.key_bytes()))));
        }
    }
    Ok(())
}

/// Whether a header's binary number is one of 63 bits and a sign: of others the parser keeps the low bits, GNU's and
/// Go's refuse them.
fn is_small(field: &[u8; 12]) -> bool {
    match field {
        [0x80, 0, 0, 0, high, ..] => high & 0x80 == 0,
        [0xff, 0xff, 0xff, 0xff, high, ..] => high & 0x80 != 0,
        [first, ..] => first & 0x80 == 0,
    }
}

/// The entry as it is to be made, with the time that PAX gives it.
fn convert(entry: &ParsedEntry<'_>, sparse: Option<Sparse>, mtime: Option<(i64, i64)>) -> Result<Entry> {
    let path = entry.path.to_vec();
    let refuse = |why: &str| wrong(format!("entry {}: {why}", shown(&path)));
    let kind = match entry.entry_type {
        // The oldest tars mark a directory by its slash alone.
        EntryType::Regular if path.ends_with(b"/") && sparse.is_none() => EntryKind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => EntryKind::File,
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink,
        EntryType::Link => EntryKind::HardLink,
        EntryType::Char => EntryKind::CharDevice,
        EntryType::Block => EntryKind::BlockDevice,
        EntryType::Fifo => EntryKind::Fifo,
        other => return Err(refuse(&format!("is of a type that is not known ({other:?})"))),
    };
    if let Some(sparse) = &sparse {
        if kind != EntryKind::File {
            return Err(refuse("has a sparse map and is no file"));
        }
        check_sparse(sparse, entry.size).map_err(refuse)?;
    }
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    let uid = id(entry.uid).ok_or_else(|| refuse("has an owner that is no user id"))?;
    let gid = id(entry.gid).ok_or_else(|| refuse("has a group that is no group id"))?;
    let fields = entry.header.as_ustar();
    // A time before 1970 is a negative number, and a size never is.
    let has_size = is_small(&fields.size) && fields.size[0] != 0xff;
    if entry.size > SIZE_MAX || !has_size {
        return Err(refuse("has a size that no file has"));
    }
    if mtime.is_none() && !is_small(&fields.mtime) {
        return Err(refuse("has a time that no file has"));
    }
    Ok(Entry {
        kind,
        link: entry.link_target.as_deref().unwrap_or_default().to_vec(),
        mode: entry.mode & 0o7777,
        uid,
        gid,
        // GNU's binary form writes negative numbers as two's complement.
        mtime: mtime.unwrap_or((entry.mtime.cast_signed(), 0)),
        device: (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0)),
        xattrs: entry.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        // Links, devices and directories have no content, whatever their header says, as for GNU tar and Go.
        size: if kind == EntryKind::File { entry.size } else { 0 },
        sparse,
        path,
    })
}

/// The pieces follow each other inside the file, and the stream has exactly their bytes.
fn check_sparse(sparse: &Sparse, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut total) = (0_u64, 0_u64);
    for (offset, length) in &sparse.pieces {
        let piece_end = offset.checked_add(*length).ok_or("has a sparse map that overflows")?;
        if *offset < end || piece_end > sparse.length {
            return Err("has a sparse map whose pieces overlap or lie outside the file");
        }
        (end, total) = (piece_end, total + length);
    }
    if total == stored { Ok(()) } else { Err("has a sparse map that does not fit its size") }
}
