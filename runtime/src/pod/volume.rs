//! A pod's volumes on this host: made, checked and opened.
//!
//! Invariants: the mounted descriptor is the one that was checked, never a path looked up again. A subPath is
//! resolved inside its volume, and refused if symbolic links left there by a container lead out. An emptyDir on
//! disk lies in the pod's own folder and goes with it; a hostPath is never removed, and is opened by a child
//! ([`Opening`]). Memory volumes are the monitor's: one tmpfs for the whole pod, held by descriptor.

use std::fs::{File, Metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::bundle;
use super::config::{MountConfig, VolumeSource};
use crate::engine;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::sys::file::confined::{self, Outward};
use crate::sys::file::mount::{self, Depth};
use crate::sys::file::own;

mod host_path;
mod opening;

pub(crate) use opening::{HostPath, Opening, PATIENCE};

/// The source of a container's mount.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where: from the container's root on.
    pub destination: String,
    /// A handle of the directory or file.
    pub tree: OwnedFd,
    /// Where it lay when it was opened.
    pub path: PathBuf,
}

impl Source {
    /// A detached copy of the tree with its submounts, for one container. Its file system is not accessed: the
    /// descriptor suffices.
    pub(crate) fn copy(&self) -> Result<OwnedFd> {
        let copied = mount::clone_tree(self.tree.as_fd(), Depth::Recursive);
        Ok(copied.map_err(|errno| errno.during(format!("open_tree({:?}, OPEN_TREE_CLONE)", self.path)))?)
    }
}

/// Makes the pod's volumes on disk.
pub(crate) fn make(host: &Host, id: &str, volumes: &[(String, VolumeSource)]) -> Result<()> {
    for (name, source) in volumes {
        if *source == VolumeSource::Disk {
            make_empty_dir(&folder(host, id, name)).context(|| format!("volume {name:?}"))?;
        }
    }
    Ok(())
}

/// Opens the part of a volume on disk that `mount` shows.
pub(crate) fn open(host: &Host, id: &str, mount: &MountConfig) -> Result<Source> {
    let path = folder(host, id, &mount.volume);
    let root = confined::open_host(&path).context(|| format!("volume {:?}", mount.volume))?;
    Ok(Source { destination: destination(mount)?, tree: part(root, mount)?, path: shown(path, mount) })
}

/// Where `mount` is made.
fn destination(mount: &MountConfig) -> Result<String> {
    Ok(bundle::mount_point(&mount.destination)?.display().to_string())
}

/// The path of the part of a volume that `mount` shows.
fn shown(mut path: PathBuf, mount: &MountConfig) -> PathBuf {
    path.extend(Path::new(&mount.sub_path).components().filter(|part| *part != Component::CurDir));
    path
}

/// The part of a volume that `mount` shows; `root` is the volume's handle. Checks that it can be mounted there.
fn part(root: OwnedFd, mount: &MountConfig) -> Result<OwnedFd> {
    let tree = match mount.sub_path.as_str() {
        "" => root,
        sub_path => open_sub_path(root, sub_path)
            .context(|| format!("volume {:?}: subPath {sub_path:?}", mount.volume))?,
    };
    // No other try will find another file system there.
    let refused = |error: Error| {
        error.with_kind(ErrorKind::Manifest).context(format_args!("volume {:?}", mount.volume))
    };
    engine::check_source(&destination(mount)?, tree.as_fd()).map_err(refused)?;
    Ok(tree)
}

/// Opens `sub_path` inside the volume `root`; a missing one is made as a directory with the volume's own
/// permissions, as a kubelet does. A link that leads out of the volume is refused, as by a kubelet: the file at
/// the same path inside is not the one meant.
pub(crate) fn open_sub_path(root: impl AsFd, sub_path: &str) -> Result<OwnedFd> {
    let path = Path::new(sub_path);
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::new(ErrorKind::Manifest, "must be a relative path without '..'"));
    }
    let opened = match confined::open_handle(&root, path, Outward::Refused) {
        Err(error) if error.is_not_found() => {
            let mode = metadata(root.as_fd().try_clone_to_owned()?)?.mode() & 0o7777;
            confined::make_dirs(&root, path, mode, Outward::Refused)
        }
        opened => opened,
    };
    opened.map_err(|error| match error.leads_out() {
        true => Error::new(ErrorKind::Manifest, "a symbolic link on its way leads out of the volume"),
        false => error.into(),
    })
}

/// `<root>/pods/<id>/volumes/<name>`; the name is a DNS label.
fn folder(host: &Host, id: &str, name: &str) -> PathBuf {
    host.pod_root(id).join("volumes").join(name)
}

fn make_empty_dir(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |volumes| own::directories(volumes, own::PRIVATE))?;
    // Every container's user may write here.
    Ok(own::directory(path, 0o777)?)
}

fn metadata(handle: OwnedFd) -> Result<Metadata> {
    Ok(File::from(handle).metadata()?)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::fs::set_permissions(&volume, Permissions::from_mode(0o770)).unwrap();
        symlink("../..", volume.join("up")).unwrap();
        symlink("/", volume.join("root")).unwrap();
        symlink("x", volume.join("in")).unwrap();
        let root = confined::open_host(&volume).unwrap();
        let made = metadata(open_sub_path(&root, "x/y").unwrap()).unwrap();
        assert_eq!(made.mode() & 0o7777, 0o770);
        for (path, inside_path) in [(".", "."), ("./x", "x"), ("in/./y", "x/y"), ("x//y/", "x/y")] {
            let reached = metadata(open_sub_path(&root, path).unwrap()).unwrap().ino();
            assert_eq!(reached, std::fs::metadata(volume.join(inside_path)).unwrap().ino(), "{path}");
        }
        for path in ["../x", "/x", "a/../b", "./..", "up", "root", "root/x/y", "up/new", "root/new"] {
            assert!(open_sub_path(&root, path).is_err(), "{path:?}");
        }
        let left = std::fs::read_dir(&volume).unwrap().count();
        assert_eq!(left, 4, "nothing was made for what is refused");
    }

    #[test]
    fn an_empty_dir_is_open_to_every_user() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { root: dir.path().to_owned(), ..Host::default() };
        let volumes = [("v".to_owned(), VolumeSource::Disk)];
        make(&host, "1", &volumes).unwrap();
        make(&host, "1", &volumes).unwrap();
        let mount = MountConfig {
            volume: "v".into(),
            source: VolumeSource::Disk,
            destination: "/v".into(),
            sub_path: "s".into(),
            read_only: false,
        };
        let source = open(&host, "1", &mount).unwrap();
        assert_eq!(metadata(source.tree).unwrap().mode() & 0o7777, 0o777);
        assert!(source.path.ends_with("pods/1/volumes/v/s"));
    }
}
