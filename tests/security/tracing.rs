//! Containers that may trace processes: what podrun starts in their pid namespace is theirs from its birth there, so that it
//! must have nothing by then that they have not.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;
use support::pods::{pod, shell};

use super::Bench;
use crate::seccomp::program;

/// The default capabilities and SYS_PTRACE, as bits.
const OWN: u64 = 0xa80c_25fb;

/// A container that seizes each process that comes after it, and says what that one had. The canary is a file of the host's.
fn spy(host: &Host) -> Result<(Value, Value)> {
    let folder = host.file("spy");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(program()?, folder.join("spy"))?;
    let canary = folder.join("spy");
    let mut spy = shell("spy", &format!("exec /spies/spy {}", canary.display()));
    spy["securityContext"] = json!({ "capabilities": { "add": ["SYS_PTRACE"] } });
    spy["volumeMounts"] = json!([{ "name": "spies", "mountPath": "/spies" }]);
    Ok((spy, json!([{ "name": "spies", "hostPath": { "path": folder } }])))
}

/// What was seized had the rights of `own` at most, no memory that podrun reads, a filter, no root of the host's, and no more descriptors than `most`: the
/// wire, which ends with its execve, and where it waits for its start.
fn judge(said: &str, own: u64, most: u32) -> Result<usize> {
    let seized: Vec<&str> = said.lines().filter(|line| *line != "ready").collect();
    for line in &seized {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, rights, mode, descriptors, shared, root] = words.as_slice() else {
            anyhow::bail!("said {line:?}")
        };
        let rights = u64::from_str_radix(rights, 16)?;
        ensure!(
            rights & !own == 0,
            "a process with {rights:x}, of which {own:x} are the container's own: {line}"
        );
        ensure!(*mode == "2", "a process without a filter: {line}");
        ensure!(descriptors.parse::<u32>()? <= most, "a process with descriptors: {line}");
        ensure!(*shared == "0", "a process that shares memory with its parent: {line}");
        ensure!(*root == "own", "a process with the host's root: {line}");
    }
    Ok(seized.len())
}

fn said(host: &Host, name: &str) -> Result<String> {
    host.podrun(&["logs", name, "-c", "spy"])?.ok()
}

pub(super) fn exec(host: &Host) -> Result<()> {
    let (spy, volumes) = spy(host)?;
    for escalation in [true, false] {
        let mut spy = spy.clone();
        spy["securityContext"]["allowPrivilegeEscalation"] = json!(escalation);
        host.create(&pod("web", &json!({ "containers": [spy], "volumes": volumes })))?;
        wait_for("the spy", || {
            ensure!(said(host, "web")?.contains("ready"), "not ready");
            Ok(())
        })?;
        for number in 0..40 {
            // It goes on as if nobody had looked.
            let printed = host.podrun(&["exec", "web", "--", "echo", &number.to_string()])?.ok()?;
            ensure!(printed == format!("{number}\n"), "{printed}");
        }
        let seized = judge(&said(host, "web")?, OWN, 1)?;
        ensure!(seized > 20, "the spy has seized {seized} processes of 40");
        host.delete("web")?;
    }
    Ok(())
}

pub(super) fn siblings(host: &Host) -> Result<()> {
    let (mut spy, volumes) = spy(host)?;
    spy["restartPolicy"] = json!("Always");
    // Not before it looks: the next containers wait for it.
    let before = shell("before", "sleep 0.5");
    let siblings: Vec<Value> = (0..8).map(|number| shell(&format!("s{number}"), "sleep 1000")).collect();
    let spec = json!({
        "shareProcessNamespace": true, "initContainers": [spy, before], "containers": siblings, "volumes": volumes,
    });
    host.create(&pod("web", &spec))?;
    let seized = wait_for("what the spy has seized", || {
        let seized = judge(&said(host, "web")?, OWN, 1)?;
        ensure!(seized > 4, "the spy has seized {seized} processes");
        Ok(seized)
    })?;
    ensure!(seized <= 20, "{seized} processes");
    // Each sees all of them by the one procfs, of which it has a mount of its own.
    let seen = host
        .podrun(&["exec", "web", "-c", "s3", "--", "sh", "-c", "cat /proc/*/comm; cat /proc/self/mounts"])?
        .ok()?;
    ensure!(seen.matches("sleep\n").count() == 8, "{seen}");
    ensure!(seen.contains("proc /proc proc rw,nosuid,nodev,noexec"), "{seen}");
    host.delete("web").map(drop)
}

pub(super) fn joined(bench: &Bench<'_>) -> Result<()> {
    let canary = bench.canary.join("secret");
    std::fs::copy(program()?, bench.rootfs().join("bin/spy"))?;
    let rights = json!(["CAP_SYS_PTRACE", "CAP_CHOWN"]);
    let sets = json!({"bounding": rights, "effective": rights, "permitted": rights});
    let spy = format!("exec spy {} >/seen", canary.display());
    // What podrun's own last calls are is refused to the program.
    let refused = json!({"names": ["clone", "setsid", "ioctl"], "action": "SCMP_ACT_ERRNO"});
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]});
    bench.oci.config(&["sh", "-c", &spy], &[("/process/capabilities", sets)])?;
    bench.oci.create("")?.ok()?;
    bench.oci.oci(&["start", "web"])?.ok()?;
    let seen = || std::fs::read_to_string(bench.rootfs().join("seen")).context("what the spy has said");
    wait_for("the spy", || {
        ensure!(seen()?.contains("ready"), "not ready");
        Ok(())
    })?;
    let pid = bench.oci.state()?["pid"].to_string();
    let bundle = bench.host.file("member");
    let status = bench.host.script(&format!("cp -a {} {}", bench.oci.bundle.display(), bundle.display()))?;
    status.ok()?;
    let text = std::fs::read_to_string(bundle.join("config.json"))?;
    let mut spec: Value = serde_json::from_str(&text)?;
    spec["process"]["args"] = json!(["cat", "/proc/self/comm"]);
    spec["process"]["capabilities"] = json!({});
    spec["linux"]["seccomp"] = filter;
    let own = spec["linux"]["cgroupsPath"].as_str().context("cgroupsPath")?;
    spec["linux"]["cgroupsPath"] = json!(format!("{own}-member"));
    for namespace in spec["linux"]["namespaces"].as_array_mut().context("namespaces")? {
        if namespace["type"] == "pid" {
            namespace["path"] = json!(format!("/proc/{pid}/ns/pid"));
        }
    }
    for escalation in [false, true] {
        spec["process"]["noNewPrivileges"] = json!(!escalation);
        std::fs::write(bundle.join("config.json"), serde_json::to_vec(&spec)?)?;
        for _ in 0..10 {
            let said = bench.oci.oci(&["run", "--bundle", &bundle.to_string_lossy(), "member"])?.ok()?;
            ensure!(said == "cat\n", "{said}");
        }
    }
    let seized = judge(&seen()?, 0x80001, 2)?;
    ensure!(seized > 10, "the spy has seized {seized} processes");
    bench.oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

/// SIGTERM by rt_sigqueueinfo(2), whose sender's pid is what the sender says; by the terminal-like way of F_SETSIG.
pub(super) fn forged(host: &Host) -> Result<()> {
    let (mut forger, volumes) = spy(host)?;
    let folder = host.file("spy");
    std::fs::copy(program()?, folder.join("forge"))?;
    forger["command"] = json!(["sh", "-c", "/spies/forge; exec sleep 1000"]);
    let spec = json!({ "shareProcessNamespace": true, "containers": [forger], "volumes": volumes });
    host.create(&pod("web", &spec))?;
    let said = wait_for("what the forger has done", || {
        let said = said(host, "web")?;
        ensure!(said.lines().count() == 3, "{said}");
        Ok(said)
    })?;
    ensure!(said.lines().all(|line| line == "sent"), "{said}");
    let shown = host
        .podrun(&["get", "pods", "web", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"])?
        .ok()?;
    ensure!(shown == "0", "the pod's init has ended: {shown} restarts");
    host.podrun(&["exec", "web", "--", "true"])?.ok()?;
    host.delete("web").map(drop)
}
