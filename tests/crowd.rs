//! Many pods: side by side, at once, and one after the other.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::host::Host;
use support::pods::{pod, probe, sleeper};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("fifty pods run side by side with addresses of their own", &["probe"], fifty);
    suite.on_host("sixteen creates of one name make one pod", &["probe"], one_name);
    suite.on_host("pods that come and go at once leave nothing behind", &["probe"], coming_and_going);
}

fn all(host: &Host) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&host.podrun(&["get", "pods", "-o", "json"])?.ok()?)?;
    Ok(list["items"].as_array().context("items")?.clone())
}

/// The addresses of all pods; none may be there twice.
fn addresses(host: &Host) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    for one in all(host)? {
        for address in one["status"]["podIPs"].as_array().into_iter().flatten() {
            let address = address["ip"].as_str().context("ip")?.to_owned();
            ensure!(seen.insert(address.clone()), "{address} was given twice");
        }
    }
    Ok(seen)
}

fn fifty(host: &Host) -> Result<()> {
    let documents: Vec<String> =
        (0..50).map(|number| sleeper(&format!("pod-{number:02}")).to_string()).collect();
    let said = host.podrun_with_stdin(&["create", "-"], documents.join("\n---\n").as_bytes())?.ok()?;
    ensure!(said.lines().count() == 50, "{said}");
    let shown = all(host)?;
    ensure!(shown.iter().filter(|one| one["status"]["phase"] == "Running").count() == 50, "all run");
    ensure!(addresses(host)?.len() == 100, "one of each family");
    let reached = host.podrun(&["exec", "pod-00", "--", "/probe", "connect", "10.87.0.1", "1"])?.ok()?;
    ensure!(reached.contains("refused"), "the host is reached: {reached}");
    host.podrun(&["delete", "pods", "--all", "--force"])?.ok()?;
    host.create(&sleeper("after"))?;
    host.delete("after")?;
    Ok(())
}

fn one_name(host: &Host) -> Result<()> {
    let file = host.write("pod.json", &sleeper("web").to_string())?;
    let mut running = Vec::new();
    for _ in 0..16 {
        running.push(host.start(&["create", &file.to_string_lossy()])?);
    }
    let mut codes = Vec::new();
    for one in running {
        codes.push(one.wait()?.code());
    }
    codes.sort_unstable();
    ensure!(codes[0] == 0 && codes[1..].iter().all(|code| *code == 5), "one wins: {codes:?}");
    ensure!(all(host)?.len() == 1, "one pod");
    host.delete("web")?;
    Ok(())
}

fn coming_and_going(host: &Host) -> Result<()> {
    let mut lanes = Vec::new();
    for lane in 0..4 {
        let script = format!(
            "for n in 1 2 3 4 5; do $podrun create lane-{lane}.json; $podrun exec lane-{lane} -- /probe exit 0; $podrun delete lane-{lane} --force; done"
        );
        let spec = json!({ "containers": [probe("main", &["sleep"]), probe("other", &["sleep"])] });
        host.write(&format!("lane-{lane}.json"), &pod(&format!("lane-{lane}"), &spec).to_string())?;
        lanes.push(host.start_script(&script)?);
    }
    for lane in lanes {
        lane.wait()?.ok()?;
    }
    ensure!(all(host)?.is_empty(), "none is left");
    Ok(())
}
