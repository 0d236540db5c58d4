//! The same pod by podman and containerd, out of the root that `make peers` made.
//!
//! Each runs in namespaces of its own (scripts/in-peers.sh). What is not there is a row that says so.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::measure::middle;

/// Medians of a pod's way up, until its container has started, and of its way down.
pub(crate) struct UpAndDown {
    pub(crate) up: Duration,
    pub(crate) down: Duration,
}

/// Rounds of podman: each takes most of a second.
const ROUNDS: usize = 10;

/// `kube play` and `pod rm` of the pod `one` in `manifest`; none where podman is not installed.
pub(crate) fn podman(manifest: &Path) -> Result<Option<UpAndDown>> {
    if !Path::new("target/peers/usr/bin/podman").exists() {
        return Ok(None);
    }
    let manifest = manifest.strip_prefix(std::env::current_dir()?)?;
    let text = inside(Command::new("scripts/bench-podman.sh").arg(manifest).arg(ROUNDS.to_string()))?;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let (first, second) = line.split_once(' ').with_context(|| format!("a round of podman: {line}"))?;
        up.push(Duration::from_nanos(first.parse()?));
        down.push(Duration::from_nanos(second.parse()?));
    }
    ensure!(up.len() == ROUNDS, "podman gave {} rounds: {text}", up.len());
    Ok(Some(UpAndDown { up: middle(up), down: middle(down) }))
}

/// critest's benchmark of containerd: the CRI's calls for a sandbox and a container in it, added up. None where
/// containerd or critest is not installed.
pub(crate) fn containerd(folder: &Path) -> Result<Option<UpAndDown>> {
    if !Path::new("target/peers/usr/bin/containerd").exists() || !Path::new("target/critest").exists() {
        return Ok(None);
    }
    std::fs::create_dir_all(folder)?;
    let relative = folder.strip_prefix(std::env::current_dir()?)?;
    inside(Command::new("scripts/bench-containerd.sh").arg(relative))?;
    let pod = Calls::read(&folder.join("pod_benchmark_data.json"))?;
    let container = Calls::read(&folder.join("container_benchmark_data.json"))?;
    let up = pod.median("CreatePod")?
        + container.median("CreateContainer")?
        + container.median("StartContainer")?;
    let down = container.median("StopContainer")?
        + container.median("RemoveContainer")?
        + pod.median("StopPod")?
        + pod.median("RemovePod")?;
    Ok(Some(UpAndDown { up, down }))
}

/// Runs a script in the root of the peers, and gives what it printed.
fn inside(script: &Command) -> Result<String> {
    let mut command = Command::new("scripts/in-peers.sh");
    command.arg(script.get_program()).args(script.get_args()).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let (text, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{text}{complaint}", output.status);
    Ok(text.into_owned())
}

/// What critest wrote about one object: nanoseconds of each call, a point a round.
struct Calls(Value);

impl Calls {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("`{}`", path.display()))?;
        Ok(Self(serde_json::from_str(&text)?))
    }

    fn median(&self, call: &str) -> Result<Duration> {
        let of = |name: &str| self.0[name].as_array().with_context(|| format!("critest wrote no {name}"));
        let place = of("operationsNames")?.iter().position(|name| name == call);
        let place = place.with_context(|| format!("critest did not measure {call}"))?;
        let times: Option<Vec<Duration>> = of("datapoints")?
            .iter()
            .map(|point| point["operationsDurationsNs"][place].as_u64().map(Duration::from_nanos))
            .collect();
        let times = times.filter(|times| !times.is_empty());
        Ok(middle(times.with_context(|| format!("critest gave no time for {call}"))?))
    }
}
