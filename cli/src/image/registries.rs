//! The way from verbs to registries: the config file's settings, certificates, proxies, and the caller's
//! logins.
//!
//! Invariant: the environment is read here and nowhere below.

use std::path::PathBuf;

use clap::ArgAction;
use runtime::image::{Access, Credentials, Proxies, Reference};
use runtime::{Error, ErrorKind, Result};

use crate::config::Config;
use crate::context::Context;

/// The folders in which containers' tools and Docker keep a folder of certificates for each registry.
const CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// The registry options of `pull`, `push` and the like.
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryArgs {
    /// User name and password for the registry. Others on this host can see them: `podrun login` keeps them unseen
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<String>,
    /// The file that holds logins, in place of those that podman and Docker keep
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    authfile: Option<PathBuf>,
    /// false: do not check the registry's certificate, and take plain HTTP where there is no TLS
    #[arg(long, value_name = "true|false", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    tls_verify: bool,
}

impl RegistryArgs {
    /// The config file and the caller's environment, and these flags above them.
    pub(crate) fn access(&self, context: &Context) -> Result<Access> {
        let mut access = access(&context.config);
        access.skip_verify = !self.tls_verify;
        if let Some(file) = &self.authfile {
            access.auth_files = vec![existing(file)?];
        }
        if let Some(creds) = &self.creds {
            let (user, password) = creds.split_once(':').ok_or_else(|| {
                Error::new(ErrorKind::Usage, "--creds: is not USER:PASSWORD")
                    .hint("`podrun login` asks for a password that is not shown")
            })?;
            access.credentials = Some(Credentials::password(user, password)?);
        }
        Ok(access)
    }
}

/// The repository that `text` names for `--all-tags`: one with a tag means something else.
pub(crate) fn repository(verb: &str, text: &str) -> Result<Reference> {
    let reference: Reference = text.parse()?;
    if text.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
        let error = Error::new(ErrorKind::Usage, format!("--all-tags: {text:?} has a tag or a digest"));
        return Err(error.hint(format!("podrun {verb} --all-tags {}", reference.familiar_repository())));
    }
    Ok(reference)
}

/// A file that is named and is not there is a mistake, and no empty one.
fn existing(file: &PathBuf) -> Result<PathBuf> {
    match std::fs::metadata(file) {
        Ok(_) => Ok(file.clone()),
        Err(error) => Err(Error::from(error).context(file.display()).with_kind(ErrorKind::Usage)),
    }
}

/// The config file and the caller's environment.
pub(crate) fn access(config: &Config) -> Access {
    // Of a variable in both cases curl's order counts.
    let proxy = |lower: &str, upper: &str| {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        set(lower).or_else(|| set(upper)).unwrap_or_default()
    };
    Access {
        registries: config.registries.clone(),
        certificate_folders: CERTIFICATES.map(PathBuf::from).to_vec(),
        proxies: Proxies {
            http: proxy("http_proxy", "HTTP_PROXY"),
            https: proxy("https_proxy", "HTTPS_PROXY"),
            except: proxy("no_proxy", "NO_PROXY"),
        },
        auth_files: auth_files(),
        ..Access::default()
    }
}

fn path_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where `podrun login` writes: where podman does.
pub(crate) fn login_file() -> PathBuf {
    path_in("REGISTRY_AUTH_FILE")
        .or_else(|| path_in("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")))
        .unwrap_or_else(|| "/run/containers/0/auth.json".into())
}

/// Where podman's and docker's logins are kept, in the order in which podman looks.
pub(crate) fn auth_files() -> Vec<PathBuf> {
    if let Some(file) = path_in("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = path_in("HOME");
    let under_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let docker = path_in("DOCKER_CONFIG").map(|dir| dir.join("config.json"));
    [
        path_in("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
        Some("/run/containers/0/auth.json".into()),
        path_in("XDG_CONFIG_HOME")
            .map(|dir| dir.join("containers/auth.json"))
            .or_else(|| under_home(".config/containers/auth.json")),
        docker.or_else(|| under_home(".docker/config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
