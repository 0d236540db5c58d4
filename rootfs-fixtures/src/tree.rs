//! A file tree in memory, and the layer tar that it becomes.
//!
//! Invariant: equal trees become equal bytes. Entries are sorted, carry one fixed time and no user
//! names; hard links come last, so that what they name is there before them.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

/// The time every entry and every image carries: 2026-01-01T00:00:00Z.
const MADE_AT: u64 = 1_767_225_600;

/// What a path is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Directory,
    File(Vec<u8>),
    Symlink(String),
    /// Another name of a path in this layer or, by whiteout rules, of a lower one.
    HardLink(String),
    CharDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    /// A file with holes: its size, and what stands between them (pieces of whole 512-byte blocks, the
    /// last one aside, as tar reads them). `pax` picks the encoding.
    Sparse {
        size: u64,
        data: Vec<(u64, Vec<u8>)>,
        pax: bool,
    },
}

/// One entry of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
    pub(crate) content: Content,
}

/// Paths without a leading slash, each with its node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Puts `content` at `path`, owned by root.
    pub(crate) fn put(&mut self, path: &str, mode: u32, content: Content) -> &mut Node {
        let node = Node { mode, uid: 0, gid: 0, xattrs: Vec::new(), content };
        self.parents(path);
        self.0.insert(path.to_owned(), node);
        self.0.get_mut(path).expect("inserted in the line above")
    }

    /// A directory, 0755.
    pub(crate) fn directory(&mut self, path: &str) -> &mut Node {
        self.put(path, 0o755, Content::Directory)
    }

    /// A file, 0644.
    pub(crate) fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> &mut Node {
        self.put(path, 0o644, Content::File(bytes.into()))
    }

    /// A program, 0755.
    pub(crate) fn program(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> &mut Node {
        self.put(path, 0o755, Content::File(bytes.into()))
    }

    /// A symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.put(path, 0o777, Content::Symlink(target.to_owned()));
    }

    /// A second name of `target`, which must be in this layer or in one below.
    pub(crate) fn hard_link(&mut self, path: &str, target: &str) {
        self.put(path, 0o755, Content::HardLink(target.to_owned()));
    }

    /// The node at `path`.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    /// Every path with its node, sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.0.iter()
    }

    /// Takes over the entries of `other` that `wanted` says yes to.
    pub(crate) fn take(&mut self, other: &Tree, wanted: impl Fn(&str) -> bool) {
        for (path, node) in other.iter().filter(|(path, _)| wanted(path)) {
            self.parents(path);
            self.0.insert(path.clone(), node.clone());
        }
    }

    /// Moves what lies in `from` to `to` and leaves a link, as a system with merged /usr has it.
    pub(crate) fn merge_into(&mut self, from: &str, to: &str) {
        let prefix = format!("{from}/");
        let below: Vec<String> = self.0.keys().filter(|path| path.starts_with(&prefix)).cloned().collect();
        for path in below {
            let node = self.0.remove(&path).expect("listed from the same map");
            let moved = format!("{to}/{}", &path[prefix.len()..]);
            if !(matches!(node.content, Content::Directory) && self.0.contains_key(&moved)) {
                self.0.insert(moved, node);
            }
        }
        self.parents(&format!("{to}/x"));
        self.symlink(from, to);
    }

    /// Reads a package's tar; `read` is its whole stream.
    pub(crate) fn from_package(read: impl Read) -> Result<Self> {
        let mut tree = Self::default();
        let mut archive = tar::Archive::new(read);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_str().context("a path that is not UTF-8")?.to_owned();
            let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
            if path.is_empty() || path == "." {
                continue;
            }
            let header = entry.header().clone();
            let link = || -> Result<String> {
                let name = entry.link_name()?.with_context(|| format!("`{path}` links to nothing"))?;
                Ok(name.to_str().context("a link that is not UTF-8")?.to_owned())
            };
            let content = match header.entry_type() {
                tar::EntryType::Directory => Content::Directory,
                tar::EntryType::Symlink => Content::Symlink(link()?),
                tar::EntryType::Link => Content::HardLink(link()?.trim_start_matches("./").to_owned()),
                tar::EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    Content::File(bytes)
                }
                other => bail!("`{path}` is a {other:?}, which no package should hold"),
            };
            let (uid, gid) = (header.uid()?, header.gid()?);
            let node = Node { mode: header.mode()? & 0o7777, uid, gid, xattrs: Vec::new(), content };
            tree.0.insert(path, node);
        }
        Ok(tree)
    }

    /// The tree as an uncompressed layer.
    pub(crate) fn to_tar(&self) -> Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        let is_link = |node: &Node| matches!(node.content, Content::HardLink(_));
        let (links, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, node)| is_link(node));
        for (path, node) in others.into_iter().chain(links) {
            append(&mut builder, path, node).with_context(|| format!("`{path}`"))?;
        }
        Ok(builder.into_inner()?)
    }

    fn parents(&mut self, path: &str) {
        let mut end = 0;
        while let Some(slash) = path[end..].find('/') {
            end += slash;
            let node = Node { mode: 0o755, uid: 0, gid: 0, xattrs: Vec::new(), content: Content::Directory };
            self.0.entry(path[..end].to_owned()).or_insert(node);
            end += 1;
        }
    }
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, node: &Node) -> Result<()> {
    let xattrs = node.xattrs.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value));
    let xattrs: Vec<_> = xattrs.collect();
    if !xattrs.is_empty() {
        builder
            .append_pax_extensions(xattrs.iter().map(|(name, value)| (name.as_str(), value.as_slice())))?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(node.uid);
    header.set_gid(node.gid);
    header.set_mtime(MADE_AT);
    header.set_size(0);
    match &node.content {
        Content::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Content::File(bytes) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())?;
        }
        Content::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, target)?;
        }
        Content::HardLink(target) => {
            header.set_entry_type(tar::EntryType::Link);
            builder.append_link(&mut header, path, target)?;
        }
        Content::CharDevice { major, minor } => {
            header.set_entry_type(tar::EntryType::Char);
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
            builder.append_data(&mut header, path, std::io::empty())?;
        }
        Content::Fifo => {
            header.set_entry_type(tar::EntryType::Fifo);
            builder.append_data(&mut header, path, std::io::empty())?;
        }
        Content::Sparse { size, data, pax: true } => append_pax_sparse(builder, &header, path, *size, data)?,
        Content::Sparse { size, data, pax: false } => append_gnu_sparse(builder, header, path, *size, data)?,
    }
    Ok(())
}

/// GNU's old format: at most three pieces and the end, their map in the header itself.
fn append_gnu_sparse(
    builder: &mut tar::Builder<Vec<u8>>,
    mut header: tar::Header,
    path: &str,
    size: u64,
    data: &[(u64, Vec<u8>)],
) -> Result<()> {
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_path(path)?;
    header.set_size(data.iter().map(|(_, bytes)| bytes.len() as u64).sum());
    let gnu = header.as_gnu_mut().context("not a GNU header")?;
    if data.len() >= gnu.sparse.len() {
        bail!("more pieces than a header of GNU's holds");
    }
    for (slot, (offset, bytes)) in gnu.sparse.iter_mut().zip(data) {
        octal(&mut slot.offset, *offset);
        octal(&mut slot.numbytes, bytes.len() as u64);
    }
    octal(&mut gnu.sparse[data.len()].offset, size);
    octal(&mut gnu.sparse[data.len()].numbytes, 0);
    octal(&mut gnu.realsize, size);
    header.set_cksum();
    let bytes: Vec<u8> = data.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    builder.append(&header, bytes.as_slice())?;
    Ok(())
}

/// The PAX format 1.0: the map stands in front of the data.
fn append_pax_sparse(
    builder: &mut tar::Builder<Vec<u8>>,
    gnu: &tar::Header,
    path: &str,
    size: u64,
    data: &[(u64, Vec<u8>)],
) -> Result<()> {
    // In a header with GNU's magic, tar would look for the old format's map.
    let mut header = tar::Header::new_ustar();
    header.set_mode(gnu.mode()?);
    header.set_uid(gnu.uid()?);
    header.set_gid(gnu.gid()?);
    header.set_mtime(MADE_AT);
    let real = size.to_string();
    builder.append_pax_extensions([
        ("GNU.sparse.major", b"1".as_slice()),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", path.as_bytes()),
        ("GNU.sparse.realsize", real.as_bytes()),
    ])?;
    let mut body = Vec::new();
    // As GNU tar does, an empty piece at the end stands for the hole there.
    writeln!(body, "{}", data.len() + 1)?;
    for (offset, bytes) in data {
        writeln!(body, "{offset}\n{}", bytes.len())?;
    }
    writeln!(body, "{size}\n0")?;
    body.resize(body.len().next_multiple_of(512), 0);
    data.iter().for_each(|(_, bytes)| body.extend_from_slice(bytes));
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(body.len() as u64);
    builder.append_data(&mut header, format!("GNUSparseFile.0/{path}"), body.as_slice())?;
    Ok(())
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_trees_become_equal_bytes_whatever_the_order_of_insertion() {
        let mut one = Tree::default();
        one.file("b", "2");
        one.file("a/x", "1");
        let mut other = Tree::default();
        other.file("a/x", "1");
        other.file("b", "2");
        assert_eq!(one.to_tar().unwrap(), other.to_tar().unwrap());
    }

    #[test]
    fn a_hard_link_comes_after_what_it_names() {
        let mut tree = Tree::default();
        tree.program("bin/zz", "x");
        tree.hard_link("bin/aa", "bin/zz");
        let bytes = tree.to_tar().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(paths, ["bin/", "bin/zz", "bin/aa"].map(std::path::PathBuf::from));
    }

    #[test]
    fn both_sparse_formats_are_read_back_by_gnu_tar() {
        let mut tree = Tree::default();
        let data = vec![(0, b"head".repeat(128)), (8192, b"middle".to_vec())];
        tree.put("old", 0o644, Content::Sparse { size: 16384, data: data.clone(), pax: false });
        tree.put("pax", 0o644, Content::Sparse { size: 16384, data, pax: true });
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("t.tar");
        std::fs::write(&archive, tree.to_tar().unwrap()).unwrap();
        let mut tar = std::process::Command::new("tar");
        tar.arg("xf").arg(&archive).arg("-C").arg(directory.path());
        assert!(tar.status().unwrap().success());
        for name in ["old", "pax"] {
            let bytes = std::fs::read(directory.path().join(name)).unwrap();
            assert_eq!(bytes.len(), 16384, "{name}");
            assert_eq!(
                (&bytes[..4], &bytes[8192..8198]),
                (b"head".as_slice(), b"middle".as_slice()),
                "{name}"
            );
            assert!(bytes[512..8192].iter().all(|byte| *byte == 0), "{name}");
        }
    }
}
