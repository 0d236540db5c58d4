//! Blobs on their way from a registry: the received part of each lies in `partial/` under its digest, across
//! processes.
//!
//! Invariant: the puller of a blob has its file locked, and only appends to it; so when a process ends, in any
//! way, the file is the blob's beginning, and can be resumed after hashing it. Nothing is trusted before the
//! digest of all of it matches. A complete file is not written any more: it stays until the store has it.

use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::blob::{self, Blob, BlobWriter};
use super::place::{Place, dir, path};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::image::disk::{names_in, set_aside};
use crate::image::model::digest::{Digest, Hasher};
use crate::sys::file::own;

/// Collect stale partial downloads after this time; until then a pull resumes them.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The state of a wanted blob.
#[derive(Debug)]
pub(in crate::image) enum Claim {
    /// All of it.
    Whole(Blob),
    /// Its beginning, perhaps of no bytes, and the right to bring the rest.
    Begun(Box<BlobWriter>),
    /// Another process is fetching it.
    Taken(Taken),
}

/// The file of a blob that another process is fetching.
#[derive(Debug)]
pub(in crate::image) struct Taken(File);

impl Taken {
    /// Blocks until the other process has ended, in any way: the kernel wakes the first in the lock's queue.
    /// Returns the locked file, by which the blob is claimed.
    pub(in crate::image) fn wait(self) -> Result<File> {
        loop {
            match self.0.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.map(|()| self.0).context(|| "flock(partial blob)"),
            }
        }
    }
}

/// Finds the state of a blob of this digest and size, and claims the fetching of the rest; a caller that waited
/// for it has its file `locked`.
pub(in crate::image) fn claim(
    host: &Host,
    digest: &Digest,
    size: u64,
    mut locked: Option<File>,
) -> Result<Claim> {
    loop {
        if let Some(file) = blob::open(host, digest, size)? {
            return Ok(Claim::Whole(Blob::of_file(digest.clone(), file)));
        }
        let path = path(host, digest);
        let file = match locked.take() {
            Some(file) => file,
            None => match open(&path)? {
                (file, true) => file,
                (file, false) => return Ok(Claim::Taken(Taken(file))),
            },
        };
        let place = Place { path, file: file.try_clone().context(|| format!("blob {digest}"))? };
        if !place.is_named()? {
            continue;
        }
        // The other process may have moved it to the store, and removed this name, between the two checks.
        if let Some(whole) = blob::open(host, digest, size)? {
            place.drop_name();
            return Ok(Claim::Whole(Blob::of_file(digest.clone(), whole)));
        }
        let (there, hasher) = read(&file, digest)?;
        if there < size {
            let writer = BlobWriter::resume(host, digest, size, (file, there, hasher), place)?;
            return Ok(Claim::Begun(Box::new(writer)));
        }
        if there == size && hasher.finish() == *digest {
            place.unlock();
            return Ok(Claim::Whole(Blob::of_file(digest.clone(), file)));
        }
        place.drop_name();
    }
}

/// Opens the file of a blob on its way, making it if missing, and tells whether the lock was free.
fn open(path: &Path) -> Result<(File, bool)> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = own::open(path, &mut options, own::SECRET).context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok((file, true)),
        Err(TryLockError::WouldBlock) => Ok((file, false)),
        Err(TryLockError::Error(error)) => Err(Error::from(error).context(path.display())),
    }
}

/// Hashes the received part, and leaves the file positioned at its end.
fn read(mut file: &File, digest: &Digest) -> Result<(u64, Hasher)> {
    let mut hasher = Hasher::new(digest.algorithm());
    file.seek(SeekFrom::Start(0)).context(|| format!("blob {digest}"))?;
    let there = hasher.take_in(file).context(|| format!("read what is here of blob {digest}"))?;
    Ok((there, hasher))
}

/// The received part of a blob.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::image) struct Partial {
    pub(in crate::image) digest: Digest,
    pub(in crate::image) bytes: u64,
    /// Whether a process is fetching the rest.
    pub(in crate::image) comes: bool,
    /// Whether it is so old that it will not be resumed.
    pub(in crate::image) is_old: bool,
}

/// The received part of every blob that is not in the store yet.
pub(in crate::image) fn list(host: &Host) -> Result<Vec<Partial>> {
    let mut all = Vec::new();
    for name in names_in(&dir(host))? {
        let digest = name.replacen('-', ":", 1).parse::<Digest>();
        let Ok(digest) = digest else { continue };
        let Ok(file) = File::open(path(host, &digest)) else { continue };
        let meta = file.metadata().context(|| format!("blob {digest}"))?;
        let age = meta.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
        all.push(Partial {
            digest,
            bytes: meta.len(),
            comes: matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            is_old: age.is_some_and(|age| age > KEPT_FOR),
        });
    }
    Ok(all)
}

/// Moves the received part of a blob to `trash`; a missing one is fine.
pub(in crate::image) fn discard(host: &Host, digest: &Digest, trash: &Path) -> Result<()> {
    set_aside(&path(host, digest), trash)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::super::place::forget;
    use super::*;

    fn host(dir: &tempfile::TempDir) -> Host {
        for name in ["content/sha256", "content/sha512", "partial"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Host { root: dir.path().to_owned(), ..Host::default() }
    }

    fn begun(host: &Host, content: &[u8]) -> BlobWriter {
        match claim(host, &Digest::of(content), content.len() as u64, None).unwrap() {
            Claim::Begun(writer) => *writer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_blob_is_gone_on_with_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(&dir);
        let content = b"a blob that comes in pieces";
        let digest = Digest::of(content);
        let mut first = begun(&host, content);
        first.write(&content[..10]).unwrap();
        let again = || claim(&host, &digest, content.len() as u64, None).unwrap();
        let Claim::Taken(taken) = again() else { panic!("the first one has it") };
        let follower = first.follow().unwrap();
        // A waiter is woken with the lock, and resumes where the first one ended.
        let waiting = std::thread::spawn(move || taken.wait().unwrap());
        drop(first);
        let locked = Some(waiting.join().unwrap());
        let Claim::Begun(mut second) = claim(&host, &digest, content.len() as u64, locked).unwrap() else {
            panic!("nobody else has it")
        };
        assert_eq!(second.written(), 10);
        second.write(&content[10..]).unwrap();
        let blob = second.finish().unwrap();
        drop(follower);
        // Another process that waited has all of it, and so has the store in the end.
        let Claim::Whole(other) = again() else { panic!("it is whole") };
        for blob in [blob, other] {
            let mut text = Vec::new();
            blob.reader().unwrap().read_to_end(&mut text).unwrap();
            assert_eq!(text, content);
            blob.publish(&host).unwrap();
        }
        assert!(list(&host).unwrap().is_empty());
        assert!(matches!(again(), Claim::Whole(_)));
    }

    #[test]
    fn what_was_spoilt_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(&dir);
        let content = b"what was sent";
        let digest = Digest::of(content);
        // Too long, and as long as it should be and something else.
        for spoilt in [&b"something that is longer"[..], b"what was lost"] {
            fs::write(path(&host, &digest), spoilt).unwrap();
            assert_eq!(begun(&host, content).written(), 0);
        }
        // A beginning that is another's is known at the end, and gone for the next.
        fs::write(path(&host, &digest), "how").unwrap();
        let mut writer = begun(&host, content);
        writer.write(&content[3..]).unwrap();
        assert!(writer.finish().unwrap_err().message().contains("wrong digest"));
        let mut writer = begun(&host, content);
        assert_eq!(writer.written(), 0);
        let error = writer.write(b"more than was promised").unwrap_err();
        assert!(error.message().contains("is longer than the 13 bytes"), "{error}");
        drop(writer);
        // An empty file is no part of a blob.
        drop(begun(&host, content));
        assert!(list(&host).unwrap().is_empty());
    }

    #[test]
    fn what_was_collected_meanwhile_is_published_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(&dir);
        let content = b"whole, and without a name";
        let mut writer = begun(&host, content);
        writer.write(content).unwrap();
        assert!(list(&host).unwrap()[0].comes);
        let blob = writer.finish().unwrap();
        let partial = list(&host).unwrap();
        assert!(!partial[0].comes && !partial[0].is_old && partial[0].bytes == content.len() as u64);
        forget(&host, blob.digest());
        blob.publish(&host).unwrap();
        assert_eq!(fs::read(dir.path().join("content/sha256").join(blob.digest().hex())).unwrap(), content);
    }
}
