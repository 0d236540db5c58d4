//! The fuzz targets' entry points: the readers of untrusted bytes, each with the properties that hold for every
//! input.
//!
//! Invariant: this exists only with `--cfg fuzzing`, which `cargo fuzz` sets; it is no part of the library's
//! interface. A violated property is a panic.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::layer::archive::{EntryKind, TarStream};
use super::layer::unpack::{Limits, Lower, Unpacked, unpack};
use super::model::config::ImageConfig;
use super::model::manifest::{self, Document};
use super::model::platform::Platform;
use super::model::reference::Reference;
use super::registry;
use super::transfer::{load, search};
use crate::error::Result;
use crate::sys::file::dir;

/// The media types under which a document is read, and nothing.
const FETCHED_AS: [Option<&str>; 5] = [
    None,
    Some(manifest::OCI_INDEX),
    Some(manifest::OCI_MANIFEST),
    Some(manifest::DOCKER_LIST),
    Some(manifest::DOCKER_MANIFEST),
];
/// Small enough that inputs reach them.
const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 200, names: 32 << 10, borrowed: 32 << 10 };

/// Reads a reference. The printed result reads the same, and can stand in a URL.
pub fn reference(text: &str) {
    let Ok(read) = text.parse::<Reference>() else { return };
    for text in [read.to_string(), read.familiar()] {
        assert_eq!(text.parse::<Reference>().ok().as_ref(), Some(&read), "{text:?}, as it is kept and shown");
    }
    for part in [Some(read.path()), read.tag()].into_iter().flatten() {
        assert!(part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte)), "{part:?}");
        assert!(part.split('/').all(|part| !matches!(part, "" | "." | "..")), "{part:?} leads elsewhere");
    }
    let domain = read.domain();
    assert!(
        domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)),
        "{domain:?}"
    );
}

/// Reads a registry's headers.
pub fn headers(text: &str) {
    registry::read_headers(text);
}

/// Reads a document as everything that it may be.
pub fn documents(bytes: &[u8]) {
    let platform = Platform { os: "linux".into(), architecture: "amd64".into(), variant: Some("v3".into()) };
    for fetched_as in FETCHED_AS {
        match manifest::parse(bytes, fetched_as) {
            Ok(Document::Index(entries)) => {
                for chosen in search::choose(&entries, &platform) {
                    assert!(entries.contains(chosen), "what was chosen is none of them");
                }
                let count = entries.len();
                let groups = load::group_by_name(entries);
                assert_eq!(groups.iter().map(|(_, group)| group.len()).sum::<usize>(), count, "all entries");
                groups.iter().filter_map(|(name, _)| name.as_deref()).for_each(archived_as);
            }
            Ok(Document::Artifact(what)) => assert!(!what.is_empty(), "an artifact without a word"),
            Ok(Document::Manifest(read)) => {
                assert!(read.layers.len() <= bytes.len(), "more layers than bytes");
            }
            Err(error) => assert!(!error.message().is_empty(), "an error without a word"),
        }
    }
    if let Ok((config, diff_ids)) = manifest::parse_config(bytes) {
        assert_eq!(config.rootfs().diff_ids().len(), diff_ids.len());
        let known = ImageConfig::from(&config);
        let text = serde_json::to_vec(&known).expect("what is kept of a config can be written");
        let again: ImageConfig = serde_json::from_slice(&text).expect("what was written can be read");
        assert_eq!(again, known, "as it is kept");
    }
    let _ = load::parse_docker_list(bytes);
}

/// Reads the name that an archive's annotation gives.
fn archived_as(annotation: &str) {
    match load::read_name(annotation) {
        Ok(load::Named::Whole(name)) => reference(&name.to_string()),
        Ok(load::Named::Tag(tag)) => reference(&format!("image:{tag}")),
        Err(_) => {}
    }
}

/// Reads a tar to its end. The entries' own claims match their content.
pub fn tar_stream(bytes: &[u8]) {
    let mut stream = TarStream::new(bytes, LIMITS.bytes);
    while let Ok(Some(entry)) = stream.next() {
        assert!(entry.size == 0 || entry.kind == EntryKind::File, "content of what has none");
        assert!(stream.position() <= bytes.len() as u64 && stream.position() % 512 == 0, "a place inside");
        if let Some(sparse) = &entry.sparse {
            let pieces: u64 = sparse.pieces.iter().map(|(_, length)| length).sum();
            assert_eq!(pieces, entry.size, "the pieces of a sparse file");
        }
        // Half of the content; the rest is skipped.
        let (mut left, mut skips) = (entry.size, false);
        while left > 0 && !skips {
            let Ok(piece) = stream.content() else { return };
            assert!(!piece.is_empty() && piece.len() as u64 <= left, "more than there is");
            left -= piece.len() as u64;
            skips = entry.mode & 1 == 1;
        }
    }
    let _ = stream.drain();
}

/// A folder in which layers are unpacked one after the other.
#[derive(Debug)]
pub struct Unpacking {
    folder: PathBuf,
    /// The files beside the layers, which must not change.
    outside: Vec<Outside>,
}

/// A file's name, number, length, links, mode, owner and time of change.
type Outside = (PathBuf, u64, u64, u64, u32, u32, (i64, i64));

impl Unpacking {
    /// Makes the targets of an attack in an empty folder: a file beside the layers, and a layer below.
    pub fn new(folder: &Path) -> Self {
        let outside = folder.join("outside");
        fs::create_dir(&outside).expect("the folder is empty");
        fs::write(outside.join("canary"), "alive").expect("it can be written to");
        let below = folder.join("below");
        fs::create_dir_all(below.join("d/e")).expect("it can be written to");
        for file in ["f", "d/f", "d/e/f"] {
            fs::write(below.join(file), file).expect("it can be written to");
        }
        for (target, link) in [("d", "l"), ("../../outside", "out"), ("/outside/canary", "d/out")] {
            symlink(target, below.join(link)).expect("it can be written to");
        }
        let mut this = Self { folder: folder.to_owned(), outside: Vec::new() };
        this.outside = this.look();
        this
    }

    /// Unpacks `tar` as the only layer, and over the other one. The result can be removed, and nothing else
    /// changed.
    pub fn run(&self, tar: &[u8]) {
        for over in [false, true] {
            if let Ok(made) = self.unpack(tar, over) {
                assert!(made.inodes <= LIMITS.entries && made.bytes <= LIMITS.bytes, "{made:?}");
            }
            let folder = dir::open(&self.folder).expect("the folder is there");
            for name in ["tree", "trash"] {
                dir::remove_tree(&folder, name.as_bytes()).expect("whatever was unpacked can be removed");
            }
            assert_eq!(self.look(), self.outside, "something beside the layer changed");
        }
    }

    fn unpack(&self, mut tar: &[u8], over: bool) -> Result<Unpacked> {
        let [tree, trash] = ["tree", "trash"].map(|name| {
            fs::create_dir(self.folder.join(name)).expect("the one before was removed");
            dir::open(&self.folder.join(name)).expect("it was just made")
        });
        let below = || -> Result<Vec<OwnedFd>> { Ok(vec![dir::open(&self.folder.join("below"))?]) };
        unpack(&mut tar, tree, trash, &Lower::new(over, &below), LIMITS)
    }

    /// Everything that is in the folder, at any depth.
    fn look(&self) -> Vec<Outside> {
        let mut seen = Vec::new();
        let mut open = vec![self.folder.clone()];
        while let Some(path) = open.pop() {
            let meta = fs::symlink_metadata(&path).expect("nothing vanishes");
            if meta.is_dir() {
                let entries = fs::read_dir(&path).expect("a directory");
                open.extend(entries.map(|entry| entry.expect("nothing vanishes").path()));
            }
            // The folder itself changes with each layer.
            if path != self.folder {
                let changed = (meta.ctime(), meta.ctime_nsec());
                let (mode, owner) = (meta.mode(), meta.uid());
                seen.push((path, meta.ino(), meta.len(), meta.nlink(), mode, owner, changed));
            }
        }
        seen.sort();
        seen
    }
}
