//! What a container uses, and what it may call.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;

use super::Oci;

pub(super) fn events(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let limits = [("/linux/resources", json!({"memory": {"limit": 33_554_432}, "pids": {"limit": 50}}))];
    oci.config(&["sleep", "1000"], &limits)?;
    oci.create("")?.ok()?;
    oci.oci(&["start", "web"])?.ok()?;
    let stats: Value = serde_json::from_str(&oci.oci(&["events", "--stats", "web"])?.ok()?)?;
    ensure!(stats["type"] == "stats" && stats["id"] == "web", "{stats:#}");
    let data = &stats["data"];
    ensure!(data["memory"]["usage"]["limit"] == 33_554_432, "{stats:#}");
    ensure!(data["pids"] == json!({"current": 1, "limit": 50}), "{stats:#}");
    ensure!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|total| total > 0), "{stats:#}");
    let (root, bundle) = (oci.root(), oci.bundle.display());
    let watch = host.start_script(&format!(
        "exec \"$podrun\" oci --root {root} events --interval 50ms web >{bundle}/events"
    ))?;
    let said =
        || -> Result<String> { Ok(std::fs::read_to_string(oci.bundle.join("events")).unwrap_or_default()) };
    wait_for("stats at their interval", || {
        ensure!(said()?.lines().filter(|line| line.contains("\"stats\"")).count() > 1, "{}", said()?);
        Ok(())
    })?;
    ensure!(!said()?.contains("\"oom\""), "told of before it was");
    let eater = oci.oci(&["exec", "web", "tail", "/dev/zero"])?;
    ensure!(eater.code() == 137, "{eater}");
    wait_for("the kernel's killing", || {
        ensure!(said()?.contains("{\"type\":\"oom\",\"id\":\"web\"}"), "{} lines", said()?.lines().count());
        Ok(())
    })?;
    oci.oci(&["kill", "web", "KILL"])?.ok()?;
    watch.wait()?.ok()?;
    ensure!(oci.oci(&["events", "--stats", "web"])?.fails_with(1)?.contains("stopped"));
    ensure!(oci.oci(&["events", "--interval", "0", "web"])?.fails_with(1)?.contains("--interval"));
    oci.oci(&["delete", "web"])?.ok()?;
    oci.gone()
}

pub(super) fn filtered(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71});
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    for no_new_privileges in [true, false] {
        let changes =
            [("/linux/seccomp", filter.clone()), ("/process/noNewPrivileges", json!(no_new_privileges))];
        oci.config(&["sh", "-c", "mkdir /x; sleep 1000"], &changes)?;
        oci.create("")?.ok().with_context(|| oci.out("err").unwrap_or_default())?;
        oci.oci(&["start", "web"])?.ok()?;
        wait_for("what the filter answers", || {
            ensure!(oci.out("err")?.contains("Protocol error"), "{:?}", oci.out("err")?);
            Ok(())
        })?;
        let exec = oci.oci(&["exec", "web", "mkdir", "/x"])?;
        ensure!(exec.code() == 1 && exec.stderr.contains("Protocol error"), "{exec}");
        oci.oci(&["delete", "--force", "web"])?.ok()?;
    }
    let kept = std::fs::read_dir(std::path::Path::new(&oci.root()).join(".seccomp"))?.count();
    ensure!(kept == 1, "{kept} compiled filters are kept");
    let features: Value = serde_json::from_str(&oci.oci(&["features"])?.ok()?)?;
    let seccomp = &features["linux"]["seccomp"];
    let has =
        |list: &str, word: &str| seccomp[list].as_array().is_some_and(|list| list.contains(&json!(word)));
    ensure!(seccomp["enabled"] == true && has("actions", "SCMP_ACT_NOTIFY"), "{seccomp:#}");
    ensure!(
        has("supportedFlags", "SECCOMP_FILTER_FLAG_LOG") && has("archs", "SCMP_ARCH_X86_64"),
        "{seccomp:#}"
    );
    let wrong = json!({"defaultAction": "SCMP_ACT_NOTIFY"});
    oci.config(&["true"], &[("/linux/seccomp", wrong)])?;
    oci.create("")?.fails_with(1)?;
    ensure!(oci.out("err")?.contains("SCMP_ACT_NOTIFY"), "{}", oci.out("err")?);
    oci.gone()
}
