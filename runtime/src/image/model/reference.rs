//! Image references: the grammar of Docker and OCI, with the defaults people rely on.
//!
//! ```text
//! reference = [domain "/"] path [":" tag] ["@" digest]
//! ```
//!
//! Invariant: a [`Reference`] is normalised when it is made (`busybox` becomes
//! `docker.io/library/busybox:latest`), printing and parsing it again gives the same value, and none
//! of its parts can leave the place in a URL where it stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::Digest;
use crate::error::{Error, ErrorKind, Result, quoted, shown};

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A normalised name of an image: a registry, a repository, and a tag or a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry as it is written: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within its registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Registry and repository: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag; absent only where there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference pins its content.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The repository with `digest` and without a tag, as in `images --digests`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { domain: self.domain.clone(), path: self.path.clone(), tag: None, digest: Some(digest) }
    }

    /// The same reference as people write it: without the defaults that normalising added.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_repository();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }

    /// Registry and repository without the default registry and its `library/`.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        let short = match self.path.strip_prefix("library/") {
            // A path of more parts would not get its `library/` back.
            Some(name) if !name.contains('/') => name,
            _ => &self.path,
        };
        // A first part that looks like a registry would be taken for one.
        if split_domain(short) == (self.domain.clone(), self.path.clone()) {
            short.to_owned()
        } else {
            self.repository()
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text)
            .map_err(|why| Error::new(ErrorKind::Image, format!("image reference {}: {why}", quoted(text))))
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("is empty".into());
    }
    if Digest::of_hex(text).is_some() {
        return Err(format!("{} hex digits are an image id, not a name", text.len()));
    }
    // As curl, skopeo and Kubernetes' `imageID` write them.
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("a name has no scheme: leave \"{}://\" out", shown(scheme)));
    }
    let (rest, digest) = match text.split_once('@') {
        None => (text, None),
        Some((rest, digest)) => (rest, Some(digest.parse().map_err(|e: Error| e.message().to_owned())?)),
    };
    // A colon after the last slash starts a tag; before it, it starts a port.
    let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[name_end..].split_once(':') {
        None => (rest, None),
        Some((last, tag)) => (&rest[..name_end + last.len()], Some(tag)),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (domain, path) = split_domain(name);
    check_domain(&domain)?;
    check_path(&path)?;
    if domain.len() + 1 + path.len() > NAME_MAX {
        return Err(format!("the name is longer than {NAME_MAX} characters"));
    }
    let tag = match (tag, &digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, Some(_)) => None,
        (None, None) => Some(DEFAULT_TAG.to_owned()),
    };
    Ok(Reference { domain, path, tag, digest })
}

/// The first part is a registry if it can be no user's name: it has a dot, a colon or a capital, or
/// is `localhost`.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':', '['])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
        format!("{DEFAULT_NAMESPACE}/{path}")
    } else {
        path.to_owned()
    };
    (domain.to_owned(), path)
}

fn check_tag(tag: &str) -> Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    match bytes.first() {
        None => Err("the tag is empty".into()),
        Some(first) if !word(*first) => Err(format!("the tag {} begins with a separator", quoted(tag))),
        _ if bytes.len() > TAG_MAX => Err(format!("the tag is longer than {TAG_MAX} characters")),
        _ if !bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-') => Err(format!(
            "the tag {} has characters other than letters, digits, '_', '.' and '-'",
            quoted(tag)
        )),
        _ => Ok(()),
    }
}

/// Whether `domain` is a host with an optional port.
pub(in crate::image) fn check_domain(domain: &str) -> Result<(), String> {
    let wrong = || Err(format!("the registry {} is not a host with an optional port", quoted(domain)));
    let port = if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return wrong() };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return wrong();
        }
        match port.strip_prefix(':') {
            None if port.is_empty() => return Ok(()),
            None => return wrong(),
            Some(port) => port,
        }
    } else {
        let (host, port) = match domain.split_once(':') {
            None => (domain, None),
            Some((host, port)) => (host, Some(port)),
        };
        if !host.split('.').all(is_domain_label) {
            return wrong();
        }
        match port {
            None => return Ok(()),
            Some(port) => port,
        }
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if digits && port.parse::<u16>().is_ok() { Ok(()) } else { wrong() }
}

fn is_domain_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn check_path(path: &str) -> Result<(), String> {
    for component in path.split('/') {
        if component.is_empty() {
            return Err("a part of the name is empty".into());
        }
        if component.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(format!("the repository must be lower case: {}", quoted(component)));
        }
        if !is_path_component(component.as_bytes()) {
            return Err(format!(
                "the part {} is not letters and digits, separated by '.', '_', '__' or dashes",
                quoted(component)
            ));
        }
    }
    Ok(())
}

/// `alnum+ (separator alnum+)*`, where a separator is one dot, one or two underscores, or dashes.
fn is_path_component(bytes: &[u8]) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut runs = bytes.chunk_by(|a, b| alnum(*a) == alnum(*b));
    let mut expect_word = true;
    let ends_in_word = bytes.last().is_some_and(|b| alnum(*b));
    let well_formed = runs.all(|run| {
        let word = alnum(run[0]);
        let ok = word == expect_word
            && (word || matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'));
        expect_word = !word;
        ok
    });
    well_formed && ends_in_word
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| serde::de::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn normal(text: &str) -> String {
        text.parse::<Reference>().unwrap_or_else(|e| panic!("{e}")).to_string()
    }

    #[test]
    fn defaults_are_filled_in() {
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("docker.io/a/b", "docker.io/a/b:latest"),
            ("user/app:v1", "docker.io/user/app:v1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/a/b:t", "127.0.0.1:5000/a/b:t"),
            ("[::1]:5000/a:t", "[::1]:5000/a:t"),
            ("[2001:db8::1]/a", "[2001:db8::1]/a:latest"),
            ("quay.io/x/y__z-a---b.c:T_a.g-1", "quay.io/x/y__z-a---b.c:T_a.g-1"),
            ("Registry/app", "Registry/app:latest"),
        ] {
            assert_eq!(normal(text), full, "{text}");
        }
        assert_eq!(normal(&format!("app@{HEX}")), format!("docker.io/library/app@{HEX}"));
        assert_eq!(normal(&format!("app:1@{HEX}")), format!("docker.io/library/app:1@{HEX}"));
    }

    #[test]
    fn familiar_names_are_what_people_write() {
        for text in ["busybox:1", "a/b:1", "localhost:5000/x:1", "quay.io/a/b:latest"] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), text);
        }
        // Without its registry it would be another image.
        for text in ["docker.io/in.io/stock:1", "docker.io/localhost/x:1", "docker.io/index.docker.io/x:1"] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            "a:",
            "a:-x",
            "a:.x",
            "a: b",
            "a b",
            "a@",
            "a@sha256:00",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "a___b",
            "a..b",
            "a._b",
            "-a",
            "a-",
            "_a",
            "a/../b",
            "a/./b",
            "host.:5000/a",
            "-host.x/a",
            "host:x/a",
            "host:/a",
            "host:70000/a",
            "[::1/a",
            "[zz]/a",
            "[::1]x/a",
            "ä",
            "a:t\n",
            "a?b",
            "a#b",
            "http://a/b",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was taken");
        }
        assert!(format!("a:{}", "x".repeat(128)).parse::<Reference>().is_ok());
        for (text, why) in [
            (format!("a:{}", "x".repeat(129)), "the tag is longer than 128 characters"),
            ("a/".repeat(140), "a part of the name is empty"),
            (format!("{}a", "a/".repeat(140)), "the name is longer than 255 characters"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.message().ends_with(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_prints_what_it_reads(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(normal(&reference.to_string()), reference.to_string());
            }
        }

        #[test]
        fn the_grammar_is_taken_whole(
            domain in "([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?/)?",
            // A first part with a dot would be a registry.
            path in "[a-z0-9]{1,6}((_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}){0,3}",
            tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?",
        ) {
            let text = format!("{domain}{path}{tag}");
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference.clone());
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
            if tag.is_empty() { prop_assert_eq!(reference.tag(), Some("latest")); }
        }
    }
}
