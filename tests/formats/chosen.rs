//! Which image is taken where several could be meant: by digest, under one name twice, and among what is none.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::lists::docker_entry;
use super::{IMAGE, Small, index, layout, load, named, names, place, small, text};
use crate::hostile::tar::{CONFIG, INDEX, Layout, MANIFEST, architecture};
use crate::image::{holds_nothing, images, remove_all};
use crate::rogue::server::{Answer, Rogue, Spec};
use support::host::Host;
use support::suite::Suite;

pub(super) fn add(suite: &mut Suite) {
    suite.on_host("a digest chooses one of the images that an archive has", &[], by_digest);
    suite.on_host("one name of two images is refused or given to the later one", &[], one_name_twice);
    suite.on_host("what is wrong with one entry of a list is said of that alone", &[], one_wrong);
    suite.on_host("an index without an image for the platform is told from one without any", &[], no_image);
    suite.on_host("a pull asks again where a config names no platform", &[], silent_config);
    suite.on_host("a pull passes over no entry that is not what its index says", &[], broken_entry);
}

fn for_platform(mut descriptor: Value, architecture: &str) -> Value {
    descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
    descriptor
}

fn digest_of(descriptor: &Value) -> Result<&str> {
    descriptor["digest"].as_str().context("digest")
}

fn id(host: &Host) -> Result<Value> {
    let all = images(host)?;
    ensure!(all.len() == 1, "{all:#?}");
    Ok(all[0]["id"].clone())
}

fn list(layout: &Layout, entries: &Value) -> Result<()> {
    Ok(std::fs::write(layout.0.join("manifest.json"), entries.to_string())?)
}

/// An image whose config names no platform.
fn nowhere(layout: &Layout, content: &str) -> Result<Small> {
    let mut image = small(layout, content, architecture())?;
    let mut config: Value = serde_json::from_slice(&std::fs::read(layout.0.join(place(&image.config)?))?)?;
    config["architecture"] = json!("");
    config["os"] = json!("");
    image.config = layout.blob(CONFIG, config.to_string().as_bytes())?;
    image.manifest = layout.manifest(&image.config, std::slice::from_ref(&image.layer))?;
    Ok(image)
}

fn by_digest(host: &Host) -> Result<()> {
    let layout = layout(host, "digests")?;
    let path = text(&layout.0);
    let (own, other) = (small(&layout, "own", architecture())?, small(&layout, "other", "s390x")?);
    index(
        &layout,
        &json!([
            for_platform(own.manifest.clone(), architecture()),
            for_platform(other.manifest.clone(), "s390x")
        ]),
    )?;
    let wanted = format!("{path}:{}", digest_of(&other.manifest)?);
    let said = load(host, &wanted)?.fails_with(IMAGE)?;
    ensure!(said.contains("there is linux/s390x"), "{said}");
    holds_nothing(host)?;
    host.podrun(&["load", "--platform", "linux/s390x", &wanted])?.ok()?;
    ensure!(id(host)? == other.config["digest"]);
    remove_all(host)?;
    // With a name before it.
    let two = small(&layout, "two", architecture())?;
    let one = named(own.manifest.clone(), "localhost/app:1");
    index(&layout, &json!([one, named(two.manifest.clone(), "localhost/app:2")]))?;
    let digest = digest_of(&two.manifest)?;
    for wanted in [format!("localhost/app:2@{digest}"), format!("localhost/app@{digest}")] {
        load(host, &format!("{path}:{wanted}"))?.ok()?;
        ensure!(id(host)? == two.config["digest"] && names(host)? == ["localhost/app:2"], "{wanted}");
        remove_all(host)?;
    }
    let said = load(host, &format!("{path}:localhost/app:1@{digest}"))?.fails_with(IMAGE)?;
    ensure!(said.contains("has no image localhost/app:1@"), "{said}");
    Ok(())
}

fn one_name_twice(host: &Host) -> Result<()> {
    let layout = layout(host, "twice")?;
    let path = text(&layout.0);
    let (one, two) = (small(&layout, "one", architecture())?, small(&layout, "two", architecture())?);
    let other = small(&layout, "other", "s390x")?;
    let app = |small: &Small, name: &str| named(small.manifest.clone(), name);
    for (first, second) in [
        (app(&one, "app:1"), app(&two, "docker.io/library/app:1")),
        (for_platform(app(&one, "app:1"), architecture()), for_platform(app(&two, "app:1"), architecture())),
    ] {
        index(&layout, &json!([first, second]))?;
        let said = load(host, &path)?.fails_with(IMAGE)?;
        ensure!(said.contains("app:1: two images are listed so"), "{said}");
        ensure!(said.contains(digest_of(&two.manifest)?), "{said}");
        holds_nothing(host)?;
        load(host, &format!("{path}:{}", digest_of(&two.manifest)?))?.ok()?;
        ensure!(id(host)? == two.config["digest"]);
        remove_all(host)?;
    }
    // One for each platform is one image, and the same one twice, too.
    index(&layout, &json!([app(&other, "app:1"), app(&one, "app:1"), app(&one, "app:1")]))?;
    load(host, &path)?.ok()?;
    ensure!(id(host)? == one.config["digest"]);
    remove_all(host)?;
    // Of two without a name each is one.
    let unnamed = |small: &Small| for_platform(small.manifest.clone(), architecture());
    index(&layout, &json!([unnamed(&one), unnamed(&two)]))?;
    load(host, &path)?.ok()?;
    ensure!(images(host)?.len() == 2, "{:#?}", images(host)?);
    remove_all(host)?;
    // In Docker's list the later one has the name.
    std::fs::remove_file(layout.0.join("index.json"))?;
    list(&layout, &json!([docker_entry(&one, &json!(["app:1"]))?, docker_entry(&two, &json!(["app:1"]))?]))?;
    let said = load(host, &path)?.ok()?;
    ensure!(said.lines().count() == 2, "{said}");
    let found = host.podrun(&["image", "inspect", "app:1", "-o", "jsonpath={.id}"])?.ok()?;
    ensure!(images(host)?.len() == 2 && found.trim() == two.config["digest"], "{found}");
    remove_all(host)
}

fn one_wrong(host: &Host) -> Result<()> {
    let layout = layout(host, "wrong")?;
    let path = text(&layout.0);
    let (one, two) = (small(&layout, "one", architecture())?, small(&layout, "two", architecture())?);
    let all = ["docker.io/library/app:1", "docker.io/library/other:3"];
    // A tag that is none takes no other with it, with index.json and without.
    index(&layout, &json!([named(one.manifest.clone(), "app:1")]))?;
    list(&layout, &json!([docker_entry(&one, &json!(["app:1", "other:3", "Bad/UP:1"]))?]))?;
    for _ in 0..2 {
        let said = load(host, &path)?;
        ensure!(said.code() == IMAGE && said.stderr.contains("Bad/UP:1"), "{said}");
        ensure!(names(host)? == all, "{said}");
        remove_all(host)?;
        index(&layout, &json!(null))?;
    }
    // A name that no file can have.
    list(
        &layout,
        &json!([
            { "Config": "c".repeat(300), "RepoTags": ["long:1"], "Layers": [] },
            docker_entry(&one, &json!(["app:1"]))?,
        ]),
    )?;
    let said = load(host, &path)?;
    ensure!(
        said.code() == IMAGE && said.stderr.contains("ENAMETOOLONG") && names(host)? == all[..1],
        "{said}"
    );
    remove_all(host)?;
    // A tag alone beside another name of the same image.
    index(&layout, &json!([named(one.manifest.clone(), "3")]))?;
    list(&layout, &json!([docker_entry(&one, &json!(["app:1"]))?]))?;
    load(host, &path)?.ok()?;
    ensure!(names(host)? == [all[0], "docker.io/library/app:3"], "{:?}", names(host)?);
    remove_all(host)?;
    // An entry that cannot be read.
    std::fs::remove_file(layout.0.join("manifest.json"))?;
    let mut odd = named(two.manifest.clone(), "odd:1");
    odd["digest"] = json!("blake3:00");
    index(&layout, &json!([odd, named(one.manifest.clone(), "app:1")]))?;
    let said = load(host, &path)?;
    ensure!(said.code() == IMAGE && said.stderr.contains("odd:1: ") && names(host)? == all[..1], "{said}");
    remove_all(host)?;
    // A blob that is missing is told as that, and not as another image.
    index(&layout, &json!([named(two.manifest.clone(), "app:1")]))?;
    list(&layout, &json!([docker_entry(&one, &json!(["app:1", "other:3"]))?]))?;
    std::fs::remove_file(layout.0.join(place(&two.manifest)?))?;
    let said = load(host, &path)?;
    let missing = format!("app:1: {} is missing", place(&two.manifest)?);
    ensure!(said.code() == IMAGE && said.stderr.contains(&missing) && names(host)? == all[1..], "{said}");
    remove_all(host)?;
    // A config that is not what it is named by.
    index(&layout, &json!([]))?;
    std::fs::write(layout.0.join(place(&one.config)?), std::fs::read(layout.0.join(place(&two.config)?))?)?;
    let said = load(host, &path)?.fails_with(IMAGE)?;
    ensure!(said.contains("has the wrong digest"), "{said}");
    holds_nothing(host)
}

fn no_image(host: &Host) -> Result<()> {
    let layout = layout(host, "none")?;
    let path = text(&layout.0);
    let other = small(&layout, "other", "s390x")?;
    let nowhere = nowhere(&layout, "nowhere")?;
    let empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}")?;
    let artifact = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example",
        "config": empty, "layers": [] });
    let artifact = layout.blob(MANIFEST, artifact.to_string().as_bytes())?;
    let of = |manifests: Value| -> Result<Value> {
        let text = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }).to_string();
        layout.blob(INDEX, text.as_bytes())
    };
    // An artifact beside an image for another platform, and one image alone, which says for which it is.
    for entries in [
        json!([for_platform(other.manifest.clone(), "s390x"), artifact]),
        json!([for_platform(nowhere.manifest.clone(), "s390x")]),
    ] {
        index(&layout, &json!([named(of(entries)?, "app:1")]))?;
        let said = load(host, &path)?.fails_with(IMAGE)?;
        ensure!(said.contains("no image for linux/") && said.contains("there is linux/s390x"), "{said}");
        holds_nothing(host)?;
    }
    // An index of nothing is passed over.
    let nothing = named(of(json!([]))?, "nothing:1");
    index(&layout, &json!([nothing, named(nowhere.manifest, "app:1")]))?;
    let said = load(host, &path)?;
    ensure!(said.code() == 0 && said.stderr.contains("passed over nothing:1: it is an index"), "{said}");
    ensure!(names(host)? == ["docker.io/library/app:1"]);
    remove_all(host)
}

/// What a registry answers that has these under their digests, and `top` under the tag.
fn registry(layout: &Layout, top: &Value, all: &[(&Value, &str)]) -> Result<Spec> {
    let mut answers = std::collections::BTreeMap::new();
    let answer = |descriptor: &Value, media_type: &str| -> Result<Answer> {
        let text = std::fs::read_to_string(layout.0.join(place(descriptor)?))?;
        Ok(Answer::text(text, media_type).header("Docker-Content-Digest", digest_of(descriptor)?))
    };
    answers.insert("/v2/lab/image/manifests/1".to_owned(), vec![answer(top, INDEX)?]);
    for (descriptor, media_type) in all {
        let digest = digest_of(descriptor)?;
        if *media_type == MANIFEST {
            let path = format!("/v2/lab/image/manifests/{digest}");
            answers.insert(path, vec![answer(descriptor, MANIFEST)?]);
        } else {
            let file = layout.0.join(place(descriptor)?);
            answers.insert(format!("/v2/lab/image/blobs/{digest}"), vec![Answer::file(file)]);
        }
    }
    Ok(Spec::from([(5001, answers)]))
}

fn of_image(image: &Small) -> [(&Value, &'static str); 3] {
    [(&image.manifest, MANIFEST), (&image.config, ""), (&image.layer, "")]
}

fn silent_config(host: &Host) -> Result<()> {
    let layout = layout(host, "pulled")?;
    let (own, other) = (nowhere(&layout, "own")?, nowhere(&layout, "other")?);
    let entries =
        [for_platform(own.manifest.clone(), architecture()), for_platform(other.manifest.clone(), "s390x")];
    let top = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    let top = layout.blob(INDEX, top.to_string().as_bytes())?;
    let rogue = Rogue::start(host, &registry(&layout, &top, &[of_image(&own), of_image(&other)].concat())?)?;
    let name = "127.0.0.1:5001/lab/image:1";
    for (platform, wanted) in [(None, &own), (Some("linux/s390x"), &other), (None, &own)] {
        let platform = platform.map_or(vec![], |platform| vec!["--platform", platform]);
        let said = host.podrun(&[&["pull", "-q", name], &platform[..]].concat())?.ok()?;
        ensure!(said.contains(digest_of(&wanted.config)?), "{platform:?}: {said}");
    }
    rogue.stop()?;
    Ok(())
}

fn broken_entry(host: &Host) -> Result<()> {
    let layout = layout(host, "broken")?;
    let (one, two) = (small(&layout, "one", architecture())?, small(&layout, "two", architecture())?);
    let mut first = one.manifest.clone();
    first["size"] = json!(first["size"].as_u64().context("size")? + 1);
    let top = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [first, two.manifest] });
    let top = layout.blob(INDEX, top.to_string().as_bytes())?;
    let rogue = Rogue::start(host, &registry(&layout, &top, &[of_image(&one), of_image(&two)].concat())?)?;
    let said = host.podrun(&["pull", "-q", "127.0.0.1:5001/lab/image:1"])?.fails_with(IMAGE)?;
    ensure!(said.contains("bytes, the index says"), "{said}");
    rogue.stop()?;
    holds_nothing(host)
}
