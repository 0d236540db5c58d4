//! kill -9 at random moments, and verbs against each other: what is left is a whole pod or none, and the host as before.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use support::deadline::wait_for;
use support::host::Host;
use support::pods::{monitors, pod, probe};
use support::run::Running;
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a monitor killed while its pod is made leaves the pod lost or gone", &["probe"], create);
    suite.on_host("a monitor killed while its pod is deleted leaves nothing", &["probe"], delete);
    suite.on_host("a killed delete is finished by its monitor or the next verb", &["probe"], killed_delete);
    suite.on_host("creates and deletes of one name at once leave nothing", &["probe"], at_once);
}

/// How often each is tried; the moments are spread evenly over what the work takes.
const ROUNDS: u32 = 25;

/// A pod of everything that could be left: two containers, volumes of both kinds, a port of the host, a shared PID
/// namespace in every other round.
fn manifest(host: &Host, round: u32) -> Result<String> {
    let mut one = probe("one", &["sleep"]);
    one["ports"] = json!([{ "containerPort": 80, "hostPort": 8080 }]);
    one["volumeMounts"] =
        json!([{ "name": "disk", "mountPath": "/disk" }, { "name": "memory", "mountPath": "/memory" }]);
    let spec = json!({
        "shareProcessNamespace": round % 2 == 1,
        "volumes": [{ "name": "disk", "emptyDir": {} }, { "name": "memory", "emptyDir": { "medium": "Memory" } }],
        "containers": [one, probe("two", &["sleep"])],
    });
    Ok(host.write("pod.json", &pod("web", &spec).to_string())?.to_string_lossy().into_owned())
}

const FORCED: [&str; 4] = ["delete", "web", "--force", "--grace-period=0"];

fn kill_monitors(host: &Host) -> Result<()> {
    for monitor in monitors(host)? {
        // It may have ended by itself meanwhile.
        host.run("kill", &["-9", &monitor])?;
    }
    Ok(())
}

/// What a create takes here, and then what a forced delete takes.
fn times(host: &Host) -> Result<(Duration, Duration)> {
    let file = manifest(host, 0)?;
    let start = Instant::now();
    host.podrun(&["create", &file])?.ok()?;
    let created = start.elapsed();
    host.podrun(&FORCED)?.ok()?;
    Ok((created, start.elapsed().saturating_sub(created)))
}

/// Deletes the pod if it is there, and sees that no monitor is left.
fn clear(host: &Host) -> Result<()> {
    let deleted = host.podrun(&FORCED)?;
    ensure!([0, 4].contains(&deleted.code()), "{deleted}");
    wait_for("the monitor is gone", || {
        ensure!(monitors(host)?.is_empty(), "a monitor is left");
        Ok(())
    })
}

fn create(host: &Host) -> Result<()> {
    let (takes, _) = times(host)?;
    for round in 0..ROUNDS {
        let file = manifest(host, round)?;
        let running = host.start(&["create", &file])?;
        std::thread::sleep(takes.mul_f64(f64::from(round) / f64::from(ROUNDS)));
        kill_monitors(host)?;
        let created = running.wait()?;
        ensure!([0, 1].contains(&created.code()), "{created}");
        if created.code() == 1 {
            host.podrun(&["get", "pod", "web"])?.fails_with(4)?;
        }
        clear(host)?;
    }
    Ok(())
}

fn delete(host: &Host) -> Result<()> {
    let (_, takes) = times(host)?;
    for round in 0..ROUNDS {
        host.podrun(&["create", &manifest(host, round)?])?.ok()?;
        let graceful = ["delete", "web", "--grace-period=1"];
        let running = if round % 2 == 0 { host.start(&FORCED)? } else { host.start(&graceful)? };
        std::thread::sleep(takes.mul_f64(f64::from(round) / f64::from(ROUNDS)));
        kill_monitors(host)?;
        running.wait()?.ok()?;
        host.podrun(&["get", "pod", "web"])?.fails_with(4)?;
    }
    Ok(())
}

fn killed_delete(host: &Host) -> Result<()> {
    let (_, takes) = times(host)?;
    for round in 0..ROUNDS {
        host.podrun(&["create", &manifest(host, round)?])?.ok()?;
        let running = host.start(&FORCED)?;
        std::thread::sleep(takes.mul_f64(f64::from(round) / f64::from(ROUNDS)));
        running.signal(Signal::SIGKILL).ok();
        running.wait()?;
        wait_for("the pod is alive or gone", || {
            let shown = host.podrun(&["get", "pod", "web"])?;
            let alive = !monitors(host)?.is_empty();
            ensure!(alive || shown.code() == 4, "a pod without a monitor: {shown}");
            Ok(())
        })?;
        clear(host)?;
    }
    Ok(())
}

fn at_once(host: &Host) -> Result<()> {
    let (takes, _) = times(host)?;
    for round in 0..ROUNDS {
        let file = manifest(host, round)?;
        let creates = [host.start(&["create", &file])?, host.start(&["create", &file])?];
        std::thread::sleep(takes.mul_f64(f64::from(round) / f64::from(ROUNDS)));
        let deletes = [host.start(&FORCED)?, host.start(&["delete", "web", "--now"])?];
        host.podrun(&["get", "pods"])?.ok()?;
        for running in creates {
            let created = running.wait()?;
            ensure!([0, 1, 5].contains(&created.code()), "{created}");
        }
        for deleted in deletes.into_iter().map(Running::wait) {
            let deleted = deleted?;
            ensure!([0, 4].contains(&deleted.code()), "{deleted}");
        }
        clear(host)?;
    }
    Ok(())
}
