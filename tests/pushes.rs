//! `push`: to Debian's docker-registry and back, and to registries that do not take what they are given.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::rogue::count;
use crate::rogue::server::{Answer, Rogue, Spec};
use support::certificates::Authority;
use support::fixtures;
use support::host::Host;
use support::registry::{Options, PASSWORD, Registry, USER};
use support::suite::Suite;

const IMAGE: i32 = 6;
const LAYERS: &str = "localhost/podrun/layers:1";

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("an image that is pushed is the same when it is pulled again", &["layers"], round_trip);
    suite.on_host("an archive of docker save is pushed with a manifest of its own", &[], from_docker_save);
    suite.on_host(
        "a push sends what the registry lacks and nothing twice",
        &["layers"],
        only_what_is_lacking,
    );
    suite.on_host(
        "an image whose layers are here in another form is pushed as they are here",
        &[],
        otherwise_packed,
    );
    suite.on_host("a push needs a login that may push", &["probe"], rights);
    suite.on_host("a registry that takes no upload ends the push", &["probe"], refusals);
}

fn images(host: &Host) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&host.podrun(&["images", "-o", "json"])?.ok()?)?)
}

fn id_of(host: &Host, name: &str) -> Result<String> {
    let all = images(host)?;
    let named =
        |image: &&Value| image["names"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let found = all.iter().find(named).with_context(|| format!("{name} is not in {all:?}"))?;
    Ok(found["id"].as_str().context("id")?.to_owned())
}

/// Pulls `name` into a store of its own, and gives the image's id.
fn pulled_elsewhere(host: &Host, name: &str) -> Result<String> {
    let root = host.file("elsewhere");
    let said = host.podrun(&["pull", "-q", "--root", &root.to_string_lossy(), name])?.ok()?;
    std::fs::remove_dir_all(root)?;
    Ok(said.trim().to_owned())
}

fn round_trip(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let id = id_of(host, LAYERS)?;
    let to = "127.0.0.1:5000/lab/layers";
    let outcome = host.podrun(&["push", LAYERS, &format!("{to}:2")])?;
    for word in ["pushing", "complete", "pushed 127.0.0.1:5000/lab/layers@sha256:"] {
        ensure!(outcome.stderr.contains(word), "{word}: {outcome}");
    }
    let digest = outcome.ok()?.trim().to_owned();
    ensure!(pulled_elsewhere(host, &format!("{to}@{digest}"))? == id, "another image");
    ensure!(pulled_elsewhere(host, &format!("{to}:2"))? == id, "another image");
    // The manifest is the one with which it came.
    let index: Value = serde_json::from_slice(&std::fs::read(fixtures::path("layers")?.join("index.json"))?)?;
    ensure!(index["manifests"][0]["digest"] == digest.as_str(), "{digest} is another manifest than {index}");
    // By an id there must be a name to push to; by a digest the content must be that.
    let said = host.podrun(&["push", &id])?.fails_with(2)?;
    ensure!(said.contains("is an id: where to?"), "{said}");
    ensure!(host.podrun(&["push", "-q", &id, &format!("{to}:3")])?.ok()?.trim() == digest, "another digest");
    host.podrun(&["push", "-q", &id, &format!("{to}@{digest}")])?.ok()?;
    let other = format!("{to}@sha256:{}", "0".repeat(64));
    ensure!(host.podrun(&["push", &id, &other])?.fails_with(IMAGE)?.contains("not sha256:000"), "another");
    host.podrun(&["push", "absent:1", to])?.fails_with(4)?;
    // What is pushed is known to be there: a pull of it asks one question and gets nothing.
    host.podrun(&["pull", "-q", &format!("{to}:2")])?.ok()?;
    host.podrun(&["pull", "-q", &format!("{to}:3")])?.ok()?;
    ensure!(images(host)?.len() == 1, "one image");
    // Every tag of the repository, and no other.
    let listed = host.podrun(&["push", "-q", "--all-tags", to])?.ok()?;
    ensure!(listed.lines().collect::<Vec<_>>() == [digest.as_str(), digest.as_str()], "{listed}");
    host.podrun(&["push", "--all-tags", "127.0.0.1:5000/lab/lay"])?.fails_with(4)?;
    host.podrun(&["push", "--all-tags", &format!("{to}:2")])?.fails_with(2)?;
    registry.stop()
}

fn from_docker_save(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    host.podrun(&["load", &fixtures::path("layers.docker.tar")?.to_string_lossy()])?.ok()?;
    let id = id_of(host, LAYERS)?;
    let to = "127.0.0.1:5000/lab/saved:1";
    let first = host.podrun(&["push", "-q", LAYERS, to])?.ok()?;
    ensure!(pulled_elsewhere(host, to)? == id, "another image");
    ensure!(host.podrun(&["push", "-q", LAYERS, to])?.ok()? == first, "each time another manifest");
    registry.stop()
}

/// The blobs in the host's store that are no documents: the layers.
fn layer_blobs(host: &Host) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(host.root().join("content/sha256"))? {
        let path = entry?.path();
        if std::fs::read(&path)?.first() != Some(&b'{') {
            found.push(path);
        }
    }
    ensure!(found.len() > 1, "{found:?}");
    Ok(found)
}

fn only_what_is_lacking(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let to = "127.0.0.1:5000/lab/layers:1";
    host.podrun(&["push", "-q", LAYERS, to])?.ok()?;
    let again = host.podrun(&["push", LAYERS, to])?;
    ensure!(again.stderr.contains(": exists") && !again.stderr.contains(": complete"), "{again}");
    again.ok()?;
    // Blobs that are gone from here are lent by the other repository of the same registry.
    let blobs = layer_blobs(host)?;
    blobs.iter().try_for_each(std::fs::remove_file)?;
    host.podrun(&["push", "-q", LAYERS, "127.0.0.1:5000/other/layers:1"])?.ok()?;
    pulled_elsewhere(host, "127.0.0.1:5000/other/layers:1")?;
    registry.stop()?;
    // Nobody has them: that is said, and no manifest goes.
    let bare =
        Registry::start_with(host, &Options { address: Some("127.0.0.1:5005"), ..Options::default() })?;
    let said = host.podrun(&["push", LAYERS, "127.0.0.1:5005/lab/layers:1"])?.fails_with(IMAGE)?;
    for word in [
        "push 127.0.0.1:5005/lab/layers:1: blob sha256:",
        "not in the store",
        "hint: pull or load the image again",
    ] {
        ensure!(said.contains(word), "{word}: {said}");
    }
    host.podrun(&["pull", "127.0.0.1:5005/lab/layers:1"])?.fails_with(IMAGE)?;
    bare.stop()
}

fn otherwise_packed(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let published = registry.publish("layers", "lab/layers", "1")?;
    // The layers are here already, as docker save packs them: of the registry's forms none is fetched.
    host.podrun(&["load", "-q", &fixtures::path("layers.docker.tar")?.to_string_lossy()])?.ok()?;
    let id = host.podrun(&["pull", "-q", &published])?.ok()?.trim().to_owned();
    let index: Value = serde_json::from_slice(&std::fs::read(fixtures::path("layers")?.join("index.json"))?)?;
    let digest = index["manifests"][0]["digest"].as_str().context("digest")?;
    // A registry that has them, or can lend them, gets the manifest with which the image came.
    let again = host.podrun(&["push", "-q", &published, "127.0.0.1:5000/lab/again:1"])?;
    ensure!(again.stdout.trim() == digest && again.stderr.is_empty(), "{digest}: {again}");
    let other =
        Registry::start_with(host, &Options { address: Some("127.0.0.1:5005"), ..Options::default() })?;
    let to = "127.0.0.1:5005/lab/layers";
    let said = host.podrun(&["push", &published, &format!("{to}@{digest}")])?.fails_with(IMAGE)?;
    ensure!(said.contains("hint: ") && said.contains("under a tag it goes with another digest"), "{said}");
    // Another one gets what is here, and is told that it is another manifest.
    let outcome = host.podrun(&["push", "-q", &published, &format!("{to}:1")])?;
    let made = outcome.stdout.trim().to_owned();
    ensure!(outcome.stderr.contains(&format!("another digest there, {made}")), "{outcome}");
    outcome.ok()?;
    ensure!(
        made != digest && pulled_elsewhere(host, &format!("{to}@{made}"))? == id,
        "{made} is another image"
    );
    other.stop()?;
    registry.stop()
}

fn rights(host: &Host) -> Result<()> {
    let authority = Authority::new(host, "ca")?;
    let pair = authority.server()?;
    let registry =
        Registry::start_with(host, &Options { tls: Some(&pair), users: true, ..Options::default() })?;
    let config = serde_json::json!({
        "network": { "idleSeconds": 0 }, "registries": { "127.0.0.1:5000": { "ca": authority.certificate } },
    });
    std::fs::write(host.config_file(), config.to_string())?;
    let name = fixtures::reference("probe");
    let to = "127.0.0.1:5000/lab/probe:1";
    let said = host.podrun(&["push", &name, to])?.fails_with(IMAGE)?;
    ensure!(said.contains("there are none") && said.contains("podrun login 127.0.0.1:5000"), "{said}");
    // Over HTTP/2, with a body that has to be sent again after the registry has asked who it is.
    host.podrun(&["push", "-q", "--creds", &format!("{USER}:{PASSWORD}"), &name, to])?.ok()?;
    host.podrun(&["pull", "-q", "--creds", &format!("{USER}:{PASSWORD}"), to])?.ok()?;
    registry.stop()
}

fn refusals(host: &Host) -> Result<()> {
    let name = fixtures::reference("probe");
    let to = "127.0.0.1:5001/lab/probe:1";
    let uploads = "/v2/lab/probe/blobs/uploads/".to_owned();
    let push = |answers: BTreeMap<String, Vec<Answer>>,
                elsewhere: BTreeMap<String, Vec<Answer>>|
     -> Result<(support::run::Outcome, Vec<String>)> {
        let rogue = Rogue::start(host, &Spec::from([(5001, answers), (5002, elsewhere)]))?;
        let auth = host.write("auth.json", r#"{"auths":{"127.0.0.1:5001":{"auth":"dXNlcjpzZWNyZXQ="}}}"#)?;
        let outcome =
            host.script(&format!("REGISTRY_AUTH_FILE={} $podrun push {name} {to}", auth.display()))?;
        Ok((outcome, rogue.stop()?))
    };
    let no_manifest = |asked: &[String]| -> Result<()> {
        ensure!(count(asked, "PUT /v2/lab/probe/manifests") == 0, "{asked:#?}");
        Ok(())
    };
    for (answer, why) in [
        (Answer::status(405), "405"),
        (Answer::status(413), "allows none of this size"),
        (Answer::status(202), "no place for an upload"),
        (Answer::status(202).header("Location", "http://192.0.2.1/place"), "without TLS"),
    ] {
        let (outcome, asked) = push([(uploads.clone(), vec![answer])].into(), BTreeMap::new())?;
        let said = outcome.fails_with(IMAGE)?;
        ensure!(said.contains(why) && said.contains("push 127.0.0.1:5001/lab/probe:1"), "{why}: {said}");
        no_manifest(&asked)?;
    }
    // A place elsewhere gets the blob, and no credentials; what breaks off begins anew.
    let basic = Answer::status(401).header("WWW-Authenticate", "Basic realm=\"here\"");
    let place = Answer::status(202).header("Location", "http://127.0.0.1:5002/place?session=1");
    let manifest = Answer::status(201);
    let ours = BTreeMap::from([
        (uploads.clone(), vec![basic, place]),
        ("/v2/lab/probe/manifests/1".to_owned(), vec![manifest]),
    ]);
    let theirs = BTreeMap::from([("/place".to_owned(), vec![Answer::status(503), Answer::status(201)])]);
    let (outcome, asked) = push(ours, theirs)?;
    outcome.ok().with_context(|| asked.join("\n"))?;
    let elsewhere: Vec<_> =
        asked.iter().filter(|line| line.starts_with("5002 PUT /place?session=1&digest=sha256:")).collect();
    ensure!(
        elsewhere.len() >= 3 && !elsewhere.iter().any(|line| line.contains("authorization")),
        "{elsewhere:#?}"
    );
    ensure!(count(&asked, "authorization: basic dxnlcjpzzwnyzxq=") >= 2, "{asked:#?}");
    ensure!(count(&asked, "PUT /v2/lab/probe/manifests/1") == 1, "{asked:#?}");
    Ok(())
}
