//! The place of a bind's source: in the container's root, whose links are the image's, or elsewhere on the
//! host.
//!
//! Invariant: no path of the host leads through the root: a source in it is looked up inside of it alone, since
//! a link of the image would lead to the host (CVE-2021-30465).

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{File, Metadata};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::file::fs::{self, Want};
use crate::sys::file::mount::{self as m, Depth};

/// `root.path`, if it becomes the root.
pub(super) struct Root {
    directory: File,
    id: (u64, u64),
    /// Whether a path leads there.
    known: HashMap<PathBuf, bool>,
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let directory = File::open(path).context(|| format!("root.path: open({path:?})"))?;
        let id =
            directory.metadata().map(|found| id(&found)).context(|| format!("root.path: stat({path:?})"))?;
        Ok(Self { directory, id, known: HashMap::new() })
    }

    /// The rest of the path of a source in the root, by its words, however it leads to the root; empty: it is
    /// the root.
    pub(super) fn find(&mut self, source: &str) -> Result<Option<String>> {
        let source = Path::new(source);
        let above: Vec<&Path> = source.ancestors().collect();
        let Some(root) = above.into_iter().rev().find(|path| self.is(path)) else { return Ok(None) };
        let mut words = Vec::new();
        for part in source.strip_prefix(root).unwrap_or(source).components() {
            match part {
                Component::Normal(word) => words.push(word.to_str().unwrap_or_default()),
                Component::ParentDir if words.pop().is_none() => {
                    let error = format!("{} leads into the root and out again", source.display());
                    return Err(Error::new(ErrorKind::Usage, error).hint("write the source without `..`"));
                }
                _ => {}
            }
        }
        Ok(Some(words.join("/")))
    }

    /// A detached clone of the present tree, before any mount in the root.
    pub(super) fn clone_inside(&self, path: &CStr, depth: Depth) -> Result<OwnedFd> {
        let inside = fs::open_in_root(self.directory.as_fd(), path, Want::Any)
            .map_err(|errno| errno.during(format!("openat2(root, {path:?}, RESOLVE_IN_ROOT)")))?;
        Ok(m::clone_tree(inside.as_fd(), depth)
            .map_err(|errno| errno.during(format!("open_tree({path:?}, OPEN_TREE_CLONE)")))?)
    }

    fn is(&mut self, path: &Path) -> bool {
        if let Some(known) = self.known.get(path) {
            return *known;
        }
        let is = std::fs::metadata(path).is_ok_and(|found| id(&found) == self.id);
        self.known.insert(path.to_owned(), is);
        is
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_source_in_the_root_is_found_by_every_path_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        std::fs::create_dir_all(real.join("a/b")).unwrap();
        symlink("real", dir.path().join("alias")).unwrap();
        symlink("/etc", real.join("out")).unwrap();
        let mut root = Root::open(&real).unwrap();
        let mut find = |path: &str| root.find(&format!("{}/{path}", dir.path().display()));
        for (path, inner) in [
            ("real/a/b", Some("a/b")),
            ("alias/a", Some("a")),
            ("alias/a/../out/passwd", Some("out/passwd")),
            ("real/out/../x", Some("x")),
            ("real/", Some("")),
            ("./alias/.", Some("")),
            ("other", None),
        ] {
            assert_eq!(find(path).unwrap().as_deref(), inner, "{path}");
        }
        for path in ["real/../other", "alias/a/../../real/a", "real/out/../../x"] {
            assert!(find(path).unwrap_err().message().ends_with("out again"), "{path}");
        }
    }
}
