//! What a container gets of the host's by its config or by exec: links, places in its cgroup, labels.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::host::Host;

use super::Oci;

/// The link `dev` as `ip` shows it: without its index and the name of its peer.
fn shown(host: &Host, dev: &str) -> Result<String> {
    let text = host.run("ip", &["-o", "address", "show", "dev", dev])?.ok()?;
    let link = host.run("ip", &["-o", "link", "show", "dev", dev])?.ok()?;
    let after = |line: &str| line.split_once(": ").map_or("", |(_, rest)| rest).to_owned();
    Ok(format!(
        "{}{}",
        link.split_once(" mtu ").map_or("", |(_, rest)| rest),
        text.lines().map(after).collect::<String>()
    ))
}

pub(super) fn links(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    host.script(
        "ip link add podone type veth peer name podtwo
        ip link set podone address 02:00:00:00:10:01 mtu 1400 up
        ip address add 192.0.2.7/24 broadcast 192.0.2.255 dev podone
        ip address add 198.51.100.7/32 dev podone
        ip address add 203.0.113.7/24 dev podone valid_lft 600 preferred_lft 600
        ip address add 2001:db8::7/64 dev podone nodad
        ip link set podtwo up",
    )?
    .ok()?;
    let before = shown(host, "podone")?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    let run = |args: &[&str], devices: Value, more: &[(&str, Value)]| {
        let changes = [&[("/linux/netDevices", devices)], more].concat();
        oci.config(args, &changes)?;
        oci.oci(&["run", "--bundle", &bundle, "web"])
    };
    // What fails leaves the links where they were, as they were.
    let hook = json!({"createRuntime": [{"path": "/bin/false"}]});
    let network = json!([{"type": "mount"}, {"type": "pid"}, {"type": "uts"}]);
    for (devices, more, says) in [
        (json!({"podnone": {}}), vec![], "podnone"),
        (json!({"podone": {"name": "lo"}}), vec![], "has a link `lo`"),
        (json!({"podone": {"name": "same"}, "podtwo": {"name": "same"}}), vec![], "has a link `same`"),
        (json!({"podone": {"name": "a/b"}}), vec![], "a/b"),
        (json!({"podone": {}}), vec![("/linux/namespaces", network)], "network namespace of its own"),
        (json!({"podone": {"name": "eth7"}}), vec![("/hooks", hook)], "createRuntime hook"),
        (json!({"podone": {"name": "eth7"}}), vec![("/process/args", json!(["nothing"]))], "nothing"),
    ] {
        let outcome = run(&["true"], devices, &more)?;
        ensure!(outcome.code() == 1 && outcome.stderr.contains(says), "{says}: {outcome}");
        oci.gone()?;
        let after = shown(host, "podone")?;
        ensure!(
            after.replace(" secondary", "").contains("192.0.2.7/24") && after.contains("02:00:00:00:10:01"),
            "{says}: {after}"
        );
        ensure!(
            host.run("ip", &["link", "show", "podtwo"])?.ok()?.contains("UP"),
            "podtwo is down after: {says}"
        );
    }
    ensure!(before.contains("203.0.113.7"), "{before}");
    let show = ["sh", "-c", "ip address; cat /sys/class/net/eth7/mtu"];
    let said = run(&show, json!({"podone": {"name": "eth7"}, "podtwo": {"name": "net%d"}}), &[])?.ok()?;
    for part in [
        "eth7",
        "net0",
        "02:00:00:00:10:01",
        "192.0.2.7/24 brd 192.0.2.255",
        "198.51.100.7/32",
        "2001:db8::7/64",
    ] {
        ensure!(said.contains(part), "{part}: {said}");
    }
    ensure!(said.matches("UP").count() >= 2 && said.ends_with("1400\n"), "{said}");
    ensure!(!said.contains("203.0.113.7"), "an address that is not for ever came along: {said}");
    // They have gone with the container's network.
    ensure!(!host.run("ip", &["link", "show", "podone"])?.status.success());
    Ok(())
}

/// Where the container's cgroup is in each hierarchy, and whether that is the unified one.
fn places(host: &Host) -> Result<Vec<(PathBuf, bool)>> {
    let places = host.cgroup_folders()?.into_iter().map(|folder| folder.join("c"));
    Ok(places
        .filter(|place| place.is_dir())
        .map(|place| {
            let unified = place.join("cgroup.events").exists();
            (place, unified)
        })
        .collect())
}

pub(super) fn below(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let pure = host.cgroup_folders()?.len() == 1;
    // `make test-v2` has no other controller in its only hierarchy.
    let pages = json!([{"pageSize": "2MB", "limit": 4 << 20}]);
    let limits = ("/linux/resources/hugepageLimits", pages);
    oci.config(&["sleep", "1000"], if pure { std::slice::from_ref(&limits) } else { &[] })?;
    oci.create("")?.ok()?;
    oci.oci(&["start", "web"])?.ok()?;
    let exec = |flags: &[&str]| oci.oci(&[&["exec"], flags, &["web", "cat", "/proc/self/cgroup"]].concat());
    for wrong in ["..", "a/../../b", ":a", "memory:"] {
        let said = exec(&["--cgroup", wrong])?.fails_with(255)?;
        ensure!(said.contains("--cgroup"), "{wrong}: {said}");
    }
    let said = exec(&["--cgroup", "sub/leaf"])?.fails_with(255)?;
    ensure!(said.contains("there is no cgroup"), "{said}");
    let places = places(host)?;
    for (place, unified) in &places {
        std::fs::create_dir_all(place.join("sub/leaf"))?;
        // A cgroup of v1 takes nobody before it has processors and memory.
        for file in ["cpuset.cpus", "cpuset.mems"]
            .into_iter()
            .filter(|_| !unified && place.join("cpuset.cpus").exists())
        {
            let given = std::fs::read(place.join(file))?;
            std::fs::write(place.join("sub").join(file), &given)?;
            std::fs::write(place.join("sub/leaf").join(file), &given)?;
        }
    }
    // The kernel lists its v1 hierarchies too where nobody has mounted them.
    let all_in = |said: &str, end: &str| {
        said.lines().filter(|line| !pure || line.starts_with("0::")).all(|line| line.ends_with(end))
    };
    let own = exec(&[])?.ok()?;
    ensure!(all_in(&own, ":/"), "{own}");
    let top = exec(&["--cgroup", "/"])?.ok()?;
    ensure!(top == own, "{top}");
    let inside = exec(&["--cgroup", "sub/leaf"])?.ok()?;
    ensure!(all_in(&inside, ":/sub/leaf"), "{inside}");
    let some = exec(&["--cgroup", "memory,pids:/sub"])?;
    if pure {
        ensure!(some.fails_with(255)?.contains("no controller of cgroup v1"));
        // A manager of services moves itself below, gives controllers on, and can be entered still.
        let script = "mkdir -p /sys/fs/cgroup/init; echo 1 >/sys/fs/cgroup/init/cgroup.procs";
        let place = &places.first().context("there is a hierarchy")?.0;
        oci.oci(&["exec", "web", "sh", "-c", script])?;
        std::fs::create_dir_all(place.join("init"))?;
        std::fs::write(place.join("init/cgroup.procs"), std::fs::read(place.join("cgroup.procs"))?)?;
        std::fs::write(place.join("cgroup.subtree_control"), "+hugetlb")?;
        let beside = exec(&[])?.ok()?;
        ensure!(all_in(&beside, ":/init"), "{beside}");
    } else {
        let some = some.ok()?;
        let moved = |line: &&str| [":memory:", ":pids:"].iter().any(|name| line.contains(name));
        let (moved, stayed): (Vec<&str>, Vec<&str>) = some.lines().partition(moved);
        ensure!(moved.len() == 2 && moved.iter().all(|line| line.ends_with(":/sub")), "{some}");
        ensure!(stayed.iter().all(|line| line.ends_with(":/")), "{some}");
    }
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()
}

pub(super) fn again(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sleep", "1000"], &[])?;
    let folders: Vec<PathBuf> = host.cgroup_folders()?.into_iter().map(|folder| folder.join("c")).collect();
    folders.iter().try_for_each(std::fs::create_dir_all)?;
    for _ in 0..2 {
        oci.create("")?.ok()?;
        oci.oci(&["start", "web"])?.ok()?;
        // All that is in it is killed, and the kernel does not kill what comes later.
        oci.oci(&["delete", "--force", "web"])?.ok()?;
    }
    // It is whose it was.
    for folder in folders.iter().flat_map(|folder| folder.ancestors().take(2)) {
        std::fs::remove_dir(folder).with_context(|| folder.display().to_string())?;
    }
    oci.gone()
}

pub(super) fn labels(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    let label = "system_u:object_r:container_file_t:s0";
    oci.config(&["cat", "/proc/self/mountinfo"], &[("/linux/mountLabel", json!(label))])?;
    let outcome = oci.oci(&["run", "--bundle", &bundle, "web"])?;
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        let said = outcome.ok()?;
        ensure!(said.lines().any(|line| line.contains(" /dev ") && line.contains(label)), "{said}");
    } else {
        let said = outcome.fails_with(1)?;
        ensure!(said.contains("linux.mountLabel") && said.contains("without SELinux"), "{said}");
    }
    let rdt = json!({"closID": "guaranteed", "schemata": ["L3:0=f"]});
    oci.config(&["true"], &[("/linux/intelRdt", rdt)])?;
    if !std::fs::read_to_string("/proc/mounts")?.contains(" resctrl ") {
        let said = oci.oci(&["run", "--bundle", &bundle, "web"])?.fails_with(1)?;
        ensure!(said.contains("linux.intelRdt: no resctrl is mounted"), "{said}");
    }
    oci.gone()
}
