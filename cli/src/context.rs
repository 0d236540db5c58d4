//! The context of a verb: the global options, over the environment and the config file.
//!
//! Invariant: a verb is given this and its own arguments; no verb is known here.

use std::path::PathBuf;

use clap::{ArgMatches, FromArgMatches as _};
use runtime::host::Host;
use runtime::manifest::{DEFAULT_NAMESPACE, names};
use runtime::{Error, ErrorKind, Result};

use crate::config::{self, Config, Overrides};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The pods' Kubernetes namespace (not a Linux namespace)
    #[arg(short, long, global = true, value_name = "NAME", env = "PODRUN_NAMESPACE", hide_env = true)]
    namespace: Option<String>,
    /// The config file [default: /etc/podrun/config.yaml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "PODRUN_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    /// Where images, snapshots and pod records live [default: /var/lib/podrun]
    #[arg(long, global = true, value_name = "DIR", env = "PODRUN_ROOT", hide_env = true)]
    root: Option<PathBuf>,
    /// Where sockets and locks live, on a tmpfs [default: /run/podrun]
    #[arg(long, global = true, value_name = "DIR", env = "PODRUN_STATE_DIR", hide_env = true)]
    state_dir: Option<PathBuf>,
    /// Where the containers' logs go [default: /var/log/pods]
    #[arg(long, global = true, value_name = "DIR", env = "PODRUN_LOG_DIR", hide_env = true)]
    log_dir: Option<PathBuf>,
    /// The cgroup below which each pod gets its own [default: /podrun]
    #[arg(long, global = true, value_name = "PATH", env = "PODRUN_CGROUP_PARENT", hide_env = true)]
    cgroup_parent: Option<String>,
}

/// A verb's context: where it works.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where podrun's state is.
    pub(crate) host: Host,
    /// The config file's other settings.
    pub(crate) config: Config,
    /// The value of `-n`, if given: verbs that read a manifest must find the same there.
    pub(crate) given_namespace: Option<String>,
}

impl Context {
    /// The values of the command line, over the environment, over the config file.
    pub(crate) fn of(matches: &ArgMatches) -> Result<Self> {
        let globals = Globals::from_arg_matches(matches)
            .map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))?;
        Self::load(globals)
    }

    /// The global options, over the config file.
    pub(crate) fn load(globals: Globals) -> Result<Self> {
        let given_namespace = namespace(globals.namespace)?;
        let (host, config) = config::load(Overrides {
            config: globals.config,
            root: globals.root,
            state_dir: globals.state_dir,
            log_dir: globals.log_dir,
            cgroup_parent: globals.cgroup_parent,
        })?;
        Ok(Self { host, config, given_namespace })
    }

    /// The namespace that the verb looks in.
    pub(crate) fn namespace(&self) -> &str {
        self.given_namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }
}

/// The namespace that is given: a name as Kubernetes wants it, and no other word ever becomes a path.
fn namespace(given: Option<String>) -> Result<Option<String>> {
    // To kubectl an empty one is none.
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(None) };
    match names::dns_label(&given) {
        Ok(()) => Ok(Some(given)),
        Err(why) => Err(Error::new(ErrorKind::Usage, format!("--namespace: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_label_or_none() {
        assert_eq!(namespace(Some(String::new())).unwrap(), None);
        assert_eq!(namespace(Some("blue".into())).unwrap().as_deref(), Some("blue"));
        for bad in ["../x", "Blue", "a/b", "."] {
            assert_eq!(namespace(Some(bad.into())).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }
}
