//! Pods that stay for the whole run: nobody ends them, everybody works in them, and their monitors are measured.
//!
//! Invariant: at the end each runs by the monitor that it began with, which has neither grown nor kept descriptors.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use support::pods::monitors;

use crate::client::sleeper;
use crate::site::Site;
use crate::tally::Tally;

/// How many there are.
const COUNT: usize = 3;
/// What of a monitor's memory may come and go: buffers of the streams and messages of a moment, in KiB.
const KIB: u64 = 512;
/// Execs before a monitor is measured for the first time: its buffers are there then.
const WARM: usize = 20;

/// The pods, with their monitors.
#[derive(Debug)]
pub(crate) struct Keepers {
    pub(crate) names: Vec<String>,
    monitors: Vec<Monitor>,
}

#[derive(Debug)]
struct Monitor {
    pid: String,
    kib: u64,
    descriptors: usize,
}

/// Makes them.
pub(crate) fn create(site: &Site) -> Result<Keepers> {
    let names: Vec<String> = (0..COUNT).map(|number| format!("keeper-{number}")).collect();
    for name in &names {
        let file = site.host().write(&format!("{name}.json"), &sleeper(name).to_string())?;
        site.verb(&["create", &file.to_string_lossy()])?.ok()?;
        for _ in 0..WARM {
            site.verb(&["exec", name, "--", "true"])?.ok()?;
        }
    }
    let pids = monitors(site.host())?;
    ensure!(pids.len() == COUNT, "{COUNT} keepers have {} monitors", pids.len());
    let monitors = pids.into_iter().map(|pid| measure(site, pid)).collect::<Result<_>>()?;
    Ok(Keepers { names, monitors })
}

fn measure(site: &Site, pid: String) -> Result<Monitor> {
    let folder: PathBuf = site.host().proc().join(&pid);
    let status = std::fs::read_to_string(folder.join("status"))
        .with_context(|| format!("the monitor {pid} of a keeper"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("RssAnon")?.parse()?;
    Ok(Monitor { kib, descriptors: std::fs::read_dir(folder.join("fd"))?.count(), pid })
}

impl Keepers {
    /// Whether the monitor is one of theirs.
    pub(crate) fn have(&self, pid: &str) -> bool {
        self.monitors.iter().any(|monitor| monitor.pid == pid)
    }

    /// Compares each monitor with what it was.
    pub(crate) fn ensure_whole(&self, site: &Site, tally: &Tally) -> Result<()> {
        for before in &self.monitors {
            let now = match measure(site, before.pid.clone()) {
                Ok(now) => now,
                Err(error) => {
                    tally.wrong(format!("{error:#}"));
                    continue;
                }
            };
            println!(
                "a keeper's monitor: {} KiB and {} descriptors at first, {} and {} in the end",
                before.kib, before.descriptors, now.kib, now.descriptors
            );
            if now.kib > before.kib + KIB || now.descriptors > before.descriptors {
                tally.wrong(format!("a monitor grew: {before:?}, then {now:?}"));
            }
        }
        for name in &self.names {
            let worked = site.verb(&["exec", name, "--", "true"])?;
            if !worked.status.success() {
                tally.wrong(format!("a keeper cannot be worked in: {worked}"));
            }
        }
        Ok(())
    }
}
