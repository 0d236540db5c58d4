//! `pull`, `load`, `images` and `rmi` through the real binary, against Debian's docker-registry.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use support::fixtures;
use support::host::Host;
use support::registry::Registry;
use support::suite::Suite;

/// The exit code of an image that cannot be had.
const IMAGE: i32 = 6;
/// The exit code of something that does not exist.
const NOT_FOUND: i32 = 4;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("every form of an image loads as the same image", &[], every_form_loads);
    suite.on_host("a spoilt image is refused and leaves nothing", &[], a_spoilt_image_is_refused);
    suite.on_host("an image is pulled once and removed by its name", &[], an_image_is_pulled_once);
    suite.on_host("an index gives the image of the platform", &[], an_index_gives_the_platform);
    suite.on_host("a spoilt blob of a registry is refused", &[], a_spoilt_blob_is_refused);
    suite.on_host("what a registry does not have is named", &[], what_is_missing_is_named);
    suite.on_host("two pulls of one image at once agree", &[], two_pulls_at_once_agree);
}

pub(crate) fn images(host: &Host) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&host.podrun(&["images", "-o", "json"])?.ok()?)?)
}

pub(crate) fn load(host: &Host, fixture: &str) -> Result<String> {
    host.podrun(&["load", &fixtures::path(fixture)?.to_string_lossy()])?.ok()
}

/// Removes all images, and looks that the store is as empty as it says.
pub(crate) fn remove_all(host: &Host) -> Result<()> {
    for image in images(host)? {
        host.podrun(&["rmi", "--force", image["id"].as_str().context("id")?])?.ok()?;
    }
    holds_nothing(host)
}

pub(crate) fn holds_nothing(host: &Host) -> Result<()> {
    for folder in ["layers", "content/sha256", "content/sha512", "tmp", "trash", "leases", "partial"] {
        let left = std::fs::read_dir(host.root().join(folder))?.count();
        ensure!(left == 0, "{left} left in {folder}");
    }
    Ok(())
}

fn every_form_loads(host: &Host) -> Result<()> {
    let name = fixtures::reference("layers");
    for form in ["layers", "layers.tar"] {
        ensure!(load(host, form)?.contains(&name), "{form}");
        ensure!(images(host)?.len() == 1, "{form}");
    }
    // Its config differs, its layers do not.
    load(host, "layers.docker.tar")?;
    let all = images(host)?;
    let named: Vec<_> = all.iter().filter(|image| image["names"][0] == name.as_str()).collect();
    ensure!(named.len() == 1, "{all:?}");
    let config = &named[0]["config"];
    ensure!(config["user"] == "1234:5678" && config["stopSignal"] == "SIGUSR1", "{config}");
    ensure!(config["volumes"][0] == "/volume" && config["workingDir"] == "/kept", "{config}");
    let archive = std::fs::read(fixtures::path("layers.tar")?)?;
    host.podrun_with_stdin(&["load", "-q", "-"], &archive)?.ok()?;
    remove_all(host)
}

fn a_spoilt_image_is_refused(host: &Host) -> Result<()> {
    for (fixture, why) in [("busybox.wrong-digest", "wrong digest"), ("busybox.truncated", "truncated")] {
        for form in [fixture.to_owned(), format!("{fixture}.tar")] {
            let path = fixtures::path(&form)?;
            let said = host.podrun(&["load", &path.to_string_lossy()])?.fails_with(IMAGE)?;
            ensure!(said.contains(why), "{form}: {said}");
            ensure!(images(host)?.is_empty(), "{form}");
            holds_nothing(host)?;
        }
    }
    let file = host.write("words", "these are no image, whatever their name")?;
    host.podrun(&["load", &file.to_string_lossy()])?.fails_with(IMAGE)?;
    host.podrun(&["load", "/nonexistent"])?.fails_with(IMAGE)?;
    Ok(())
}

fn an_image_is_pulled_once(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let name = registry.publish("layers", "lab/layers", "1")?;
    let id = host.podrun(&["pull", "--quiet", &name])?.ok()?;
    // Its layers are here: the registry no longer needs them.
    for image in images(host)? {
        ensure!(image["id"] == id.trim(), "{image}");
    }
    ensure!(host.podrun(&["pull", "--quiet", &name])?.ok()? == id);
    let table = host.podrun(&["images"])?.ok()?;
    ensure!(table.contains("127.0.0.1:5000/lab/layers"), "{table}");
    let gone = host.podrun(&["rmi", &name])?.ok()?;
    ensure!(gone.contains("Untagged: ") && gone.contains("Deleted: sha256:"), "{gone}");
    host.podrun(&["rmi", &name])?.fails_with(NOT_FOUND)?;
    holds_nothing(host)?;
    registry.stop()
}

fn an_index_gives_the_platform(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let name = registry.publish("platforms", "lab/platforms", "1")?;
    host.podrun(&["pull", &name])?.ok()?;
    let own = images(host)?[0]["config"]["architecture"].clone();
    host.podrun(&["pull", "--platform", "linux/s390x", &name])?.ok()?;
    let all = images(host)?;
    let named = all.iter().find(|image| image["names"][0] == name.as_str()).context("it has the name")?;
    ensure!(own != "s390x" && named["config"]["architecture"] == "s390x", "{all:?}");
    let pull = host.podrun(&["pull", "--platform", "linux/riscv64", &name])?;
    let said = pull.fails_with(IMAGE)?;
    ensure!(said.contains("no image for linux/riscv64"), "{said}");
    remove_all(host)?;
    registry.stop()
}

fn a_spoilt_blob_is_refused(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let name = registry.publish("busybox", "lab/busybox", "1")?;
    let layout = fixtures::path("busybox")?;
    let json =
        |path: &str| -> Result<Value> { Ok(serde_json::from_slice(&std::fs::read(layout.join(path))?)?) };
    let manifest =
        json("index.json")?["manifests"][0]["digest"].as_str().context("digest")?.replace(':', "/");
    let manifest = json(&format!("blobs/{manifest}"))?;
    let blob = registry.blob(manifest["layers"][0]["digest"].as_str().context("digest")?);
    let good = std::fs::read(&blob)?;
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for (bytes, why) in [(flipped.as_slice(), "wrong digest"), (&good[..good.len() / 2], "truncated")] {
        std::fs::write(&blob, bytes)?;
        let said = host.podrun(&["pull", &name])?.fails_with(IMAGE)?;
        ensure!(said.contains(why), "{said}");
        ensure!(images(host)?.is_empty());
        holds_nothing(host)?;
    }
    registry.stop()
}

fn what_is_missing_is_named(host: &Host) -> Result<()> {
    let refused = |name: &str, why: &str| -> Result<()> {
        let said = host.podrun(&["pull", name])?.fails_with(IMAGE)?;
        ensure!(said.contains(why), "{name}: {said}");
        Ok(())
    };
    refused("127.0.0.1:5000/lab/none:1", "connection refused")?;
    let registry = Registry::start(host)?;
    registry.publish("busybox", "lab/busybox", "1")?;
    refused("127.0.0.1:5000/lab/none:1", "not found")?;
    refused("127.0.0.1:5000/lab/busybox:2", "not found")?;
    refused(&format!("127.0.0.1:5000/lab/busybox@sha256:{}", "0".repeat(64)), "not found")?;
    let said = host.podrun(&["pull", "Not/A/Name"])?.fails_with(2)?;
    ensure!(said.contains("lower case"), "{said}");
    registry.stop()
}

fn two_pulls_at_once_agree(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let name = registry.publish("layers", "lab/layers", "1")?;
    let both = [host.start(&["pull", "-q", &name])?, host.start(&["pull", "-q", &name])?];
    for pull in both {
        pull.wait()?.ok()?;
    }
    ensure!(images(host)?.len() == 1);
    remove_all(host)?;
    registry.stop()
}
