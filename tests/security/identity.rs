//! Who a process is, and what its config may say.

use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::{Result, ensure};
use serde_json::json;
use support::pods::{pod, shell};

use super::Bench;

pub(super) fn users(bench: &Bench<'_>) -> Result<()> {
    // A user whose name is a number is no other way to be root.
    std::fs::write(bench.rootfs().join("etc/passwd"), "4294967296:x:0:0::/:/bin/sh\n1:x:0:0::/:/bin/sh\n")?;
    bench.oci.config(&["sleep", "1000"], &[])?;
    bench.oci.create("")?.ok()?;
    bench.oci.oci(&["start", "web"])?.ok()?;
    for wrong in [
        "",
        "-1",
        "+x",
        "2147483648",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "1:",
        "1:-1",
        "0x0",
        " 1",
    ] {
        let flag = format!("--user={wrong}");
        let outcome = bench.oci.oci(&["exec", &flag, "web", "id", "-u"])?;
        ensure!(!outcome.status.success() && outcome.stdout.is_empty(), "{wrong:?}: {outcome}");
    }
    let ids = bench.oci.oci(&["exec", "--user", "1:7", "web", "sh", "-c", "id -u; id -g"])?.ok()?;
    ensure!(ids == "1\n7\n", "{ids}");
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    for uid in [json!(2_147_483_648_u64), json!(4_294_967_295_u64), json!(-1), json!("0")] {
        bench.refused(&["id"], &[("/process/user", json!({"uid": uid, "gid": 0}))], "")?;
    }
    Ok(())
}

pub(super) fn capabilities(bench: &Bench<'_>) -> Result<()> {
    const SHOW: [&str; 3] = ["grep", "-E", "Cap(Inh|Amb)"];
    let none = |text: &str| text.lines().all(|line| line.ends_with("0000000000000000"));
    for user in [json!({"uid": 0, "gid": 0}), json!({"uid": 1000, "gid": 1000})] {
        let shown =
            bench.run(&[&SHOW[..], &["/proc/self/status"]].concat(), &[("/process/user", user)])?.ok()?;
        ensure!(shown.lines().count() == 2 && none(&shown), "{shown}");
    }
    bench.oci.config(&["sleep", "1000"], &[])?;
    bench.oci.create("")?.ok()?;
    bench.oci.oci(&["start", "web"])?.ok()?;
    for flags in
        [&[][..], &["--cap", "CAP_NET_RAW"], &["--user", "1000"], &["--user", "1000", "--cap", "NET_RAW"]]
    {
        let line = [&["exec"], flags, &["web"], &SHOW[..], &["/proc/self/status"]].concat();
        let shown = bench.oci.oci(&line)?.ok()?;
        ensure!(shown.lines().count() == 2 && none(&shown), "{flags:?}: {shown}");
    }
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

pub(super) fn groups(bench: &Bench<'_>) -> Result<()> {
    // Its group may do less than the others: who is in it must not be taken for one of those.
    let file = bench.rootfs().join("file");
    std::fs::write(&file, "secret")?;
    chown(&file, Some(0), Some(1001))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o707))?;
    // Of an OCI container's groups its caller's list says all, as to runc and crun.
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [7]});
    let said =
        bench.run(&["sh", "-c", "cat /file; grep Groups /proc/self/status"], &[("/process/user", user)])?;
    ensure!(said.stdout.trim() == "Groups:\t7", "{said}");
    let mut main = shell("main", "sleep 1000");
    main["securityContext"] = json!({"runAsUser": 1000, "runAsGroup": 1001});
    let spec = json!({"containers": [main], "securityContext": {"supplementalGroups": [7]}});
    bench.host.create(&pod("web", &spec))?;
    let said = bench.host.podrun(&["exec", "web", "--", "grep", "Groups", "/proc/self/status"])?.ok()?;
    ensure!(said.trim() == "Groups:\t7 1001", "{said}");
    bench.host.delete("web")?;
    Ok(())
}

pub(super) fn sizes(bench: &Bench<'_>) -> Result<()> {
    let long = format!("/{}", "a/".repeat(35_000));
    bench.refused(&["true"], &[("/process/cwd", json!(long))], "longer than the kernel takes")?;
    let mount = json!({"destination": long, "type": "tmpfs", "source": "tmpfs"});
    let mounts = bench.mounts(&[mount])?;
    bench.refused(&["true"], &[mounts], "longer than the kernel takes")?;
    let map: Vec<_> = (0..100_000).map(|id| json!({"containerID": id, "hostID": id, "size": 1})).collect();
    let namespaces = json!([{"type": "user"}, {"type": "mount"}, {"type": "pid"}]);
    let changes = [
        ("/hostname", json!(null)),
        ("/linux/namespaces", namespaces),
        ("/linux/uidMappings", json!(map)),
        ("/linux/gidMappings", json!(map)),
    ];
    bench.refused(&["true"], &changes, "uid_map")
}

pub(super) fn annotations(bench: &Bench<'_>) -> Result<()> {
    let canary = bench.canary.join("planted");
    let touch = format!("/bin/touch {}", canary.display());
    let changes = [(
        "/annotations",
        json!({
            "org.systemd.property.ExecStartPre": format!("[(\"/bin/touch\", [\"touch\", \"{}\"], false)]", canary.display()),
            "run.oci.hooks.stdout": canary, "run.oci.handler": touch, "run.oci.seccomp_bpf_file": "/etc/shadow",
            "run.oci.delegate-cgroup": "../../x", "io.kubernetes.cri-o.Devices": "/dev/mem",
        }),
    )];
    let said = bench.run(&["sh", "-c", "ls /dev; cat /proc/self/cgroup"], &changes)?.ok()?;
    ensure!(!said.lines().any(|line| line == "mem") && !said.contains(".."), "{said}");
    Ok(())
}
