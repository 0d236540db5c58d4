//! What a layout lists: by an OCI layout's index.json, by Docker's manifest.json, or by both.
//!
//! Invariant: an image that either list names is in what is read here, with the names of both; where the two say different
//! things of one name all is refused.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::{INDEX_DEPTH, blob_name, wrong};
use crate::error::{Context, Result, shown};
use crate::image::digest::Digest;
use crate::image::document;
use crate::image::layout::{self, Layout};
use crate::image::manifest::{self, DOCUMENT_MAX, Descriptor, Document};
use crate::image::reference::Reference;

/// How many images one archive may hold.
const IMAGES_MAX: usize = 1000;
/// How many bytes of indexes and manifests are read to compare two lists.
const WALK_MAX: u64 = 256 << 20;

/// One image of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::image) struct DockerImage {
    pub(super) config: String,
    repo_tags: Vec<String>,
    pub(super) layers: Vec<String>,
}

/// Something that a layout lists, most often an image.
#[derive(Debug)]
pub(super) struct Listed {
    /// Its names, or why they are none.
    pub(super) names: Result<Vec<Reference>>,
    /// The tag that was all of its name.
    pub(super) tag: Option<String>,
    /// Its name as it is written there.
    written: Option<String>,
    /// The digests of its configs: of an image for several platforms there are several. Only known where there are two lists.
    configs: BTreeSet<Digest>,
    pub(super) origin: Origin,
}

/// Which list it is in.
#[derive(Debug)]
pub(super) enum Origin {
    /// Index.json, with these entries: one, or one for each platform.
    Oci(Vec<Descriptor>),
    /// Manifest.json.
    Docker(DockerImage),
}

impl Listed {
    /// What it is called in what is said of it.
    pub(super) fn called(&self) -> String {
        let name = self.names.as_ref().ok().and_then(|names| Some(names.first()?.familiar()));
        let written = || self.written.as_ref().map(|name| shown(name).to_string());
        name.or_else(written).unwrap_or_else(|| match &self.origin {
            Origin::Oci(entries) => {
                entries.first().map_or_else(String::new, |entry| entry.digest.to_string())
            }
            Origin::Docker(image) => shown(&image.config).to_string(),
        })
    }

    fn has(&self, name: &Reference) -> bool {
        self.names.as_ref().is_ok_and(|names| names.contains(name))
    }

    /// Finds the configs of an image that index.json lists. Of one for several platforms there may be one alone in the
    /// layout; what is wrong is said when the image is taken. `left` is how many bytes may be read for it.
    fn find_configs(&mut self, layout: &Layout, left: &mut u64) -> Result<()> {
        let Origin::Oci(entries) = &self.origin else { return Ok(()) };
        let mut open: Vec<(Descriptor, usize)> = entries.iter().map(|entry| (entry.clone(), 0)).collect();
        let mut seen = BTreeSet::new();
        while let Some((here, depth)) = open.pop() {
            if !here.may_be_image() || depth > INDEX_DEPTH || !seen.insert(here.digest.clone()) {
                continue;
            }
            let Ok(bytes) = layout.document(&blob_name(&here.digest)) else { continue };
            *left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| wrong(format!("its indexes and manifests take more than {WALK_MAX} bytes")))?;
            match manifest::parse(&bytes, None) {
                Ok(Document::Manifest(found)) => drop(self.configs.insert(found.config.digest)),
                Ok(Document::Index(entries)) => {
                    open.extend(entries.into_iter().map(|entry| (entry, depth + 1)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// All that `layout`, which was read from `path`, lists.
pub(super) fn read(layout: &Layout, path: &Path) -> Result<Vec<Listed>> {
    let index = layout.read("index.json", DOCUMENT_MAX)?;
    let list = layout.read("manifest.json", DOCUMENT_MAX)?;
    if index.is_none() && list.is_none() {
        return Err(wrong(
            "is neither an OCI layout (no index.json) nor an archive of docker save (no manifest.json)",
        )
        .hint("`podrun image import` makes an image of a root file system's tar"));
    }
    let mut all = index.map_or_else(|| Ok(Vec::new()), |index| by_index(&index))?;
    let images = list.map_or_else(|| Ok(Vec::new()), |list| parse_docker_list(&list))?;
    if !images.is_empty() {
        let mut left = WALK_MAX;
        all.iter_mut().try_for_each(|listed| listed.find_configs(layout, &mut left))?;
    }
    for image in images {
        join(&mut all, by_docker(image, layout))?;
    }
    if all.is_empty() {
        return Err(wrong("names no image"));
    }
    for listed in &mut all {
        if let (Ok(names), Some(tag)) = (&mut listed.names, &listed.tag)
            && names.is_empty()
        {
            names.extend(of_file(tag, path));
        }
    }
    Ok(all)
}

fn by_index(index: &[u8]) -> Result<Vec<Listed>> {
    let Document::Index(entries) = manifest::parse(index, None).context(|| "index.json")? else {
        return Err(wrong("index.json is a manifest, not an index"));
    };
    let listed = |(written, entries): (Option<String>, Vec<Descriptor>)| {
        let (names, tag) = match written.as_deref().map(read_name) {
            None => (Ok(Vec::new()), None),
            Some(Ok(Named::Whole(name))) => (Ok(vec![name]), None),
            Some(Ok(Named::Tag(tag))) => (Ok(Vec::new()), Some(tag)),
            Some(Err(error)) => (Err(error), None),
        };
        Listed { names, tag, written, configs: BTreeSet::new(), origin: Origin::Oci(entries) }
    };
    Ok(group_by_name(entries).into_iter().map(listed).collect())
}

fn by_docker(image: DockerImage, layout: &Layout) -> Listed {
    // What cannot be read is said when the image is taken.
    let config = layout.document(&image.config).ok().map(|bytes| config_digest(&image.config, &bytes));
    Listed {
        names: image.repo_tags.iter().map(|tag| tag.parse()).collect(),
        tag: None,
        written: image.repo_tags.first().cloned(),
        configs: config.into_iter().collect(),
        origin: Origin::Docker(image),
    }
}

/// Adds what manifest.json lists to what index.json does: most often the same image, described in both ways.
fn join(all: &mut Vec<Listed>, new: Listed) -> Result<()> {
    let is_same = |listed: &Listed| !listed.configs.is_disjoint(&new.configs);
    let names = new.names.as_deref().unwrap_or_default();
    for name in names {
        let mut holders = all.iter().filter(|listed| listed.has(name)).peekable();
        if holders.peek().is_some() && !holders.any(is_same) {
            return Err(wrong(format!("its lists give the name {} to different images", name.familiar())));
        }
    }
    let more: Vec<Reference> =
        names.iter().filter(|name| !all.iter().any(|listed| listed.has(name))).cloned().collect();
    let same = all.iter_mut().find(|listed| matches!(listed.origin, Origin::Oci(_)) && is_same(listed));
    match same {
        Some(Listed { names: Ok(names), .. }) => names.extend(more),
        _ => all.push(new),
    }
    Ok(())
}

/// The one image that `wanted` means: its name, its tag alone, or the digest of its manifest.
pub(super) fn only(all: Vec<Listed>, wanted: &str) -> Result<Vec<Listed>> {
    let there: Vec<String> = all.iter().map(Listed::called).collect();
    let name = wanted.parse::<Reference>().ok();
    let digest = wanted.strip_prefix('@').unwrap_or(wanted).parse::<Digest>().ok();
    let is_named = |listed: &Listed| {
        let has_digest = digest.as_ref().is_some_and(|digest| match &listed.origin {
            Origin::Oci(entries) => entries.iter().any(|entry| entry.digest == *digest),
            Origin::Docker(_) => listed.configs.contains(digest),
        });
        has_digest
            || listed.written.as_deref() == Some(wanted)
            || name.as_ref().is_some_and(|name| listed.has(name))
    };
    let has_tag = |name: &Reference| name.tag() == Some(wanted);
    let is_tagged = |listed: &Listed| listed.names.as_ref().is_ok_and(|names| names.iter().any(has_tag));
    let by_name = all.iter().any(is_named);
    let mut chosen: Vec<Listed> =
        all.into_iter().filter(|listed| if by_name { is_named(listed) } else { is_tagged(listed) }).collect();
    let there = there.join(", ");
    match chosen.as_mut_slice() {
        [] => Err(wrong(format!("has no image {}; there is {there}", shown(wanted)))),
        [one] => {
            // Its other names are other wishes.
            if let Ok(names) = &mut one.names {
                let is_name = |own: &Reference| Some(own) == name.as_ref();
                if names.iter().any(is_name) {
                    names.retain(is_name);
                } else if names.iter().any(has_tag) {
                    names.retain(has_tag);
                }
            }
            Ok(chosen)
        }
        _ => Err(wrong(format!("has several images {}; there is {there}", shown(wanted)))
            .hint("give the whole name, or the digest")),
    }
}

/// Reads Docker's `manifest.json`.
pub(in crate::image) fn parse_docker_list(bytes: &[u8]) -> Result<Vec<DockerImage>> {
    let bad = |error: serde_json::Error| wrong(format!("manifest.json: {}", shown(&error.to_string())));
    let value = document::parse(bytes).map_err(bad)?;
    if value.as_array().map_or(0, Vec::len) > IMAGES_MAX {
        return Err(wrong(format!("the archive has more than {IMAGES_MAX} images")));
    }
    document::read(value, &document::DOCKER_LIST).map_err(bad)
}

/// The digest of a config in the file `name`: by the algorithm of which the name is, if it is a digest's.
pub(super) fn config_digest(name: &str, bytes: &[u8]) -> Digest {
    let last = name.rsplit('/').next().unwrap_or(name);
    let stem = last.strip_suffix(".json").unwrap_or(last);
    let named = stem.parse().ok().or_else(|| Digest::of_hex(stem));
    let own = named.map(|named| (Digest::with(named.algorithm(), bytes), named));
    own.filter(|(own, named)| own == named).map_or_else(|| Digest::of(bytes), |(own, _)| own)
}

/// The entries of an index by name, in their order; those without one stand for themselves, unless
/// they are one image's platforms.
pub(in crate::image) fn group_by_name(entries: Vec<Descriptor>) -> Vec<(Option<String>, Vec<Descriptor>)> {
    let mut groups: Vec<(Option<String>, Vec<Descriptor>)> = Vec::new();
    for entry in entries {
        let same_image = |name: &Option<String>, first: &Descriptor| {
            let is_one = |entry: &Descriptor| entry.platform.is_some() && !entry.is_index();
            *name == entry.name && (name.is_some() || is_one(&entry) && is_one(first))
        };
        match groups.iter_mut().find(|(name, group)| same_image(name, &group[0])) {
            Some((_, group)) => group.push(entry),
            None => groups.push((entry.name.clone(), vec![entry])),
        }
    }
    groups
}

/// What an annotation gives as an image's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) enum Named {
    Whole(Reference),
    /// A tag alone, as `skopeo copy … oci:DIR:TAG` writes it.
    Tag(String),
}

/// Reads that annotation.
pub(in crate::image) fn read_name(annotation: &str) -> Result<Named> {
    if annotation.contains(['/', ':', '@']) {
        return annotation.parse().map(Named::Whole);
    }
    // Of a repository that any tag may follow: what is no tag is refused.
    format!("any:{annotation}").parse::<Reference>().map(|_| Named::Tag(annotation.to_owned()))
}

/// The tag as one of the file's own name, if that can be a repository's: a stream has none.
fn of_file(tag: &str, path: &Path) -> Option<Reference> {
    let is_stream = path == Path::new(layout::STDIN) || path.starts_with("/dev") || path.starts_with("/proc");
    let stem = path.file_name()?.to_str()?.split('.').next()?.to_lowercase();
    format!("{stem}:{tag}").parse().ok().filter(|_| !is_stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Algorithm;

    #[test]
    fn an_annotation_is_a_whole_name_or_a_tag() {
        assert_eq!(read_name("app:v1").unwrap(), Named::Whole("app:v1".parse().unwrap()));
        assert_eq!(read_name("localhost/app").unwrap(), Named::Whole("localhost/app".parse().unwrap()));
        assert_eq!(read_name("v1").unwrap(), Named::Tag("v1".into()));
        for wrong in ["-v1", "a b", "../x", "a:", "/"] {
            assert!(read_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tag_alone_is_the_files_where_the_file_has_a_name() {
        let name = |path: &str| of_file("v1", Path::new(path)).map(|name| name.familiar());
        for (path, wanted) in [("/x/App.oci.tar", "app:v1"), ("dir", "dir:v1"), ("dir/", "dir:v1")] {
            assert_eq!(name(path).as_deref(), Some(wanted), "{path}");
        }
        for path in ["-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0", "/", "..", "+.tar", ".tar"] {
            assert_eq!(name(path), None, "{path}");
        }
    }

    #[test]
    fn a_config_keeps_the_digest_that_its_file_is_named_by() {
        let bytes = b"{}";
        for algorithm in Algorithm::ALL {
            let digest = Digest::with(algorithm, bytes);
            let hex = digest.hex();
            for name in
                [format!("{hex}.json"), format!("blobs/{}/{hex}", algorithm.name()), digest.to_string()]
            {
                assert_eq!(config_digest(&name, bytes), digest, "{name}");
            }
            assert_eq!(config_digest(&format!("{hex}.json"), b"other"), Digest::of(b"other"));
        }
        assert_eq!(config_digest("config.json", bytes), Digest::of(bytes));
    }
}
