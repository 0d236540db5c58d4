//! What a pull is asked for: every tag, another platform, when to ask the registry, how much to say.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::hostile::tar::Tar;
use crate::rogue::server::{Answer, Rogue, Spec};
use crate::rogue::{Image, NAME, count, noise};
use support::deadline::wait_for;
use support::host::Host;
use support::registry::Registry;
use support::run::Running;
use support::suite::Suite;

const IMAGE: i32 = 6;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("every tag of a repository is pulled", &[], every_tag);
    suite.on_host("a list of tags ends and has tags in it", &[], lists_of_tags);
    suite.on_host(
        "a layer is unpacked while it comes and a killed pull leaves nothing of it",
        &[],
        while_it_comes,
    );
    suite.on_host("layers are unpacked side by side and end as if one after the other", &[], side_by_side);
    suite.on_host("the policy of a pull decides whether the registry is asked", &[], policies);
}

fn names(host: &Host) -> Result<Vec<String>> {
    let all: Vec<Value> = serde_json::from_str(&host.podrun(&["images", "-o", "json"])?.ok()?)?;
    let names = all.iter().flat_map(|image| image["names"].as_array().into_iter().flatten());
    let mut names: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

fn every_tag(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    for (image, tag) in [("probe", "1"), ("probe", "latest"), ("busybox", "2")] {
        registry.publish(image, "lab/both", tag)?;
    }
    registry.publish("probe", "lab/both-not", "9")?;
    let repository = "127.0.0.1:5000/lab/both";
    let listed = host.podrun(&["pull", "-q", "--all-tags", repository])?;
    ensure!(listed.stderr.is_empty(), "{listed}");
    let ids = listed.ok()?;
    ensure!(ids.lines().count() == 3, "{ids}");
    let expected = ["1", "2", "latest"].map(|tag| format!("{repository}:{tag}"));
    ensure!(names(host)? == expected, "{:?}", names(host)?);
    host.podrun(&["pull", "--all-tags", &format!("{repository}:1")])?.fails_with(2)?;
    host.podrun(&["pull", "--all-tags", "--policy=never", repository])?.fails_with(2)?;
    let said = host.podrun(&["pull", "--all-tags", "127.0.0.1:5000/lab/none"])?.fails_with(IMAGE)?;
    ensure!(said.contains("the tags of 127.0.0.1:5000/lab/none") && said.contains("not found"), "{said}");
    // One tag that is broken keeps none of the others away.
    registry.spoil_tag("lab/both", "2")?;
    for name in &expected {
        host.podrun(&["rmi", name])?.ok()?;
    }
    let outcome = host.podrun(&["pull", "--all-tags", repository])?;
    let said = outcome.fails_with(IMAGE)?;
    ensure!(said.contains("podrun: image 127.0.0.1:5000/lab/both:2: "), "{said}");
    ensure!(names(host)? == [expected[0].clone(), expected[2].clone()], "{:?}", names(host)?);
    registry.stop()
}

fn lists_of_tags(host: &Host) -> Result<()> {
    const LIST: &str = "/v2/lab/image/tags/list";
    let page =
        |tags: Value| Answer::text(json!({ "name": "x", "tags": tags }).to_string(), "application/json");
    let next = |link: &str| format!("<{link}>; rel=\"next\"");
    let pull = |answers: Vec<Answer>, why: &str| -> Result<Vec<String>> {
        let rogue = Rogue::start(host, &Spec::from([(5001, BTreeMap::from([(LIST.to_owned(), answers)]))]))?;
        let outcome = host.podrun(&["pull", "--all-tags", "127.0.0.1:5001/lab/image"])?;
        let asked = rogue.stop()?;
        let said = outcome.fails_with(IMAGE)?;
        ensure!(said.contains(why), "{why:?} is not in: {said}");
        Ok(asked)
    };
    let first = page(json!(["a", "b"])).header("Link", &next("/v2/lab/image/tags/list?last=b&n=2"));
    let asked = pull(vec![first.clone(), page(json!(["c"]))], "lab/image:c: ")?;
    ensure!(count(&asked, &format!("GET {LIST}?n=1000 ")) == 1, "{asked:#?}");
    ensure!(count(&asked, &format!("GET {LIST}?last=b&n=2 ")) == 1, "{asked:#?}");
    for tag in ["a", "b", "c"] {
        ensure!(count(&asked, &format!("/manifests/{tag} ")) >= 1, "{asked:#?}");
    }
    let asked = pull(vec![first], "has more than 100 pages")?;
    ensure!(count(&asked, LIST) == 100, "{}", asked.len());
    let away = page(json!(["a"])).header("Link", &next("http://192.0.2.1/list"));
    pull(vec![away], "without TLS")?;
    let nowhere = page(json!(["a"])).header("Link", &next("http://[::1/list"));
    pull(vec![nowhere], "its Link header names what is no URL")?;
    let asked = pull(vec![page(json!(["fine", "../../x"]))], "../../x")?;
    ensure!(count(&asked, "manifests") == 0, "{asked:#?}");
    pull(vec![Answer::text("[]", "application/json")], "cannot be read")?;
    // No tags are no failure.
    let rogue = Rogue::start(
        host,
        &Spec::from([(5001, BTreeMap::from([(LIST.to_owned(), vec![page(json!(null))])]))]),
    )?;
    ensure!(host.podrun(&["pull", "--all-tags", "127.0.0.1:5001/lab/image"])?.ok()?.is_empty(), "an id");
    rogue.stop()?;
    Ok(())
}

/// The files of layers that are being unpacked.
fn being_unpacked(host: &Host, file: &str) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(host.root().join("tmp"))? {
        count += usize::from(entry?.path().join("tree").join(file).exists());
    }
    Ok(count)
}

fn while_it_comes(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let gate = host.file("gate");
    let held = Answer { pause: Some((400_000, gate.clone())), ..image.layer_answer() };
    let start = |answer: Answer| -> Result<(Rogue, Running)> {
        let rogue = Rogue::start(host, &image.with(&image.layer_path(), vec![answer]))?;
        let pull = host.start(&["pull", "-q", NAME])?;
        wait_for("the first file is there", || {
            ensure!(being_unpacked(host, "first")? == 1, "not yet");
            Ok(())
        })?;
        Ok((rogue, pull))
    };
    let (rogue, pull) = start(held.clone())?;
    ensure!(names(host)?.is_empty() && layers(host)? == 0, "it is visible before all of it is here");
    std::fs::write(&gate, "")?;
    pull.wait()?.ok()?;
    rogue.stop()?;
    host.podrun(&["rmi", NAME])?.ok()?;
    // What was unpacked of a layer that turns out to be another, or never comes whole, goes again.
    std::fs::remove_file(&gate)?;
    let mut bytes = std::fs::read(&image.layer_file)?;
    bytes[500_000] ^= 1;
    let other = Answer { file: Some(host.file("other")), ..held.clone() };
    std::fs::write(host.file("other"), bytes)?;
    let (rogue, pull) = start(other)?;
    std::fs::write(&gate, "")?;
    let said = pull.wait()?.fails_with(IMAGE)?;
    ensure!(said.contains("has the wrong digest"), "{said}");
    rogue.stop()?;
    ensure!(being_unpacked(host, "first")? == 0 && layers(host)? == 0, "it stays");
    std::fs::remove_file(&gate)?;
    let (rogue, pull) = start(held)?;
    pull.signal(Signal::SIGKILL)?;
    pull.wait()?;
    rogue.stop()?;
    ensure!(names(host)?.is_empty(), "an image is left");
    for folder in ["tmp", "trash", "layers", "content/sha256"] {
        ensure!(std::fs::read_dir(host.root().join(folder))?.count() == 0, "something is left in {folder}");
    }
    // What had come is kept for the next pull.
    host.podrun(&["image", "prune"])?.ok()?;
    Ok(())
}

fn side_by_side(host: &Host) -> Result<()> {
    let twin = Tar::default().file("second", b"2").end();
    let image = Image::of(
        host,
        &[
            Tar::default().mode("./", b'5', 0o750).file("first", b"1").file("noise", &noise()).end(),
            twin.clone(),
            // What it links to is in the lowest layer alone.
            Tar::default().file("third", b"3").hard_link("linked", "first").end(),
            twin,
        ],
    )?;
    let gate = host.file("gate");
    let held = Answer { pause: Some((400_000, gate.clone())), ..image.layer_answer() };
    let rogue = Rogue::start(host, &image.with(&image.layer_path(), vec![held]))?;
    let pull = host.start(&["pull", "-q", NAME])?;
    wait_for("the upper layers do not wait for the lowest", || {
        for file in ["first", "second", "third"] {
            ensure!(being_unpacked(host, file)? >= 1, "{file} is not there yet");
        }
        Ok(())
    })?;
    ensure!(being_unpacked(host, "linked")? == 0, "a link to what is not here yet");
    std::fs::write(&gate, "")?;
    pull.wait()?.ok()?;
    let asked = rogue.stop()?;
    ensure!(count(&asked, "GET /v2/lab/image/blobs/") == 4, "a blob twice: {asked:#?}");
    let mut found = BTreeMap::new();
    for layer in std::fs::read_dir(host.root().join("layers"))? {
        let tree = layer?.path().join("tree");
        ensure!(
            tree.metadata()?.permissions().mode() & 0o7777 == 0o750,
            "a root of its own: {}",
            tree.display()
        );
        for entry in std::fs::read_dir(&tree)? {
            let path = entry?.path();
            let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
            *found.entry((name, path.metadata()?.len())).or_insert(0) += 1;
        }
    }
    let expected =
        [("first", 1, 2), ("linked", 1, 1), ("noise", 600_000, 1), ("second", 1, 2), ("third", 1, 1)];
    let expected: BTreeMap<_, _> =
        expected.map(|(name, length, layers)| ((name.to_owned(), length), layers)).into();
    ensure!(found == expected, "{found:?}");
    Ok(())
}

fn layers(host: &Host) -> Result<usize> {
    Ok(std::fs::read_dir(host.root().join("layers"))?.count())
}

fn policies(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let name = registry.publish("platforms", "lab/platforms", "1")?;
    let said = host.podrun(&["pull", "--policy=never", &name])?.fails_with(IMAGE)?;
    ensure!(said.contains("is not here") && said.contains("hint: "), "{said}");
    let id = host.podrun(&["pull", "-q", "--policy=missing", &name])?.ok()?;
    registry.stop()?;
    for policy in ["missing", "never"] {
        ensure!(host.podrun(&["pull", "-q", "--policy", policy, &name])?.ok()? == id, "{policy}");
    }
    host.podrun(&["pull", &name])?.fails_with(IMAGE)?;
    host.podrun(&["pull", "--policy=always", &name])?.fails_with(IMAGE)?;
    host.podrun(&["pull", "--policy=sometimes", &name])?.fails_with(2)?;
    // What is here is for another platform, and so is not here.
    let other = if std::env::consts::ARCH == "x86_64" { "linux/arm64" } else { "linux/amd64" };
    host.podrun(&["pull", "--policy=missing", "--platform", other, &name])?.fails_with(IMAGE)?;
    host.podrun(&["pull", "--policy=never", "--platform", other, &name])?.fails_with(IMAGE)?;
    // A layer that is lost makes an image one that is not here.
    let layers = host.root().join("layers");
    let layer = std::fs::read_dir(&layers)?.next().context("a layer")??.path();
    std::fs::rename(&layer, host.file("layer"))?;
    host.podrun(&["pull", "--policy=never", &name])?.fails_with(IMAGE)?;
    let registry = Registry::start(host)?;
    ensure!(host.podrun(&["pull", "-q", "--policy=missing", &name])?.ok()? == id, "another image");
    std::fs::remove_dir_all(host.file("layer"))?;
    registry.stop()
}
