//! Pulls from a registry that does not do what registries do: what passes is waited for and taken up again, what
//! lies or never ends is refused with a bound, and credentials stay where they belong.

pub(crate) mod server;
mod urls;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::hostile::tar::{INDEX, LAYER, Layout, MANIFEST, Tar, digest};
use server::{Answer, Rogue, Spec};
use support::host::Host;
use support::suite::Suite;

const IMAGE: i32 = 6;
pub(crate) const NAME: &str = "127.0.0.1:5001/lab/image:1";
pub(crate) const MANIFEST_PATH: &str = "/v2/lab/image/manifests/1";

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a pull waits for a registry that is busy for a moment", &[], busy);
    suite.on_host("a blob that breaks off is taken up where it was", &[], broken_off);
    suite.on_host("a registry that lies or never ends is refused", &[], liars);
    suite.on_host("credentials go to their own registry alone", &[], credentials);
    suite.on_host("an image that is here costs one question", &[], one_question);
    urls::add(suite);
}

/// An image in a layout, and what an honest registry answers about it.
pub(crate) struct Image {
    pub(crate) answers: std::collections::BTreeMap<String, Vec<Answer>>,
    layer: String,
    pub(crate) layer_file: PathBuf,
    manifest_digest: String,
}

impl Image {
    /// An image of one layer, which is larger than what is read at once.
    pub(crate) fn new(host: &Host) -> Result<Self> {
        Self::of(host, &[Tar::default().file("first", b"1").file("noise", &noise()).end()])
    }

    /// An image of these layers.
    pub(crate) fn of(host: &Host, layers: &[Vec<u8>]) -> Result<Self> {
        let folder = host.file("layout");
        Layout::image(&folder, layers)?;
        let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json"))?)?;
        let manifest_digest = index["manifests"][0]["digest"].as_str().context("digest")?.to_owned();
        let blob = |digest: &str| folder.join("blobs").join(digest.replace(':', "/"));
        let text = std::fs::read_to_string(blob(&manifest_digest))?;
        let manifest: Value = serde_json::from_str(&text)?;
        let mut answers = std::collections::BTreeMap::new();
        let answer = Answer::text(text, MANIFEST).header("Docker-Content-Digest", &manifest_digest);
        answers.insert(MANIFEST_PATH.to_owned(), vec![answer.clone()]);
        answers.insert(format!("/v2/lab/image/manifests/{manifest_digest}"), vec![answer]);
        let layers_and_config =
            manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]);
        for blob_of in layers_and_config {
            let digest = blob_of["digest"].as_str().context("digest")?;
            let answer = Answer { ranges: true, ..Answer::file(blob(digest)) };
            answers.insert(format!("/v2/lab/image/blobs/{digest}"), vec![answer]);
        }
        let layer = digest(&layers[0]);
        Ok(Self { answers, layer_file: blob(&layer), layer, manifest_digest })
    }

    pub(crate) fn layer_path(&self) -> String {
        format!("/v2/lab/image/blobs/{}", self.layer)
    }

    /// The registry with other answers on one path.
    pub(crate) fn with(&self, path: &str, answers: Vec<Answer>) -> Spec {
        let mut all = self.answers.clone();
        all.insert(path.to_owned(), answers);
        Spec::from([(5001, all)])
    }

    pub(crate) fn layer_answer(&self) -> Answer {
        Answer { ranges: true, ..Answer::file(self.layer_file.clone()) }
    }
}

/// What no compression and no reader takes for anything.
pub(crate) fn noise() -> Vec<u8> {
    (0..600_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// Pulls from a registry that answers so, and gives what it was asked.
fn pulls(host: &Host, spec: &Spec) -> Result<Vec<String>> {
    let rogue = Rogue::start(host, spec)?;
    let pulled = host.podrun(&["pull", "-q", NAME])?.ok();
    let asked = rogue.stop()?;
    pulled.with_context(|| asked.join("\n"))?;
    host.podrun(&["rmi", NAME])?.ok()?;
    Ok(asked)
}

/// The same where the pull must be refused with `why`, and leave nothing.
fn refuses(host: &Host, spec: &Spec, why: &str) -> Result<Vec<String>> {
    let rogue = Rogue::start(host, spec)?;
    let outcome = host.podrun(&["pull", NAME])?;
    let asked = rogue.stop()?;
    let said = outcome.fails_with(IMAGE)?;
    ensure!(said.contains(why), "`{why}` is not in: {said}\n{}", asked.join("\n"));
    ensure!(said.contains("127.0.0.1:5001/lab/image:1"), "the image's name is not in: {said}");
    for folder in ["layers", "content/sha256", "tmp", "trash"] {
        let left = std::fs::read_dir(host.root().join(folder))?.count();
        ensure!(left == 0, "{left} left in {folder}: {said}");
    }
    Ok(asked)
}

pub(crate) fn count(asked: &[String], what: &str) -> usize {
    asked.iter().filter(|line| line.contains(what)).count()
}

fn busy(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let good = image.answers[MANIFEST_PATH][0].clone();
    let busy = |status| Answer::status(status).header("Retry-After", "0");
    let asked =
        pulls(host, &image.with(MANIFEST_PATH, vec![busy(503), busy(429), Answer::status(502), good]))?;
    ensure!(count(&asked, MANIFEST_PATH) == 4, "{asked:#?}");
    let layer = vec![busy(500), busy(504), image.layer_answer()];
    let asked = pulls(host, &image.with(&image.layer_path(), layer))?;
    ensure!(count(&asked, &image.layer_path()) == 3, "{asked:#?}");
    // It ends: after five tries, or at once where too long a time is asked for.
    let asked = refuses(host, &image.with(MANIFEST_PATH, vec![busy(503)]), "it was tried 5 times")?;
    ensure!(count(&asked, MANIFEST_PATH) == 5, "{asked:#?}");
    let late = Answer::status(429).header("Retry-After", "3600");
    let asked = refuses(host, &image.with(MANIFEST_PATH, vec![late]), "come back in 3600 seconds")?;
    ensure!(count(&asked, MANIFEST_PATH) == 1, "{asked:#?}");
    // What will not pass is not asked again.
    let asked = refuses(host, &image.with(MANIFEST_PATH, vec![Answer::status(501)]), "501")?;
    ensure!(count(&asked, MANIFEST_PATH) == 1, "{asked:#?}");
    Ok(())
}

fn broken_off(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let cut = |at| Answer { cut: Some(at), ..image.layer_answer() };
    let asked = pulls(
        host,
        &image.with(&image.layer_path(), vec![cut(200_000), cut(100_000), image.layer_answer()]),
    )?;
    for from in [200_000, 300_000] {
        ensure!(count(&asked, &format!("range: bytes={from}-")) == 1, "{asked:#?}");
    }
    // A registry that knows no ranges sends all of it once more.
    let whole = Answer { ranges: false, ..image.layer_answer() };
    pulls(host, &image.with(&image.layer_path(), vec![cut(200_000), whole]))?;
    // One that sends another part is not believed.
    let other = Answer { status: 206, ..Answer::file(image.layer_file.clone()) }
        .header("Content-Range", "bytes 0-9/10");
    refuses(host, &image.with(&image.layer_path(), vec![cut(200_000), other]), "another part came")?;
    let asked = refuses(host, &image.with(&image.layer_path(), vec![cut(0)]), "is truncated")?;
    ensure!(count(&asked, &image.layer_path()) == 5, "{asked:#?}");
    // What had come is kept for the next pull.
    host.podrun(&["image", "prune"])?.ok()?;
    Ok(())
}

fn liars(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let layer = |answer: Answer| image.with(&image.layer_path(), vec![answer]);
    let manifest = |answer: Answer| image.with(MANIFEST_PATH, vec![answer]);
    let good = image.answers[MANIFEST_PATH][0].clone();
    let length = |length| Answer { length: Some(length), ..image.layer_answer() };
    refuses(host, &layer(length(1000)), "the registry has 1000 of")?;
    refuses(host, &layer(length(1 << 40)), "the registry has 1099511627776")?;
    refuses(host, &layer(Answer { endless: true, ..image.layer_answer() }), "is longer than")?;
    refuses(host, &layer(Answer::text("words", "text/html")), "the registry has 5 of")?;
    refuses(host, &manifest(Answer { endless: true, ..good.clone() }), "more than 4194304 bytes")?;
    refuses(host, &manifest(Answer::text("<html>", "text/html")), "manifest")?;
    refuses(host, &manifest(Answer::text(good.text.clone(), INDEX)), "fetched as")?;
    let wrong = Answer::text(good.text.clone(), MANIFEST).header("Docker-Content-Digest", &image.layer);
    refuses(host, &manifest(wrong), "wrong digest")?;
    let odd = Answer::text(good.text.clone(), MANIFEST).header("Docker-Content-Digest", "sha256:../../x");
    refuses(host, &manifest(odd), "digest")?;
    // An index that names itself can only lie about its digest.
    let own = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": INDEX, "digest": image.manifest_digest, "size": good.text.len() }] });
    refuses(host, &manifest(Answer::text(own.to_string(), INDEX)), "the index says")?;
    let swapped = good.text.replace(LAYER, "application/vnd.example.thing");
    refuses(host, &manifest(Answer::text(swapped, MANIFEST)), "unknown type")?;
    let circle = Answer::status(307).header("Location", &image.layer_path());
    refuses(host, &layer(circle), "redirects without end")?;
    refuses(host, &layer(Answer::status(302)), "a redirect to nowhere")?;
    let plain = Answer::status(302).header("Location", "http://192.0.2.1/blob");
    refuses(host, &layer(plain), "without TLS")?;
    let file = Answer::status(302).header("Location", "file:///etc/passwd");
    refuses(host, &layer(file), "registry 127.0.0.1:5001")?;
    let steers = Answer::text("{\"errors\":[{\"message\":\"\\u001b[31mred\"}]}", "application/json");
    let asked = refuses(host, &manifest(Answer { status: 400, ..steers }), "\\u{1b}[31mred")?;
    ensure!(!asked.is_empty(), "it was asked");
    Ok(())
}

fn credentials(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let auth = json!({ "auths": { "127.0.0.1:5001": { "auth": "dXNlcjpzZWNyZXQ=" } } });
    let file = host.write("auth.json", &auth.to_string())?;
    let pull = |spec: &Spec| -> Result<Vec<String>> {
        let rogue = Rogue::start(host, spec)?;
        let pulled = host.script(&format!("REGISTRY_AUTH_FILE={} $podrun pull -q {NAME}", file.display()))?;
        let asked = rogue.stop()?;
        pulled.ok().with_context(|| asked.join("\n"))?;
        host.podrun(&["rmi", NAME])?.ok()?;
        Ok(asked)
    };
    let good = image.answers[MANIFEST_PATH][0].clone();
    let basic = Answer::status(401).header("WWW-Authenticate", "Basic realm=\"here\"");
    let mut spec = image.with(MANIFEST_PATH, vec![basic, good.clone()]);
    let away = Answer::status(307).header("Location", "http://127.0.0.1:5002/elsewhere?signed=yes");
    spec.get_mut(&5001).context("5001")?.insert(image.layer_path(), vec![away]);
    spec.insert(5002, [("/elsewhere".to_owned(), vec![image.layer_answer()])].into());
    let asked = pull(&spec)?;
    ensure!(count(&asked, "authorization: basic dxnlcjpzzwnyzxq=") >= 2, "{asked:#?}");
    let elsewhere: Vec<_> = asked.iter().filter(|line| line.starts_with("5002 ")).collect();
    ensure!(elsewhere.len() == 1 && !elsewhere[0].contains("authorization"), "{elsewhere:#?}");
    // A token is asked for with the credentials, and only the token goes to the registry.
    let bearer = Answer::status(401).header(
        "WWW-Authenticate",
        "Bearer realm=\"http://127.0.0.1:5002/token\",service=\"here\",scope=\"x\"",
    );
    let mut spec = image.with(MANIFEST_PATH, vec![bearer.clone(), bearer.clone(), good]);
    let token = Answer::text("{\"token\":\"abc\"}", "application/json");
    spec.insert(5002, [("/token".to_owned(), vec![Answer::status(503), token])].into());
    let asked = pull(&spec)?;
    let at = |port: &str| asked.iter().filter(|line| line.starts_with(port)).cloned().collect::<Vec<_>>();
    ensure!(count(&at("5002 "), "authorization: basic") >= 1, "{asked:#?}");
    ensure!(count(&at("5001 "), "authorization: basic") == 0, "{asked:#?}");
    ensure!(count(&at("5001 "), "authorization: bearer abc") >= 1, "{asked:#?}");
    // Without TLS a token server gets nothing, and one that talks for ever is not listened to.
    let far = Answer::status(401).header("WWW-Authenticate", "Bearer realm=\"http://192.0.2.1/token\"");
    refuses(host, &image.with(MANIFEST_PATH, vec![far]), "without TLS")?;
    let mut spec = image.with(MANIFEST_PATH, vec![bearer]);
    let endless = Answer { endless: true, ..Answer::text("{", "application/json") };
    spec.insert(5002, [("/token".to_owned(), vec![endless])].into());
    refuses(host, &spec, "more than 1048576 bytes")?;
    Ok(())
}

fn one_question(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let spec = Spec::from([(5001, image.answers.clone())]);
    let rogue = Rogue::start(host, &spec)?;
    let id = host.podrun(&["pull", "-q", NAME])?.ok()?;
    let first = std::fs::read_to_string(host.file("rogue.log"))?.lines().count();
    ensure!(host.podrun(&["pull", "-q", NAME])?.ok()? == id, "another image");
    let by_digest = format!("127.0.0.1:5001/lab/image@{}", image.manifest_digest);
    ensure!(host.podrun(&["pull", "-q", &by_digest])?.ok()? == id, "another image");
    let asked = rogue.stop()?;
    let later = &asked[first - 1..];
    ensure!(later.len() == 1 && later[0].starts_with("5001 HEAD /v2/lab/image/manifests/1 "), "{later:#?}");
    host.podrun(&["rmi", NAME])?.ok()?;
    Ok(())
}
