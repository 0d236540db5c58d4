//! A container in the mount namespace of whoever creates it (config-linux.md, "Namespaces": a kind that is not listed is
//! inherited).

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use support::host::Host;

use super::{Oci, hook, kill_in_hook};

/// The host's mounts below the bundle, and how its own root spreads.
fn mounts(host: &Host, oci: &Oci<'_>) -> Result<(Vec<String>, String)> {
    let (bundle, all) = (oci.bundle.display().to_string(), host.script("cat /proc/self/mountinfo")?.ok()?);
    let place = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
    let root = all.lines().find(|line| place(line) == "/").unwrap_or_default().to_owned();
    Ok((all.lines().map(place).filter(|place| place.starts_with(&bundle)).collect(), root))
}

pub(super) fn life(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let before = mounts(host, &oci)?;
    ensure!(before.0.is_empty() && !before.1.is_empty(), "{before:?}");
    std::fs::write(oci.bundle.join("rootfs/own"), "own\n")?;
    let outside = host.script("readlink /proc/self/ns/mnt")?.ok()?;
    let hooks = json!({
        "createContainer": hook(&oci, "createContainer", false), "startContainer": hook(&oci, "startContainer", true),
    });
    let (inherited, named) = (json!([{"type": "pid"}, {"type": "uts"}]), "/proc/self/ns/mnt");
    let named = json!([{"type": "pid"}, {"type": "uts"}, {"type": "mount", "path": named}]);
    for (namespaces, hooks) in [(inherited.clone(), json!({})), (inherited, hooks), (named, json!({}))] {
        let hooked = hooks != json!({});
        oci.config(&["sleep", "1000"], &[("/linux/namespaces", namespaces), ("/hooks", hooks)])?;
        oci.create("")?.ok()?;
        oci.oci(&["start", "web"])?.ok()?;
        let pid = oci.state()?["pid"].to_string();
        let inside = host.script(&format!("readlink /proc/{pid}/ns/mnt"))?.ok()?;
        ensure!(inside == outside, "{inside} {outside}");
        let (below, root) = mounts(host, &oci)?;
        ensure!(root == before.1, "{root}");
        for place in ["/rootfs", "/rootfs/proc", "/rootfs/dev/pts", "/rootfs/proc/sys"] {
            ensure!(below.contains(&format!("{}{place}", oci.bundle.display())), "{place}: {below:?}");
        }
        // Whoever comes to it later has its root too, not the namespace's.
        let look = format!("cat /own; ls -d {} /proc/1/root/own; cat /proc/1/comm", oci.bundle.display());
        let said = oci.oci(&["exec", "web", "sh", "-c", &look])?;
        ensure!(said.stdout == "own\n/proc/1/root/own\nsleep\n", "{said}");
        if hooked {
            let seen = std::fs::read_to_string(oci.bundle.join("rootfs/seen"))?;
            ensure!(seen == "createContainer creating set\nstartContainer created set\n", "{seen}");
        }
        oci.oci(&["delete", "--force", "web"])?.ok()?;
        oci.gone()?;
        ensure!(mounts(host, &oci)? == before, "{:?}", mounts(host, &oci)?);
    }
    Ok(())
}

pub(super) fn failures(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let before = mounts(host, &oci)?;
    let namespaces = json!([{"type": "pid"}]);
    let user = json!([{"type": "pid"}, {"type": "user"}]);
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    let shared = ("/linux/namespaces", namespaces.clone());
    let plain = ("/hostname", Value::Null);
    let missing = [shared.clone(), plain.clone(), ("/process/args", json!(["nothing"]))];
    let root = [shared.clone(), plain.clone(), ("/root/path", json!("/"))];
    let mapped = [
        ("/linux/namespaces", user),
        plain.clone(),
        ("/linux/uidMappings", ids.clone()),
        ("/linux/gidMappings", ids),
    ];
    let says = ["nothing", "root.path: `/`", "user namespace without a mount namespace"];
    for (changes, says) in [missing.as_slice(), &root, &mapped].into_iter().zip(says) {
        oci.config(&["true"], changes)?;
        let said = oci.oci(&["run", "--bundle", &oci.bundle.to_string_lossy(), "web"])?.fails_with(1)?;
        ensure!(said.contains(says), "{says}: {said}");
        oci.gone()?;
        ensure!(mounts(host, &oci)? == before, "{says}: {:?}", mounts(host, &oci)?);
    }
    // Killed in the middle: what is mounted by then is the next delete's.
    kill_in_hook(host, &oci, &[shared, plain], || Ok(()))?;
    ensure!(mounts(host, &oci)? != before, "it was killed before anything was mounted");
    // What is not the container's is not taken away, and does not hide what is.
    host.script(&format!("mount -t tmpfs other {}/rootfs", oci.bundle.display()))?.ok()?;
    let said = oci.oci(&["delete", "--force", "web"])?.fails_with(1)?;
    ensure!(said.contains("another mount covers the container's root"), "{said}");
    host.script(&format!("umount {}/rootfs", oci.bundle.display()))?.ok()?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()?;
    ensure!(mounts(host, &oci)? == before, "{:?}", mounts(host, &oci)?);
    Ok(())
}
