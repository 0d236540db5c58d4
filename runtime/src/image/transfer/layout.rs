//! The sources of a load: a directory, or a tar archive whose files are found by an index.
//!
//! Invariant: a file of a source is looked up by a name inside that source only, and everything read into
//! memory is bounded.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{self, Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::disk::Space;
use crate::image::layer::archive::{EntryKind, TarStream};
use crate::image::layer::decompress;
use crate::image::model::manifest::Compression;
use crate::image::model::manifest::DOCUMENT_MAX;
use crate::sys::file::dir::{self, Kind, Links};

/// The path that means standard input.
pub(in crate::image) const STDIN: &str = "-";
/// How many links of an archive are followed to a file: Docker's old archives link layers.
const LINKS_MAX: usize = 8;
/// The largest archive that is unpacked from its compression.
const ARCHIVE_MAX: u64 = 256 << 30;

/// The memory for the names of an archive's files.
const NAMES_MAX: usize = 16 * 1024 * 1024;

/// A layout to load from.
#[derive(Debug)]
pub(in crate::image) enum Layout {
    Directory(OwnedFd),
    Archive { file: File, index: HashMap<Vec<u8>, Place> },
}

/// Where a file of an archive is.
#[derive(Debug, Clone)]
pub(in crate::image) enum Place {
    At { offset: u64, size: u64 },
    Link(Vec<u8>),
}

/// The archive as errors name it.
pub(in crate::image) fn shown(path: &Path) -> String {
    if path == Path::new(STDIN) { "standard input".into() } else { path.display().to_string() }
}

impl Layout {
    /// Opens a directory or an archive; `-` is standard input.
    pub(in crate::image) fn open(host: &Host, path: &Path) -> Result<Self> {
        if path == Path::new(STDIN) {
            return Self::archive(spool(host, io::stdin())?);
        }
        let meta = std::fs::metadata(path)?;
        if meta.is_dir() {
            return Ok(Self::Directory(dir::open(path)?));
        }
        let file = File::open(path)?;
        let mut first = [0; 4];
        let plain_file = meta.is_file()
            && matches!(file.read_at(&mut first, 0), Ok(len) if Compression::detect(&first[..len]) == Compression::None);
        Self::archive(if plain_file { file } else { spool(host, file)? })
    }

    fn archive(file: File) -> Result<Self> {
        let mut first = [0; decompress::TELLING];
        let len = file.read_at(&mut first, 0).context(|| "read")?;
        if len == 0 {
            return Err(Error::new(ErrorKind::Image, "is empty"));
        }
        decompress::refuse_others(&first[..len])?;
        let mut index = HashMap::new();
        let mut names = 0;
        let mut stream = TarStream::new(&file, ARCHIVE_MAX);
        while let Some(entry) = stream.next()? {
            let name = clean(&entry.path);
            names += name.len() + entry.link.len() + size_of::<Place>();
            if names > NAMES_MAX {
                return Err(Error::new(
                    ErrorKind::Image,
                    format!("the names in the archive take more than {NAMES_MAX} bytes"),
                ));
            }
            match entry.kind {
                EntryKind::File if entry.sparse.is_none() => {
                    index.insert(name, Place::At { offset: stream.position(), size: entry.size });
                }
                EntryKind::Symlink => {
                    let above =
                        name.iter().rposition(|b| *b == b'/').map_or(&b""[..], |slash| &name[..slash]);
                    let target = clean(&[above, b"/", &entry.link].concat());
                    index.insert(name, Place::Link(target));
                }
                EntryKind::HardLink => {
                    index.insert(name, Place::Link(clean(&entry.link)));
                }
                _ => {}
            }
        }
        Ok(Self::Archive { file, index })
    }

    /// The file `name` with its size, or nothing where there is none.
    pub(in crate::image) fn file(&self, name: &str) -> Result<Option<(Box<dyn Read + Send>, u64)>> {
        match self {
            Self::Directory(root) => match dir::resolve_file(root, name.as_bytes(), Links::InRoot) {
                Ok(fd) => {
                    let stat = dir::stat(&fd)?;
                    if stat.kind != Kind::File {
                        return Err(Error::new(
                            ErrorKind::Image,
                            format!("{} is not a file", error::shown(name)),
                        ));
                    }
                    Ok(Some((Box::new(File::from(fd)), stat.size)))
                }
                Err(error) if error.is_not_found() || error.is_not_a_directory() => Ok(None),
                // A name that no file can have, or a link to itself.
                Err(error) => Err(Error::from(error).context(error::shown(name)).with_kind(ErrorKind::Image)),
            },
            Self::Archive { file, index } => {
                let mut place = index.get(clean(name.as_bytes()).as_slice());
                for _ in 0..LINKS_MAX {
                    let Some(Place::Link(target)) = place else { break };
                    place = index.get(target.as_slice());
                }
                let Some(Place::At { offset, size }) = place else { return Ok(None) };
                let file = file.try_clone()?;
                Ok(Some((Box::new(Piece { file, offset: *offset, left: *size }), *size)))
            }
        }
    }

    /// A document, which has to be there.
    pub(in crate::image) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let found = self.read(name, DOCUMENT_MAX)?;
        found.ok_or_else(|| Error::new(ErrorKind::Image, format!("{} is missing", error::shown(name))))
    }

    /// A small file, whole.
    pub(in crate::image) fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let Some((reader, size)) = self.file(name)? else { return Ok(None) };
        if size > max {
            return Err(Error::new(
                ErrorKind::Image,
                format!("{} is larger than {max} bytes", error::shown(name)),
            ));
        }
        let mut bytes = Vec::new();
        reader.take(max).read_to_end(&mut bytes).context(|| format!("read {}", error::shown(name)))?;
        Ok(Some(bytes))
    }
}

/// A part of an archive, read by position, so that several can be read at once.
struct Piece {
    file: File,
    offset: u64,
    left: u64,
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let got = self.file.read_at(&mut buffer[..len], self.offset)?;
        self.offset += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// A name inside an archive, with `.` and `..` taken by the letter: it is a key, never a path.
fn clean(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Copies a source that is compressed, or cannot be read twice, into a plain file without a name.
fn spool(host: &Host, source: impl Read + Send) -> Result<File> {
    let tmp = dir::open(&host.root.join("tmp"))?;
    let mut file = File::from(dir::create_unnamed(&tmp)?);
    let mut space = Space::default();
    let mut plain = decompress::reader(source)?.take(ARCHIVE_MAX);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let len = plain.read(&mut buffer).context(|| "read the archive")?;
        if len == 0 {
            break;
        }
        space.take(&tmp, len as u64, 0)?;
        file.write_all(&buffer[..len]).context(|| "write a copy of the archive")?;
    }
    if plain.limit() == 0 {
        return Err(Error::new(ErrorKind::Image, format!("the archive is larger than {ARCHIVE_MAX} bytes")));
    }
    file.seek(SeekFrom::Start(0)).context(|| "seek")?;
    Ok(file)
}
