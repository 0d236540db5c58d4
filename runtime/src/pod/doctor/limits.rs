//! How much the kernel has room for here: the limits that many pods meet first. docs/limits.md has their order.
//!
//! Invariant: nothing is changed; a limit that this kernel does not report is not shown.

use std::fs;

use super::Finding;
use crate::net;

/// The share of a limit in use from which it is reported.
const FULL_PERCENT: usize = 80;

/// Each limit, and how near it is where the kernel tells.
pub(super) fn findings() -> Vec<Finding> {
    [descriptors(), watchers(), neighbours(), host_ports()].into_iter().flatten().collect()
}

/// An exec in a pod takes four of its monitor's; a monitor has the hard limit of its pod's creator.
fn descriptors() -> Option<Finding> {
    const FEW: usize = 4096;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let hard = hard_limit(&limits, "Max open files")?;
    let seen = format!("{hard} a process, for {} execs at once in one pod", hard / 4);
    Some(match hard < FEW {
        true => {
            Finding::limited("descriptors", seen, "`ulimit -Hn 524288` before `podrun create` gives more")
        }
        false => Finding::good("descriptors", seen),
    })
}

/// The second number of a limit in /proc/PID/limits.
fn hard_limit(limits: &str, name: &str) -> Option<usize> {
    let numbers = limits.lines().find_map(|line| line.strip_prefix(name))?;
    numbers.split_whitespace().nth(1)?.parse().ok()
}

/// Each client that waits for pods or follows logs has an inotify instance.
fn watchers() -> Option<Finding> {
    const FEW: usize = 32;
    let most = read("/proc/sys/fs/inotify/max_user_instances")?;
    let seen = format!("{most} clients that wait at once (get -w, logs -f, wait)");
    Some(match most < FEW {
        true => {
            Finding::limited("watchers", seen, "`sysctl -w fs.inotify.max_user_instances=1024` gives more")
        }
        false => Finding::good("watchers", seen),
    })
}

/// One table for all network namespaces: a pod on the bridge is a neighbour of the host's, and the host one of the pod's.
fn neighbours() -> Option<Finding> {
    let most = read("/proc/sys/net/ipv4/neigh/default/gc_thresh3")?;
    let statistics = fs::read_to_string("/proc/net/stat/arp_cache").unwrap_or_default();
    let used = entries(&statistics).unwrap_or_default();
    let seen = format!("{used} of {most} neighbours, two a pod: some {} pods on bridges", most / 2);
    let advice = format!(
        "beyond, packets are dropped: `sysctl -w net.ipv4.neigh.default.gc_thresh3={0} net.ipv6.neigh.default.gc_thresh3={0}`",
        most.max(1024) * 8
    );
    Some(match is_nearly_full(used, most) {
        true => Finding::limited("neighbours", seen, advice),
        false => Finding::good("neighbours", seen),
    })
}

/// The first number, in hexadecimal, below the headings.
fn entries(statistics: &str) -> Option<usize> {
    let first = statistics.lines().nth(1)?.split_whitespace().next()?;
    usize::from_str_radix(first, 16).ok()
}

fn host_ports() -> Option<Finding> {
    let (used, most) = (net::nat_chains().ok()?, net::NAT_CHAINS_MAX);
    let seen = format!("{used} of {most} NAT chains, one a pod with hostPorts");
    Some(match is_nearly_full(used, most) {
        true => Finding::limited(
            "host ports",
            seen,
            "pods with hostNetwork take none; `nft list chains` shows whose they are",
        ),
        false => Finding::good("host ports", seen),
    })
}

fn is_nearly_full(used: usize, most: usize) -> bool {
    used * 100 >= most * FULL_PERCENT
}

fn read(path: &str) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let limits = "Limit          Soft Limit   Hard Limit   Units\nMax open files            1024                 524288               files\n";
        assert_eq!(hard_limit(limits, "Max open files"), Some(524_288));
        assert_eq!(hard_limit(limits, "Max processes"), None);
        assert_eq!(entries("entries  allocs\n000001f4  00000015\n"), Some(500));
        assert!(is_nearly_full(820, 1024) && !is_nearly_full(819, 1024));
    }
}
