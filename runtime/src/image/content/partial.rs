//! Blobs on their way from a registry: what has come of each lies in `partial/` under its digest, across processes.
//!
//! Invariant: whoever brings a blob has its file locked, adds to its end and does nothing else; so what is there when a
//! process ends, however it ends, is the blob's beginning, and is gone on with after its digest was taken. Nothing is
//! believed before the digest of all of it was. What is whole is written no more: it stays until the store has it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Blob, BlobWriter};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::image::model::digest::{Digest, Hasher};
use crate::image::store::{record, set_aside};
use crate::sys::file::own;

/// What nobody has gone on with for so long goes when something else is collected; until then a pull takes it up.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// What there is of a blob that is wanted.
#[derive(Debug)]
pub(in crate::image) enum Claim {
    /// All of it.
    Whole(Blob),
    /// Its beginning, perhaps of no bytes, and the right to bring the rest.
    Begun(Box<BlobWriter>),
    /// Somebody else is bringing it: it is to be asked for again.
    Taken,
}

/// The file of a blob that is being brought, locked.
#[derive(Debug)]
pub(in crate::image) struct Place {
    path: PathBuf,
    file: File,
}

impl Place {
    /// Whether the file still has its name: whoever has brought or collected the blob took it away.
    fn is_named(&self) -> Result<bool> {
        let own = self.file.metadata().context(|| self.path.display())?;
        match fs::symlink_metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::from(error).context(self.path.display())),
        }
    }

    /// Takes the name away. The bytes are never cut: somebody may be reading them.
    pub(in crate::image) fn drop_name(&self) {
        if self.is_named().unwrap_or(false) {
            // What stays is found again, and found to be wrong or of no use again.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Lets others go on. Readers have the same open file, so closing ours does not.
    pub(in crate::image) fn unlock(&self) {
        // An error can only say that there was no lock.
        let _ = self.file.unlock();
    }
}

pub(in crate::image) fn dir(host: &Host) -> PathBuf {
    host.root.join("partial")
}

fn path(host: &Host, digest: &Digest) -> PathBuf {
    dir(host).join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
}

/// Looks what there is of a blob of this digest and size, and claims the bringing of the rest.
pub(in crate::image) fn claim(host: &Host, digest: &Digest, size: u64) -> Result<Claim> {
    loop {
        if let Some(file) = super::open(host, digest, size)? {
            return Ok(Claim::Whole(Blob::of_file(digest.clone(), file)));
        }
        let path = path(host, digest);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file =
            own::open(&path, &mut options, own::SECRET).context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Claim::Taken),
            Err(TryLockError::Error(error)) => return Err(Error::from(error).context(path.display())),
        }
        let place = Place { path, file: file.try_clone().context(|| format!("blob {digest}"))? };
        if !place.is_named()? {
            continue;
        }
        // Whoever brought it may have given it its name in the store, and taken this one away, between our two looks.
        if let Some(whole) = super::open(host, digest, size)? {
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

/// Takes the digest of what has come, and leaves the file at its end.
fn read(mut file: &File, digest: &Digest) -> Result<(u64, Hasher)> {
    let mut hasher = Hasher::new(digest.algorithm());
    file.seek(SeekFrom::Start(0)).context(|| format!("blob {digest}"))?;
    let there = hasher.take_in(file).context(|| format!("read what is here of blob {digest}"))?;
    Ok((there, hasher))
}

/// Takes the name of what has come of a blob away, which is in the store now or is not wanted; one that is not there is fine.
pub(in crate::image) fn forget(host: &Host, digest: &Digest) {
    // What stays is collected.
    let _ = fs::remove_file(path(host, digest));
}

/// What has come of a blob.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::image) struct Partial {
    pub(in crate::image) digest: Digest,
    pub(in crate::image) bytes: u64,
    /// Whether somebody is bringing the rest.
    pub(in crate::image) comes: bool,
    /// Whether it was left so long ago that nobody will go on with it.
    pub(in crate::image) is_old: bool,
}

/// What has come of every blob that is not in the store yet.
pub(in crate::image) fn list(host: &Host) -> Result<Vec<Partial>> {
    let mut all = Vec::new();
    for name in record::names_in(&dir(host))? {
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

/// Takes what has come of a blob out of use, by moving it to `trash`; what is not there is fine.
pub(in crate::image) fn discard(host: &Host, digest: &Digest, trash: &Path) -> Result<()> {
    set_aside(&path(host, digest), trash)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn host(dir: &tempfile::TempDir) -> Host {
        for name in ["content/sha256", "content/sha512", "partial"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Host { root: dir.path().to_owned(), ..Host::default() }
    }

    fn begun(host: &Host, content: &[u8]) -> BlobWriter {
        match claim(host, &Digest::of(content), content.len() as u64).unwrap() {
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
        let again = || claim(&host, &digest, content.len() as u64).unwrap();
        assert!(matches!(again(), Claim::Taken));
        let follower = first.follow().unwrap();
        drop(first);
        let mut second = begun(&host, content);
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
        assert!(writer.write(b"more than was promised").is_err());
        drop(writer);
        // What nothing came of is nothing.
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
