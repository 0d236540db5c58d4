//! What a container could do to the cgroups that it is in.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use support::fixtures::reference;
use support::host::Host;
use support::pods::pod;

use super::Bench;

const LIMIT: u64 = 64 << 20;
const MORE: u64 = 128 << 20;

/// The limits of memory that a cgroup of the host's or one below it has, in each hierarchy.
fn limits(host: &Host) -> Result<Vec<String>> {
    let mut limits = Vec::new();
    let mut open = host.cgroup_folders()?;
    while let Some(folder) = open.pop() {
        for file in ["memory.limit_in_bytes", "memory.max"] {
            limits.extend(std::fs::read_to_string(folder.join(file)).map(|text| text.trim().to_owned()));
        }
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            open.extend(entry.file_type()?.is_dir().then(|| entry.path()));
        }
    }
    Ok(limits)
}

pub(super) fn written(bench: &Bench<'_>) -> Result<()> {
    let limit = json!({"memory": {"limit": LIMIT}, "devices": [{"allow": false, "access": "rwm"}]});
    bench.oci.config(&["sleep", "1000"], &[("/linux/resources", limit)])?;
    bench.oci.create("")?.ok()?;
    bench.oci.oci(&["start", "web"])?.ok()?;
    let before = limits(bench.host)?;
    ensure!(before.contains(&LIMIT.to_string()), "{before:?}");
    // Its own limit lifted, a program for when it is empty, itself moved out; by its mounts and by new ones.
    let script = format!(
        "for f in $(find /sys/fs/cgroup -type f); do {{ echo {MORE} >>$f; }} 2>/dev/null && echo $f; done
        mkdir /tmp/c
        mount -t cgroup -o memory c /tmp/c && echo mounted
        mount -t cgroup2 c /tmp/c && echo mounted
        mount -o remount,rw /sys/fs/cgroup && echo remounted
        for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,bind,rw $d && echo remounted $d; done
        true"
    );
    let said = bench.oci.oci(&["exec", "web", "sh", "-c", &script])?;
    let after = limits(bench.host)?;
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    ensure!(after == before, "a container has changed its limits: {after:?}, {said}");
    ensure!(said.status.success() && said.stdout.is_empty(), "{said}");
    Ok(())
}

pub(super) fn masked(bench: &Bench<'_>) -> Result<()> {
    let said = bench.run(
        &[
            "sh",
            "-c",
            "cat /proc/kcore /proc/timer_list /proc/keys /proc/interrupts; \
             find /sys/firmware /sys/devices/virtual/powercap /proc/scsi /proc/acpi -mindepth 1 2>/dev/null",
        ],
        &[],
    )?;
    ensure!(said.stdout.is_empty(), "{said}");
    Ok(())
}

/// The attack as it was published: a user namespace gives the right to mount the container's own hierarchy once more,
/// where nothing is read-only.
pub(super) fn mounted(host: &Host) -> Result<()> {
    let attack = format!(
        "unshare --user --map-root-user --mount --cgroup sh -c 'if mount -t cgroup -o memory c /tmp 2>/dev/null; then \
         f=/tmp/memory.limit_in_bytes; echo {MORE} >/tmp/memory.memsw.limit_in_bytes; else mount -t cgroup2 c /tmp; f=/tmp/memory.max; fi; echo {MORE} >$f && cat $f'"
    );
    let pure = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for profile in ["RuntimeDefault", "Unconfined"] {
        let name = profile.to_lowercase();
        let manifest = pod(
            &name,
            &json!({"containers": [{
                "name": "main", "image": reference("debian"), "command": ["sleep", "1000"],
                "resources": {"limits": {"memory": "64Mi"}},
                // By it root may be root in a user namespace of its own (user_namespaces(7)).
                "securityContext": {"seccompProfile": {"type": profile}, "capabilities": {"add": ["SETFCAP"]}},
            }]}),
        );
        host.create(&manifest)?;
        let said = host.podrun(&["exec", &name, "--", "sh", "-c", &attack])?;
        let lifted = limits(host)?.contains(&MORE.to_string());
        host.delete(&name).context("delete")?;
        match profile {
            "RuntimeDefault" => {
                ensure!(
                    said.stderr.contains("unshare failed") && said.stdout.is_empty() && !lifted,
                    "{said}"
                );
            }
            // Where v2 keeps namespaces apart (nsdelegate) it does not come so far.
            _ => ensure!(lifted || pure, "the attack is none, even without a filter: {said}"),
        }
    }
    Ok(())
}
