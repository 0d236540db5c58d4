//! Registries that want to know who asks, over TLS: `login`, `logout`, whose certificates are believed, helpers, tokens,
//! mirrors and proxies. Against Debian's docker-registry where it can be, else against the rogue.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rogue::server::{Answer, Rogue, Spec};
use crate::rogue::{Image, MANIFEST_PATH, NAME, count};
use support::certificates::{Authority, SERVER};
use support::host::Host;
use support::registry::{Options, PASSWORD, Registry, USER};
use support::run::Outcome;
use support::suite::Suite;
use support::terminal::Terminal;

const IMAGE: i32 = 6;
const REGISTRY: &str = "127.0.0.1:5000";

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a login is checked then kept and a pull uses it", &[], login);
    suite.on_host("a password is typed unseen", &[], typed);
    suite.on_host("a certificate that nobody trusted has signed is refused", &[], certificates);
    suite.on_host("a registry may want a certificate of the client", &[], client_certificates);
    suite.on_host("credentials come from helpers and tokens", &[], helpers_and_tokens);
    suite.on_host("a mirror that fails is passed over", &[], mirrors);
    suite.on_host("a proxy stands before other machines only", &[], proxies);
}

/// Writes the config file with these `registries`.
fn configure(host: &Host, registries: &Value) -> Result<()> {
    let config = json!({ "network": { "idleSeconds": 0 }, "registries": registries });
    Ok(std::fs::write(host.config_file(), config.to_string())?)
}

fn contains(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} is not in: {text}");
    }
    Ok(())
}

fn mode(path: &Path) -> Result<u32> {
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.permissions().mode() & 0o777)
}

fn login(host: &Host) -> Result<()> {
    let authority = Authority::new(host, "ca")?;
    let pair = authority.server()?;
    let registry =
        Registry::start_with(host, &Options { tls: Some(&pair), users: true, ..Options::default() })?;
    let image = registry.publish("probe", "team/probe", "1")?;
    configure(host, &json!({ REGISTRY: { "ca": authority.certificate } }))?;
    let auth = host.file("kept/auth.json");
    let run = |line: &str| host.script(&format!("export REGISTRY_AUTH_FILE={}; {line}", auth.display()));
    let pull = || run(&format!("$podrun pull -q {image}"));
    let forget = || host.podrun(&["rmi", &image])?.ok();
    contains(
        &pull()?.fails_with(IMAGE)?,
        &["there are none", "hint: log in by `podrun login 127.0.0.1:5000`"],
    )?;
    // What the registry does not take is not kept.
    let said = run(&format!("echo wrong-one | $podrun login -u {USER} --password-stdin {REGISTRY}"))?
        .fails_with(1)?;
    contains(&said, &["registry 127.0.0.1:5000: the credentials are refused"])?;
    ensure!(!said.contains("wrong-one") && !auth.exists(), "{said}");
    run(&format!("$podrun login -u {USER} {REGISTRY} </dev/null"))?.fails_with(2)?;
    let said = run(&format!("echo '{PASSWORD}' | $podrun login -u {USER} --password-stdin {REGISTRY}"))?;
    ensure!(said.stderr.contains("kept in"), "{said}");
    ensure!(said.ok()? == "logged in to 127.0.0.1:5000\n", "another answer");
    ensure!(mode(&auth)? == 0o600 && mode(&host.file("kept"))? == 0o700, "others may read it");
    ensure!(std::fs::read_dir(host.file("kept"))?.count() == 1, "something lies beside it");
    pull()?.ok()?;
    forget()?;
    // The call's own stand above the file's, and above what is above the repository.
    let said = run(&format!("$podrun pull --creds {USER}:wrong-one {image}"))?.fails_with(IMAGE)?;
    contains(&said, &["refused", "hint: look at the user name"])?;
    ensure!(!said.contains("wrong-one"), "{said}");
    host.podrun(&["pull", "-q", "--creds", &format!("{USER}:{PASSWORD}"), &image])?.ok()?;
    forget()?;
    host.podrun(&["pull", "-q", "--authfile", &auth.to_string_lossy(), &image])?.ok()?;
    forget()?;
    host.podrun(&["pull", "--authfile", "/missing", &image])?.fails_with(2)?;
    host.podrun(&["pull", "--creds", "alone", &image])?.fails_with(2)?;
    // A part of the registry has a login of its own, and the longest match counts.
    run(&format!("$podrun login -u {USER} -p '{PASSWORD}' {REGISTRY}/team"))?.ok()?;
    run(&format!("$podrun logout {REGISTRY}"))?.ok()?;
    pull()?.ok()?;
    forget()?;
    contains(&run(&format!("$podrun logout {REGISTRY}"))?.fails_with(4)?, &["no login for 127.0.0.1:5000"])?;
    ensure!(run("$podrun logout --all")?.ok()? == "logged out of 127.0.0.1:5000/team\n", "another answer");
    pull()?.fails_with(IMAGE)?;
    registry.stop()
}

fn typed(host: &Host) -> Result<()> {
    let registry = Registry::start_with(host, &Options { users: true, ..Options::default() })?;
    let auth = host.file("auth.json");
    let line = ["login", REGISTRY, "--authfile", &auth.to_string_lossy()].map(str::to_owned);
    let start = || Terminal::start(&host.podrun_command(&line.each_ref().map(String::as_str))?);
    let mut terminal = start()?;
    let before = terminal.settings_before().to_owned();
    terminal.wait_until_shown("Username: ")?;
    terminal.types(&format!("{USER}\n"))?;
    terminal.wait_until_shown("Password: ")?;
    terminal.types(&format!("{PASSWORD}\r"))?;
    terminal.wait_until_shown("logged in to")?;
    ensure!(!terminal.shown().contains(PASSWORD), "{}", terminal.shown());
    ensure!(terminal.settings()? == before, "the terminal is another");
    ensure!(terminal.wait()? == 0, "the login failed");
    std::fs::remove_file(&auth)?;
    let mut terminal = start()?;
    terminal.types(&format!("{USER}\n"))?;
    terminal.wait_until_shown("Password: ")?;
    support::deadline::wait_for("the terminal is raw", || {
        ensure!(terminal.settings()? != before, "not yet");
        Ok(())
    })?;
    terminal.types("half\u{3}")?;
    terminal.wait_until_shown("given up")?;
    ensure!(terminal.settings()? == before, "the terminal is another");
    ensure!(terminal.wait()? == 130 && !auth.exists(), "Ctrl-C gives up");
    registry.stop()
}

fn certificates(host: &Host) -> Result<()> {
    let (authority, other) = (Authority::new(host, "ca")?, Authority::new(host, "other")?);
    let (pair, stranger) = (authority.server()?, authority.stranger()?);
    let registry = Registry::start_with(host, &Options { tls: Some(&pair), ..Options::default() })?;
    let image = registry.publish("probe", "probe", "1")?;
    let pulls = |outcome: Outcome| -> Result<String> {
        let said = outcome.stderr.clone();
        outcome.ok()?;
        host.podrun(&["rmi", &image])?.ok()?;
        Ok(said)
    };
    let pull = || host.podrun(&["pull", &image]);
    // The loopback may speak plain HTTP; this one does not, which is found out.
    let unsigned = [
        "its certificate is signed by nobody whom this host trusts",
        "/etc/containers/certs.d/127.0.0.1:5000/ca.crt",
    ];
    contains(&pull()?.fails_with(IMAGE)?, &unsigned)?;
    configure(host, &json!({ REGISTRY: { "ca": other.certificate } }))?;
    contains(&pull()?.fails_with(IMAGE)?, &unsigned)?;
    configure(host, &json!({ REGISTRY: { "ca": "/missing.crt" } }))?;
    contains(&pull()?.fails_with(IMAGE)?, &["/missing.crt: ENOENT"])?;
    configure(host, &json!({ REGISTRY: { "ca": host.write("empty.crt", "words\n")? } }))?;
    contains(&pull()?.fails_with(IMAGE)?, &["holds no certificate in PEM"])?;
    configure(host, &json!({ REGISTRY: { "ca": authority.certificate } }))?;
    let said = pulls(pull()?)?;
    ensure!(!said.contains("warning"), "{said}");
    // What is not checked is said each time, even to those who want to hear little.
    configure(host, &json!({ REGISTRY: { "skipVerify": true } }))?;
    let warning = "warning: registry 127.0.0.1:5000: its certificate is not checked";
    contains(&pulls(host.podrun(&["pull", "-q", &image])?)?, &[&format!("{warning} (skipVerify)")])?;
    configure(host, &json!({}))?;
    contains(
        &pulls(host.podrun(&["pull", "--tls-verify=false", &image])?)?,
        &[&format!("{warning} (--tls-verify=false)")],
    )?;
    // Where containers' tools and Docker look.
    for folder in ["containers", "docker"] {
        let layer = host.file(&format!("etc-{folder}"));
        let upper = layer.join("upper");
        let place = upper.join(folder).join("certs.d").join(REGISTRY);
        std::fs::create_dir_all(&place)?;
        std::fs::create_dir_all(layer.join("work"))?;
        std::fs::copy(&authority.certificate, place.join("ca.crt"))?;
        let layer = layer.display();
        let script = format!(
            "mount -t overlay overlay -o lowerdir=/etc,upperdir={layer}/upper,workdir={layer}/work /etc; exec $podrun pull {image}"
        );
        pulls(host.script(&format!("exec unshare --mount bash -euc '{script}'"))?)?;
    }
    registry.stop()?;
    let registry = Registry::start_with(host, &Options { tls: Some(&stranger), ..Options::default() })?;
    configure(host, &json!({ REGISTRY: { "ca": authority.certificate } }))?;
    contains(&pull()?.fails_with(IMAGE)?, &["its certificate is for another name: elsewhere.test"])?;
    registry.stop()?;
    // And the other way round: TLS is wanted, and there is none.
    let registry = Registry::start(host)?;
    contains(&pull()?.fails_with(IMAGE)?, &["it does not speak TLS", "{http: true}"])?;
    configure(host, &json!({}))?;
    pulls(host.podrun(&["pull", "--tls-verify=false", &image])?)?;
    registry.stop()?;
    for wrong in
        [json!({ "insecure": true }), json!({ "http": true, "skipVerify": true }), json!({ "key": "/k" })]
    {
        configure(host, &json!({ REGISTRY: wrong }))?;
        contains(&pull()?.fails_with(2)?, &["config file"])?;
    }
    Ok(())
}

fn client_certificates(host: &Host) -> Result<()> {
    let (authority, other) = (Authority::new(host, "ca")?, Authority::new(host, "other")?);
    let (server, client, foreign) = (authority.server()?, authority.client()?, other.client()?);
    let options = Options {
        tls: Some(&server),
        client_ca: Some(&authority.certificate),
        address: Some("[::1]:5000"),
        ..Options::default()
    };
    let registry = Registry::start_with(host, &options)?;
    let image = registry.publish("probe", "probe", "1")?;
    let pull = |own: &Value| -> Result<Outcome> {
        let mut settings = json!({ "ca": authority.certificate });
        for (key, value) in own.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        configure(host, &json!({ "[::1]:5000": settings }))?;
        host.podrun(&["pull", &image])
    };
    contains(
        &pull(&json!({}))?.fails_with(IMAGE)?,
        &["it wants a client's certificate", "`cert` and `key`"],
    )?;
    let pair = |pair: &support::certificates::Pair| json!({ "cert": pair.certificate, "key": pair.key });
    contains(
        &pull(&pair(&foreign))?.fails_with(IMAGE)?,
        &["registry [::1]:5000: it may not like the client's"],
    )?;
    let mixed = json!({ "cert": client.certificate, "key": foreign.key });
    contains(&pull(&mixed)?.fails_with(IMAGE)?, &["client.key"])?;
    pull(&pair(&client))?.ok()?;
    host.podrun(&["rmi", &image])?.ok()?;
    registry.stop()
}

/// A registry of tokens: port 5002 gives them.
fn token_registry(image: &Image) -> Spec {
    let bearer = Answer::status(401)
        .header("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:5002/token\",service=\"lab service\"");
    let good = image.answers[MANIFEST_PATH][0].clone();
    let mut spec = image.with(MANIFEST_PATH, vec![bearer, good]);
    let token = Answer::text("{\"access_token\":\"abc\"}", "application/json");
    spec.insert(5002, [("/token".to_owned(), vec![token])].into());
    spec
}

fn helpers_and_tokens(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let folder = host.file("programs");
    std::fs::create_dir_all(&folder)?;
    let helper = folder.join("docker-credential-lab");
    let store = host.file("store");
    // A helper that keeps one entry in a file.
    let script = format!(
        "#!/bin/sh\nread -r input\ncase $1 in\nstore) echo \"$input\" >{0} ;;\nget) cat {0} 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\nerase) rm {0} ;;\nlist) echo '{{}}' ;;\nesac\n",
        store.display()
    );
    std::fs::write(&helper, script)?;
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755))?;
    let auth = host.write("auth.json", &json!({ "credHelpers": { "127.0.0.1:5001": "lab" } }).to_string())?;
    let run = |line: &str| {
        host.script(&format!(
            "export PATH={}:$PATH REGISTRY_AUTH_FILE={}; {line}",
            folder.display(),
            auth.display()
        ))
    };
    let pull = |spec: &Spec, why: Option<&str>| -> Result<Vec<String>> {
        let rogue = Rogue::start(host, spec)?;
        let pulled = run(&format!("$podrun pull -q {NAME}"))?;
        let asked = rogue.stop()?;
        if let Some(why) = why {
            contains(&pulled.fails_with(IMAGE)?, &[why])?;
            return Ok(asked);
        }
        pulled.ok().with_context(|| asked.join("\n"))?;
        host.podrun(&["rmi", NAME])?.ok()?;
        Ok(asked)
    };
    // An empty helper is none: the token is one for everybody.
    let asked = pull(&token_registry(&image), None)?;
    ensure!(count(&asked, "authorization: basic") == 0, "{asked:#?}");
    ensure!(
        count(&asked, "scope=repository:lab/image:pull") >= 1 && count(&asked, "service=lab%20service") >= 1,
        "{asked:#?}"
    );
    // What a login gives to the helper, a pull gets from it, and a logout takes away.
    let mut spec = token_registry(&image);
    let root = spec[&5001][MANIFEST_PATH][0].clone();
    spec.get_mut(&5001)
        .context("5001")?
        .insert("/v2/".into(), vec![root, Answer::text("{}", "application/json")]);
    let rogue = Rogue::start(host, &spec)?;
    let outcome = run("$podrun login -u me -p mine 127.0.0.1:5001")?;
    let asked = rogue.stop()?;
    outcome.ok().with_context(|| asked.join("\n"))?;
    ensure!(
        count(&asked, "account=me") == 1 && count(&asked, "authorization: basic bwu6bwluzq==") == 1,
        "{asked:#?}"
    );
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&store)?)?;
    ensure!(kept == json!({ "ServerURL": "127.0.0.1:5001", "Username": "me", "Secret": "mine" }), "{kept}");
    ensure!(!std::fs::read_to_string(&auth)?.contains("auths"), "it is kept twice");
    let asked = pull(&token_registry(&image), None)?;
    ensure!(count(&asked, "authorization: basic bwu6bwluzq==") >= 1, "{asked:#?}");
    ensure!(
        run("$podrun logout 127.0.0.1:5001")?.ok()? == "logged out of 127.0.0.1:5001\n" && !store.exists(),
        "it is there"
    );
    // An identity token is changed into one for the pull.
    std::fs::write(
        &store,
        json!({ "ServerURL": "x", "Username": "<token>", "Secret": "refresh me" }).to_string(),
    )?;
    let asked = pull(&token_registry(&image), None)?;
    let form = "body: grant_type=refresh_token&service=lab%20service&scope=repository:lab/image:pull&client_id=podrun&refresh_token=refresh%20me";
    ensure!(count(&asked, form) >= 1 && count(&asked, "authorization: bearer abc") >= 3, "{asked:#?}");
    // One that is worn out, a helper that fails, one that is not there, one that is no program.
    let mut spec = token_registry(&image);
    spec.get_mut(&5002).context("5002")?.insert("/token".into(), vec![Answer::status(400)]);
    pull(&spec, Some("the credentials are refused"))?;
    std::fs::write(&helper, "#!/bin/sh\necho locked >&2\nexit 1\n")?;
    pull(&token_registry(&image), Some("docker-credential-lab get: locked"))?;
    for (name, why) in
        [("gone", "docker-credential-gone: no such program"), ("../lab", "is no program's name")]
    {
        std::fs::write(&auth, json!({ "credsStore": name }).to_string())?;
        pull(&token_registry(&image), Some(why))?;
    }
    // A registry's own token goes as it is.
    std::fs::write(
        &auth,
        json!({ "auths": { "127.0.0.1:5001/lab": { "registrytoken": "its-own" } } }).to_string(),
    )?;
    let asked = pull(&token_registry(&image), None)?;
    ensure!(count(&asked, "5002 ") == 0 && count(&asked, "authorization: bearer its-own") >= 2, "{asked:#?}");
    Ok(())
}

fn mirrors(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let mut mirrored = std::collections::BTreeMap::new();
    for (path, answers) in &image.answers {
        mirrored.insert(path.replace("/v2/", "/v2/cache/"), answers.clone());
    }
    let auth = json!({ "auths": { "127.0.0.1:5001": { "auth": "dXNlcjpzZWNyZXQ=" } } });
    let auth = host.write("auth.json", &auth.to_string())?;
    configure(host, &json!({ "127.0.0.1:5001": { "mirrors": ["127.0.0.1:5002", "127.0.0.1:5003/cache"] } }))?;
    let pull = |second: Vec<(String, Vec<Answer>)>,
                third: std::collections::BTreeMap<String, Vec<Answer>>|
     -> Result<(Vec<String>, String)> {
        let mut spec = Spec::from([(5001, image.answers.clone()), (5003, third)]);
        if !second.is_empty() {
            spec.insert(5002, second.into_iter().collect());
        }
        let rogue = Rogue::start(host, &spec)?;
        let pulled = host.script(&format!("REGISTRY_AUTH_FILE={} $podrun pull {NAME}", auth.display()))?;
        let asked = rogue.stop()?;
        let said = pulled.stderr.clone();
        pulled.ok().with_context(|| asked.join("\n"))?;
        let names = host.podrun(&["images", "-o", "json"])?.ok()?;
        ensure!(names.contains(NAME) && !names.contains("5003"), "the image has another name: {names}");
        host.podrun(&["rmi", NAME])?.ok()?;
        Ok((asked, said))
    };
    // Nobody is at the first; the second has all of it.
    let (asked, said) = pull(vec![], mirrored.clone())?;
    ensure!(count(&asked, "5001 ") == 0 && count(&asked, "5003 ") >= 3, "{asked:#?}");
    contains(
        &said,
        &["warning: mirror 127.0.0.1:5002: ", "connection refused", "going on with 127.0.0.1:5003"],
    )?;
    // The first wants credentials, and those of the registry are not for it; the second lacks the layer.
    let basic = Answer::status(401).header("WWW-Authenticate", "Basic realm=\"here\"");
    let mut lacking = mirrored.clone();
    let layer = image.layer_path().replace("/v2/", "/v2/cache/");
    lacking.remove(&layer);
    let (asked, said) = pull(vec![(MANIFEST_PATH.to_owned(), vec![basic])], lacking)?;
    ensure!(count(&asked, "authorization") == 0, "{asked:#?}");
    ensure!(count(&asked, "5001 ") == 1 && count(&asked, &image.layer_path()) == 1, "{asked:#?}");
    contains(&said, &["there are none", "not found", "going on with 127.0.0.1:5001"])?;
    // A mirror that spoils a layer is no better than one without.
    let mut spoilt = mirrored;
    let bad = host.file("bad");
    let mut bytes = std::fs::read(&image.layer_file)?;
    bytes[700] ^= 1;
    std::fs::write(&bad, bytes)?;
    spoilt.insert(layer, vec![Answer::file(bad)]);
    let (asked, said) = pull(vec![], spoilt)?;
    ensure!(count(&asked, "5001 ") == 1, "{asked:#?}");
    contains(&said, &["wrong digest"])
}

fn proxies(host: &Host) -> Result<()> {
    let image = Image::new(host)?;
    let name = |port: &str| format!("{SERVER}{port}/lab/image:1");
    let whole = |path: &str| format!("http://{SERVER}{path}");
    let through: std::collections::BTreeMap<_, _> =
        image.answers.iter().map(|(path, answers)| (whole(path), answers.clone())).collect();
    let authority = Authority::new(host, "ca")?;
    let pair = authority.server()?;
    let registry = Registry::start_with(host, &Options { tls: Some(&pair), ..Options::default() })?;
    registry.publish("probe", "probe", "1")?;
    let mut spec = Spec::from([(5002, through)]);
    let connect = Answer { tunnel: Some(5000), ..Answer::status(200) };
    spec.get_mut(&5002).context("5002")?.insert(format!("{SERVER}:443"), vec![connect]);
    spec.insert(5001, image.answers.clone());
    let rogue = Rogue::start(host, &spec)?;
    let pull = |settings: &str, name: &str| host.script(&format!("{settings} $podrun pull -q {name}"));
    configure(host, &json!({ SERVER: { "http": true } }))?;
    pull("HTTP_PROXY=http://me:mine@127.0.0.1:5002", &name(""))?.ok()?;
    host.podrun(&["rmi", &name("")])?.ok()?;
    configure(host, &json!({ SERVER: { "ca": authority.certificate } }))?;
    let probe = format!("{SERVER}/probe:1");
    pull("https_proxy=http://127.0.0.1:5002/", &probe)?.ok()?;
    host.podrun(&["rmi", &probe])?.ok()?;
    // Who is named is spoken to without one, and the loopback always is.
    let proxied = "HTTPS_PROXY=127.0.0.1:5002 HTTP_PROXY=127.0.0.1:5002";
    let said = pull(&format!("{proxied} NO_PROXY=other.test,.test"), &probe)?.fails_with(IMAGE)?;
    ensure!(!said.contains("proxy"), "{said}");
    pull(proxied, NAME)?.ok()?;
    host.podrun(&["rmi", NAME])?.ok()?;
    // A proxy that is not there, that says no, or that speaks another language.
    contains(
        &pull("HTTPS_PROXY=127.0.0.1:1", &probe)?.fails_with(IMAGE)?,
        &["through the proxy 127.0.0.1:1"],
    )?;
    contains(
        &pull("HTTPS_PROXY=127.0.0.1:5001", &probe)?.fails_with(IMAGE)?,
        &["through the proxy 127.0.0.1:5001"],
    )?;
    let said = pull("HTTPS_PROXY=socks5://me:mine@127.0.0.1:5002", &probe)?.fails_with(IMAGE)?;
    contains(&said, &["spoken to by socks5 is not supported"])?;
    ensure!(!said.contains("mine"), "{said}");
    let asked = rogue.stop()?;
    ensure!(count(&asked, "proxy-authorization: basic bwu6bwluzq==") >= 3, "{asked:#?}");
    ensure!(count(&asked, &format!("5002 CONNECT {SERVER}:443")) >= 1, "{asked:#?}");
    ensure!(
        count(&asked, "5002 GET http://127.0.0.1") == 0 && count(&asked, "5001 GET /v2/lab") >= 3,
        "{asked:#?}"
    );
    registry.stop()
}
