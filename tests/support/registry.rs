//! A registry on the test host's loopback: Debian's docker-registry, unpacked by `make fixtures`, with
//! images put straight into its storage.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::certificates::Pair;
use crate::deadline::wait_for;
use crate::fixtures;
use crate::host::Host;
use crate::run::Running;

/// The user of a registry with [`Options::users`].
pub const USER: &str = "ali";
/// That user's password.
pub const PASSWORD: &str = "open sesame";
/// Both as the registry reads them: bcrypt of the password.
const USERS: &str = "ali:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";

/// What a registry wants of those who ask.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// TLS with this certificate.
    pub tls: Option<&'a Pair>,
    /// TLS with a client's certificate that this file's authority has signed.
    pub client_ca: Option<&'a Path>,
    /// [`USER`] with [`PASSWORD`], and nobody else.
    pub users: bool,
    /// Where it listens, if not on port 5000 of 127.0.0.1.
    pub address: Option<&'a str>,
    /// What it takes for its own URL, if not what it is asked under.
    pub url: Option<&'a str>,
}

/// A registry that runs on `127.0.0.1:5000` of a host, until the host goes.
#[derive(Debug)]
pub struct Registry {
    storage: PathBuf,
    running: Running,
    address: String,
}

impl Registry {
    /// Starts a registry for everybody and waits until it listens.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_with(host, &Options::default())
    }

    /// Starts a registry and waits until it listens.
    pub fn start_with(host: &Host, options: &Options<'_>) -> Result<Self> {
        let program =
            fixtures::tool("docker-registry").context("no docker-registry: `make test` unpacks it")?;
        let address = options.address.unwrap_or("127.0.0.1:5000");
        let (_, port) = address.rsplit_once(':').context("an address has a port")?;
        let storage = host.file(&format!("registry-{port}"));
        std::fs::create_dir_all(&storage)?;
        let users = host.write("users", USERS)?;
        let tls = options.tls.map(|pair| {
            let mut tls = json!({ "certificate": pair.certificate, "key": pair.key });
            if let Some(ca) = options.client_ca {
                tls["clientcas"] = json!([ca]);
            }
            tls
        });
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "warn" },
            "storage": { "filesystem": { "rootdirectory": storage }, "delete": { "enabled": true } },
            "http": { "addr": address, "secret": "of this test" },
        });
        if let Some(tls) = tls {
            config["http"]["tls"] = tls;
        }
        if let Some(url) = options.url {
            config["http"]["host"] = json!(url);
        }
        if options.users {
            config["auth"] = json!({ "htpasswd": { "realm": "test", "path": users } });
        }
        let config = host.write(&format!("registry-{port}.yaml"), &config.to_string())?;
        let command = host.command(&program, &["serve", &config.to_string_lossy()]);
        let mut running = Running::start(command, "docker-registry serve".into(), None)?;
        wait_for("docker-registry listens", || {
            ensure!(running.is_running()?, "it ended");
            let listening = host.run("ss", &["-Hltn", &format!("sport = {port}")])?.ok()?;
            ensure!(!listening.is_empty(), "not yet");
            Ok(())
        })?;
        Ok(Self { storage, running, address: address.to_owned() })
    }

    /// Publishes the fixture `image` as `<address>/<repository>:<tag>` and gives that name.
    pub fn publish(&self, image: &str, repository: &str, tag: &str) -> Result<String> {
        let layout = fixtures::path(image)?;
        let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
        let digest = index["manifests"][0]["digest"].as_str().context("an index has manifests")?;
        self.store_manifest(&layout, repository, digest)?;
        let tags = self.repository(repository).join("_manifests/tags").join(tag);
        link(&tags.join("current/link"), digest)?;
        link(&tags.join("index").join(digest.replace(':', "/")).join("link"), digest)?;
        Ok(format!("{}/{repository}:{tag}", self.address))
    }

    /// Makes a tag name a manifest that the registry does not have.
    pub fn spoil_tag(&self, repository: &str, tag: &str) -> Result<()> {
        let nothing = format!("sha256:{}", "0".repeat(64));
        link(&self.repository(repository).join("_manifests/tags").join(tag).join("current/link"), &nothing)
    }

    /// Where a blob lies in the registry, for tests that spoil it.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// Ends it.
    pub fn stop(self) -> Result<()> {
        self.running.signal(nix::sys::signal::SIGTERM)?;
        self.running.wait()?;
        Ok(())
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.storage.join("docker/registry/v2/repositories").join(name)
    }

    /// Stores a manifest or an index, with everything that it names.
    fn store_manifest(&self, layout: &Path, repository: &str, digest: &str) -> Result<()> {
        let bytes = self.store_blob(layout, digest)?;
        let revisions = self.repository(repository).join("_manifests/revisions");
        link(&revisions.join(digest.replace(':', "/")).join("link"), digest)?;
        let manifest: Value = serde_json::from_slice(&bytes)?;
        for below in manifest["manifests"].as_array().into_iter().flatten() {
            self.store_manifest(layout, repository, below["digest"].as_str().context("digest")?)?;
        }
        let layers = manifest["layers"].as_array().into_iter().flatten();
        for blob in layers.chain(manifest.get("config")) {
            let digest = blob["digest"].as_str().context("digest")?;
            self.store_blob(layout, digest)?;
            let layers = self.repository(repository).join("_layers");
            link(&layers.join(digest.replace(':', "/")).join("link"), digest)?;
        }
        Ok(())
    }

    fn store_blob(&self, layout: &Path, digest: &str) -> Result<Vec<u8>> {
        let bytes = std::fs::read(layout.join("blobs").join(digest.replace(':', "/")))?;
        let path = self.blob(digest);
        std::fs::create_dir_all(path.parent().context("a blob has a folder")?)?;
        std::fs::write(path, &bytes)?;
        Ok(bytes)
    }
}

fn link(path: &Path, digest: &str) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("a link has a folder")?)?;
    std::fs::write(path, digest)?;
    Ok(())
}
