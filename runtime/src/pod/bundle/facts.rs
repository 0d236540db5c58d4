//! The inputs of specs beside config and image: this host's memory, podrun's own rights, and, for privileged
//! containers, the host's devices.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime::{Capability, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};

use crate::cgroup::Layout;
use crate::host::Host;
use crate::sys::child::arguments;
use crate::sys::kernel;

/// Folders of /dev that a container has of its own.
const OWN_FOLDERS: [&str; 5] = ["pts", "shm", "mqueue", "fd", ".udev"];

/// The controllers that this host's cgroups lack. A limit that needs one is refused; one of podrun's own
/// defaults is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Missing {
    /// No share of the processors.
    pub cpu: bool,
    /// No count of processes.
    pub pids: bool,
}

impl Missing {
    /// The missing controllers of a host with this layout.
    pub fn of(layout: &Layout) -> Self {
        Self { cpu: !layout.carries("cpu"), pids: !layout.carries("pids") }
    }
}

/// The facts of the host that specs depend on.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The name of the host: of the UTS namespace that this process is in.
    pub hostname: String,
    /// Bytes of memory.
    pub memory: u64,
    /// The capabilities that podrun can hand on.
    pub capabilities: HashSet<Capability>,
    /// The kernel's version: the first two numbers.
    pub kernel: (u32, u32),
    /// The soft limit of the stack that a container's program begins with: this process's own.
    pub stack: u64,
    /// Whether memory is limited by cgroup v2.
    pub unified_memory: bool,
    /// The cgroup controllers that it has not.
    pub missing: Missing,
    /// Each CPU's thermal_throttle folder, which tells a neighbour's load.
    pub throttles: Vec<String>,
    pub(super) devices: OnceCell<Vec<LinuxDevice>>,
}

impl Facts {
    /// Reads them.
    pub fn read(layout: &Layout) -> Self {
        Self {
            hostname: Host::node_name(),
            unified_memory: layout.carries_unified("memory"),
            missing: Missing::of(layout),
            memory: kernel::memory(),
            kernel: kernel::release(),
            stack: arguments::stack_limit(),
            capabilities: capabilities(),
            throttles: throttles(),
            devices: OnceCell::new(),
        }
    }

    /// The host's devices, as they were when the first privileged container asked for them.
    pub fn devices(&self) -> &[LinuxDevice] {
        self.devices.get_or_init(|| devices(Path::new("/dev")))
    }
}

fn capabilities() -> HashSet<Capability> {
    let held = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
    let named = |capability: &caps::Capability| capability.to_string().strip_prefix("CAP_")?.parse().ok();
    held.iter().filter_map(named).collect()
}

fn throttles() -> Vec<String> {
    let base = Path::new("/sys/devices/system/cpu");
    if !base.join("cpu0/thermal_throttle").exists() {
        return Vec::new();
    }
    let names = std::fs::read_dir(base).into_iter().flatten().flatten();
    let folders = names.map(|entry| entry.path().join("thermal_throttle")).filter(|folder| folder.exists());
    folders.filter_map(|folder| folder.into_os_string().into_string().ok()).collect()
}

/// Every device node below `folder`, as a privileged container gets them.
fn devices(folder: &Path) -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() {
            if !OWN_FOLDERS.iter().any(|own| entry.file_name() == *own) {
                found.extend(devices(&entry.path()));
            }
            continue;
        }
        let kind = match (kind.is_char_device(), kind.is_block_device()) {
            (true, _) => LinuxDeviceType::C,
            (_, true) => LinuxDeviceType::B,
            _ => continue,
        };
        if entry.path() == Path::new("/dev/console") {
            continue;
        }
        let (major, minor) = numbers(metadata.rdev());
        let device = LinuxDeviceBuilder::default()
            .path(entry.path())
            .typ(kind)
            .major(major)
            .minor(minor)
            .file_mode(metadata.mode() & 0o7777)
            .uid(metadata.uid())
            .gid(metadata.gid())
            .build();
        found.extend(device);
    }
    found
}

/// The kernel's 64-bit device number taken apart, as glibc's major() and minor() do.
fn numbers(rdev: u64) -> (i64, i64) {
    let major = ((rdev >> 8) & 0xfff) | ((rdev >> 32) & 0xffff_f000);
    let minor = (rdev & 0xff) | ((rdev >> 12) & 0xffff_ff00);
    (i64::try_from(major).unwrap_or_default(), i64::try_from(minor).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_come_apart() {
        assert_eq!(numbers(0x0103), (1, 3));
        assert_eq!(numbers(0x0010_0812), (8, 0x112));
    }

    #[test]
    fn this_host_has_memory_and_a_null_device() {
        let facts = Facts::read(&Layout::detect().unwrap());
        assert!(facts.memory > 1 << 20);
        assert!(facts.kernel >= (5, 0));
        assert!(facts.devices().iter().any(|device| device.path() == Path::new("/dev/null")));
    }
}
