//! An interrupted pull is gone on with where it stopped, by whichever process comes next; and pulls beside pulls, removals
//! and collections fetch nothing twice.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::collect::is_consistent;
use crate::hostile::tar::Tar;
use crate::image::{holds_nothing, images};
use crate::rogue::server::{Answer, Rogue, Spec};
use crate::rogue::{Image, NAME, count, noise};
use support::deadline::wait_for;
use support::host::Host;
use support::run::Running;
use support::suite::Suite;

const IMAGE: i32 = 6;
const NOT_FOUND: i32 = 4;
/// How much comes before the registry stops.
const HALF: u64 = 400_000;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a pull that was killed is gone on with where it stopped", &[], killed);
    suite.on_host("a pull that breaks off is gone on with by the next", &[], broken_off);
    suite.on_host("a pull that was killed begins anew where the rest cannot be had", &[], from_the_start);
    suite.on_host("what came of a blob is counted and pruned", &[], counted);
    suite.on_host("a spoilt beginning of a blob is fetched anew", &[], spoilt);
    suite.on_host(
        "a pull waits for another that brings the blob and takes over when it is killed",
        &[],
        waits,
    );
    suite.on_host("two pulls at once fetch each blob once a hundred times", &[], at_once);
    suite.on_host("a pull beside rmi and prune is whole a hundred times", &[], beside);
}

/// What has come of blobs: each file with its length.
fn partial(host: &Host) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(host.root().join("partial"))? {
        let entry = entry?;
        found.push((entry.path(), entry.metadata()?.len()));
    }
    Ok(found)
}

/// What has come of the one layer of `image`.
fn of_layer(host: &Host, image: &Image) -> Result<u64> {
    let name = image.layer_path();
    let hex = name.rsplit(':').next().context("a digest")?;
    let all = partial(host)?;
    let own = all.iter().find(|(path, _)| path.to_string_lossy().ends_with(hex));
    own.map(|(_, length)| *length).with_context(|| format!("nothing came of the layer: {all:?}"))
}

/// A pull of which half of the layer has come, from a registry that has stopped.
fn half_way(host: &Host, image: &Image) -> Result<(Rogue, Running)> {
    let held = Answer { pause: Some((HALF, host.file("gate"))), ..image.layer_answer() };
    let rogue = Rogue::start(host, &image.with(&image.layer_path(), vec![held]))?;
    let pull = host.start(&["pull", "-q", NAME])?;
    wait_for("half of the layer is here", || {
        ensure!(of_layer(host, image)? == HALF, "{:?}", partial(host)?);
        Ok(())
    })?;
    Ok((rogue, pull))
}

/// Interrupts a pull half way.
fn interrupt(host: &Host, image: &Image, signal: Signal) -> Result<()> {
    let (rogue, pull) = half_way(host, image)?;
    pull.signal(signal)?;
    let ended = pull.wait()?;
    ensure!(ended.code() == 128 + signal as i32, "{ended}");
    rogue.stop()?;
    ensure!(images(host)?.is_empty(), "{:#?}", images(host)?);
    host.podrun(&["image", "fsck"])?.ok().map(drop)
}

/// Pulls from a registry that works, and gives what it was asked for the layer.
fn pull_rest(host: &Host, image: &Image, answers: Vec<Answer>) -> Result<Vec<String>> {
    let rogue = Rogue::start(host, &image.with(&image.layer_path(), answers))?;
    let pulled = host.podrun(&["pull", "-q", NAME])?.ok();
    let asked = rogue.stop()?;
    pulled.with_context(|| asked.join("\n"))?;
    is_consistent(host)?;
    ensure!(partial(host)?.is_empty(), "{:?}", partial(host)?);
    host.podrun(&["rmi", NAME])?.ok()?;
    holds_nothing(host)?;
    Ok(asked.into_iter().filter(|line| line.contains(&image.layer_path())).collect())
}

fn killed(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        interrupt(host, &image, signal)?;
        let asked = pull_rest(host, &image, vec![image.layer_answer()])?;
        ensure!(asked.len() == 1 && count(&asked, &format!("range: bytes={HALF}-")) == 1, "{asked:#?}");
    }
    // A registry that knows no ranges sends all of it, and what is here already is passed over.
    interrupt(host, &image, Signal::SIGKILL)?;
    let asked = pull_rest(host, &image, vec![Answer { ranges: false, ..image.layer_answer() }])?;
    ensure!(asked.len() == 1, "{asked:#?}");
    Ok(())
}

fn broken_off(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let cut = Answer { cut: Some(HALF), ranges: false, ..image.layer_answer() };
    let none = Answer { cut: Some(0), ..image.layer_answer() };
    let rogue = Rogue::start(host, &image.with(&image.layer_path(), vec![cut, none]))?;
    let said = host.podrun(&["pull", "-q", NAME])?.fails_with(IMAGE)?;
    ensure!(said.contains(&format!("the connection ended after {HALF} of")), "{said}");
    rogue.stop()?;
    let asked = pull_rest(host, &image, vec![image.layer_answer()])?;
    ensure!(asked.len() == 1 && count(&asked, &format!("range: bytes={HALF}-")) == 1, "{asked:#?}");
    // One that says no length and ends early is not asked for ever, and what came is not lost.
    interrupt(host, &image, Signal::SIGKILL)?;
    let short = Answer { unsaid: true, cut: Some(100), ..image.layer_answer() };
    let rogue = Rogue::start(host, &image.with(&image.layer_path(), vec![short]))?;
    let said = host.podrun(&["pull", "-q", NAME])?.fails_with(IMAGE)?;
    ensure!(said.contains(&format!("is truncated: {} of", HALF + 100)), "{said}");
    rogue.stop()?;
    let asked = pull_rest(host, &image, vec![image.layer_answer()])?;
    ensure!(asked.len() == 1 && count(&asked, &format!("range: bytes={}-", HALF + 100)) == 1, "{asked:#?}");
    // Of an image that is refused nothing stays, whatever came.
    let image = Image::of(host, &[Tar::default().file("noise", &noise()).file("../out", b"x").end()])?;
    let rogue = Rogue::start(host, &image.with(&image.layer_path(), vec![image.layer_answer()]))?;
    host.podrun(&["pull", "-q", NAME])?.fails_with(IMAGE)?;
    rogue.stop()?;
    holds_nothing(host)
}

fn from_the_start(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let size = std::fs::metadata(&image.layer_file)?.len();
    let last = size - 1;
    let whole = image.layer_answer();
    let part = |range: &str, file: PathBuf| {
        Answer { status: 206, ..Answer::file(file) }.header("Content-Range", range)
    };
    let no_range = Answer { ranges: false, ..whole.clone() };
    // As many bytes, and others; and more.
    let (other, longer) = (host.file("other-blob"), host.file("longer-blob"));
    let mut bytes = std::fs::read(&image.layer_file)?;
    bytes.iter_mut().skip(usize::try_from(HALF)?).for_each(|byte| *byte ^= 1);
    std::fs::write(&other, &bytes)?;
    bytes.extend([0; 1000]);
    std::fs::write(&longer, &bytes)?;
    let own = image.layer_file.clone();
    let rest = format!("bytes {HALF}-{last}/{size}");
    let busy = Answer::status(500).header("Retry-After", "0");
    for (what, answers) in [
        ("416", vec![Answer::status(416), whole.clone()]),
        ("403", vec![Answer::status(403), whole.clone()]),
        ("500 to a part", [vec![busy; 5], vec![whole.clone()]].concat()),
        ("no Content-Range", vec![Answer { status: 206, ..Answer::file(own.clone()) }, no_range.clone()]),
        (
            "from a byte behind",
            vec![part(&format!("bytes {}-{last}/{size}", HALF + 1), own.clone()), no_range.clone()],
        ),
        (
            "of another size",
            vec![part(&format!("bytes {HALF}-{size}/{}", size + 1), own.clone()), no_range.clone()],
        ),
        ("of no known size", vec![part("bytes */5", own.clone()), no_range.clone()]),
        ("of another length", vec![part(&rest, own.clone()), no_range.clone()]),
        ("too much", vec![Answer { unsaid: true, ..part(&rest, longer.clone()) }, whole.clone()]),
        ("another blob", vec![Answer { file: Some(other.clone()), ..whole.clone() }, whole.clone()]),
    ] {
        interrupt(host, &image, Signal::SIGKILL)?;
        let asked = pull_rest(host, &image, answers).context(what)?;
        let by_range = count(&asked, &format!("range: bytes={HALF}-"));
        ensure!(by_range >= 1 && asked.len() == by_range + 1, "{what}: {asked:#?}");
    }
    // A part that begins before is as good, and so is one that ends before.
    interrupt(host, &image, Signal::SIGKILL)?;
    let asked = pull_rest(host, &image, vec![part(&format!("bytes 0-{last}/{size}"), own.clone())])?;
    ensure!(asked.len() == 1, "{asked:#?}");
    interrupt(host, &image, Signal::SIGKILL)?;
    let short = part(&format!("bytes 0-{}/*", HALF + 99), own);
    let short = Answer { cut: Some(HALF + 100), length: Some(HALF + 100), ..short };
    let asked = pull_rest(host, &image, vec![short, whole.clone()])?;
    ensure!(asked.len() == 2 && count(&asked, &format!("range: bytes={}-", HALF + 100)) == 1, "{asked:#?}");
    // Within one pull, too: it goes on by parts after one that was refused.
    let cut = Answer { cut: Some(HALF), ..whole.clone() };
    let again = Answer { cut: Some(HALF + 100), ranges: false, ..whole.clone() };
    let asked = pull_rest(host, &image, vec![cut.clone(), Answer::status(403), again, whole.clone()])?;
    ensure!(asked.len() == 4 && count(&asked, &format!("range: bytes={}-", HALF + 100)) == 1, "{asked:#?}");
    // What was there changes while it comes.
    let asked = pull_rest(host, &image, vec![cut, Answer { file: Some(other), ..whole.clone() }, whole])?;
    ensure!(asked.len() == 3 && count(&asked, "range: bytes=") == 1, "{asked:#?}");
    Ok(())
}

fn counted(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let usage = || -> Result<Value> {
        let usage: Value = serde_json::from_str(&host.podrun(&["image", "df", "-o", "json"])?.ok()?)?;
        Ok(usage["partial"].clone())
    };
    let (rogue, pull) = half_way(host, &image)?;
    // While it comes nobody takes it away. Its config came whole.
    let now = usage()?;
    ensure!(now["active"] == 1 && now["size"].as_u64() > Some(HALF), "{now:#}");
    host.podrun(&["image", "prune", "--all"])?.ok()?;
    ensure!(of_layer(host, &image)? == HALF, "it was taken away");
    pull.signal(Signal::SIGKILL)?;
    pull.wait()?;
    rogue.stop()?;
    let left = usage()?;
    ensure!(
        left["active"] == 0 && left["reclaimable"] == left["size"] && left["size"] == now["size"],
        "{left:#}"
    );
    let table = host.podrun(&["image", "df"])?.ok()?;
    ensure!(table.lines().any(|line| line.starts_with("Partial ")), "{table}");
    // The removal of something else leaves it, unless it is old.
    host.podrun(&["rmi", "--ignore", "nothing:1"])?.ok()?;
    let said = host.podrun(&["image", "prune", "--dry-run"])?.ok()?;
    ensure!(said.contains("Would reclaim") && of_layer(host, &image)? == HALF, "{said}");
    let said = host.podrun(&["image", "prune"])?.ok()?;
    ensure!(said.contains("in 0 layers and 2 blobs"), "{said}");
    holds_nothing(host)?;
    let asked = pull_rest(host, &image, vec![image.layer_answer()])?;
    ensure!(count(&asked, "range") == 0, "{asked:#?}");
    // An old one goes with the next image that does.
    interrupt(host, &image, Signal::SIGKILL)?;
    for (path, _) in partial(host)? {
        let file = std::fs::File::options().write(true).open(path)?;
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600))?;
    }
    let layout = host.file("other");
    crate::hostile::tar::Layout::image(&layout, &[Tar::default().file("f", b"f").end()])?;
    host.podrun(&["load", "-q", &layout.to_string_lossy()])?.ok()?;
    host.podrun(&["rmi", crate::hostile::tar::NAME])?.ok()?;
    holds_nothing(host)
}

fn spoilt(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    interrupt(host, &image, Signal::SIGKILL)?;
    for (path, _) in partial(host)? {
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes)?;
    }
    // The end shows that the beginning was wrong; then all of it comes.
    let asked = pull_rest(host, &image, vec![image.layer_answer()])?;
    ensure!(asked.len() == 2 && count(&asked, &format!("range: bytes={HALF}-")) == 1, "{asked:#?}");
    Ok(())
}

fn waits(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let (rogue, first) = half_way(host, &image)?;
    let log = host.file("rogue.log");
    let asked_for = |what: &str| -> Result<usize> {
        Ok(std::fs::read_to_string(&log)?.lines().filter(|line| line.contains(what)).count())
    };
    let second = host.start(&["pull", "-q", NAME])?;
    wait_for("the second knows the image", || {
        ensure!(asked_for("GET /v2/lab/image/manifests/")? == 2, "not yet");
        Ok(())
    })?;
    // In the queue of the blob's lock, where the kernel wakes it: it does not look again and again.
    let hex = image.layer_path().rsplit(':').next().context("a digest")?.to_owned();
    let all = partial(host)?;
    let (path, _) = all.iter().find(|(path, _)| path.to_string_lossy().ends_with(&hex)).context("no blob")?;
    let inode = format!(":{} ", std::fs::metadata(path)?.ino());
    wait_for("the second waits for the lock", || {
        let locks = std::fs::read_to_string("/proc/locks")?;
        let waits = |line: &&str| line.contains("-> FLOCK") && line.contains(&inode);
        ensure!(locks.lines().filter(waits).count() == 1, "{locks}");
        Ok(())
    })?;
    first.signal(Signal::SIGKILL)?;
    first.wait()?;
    wait_for("the second goes on with it", || {
        ensure!(asked_for(&format!("range: bytes={HALF}-"))? == 1, "not yet");
        Ok(())
    })?;
    std::fs::write(host.file("gate"), "")?;
    second.wait()?.ok()?;
    let asked = rogue.stop()?;
    ensure!(count(&asked, &image.layer_path()) == 2, "{asked:#?}");
    is_consistent(host)?;
    host.podrun(&["rmi", NAME])?.ok()?;
    holds_nothing(host)
}

const ROUNDS: usize = 100;

/// An image of two small layers and one that comes in several pieces.
fn small(host: &Host) -> Result<Image> {
    Image::of(
        host,
        &[
            Tar::default().dir("d").file("d/noise", &noise()[..200_000]).end(),
            Tar::default().file("d/f", b"f").end(),
            Tar::default().file("d/.wh.f", b"").file("g", b"g").end(),
        ],
    )
}

/// How often each blob was asked for since the last time.
fn fetched(host: &Host, seen: &mut usize) -> Result<BTreeMap<String, usize>> {
    let text = std::fs::read_to_string(host.file("rogue.log"))?;
    let mut counts = BTreeMap::new();
    for line in text.lines().skip(*seen).filter(|line| line.contains("GET /v2/lab/image/blobs/")) {
        let path = line.split(' ').nth(2).context("a path")?;
        *counts.entry(path.to_owned()).or_default() += 1;
    }
    *seen = text.lines().count();
    Ok(counts)
}

fn at_once(host: &Host) -> Result<()> {
    let image = small(host)?;
    let rogue = Rogue::start(host, &Spec::from([(5001, image.answers.clone())]))?;
    let mut seen = 0;
    for round in 0..ROUNDS {
        let pulls = [host.start(&["pull", "-q", NAME])?, host.start(&["pull", "-q", NAME])?];
        let mut ids = Vec::new();
        for pull in pulls {
            ids.push(pull.wait()?.ok()?);
        }
        ensure!(ids[0] == ids[1], "{ids:?}");
        let counts = fetched(host, &mut seen)?;
        ensure!(counts.len() == 4 && counts.values().all(|count| *count == 1), "round {round}: {counts:#?}");
        is_consistent(host)?;
        host.podrun(&["rmi", NAME])?.ok()?;
        holds_nothing(host).with_context(|| format!("round {round}"))?;
    }
    rogue.stop().map(drop)
}

fn beside(host: &Host) -> Result<()> {
    let image = small(host)?;
    let rogue = Rogue::start(host, &Spec::from([(5001, image.answers.clone())]))?;
    let (mut seen, mut here) = (0, 0);
    for round in 0..ROUNDS {
        let pull = host.start(&["pull", "-q", NAME])?;
        let others = [host.start(&["rmi", "--force", NAME])?, host.start(&["image", "prune", "--all"])?];
        pull.wait()?.ok()?;
        for other in others {
            let other = other.wait()?;
            ensure!([0, NOT_FOUND].contains(&other.code()), "{other}");
        }
        let counts = fetched(host, &mut seen)?;
        ensure!(counts.values().all(|count| *count == 1), "round {round}: {counts:#?}");
        is_consistent(host).with_context(|| format!("round {round}"))?;
        if images(host)?.is_empty() {
            holds_nothing(host).with_context(|| format!("round {round}"))?;
        } else {
            here += 1;
        }
    }
    ensure!(here > 0, "it was never here in the end");
    println!("of {ROUNDS} pulls {here} were last");
    rogue.stop()?;
    host.podrun(&["image", "prune", "--all"])?.ok()?;
    holds_nothing(host)
}
