//! File systems of the host's that never answer: whoever makes a pod with one, or ends it, and everybody who works with
//! its other containers meanwhile.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::footprint::Footprint;
use support::host::Host;
use support::pods::{container_status, monitors, pod, probe, shell};
use support::standstill::Standstill;
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    let images = &["busybox", "probe"];
    suite.on_host_with_fuse(
        "a hostPath that does not answer stops no exec, logs or delete",
        images,
        others_go_on,
    );
    suite.on_host_with_fuse(
        "a start whose hostPath does not answer fails and is tried again",
        images,
        tried_again,
    );
    suite.on_host_with_fuse(
        "an init container whose hostPath does not answer has no grace to wait for",
        images,
        no_grace,
    );
    suite.on_host_with_fuse("a create whose hostPath does not answer can be ended", images, create_ends);
    suite.on_host_with_fuse("a monitor is killed while a hostPath does not answer", images, monitor_killed);
}

/// Ends as soon as there is `/tmp/end` in it.
const UNTIL_END: &str = "until [ -e /tmp/end ]; do sleep 0.05; done; exit 3";

/// A pod of a container `calm`, which sleeps, and `struck`, which mounts a folder of the host's that answers so far.
fn calm_and_struck(host: &Host, mount: &Value) -> Result<PathBuf> {
    let folder = host.file("data");
    std::fs::create_dir_all(folder.join("part"))?;
    let mut struck = shell("struck", UNTIL_END);
    struck["volumeMounts"] = json!([mount]);
    let spec = json!({
        "containers": [probe("calm", &["sleep"]), struck], "terminationGracePeriodSeconds": 3600,
        "volumes": [{ "name": "data", "hostPath": { "path": folder } }],
    });
    host.create(&pod("hangs", &spec))?;
    Ok(folder)
}

/// Has the container end, and waits until its next attempt asks the file system that stands still by now.
fn strike(host: &Host, container: &str, folder: &Path) -> Result<Standstill> {
    let standstill = Standstill::over(host, folder)?;
    host.podrun(&["exec", "hangs", "-c", container, "--", "touch", "/tmp/end"])?.ok()?;
    standstill.wait_until_asked()?;
    Ok(standstill)
}

fn others_go_on(host: &Host) -> Result<()> {
    let before = Footprint::of(host)?;
    let folder = calm_and_struck(host, &json!({ "name": "data", "mountPath": "/data" }))?;
    let following = host.start(&["logs", "-f", "hangs", "-c", "calm"])?;
    let standstill = strike(host, "struck", &folder)?;
    let seen = host.podrun(&[
        "exec",
        "hangs",
        "-c",
        "calm",
        "--",
        "/probe",
        "write",
        "/proc/1/fd/1",
        "meanwhile\n",
    ])?;
    seen.ok()?;
    wait_for("what a container says comes to its log", || {
        let said = host.podrun(&["logs", "hangs", "-c", "calm"])?.ok()?;
        ensure!(said.contains("meanwhile"), "{said}");
        Ok(())
    })?;
    let shown = host.pod("hangs")?;
    let status = container_status(&shown, "struck").context("a status")?;
    ensure!(status["lastState"]["terminated"]["exitCode"] == 3, "{status:#}");
    host.podrun(&["describe", "pod", "hangs"])?.ok()?;
    // One container has nothing to wait for, the other ends when it is told to: an hour of grace is not waited out.
    host.podrun(&["delete", "pod", "hangs"])?.ok()?;
    let followed = following.wait()?;
    ensure!(followed.stdout.contains("meanwhile"), "{followed}");
    // What is left until its server answers: the child that asks it, with the monitor that waits for that, and no more.
    wait_for("what the child has nothing to do with is gone", || {
        let left = Footprint::of(host)?.changes_since(&before);
        let kinds = ["process", "mount", "cgroup", "namespace pid:"].map(|kind| format!("+ {kind}"));
        let others: Vec<_> =
            left.iter().filter(|line| !kinds.iter().any(|kind| line.starts_with(kind))).collect();
        ensure!(others.is_empty(), "{others:?}");
        Ok(())
    })?;
    standstill.end()
}

fn tried_again(host: &Host) -> Result<()> {
    let folder = calm_and_struck(host, &json!({ "name": "data", "mountPath": "/data", "subPath": "part" }))?;
    let standstill = strike(host, "struck", &folder)?;
    let reason = "--for=jsonpath={.status.containerStatuses[1].state.waiting.reason}=CreateContainerError";
    let waiting = host.start(&["wait", "pod", "hangs", reason, "--timeout=10m"])?;
    waiting.wait_within(std::time::Duration::from_secs(600))?.ok()?;
    let shown = host.pod("hangs")?;
    let state = &container_status(&shown, "struck").context("a status")?["state"];
    let message = state["waiting"]["message"].as_str().unwrap_or_default();
    let expected = format!("volume \"data\": hostPath {}/part: does not answer", folder.display());
    ensure!(message.contains(&expected), "{state:#}");
    host.podrun(&["exec", "hangs", "-c", "calm", "--", "/probe", "exit", "0"])?.ok()?;
    // The server dies, and the folder answers again.
    standstill.end()?;
    host.wait_for_pod("hangs", "it has started again", |pod| {
        container_status(pod, "struck")
            .is_some_and(|status| status["restartCount"] == 1 && status["state"]["running"].is_object())
    })?;
    host.delete("hangs")?;
    Ok(())
}

fn no_grace(host: &Host) -> Result<()> {
    let folder = host.file("data");
    std::fs::create_dir_all(folder.join("part"))?;
    let mut struck = shell("second", "true");
    struck["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data", "subPath": "part" }]);
    let first = shell("first", "until [ -e /tmp/end ]; do sleep 0.05; done");
    let spec = json!({
        "initContainers": [first, struck], "containers": [probe("main", &["sleep"])],
        "terminationGracePeriodSeconds": 3600,
        "volumes": [{ "name": "data", "hostPath": { "path": folder, "type": "Directory" } }],
    });
    let manifest = pod("hangs", &spec).to_string();
    host.podrun_with_stdin(&["create", "--wait=none", "-"], manifest.as_bytes())?.ok()?;
    host.wait_for_pod("hangs", "the first container runs", |pod| {
        container_status(pod, "first").is_some_and(|status| status["state"]["running"].is_object())
    })?;
    let standstill = strike(host, "first", &folder)?;
    host.podrun(&["delete", "pod", "hangs"])?.ok()?;
    host.podrun(&["get", "pod", "hangs"])?.fails_with(4)?;
    standstill.end()
}

fn create_ends(host: &Host) -> Result<()> {
    let folder = host.file("data");
    std::fs::create_dir_all(&folder)?;
    let mut main = shell("main", "sleep 1000");
    main["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    let volumes = json!([{ "name": "data", "hostPath": { "path": folder } }]);
    let manifest = pod("hangs", &json!({ "containers": [main], "volumes": volumes })).to_string();
    let file = host.write("hangs.json", &manifest)?;
    let file = file.to_str().context("a path in UTF-8")?;
    let standstill = Standstill::over(host, &folder)?;
    let late = host.podrun(&["create", file, "--timeout=1s"])?.fails_with(8)?;
    ensure!(late.contains(&format!("hostPath {}: does not answer", folder.display())), "{late}");
    standstill.wait_until_asked()?;
    let interrupted = host.start(&["create", file])?;
    standstill.wait_until_asked()?;
    interrupted.signal(Signal::SIGINT)?;
    interrupted.wait()?.fails_with(130)?;
    host.podrun(&["get", "pod", "hangs"])?.fails_with(4)?;
    standstill.end()
}

fn monitor_killed(host: &Host) -> Result<()> {
    let folder = calm_and_struck(host, &json!({ "name": "data", "mountPath": "/data" }))?;
    let monitor = monitors(host)?;
    let [monitor] = monitor.as_slice() else { anyhow::bail!("one monitor: {monitor:?}") };
    let standstill = strike(host, "struck", &folder)?;
    host.run("kill", &["-9", monitor])?.ok()?;
    // Its child cannot die yet. It is not the pod's any more.
    wait_for("the pod is lost", || {
        let shown = host.podrun(&["get", "pod", "hangs"])?.ok()?;
        ensure!(shown.contains("Unknown") || shown.contains("MonitorLost"), "{shown}");
        Ok(())
    })?;
    host.delete("hangs")?;
    standstill.end()?;
    // The next pod's end takes along what the child was still in.
    host.create(&support::pods::sleeper("next"))?;
    host.delete("next")?;
    Ok(())
}
