//! What an image says about how to run it, as far as podrun honours it.
//!
//! Invariant: this is data of a stranger. It chooses what runs inside a container and never where
//! anything of the host's lies: no label, variable or path of it is read by podrun for itself.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

/// The execution parameters of an image's config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageConfig {
    /// The program and its first arguments; a manifest's `command` replaces it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The arguments; a manifest's `args` replaces them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// `NAME=value` entries, before the manifest's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty: root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The working directory; empty: `/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// The signal that asks the program to end, as the image writes it: `SIGQUIT`, `QUIT` or `3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Directories that the image wants to be volumes, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Ports the image says it listens on (`80/tcp`), sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// The image's labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The architecture the image was built for, as Go names it: `amd64`.
    pub architecture: String,
    /// The operating system: `linux`.
    pub os: String,
}

impl From<&ImageConfiguration> for ImageConfig {
    fn from(image: &ImageConfiguration) -> Self {
        let sorted = |list: &Option<Vec<String>>| {
            let mut list = list.clone().unwrap_or_default();
            list.sort();
            list
        };
        let mut this = Self {
            architecture: image.architecture().to_string(),
            os: image.os().to_string(),
            ..Self::default()
        };
        if let Some(config) = image.config() {
            this.entrypoint = config.entrypoint().clone().unwrap_or_default();
            this.cmd = config.cmd().clone().unwrap_or_default();
            this.env = config.env().clone().unwrap_or_default();
            this.user = config.user().clone().unwrap_or_default();
            this.working_dir = config.working_dir().clone().unwrap_or_default();
            this.stop_signal = config.stop_signal().clone().filter(|signal| !signal.is_empty());
            this.volumes = sorted(config.volumes());
            this.exposed_ports = sorted(config.exposed_ports());
            this.labels = config.labels().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        }
        this
    }
}
