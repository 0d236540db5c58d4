//! What an archive or a layout lists: in two lists that differ, with artifacts between the images, and images that are
//! refused beside such that are not.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{IMAGE, REF_NAME, Small, index, layout, load, named, names, place, small, text};
use crate::hostile::tar::{CONFIG, INDEX, Layout, MANIFEST, architecture};
use crate::image::{holds_nothing, images, remove_all};
use support::host::Host;
use support::suite::Suite;

pub(super) fn add(suite: &mut Suite) {
    suite.on_host("an archive with two lists is loaded whole or refused", &[], two_lists);
    suite.on_host(
        "a list of one platform beside an index of all loads the one that is wanted",
        &[],
        list_of_one_platform,
    );
    suite.on_host("artifacts among images are named and passed over", &[], artifacts);
    suite.on_host("one image of several is loaded by its name", &[], one_of_several);
    suite.on_host("of an archive it is said by name what was loaded and what was not", &[], some_of_several);
}

/// Docker's list of an image in a layout, as Docker 25 and later write it.
pub(super) fn docker_entry(image: &Small, tags: &Value) -> Result<Value> {
    Ok(json!({ "Config": place(&image.config)?, "RepoTags": tags, "Layers": [place(&image.layer)?] }))
}

fn two_lists(host: &Host) -> Result<()> {
    let layout = layout(host, "docker")?;
    let path = text(&layout.0);
    let (one, two) = (small(&layout, "one", architecture())?, small(&layout, "two", architecture())?);
    let list = |entries: &Value| -> Result<()> {
        Ok(std::fs::write(layout.0.join("manifest.json"), entries.to_string())?)
    };
    let both = json!([docker_entry(&one, &json!(["app:1"]))?, docker_entry(&two, &json!(["app:2"]))?]);
    let all = ["docker.io/library/app:1", "docker.io/library/app:2"];
    let loads = |wanted: &[&str]| -> Result<()> {
        let said = load(host, &path)?.ok()?;
        ensure!(names(host)? == wanted, "{said}\n{:#?}", names(host)?);
        for name in wanted {
            ensure!(said.contains(&format!("loaded {name}\n")), "{said}");
        }
        remove_all(host)
    };
    list(&both)?;
    for empty in [json!(null), json!([])] {
        index(&layout, &empty)?;
        loads(&all)?;
    }
    // As Docker writes them both, for one image and for more than the index has.
    index(&layout, &json!([named(one.manifest.clone(), "docker.io/library/app:1")]))?;
    loads(&all)?;
    list(&json!([docker_entry(&one, &json!(["app:1", "other:3"]))?]))?;
    loads(&["docker.io/library/app:1", "docker.io/library/other:3"])?;
    list(&json!([docker_entry(&one, &json!(null))?]))?;
    loads(&all[..1])?;
    // A tag alone gets its repository from the other list.
    index(&layout, &json!([named(one.manifest.clone(), "1")]))?;
    list(&json!([docker_entry(&one, &json!(["app:1"]))?]))?;
    loads(&all[..1])?;
    // One name for two images, and lists of nothing.
    index(&layout, &json!([named(two.manifest.clone(), "docker.io/library/app:1")]))?;
    let said = load(host, &path)?.fails_with(IMAGE)?;
    ensure!(said.contains("its lists give the name app:1 to different images"), "{said}");
    index(&layout, &json!(null))?;
    for nothing in [json!(null), json!([])] {
        list(&nothing)?;
        let said = load(host, &path)?.fails_with(IMAGE)?;
        ensure!(said.contains("names no image"), "{said}");
    }
    // Without a layer.
    let empty = layout.blob(CONFIG, Layout::config(&[], &json!({})).to_string().as_bytes())?;
    list(&json!([{ "Config": place(&empty)?, "RepoTags": ["empty:1"], "Layers": null }]))?;
    loads(&["docker.io/library/empty:1"])
}

fn list_of_one_platform(host: &Host) -> Result<()> {
    let layout = layout(host, "platforms")?;
    let path = text(&layout.0);
    let one = small(&layout, "one", architecture())?;
    let list = json!([docker_entry(&one, &json!(["app:1"]))?]);
    std::fs::write(layout.0.join("manifest.json"), list.to_string())?;
    let other = small(&layout, "other", "s390x")?;
    let platform = |small: &Small, architecture: &str| {
        let mut entry = small.manifest.clone();
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let of_all = json!({ "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [platform(&other, "s390x"), platform(&one, architecture())] });
    let of_all = layout.blob(INDEX, of_all.to_string().as_bytes())?;
    index(&layout, &json!([named(of_all, "docker.io/library/app:1")]))?;
    load(host, &path)?.ok()?;
    ensure!(names(host)? == ["docker.io/library/app:1"] && images(host)?[0]["id"] == one.config["digest"]);
    remove_all(host)?;
    host.podrun(&["load", &path, "--platform", "linux/s390x"])?.ok()?;
    ensure!(images(host)?[0]["config"]["architecture"] == "s390x" && images(host)?.len() == 1);
    remove_all(host)
}

/// A layout of two images with an artifact of each form between them, and how often something is to be passed over.
fn with_artifacts(host: &Host) -> Result<(Layout, usize)> {
    let layout = layout(host, "artifacts")?;
    let (one, two) = (small(&layout, "one", architecture())?, small(&layout, "two", architecture())?);
    let words = layout.blob("text/plain", b"words")?;
    let empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}")?;
    let artifact = |media_type: &str, value: Value| layout.blob(media_type, value.to_string().as_bytes());
    // As oras and regctl write them, as the first draft of OCI 1.1 had them, and as cosign attaches signatures.
    let oras = artifact(
        MANIFEST,
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.sbom",
        "config": empty, "layers": [words], "subject": one.manifest }),
    )?;
    let draft = "application/vnd.oci.artifact.manifest.v1+json";
    let draft = artifact(draft, json!({ "mediaType": draft, "artifactType": "a/b", "blobs": [words] }))?;
    let mut signature = words.clone();
    signature["mediaType"] = json!("application/vnd.dev.cosign.simplesigning.v1+json");
    let cosign = layout.manifest(&one.config, &[signature])?;
    let referrers =
        artifact(INDEX, json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [oras, draft] }))?;
    let fallback = one.manifest["digest"].as_str().context("digest")?.replace(':', "-");
    let entries = json!([
        oras,
        named(one.manifest.clone(), "localhost/one:1"),
        draft,
        named(cosign, &format!("{fallback}.sig")),
        named(referrers, &fallback),
        words,
        named(two.manifest.clone(), "localhost/two:2"),
    ]);
    index(&layout, &entries)?;
    Ok((layout, 5))
}

fn artifacts(host: &Host) -> Result<()> {
    let (layout, artifacts) = with_artifacts(host)?;
    let said = load(host, &text(&layout.0))?;
    ensure!(said.code() == 0 && said.stdout == "loaded localhost/one:1\nloaded localhost/two:2\n", "{said}");
    let passed_over = said.stderr.lines().filter(|line| line.starts_with("passed over ")).count();
    ensure!(passed_over == artifacts, "{said}");
    for word in
        ["application/vnd.example.sbom", "simplesigning", ".sig: it is an artifact", "it is a text/plain"]
    {
        ensure!(said.stderr.contains(word), "{word}: {said}");
    }
    ensure!(names(host)? == ["localhost/one:1", "localhost/two:2"]);
    remove_all(host)?;
    // Where there is no image at all, that is an error.
    let index_file = layout.0.join("index.json");
    let mut all: Value = serde_json::from_slice(&std::fs::read(&index_file)?)?;
    let entries = all["manifests"].as_array_mut().context("manifests")?;
    entries.retain(|entry| {
        !entry["annotations"][REF_NAME].as_str().unwrap_or_default().starts_with("localhost")
    });
    std::fs::write(&index_file, all.to_string())?;
    let said = load(host, &text(&layout.0))?.fails_with(IMAGE)?;
    ensure!(said.contains("has no image") && said.contains("application/vnd.example.sbom"), "{said}");
    holds_nothing(host)
}

fn one_of_several(host: &Host) -> Result<()> {
    let (layout, _) = with_artifacts(host)?;
    let path = text(&layout.0);
    let archive = text(&host.file("one:archive.tar"));
    host.run("tar", &["-C", &path, "-cf", &archive, "."])?.ok()?;
    let entries: Value = serde_json::from_slice(&std::fs::read(layout.0.join("index.json"))?)?;
    let digest = entries["manifests"][6]["digest"].as_str().context("digest")?;
    for from in [&path, &archive] {
        for wanted in ["localhost/two:2", "2", digest] {
            let said = load(host, &format!("{from}:{wanted}"))?.ok()?;
            ensure!(
                said == "loaded localhost/two:2\n" && names(host)? == ["localhost/two:2"],
                "{wanted}: {said}"
            );
            remove_all(host)?;
        }
    }
    let said = load(host, &format!("{path}:localhost/none:1"))?.fails_with(IMAGE)?;
    ensure!(
        said.contains("has no image localhost/none:1; there is") && said.contains("localhost/two:2"),
        "{said}"
    );
    // From standard input, and of an archive of docker save, of which one name is wanted.
    let said = host
        .podrun_with_stdin(&["load", "/dev/stdin:one:1"], &std::fs::read(&archive)?)?
        .fails_with(IMAGE)?;
    ensure!(said.contains("has no image one:1"), "{said}");
    let said =
        host.podrun_with_stdin(&["load", "/dev/stdin:localhost/one:1"], &std::fs::read(&archive)?)?.ok()?;
    ensure!(said == "loaded localhost/one:1\n", "{said}");
    host.podrun(&["tag", "localhost/one:1", "localhost/three:3", "localhost/four:2"])?.ok()?;
    let saved = text(&host.file("saved.tar"));
    host.podrun(&[
        "save",
        "localhost/one:1",
        "localhost/three:3",
        "localhost/four:2",
        "--format",
        "docker-archive",
        "-o",
        &saved,
    ])?
    .ok()?;
    for (wanted, name) in [("localhost/three:3", "localhost/three:3"), ("2", "localhost/four:2")] {
        remove_all(host)?;
        load(host, &format!("{saved}:{wanted}"))?.ok()?;
        ensure!(names(host)? == [name], "{:?}", names(host)?);
    }
    remove_all(host)
}

fn some_of_several(host: &Host) -> Result<()> {
    let layout = layout(host, "several")?;
    let other = if architecture() == "arm64" { "amd64" } else { "arm64" };
    let (one, two) = (small(&layout, "one", architecture())?, small(&layout, "two", other)?);
    let three = small(&layout, "three", architecture())?;
    index(
        &layout,
        &json!([
            named(one.manifest.clone(), "localhost/one:1"),
            named(two.manifest.clone(), "localhost/two:2"),
            named(three.manifest.clone(), "localhost/three:3"),
        ]),
    )?;
    let docker = host.file("docker");
    std::fs::create_dir(&docker)?;
    std::os::unix::fs::symlink(layout.0.join("blobs"), docker.join("blobs"))?;
    let list = json!([
        docker_entry(&one, &json!(["localhost/one:1"]))?,
        docker_entry(&two, &json!(["localhost/two:2"]))?,
        docker_entry(&three, &json!(["localhost/three:3"]))?,
    ]);
    std::fs::write(docker.join("manifest.json"), list.to_string())?;
    let archive = host.file("docker.tar");
    host.run("tar", &["-C", &text(&docker), "-chf", &text(&archive), "."])?.ok()?;
    for from in [&layout.0, &archive] {
        let said = load(host, &text(from))?;
        ensure!(
            said.code() == IMAGE && said.stdout == "loaded localhost/one:1\nloaded localhost/three:3\n",
            "{said}"
        );
        let refused = format!("{}: localhost/two:2: the image is for linux/{other}", from.display());
        ensure!(said.stderr.contains(&refused) && said.stderr.matches("podrun: ").count() == 1, "{said}");
        ensure!(names(host)? == ["localhost/one:1", "localhost/three:3"]);
        remove_all(host)?;
    }
    Ok(())
}
