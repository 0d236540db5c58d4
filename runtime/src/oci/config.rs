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
use crate::sys::own;

/// A config with its bytes.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) spec: Spec,
    pub(super) bytes: Vec<u8>,
    /// What was left out of it.
    pub(super) warnings: Vec<String>,
}

/// Reads the bundle's config.
pub(super) fn load(bundle: &Path) -> Result<Config> {
    let path = bundle.join("config.json");
    let bytes = own::read(&path, RECORD_MAX).context(|| format!("open({path:?})"))?;
    let Read { value: spec, warnings } = parse(&bytes).context(|| path.display().to_string())?;
    Ok(Config { spec, bytes, warnings })
}

/// Reads the copy that create has kept.
pub(super) fn kept(container: &Container) -> Result<Spec> {
    let path = container.file("config.json");
    let bytes = own::read(&path, RECORD_MAX).context(|| format!("open({path:?})"))?;
    // What was left out was told by create.
    Ok(parse(&bytes).context(|| path.display().to_string())?.value)
}

/// `linux.namespaces`.
pub(super) fn namespaces(spec: &Spec) -> &[LinuxNamespace] {
    spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default()
}

/// Whether the container has a namespace of this kind that is new, not joined.
pub(super) fn has_own(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    namespaces(spec).iter().any(|one| one.typ() == kind && one.path().is_none())
}

fn parse(bytes: &[u8]) -> Result<Read<Spec>> {
    let wrong = |message: String| Error::new(ErrorKind::Usage, message);
    let read = schema::spec(bytes)?;
    let version = read.value.version();
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.');
    let (major, minor, patch) = (parts.next(), parts.next(), parts.next());
    if !(number(major) && number(minor) && number(patch) && parts.next().is_none()) {
        return Err(wrong(format!("ociVersion: `{version}` is no version")));
    }
    if major != Some("1") {
        return Err(wrong(format!("ociVersion: `{version}`: podrun implements version 1")));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic_and_of_the_first() {
        let parsed = |version: &str| parse(format!(r#"{{"ociVersion":"{version}","x":1}}"#).as_bytes());
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.2.0+x"] {
            parsed(good).unwrap();
        }
        for bad in ["", "invalid", "1.0", "1.0.0.0", "0.9.0", "2.0.0", "1.x.0"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
