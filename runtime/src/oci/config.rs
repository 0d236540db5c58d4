//! `config.json`: read once from the bundle, and from then on from the container's own copy.
//!
//! Invariant: a version that is not 1.x is refused before anything is made (config.md, "Specification
//! version"); unknown properties are ignored, as spec.md's "Extensibility" wants it.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use super::Container;
use super::schema::{self, Read};
use super::store::RECORD_MAX;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::file::own;

/// A bundle's config.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) spec: Spec,
    /// The text to keep, for [`kept`].
    pub(super) bytes: Vec<u8>,
    /// Warnings about parts that were left out.
    pub(super) warnings: Vec<String>,
}

/// Reads the bundle's config.
pub(super) fn load(bundle: &Path) -> Result<Config> {
    let path = bundle.join("config.json");
    let bytes = own::read(&path, RECORD_MAX).context(|| format!("open({path:?})"))?;
    let context = || path.display().to_string();
    let Read { value: spec, warnings, document } = schema::spec(&bytes).context(context)?;
    check_version(spec.version()).context(context)?;
    let bytes = serde_json::to_vec(&document).map_err(|error| usage(error.to_string())).context(context)?;
    Ok(Config { spec, bytes, warnings })
}

/// Reads the copy that create has kept, in which all is mended already.
pub(super) fn kept(container: &Container) -> Result<Spec> {
    let path = container.file("config.json");
    let bytes = own::read(&path, RECORD_MAX).context(|| format!("open({path:?})"))?;
    let spec = serde_json::from_slice(&bytes).map_err(|error| usage(error.to_string()));
    spec.context(|| path.display().to_string())
}

/// `linux.namespaces`.
pub(super) fn namespaces(spec: &Spec) -> &[LinuxNamespace] {
    spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default()
}

/// Whether the container has a namespace of this kind that is new, not joined.
pub(super) fn has_own(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    namespaces(spec).iter().any(|one| one.typ() == kind && one.path().is_none())
}

fn usage(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

fn check_version(version: &str) -> Result<()> {
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.');
    let (major, minor, patch) = (parts.next(), parts.next(), parts.next());
    if !(number(major) && number(minor) && number(patch) && parts.next().is_none()) {
        return Err(usage(format!("ociVersion: `{version}` is no version")));
    }
    if major != Some("1") {
        return Err(usage(format!("ociVersion: `{version}`: podrun implements version 1")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic_and_of_the_first() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.2.0+x"] {
            check_version(good).unwrap();
        }
        for bad in ["", "invalid", "1.0", "1.0.0.0", "0.9.0", "2.0.0", "1.x.0"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }
}
