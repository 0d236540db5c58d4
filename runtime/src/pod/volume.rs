//! A pod's volumes on this host: made, checked and opened.
//!
//! Invariants: what is checked is the descriptor that is mounted, never a path that is looked up
//! again; a subPath is resolved inside its volume, whatever symbolic links a container has left
//! there. An emptyDir on disk lies in the pod's own folder and goes with it; a hostPath is never
//! removed. Memory volumes are the monitor's: one tmpfs for the whole pod, held by descriptor.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::ErrorKind as IoKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::manifest::{
    HostPathType, HostPathVolumeSource, Pod, StorageMedium, Volume, VolumeMount, VolumeSource,
};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::sys::inside;

/// What a container mounts: the opened tree, and its path for the record.
#[derive(Debug)]
pub struct Source {
    /// A handle of the directory or file.
    pub tree: OwnedFd,
    /// Where it lay when it was opened.
    pub path: PathBuf,
}

/// Makes the pod's disk emptyDirs and sees that its host paths are what the manifest says.
pub fn prepare(host: &Host, id: &str, pod: &Pod) -> Result<()> {
    for volume in &pod.spec.volumes {
        match &volume.source {
            VolumeSource::EmptyDir(source) if source.medium == StorageMedium::Disk => {
                make_empty_dir(&folder(host, id, &volume.name))
            }
            VolumeSource::EmptyDir(_) => Ok(()),
            VolumeSource::HostPath(source) => open_host_path(source).map(drop),
        }
        .context(|| format!("volume {:?}", volume.name))?;
    }
    Ok(())
}

/// Opens what `mount` shows of `volume`; `None` for one in memory, whose tree the monitor holds.
pub fn open(host: &Host, id: &str, volume: &Volume, mount: &VolumeMount) -> Result<Option<Source>> {
    let root = match &volume.source {
        VolumeSource::EmptyDir(source) if source.medium == StorageMedium::Memory => return Ok(None),
        VolumeSource::EmptyDir(_) => {
            let path = folder(host, id, &volume.name);
            inside::open_host(&path).map(|tree| Source { tree, path }).map_err(Error::from)
        }
        VolumeSource::HostPath(source) => open_host_path(source),
    };
    let root = root.context(|| format!("volume {:?}", volume.name))?;
    if mount.sub_path.is_empty() {
        return Ok(Some(root));
    }
    let tree = open_sub_path(&root.tree, &mount.sub_path)
        .context(|| format!("volume {:?}: subPath {:?}", volume.name, mount.sub_path))?;
    Ok(Some(Source { tree, path: root.path.join(&mount.sub_path) }))
}

/// Opens `sub_path` inside the volume `root`; one that is missing is made as a directory with the
/// volume's own permissions, as a kubelet does.
pub fn open_sub_path(root: impl AsFd, sub_path: &str) -> Result<OwnedFd> {
    let path = Path::new(sub_path);
    let climbs = path.components().any(|part| !matches!(part, std::path::Component::Normal(_)));
    if climbs || path.as_os_str().is_empty() {
        return Err(Error::new(ErrorKind::Manifest, "must be a relative path without '..'"));
    }
    match inside::open_handle(&root, path) {
        Ok(tree) => return Ok(tree),
        Err(error) if !error.is_not_found() => return Err(error.into()),
        Err(_) => {}
    }
    let mode = metadata(root.as_fd().try_clone_to_owned()?)?.mode() & 0o7777;
    Ok(inside::make_dirs(&root, path, mode)?)
}

/// `<root>/pods/<id>/volumes/<name>`; the name is a DNS label.
fn folder(host: &Host, id: &str, name: &str) -> PathBuf {
    host.pod_root(id).join("volumes").join(name)
}

fn make_empty_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // mkdir(2) applies the umask; every container's user may write here.
    std::fs::set_permissions(path, Permissions::from_mode(0o777))?;
    Ok(())
}

fn open_host_path(source: &HostPathVolumeSource) -> Result<Source> {
    let path = PathBuf::from(&source.path);
    let tree = match inside::open_host(&path) {
        Err(error) if error.is_not_found() && make_missing(&path, source.kind)? => inside::open_host(&path),
        opened => opened,
    };
    let tree = tree.map_err(Error::from).context(|| format!("hostPath {}", path.display()))?;
    check(&tree, source)?;
    Ok(Source { tree, path })
}

/// Makes what a type says is made when it is missing; false for a type that makes nothing. A path without a type that
/// is missing becomes a directory: no kubelet asks for that, and every container runtime below one does it.
fn make_missing(path: &Path, kind: HostPathType) -> Result<bool> {
    let context = || format!("hostPath {}", path.display());
    match kind {
        HostPathType::Unset | HostPathType::DirectoryOrCreate => {
            let root = inside::open_host(Path::new("/"))?;
            inside::make_dirs(root, path, 0o755).map_err(Error::from).context(context)?;
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

fn check(tree: &OwnedFd, source: &HostPathVolumeSource) -> Result<()> {
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

fn metadata(handle: OwnedFd) -> Result<Metadata> {
    Ok(File::from(handle).metadata()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn host_path(path: &Path, kind: &str) -> HostPathVolumeSource {
        serde_json::from_value(serde_json::json!({"path": path, "type": kind})).unwrap()
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
                let outcome = open_host_path(&host_path(path, kind));
                assert_eq!(outcome.is_ok(), fits.contains(&kind), "{path:?} as {kind:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_made_only_where_the_type_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for kind in ["File", "Directory", "Socket", "CharDevice", "BlockDevice"] {
            assert!(open_host_path(&host_path(&dir.path().join("none"), kind)).is_err(), "{kind:?}");
        }
        open_host_path(&host_path(&dir.path().join("a/b"), "DirectoryOrCreate")).unwrap();
        open_host_path(&host_path(&dir.path().join("c/d"), "")).unwrap();
        assert!(dir.path().join("c/d").is_dir());
        open_host_path(&host_path(&dir.path().join("a/f"), "FileOrCreate")).unwrap();
        assert!(
            open_host_path(&host_path(&dir.path().join("no/f"), "FileOrCreate")).is_err(),
            "its parent must be there"
        );
        assert!(dir.path().join("a/f").is_file());
    }

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::fs::set_permissions(&volume, Permissions::from_mode(0o770)).unwrap();
        symlink("../..", volume.join("up")).unwrap();
        symlink("/", volume.join("root")).unwrap();
        let root = inside::open_host(&volume).unwrap();
        let made = metadata(open_sub_path(&root, "x/y").unwrap()).unwrap();
        assert_eq!(made.mode() & 0o7777, 0o770);
        for (path, inside_path) in [("up", "."), ("root", "."), ("root/x/y", "x/y")] {
            let reached = metadata(open_sub_path(&root, path).unwrap()).unwrap().ino();
            assert_eq!(reached, std::fs::metadata(volume.join(inside_path)).unwrap().ino(), "{path}");
        }
        for path in ["../x", "/x", "", "a/../b"] {
            assert!(open_sub_path(&root, path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn an_empty_dir_is_open_to_every_user() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().to_owned(), ..Host::default() };
        let pod: Pod =
            serde_json::from_str(r#"{"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}"#).unwrap();
        prepare(&host, "1", &pod).unwrap();
        prepare(&host, "1", &pod).unwrap();
        let mount: VolumeMount =
            serde_json::from_str(r#"{"name": "v", "mountPath": "/v", "subPath": "s"}"#).unwrap();
        let source = open(&host, "1", &pod.spec.volumes[0], &mount).unwrap().unwrap();
        assert_eq!(metadata(source.tree).unwrap().mode() & 0o7777, 0o777);
        assert!(source.path.ends_with("pods/1/volumes/v/s"));
    }
}
