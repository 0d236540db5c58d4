//! A path of the host's that is mounted: opened, made where its type says so, and checked.
//!
//! Invariant: the mounted descriptor is the one that was checked. Its file system belongs to the host and may
//! never answer, so a process with other work has it opened by an [`super::Opening`].

use std::fs::{OpenOptions, Permissions};
use std::io::ErrorKind as IoKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use super::metadata;
use crate::error::{Context, Error, Result};
use crate::pod::config::{HostPathSource, HostPathType};
use crate::sys::file::confined::{self, Outward};

/// A handle of the file at the path.
pub(super) fn open(source: &HostPathSource) -> Result<OwnedFd> {
    let path = Path::new(&source.path);
    let tree = match confined::open_host(path) {
        Err(error) if error.is_not_found() && make_missing(path, source.kind)? => confined::open_host(path),
        opened => opened,
    };
    let tree = tree.map_err(Error::from).context(|| format!("hostPath {}", path.display()))?;
    check(&tree, source)?;
    Ok(tree)
}

/// Makes the missing file of a type that makes one; false for other types. A missing path without a type
/// becomes a directory: no kubelet asks for that, but every container runtime below one does it.
fn make_missing(path: &Path, kind: HostPathType) -> Result<bool> {
    let context = || format!("hostPath {}", path.display());
    match kind {
        HostPathType::Unset | HostPathType::DirectoryOrCreate => {
            let root = confined::open_host(Path::new("/"))?;
            confined::make_dirs(root, path, 0o755, Outward::Inside).map_err(Error::from).context(context)?;
        }
        HostPathType::FileOrCreate => {
            let made = OpenOptions::new().write(true).create_new(true).open(path);
            match made {
                Err(error) if error.kind() == IoKind::AlreadyExists => {}
                // open(2) applies the caller's umask.
                made => made
                    .and_then(|file| file.set_permissions(Permissions::from_mode(0o644)))
                    .context(|| format!("{}: open(O_CREAT | O_EXCL)", context()))?,
            }
        }
        HostPathType::Directory
        | HostPathType::File
        | HostPathType::Socket
        | HostPathType::CharDevice
        | HostPathType::BlockDevice => return Ok(false),
    }
    Ok(true)
}

fn check(tree: &OwnedFd, source: &HostPathSource) -> Result<()> {
    let found = metadata(tree.try_clone()?)?.file_type();
    let (is, wanted) = match source.kind {
        HostPathType::Unset => return Ok(()),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => (found.is_dir(), "directory"),
        HostPathType::File | HostPathType::FileOrCreate => (found.is_file(), "file"),
        HostPathType::Socket => (found.is_socket(), "socket"),
        HostPathType::CharDevice => (found.is_char_device(), "character device"),
        HostPathType::BlockDevice => (found.is_block_device(), "block device"),
    };
    if is {
        return Ok(());
    }
    Err(Error::failed(format!("hostPath {} is not a {wanted}, and the manifest says it is", source.path)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn host_path(path: &Path, kind: &str) -> HostPathSource {
        let kind = serde_json::from_value(serde_json::json!(kind)).unwrap();
        HostPathSource { path: path.to_str().unwrap().to_owned(), kind }
    }

    #[test]
    fn each_host_path_type_is_what_it_says_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder, socket) = (dir.path().join("f"), dir.path().join("d"), dir.path().join("s"));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&folder).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let null = Path::new("/dev/null");
        for (path, fits) in [
            (file.as_path(), &["", "File", "FileOrCreate"][..]),
            (&folder, &["", "Directory", "DirectoryOrCreate"]),
            (&socket, &["", "Socket"]),
            (null, &["", "CharDevice"]),
        ] {
            for kind in [
                "",
                "File",
                "FileOrCreate",
                "Directory",
                "DirectoryOrCreate",
                "Socket",
                "CharDevice",
                "BlockDevice",
            ] {
                let outcome = open(&host_path(path, kind));
                assert_eq!(outcome.is_ok(), fits.contains(&kind), "{path:?} as {kind:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_made_only_where_the_type_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for kind in ["File", "Directory", "Socket", "CharDevice", "BlockDevice"] {
            assert!(open(&host_path(&dir.path().join("none"), kind)).is_err(), "{kind:?}");
        }
        open(&host_path(&dir.path().join("a/b"), "DirectoryOrCreate")).unwrap();
        open(&host_path(&dir.path().join("c/d"), "")).unwrap();
        assert!(dir.path().join("c/d").is_dir());
        open(&host_path(&dir.path().join("a/f"), "FileOrCreate")).unwrap();
        assert!(
            open(&host_path(&dir.path().join("no/f"), "FileOrCreate")).is_err(),
            "its parent must be there"
        );
        assert!(dir.path().join("a/f").is_file());
    }
}
