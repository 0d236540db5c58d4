//! URLs in what a registry answers: relative to the one that was asked, and never followed with credentials that
//! are for another host.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::server::{Answer, Rogue, Spec};
use super::{Image, MANIFEST_PATH, NAME, count};
use support::certificates::Authority;
use support::fixtures;
use support::host::Host;
use support::registry::{Options, Registry};
use support::suite::Suite;

const IMAGE: i32 = 6;
const UPLOADS: &str = "/v2/lab/image/blobs/uploads/";
/// The credentials of auth.json, as the server logs them.
const BASIC: &str = "authorization: basic dxnlcjpzzwnyzxq=";

pub(super) fn add(suite: &mut Suite) {
    suite.on_host("a place for an upload may be relative in every way", &["probe"], places);
    suite.on_host("a redirect may be relative in every way", &[], redirects);
    suite.on_host("a token server may send us on and gets credentials at its own host alone", &[], tokens);
    suite.on_host("a list of tags goes on wherever its links say", &[], links);
    suite.on_host("a registry with TLS cannot send us where there is none", &["probe"], downgrade);
}

/// Where a reference leads that was given at `folder` of port 5001.
fn everywhere(folder: &str, above: &str) -> Vec<(String, u16, String)> {
    let own = |reference: &str, path: String| (reference.to_owned(), 5001, path);
    vec![
        own("uuid?x=1", format!("{folder}uuid")),
        own("./uuid", format!("{folder}uuid")),
        own("../z", format!("{above}z")),
        own("/y/../w#part", "/w".to_owned()),
        own("//127.0.0.1:5001/v", "/v".to_owned()),
        ("//127.0.0.1:5002/y?x".to_owned(), 5002, "/y".to_owned()),
        ("http://127.0.0.1:5002/a/./y".to_owned(), 5002, "/a/y".to_owned()),
    ]
}

/// podrun with credentials for the registry at port 5001.
fn with_login(host: &Host, spec: &Spec, arguments: &str) -> Result<Vec<String>> {
    let auth = host.write("auth.json", r#"{"auths":{"127.0.0.1:5001":{"auth":"dXNlcjpzZWNyZXQ="}}}"#)?;
    let rogue = Rogue::start(host, spec)?;
    let outcome = host.script(&format!("REGISTRY_AUTH_FILE={} $podrun {arguments}", auth.display()))?;
    let asked = rogue.stop()?;
    outcome.ok().with_context(|| asked.join("\n"))?;
    let strangers: Vec<_> = asked.iter().filter(|line| line.starts_with("5002 ")).collect();
    ensure!(!strangers.iter().any(|line| line.contains("authorization")), "{strangers:#?}");
    Ok(asked)
}

fn basic() -> Answer {
    Answer::status(401).header("WWW-Authenticate", "Basic realm=\"here\"")
}

fn places(host: &Host) -> Result<()> {
    let name = fixtures::reference("probe");
    for (reference, port, path) in everywhere(UPLOADS, "/v2/lab/image/blobs/") {
        let begun = Answer::status(202).header("Location", &reference);
        let mut spec = Spec::from([(5001, BTreeMap::new()), (5002, BTreeMap::new())]);
        let ours = spec.get_mut(&5001).context("5001")?;
        ours.insert(UPLOADS.to_owned(), vec![basic(), begun]);
        ours.insert(MANIFEST_PATH.to_owned(), vec![Answer::status(201)]);
        spec.get_mut(&port).context("a port")?.insert(path.clone(), vec![Answer::status(201)]);
        let asked = with_login(host, &spec, &format!("push -q {name} {NAME}"))?;
        let query = reference.split('#').next().and_then(|url| url.split_once('?')).map(|(_, query)| query);
        let query = query.map(|query| format!("{query}&")).unwrap_or_default();
        let sent = count(&asked, &format!("{port} PUT {path}?{query}digest=sha256:"));
        ensure!(sent >= 2, "{reference}: {asked:#?}");
    }
    Ok(())
}

fn redirects(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let good = image.answers[MANIFEST_PATH][0].clone();
    for (reference, port, path) in everywhere("/v2/lab/image/blobs/", "/v2/lab/image/") {
        let mut spec = image.with(MANIFEST_PATH, vec![basic(), good.clone()]);
        spec.insert(5002, BTreeMap::new());
        let away = Answer::status(307).header("Location", &reference);
        spec.get_mut(&5001).context("5001")?.insert(image.layer_path(), vec![away]);
        spec.get_mut(&port).context("a port")?.insert(path.clone(), vec![image.layer_answer()]);
        let asked = with_login(host, &spec, &format!("pull -q {NAME}"))?;
        let last = asked.iter().find(|line| {
            line.strip_prefix(&format!("{port} GET {path}")).is_some_and(|rest| rest.starts_with([' ', '?']))
        });
        let last = last.with_context(|| format!("{reference}: {asked:#?}"))?;
        ensure!(last.contains(BASIC) == (port == 5001), "{last}");
        host.podrun(&["rmi", NAME])?.ok()?;
    }
    Ok(())
}

fn tokens(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let good = image.answers[MANIFEST_PATH][0].clone();
    let realm = "Bearer realm=\"http://127.0.0.1:5001/auth/token\",service=\"here\"";
    let bearer = Answer::status(401).header("WWW-Authenticate", realm);
    let token = Answer::text("{\"token\":\"abc\"}", "application/json");
    for (reference, port, path) in everywhere("/auth/", "/") {
        let mut spec = image.with(MANIFEST_PATH, vec![bearer.clone(), good.clone()]);
        spec.insert(5002, BTreeMap::new());
        let away = Answer::status(302).header("Location", &reference);
        spec.get_mut(&5001).context("5001")?.insert("/auth/token".to_owned(), vec![away]);
        spec.get_mut(&port).context("a port")?.insert(path.clone(), vec![token.clone()]);
        let asked = with_login(host, &spec, &format!("pull -q {NAME}"))?;
        ensure!(count(&asked, BASIC) >= 1 && count(&asked, "authorization: bearer abc") >= 1, "{asked:#?}");
        host.podrun(&["rmi", NAME])?.ok()?;
    }
    // A form with the token of a login goes to nobody else.
    let auth = json!({ "auths": { "127.0.0.1:5001": { "auth": "", "identitytoken": "secret" } } });
    let auth = host.write("auth.json", &auth.to_string())?;
    let mut spec = image.with(MANIFEST_PATH, vec![bearer]);
    let away = Answer::status(307).header("Location", "http://127.0.0.1:5002/y");
    spec.get_mut(&5001).context("5001")?.insert("/auth/token".to_owned(), vec![away]);
    spec.insert(5002, [("/y".to_owned(), vec![token])].into());
    let rogue = Rogue::start(host, &spec)?;
    let outcome = host.script(&format!("REGISTRY_AUTH_FILE={} $podrun pull {NAME}", auth.display()))?;
    let asked = rogue.stop()?;
    let said = outcome.fails_with(IMAGE)?;
    ensure!(said.contains("sends the token to another host"), "{said}");
    ensure!(count(&asked, "refresh_token=secret") >= 1 && count(&asked, "5002 ") == 0, "{asked:#?}");
    Ok(())
}

fn links(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let page =
        |tags: &[&str]| Answer::text(json!({ "name": "x", "tags": tags }).to_string(), "application/json");
    for (reference, port, path) in everywhere("/v2/lab/image/tags/", "/v2/lab/image/") {
        let mut spec = Spec::from([(5001, image.answers.clone()), (5002, BTreeMap::new())]);
        let first = page(&[]).header("Link", "</first>; rel=\"first\"; title=\"rel=next, <x>\"");
        let first = first.header("Link", &format!("</p>; rel=prev, <{reference}>; rel=\"last next\""));
        let list = "/v2/lab/image/tags/list".to_owned();
        spec.get_mut(&5001).context("5001")?.insert(list, vec![basic(), first]);
        spec.get_mut(&port).context("a port")?.insert(path.clone(), vec![page(&["1"])]);
        let asked = with_login(host, &spec, "pull -q --all-tags 127.0.0.1:5001/lab/image")?;
        ensure!(count(&asked, &format!("{port} GET {path}")) >= 1, "{reference}: {asked:#?}");
        host.podrun(&["rmi", NAME])?.ok()?;
    }
    Ok(())
}

fn downgrade(host: &Host) -> Result<()> {
    let authority = Authority::new(host, "ca")?;
    let pair = authority.server()?;
    let options = Options { tls: Some(&pair), url: Some("http://127.0.0.1:5000"), ..Options::default() };
    let registry = Registry::start_with(host, &options)?;
    let name = fixtures::reference("probe");
    // Even where certificates are not checked.
    let outcome = host.podrun(&["push", "-q", "--tls-verify=false", &name, "127.0.0.1:5000/lab/probe:1"])?;
    let said = outcome.fails_with(IMAGE)?;
    ensure!(said.contains("sends us from TLS to 127.0.0.1:5000 without"), "{said}");
    registry.stop()
}
