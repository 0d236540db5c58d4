//! The host that is soaked: podrun's trees on small disks in memory of their own, and the verbs with a deadline.
//!
//! Invariant: a verb that is past its deadline is an error of the run, whatever it was waiting for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use support::deadline::wait_for;
use support::fixtures;
use support::host::Host;
use support::run::Outcome;

use crate::tally::Tally;

/// The disks below /run of the host: podrun's root, its state and its logs.
pub(crate) const DISKS: [&str; 3] = ["root", "state", "log"];
/// How large each is.
const SIZE: &str = "size=48m";
/// How much is remembered of a pod.
const KEPT: usize = 4;
/// How long a verb may take, on a machine that does all else meanwhile.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A host, and what the run knows of it.
#[derive(Debug)]
pub(crate) struct Site {
    host: Host,
    /// How often a disk got into trouble or out of it: odd while one is in trouble.
    pub(crate) trouble: AtomicU64,
    /// The monitors that were killed on purpose, by the ids of their pods.
    killed: Mutex<BTreeSet<String>>,
    /// What became of the creates and deletes of each pod, the last ones last.
    history: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Site {
    /// A host with the disks and an image, on which a pod has been: what podrun makes once is there.
    pub(crate) fn new(host: Host) -> Result<Self> {
        for disk in DISKS {
            let folder = format!("/run/soak/{disk}");
            host.run("mkdir", &["-p", &folder])?.ok()?;
            host.run("mount", &["-t", "tmpfs", "-o", SIZE, "soak", &folder])?.ok()?;
        }
        let site =
            Self { host, trouble: AtomicU64::new(0), killed: Mutex::default(), history: Mutex::default() };
        let image = fixtures::path("busybox.tar")?;
        site.verb(&["load", &image.to_string_lossy()])?.ok()?;
        let first = site.host.write("first.json", &crate::client::sleeper("first").to_string())?;
        site.verb(&["create", &first.to_string_lossy()])?.ok()?;
        site.verb(&["delete", "pod", "first", "--grace-period=0", "--force"])?.ok()?;
        Ok(site)
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// A disk's folder, seen from the machine.
    pub(crate) fn disk(&self, name: &str) -> PathBuf {
        self.host.path(&format!("/run/soak/{name}"))
    }

    /// Runs podrun to its end, within [`DEADLINE`].
    pub(crate) fn verb(&self, arguments: &[&str]) -> Result<Outcome> {
        let trees =
            ["--root", "/run/soak/root", "--state-dir", "/run/soak/state", "--log-dir", "/run/soak/log"];
        self.host.start(&[&trees, arguments].concat())?.wait_within(DEADLINE)
    }

    /// Whether no disk is in trouble; a number that another call can be compared with.
    pub(crate) fn is_well(&self) -> Option<u64> {
        let trouble = self.trouble.load(Ordering::SeqCst);
        trouble.is_multiple_of(2).then_some(trouble)
    }

    /// Kills a monitor, and remembers whose it was.
    pub(crate) fn kill(&self, monitor: &str) -> Result<()> {
        let command =
            std::fs::read_to_string(self.host.proc().join(monitor).join("cmdline")).unwrap_or_default();
        let id = command.split('\0').nth(2).unwrap_or_default().to_owned();
        self.killed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        // It may have ended by itself meanwhile.
        self.host.run("kill", &["-9", monitor])?;
        Ok(())
    }

    /// Remembers what became of a create or delete of a pod.
    pub(crate) fn remember(&self, pod: &str, what: String) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = history.entry(pod.to_owned()).or_default();
        lines.push(what);
        lines.drain(..lines.len().saturating_sub(KEPT));
    }

    /// What is remembered of a pod.
    pub(crate) fn history_of(&self, pod: &str) -> String {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.get(pod).map(|lines| lines.join("\n  ")).unwrap_or_default()
    }

    /// The id of the pod with this uid.
    fn id_of(&self, uid: &str) -> Result<String> {
        for entry in std::fs::read_dir(self.disk("root").join("pods"))? {
            let entry = entry?;
            let record = std::fs::read_to_string(entry.path().join("sandbox.json")).unwrap_or_default();
            if record.contains(uid) {
                return Ok(entry.file_name().to_string_lossy().into_owned());
            }
        }
        bail!("no record has the uid {uid}")
    }

    /// Whether the monitor of the pod `id` was killed on purpose; if not, what it wrote down of itself.
    fn end_of(&self, id: &str) -> Option<String> {
        if self.killed.lock().unwrap_or_else(PoisonError::into_inner).contains(id) {
            return None;
        }
        let log = self.disk("root").join("pods").join(id).join("monitor.log");
        Some(std::fs::read_to_string(&log).unwrap_or_else(|error| format!("{}: {error}", log.display())))
    }

    /// The pods, as `get -o json` has them.
    pub(crate) fn pods(&self) -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&self.verb(&["get", "pods", "-A", "-o", "json"])?.ok()?)?;
        Ok(list["items"].as_array().context("items")?.clone())
    }

    /// Looks whether what is shown of each pod is so: one that runs can be worked in, one whose monitor is lost had it killed.
    pub(crate) fn ensure_true(&self, tally: &Tally) -> Result<()> {
        let mut running = 0;
        for pod in self.pods()? {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            match (pod["status"]["phase"].as_str(), pod["status"]["reason"].as_str()) {
                (Some("Unknown"), _) => tally.wrong(format!("{name} is Unknown: {}", pod["status"])),
                (_, Some("MonitorLost")) => {
                    let id = self.id_of(uid)?;
                    if let Some(log) = self.end_of(&id) {
                        let history = self.history_of(&name);
                        tally.wrong(format!(
                            "{name} has lost its monitor, which nobody killed: {log}\n  {history}"
                        ));
                    }
                }
                (Some("Running"), _) => {
                    running += 1;
                    if let Err(error) = self.ensure_runs(&name) {
                        tally.wrong(format!("{error:#}"));
                    }
                }
                _ => {}
            }
        }
        tally.count("pods that ran at the end", running);
        Ok(())
    }

    /// A pod that is shown as running has a container to work in, or is shown otherwise before long.
    fn ensure_runs(&self, name: &str) -> Result<()> {
        wait_for(&format!("{name} is shown as Running"), || {
            let shown = self.verb(&["get", "pod", name, "-o", "jsonpath={.status.phase}"])?;
            if shown.stdout.trim() != "Running" {
                return Ok(());
            }
            let worked = self.verb(&["exec", name, "--", "true"])?;
            ensure!(worked.status.success(), "and {worked}");
            Ok(())
        })
    }
}
