//! Where podrun's settings come from: flags above `PODRUN_*` variables above the config file above
//! the defaults.
//!
//! Invariant: a named config file that is missing, or has an unknown key, is an error and never half a
//! configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use runtime::host::{Host, NetworkConfig};
use runtime::image::RegistrySettings;
use runtime::{Error, ErrorKind, Result};
use serde::Deserialize;

/// The config file that is read when none is named.
const DEFAULT_PATH: &str = "/etc/podrun/config.yaml";

/// The config file: a host's settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Config {
    /// As `--root`.
    pub(crate) root: Option<PathBuf>,
    /// As `--state-dir`.
    pub(crate) state_dir: Option<PathBuf>,
    /// As `--log-dir`.
    pub(crate) log_dir: Option<PathBuf>,
    /// As `--cgroup-parent`.
    pub(crate) cgroup_parent: Option<String>,
    /// The bridge network.
    pub(crate) network: NetworkConfig,
    /// How to speak to registries, by `host` or `host:port`.
    pub(crate) registries: BTreeMap<String, RegistrySettings>,
}

/// The host's settings on the command line and in the environment.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) config: Option<PathBuf>,
    pub(crate) root: Option<PathBuf>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) log_dir: Option<PathBuf>,
    pub(crate) cgroup_parent: Option<String>,
}

/// Reads the config file and puts `overrides` above it.
pub(crate) fn load(overrides: Overrides) -> Result<(Host, Config)> {
    let config = match &overrides.config {
        Some(path) => read(path)?.ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("config file {}: no such file", path.display()))
        })?,
        None => read(Path::new(DEFAULT_PATH))?.unwrap_or_default(),
    };
    let host = resolve(overrides, &config)?;
    Ok((host, config))
}

fn resolve(overrides: Overrides, config: &Config) -> Result<Host> {
    let defaults = Host::default();
    let dir = |name: &str, flag: Option<PathBuf>, file: &Option<PathBuf>, default: PathBuf| {
        let given = flag.or_else(|| file.clone()).unwrap_or(default);
        // An empty path is the only one that is none.
        std::path::absolute(given)
            .map_err(|_| Error::new(ErrorKind::Usage, format!("{name}: a directory is wanted")))
    };
    let parent = overrides.cgroup_parent.or_else(|| config.cgroup_parent.clone());
    Ok(Host {
        root: dir("root", overrides.root, &config.root, defaults.root)?,
        state_dir: dir("stateDir", overrides.state_dir, &config.state_dir, defaults.state_dir)?,
        log_dir: dir("logDir", overrides.log_dir, &config.log_dir, defaults.log_dir)?,
        cgroup_parent: match parent {
            Some(parent) => cgroup_parent(&parent)?,
            None => defaults.cgroup_parent,
        },
        network: config.network.clone(),
    })
}

/// A cgroup path as `Host` wants it: absolute, no empty, `.` or `..` component.
fn cgroup_parent(given: &str) -> Result<String> {
    let mut path = String::new();
    for component in given.split('/').filter(|component| !component.is_empty()) {
        if component == "." || component == ".." {
            return Err(Error::new(ErrorKind::Usage, format!("cgroup parent {given:?}: no . or .. allowed")));
        }
        path.push('/');
        path.push_str(component);
    }
    if path.is_empty() {
        return Err(Error::new(ErrorKind::Usage, format!("cgroup parent {given:?}: names no cgroup")));
    }
    Ok(path)
}

fn read(path: &Path) -> Result<Option<Config>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::from(error).context(format_args!("config file {}", path.display())));
        }
    };
    if text.trim().is_empty() {
        return Ok(Some(Config::default()));
    }
    let config: Config = serde_saphyr::from_str(&text).map_err(|error| refused(path, &text, &error))?;
    let registries = config.registries.iter().try_for_each(|(name, registry)| registry.check(name));
    registries.and_then(|()| runtime::net::check(&config.network)).map_err(|error| {
        error.context(format_args!("config file {}", path.display())).hint("docs/cli.md lists the settings")
    })?;
    Ok(Some(config))
}

/// The error about the file, in the form of manifests' errors: position, reason, the line itself.
fn refused(path: &Path, text: &str, error: &serde_saphyr::Error) -> Error {
    let plain = error.without_snippet().to_string();
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let reason = plain.split(" at line ").next().unwrap_or(&plain);
    let mut message = format!("config file {}:{line}:{column}: {reason}", path.display());
    let line = usize::try_from(line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
    if let (Some(line), Ok(column)) = (line, usize::try_from(column)) {
        let _ = write!(message, "\n{line}\n{:>column$}", '^');
    }
    Error::new(ErrorKind::Usage, message).hint("docs/cli.md lists the settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_above_the_file_above_the_defaults() {
        let config: Config =
            serde_saphyr::from_str("root: /file/root\nlogDir: /file/log\nnetwork: {bridge: br9}\n").unwrap();
        let overrides = Overrides { root: Some("/flag/root".into()), ..Overrides::default() };
        let host = resolve(overrides, &config).unwrap();
        assert_eq!(host.root, Path::new("/flag/root"));
        assert_eq!(host.log_dir, Path::new("/file/log"));
        assert_eq!(host.state_dir, Path::new("/run/podrun"));
        assert_eq!(host.network.bridge, "br9");
        assert_eq!(host.network.subnet, NetworkConfig::default().subnet);
    }

    #[test]
    fn an_empty_directory_is_refused_by_its_name() {
        let config: Config = serde_saphyr::from_str("logDir: ''\n").unwrap();
        let error = resolve(Overrides::default(), &config).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Usage, "logDir: a directory is wanted"));
    }

    #[test]
    fn the_file_of_the_documentation_is_the_defaults() {
        let page = include_str!("../../docs/cli.md");
        let (_, after) = page.split_once("```yaml\n").unwrap();
        let (file, _) = after.split_once("```").unwrap();
        let config: Config = serde_saphyr::from_str(file).unwrap();
        assert_eq!(resolve(Overrides::default(), &config).unwrap(), Host::default());
        assert!(config.registries["registry.lan:5000"].http);
        for (name, registry) in &config.registries {
            registry.check(name).unwrap();
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_saphyr::from_str::<Config>("rot: /x\n").is_err());
        assert!(serde_saphyr::from_str::<Config>("network: {brigde: x}\n").is_err());
    }

    #[test]
    fn cgroup_parents_are_made_absolute_and_never_climb() {
        assert_eq!(cgroup_parent("a//b/").unwrap(), "/a/b");
        assert!(cgroup_parent("/a/../b").is_err());
        assert!(cgroup_parent("/").is_err());
    }
}
