//! `make soak`: clients that make, look at and end pods for some minutes, while monitors are killed and disks fill up.
//!
//! Invariant: all of it happens on a host of its own (`support::host`). The run fails when a verb does not end, dies or says
//! what it never should, when a verb's success was none, when a pod is left wrong once all disks are well, when a monitor
//! grows, or when anything is left behind.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use support::deadline::wait_for;
use support::dice::Dice;
use support::footprint::Footprint;
use support::host::Host;

use client::Client;
use site::Site;
use tally::Tally;

mod client;
mod disks;
mod keepers;
mod site;
mod tally;

/// What the command line asks for.
struct Asked {
    minutes: u64,
    clients: usize,
    pods: usize,
    seed: u64,
}

fn main() -> Result<ExitCode> {
    if let Some(code) = support::namespaces::take_over(std::env::args().nth(1).as_deref()) {
        return Ok(code);
    }
    let mut arguments = std::env::args().skip(1);
    let mut number = |name| -> Result<u64> {
        let text = arguments
            .next()
            .with_context(|| format!("usage: podrun-soak MINUTES CLIENTS PODS SEED: no {name}"))?;
        text.parse().with_context(|| format!("{name}: {text:?}"))
    };
    let (minutes, clients, pods) = (number("MINUTES")?, number("CLIENTS")?, number("PODS")?);
    let asked = Asked {
        minutes,
        clients: usize::try_from(clients)?,
        pods: usize::try_from(pods)?,
        seed: number("SEED")?,
    };
    println!("{minutes} minutes, {clients} clients, {pods} pods, seed {}", asked.seed);
    let site = Site::new(Host::with_images(&[])?)?;
    let tally = Tally::default();
    if let Err(error) = soak(&asked, &site, &tally) {
        tally.wrong(format!("{error:#}"));
    }
    let clean = tally.report();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn soak(asked: &Asked, site: &Site, tally: &Tally) -> Result<()> {
    // The monitor of the first pod may be on its way out.
    let before = wait_for("nothing moves on the host", || {
        let now = Footprint::of(site.host())?;
        let changes = Footprint::of(site.host())?.changes_since(&now);
        ensure!(changes.is_empty(), "{}", changes.join("\n"));
        Ok(now)
    })?;
    let keepers = keepers::create(site)?;
    let end = Instant::now() + Duration::from_secs(60 * asked.minutes);
    std::thread::scope(|scope| {
        for number in 0..asked.clients {
            let mut client = Client::new(site, tally, &keepers, number, asked);
            scope.spawn(move || client.work_until(end));
        }
        scope.spawn(|| disks::trouble_until(end, site, tally, Dice::of(asked.seed ^ u64::MAX)));
    });
    // From here on nothing is in anybody's way.
    keepers.ensure_whole(site, tally)?;
    site.ensure_true(tally)?;
    site.verb(&["delete", "pods", "--all", "--grace-period=0", "--force"])?.ok()?;
    before.wait_until_restored(site.host())
}
