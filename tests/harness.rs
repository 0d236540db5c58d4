//! The leak check itself: each kind of thing that podrun could leave behind is left behind once, and has
//! to be seen. Without this, a clean result would say nothing.

use anyhow::{Result, ensure};

use support::footprint::Footprint;
use support::host::Host;
use support::suite::Suite;

/// A kind, the command that leaves one behind, and the one that takes it away.
const LEAKS: [(&str, &str, &str); 12] = [
    ("process", "setsid sleep 1000 >/dev/null 2>&1 & :", "kill $(pidof sleep)"),
    ("mount", "mkdir /run/m && mount -t tmpfs leak /run/m", "umount /run/m && rmdir /run/m"),
    ("namespace", "unshare --net setsid sleep 1000 >/dev/null 2>&1 & :", "kill $(pidof sleep)"),
    ("mount", "ip netns add leak", "ip netns del leak; umount /run/netns; rmdir /run/netns"),
    ("link", "ip link add leak type veth peer name leak2", "ip link del leak"),
    ("address", "ip address add 10.99.0.1/32 dev lo", "ip address del 10.99.0.1/32 dev lo"),
    ("route", "ip route add blackhole 10.98.0.0/16", "ip route del blackhole 10.98.0.0/16"),
    ("nft", "nft add table inet leak", "nft delete table inet leak"),
    ("sysctl", "echo 1 >/proc/sys/net/ipv4/ip_forward", "echo 0 >/proc/sys/net/ipv4/ip_forward"),
    ("sysctl", "echo 1 >/proc/sys/kernel/shm_rmid_forced", "echo 0 >/proc/sys/kernel/shm_rmid_forced"),
    ("sysctl", "hostname leak", "hostname test-host"),
    ("file", "echo x >/run/leak", "rm /run/leak"),
];

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("the leak check sees a leak of every kind", &[], every_kind_is_seen);
    suite.on_host("the leak check sees a cgroup and a record left behind", &[], cgroups_and_records_are_seen);
    suite.on_host("a test's host shares no namespace with the machine", &[], a_host_is_its_own);
}

fn every_kind_is_seen(host: &Host) -> Result<()> {
    for (kind, leave, take_away) in LEAKS {
        let before = Footprint::of(host)?;
        host.run("sh", &["-c", leave])?.ok()?;
        let changes = support::deadline::wait_for(&format!("`{leave}` is seen"), || {
            let changes = Footprint::of(host)?.changes_since(&before);
            ensure!(changes.iter().any(|line| line.starts_with(&format!("+ {kind} "))), "{changes:?}");
            Ok(changes)
        })?;
        ensure!(!changes.is_empty(), "{leave}");
        host.run("sh", &["-c", take_away])?.ok()?;
        before.wait_until_restored(host)?;
    }
    Ok(())
}

fn cgroups_and_records_are_seen(host: &Host) -> Result<()> {
    let before = Footprint::of(host)?;
    let hierarchies = host.cgroup_folders()?;
    ensure!(!hierarchies.is_empty(), "no cgroup hierarchy is mounted");
    for folder in &hierarchies {
        std::fs::create_dir_all(folder.join("pod/container"))?;
    }
    for tree in [host.root(), host.state_dir(), host.log_dir()] {
        std::fs::create_dir_all(tree.join("pods/0123"))?;
        std::fs::write(tree.join("pods/0123/status.json"), "{}")?;
    }
    let now = Footprint::of(host)?;
    let count = |kind: &str| now.of_kind(kind).len() - before.of_kind(kind).len();
    ensure!(count("cgroup") == 3 * hierarchies.len(), "{:?}", now.of_kind("cgroup"));
    ensure!(count("file") == 3 && count("folder") == 3, "{:?}", now.changes_since(&before));
    for folder in &hierarchies {
        ["pod/container", "pod", ""].iter().try_for_each(|name| std::fs::remove_dir(folder.join(name)))?;
    }
    [host.root(), host.state_dir(), host.log_dir()]
        .iter()
        .try_for_each(|tree| std::fs::remove_dir_all(tree.join("pods")))?;
    Ok(())
}

fn a_host_is_its_own(host: &Host) -> Result<()> {
    for kind in ["net", "mnt", "pid", "ipc", "uts"] {
        let inside = host.run("readlink", &[&format!("/proc/self/ns/{kind}")])?.ok()?;
        let outside = std::fs::read_link(format!("/proc/self/ns/{kind}"))?;
        ensure!(inside.trim_end() != outside.to_string_lossy(), "{kind} is shared");
    }
    ensure!(host.run("cat", &["/proc/1/cmdline"])?.ok()?.contains("--test-host-init"), "pid 1 is ours");
    ensure!(host.run("ls", &["-A", "/run"])?.ok()?.is_empty(), "/run is not private");
    let links = host.run("ip", &["-o", "link"])?.ok()?;
    ensure!(links.lines().count() == 1 && links.contains("LOOPBACK,UP"), "{links}");
    Ok(())
}
