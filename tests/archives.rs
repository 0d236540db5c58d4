//! Images that leave the store and come back: `save` beside `load`, skopeo beside both, and root file systems without an image.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::fixtures::{self, reference};
use support::host::Host;
use support::run::Outcome;
use support::suite::Suite;

use crate::image::{images, load, remove_all};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 4;
const IMAGE: i32 = 6;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("what podrun saves podrun loads as the same image", &[], round_trip);
    suite.on_host("save goes to a pipe and the same image makes the same bytes", &["layers"], to_a_pipe);
    suite.on_host("save refuses what is not whole and leaves no file", &[], not_whole);
    suite.on_host_with_tool("skopeo reads and copies what podrun saves", "skopeo", skopeo);
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn ids(host: &Host) -> Result<Vec<String>> {
    Ok(images(host)?.iter().filter_map(|image| image["id"].as_str().map(str::to_owned)).collect())
}

fn inspect(host: &Host, image: &str) -> Result<Value> {
    let all: Value = serde_json::from_str(&host.podrun(&["image", "inspect", image])?.ok()?)?;
    Ok(all[0].clone())
}

fn diff_ids(image: &Value) -> Vec<&str> {
    image["layers"].as_array().into_iter().flatten().filter_map(|layer| layer["diffId"].as_str()).collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file out of a tar, as GNU tar reads it.
fn member(archive: &Path, name: &str) -> Result<Vec<u8>> {
    let output = std::process::Command::new("tar").arg("-xOf").arg(archive).arg(name).output()?;
    ensure!(output.status.success(), "tar: {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn round_trip(host: &Host) -> Result<()> {
    let archive = host.file("saved.tar");
    for fixture in ["nginx", "layers", "layers.docker.tar", "platforms"] {
        load(host, fixture)?;
        let name = reference(fixture.split('.').next().context("a name")?);
        host.podrun(&["tag", &name, "again:2"])?.ok()?;
        let before = inspect(host, &name)?;
        for format in ["oci-archive", "docker-archive"] {
            let said = host.podrun(&["save", &name, "again:2", "--format", format, "-o", &text(&archive)])?;
            ensure!(said.stdout.is_empty() && said.stderr.is_empty(), "{said}");
            said.ok()?;
            if format == "docker-archive" {
                let list: Value = serde_json::from_slice(&member(&archive, "manifest.json")?)?;
                ensure!(list[0]["RepoTags"] == json!([name, "again:2"]), "{list:#}");
                for (layer, diff_id) in
                    list[0]["Layers"].as_array().context("layers")?.iter().zip(diff_ids(&before))
                {
                    let bytes = member(&archive, layer.as_str().context("a name")?)?;
                    ensure!(diff_id == format!("sha256:{}", hash(&bytes)), "{layer} is not {diff_id}");
                }
            } else if fixture == "nginx" {
                // Its manifest is the one with which it came.
                let index: Value = serde_json::from_slice(&member(&archive, "index.json")?)?;
                let file = std::fs::read(fixtures::path(fixture)?.join("index.json"))?;
                let original: Value = serde_json::from_slice(&file)?;
                ensure!(index["manifests"][0]["digest"] == original["manifests"][0]["digest"], "{index:#}");
            }
            remove_all(host)?;
            host.podrun(&["load", "-q", &text(&archive)])?.ok()?;
            let after = inspect(host, &name)?;
            ensure!(
                after["id"] == before["id"] && after["names"] == before["names"],
                "{fixture} {format}: {after:#}"
            );
            ensure!(
                after["history"] == before["history"] && after["size"] == before["size"],
                "{fixture} {format}"
            );
            ensure!(diff_ids(&after) == diff_ids(&before), "{fixture} {format}: {after:#}");
            host.podrun(&["image", "fsck"])?.ok()?;
        }
        remove_all(host)?;
    }
    // Several images, of which two share a layer, and one by its id, which then has no name.
    for fixture in ["nginx", "busybox", "layers"] {
        load(host, fixture)?;
    }
    let id = inspect(host, &reference("layers"))?["id"].as_str().context("id")?.to_owned();
    let all = ids(host)?;
    let short = &id["sha256:".len()..][..12];
    for format in ["oci-archive", "docker-archive"] {
        let (nginx, busybox) = (reference("nginx"), reference("busybox"));
        host.podrun(&["save", &nginx, &busybox, short, "--format", format, "-o", &text(&archive)])?.ok()?;
        remove_all(host)?;
        host.podrun(&["load", "-q", &text(&archive)])?.ok()?;
        let mut loaded = ids(host)?;
        loaded.sort();
        let mut wanted = all.clone();
        wanted.sort();
        ensure!(loaded == wanted, "{format}: {loaded:?}");
        ensure!(inspect(host, &id)?["names"] == json!([]), "{format}");
    }
    remove_all(host)
}

fn to_a_pipe(host: &Host) -> Result<()> {
    let name = reference("layers");
    let id = ids(host)?;
    host.script(&format!("\"$podrun\" save {name} >one.tar; \"$podrun\" save {name} -o - >two.tar; \"$podrun\" save {name} -o three.tar"))?
        .ok()?;
    let [one, two, three] = ["one.tar", "two.tar", "three.tar"].map(|name| std::fs::read(host.file(name)));
    let one = one?;
    ensure!(one.len() > 1024 && one == two? && one == three?, "one image, one archive");
    host.script(&format!("\"$podrun\" save {name} | PODRUN_ROOT=$PWD/other \"$podrun\" load -q -"))?.ok()?;
    let other = host.script("PODRUN_ROOT=$PWD/other \"$podrun\" images -q --no-trunc")?.ok()?;
    ensure!(other.trim() == id[0], "{other}");
    // Whoever reads it goes away: that is no failure to shout about.
    let piped = host.script(&format!("set +o pipefail; \"$podrun\" save {name} | head -c 1 | wc -c"))?;
    ensure!(piped.stderr.is_empty() && piped.stdout.trim() == "1", "{piped}");
    std::fs::remove_dir_all(host.file("other")).ok();
    Ok(())
}

fn refused(host: &Host, outcome: Outcome, code: i32, words: &[&str]) -> Result<()> {
    let said = outcome.fails_with(code)?;
    for word in words {
        ensure!(said.contains(word), "{word:?} is not in: {said}");
    }
    let left: Vec<_> =
        std::fs::read_dir(host.file("out"))?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(left.len() == 1, "{left:?}");
    ensure!(
        std::fs::read_to_string(host.file("out/kept.tar"))? == "an archive from before",
        "it was overwritten"
    );
    Ok(())
}

fn not_whole(host: &Host) -> Result<()> {
    std::fs::create_dir(host.file("out"))?;
    let archive = text(&host.write("out/kept.tar", "an archive from before")?);
    load(host, "nginx")?;
    let name = reference("nginx");
    let save = |format: &str| host.podrun(&["save", &name, "--format", format, "-o", &archive]);
    let details = inspect(host, &name)?;
    let digest = details["layers"][1]["packed"][0]["digest"].as_str().context("digest")?;
    let blob = host.root().join("content/sha256").join(digest.trim_start_matches("sha256:"));
    let good = std::fs::read(&blob)?;
    let mut spoilt = good.clone();
    spoilt[good.len() / 2] ^= 1;
    std::fs::write(&blob, spoilt)?;
    refused(host, save("oci-archive")?, IMAGE, &[digest, "wrong digest", "fsck --repair"])?;
    refused(host, save("docker-archive")?, IMAGE, &[digest])?;
    std::fs::remove_file(&blob)?;
    let chain = details["layers"][1]["chainId"].as_str().context("chainId")?;
    for format in ["oci-archive", "docker-archive"] {
        refused(host, save(format)?, IMAGE, &[chain, &name, "hint: pull or load"])?;
    }
    refused(host, host.podrun(&["save", "nothing:1", "-o", &archive])?, NOT_FOUND, &["nothing:1"])?;
    let squashfs = host.podrun(&["save", &name, "--format", "squashfs", "-o", &archive])?;
    refused(host, squashfs, USAGE, &["oci-archive, docker-archive"])?;
    host.podrun(&["save", &name, "-o", "/nonexistent/x.tar"])?.fails_with(1)?;
    // The layer is there, its blob is not: a load brings it.
    load(host, "nginx")?;
    save("oci-archive")?.ok()?;
    remove_all(host)
}

fn skopeo(host: &Host) -> Result<()> {
    let program = fixtures::tool("skopeo").context("skopeo")?;
    let skopeo = |line: &[&str]| -> Result<String> {
        let tmp = text(&host.file(""));
        let line: Vec<&str> =
            ["--insecure-policy", "--tmpdir", &tmp].into_iter().chain(line.iter().copied()).collect();
        let mut command = host.command(&program, &line);
        command.env("LD_LIBRARY_PATH", fixtures::library_path());
        let output = command.output()?;
        ensure!(output.status.success(), "skopeo {line:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    for fixture in ["nginx", "layers.docker.tar"] {
        load(host, fixture)?;
        let name = reference(fixture.split('.').next().context("a name")?);
        let before = inspect(host, &name)?;
        let (ours, theirs) = (text(&host.file("ours.tar")), text(&host.file("theirs.tar")));
        for (format, other) in [("oci-archive", "docker-archive"), ("docker-archive", "oci-archive")] {
            host.podrun(&["save", &name, "--format", format, "-o", &ours])?.ok()?;
            let config = skopeo(&["inspect", "--config", "--raw", &format!("{format}:{ours}")])?;
            ensure!(before["id"] == format!("sha256:{}", hash(config.as_bytes())), "{format}: {config}");
            for to in [format, other] {
                std::fs::remove_file(&theirs).ok();
                skopeo(&["copy", &format!("{format}:{ours}"), &format!("{to}:{theirs}:{name}")])?;
                remove_all(host)?;
                host.podrun(&["load", "-q", &theirs])?.ok()?;
                let after = inspect(host, &name)?;
                ensure!(diff_ids(&after) == diff_ids(&before), "{format} to {to}: {after:#}");
                ensure!(after["config"]["cmd"] == before["config"]["cmd"], "{format} to {to}: {after:#}");
                // In its own form the config stays byte by byte.
                ensure!(format != to || after["id"] == before["id"], "{format}: {after:#}");
            }
            remove_all(host)?;
            load(host, fixture)?;
        }
        remove_all(host)?;
    }
    Ok(())
}
