//! kill -9 at every N-th system call of a verb that changes the store, whichever thread makes it: after each the store is
//! whole, the verb made again succeeds, and what it makes is what it makes when nobody kills it.
//!
//! `PODRUN_TESTS_CRASH_EVERY=5` kills at every fifth call, and takes as much longer.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::hostile::tar::{Layout, NAME as LOADED, Tar};
use crate::image::{holds_nothing, images, remove_all};
use crate::rogue::server::Rogue;
use crate::rogue::{self, Image};
use crate::trees::{Tree, compare, look};
use support::host::Host;
use support::suite::Suite;
use support::trace::{End, kill_at};

const NOT_FOUND: i32 = 4;
const IMAGE: i32 = 6;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a pull killed at any system call is made good by the next", &[], pull);
    suite.on_host("a load killed at any system call is made good by the next", &[], load);
    suite.on_host("a rmi killed at any system call is made good by the next", &[], remove);
    suite.on_host("an image prune killed at any system call is made good by the next", &[], prune);
    suite.on_host("a store whose upgrade is killed at any system call is upgraded by the next", &[], upgrade);
    suite.on_host("an old store is upgraded once by many at once and a newer one refused", &[], versions);
}

/// What is killed, and what has to hold after it.
struct Crash<'a> {
    host: &'a Host,
    line: &'a [&'a str],
    /// The number of the first call, and how many calls lie between two of them.
    first: u64,
    every: u64,
    /// Brings about what the verb needs, out of an empty store.
    before: &'a dyn Fn() -> Result<()>,
    /// Makes it again, and sees that it did what it should.
    again: &'a dyn Fn() -> Result<()>,
}

impl Crash<'_> {
    fn every(&self) -> Result<u64> {
        match std::env::var("PODRUN_TESTS_CRASH_EVERY") {
            Ok(every) => every.parse().context("PODRUN_TESTS_CRASH_EVERY is no number"),
            Err(_) => Ok(self.every),
        }
    }

    /// Kills it at one call after the other until it makes no more of them, and says how often it was killed.
    fn run(&self) -> Result<()> {
        let (every, mut killed) = (self.every()?, 0);
        for at in (self.first % every + 1..).step_by(usize::try_from(every)?) {
            (self.before)().with_context(|| format!("before the kill at call {at}"))?;
            match kill_at(self.host, self.line, at)? {
                End::Killed => {
                    killed += 1;
                    self.is_made_good().with_context(|| format!("killed at call {at}"))?;
                }
                End::Completed(calls, outcome) => {
                    outcome.ok()?;
                    ensure!(killed > 2, "killed only {killed} times in {calls} calls");
                    println!("{}: killed at {killed} of {calls} calls", self.line.join(" "));
                    return self.clear();
                }
            }
        }
        unreachable!("numbers end later than calls")
    }

    fn is_made_good(&self) -> Result<()> {
        self.host.podrun(&["image", "fsck"])?.ok()?;
        (self.again)()?;
        self.host.podrun(&["image", "fsck"])?.ok()?;
        self.clear()
    }

    /// Removes all images, and sees that nothing else is left, not even beside the records.
    fn clear(&self) -> Result<()> {
        self.host.podrun(&["image", "prune", "--all"])?.ok()?;
        holds_nothing(self.host)?;
        let mut left = Vec::new();
        for folder in ["images", "."] {
            for entry in std::fs::read_dir(self.host.root().join(folder))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                let is_known =
                    [".lock", ".ingest"].contains(&name.as_str()) || folder == "." && !name.starts_with('.');
                left.extend((!is_known).then(|| format!("{folder}/{name}")));
            }
        }
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    }
}

/// Layers with something of everything that is made in several steps.
fn layers() -> Vec<Vec<u8>> {
    let noise = &rogue::noise()[..150_000];
    vec![
        Tar::default().dir("d").file("d/f", b"lower").file("noise", noise).symlink("l", "d/f").end(),
        Tar::default()
            .file("d/.wh.f", b"")
            .file("d/g", b"upper")
            .hard_link("d/h", "d/g")
            .dir("e")
            .dir("e/f")
            .end(),
    ]
}

/// The trees of all layers, without the times of whiteouts, which nobody sees.
fn trees(host: &Host) -> Result<BTreeMap<String, Tree>> {
    let mut trees = BTreeMap::new();
    for layer in std::fs::read_dir(host.root().join("layers"))? {
        let layer = layer?;
        let mut tree = look(&layer.path().join("tree"))?;
        tree.values_mut()
            .filter(|line| line.ends_with(" device 0"))
            .for_each(|line| "a whiteout".clone_into(line));
        trees.insert(layer.file_name().to_string_lossy().into_owned(), tree);
    }
    Ok(trees)
}

/// Makes an image by `line`, and gives the trees of its layers; there is one then.
fn made(host: &Host, line: &[&str]) -> Result<BTreeMap<String, Tree>> {
    host.podrun(line)?.ok()?;
    ensure!(images(host)?.len() == 1, "{:#?}", images(host)?);
    trees(host)
}

/// Kills what makes an image.
fn making(host: &Host, line: &[&str], first: u64) -> Result<()> {
    let expected = made(host, line)?;
    ensure!(expected.len() == 2, "{expected:?}");
    let again = || {
        let found = made(host, line)?;
        ensure!(found.keys().eq(expected.keys()), "other layers: {found:?}");
        found.values().zip(expected.values()).try_for_each(|(ours, expected)| compare(ours, expected))
    };
    let crash = Crash { host, line, first, every: 50, before: &|| Ok(()), again: &again };
    crash.clear()?;
    crash.run()
}

fn pull(host: &Host) -> Result<()> {
    let image = Image::of(host, &layers())?;
    let rogue = Rogue::start(host, &rogue::server::Spec::from([(5001, image.answers.clone())]))?;
    making(host, &["pull", "-q", rogue::NAME], 7)?;
    rogue.stop().map(drop)
}

/// An image as a layout, to load.
fn layout(host: &Host) -> Result<String> {
    let folder = host.file("layout");
    Layout::image(&folder, &layers())?;
    Ok(folder.to_string_lossy().into_owned())
}

fn load(host: &Host) -> Result<()> {
    making(host, &["load", "-q", &layout(host)?], 31)
}

fn remove(host: &Host) -> Result<()> {
    let layout = layout(host)?;
    let before = || host.podrun(&["load", "-q", &layout])?.ok().map(drop);
    let line = ["rmi", LOADED];
    let again = || {
        let removed = host.podrun(&line)?;
        ensure!([0, NOT_FOUND].contains(&removed.code()), "{removed}");
        ensure!(images(host)?.is_empty(), "{:#?}", images(host)?);
        Ok(())
    };
    Crash { host, line: &line, first: 3, every: 25, before: &before, again: &again }.run()
}

fn prune(host: &Host) -> Result<()> {
    let layout = layout(host)?;
    let before = || host.podrun(&["load", "-q", &layout])?.ok().map(drop);
    let line = ["image", "prune", "--all"];
    let again = || {
        host.podrun(&line)?.ok()?;
        ensure!(images(host)?.is_empty(), "{:#?}", images(host)?);
        Ok(())
    };
    Crash { host, line: &line, first: 8, every: 25, before: &before, again: &again }.run()
}

/// Makes of the store what the first version left: no `partial`, nothing that says its version, and beside the records what
/// a writer that was killed left.
fn make_old(host: &Host) -> Result<()> {
    let root = host.root();
    std::fs::remove_file(root.join("layout.json"))?;
    std::fs::remove_dir(root.join("partial"))?;
    Ok(std::fs::write(root.join("images").join(format!(".{}.json.4711", "0".repeat(64))), "{")?)
}

fn versions(host: &Host) -> Result<()> {
    let layout = layout(host)?;
    host.podrun(&["load", "-q", &layout])?.ok()?;
    let (before, file) = (images(host)?, host.root().join("layout.json"));
    for _ in 0..10 {
        make_old(host)?;
        let all = (0..6).map(|_| host.start(&["images", "-o", "json"])).collect::<Result<Vec<_>>>()?;
        for one in all {
            let seen: Vec<serde_json::Value> = serde_json::from_str(&one.wait()?.ok()?)?;
            ensure!(seen == before, "{seen:#?}");
        }
        ensure!(std::fs::read_to_string(&file)? == r#"{"version":2}"#, "{}", file.display());
    }
    let known = std::fs::read_to_string(&file)?;
    std::fs::write(&file, r#"{"version":3}"#)?;
    for line in [&["images"][..], &["load", "-q", &layout], &["image", "prune", "--all"], &["rmi", "--all"]] {
        let said = host.podrun(line)?.fails_with(IMAGE)?;
        ensure!(said.contains("version 3") && said.contains("newer") && said.contains("hint: "), "{said}");
        ensure!(said.contains(&*host.root().to_string_lossy()), "{said}");
    }
    std::fs::write(&file, known)?;
    ensure!(images(host)? == before, "something changed");
    remove_all(host)
}

fn upgrade(host: &Host) -> Result<()> {
    let layout = layout(host)?;
    let root = host.root();
    let before = || {
        host.podrun(&["load", "-q", &layout])?.ok()?;
        make_old(host)
    };
    let again = || {
        ensure!(images(host)?.len() == 1, "{:#?}", images(host)?);
        ensure!(root.join("partial").is_dir() && root.join("layout.json").exists(), "it is as it was");
        Ok(())
    };
    let line = ["images", "-q"];
    Crash { host, line: &line, first: 1, every: 25, before: &before, again: &again }.run()
}
