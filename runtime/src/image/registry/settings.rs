//! How registries are reached: their settings in the config file, the folders of certificates, proxies, credentials.
//!
//! Invariant: a setting applies to the registry of its name and to no other; settings come from the caller,
//! never from the environment of this process.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::credentials::Credentials;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::model::reference::check_domain;

/// The registry that a name without one means, and where it answers.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How to speak to one registry, as the config file's section `registries` gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RegistrySettings {
    /// Asked before the registry itself when pulling, in this order: `host[:port][/path]`.
    pub mirrors: Vec<String>,
    /// Plain HTTP, without TLS.
    pub http: bool,
    /// A file of certificates that may sign the registry's, beside the system's.
    pub ca: Option<PathBuf>,
    /// The certificate that the client shows, with its chain.
    pub cert: Option<PathBuf>,
    /// The key of `cert`.
    pub key: Option<PathBuf>,
    /// TLS without a look at the registry's certificate.
    pub skip_verify: bool,
}

impl RegistrySettings {
    /// Refuses settings that contradict each other, or name nothing.
    pub fn check(&self, name: &str) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Usage, format!("registries: {name:?}: {what}")));
        if check_domain(name).is_err() {
            return wrong("is not a host with an optional port".into());
        }
        if self.cert.is_some() != self.key.is_some() {
            return wrong("cert and key belong together".into());
        }
        if self.http && (self.ca.is_some() || self.cert.is_some() || self.skip_verify) {
            return wrong("http: true leaves no use for ca, cert, key and skipVerify".into());
        }
        match self.mirrors.iter().find(|mirror| split_mirror(mirror).is_none()) {
            Some(mirror) => wrong(format!("the mirror {mirror:?} is not host[:port][/path]")),
            None => Ok(()),
        }
    }
}

/// The proxies between this host and registries, in the form of the usual variables.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The URL of the proxy for `http` (HTTP_PROXY).
    pub http: String,
    /// The URL of the proxy for `https` (HTTPS_PROXY).
    pub https: String,
    /// Hosts, domains and networks that are spoken to without one (NO_PROXY).
    pub except: String,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A proxy's URL may hold a password.
        f.debug_struct("Proxies").field("except", &self.except).finish_non_exhaustive()
    }
}

/// All that a pull, a push or a login has to know about registries.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The config file's section `registries`, by `host` or `host:port`.
    pub registries: BTreeMap<String, RegistrySettings>,
    /// Folders with a folder `host[:port]` for each registry: `*.crt` may sign its certificate, `*.cert` with `*.key` is
    /// the client's. The first that has one counts.
    pub certificate_folders: Vec<PathBuf>,
    /// The proxies.
    pub proxies: Proxies,
    /// Files that may hold credentials, in Docker's form; the first match counts.
    pub auth_files: Vec<PathBuf>,
    /// Credentials given with the call, before any file. They are for the registry named, not for its mirrors.
    pub credentials: Option<Credentials>,
    /// Neither TLS nor its certificates are insisted on (`--tls-verify=false`).
    pub skip_verify: bool,
}

/// The TLS settings of one registry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub(super) cas: Vec<PathBuf>,
    pub(super) clients: Vec<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    pub(super) fn is_empty(&self) -> bool {
        self.cas.is_empty() && self.clients.is_empty()
    }
}

impl Access {
    /// The settings of the registry that answers at `authority`.
    pub(super) fn settings(&self, authority: &str) -> RegistrySettings {
        let host = host_of(authority);
        let found = names(authority).chain([host]).find_map(|name| self.registries.get(name));
        found.cloned().unwrap_or_default()
    }

    /// The files for TLS with `authority`, from its settings and from its folder.
    pub(super) fn tls_files(&self, authority: &str) -> Result<TlsFiles> {
        let settings = self.settings(authority);
        let mut files = TlsFiles { cas: settings.ca.into_iter().collect(), clients: Vec::new() };
        files.clients.extend(settings.cert.zip(settings.key));
        for folder in &self.certificate_folders {
            if let Some(folder) = names(authority).map(|name| folder.join(name)).find(|path| path.is_dir()) {
                read_folder(&folder, &mut files)?;
                break;
            }
        }
        Ok(files)
    }
}

fn read_folder(folder: &Path, files: &mut TlsFiles) -> Result<()> {
    let entries = std::fs::read_dir(folder).context(|| format!("read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let partner = |extension: &str| -> Result<PathBuf> {
            let partner = path.with_extension(extension);
            if partner.exists() {
                return Ok(partner);
            }
            let message = format!("{}: {} is missing beside it", path.display(), partner.display());
            Err(Error::new(ErrorKind::Image, message))
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => files.cas.push(path),
            Some("cert") => files.clients.push((path.clone(), partner("key")?)),
            Some("key") => drop(partner("cert")?),
            _ => {}
        }
    }
    Ok(())
}

/// Where the registry `domain` of a reference answers.
pub(super) fn authority_of(domain: &str) -> &str {
    if domain == HUB.0 { HUB.1 } else { domain }
}

/// The names of the registry at `authority`: its own, and those in references.
fn names(authority: &str) -> impl Iterator<Item = &str> {
    [authority].into_iter().chain((authority == HUB.1).then_some(HUB.0))
}

/// `authority` without its port; an IPv6 address keeps its brackets.
pub(super) fn host_of(authority: &str) -> &str {
    match authority.rfind(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Whether `authority` is this machine: there, plain HTTP exposes nothing.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = host_of(authority).trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

/// A mirror's host and the path in front of its repositories.
pub(super) fn split_mirror(mirror: &str) -> Option<(&str, &str)> {
    let (authority, path) = mirror.split_once('/').unwrap_or((mirror, ""));
    let path = path.trim_end_matches('/');
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let is_part = |part: &str| !part.is_empty() && part != ".." && part != "." && part.chars().all(fine);
    (check_domain(authority).is_ok() && (path.is_empty() || path.split('/').all(is_part)))
        .then_some((authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_needs_no_saying_on_the_loopback_alone() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:80", "[::1]"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in
            ["localhost.example", "127.0.0.1.example", "10.0.0.1:5000", "[::2]", "example:80", "1270.0.0.1"]
        {
            assert!(!is_loopback(no), "{no}");
        }
    }

    #[test]
    fn settings_are_found_by_name_with_and_without_the_port() {
        let plain = RegistrySettings { http: true, ..RegistrySettings::default() };
        let mut access = Access::default();
        for name in ["plain.example", "one.example:5000", "docker.io", "[2001:db8::1]"] {
            access.registries.insert(name.into(), plain.clone());
        }
        for (authority, known) in [
            ("plain.example", true),
            ("plain.example:80", true),
            ("one.example:5000", true),
            ("one.example", false),
            ("sub.plain.example", false),
            ("registry-1.docker.io", true),
            ("[2001:db8::1]:5000", true),
            ("[2001:db8::2]:5000", false),
        ] {
            assert_eq!(access.settings(authority).http, known, "{authority}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let check = |text: &str| serde_saphyr::from_str::<RegistrySettings>(text).unwrap().check("r.example");
        assert!(check("mirrors: ['a.example:5000', 'b.example/docker/io', '[::1]:5000']").is_ok());
        assert!(check("{cert: /c, key: /k, ca: /a}").is_ok());
        for wrong in [
            "cert: /c",
            "key: /k",
            "{http: true, ca: /a}",
            "{http: true, skipVerify: true}",
            "mirrors: ['']",
            "mirrors: ['https://a.example']",
            "mirrors: ['a.example/../b']",
            "mirrors: ['user@a.example']",
        ] {
            assert_eq!(check(wrong).unwrap_err().kind(), ErrorKind::Usage, "{wrong}");
        }
        assert!(RegistrySettings::default().check("https://r.example").is_err());
    }

    #[test]
    fn the_first_folder_that_knows_a_registry_counts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| dir.path().join(name);
        for (path, files) in [
            ("one/a.example:5000", ["ca.crt", "client.cert", "client.key"].as_slice()),
            ("two/a.example:5000", &["x.crt"]),
            ("two/b.example", &["client.cert"]),
        ] {
            std::fs::create_dir_all(folder(path)).unwrap();
            files.iter().for_each(|file| std::fs::write(folder(path).join(file), "").unwrap());
        }
        let access = Access {
            certificate_folders: vec![folder("none"), folder("one"), folder("two")],
            ..Access::default()
        };
        let files = access.tls_files("a.example:5000").unwrap();
        let own = folder("one/a.example:5000");
        assert_eq!(files.cas, [own.join("ca.crt")]);
        assert_eq!(files.clients, [(own.join("client.cert"), own.join("client.key"))]);
        assert!(access.tls_files("a.example").unwrap().is_empty());
        assert!(access.tls_files("b.example").unwrap_err().message().contains("client.key is missing"));
    }
}
