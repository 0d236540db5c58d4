//! Trouble with the disks: one at a time is filled to its last byte or made read-only, for a moment, and is well again.
//!
//! Invariant: when it returns every disk is writable and has its room back.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;

use support::dice::Dice;

use crate::site::{DISKS, Site};
use crate::tally::Tally;

/// What takes the room.
const FILL: &str = "soak.fill";

/// Makes trouble until `end`, with pauses in which verbs have to work.
pub(crate) fn trouble_until(end: Instant, site: &Site, tally: &Tally, mut dice: Dice) {
    while Instant::now() < end {
        pause(end, &mut dice, 8000);
        let disk = *dice.one_of(&DISKS);
        site.trouble.fetch_add(1, Ordering::SeqCst);
        let outcome = match dice.below(3) {
            0 => read_only(site, tally, disk, || pause(end, &mut dice, 3000)),
            _ => full(site, tally, disk, || pause(end, &mut dice, 3000)),
        };
        if let Err(error) = outcome {
            tally.wrong(format!("the run's own trouble with {disk}: {error:#}"));
        }
        site.trouble.fetch_add(1, Ordering::SeqCst);
    }
}

/// Time that passes by design: trouble lasts, and lets up.
fn pause(end: Instant, dice: &mut Dice, most: usize) {
    let left = end.saturating_duration_since(Instant::now());
    let millis = u64::try_from(dice.below(most)).expect("it is below a u64");
    std::thread::sleep(Duration::from_millis(millis).min(left));
}

fn full(site: &Site, tally: &Tally, disk: &str, during: impl FnOnce()) -> Result<()> {
    let path = site.disk(disk).join(FILL);
    fill(&path)?;
    tally.count(&format!("disk {disk}: full"), 1);
    during();
    std::fs::remove_file(&path)?;
    Ok(())
}

/// Writes until there is no room, by smaller and smaller pieces.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let piece = vec![0; 1 << 20];
    for length in [piece.len(), 4096] {
        while file.write_all(&piece[..length]).is_ok() {}
    }
    Ok(())
}

fn read_only(site: &Site, tally: &Tally, disk: &str, during: impl FnOnce()) -> Result<()> {
    let folder = format!("/run/soak/{disk}");
    let remount = |options: &str| site.host().run("mount", &["-o", options, &folder]);
    // A file of it that is open for writing, as a log is, keeps it writable.
    if remount("remount,bind,ro")?.status.success() {
        tally.count(&format!("disk {disk}: read-only"), 1);
        during();
        remount("remount,bind,rw")?.ok()?;
    }
    Ok(())
}
