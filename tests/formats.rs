//! Images as other tools write them: other digests, names and spellings, what is left empty, and what old tools left behind.

mod chosen;
mod lists;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::hostile::tar::{CONFIG, INDEX, LAYER, Layout, MANIFEST, NAME, Tar, architecture, digest};
use crate::image::{images, remove_all};
use crate::rogue::server::{Answer, Rogue, Spec};
use support::fixtures;
use support::host::Host;
use support::pods::pod;
use support::registry::Registry;
use support::run::Outcome;
use support::suite::Suite;

/// The exit code of an image that is not what it says.
const IMAGE: i32 = 6;
/// The annotation by which OCI layouts name images.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

pub(crate) fn add(suite: &mut Suite) {
    chosen::add(suite);
    lists::add(suite);
    suite.on_host("an image whose digests are all sha512 is used as any other", &[], sha512);
    suite.on_host("a pull by sha512 is found by the name that it was pulled by", &[], pulled_by_sha512);
    suite.on_host("an image that leaves fields empty is taken as Go's tools take it", &[], left_empty);
    suite.on_host(
        "several entries of an index without a platform are told by their configs",
        &[],
        silent_index,
    );
    suite.on_host("a tag without a repository makes no name of docker.io", &[], lone_tags);
    suite.on_host(
        "a registry that writes media types in capitals and empty tokens is understood",
        &[],
        spellings,
    );
    suite.on_host("what AUFS left is passed over and dates are shown as they are", &[], old_images);
}

/// A small image's files: its layer, its config and its manifest's descriptor.
struct Small {
    layer: Value,
    config: Value,
    manifest: Value,
}

/// Stores an image whose one file has `content`, for that architecture.
fn small(layout: &Layout, content: &str, architecture: &str) -> Result<Small> {
    let plain = Tar::default().file("file", content.as_bytes()).end();
    let layer = layout.blob(LAYER, &plain)?;
    let mut config = Layout::config(&[digest(&plain)], &json!({}));
    config["architecture"] = json!(architecture);
    let config = layout.blob(CONFIG, config.to_string().as_bytes())?;
    let manifest = layout.manifest(&config, std::slice::from_ref(&layer))?;
    Ok(Small { layer, config, manifest })
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ REF_NAME: name });
    descriptor
}

fn index(layout: &Layout, manifests: &Value) -> Result<()> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    Ok(std::fs::write(layout.0.join("index.json"), index.to_string())?)
}

/// Where a blob lies in a layout.
fn place(descriptor: &Value) -> Result<String> {
    Ok(format!("blobs/{}", descriptor["digest"].as_str().context("digest")?.replace(':', "/")))
}

fn layout(host: &Host, name: &str) -> Result<Layout> {
    Layout::create(&host.file(name))
}

fn load(host: &Host, what: &str) -> Result<Outcome> {
    host.podrun(&["load", what])
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The names of all images, sorted.
fn names(host: &Host) -> Result<Vec<String>> {
    let all = images(host)?;
    let all = all.iter().flat_map(|image| image["names"].as_array().cloned().unwrap_or_default());
    let mut all: Vec<String> = all.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    all.sort();
    Ok(all)
}

/// The busybox fixture, with every digest in it made by SHA-512.
fn busybox_by_sha512(host: &Host) -> Result<(Layout, Value)> {
    let from = fixtures::path("busybox")?;
    let json = |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let top = json(from.join("index.json"))?["manifests"][0].clone();
    let manifest = json(from.join(place(&top)?))?;
    let layout = layout(host, "sha512")?;
    std::fs::create_dir_all(layout.0.join("blobs/sha512"))?;
    let hash = |bytes: &[u8]| -> String {
        let hex: String = Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha512:{hex}")
    };
    let blob = |media_type: &str, bytes: &[u8]| -> Result<Value> {
        let digest = hash(bytes);
        std::fs::write(layout.0.join("blobs").join(digest.replace(':', "/")), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    };
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in manifest["layers"].as_array().context("layers")? {
        let bytes = std::fs::read(from.join(place(layer)?))?;
        let mut plain = Vec::new();
        match bytes.starts_with(&[0x1f, 0x8b]) {
            true => std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut plain)?,
            false => std::io::Read::read_to_end(&mut &bytes[..], &mut plain)?,
        };
        diff_ids.push(hash(&plain));
        layers.push(blob(layer["mediaType"].as_str().context("type")?, &bytes)?);
    }
    let mut config = json(from.join(place(&manifest["config"])?))?;
    config["rootfs"]["diff_ids"] = json!(diff_ids);
    let config = blob(CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
    let top = blob(MANIFEST, manifest.to_string().as_bytes())?;
    layout.finish(top.clone())?;
    Ok((layout, top))
}

fn sha512(host: &Host) -> Result<()> {
    let (layout, top) = busybox_by_sha512(host)?;
    ensure!(load(host, &text(&layout.0))?.ok()?.contains(NAME));
    let all = images(host)?;
    ensure!(all.len() == 1 && all[0]["names"] == json!([NAME]), "{all:#?}");
    let id = all[0]["id"].as_str().context("id")?.to_owned();
    let hex = id.strip_prefix("sha512:").context("by sha512")?;
    let known = format!(
        "{}@{}",
        NAME.rsplit_once(':').context("a tag")?.0,
        top["digest"].as_str().context("digest")?
    );
    for text in [NAME, &known, &id, hex, &hex[..12], &format!("sha512:{}", &hex[..8])] {
        let said = host.podrun(&["image", "inspect", text, "-o", "jsonpath={.id}"])?.ok()?;
        ensure!(said.trim() == id, "{text}: {said}");
    }
    ensure!(host.podrun(&["image", "inspect", &format!("sha256:{}", &hex[..8])])?.code() == 4);
    for line in [
        &["image", "tree", hex][..],
        &["image", "history", NAME],
        &["image", "df", "-v"],
        &["image", "fsck"],
        &["image", "prune"],
        &["tag", &hex[..12], "again:2"],
        &["rmi", "again:2"],
    ] {
        host.podrun(line)?.ok()?;
    }
    ensure!(images(host)?.len() == 1, "it is still there");
    // A pod runs it, and what is saved is the same image.
    let main =
        json!({ "name": "main", "image": NAME, "imagePullPolicy": "Never", "command": ["echo", "hello"] });
    host.create(&pod("one", &json!({ "restartPolicy": "Never", "containers": [main] })))?;
    host.wait_for_pod("one", "it ends", |pod| pod["status"]["phase"] == "Succeeded")?;
    ensure!(host.podrun(&["logs", "one"])?.ok()? == "hello\n");
    host.delete("one")?;
    let archive = text(&host.file("saved.tar"));
    for format in ["oci-archive", "docker-archive"] {
        host.podrun(&["save", NAME, "--format", format, "-o", &archive])?.ok()?;
        remove_all(host)?;
        load(host, &archive)?.ok()?;
        ensure!(images(host)?[0]["id"] == id.as_str(), "{format}: {:#?}", images(host)?);
    }
    // A registry takes it, and gives it back.
    let registry = Registry::start(host)?;
    let remote = "127.0.0.1:5000/lab/sha512:1";
    host.podrun(&["push", NAME, remote])?.ok()?;
    remove_all(host)?;
    ensure!(host.podrun(&["pull", remote])?.ok()?.contains(&id));
    ensure!(images(host)?[0]["id"] == id.as_str() && names(host)? == [remote], "{:#?}", images(host)?);
    host.podrun(&["rmi", remote])?.ok()?;
    crate::image::holds_nothing(host)?;
    registry.stop()
}

fn pulled_by_sha512(host: &Host) -> Result<()> {
    let (layout, top) = busybox_by_sha512(host)?;
    let digest = top["digest"].as_str().context("digest")?;
    let manifest = std::fs::read_to_string(layout.0.join(place(&top)?))?;
    let mut answers = std::collections::BTreeMap::new();
    let answer = Answer::text(manifest.clone(), MANIFEST).header("Docker-Content-Digest", digest);
    answers.insert("/v2/lab/image/manifests/1".to_owned(), vec![answer.clone()]);
    answers.insert(format!("/v2/lab/image/manifests/{digest}"), vec![answer]);
    let manifest: Value = serde_json::from_str(&manifest)?;
    for blob in manifest["layers"].as_array().context("layers")?.iter().chain([&manifest["config"]]) {
        let path = layout.0.join(place(blob)?);
        let path_of = format!("/v2/lab/image/blobs/{}", blob["digest"].as_str().context("digest")?);
        answers.insert(path_of, vec![Answer::file(path)]);
    }
    let pinned = format!("127.0.0.1:5001/lab/image@{digest}");
    let tagged_and_pinned = format!("127.0.0.1:5001/lab/image:1@{digest}");
    for name in ["127.0.0.1:5001/lab/image:1", &pinned, &tagged_and_pinned] {
        let rogue = Rogue::start(host, &Spec::from([(5001, answers.clone())]))?;
        host.podrun(&["pull", "-q", name])?.ok()?;
        ensure!(host.podrun(&["image", "inspect", &pinned])?.code() == 0, "{name}: {:#?}", images(host)?);
        // It is here: nothing but the tag's digest is asked for.
        host.podrun(&["pull", "-q", "--policy", "never", name])?.ok()?;
        host.podrun(&["pull", "-q", name])?.ok()?;
        let asked = rogue.stop()?;
        let gets = asked.iter().filter(|line| line.contains("GET") && line.contains("/manifests/")).count();
        ensure!(gets == 1, "{name}: {}", asked.join("\n"));
        remove_all(host)?;
    }
    Ok(())
}

fn left_empty(host: &Host) -> Result<()> {
    let layout = layout(host, "empty")?;
    let plain = Tar::default().file("file", b"content").end();
    let layer = layout.blob(LAYER, &plain)?;
    let whole = Layout::config(
        &[digest(&plain)],
        &json!({ "ExposedPorts": { "80/tcp": null }, "Env": null, "Labels": null }),
    );
    // As crane append makes them: for no platform.
    let nowhere =
        json!({ "architecture": "", "os": "", "config": {}, "rootfs": whole["rootfs"], "history": null });
    let no_layers = json!({ "architecture": architecture(), "os": "linux", "config": null, "rootfs": { "type": "layers", "diff_ids": null } });
    let manifest = |config: &Value, layers: &Value| -> Result<Value> {
        let config = layout.blob(CONFIG, config.to_string().as_bytes())?;
        let text = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example", "config": config,
            "layers": layers, "annotations": null, "subject": null });
        layout.blob(MANIFEST, text.to_string().as_bytes())
    };
    for (config, layers) in [
        (&whole, json!([layer])),
        (&nowhere, json!([layer])),
        (&json!({ "rootfs": whole["rootfs"] }), json!([layer])),
        (&no_layers, json!(null)),
        (&json!({}), json!([])),
    ] {
        let top = manifest(config, &layers)?;
        layout.finish(top)?;
        let said = load(host, &text(&layout.0))?;
        ensure!(
            said.code() == 0 && said.stdout.contains(NAME) && !said.stderr.contains("podrun: "),
            "{config}: {said}"
        );
        for line in [
            &["image", "inspect", NAME][..],
            &["image", "history", NAME],
            &["images", "-o", "wide"],
            &["image", "fsck"],
        ] {
            host.podrun(line)?.ok()?;
        }
        // It is what a pod with that name finds, without a question to a registry.
        host.podrun(&["pull", "--policy", "never", NAME])?.ok()?;
        let archive = text(&host.file("again.tar"));
        host.podrun(&["save", NAME, "-o", &archive])?.ok()?;
        remove_all(host)?;
        load(host, &archive)?.ok()?;
        remove_all(host)?;
    }
    // What is for another system says so in words that can be typed.
    let mut windows = nowhere.clone();
    windows["os"] = json!("windows");
    layout.finish(manifest(&windows, &json!([layer]))?)?;
    let said = load(host, &text(&layout.0))?.fails_with(IMAGE)?;
    let typed = format!("windows/{}", architecture());
    ensure!(said.contains(&format!("--platform {typed} takes it")), "{said}");
    host.podrun(&["load", "--platform", &typed, &text(&layout.0)])?.ok()?;
    remove_all(host)
}

fn silent_index(host: &Host) -> Result<()> {
    let layout = layout(host, "silent")?;
    let (other, own) = (small(&layout, "other", "s390x")?, small(&layout, "own", architecture())?);
    let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other.manifest, own.manifest] });
    let top = layout.blob(INDEX, list.to_string().as_bytes())?;
    layout.finish(top.clone())?;
    let mut answers = std::collections::BTreeMap::new();
    for (target, descriptor, media_type) in [
        ("1", &top, INDEX),
        (other.manifest["digest"].as_str().context("digest")?, &other.manifest, MANIFEST),
        (own.manifest["digest"].as_str().context("digest")?, &own.manifest, MANIFEST),
    ] {
        let answer = Answer::text(std::fs::read_to_string(layout.0.join(place(descriptor)?))?, media_type);
        answers.insert(format!("/v2/lab/image/manifests/{target}"), vec![answer]);
    }
    for blob in [&other.config, &own.config, &other.layer, &own.layer] {
        let answer = Answer::file(layout.0.join(place(blob)?));
        answers.insert(
            format!("/v2/lab/image/blobs/{}", blob["digest"].as_str().context("digest")?),
            vec![answer],
        );
    }
    let rogue = Rogue::start(host, &Spec::from([(5001, answers)]))?;
    for line in [&["load", &text(&layout.0)][..], &["pull", "127.0.0.1:5001/lab/image:1"]] {
        for (platform, wanted) in [(architecture(), &own), ("s390x", &other)] {
            host.podrun(&[line, &["--platform", &format!("linux/{platform}")]].concat())?.ok()?;
            ensure!(
                images(host)?[0]["id"] == wanted.config["digest"],
                "{line:?} {platform}: {:#?}",
                images(host)?
            );
            remove_all(host)?;
        }
        let said = host.podrun(&[line, &["--platform", "linux/riscv64"]].concat())?.fails_with(IMAGE)?;
        ensure!(said.contains("the image is for linux/s390x, not for linux/riscv64"), "{said}");
        crate::image::holds_nothing(host)?;
    }
    rogue.stop()?;
    Ok(())
}

fn lone_tags(host: &Host) -> Result<()> {
    let layout = layout(host, "app")?;
    let image = small(&layout, "one", architecture())?;
    index(&layout, &json!([named(image.manifest, "v1")]))?;
    let id = image.config["digest"].as_str().context("digest")?;
    // The file's own name is the repository, as it was ever since.
    ensure!(load(host, &text(&layout.0))?.ok()? == "loaded docker.io/library/app:v1\n");
    ensure!(
        host.podrun(&["load", "-q", &format!("{}:v1", layout.0.display())])?.ok()?.trim()
            == "docker.io/library/app:v1"
    );
    remove_all(host)?;
    let archive = host.file("archive.tar");
    host.run("tar", &["-C", &text(&layout.0), "-cf", &text(&archive), "."])?.ok()?;
    let odd = host.file("+odd+.tar");
    std::fs::copy(&archive, &odd)?;
    let hint = format!("`podrun tag {} NAME:v1`", &id["sha256:".len()..][..12]);
    for said in [load(host, &text(&odd))?, host.podrun_with_stdin(&["load"], &std::fs::read(&archive)?)?] {
        ensure!(
            said.code() == 0 && said.stdout == format!("loaded {id}\n") && said.stderr.contains(&hint),
            "{said}"
        );
        ensure!(names(host)?.is_empty(), "{:?}", names(host)?);
        remove_all(host)?;
    }
    Ok(())
}

fn spellings(host: &Host) -> Result<()> {
    let layout = layout(host, "spelt")?;
    let plain = Tar::default().file("file", b"content").end();
    let layer = layout.blob("application/vnd.OCI.image.layer.v1.Tar", &plain)?;
    let config = layout.blob(
        "Application/vnd.oci.image.config.v1+JSON",
        Layout::config(&[digest(&plain)], &json!({})).to_string().as_bytes(),
    )?;
    let upper = MANIFEST.to_uppercase();
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": upper, "config": config, "layers": [layer] }).to_string();
    let mut top = layout.blob(&format!("{upper}; charset=utf-8"), manifest.as_bytes())?;
    layout.finish(top.clone())?;
    load(host, &text(&layout.0))?.ok()?;
    remove_all(host)?;
    // The same by a registry, whose token server leaves one of two fields empty.
    top["platform"] = json!({ "os": "linux", "architecture": architecture() });
    let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [top] }).to_string();
    let challenge = Answer::status(401)
        .header("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:5001/token\",service=\"s\"");
    let mut answers = std::collections::BTreeMap::new();
    answers.insert(
        "/v2/lab/image/manifests/1".to_owned(),
        vec![challenge, Answer::text(list, &INDEX.to_uppercase())],
    );
    let target = top["digest"].as_str().context("digest")?;
    answers.insert(
        format!("/v2/lab/image/manifests/{target}"),
        vec![Answer::text(manifest, &format!("{MANIFEST}; charset=utf-8"))],
    );
    for blob in [&config, &layer] {
        let answer = Answer::file(layout.0.join(place(blob)?));
        answers.insert(
            format!("/v2/lab/image/blobs/{}", blob["digest"].as_str().context("digest")?),
            vec![answer],
        );
    }
    for token in [
        json!({ "token": "", "access_token": "t" }),
        json!({ "token": null, "access_token": "t" }),
        json!({ "token": "t", "access_token": "" }),
    ] {
        let mut answers = answers.clone();
        answers.insert("/token".into(), vec![Answer::text(token.to_string(), "application/json")]);
        let rogue = Rogue::start(host, &Spec::from([(5001, answers)]))?;
        let said = host.podrun(&["pull", "127.0.0.1:5001/lab/image:1"])?;
        let asked = rogue.stop()?.join("\n");
        ensure!(said.code() == 0 && asked.contains("authorization: bearer t"), "{token}: {said}\n{asked}");
        remove_all(host)?;
    }
    Ok(())
}

fn old_images(host: &Host) -> Result<()> {
    let layout = layout(host, "old")?;
    let t = Tar::default().dir(".wh..wh.plnk").dir(".wh..wh.orph").file(".wh..wh.aufs", b"");
    let t = t.file(".wh..wh.plnk/12.3", b"content").hard_link("one", ".wh..wh.plnk/12.3");
    let plain = t.hard_link("two", ".wh..wh.plnk/12.3").end();
    let layer = layout.blob(LAYER, &plain)?;
    let since = (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() / 31_536_000)
        .to_string();
    for (created, age) in [
        ("1970-01-01T00:00:00Z", format!("{since}y")),
        ("9999-12-31T23:59:59Z", "9999-12-31".to_owned()),
        ("0001-01-01T00:00:00Z", "<unknown>".to_owned()),
    ] {
        let mut config = Layout::config(&[digest(&plain)], &json!({}));
        config["created"] = json!(created);
        config["history"] = json!([{ "created": created, "created_by": "RUN" }]);
        let config = layout.blob(CONFIG, config.to_string().as_bytes())?;
        layout.finish(layout.manifest(&config, std::slice::from_ref(&layer))?)?;
        load(host, &text(&layout.0))?.ok()?;
        for line in [&["images"][..], &["image", "history", NAME]] {
            let table = host.podrun(line)?.ok()?;
            ensure!(table.contains(&format!(" {age} ")), "{created}: {table}");
        }
        let said = host
            .podrun(&["image", "inspect", NAME, "-o", "jsonpath={.created} {.history[0].created}"])?
            .ok()?;
        ensure!(said == format!("{created} {created}"), "{said}");
        let seen = host
            .podrun(&["image", "mount", NAME, "--", "sh", "-c", "ls -A; cat one two; stat -c %h one"])?
            .ok()?;
        ensure!(seen == "one\ntwo\ncontentcontent2\n", "{seen}");
        remove_all(host)?;
    }
    Ok(())
}
