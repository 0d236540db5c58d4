//! Checks of this host, made by trying each feature.
//!
//! Invariant: nothing is left behind. Mounts are never attached, and the network is tried between two
//! namespaces that end with this process, which must do nothing else afterwards.

mod limits;

use std::fs;
use std::os::fd::AsFd;

use crate::cgroup::Layout;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::net::{self, HostSockets, Owner, PortFilter};
use crate::sys;

/// How the host does in one respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Pods run, with something less.
    Limited,
    /// Pods do not run.
    Lacking,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The subject of the check.
    pub subject: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// The value found.
    pub seen: String,
    /// The remedy; empty where none is needed.
    pub advice: String,
}

impl Finding {
    fn good(subject: &'static str, seen: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, seen: seen.into(), advice: String::new() }
    }

    fn limited(subject: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Limited, seen: seen.into(), advice: advice.into() }
    }

    fn lacking(subject: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Lacking, seen: seen.into(), advice: advice.into() }
    }

    /// Good if `tried` went well, else lacking with its error.
    fn tried(subject: &'static str, tried: Result<String>, advice: &str) -> Self {
        match tried {
            Ok(seen) => Self::good(subject, seen),
            Err(error) => Self::lacking(subject, error.message(), error.hint_text().unwrap_or(advice)),
        }
    }
}

/// Looks at everything. To be called by a process that does nothing else afterwards.
pub fn examine(host: &Host) -> Vec<Finding> {
    let mut findings = vec![
        kernel(),
        rights(),
        resource_rights(),
        namespaces(),
        file_systems(),
        cgroups(),
        Finding::tried(
            "overlay",
            overlay(host),
            "the kernel needs CONFIG_OVERLAY_FS, and --root a file system such as ext4, xfs or btrfs",
        ),
        Finding::tried(
            "shared mounts",
            shared_mounts(),
            "a pod's /dev/shm is a mount that no table holds: Linux 5.14 or newer, with CONFIG_TMPFS, is needed",
        ),
        space(host),
    ];
    findings.extend(limits::findings());
    // The last: it leaves the host's network.
    findings.push(Finding::tried(
        "network",
        network(host),
        "the kernel needs CONFIG_BRIDGE, CONFIG_VETH, CONFIG_NF_TABLES and CONFIG_NFT_MASQ, built in or loaded; pods with hostNetwork need none of it",
    ));
    findings
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim_end();
    match version(release) {
        Some(version) if version < (5, 14) => {
            Finding::lacking("kernel", format!("Linux {release}"), "Linux 5.14 or newer is needed")
        }
        _ => Finding::good("kernel", format!("Linux {release}")),
    }
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn rights() -> Finding {
    match Host::lacking_capability() {
        None => Finding::good("rights", "the capabilities that pods take"),
        Some(lacking) => Finding::lacking("rights", format!("{lacking} is missing"), "run podrun with sudo"),
    }
}

fn resource_rights() -> Finding {
    if Host::has_capability("CAP_SYS_RESOURCE") {
        return Finding::good("resource rights", "CAP_SYS_RESOURCE");
    }
    Finding::limited(
        "resource rights",
        "CAP_SYS_RESOURCE is missing",
        "rlimits above podrun's own and negative oom_score_adj are clamped to what is allowed",
    )
}

fn namespaces() -> Finding {
    let missing: Vec<&str> = ["mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .into_iter()
        .filter(|kind| !std::path::Path::new("/proc/self/ns").join(kind).exists())
        .collect();
    let forbidden: Vec<&str> = ["mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .into_iter()
        .filter(|kind| {
            let limit = fs::read_to_string(format!("/proc/sys/user/max_{kind}_namespaces"));
            limit.is_ok_and(|limit| limit.trim_end() == "0")
        })
        .collect();
    if let Some(kind) = missing.first() {
        let option = kind.to_uppercase();
        return Finding::lacking(
            "namespaces",
            format!("no {kind} namespaces"),
            format!("the kernel needs CONFIG_{option}_NS"),
        );
    }
    if let Some(kind) = forbidden.first() {
        let advice = format!("sysctl -w user.max_{kind}_namespaces=10000");
        return Finding::lacking("namespaces", format!("user.max_{kind}_namespaces is 0"), advice);
    }
    Finding::good("namespaces", "mnt, pid, net, ipc, uts, cgroup")
}

fn file_systems() -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known: Vec<&str> = known.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let wanted = [
        ("proc", "CONFIG_PROC_FS"),
        ("sysfs", "CONFIG_SYSFS"),
        ("tmpfs", "CONFIG_TMPFS"),
        ("devpts", "CONFIG_UNIX98_PTYS"),
        ("mqueue", "CONFIG_POSIX_MQUEUE"),
    ];
    match wanted.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, option)) => {
            Finding::lacking("file systems", format!("no {name}"), format!("the kernel needs {option}"))
        }
        None => Finding::good("file systems", "proc, sysfs, tmpfs, devpts, mqueue"),
    }
}

fn cgroups() -> Finding {
    let layout = match Layout::detect() {
        Ok(layout) => layout,
        Err(error) => return Finding::lacking("cgroups", error.message(), "mount cgroup2 at /sys/fs/cgroup"),
    };
    let missing: Vec<&str> =
        ["memory", "cpu", "pids", "devices"].into_iter().filter(|name| !layout.carries(name)).collect();
    let seen = layout.describe();
    if missing.is_empty() {
        return Finding::good("cgroups", seen);
    }
    let advice = format!(
        "limits of {} are refused; the kernel was built or booted without that controller",
        missing.join(", ")
    );
    Finding::limited("cgroups", format!("{seen}, without {}", missing.join(", ")), advice)
}

/// Mounts an overlay of two folders on the file system of the snapshots, attached nowhere.
fn overlay(host: &Host) -> Result<String> {
    host.make_root()?;
    let scratch = host.root.join(format!("doctor-{}", std::process::id()));
    let tried = overlay_in(&scratch);
    let removed = fs::remove_dir_all(&scratch);
    tried?;
    removed.context(|| format!("remove {}", scratch.display()))?;
    Ok(format!("overlayfs on {}", host.root.display()))
}

fn overlay_in(scratch: &std::path::Path) -> Result<()> {
    let folder = |name: &str| {
        let path = scratch.join(name);
        sys::file::own::directories(&path, sys::file::own::PRIVATE)?;
        fs::File::open(path).map(std::os::fd::OwnedFd::from)
    };
    let (lower, upper, work) = (folder("lower")?, folder("upper")?, folder("work")?);
    sys::file::overlay::mount(&[lower.as_fd()], upper.as_fd(), work.as_fd())?;
    Ok(())
}

/// Copies a mount that no table of the host holds.
fn shared_mounts() -> Result<String> {
    let tree = sys::file::mount::make_detached(c"tmpfs", &[], 0)?;
    let mut held = crate::engine::HeldMounts::default();
    let part = sys::io::stream::duplicate(tree.as_fd())?;
    held.insert("doctor", tree);
    held.copy("doctor", part.as_fd(), sys::file::mount::Depth::One)?;
    Ok(match held.are_in_a_namespace() {
        true => "held in a mount namespace of their own, as before Linux 6.15".into(),
        false => "held by descriptor".into(),
    })
}

fn space(host: &Host) -> Finding {
    const ENOUGH: u64 = 1 << 30;
    match sys::file::fs::free_bytes(&host.root) {
        Ok(free) if free < ENOUGH => Finding::limited(
            "space",
            format!("{} MiB free in {}", free >> 20, host.root.display()),
            "images are unpacked there: free some, or choose another --root",
        ),
        Ok(free) => Finding::good("space", format!("{} GiB free in {}", free >> 30, host.root.display())),
        Err(error) => {
            Finding::limited("space", error.to_string(), "the folder is made by the first `podrun create`")
        }
    }
}

/// Makes a bridge, a pod's link and its rules in a network namespace that plays the host.
fn network(host: &Host) -> Result<String> {
    sys::process::ns::unshare(sys::process::ns::Namespaces::NET)
        .map_err(|errno| errno.during("unshare(CLONE_NEWNET)"))?;
    let scratch = host.state_dir.join(format!("doctor-{}", std::process::id()));
    let played = Host { state_dir: scratch.clone(), ..host.clone() };
    let tried = network_in(&played);
    let removed = fs::remove_dir_all(&scratch);
    tried?;
    removed.context(|| format!("remove {}", scratch.display()))?;
    Ok(format!("bridge, veth and nftables; pods get addresses of {}", host.network.subnet))
}

fn network_in(host: &Host) -> Result<()> {
    host.make_state_dir()?;
    let mut sockets = HostSockets::open(host)?;
    sys::process::ns::unshare(sys::process::ns::Namespaces::NET)
        .map_err(|errno| errno.during("unshare(CLONE_NEWNET)"))?;
    let id = "d".repeat(64);
    net::attach(&mut sockets, host, Owner { id: &id, name: "doctor" }, &[], PortFilter::On)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert!(version("5.9.0") < version("5.10.1"));
        assert_eq!(version("strange"), None);
    }
}
