//! An image's config, as far as podrun honours it.
//!
//! Invariant: this is untrusted data. It chooses the program inside a container, and never a place on the host:
//! podrun reads no label, variable or path of it for itself. An image whose config exceeds a limit of
//! [`ImageConfig::check`] is refused when it arrives, and so is a record that does: any use of a config in a
//! monitor takes milliseconds.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::sys::child::arguments::STRING_MAX;

/// Variables. Dockerfiles set tens; the largest images known, with a build's whole environment, hundreds.
const ENV_MAX: usize = 4096;
/// Words of the entrypoint, and of the command. As many files can be named, and no more are by hand.
const WORDS_MAX: usize = 4096;
/// Volumes: each is a directory to make, and under a read-only root a descriptor and a mount, of which a monitor has a
/// thousand. Images have a few.
const VOLUMES_MAX: usize = 256;
/// Ports: `EXPOSE 1-65535` is stored one by one.
const PORTS_MAX: usize = 65_536;
/// Labels: builders have tens, with values of hundreds of kilobytes, which the config's own size bounds.
const LABELS_MAX: usize = 4096;
/// Steps of the build. A Dockerfile's `ENV` and `LABEL` are steps without a layer, of which there are 512.
const HISTORY_MAX: usize = 4096;
/// The bytes of a user and of a group: LOGIN_NAME_MAX.
const NAME_MAX: usize = 256;
/// The bytes of a path: PATH_MAX, less its NUL.
const PATH_MAX: usize = 4095;
/// The bytes of a word: a signal (`SIGRTMIN+15`), a port (`65535/sctp`), an architecture, a system.
const WORD_MAX: usize = 64;

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

impl ImageConfig {
    /// The config of an image, with the steps of its build. Refused beyond podrun's limits.
    pub(in crate::image) fn checked(image: &ImageConfiguration) -> Result<Self, String> {
        let this = Self::from(image);
        this.check()?;
        at_most("history", image.history().as_ref().map_or(0, Vec::len), HISTORY_MAX, "entries")?;
        Ok(this)
    }

    /// Refuses a config beyond the limits, naming the member and its limit.
    pub(in crate::image) fn check(&self) -> Result<(), String> {
        at_most("Env", self.env.len(), ENV_MAX, "entries")?;
        at_most("Entrypoint", self.entrypoint.len(), WORDS_MAX, "entries")?;
        at_most("Cmd", self.cmd.len(), WORDS_MAX, "entries")?;
        at_most("Volumes", self.volumes.len(), VOLUMES_MAX, "entries")?;
        at_most("ExposedPorts", self.exposed_ports.len(), PORTS_MAX, "entries")?;
        at_most("Labels", self.labels.len(), LABELS_MAX, "entries")?;
        let lists = [
            ("an entry of Env", &self.env, STRING_MAX),
            ("an entry of Entrypoint", &self.entrypoint, STRING_MAX),
            ("an entry of Cmd", &self.cmd, STRING_MAX),
            ("a path of Volumes", &self.volumes, PATH_MAX),
            ("an entry of ExposedPorts", &self.exposed_ports, WORD_MAX),
        ];
        for (what, texts, most) in lists {
            texts.iter().try_for_each(|text| at_most(what, text.len(), most, "bytes"))?;
        }
        let (user, group) = self.user.split_once(':').unwrap_or((&self.user, ""));
        at_most("the user of User", user.len(), NAME_MAX, "bytes")?;
        at_most("the group of User", group.len(), NAME_MAX, "bytes")?;
        at_most("WorkingDir", self.working_dir.len(), PATH_MAX, "bytes")?;
        at_most("StopSignal", self.stop_signal.as_ref().map_or(0, String::len), WORD_MAX, "bytes")?;
        at_most("architecture", self.architecture.len(), WORD_MAX, "bytes")?;
        at_most("os", self.os.len(), WORD_MAX, "bytes")
    }
}

fn at_most(what: &str, found: usize, most: usize, unit: &str) -> Result<(), String> {
    if found > most { Err(format!("{what} has {found} {unit}, and {most} are the most")) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(os: &str, config: serde_json::Value, history: usize) -> Result<ImageConfig, String> {
        let image = json!({
            "architecture": "amd64", "os": os, "config": config, "history": vec![json!({"empty_layer": true}); history],
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        ImageConfig::checked(&serde_json::from_value(image).unwrap())
    }

    fn texts(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("A{number}=")).collect()
    }

    fn set(count: usize) -> serde_json::Value {
        texts(count).into_iter().map(|text| (text, json!({}))).collect::<serde_json::Map<_, _>>().into()
    }

    #[test]
    fn what_images_have_is_taken_and_what_none_has_is_refused_by_name() {
        let labels = |count| {
            texts(count).into_iter().map(|text| (text, json!("v"))).collect::<serde_json::Map<_, _>>()
        };
        let long = |len| "x".repeat(len);
        let user = |user, group| format!("{}:{}", long(user), long(group));
        let path = |len| json!({ long(len): {} });
        for (name, most, more) in [
            ("Env", json!(texts(4096)), json!(texts(4097))),
            ("Env", json!([long(131_071)]), json!([long(131_072)])),
            ("Entrypoint", json!(texts(4096)), json!(texts(4097))),
            ("Entrypoint", json!([long(131_071)]), json!([long(131_072)])),
            ("Cmd", json!(texts(4096)), json!(texts(4097))),
            ("Cmd", json!([long(131_071)]), json!([long(131_072)])),
            ("Volumes", set(256), set(257)),
            ("Volumes", path(4095), path(4096)),
            ("ExposedPorts", set(65_536), set(65_537)),
            ("ExposedPorts", path(64), path(65)),
            ("Labels", json!(labels(4096)), json!(labels(4097))),
            ("User", json!(user(256, 256)), json!(user(257, 1))),
            ("User", json!(user(1, 256)), json!(user(1, 257))),
            ("WorkingDir", json!(long(4095)), json!(long(4096))),
            ("StopSignal", json!(long(64)), json!(long(65))),
        ] {
            read("linux", json!({ name: most }), 0).unwrap_or_else(|error| panic!("{name}: {error}"));
            let error = read("linux", json!({ name: more }), 0).unwrap_err();
            assert!(error.contains(name) && error.contains("are the most"), "{name}: {error}");
        }
        read("linux", json!({ "Labels": {"metadata": long(3 << 20)} }), 4096).unwrap();
        assert!(read("linux", json!({}), 4097).unwrap_err().starts_with("history has 4097 entries"));
        assert!(read(&long(65), json!({}), 0).unwrap_err().starts_with("os has 65 bytes"));
    }
}
