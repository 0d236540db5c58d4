//! The mounts of a container, in order.
//!
//! Invariants: a destination appears once, and a mount of the manifest replaces podrun's own there; a
//! destination comes after all of its parents.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::{FILES, Inputs, SHM};
use crate::error::{Error, ErrorKind, Result};

/// Every mount of the container.
pub(super) fn mounts(inputs: &Inputs<'_>) -> Result<Vec<Mount>> {
    let mut mounts = system(inputs)?;
    for (mount, source) in inputs.config.mounts.iter().zip(inputs.volume_sources) {
        let destination = mount_point(&mount.destination)?;
        mounts.retain(|own| own.destination() != &destination);
        let write = if mount.read_only { "ro" } else { "rw" };
        mounts.push(bind(&destination, source, &["rbind", "rprivate", write]));
    }
    // Stable: among equals the order is Kubernetes'.
    mounts.sort_by_key(|mount| mount.destination().components().count());
    Ok(mounts)
}

/// The mounts of every container: the kernel's file systems, the pod's shared memory, its files in /etc.
fn system(inputs: &Inputs<'_>) -> Result<Vec<Mount>> {
    let sys = if inputs.config.rights.privileged { "rw" } else { "ro" };
    let etc_write = if inputs.config.read_only_root { "ro" } else { "rw" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", sys]),
        bind(Path::new(SHM), Path::new(SHM), &["rbind", "rprivate", "nosuid", "noexec", "nodev", "rw"]),
    ];
    // The monitor holds them: no file of the host's is among them, whatever a container does.
    let held = |destination: &Path, write: &str| {
        bind(destination, destination, &["rbind", "rprivate", "nosuid", "noexec", "nodev", write])
    };
    mounts.extend(FILES.map(|name| held(&Path::new("/etc").join(name), etc_write)));
    if let Some(message) = &inputs.config.termination_message {
        mounts.push(held(&mount_point(&message.path)?, "rw"));
    }
    Ok(mounts)
}

/// A mountPath, or a terminationMessagePath, from the container's root on, as a kubelet takes it, with its dots and double
/// slashes gone: the destination in the spec.
pub(crate) fn mount_point(path: &str) -> Result<PathBuf> {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::new(
                    ErrorKind::Manifest,
                    format!("mount path {path:?}: must not contain '..'"),
                ));
            }
        }
    }
    if clean == Path::new("/") {
        return Err(Error::new(
            ErrorKind::Manifest,
            format!("mount path {path:?}: nothing is mounted over /"),
        ));
    }
    Ok(clean)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    build(Path::new(destination), kind, Path::new(source), options)
}

fn bind(destination: &Path, source: &Path, options: &[&str]) -> Mount {
    build(destination, "bind", source, options)
}

fn build(destination: &Path, kind: &str, source: &Path, options: &[&str]) -> Mount {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build()
        .expect("destination is given")
}
