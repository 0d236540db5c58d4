//! A container's root file system: an image's layers, read only, under a directory of its own.
//!
//! Invariant: the overlay is a detached mount held by a descriptor; the host's mount table never
//! shows it. Its directories are found by our own ids, never by a string that an image chose.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::layers::layer_dir;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::model::digest::ChainId;
use crate::sys;
use crate::sys::file::dir::Kind;
use crate::sys::file::own;

/// How deep a snapshot is looked into: one descriptor a level.
const DEPTH_MAX: usize = 256;

/// How many layers an overlay takes: the kernel's own limit, less the one of [`MOUNT_POINTS`].
const LAYERS_MAX: usize = 499;

/// A layer of podrun's own below every image's: the mount points of every container, all empty. It supplies the
/// ones that an image lacks; made at mount time they would be a copy of /etc and three files in the upper
/// directory, 0.2 ms and as much again at removal.
const MOUNT_POINTS: &str = "mountpoints/layer";
const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// A container's upper and work directory, with the layers below them.
#[derive(Debug)]
pub struct Snapshot {
    /// Where the container's changes go: `<root>/snapshots/<cid>/upper`.
    pub upper: PathBuf,
    /// Overlayfs' own scratch directory beside it.
    pub work: PathBuf,
    lower: Vec<PathBuf>,
}

fn snapshot_dir(host: &Host, cid: &str) -> PathBuf {
    host.root.join("snapshots").join(cid)
}

/// Makes the layer of mount points. Repeatable; a missing mount point only costs time.
pub(in crate::image) fn make_mount_points(host: &Host) -> Result<()> {
    let layer = mount_points(host);
    let make = || -> std::io::Result<()> {
        layer.parent().map_or(Ok(()), |folder| own::directories(folder, own::PRIVATE))?;
        // A container sees these modes where its image has no such directory or file.
        for directory in std::iter::once(layer.clone()).chain(DIRECTORIES.map(|name| layer.join(name))) {
            own::directory(&directory, 0o755)?;
        }
        FILES.into_iter().try_for_each(|name| own::write(&layer.join(name), b"", 0o644))
    };
    make().context(|| format!("mount points in {}", layer.display()))
}

fn mount_points(host: &Host) -> PathBuf {
    host.root.join(MOUNT_POINTS)
}

/// Makes the directories of the container `cid` on top of `layers`, the lowest first. Discards the files of an
/// earlier attempt of the same id.
pub fn prepare(host: &Host, cid: &str, layers: &[ChainId]) -> Result<Snapshot> {
    make(host, cid)?;
    prepared(host, cid, layers)
}

/// Makes only the directories, for a later [`prepared`].
pub fn make(host: &Host, cid: &str) -> Result<()> {
    make_fresh(host, cid).context(|| format!("snapshot {}", snapshot_dir(host, cid).display()))
}

/// The snapshot of the container `cid`, whose directories exist, on top of `layers`.
pub fn prepared(host: &Host, cid: &str, layers: &[ChainId]) -> Result<Snapshot> {
    if layers.len() > LAYERS_MAX {
        return Err(Error::new(
            ErrorKind::Image,
            format!("the image has {} layers, overlayfs takes {LAYERS_MAX}", layers.len()),
        ));
    }
    let base = mount_points(host);
    if !base.is_dir() {
        make_mount_points(host)?;
    }
    let mut lower: Vec<PathBuf> = layers.iter().rev().map(|layer| layer_dir(host, layer)).collect();
    lower.push(base);
    let dir = snapshot_dir(host, cid);
    Ok(Snapshot { upper: dir.join("upper"), work: dir.join("work"), lower })
}

fn make_fresh(host: &Host, cid: &str) -> Result<()> {
    use std::io::ErrorKind::{AlreadyExists, NotFound};
    let dir = snapshot_dir(host, cid);
    let made = match own::new_directory(&dir, own::PRIVATE) {
        Err(error) if error.kind() == NotFound => own::directories(&dir, own::PRIVATE),
        Err(error) if error.kind() == AlreadyExists => {
            remove(host, cid)?;
            own::new_directory(&dir, own::PRIVATE)
        }
        result => result,
    };
    made?;
    own::new_directory(&dir.join("upper"), own::PRIVATE)?;
    own::new_directory(&dir.join("work"), own::PRIVATE)?;
    Ok(())
}

impl Snapshot {
    /// Mounts the snapshot, attached nowhere. The upper directory takes the mode, owner and label of
    /// the topmost layer's root first, since the merged root shows the upper's.
    pub fn mount(&self) -> Result<OwnedFd> {
        let lower = self
            .lower
            .iter()
            .map(|layer| sys::file::dir::open(layer))
            .collect::<sys::Result<Vec<_>>>()
            .map_err(|error| Error::from(error).context("image layer").with_kind(ErrorKind::Image))?;
        let upper = sys::file::dir::open(&self.upper)?;
        let work = sys::file::dir::open(&self.work)?;
        let root = sys::file::dir::stat(&lower[0])?;
        sys::file::dir::set_owner(&upper, root.uid, root.gid)?;
        sys::file::dir::set_mode(&upper, root.mode)?;
        let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
        sys::file::overlay::mount(&lower, upper.as_fd(), work.as_fd())
            .context(|| format!("snapshot {}", self.upper.display()))
    }
}

/// Removes the snapshot of the container `cid`; one that is not there is fine.
pub fn remove(host: &Host, cid: &str) -> Result<()> {
    let all = match sys::file::dir::open(&host.root.join("snapshots")) {
        Ok(all) => all,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    sys::file::dir::remove_tree(&all, cid.as_bytes()).context(|| format!("snapshot of container {cid}"))
}

/// Every snapshot's container with the bytes in its own files, each file counted once.
pub(in crate::image) fn sizes(host: &Host) -> Result<Vec<(String, u64)>> {
    let root = host.root.join("snapshots");
    let mut all = Vec::new();
    for cid in crate::image::disk::names_in(&root)? {
        let upper = sys::file::dir::open(&root.join(&cid).join("upper"));
        match upper.and_then(|upper| size_below(&upper, &mut BTreeSet::new(), DEPTH_MAX)) {
            Ok(bytes) => all.push((cid, bytes)),
            // It ended while we looked.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(Error::from(error).context(format!("snapshot of container {cid}"))),
        }
    }
    Ok(all)
}

/// The bytes in the files below `dir`, which a container may change meanwhile: no link is followed, and a
/// vanished file counts nothing.
fn size_below(dir: &OwnedFd, seen: &mut BTreeSet<(u64, u64)>, depth: usize) -> sys::Result<u64> {
    let mut bytes = 0;
    for (name, _) in sys::file::dir::entries(dir)? {
        let Ok(stat) = sys::file::dir::stat_at(dir, &name) else { continue };
        match stat.kind {
            Kind::File if seen.insert(stat.inode) => bytes += stat.size,
            Kind::Directory if depth > 0 => {
                let Ok(below) = sys::file::dir::open_at(dir, &name) else { continue };
                bytes += size_below(&below, seen, depth - 1)?;
            }
            _ => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::*;
    use crate::image::Digest;

    /// Only root mounts an overlay here: without it the test fails, and does not pass unseen.
    fn needs_root() {
        assert_eq!(fs::metadata("/proc/self").unwrap().uid(), 0, "`make test` runs this as root");
    }

    #[test]
    fn a_snapshot_shows_its_layers_and_keeps_what_is_written_to_itself() {
        needs_root();
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().into(), ..Host::default() };
        let layers = ChainId::stack(&[Digest::of(b"1"), Digest::of(b"2")]);
        for (number, layer) in layers.iter().enumerate() {
            let tree = layer_dir(&host, layer);
            fs::create_dir_all(&tree).unwrap();
            fs::write(tree.join("both"), number.to_string()).unwrap();
            fs::write(tree.join(number.to_string()), "").unwrap();
        }
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for _ in 0..2 {
            let snapshot = prepare(&host, "cid", &layers).unwrap();
            let mount = snapshot.mount().unwrap();
            let root = sys::file::dir::path_of(mount.as_fd());
            let root = Path::new(&root);
            assert_eq!(fs::read_to_string(root.join("both")).unwrap(), "1");
            assert!(root.join("0").exists() && root.join("1").exists() && !root.join("new").exists());
            fs::write(root.join("new"), "").unwrap();
            assert!(snapshot.upper.join("new").exists());
        }
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
        remove(&host, "cid").unwrap();
        remove(&host, "cid").unwrap();
        assert!(!dir.path().join("snapshots/cid").exists());
    }

    #[test]
    fn an_image_without_layers_is_a_root_of_mount_points() {
        needs_root();
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().into(), ..Host::default() };
        let mount = prepare(&host, "cid", &[]).unwrap().mount().unwrap();
        let root = PathBuf::from(sys::file::dir::path_of(mount.as_fd()));
        let mut names: Vec<_> =
            fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, DIRECTORIES);
        assert_eq!(fs::metadata(root.join("etc/hosts")).unwrap().len(), 0);
        // Mounts on them copy nothing up.
        assert_eq!(fs::read_dir(dir.path().join("snapshots/cid/upper")).unwrap().count(), 0);
    }
}
