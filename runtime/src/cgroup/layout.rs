//! Which cgroup hierarchies this host mounts, and which controller lives where: v1, hybrid or v2.
//!
//! Invariant: read from /proc/self/mountinfo, never guessed from the names below /sys/fs/cgroup. The mounts at
//! and below that directory decide; a hierarchy mounted elsewhere, for a controller of its own, does not change
//! the layout.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Result};
use crate::sys::file::fs::{read_kernel_file, unescape_mount_point};

/// The controllers that podrun sets or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Controller {
    Cpu,
    Cpuset,
    Devices,
    Freezer,
    Hugetlb,
    Io,
    Memory,
    NetCls,
    NetPrio,
    Pids,
    Rdma,
}

impl Controller {
    const ALL: [Self; 11] = [
        Self::Cpu,
        Self::Cpuset,
        Self::Devices,
        Self::Freezer,
        Self::Hugetlb,
        Self::Io,
        Self::Memory,
        Self::NetCls,
        Self::NetPrio,
        Self::Pids,
        Self::Rdma,
    ];

    /// The kernel's name in the unified hierarchy; v1 has one of its own for block devices.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hugetlb => "hugetlb",
            Self::Io => "io",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::Rdma => "rdma",
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Devices => "devices",
            Self::Freezer => "freezer",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// Whether most containers have something of it set or read.
    pub(super) fn is_usual(self) -> bool {
        matches!(self, Self::Cpu | Self::Cpuset | Self::Io | Self::Memory | Self::Pids)
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let name = if name == "blkio" { Self::Io.name() } else { name };
        Self::ALL.into_iter().find(|controller| controller.name() == name)
    }
}

/// A v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// Its controllers, or its name, as mountinfo has them.
    pub(super) name: String,
    /// Which of our controllers it carries.
    pub(super) controllers: Vec<Controller>,
    /// It is systemd's own, `name=systemd`.
    pub(super) systemd: bool,
}

/// The unified hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unified {
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// Which of our controllers it carries; none on a hybrid host.
    pub(super) controllers: Vec<Controller>,
}

/// Which hierarchies this host mounts; read once, and handed on to the processes that one starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub(super) v1: Vec<Hierarchy>,
    pub(super) unified: Option<Unified>,
}

impl Layout {
    /// Reads the mounted hierarchies of the caller's mount namespace.
    pub fn detect() -> Result<Self> {
        let table =
            read_kernel_file("/proc/self/mountinfo").context(|| "cgroup: read /proc/self/mountinfo")?;
        let mut layout = Self::parse(&table);
        if let Some(unified) = &mut layout.unified {
            let file = unified.mount.join("cgroup.controllers");
            let names =
                std::fs::read_to_string(&file).context(|| format!("cgroup: read {}", file.display()))?;
            unified.controllers = names.split_whitespace().filter_map(Controller::parse).collect();
        }
        Ok(layout)
    }

    /// Whether nothing but the unified hierarchy is mounted: the cgroup namespace of a child born in
    /// its cgroup can be made by the same clone3.
    pub fn is_unified_only(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    /// Whether a limit of `controller` (the kernel's name) can be set here. Devices on v2 are a program, not a
    /// controller.
    pub fn carries(&self, controller: &str) -> bool {
        let mut controllers = self.v1.iter().flat_map(|hierarchy| &hierarchy.controllers);
        (controller == "devices" && self.is_unified_only())
            || controllers.any(|known| known.name() == controller)
            || self.carries_unified(controller)
    }

    /// Whether a limit of `controller` (the kernel's name) is set in the unified hierarchy.
    pub fn carries_unified(&self, controller: &str) -> bool {
        let mut controllers = self.unified.iter().flat_map(|unified| &unified.controllers);
        controllers.any(|known| known.name() == controller)
    }

    /// The layout in a word, for people.
    pub fn describe(&self) -> &'static str {
        match (self.v1.is_empty(), &self.unified) {
            (true, Some(_)) => "v2",
            (false, Some(_)) => "hybrid: v1 with an own v2 hierarchy",
            (false, None) => "v1",
            (true, None) => "none",
        }
    }

    /// The hierarchies of a mountinfo table. Of several mounts of one hierarchy the first counts.
    pub(super) fn parse(table: &str) -> Self {
        let mounts = table.lines().filter_map(Mount::parse);
        let mut mounts: Vec<Mount<'_>> =
            mounts.filter(|mount| mount.is_root() || mount.is_cgroup()).collect();
        // The last mount there covers the earlier ones.
        let last = mounts.iter().rposition(Mount::is_root);
        let mut index = 0..;
        mounts.retain(|mount| index.next() == last || !mount.is_root());
        let root = mounts.iter().find(|mount| mount.is_root());
        if let Some(root) = root.filter(|root| root.kind == "cgroup2") {
            // Hierarchies below it are covered, or another program's own.
            let unified = Unified { mount: root.point.clone(), controllers: Vec::new() };
            return Self { v1: Vec::new(), unified: Some(unified) };
        }
        let usual = |mount: &Mount<'_>| mount.is_cgroup() && mount.point.starts_with(ROOT);
        let elsewhere = !mounts.iter().any(usual);
        let mut layout = Self { v1: Vec::new(), unified: None };
        for mount in mounts.iter().filter(|mount| elsewhere || usual(mount)) {
            match mount.kind {
                "cgroup2" if layout.unified.is_none() => {
                    layout.unified = Some(Unified { mount: mount.point.clone(), controllers: Vec::new() });
                }
                "cgroup" => {
                    let hierarchy = mount.hierarchy();
                    if !layout.v1.iter().any(|known| known.name == hierarchy.name) {
                        layout.v1.push(hierarchy);
                    }
                }
                _ => {}
            }
        }
        layout
    }
}

/// Where a host has its cgroups.
const ROOT: &str = "/sys/fs/cgroup";

/// A line of mountinfo.
struct Mount<'a> {
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, file_system) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4).map(unescape_mount_point)?;
        let mut words = file_system.split(' ');
        Some(Self { point, kind: words.next()?, options: words.nth(1).unwrap_or_default() })
    }

    fn is_root(&self) -> bool {
        self.point == Path::new(ROOT)
    }

    fn is_cgroup(&self) -> bool {
        ["cgroup", "cgroup2"].contains(&self.kind)
    }

    fn hierarchy(&self) -> Hierarchy {
        let options = || self.options.split(',');
        // Before the name of the hierarchy stand the words of its file system.
        let words = options().filter(|word| !["rw", "ro", "xattr"].contains(word));
        Hierarchy {
            mount: self.point.clone(),
            name: words.collect::<Vec<_>>().join(","),
            controllers: options().filter_map(Controller::parse).collect(),
            systemd: options().any(|option| option == "name=systemd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hosts_have_both() {
        let layout = Layout::parse(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             37 31 0:34 / /sys/fs/cgroup/perf_event rw - cgroup cgroup rw,perf_event\n\
             38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        );
        let mounts: Vec<_> = layout.v1.iter().map(|h| h.mount.to_str().unwrap()).collect();
        let names = ["cpu,cpuacct", "memory", "perf_event", "blkio", "systemd"]
            .map(|name| format!("/sys/fs/cgroup/{name}"));
        assert_eq!(mounts, names);
        assert_eq!(layout.v1[0].controllers, [Controller::Cpu]);
        assert_eq!((layout.v1[2].controllers.len(), layout.v1[2].name.as_str()), (0, "perf_event"));
        assert_eq!(layout.v1[3].controllers, [Controller::Io]);
        assert!(layout.v1[4].systemd);
        assert_eq!(layout.unified.unwrap().mount, PathBuf::from("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn a_unified_host_has_one() {
        let layout = Layout::parse("24 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert!(layout.is_unified_only());
    }

    #[test]
    fn what_is_mounted_elsewhere_does_not_change_what_a_host_is() {
        const UNIFIED: &str = "24 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        const CLASSES: &str = "99 1 0:50 / /mnt/classes rw - cgroup none rw,net_cls\n";
        const BELOW: &str = "98 24 0:51 / /sys/fs/cgroup/pids rw - cgroup none rw,pids\n";
        const TMPFS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n";
        const OTHER: &str = "97 1 0:52 / /mnt/unified rw - cgroup2 none rw\n";
        let described = |lines: &[&str]| Layout::parse(&lines.concat()).describe();
        assert_eq!(described(&[CLASSES, UNIFIED, BELOW]), "v2");
        // A unified hierarchy mounted over those of v1 covers them, and the other way round.
        assert_eq!(described(&[TMPFS, BELOW, UNIFIED]), "v2");
        assert_eq!(described(&[UNIFIED, TMPFS, BELOW, OTHER]), "v1");
        assert_eq!(described(&[OTHER]), "v2");
    }

    #[test]
    fn odd_mount_points_are_read_as_the_kernel_writes_them() {
        let layout = Layout::parse("1 0 0:22 / /a\\040b rw - cgroup2 none rw\n");
        assert_eq!(layout.unified.unwrap().mount, PathBuf::from("/a b"));
    }
}
