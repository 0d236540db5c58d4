//! Places in a container's tree that an image or a neighbour has made into something else.

use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use serde_json::json;

use super::Bench;
use crate::hostile::racer::Racer;

pub(super) fn proc_and_sys(bench: &Bench<'_>) -> Result<()> {
    for (name, target) in [("proc", "/etc"), ("sys", "/tmp"), ("proc", "../../canary"), ("sys", "missing")] {
        let place = bench.rootfs().join(name);
        if place.exists() {
            std::fs::remove_dir(&place)?;
        }
        symlink(target, &place)?;
        bench.refused(&["true"], &[], "must have a real directory")?;
        std::fs::remove_file(&place)?;
    }
    for covered in ["/proc", "/proc/self/attr", "/proc/sys", "/proc/self/../sys/kernel"] {
        let mounts = bench.mounts(&[
            json!({"destination": covered, "type": "bind", "source": bench.canary, "options": ["bind"]}),
        ])?;
        bench.refused(&["true"], &[mounts], "/proc")?;
    }
    // A link that leads there, once the kernel's own is mounted.
    symlink("/proc/self/attr", bench.rootfs().join("elsewhere"))?;
    let mounts = bench.mounts(&[json!({"destination": "/elsewhere", "type": "tmpfs", "source": "tmpfs"})])?;
    bench.refused(&["true"], &[mounts], "fstatfs")
}

pub(super) fn swapped(bench: &Bench<'_>) -> Result<()> {
    let volume = bench.host.file("volume");
    std::fs::create_dir_all(volume.join("a/b/c"))?;
    let bind = |at: &str| json!({"destination": at, "type": "bind", "source": volume, "options": ["rbind"]});
    let tmpfs = |at: &str| json!({"destination": at, "type": "tmpfs", "source": "tmpfs"});
    let mounts = bench.mounts(&[
        bind("/v"),
        tmpfs("/v/a"),
        tmpfs("/v/a/b/new"),
        bind("/v/a/x/y"),
        tmpfs("/v/a/b/c"),
    ])?;
    let racer = Racer::start(&volume, &bench.canary)?;
    let mut ran = 0;
    let ways = Bench::ways();
    for round in 0..60 {
        // Refused or not: it never comes to the host.
        let changes = [mounts.clone(), ways[round % ways.len()].clone()];
        let outcome = bench.run(&["cat", "/proc/self/mountinfo"], &changes)?;
        if outcome.status.success() {
            ran += 1;
        }
        bench.host_is_as_before()?;
    }
    drop(racer);
    ensure!(ran > 0, "none of them ever ran");
    Ok(())
}

pub(super) fn links(bench: &Bench<'_>) -> Result<()> {
    let canary = bench.canary.to_string_lossy().into_owned();
    let up = format!("{}{canary}", "../".repeat(30));
    for target in [&canary, &up] {
        for name in ["file", "deep"] {
            let place = bench.rootfs().join("etc").join(name);
            // One that is not there yet, and a folder in which more is to be made.
            let end = if name == "file" { "planted" } else { "folder" };
            symlink(format!("{target}/{end}"), &place)?;
            let source = bench.host.write("source", "from the host")?;
            let at = if name == "file" { "/etc/file".to_owned() } else { "/etc/deep/below/file".to_owned() };
            let mount = json!({"destination": at, "type": "bind", "source": source, "options": ["bind"]});
            let mounts = bench.mounts(&[mount])?;
            for way in Bench::ways() {
                // Inside the root the link leads to a place of the root's own, which is made there.
                let outcome = bench.run(&["cat", &at], &[mounts.clone(), way])?;
                ensure!(!outcome.status.success() || outcome.stdout == "from the host", "{outcome}");
                bench.host_is_as_before()?;
            }
            std::fs::remove_file(&place)?;
        }
    }
    symlink(&canary, bench.rootfs().join("home2"))?;
    for way in Bench::ways() {
        bench.run(&["true"], &[("/process/cwd", json!("/home2/made")), way])?;
        bench.host_is_as_before()?;
    }
    let mounts = bench.mounts(&[json!({"destination": "/x/..", "type": "tmpfs", "source": "tmpfs"})])?;
    bench.refused(&["true"], &[mounts], "root")
}

pub(super) fn sysctls(bench: &Bench<'_>) -> Result<()> {
    // The image's own idea of /proc/sys, and a volume's.
    let decoy = bench.rootfs().join("proc/sys/net/ipv4");
    std::fs::create_dir_all(&decoy)?;
    std::fs::write(decoy.join("ip_forward"), "decoy")?;
    let sysctl = ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    let said = bench.run(&["cat", "/proc/sys/net/ipv4/ip_forward"], std::slice::from_ref(&sysctl))?.ok()?;
    ensure!(said == "1\n", "{said}");
    ensure!(std::fs::read_to_string(decoy.join("ip_forward"))? == "decoy", "the image's file was written to");
    for name in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net.ipv4/../../kernel/core_pattern",
        "../sysrq-trigger",
        "vm.panic_on_oom",
        "net.",
    ] {
        bench.refused(&["true"], &[("/linux/sysctl", json!({name: "|/bin/x"}))], "linux.sysctl")?;
    }
    // The host's network, by whatever way it comes to be the container's.
    for joined in [None, Some("/proc/self/ns/net"), Some("/proc/1/ns/net")] {
        let mut host = vec![json!({"type": "mount"}), json!({"type": "pid"})];
        host.extend(joined.map(|path| json!({"type": "network", "path": path})));
        for name in
            ["net.ipv4.ip_forward", "net.ipv4.conf.default.forwarding", "net/ipv6/conf/default/accept_ra"]
        {
            bench.refused(
                &["true"],
                &[
                    ("/linux/namespaces", json!(host)),
                    ("/hostname", json!(null)),
                    ("/linux/sysctl", json!({name: "1"})),
                ],
                "net namespace",
            )?;
        }
    }
    Ok(())
}

pub(super) fn cgroups(bench: &Bench<'_>) -> Result<()> {
    let canary = bench.canary.join("secret").to_string_lossy().into_owned();
    for name in ["../../x", "a/b", "..", ".", "", "cgroup.procs/../x", &canary] {
        bench.refused(&["true"], &[("/linux/resources", json!({"unified": {name: "1"}}))], "unified")?;
    }
    for path in ["../../x", "/a/../..", "/..", "/", "a\nb"] {
        bench.refused(&["true"], &[("/linux/cgroupsPath", json!(path))], "not a path below the root")?;
    }
    Ok(())
}
