//! Blobs under their digests, `content/<algorithm>/<hex>`, and how they are written and followed.
//!
//! Invariant: a blob has a name here only when its size and its digest were checked and its bytes are on the disk. Until
//! then it is a file without a name, which a crash takes with it, or, if it comes from afar, one in `partial/`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::place::{self, Place};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::disk::{Space, WriteBehind, names_in, set_aside, sync_dir};
use crate::image::model::digest::{Algorithm, Digest, Hasher};
use crate::image::model::manifest::Packed;
use crate::sys;

fn dir(host: &Host, algorithm: Algorithm) -> PathBuf {
    host.root.join("content").join(algorithm.name())
}

fn path(host: &Host, digest: &Digest) -> PathBuf {
    dir(host, digest.algorithm()).join(digest.hex())
}

/// Opens a blob that is there with the size it should have.
pub(in crate::image) fn open(host: &Host, digest: &Digest, size: u64) -> Result<Option<File>> {
    Ok(find(host, digest)?.filter(|(_, len)| *len == size).map(|(file, _)| file))
}

/// Opens a blob that is there, and gives its size.
pub(in crate::image) fn find(host: &Host, digest: &Digest) -> Result<Option<(File, u64)>> {
    let path = path(host, digest);
    match File::open(&path) {
        Ok(file) => {
            let len = file.metadata().context(|| path.display())?.len();
            Ok(Some((file, len)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from(error).context(path.display())),
    }
}

/// Whether one of `packed`, which unpack to the same layer, is in the store.
pub(in crate::image) fn has_one(host: &Host, packed: &[Packed]) -> Result<bool> {
    for one in packed {
        if open(host, &one.digest, one.size)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A blob while it arrives: counted and hashed as it is written.
#[derive(Debug)]
pub(in crate::image) struct BlobWriter {
    file: File,
    digest: Digest,
    size: u64,
    written: u64,
    hasher: Hasher,
    behind: WriteBehind,
    arrival: Arc<Arrival>,
    /// Where it lies, if it is to be gone on with after us.
    place: Option<Place>,
}

/// How much of a blob is there.
#[derive(Debug, Default)]
struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    written: u64,
    /// Nothing more will come: all of it is there, or it never will be.
    ended: bool,
}

impl Arrival {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }

    fn now(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a blob from its first byte while it arrives, and waits where it is faster.
#[derive(Debug)]
pub(in crate::image) struct Follower {
    file: File,
    at: u64,
    size: u64,
    arrival: Arc<Arrival>,
}

/// Tells whether a blob has arrived.
#[derive(Debug, Clone)]
pub(in crate::image) struct Arrived(Arc<Arrival>);

impl Arrived {
    /// Whether nothing more is to be waited for.
    pub(in crate::image) fn is_whole(&self) -> bool {
        self.0.now().ended
    }
}

impl Follower {
    pub(in crate::image) fn arrived(&self) -> Arrived {
        Arrived(Arc::clone(&self.arrival))
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.arrival.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| state.written == self.at && !state.ended;
        let state = *self.arrival.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        let there = state.written - self.at;
        if there == 0 && self.at < self.size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the rest does not come"));
        }
        let len = usize::try_from(there).map_or(buffer.len(), |there| there.min(buffer.len()));
        let len = self.file.read_at(&mut buffer[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl BlobWriter {
    /// A blob that is to have this digest and this size.
    pub(in crate::image) fn new(host: &Host, digest: &Digest, size: u64) -> Result<Self> {
        let dir = sys::file::dir::open(&dir(host, digest.algorithm()))?;
        // Reserve the promised size at once: a false one costs no download.
        Space::default().take(&dir, size, 1).map_err(|error| error.context(format!("blob {digest}")))?;
        let file = File::from(sys::file::dir::create_unnamed(&dir)?);
        let hasher = Hasher::new(digest.algorithm());
        let (behind, arrival) = (WriteBehind::default(), Arc::default());
        Ok(Self { file, digest: digest.clone(), size, written: 0, hasher, behind, arrival, place: None })
    }

    /// Resumes a partial blob: a file positioned at its end, its length and its running digest.
    pub(super) fn resume(
        host: &Host,
        digest: &Digest,
        size: u64,
        (file, written, hasher): (File, u64, Hasher),
        place: Place,
    ) -> Result<Self> {
        let arrival = Arc::new(Arrival::default());
        arrival.set(State { written, ended: false });
        let (digest, behind, place) = (digest.clone(), WriteBehind::after(written), Some(place));
        let this = Self { file, digest, size, written, hasher, behind, arrival, place };
        let on = sys::file::dir::open(&place::dir(host))?;
        Space::default()
            .take(on, size - written, 1)
            .map_err(|error| error.context(format!("blob {}", this.digest)))?;
        Ok(this)
    }

    /// How many bytes are there.
    pub(in crate::image) fn written(&self) -> u64 {
        self.written
    }

    /// A reader of the present bytes and of later ones.
    pub(in crate::image) fn follow(&self) -> Result<Follower> {
        let file = self.file.try_clone().context(|| format!("blob {}", self.digest))?;
        Ok(Follower { file, at: 0, size: self.size, arrival: Arc::clone(&self.arrival) })
    }

    /// Takes the next bytes; more than were promised are refused at once.
    pub(in crate::image) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        if self.written > self.size {
            self.spoil();
            return Err(wrong(
                &self.digest,
                format!("is longer than the {} bytes it should have", self.size),
            ));
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).context(|| format!("write blob {}", self.digest))?;
        self.behind.wrote(&self.file, bytes.len());
        self.arrival.set(State { written: self.written, ended: false });
        Ok(())
    }

    /// The blob, if it matches the promise.
    pub(in crate::image) fn finish(mut self) -> Result<Blob> {
        let (digest, size, written) = (&self.digest, self.size, self.written);
        if written < size {
            return Err(wrong(digest, format!("is truncated: {written} of {size} bytes")));
        }
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(digest.algorithm()));
        let found = hasher.finish();
        if found != *digest {
            self.spoil();
            return Err(wrong(digest, format!("has the wrong digest: its content is {found}")));
        }
        let mut file = self.file.try_clone().context(|| format!("blob {digest}"))?;
        file.rewind().context(|| format!("blob {digest}"))?;
        Ok(Blob { digest: digest.clone(), file })
    }

    /// Nothing may continue this.
    fn spoil(&self) {
        self.place.iter().for_each(Place::drop_name);
    }
}

impl Drop for BlobWriter {
    /// Followers wait no longer, whatever the outcome; another process may resume it.
    fn drop(&mut self) {
        if self.written == 0 {
            self.spoil();
        }
        self.place.iter().for_each(Place::unlock);
        self.arrival.set(State { written: self.arrival.now().written, ended: true });
    }
}

fn wrong(digest: &Digest, what: String) -> Error {
    Error::new(ErrorKind::Image, format!("blob {digest} {what}"))
}

/// A blob that was checked and has no name yet.
#[derive(Debug)]
pub(in crate::image) struct Blob {
    digest: Digest,
    file: File,
}

impl Blob {
    /// A file whose content was checked.
    pub(in crate::image) fn of_file(digest: Digest, file: File) -> Self {
        Self { digest, file }
    }

    /// A reader of it, in the form of a follower.
    pub(in crate::image) fn follow(&self) -> Result<Follower> {
        let file = self.file.try_clone().context(|| format!("blob {}", self.digest))?;
        let size = file.metadata().context(|| format!("blob {}", self.digest))?.len();
        let arrival = Arc::new(Arrival::default());
        arrival.set(State { written: size, ended: true });
        Ok(Follower { file, at: 0, size, arrival })
    }

    /// Writes all of `source` into `file`, which lies where `on` does, within the store's share of the disk.
    pub(in crate::image) fn spool_into(
        file: &mut File,
        source: &mut dyn Read,
        space: &mut Space,
        on: impl AsFd,
    ) -> Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match source.read(&mut buffer)? {
                0 => return Ok(()),
                len => {
                    space.take(&on, len as u64, 0)?;
                    file.write_all(&buffer[..len])?;
                }
            }
        }
    }

    /// Takes in all of `source`, whose digest is unknown yet, and returns its length too.
    pub(in crate::image) fn spool(host: &Host, source: &mut dyn Read) -> Result<(Self, u64)> {
        let dir = sys::file::dir::open(&dir(host, Algorithm::Sha256))?;
        let mut file = File::from(sys::file::dir::create_unnamed(&dir)?);
        let mut source = Hashed { source, hasher: Hasher::new(Algorithm::Sha256) };
        Self::spool_into(&mut file, &mut source, &mut Space::default(), &dir)?;
        let size = file.stream_position()?;
        file.rewind()?;
        Ok((Self { digest: source.hasher.finish(), file }, size))
    }

    /// Copies a blob out of `source`.
    pub(in crate::image) fn copy(
        host: &Host,
        digest: &Digest,
        size: u64,
        source: &mut dyn Read,
    ) -> Result<Self> {
        let mut writer = BlobWriter::new(host, digest, size)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match source.read(&mut buffer).context(|| format!("read blob {digest}"))? {
                0 => return writer.finish(),
                len => writer.write(&buffer[..len])?,
            }
        }
    }

    /// Takes in bytes whose digest is already computed or known.
    pub(in crate::image) fn from_bytes(host: &Host, digest: &Digest, bytes: &[u8]) -> Result<Self> {
        Self::copy(host, digest, bytes.len() as u64, &mut &*bytes)
    }

    /// The blob's digest.
    pub(in crate::image) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The blob's content, from its first byte.
    pub(in crate::image) fn reader(&self) -> Result<File> {
        let mut file = self.file.try_clone().context(|| format!("blob {}", self.digest))?;
        file.rewind().context(|| format!("blob {}", self.digest))?;
        Ok(file)
    }

    /// Gives the blob its name. The caller has synced the file system.
    pub(in crate::image) fn publish(&self, host: &Host) -> Result<()> {
        let dir = sys::file::dir::open(&dir(host, self.digest.algorithm()))?;
        let name = self.digest.hex().as_bytes();
        let linked = match sys::file::dir::publish(&self.file, &dir, name) {
            // It was whole and had a name in `partial`, which was taken away: a file gets no other one then.
            Err(error) if error.is_not_found() => {
                sys::file::dir::publish(&self.copied(host)?.file, &dir, name)
            }
            linked => linked,
        };
        match linked {
            Err(error) if error.is_taken() => self.replace(host, &dir)?,
            result => result.context(|| format!("publish blob {}", self.digest))?,
        }
        place::forget(host, &self.digest);
        Ok(())
    }

    /// The same as a file that never had a name, on the disk.
    fn copied(&self, host: &Host) -> Result<Self> {
        let mut reader = self.reader()?;
        let size = reader.metadata().context(|| format!("blob {}", self.digest))?.len();
        let copy = Self::copy(host, &self.digest, size, &mut reader)?;
        copy.file.sync_all().context(|| format!("sync blob {}", self.digest))?;
        Ok(copy)
    }

    /// The name is taken: by the same content, or by a corrupt file of a failing disk.
    fn replace(&self, host: &Host, dir: &std::os::fd::OwnedFd) -> Result<()> {
        let size = self.file.metadata().context(|| format!("blob {}", self.digest))?.len();
        if open(host, &self.digest, size)?.is_some() {
            return Ok(());
        }
        let name = self.digest.hex().as_bytes();
        sys::file::dir::remove_file(dir, name)?;
        sys::file::dir::publish(&self.file, dir, name).context(|| format!("publish blob {}", self.digest))
    }
}

/// A reader that hashes the bytes that pass through.
struct Hashed<'a> {
    source: &'a mut dyn Read,
    hasher: Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.hasher.update(&buffer[..len]);
        Ok(len)
    }
}

/// Makes the names of all blobs last.
pub(in crate::image) fn sync(host: &Host) -> Result<()> {
    Algorithm::ALL.iter().try_for_each(|algorithm| sync_dir(&dir(host, *algorithm)))
}

/// All blobs that have a name, with their lengths.
pub(in crate::image) fn list(host: &Host) -> Result<Vec<(Digest, u64)>> {
    let mut all = Vec::new();
    for algorithm in Algorithm::ALL {
        for hex in names_in(&dir(host, algorithm))? {
            // A name that is no digest is foreign, and no blob.
            let Ok(digest) = format!("{}:{hex}", algorithm.name()).parse::<Digest>() else { continue };
            match fs::symlink_metadata(path(host, &digest)) {
                Ok(meta) => all.push((digest, meta.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::from(error).context(path(host, &digest).display())),
            }
        }
    }
    Ok(all)
}

/// Takes a blob out of use, by moving it to `trash`; one that is not there is fine.
pub(in crate::image) fn discard(host: &Host, digest: &Digest, trash: &Path) -> Result<()> {
    set_aside(&path(host, digest), trash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_reads_what_comes_and_sees_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().to_owned(), ..Host::default() };
        fs::create_dir_all(dir.path().join("content/sha256")).unwrap();
        let content: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let read = |follower: &mut Follower| {
            let mut read = Vec::new();
            follower.read_to_end(&mut read).map(|_| read)
        };
        for last in [content.len(), content.len() / 2] {
            let mut writer = BlobWriter::new(&host, &Digest::of(&content), content.len() as u64).unwrap();
            writer.write(&content[..10]).unwrap();
            let mut follower = writer.follow().unwrap();
            let arrived = follower.arrived();
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| read(&mut follower));
                for piece in content[10..last].chunks(7_000) {
                    assert!(!arrived.is_whole());
                    writer.write(piece).unwrap();
                }
                let blob = writer.finish();
                assert!(arrived.is_whole());
                let whole = last == content.len();
                assert_eq!(blob.is_ok(), whole);
                match reader.join().unwrap() {
                    Ok(read) => assert!(whole && read == content),
                    Err(error) => assert!(!whole && error.kind() == io::ErrorKind::UnexpectedEof),
                }
            });
        }
    }
}
