//! The images that a layout lists: by an OCI layout's index.json, by Docker's manifest.json, or by both.
//!
//! Invariant: every image that either list names is read here, with the names of both, and so is every
//! unreadable entry, with the reason; if the two lists contradict each other about a name all is refused.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{INDEX_DEPTH, blob_name, wrong};
use crate::error::{Context, Error, Result, shown};
use crate::image::model::digest::Digest;
use crate::image::model::json;
use crate::image::model::manifest::{self, DOCUMENT_MAX, Descriptor, Document};
use crate::image::model::reference::Reference;
use crate::image::transfer::layout::{self, Layout};

/// How many images one archive may hold.
const IMAGES_MAX: usize = 1000;
/// How many names Docker's list may give.
const TAGS_MAX: usize = 10_000;
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
    pub(super) names: Vec<Reference>,
    /// The tag that was all of its name.
    pub(super) tag: Option<String>,
    /// Its name as it is written there.
    written: Option<String>,
    /// The digests of its configs: of an image for several platforms there are several. Only known where there are two lists.
    configs: BTreeSet<Digest>,
    /// Whether an entry that leads to those cannot be read.
    is_unread: bool,
    pub(super) origin: Origin,
}

/// Which list it is in.
#[derive(Debug)]
pub(super) enum Origin {
    /// Index.json, with these entries: one, or one for each platform.
    Oci(Vec<Descriptor>),
    /// Manifest.json.
    Docker(DockerImage),
    /// Either of them, in words that mean nothing.
    Wrong(Error),
}

impl Listed {
    fn new(names: Vec<Reference>, written: Option<String>, origin: Origin) -> Self {
        Self { names, tag: None, written, configs: BTreeSet::new(), is_unread: false, origin }
    }

    /// Its name in messages.
    pub(super) fn called(&self) -> String {
        let name = self.names.first().map(Reference::familiar);
        let written = || self.written.as_ref().map(|name| shown(name).to_string());
        name.or_else(written).unwrap_or_else(|| match &self.origin {
            Origin::Oci(entries) => {
                entries.first().map_or_else(String::new, |entry| entry.digest.to_string())
            }
            Origin::Docker(image) => shown(&image.config).to_string(),
            Origin::Wrong(_) => String::new(),
        })
    }

    /// Finds the configs of an image that index.json lists. Of one for several platforms the layout may have a
    /// single one; errors are reported when the image is taken. `left` is the number of bytes that may be read
    /// for it.
    fn find_configs(&mut self, layout: &Layout, left: &mut u64) -> Result<()> {
        let Origin::Oci(entries) = &self.origin else { return Ok(()) };
        let mut open: Vec<(Descriptor, usize)> = entries.iter().map(|entry| (entry.clone(), 0)).collect();
        let mut seen = BTreeSet::new();
        while let Some((here, depth)) = open.pop() {
            if !here.may_be_image() || depth > INDEX_DEPTH || !seen.insert(here.digest.clone()) {
                continue;
            }
            let Ok(bytes) = layout.document(&blob_name(&here.digest)) else {
                self.is_unread = true;
                continue;
            };
            *left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| wrong(format!("its indexes and manifests take more than {WALK_MAX} bytes")))?;
            match manifest::parse(&bytes, None) {
                Ok(Document::Manifest(found)) => drop(self.configs.insert(found.config.digest)),
                Ok(Document::Index(entries)) => {
                    open.extend(entries.into_iter().map(|entry| (entry, depth + 1)));
                }
                Ok(Document::Artifact(_)) => {}
                Err(_) => self.is_unread = true,
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
    let mut lists = Lists::new(all);
    for listed in by_docker(images, layout) {
        lists.join(listed)?;
    }
    if lists.all.is_empty() {
        return Err(wrong("names no image"));
    }
    lists.name_tags(path);
    Ok(lists.all)
}

fn by_index(index: &[u8]) -> Result<Vec<Listed>> {
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    for entry in manifest::parse_layout(index).context(|| "index.json")? {
        match entry {
            Ok(mut entry) => {
                // Of the spellings of one name there is one image.
                if let Some(Ok(Named::Whole(name))) = entry.name.as_deref().map(read_name) {
                    entry.name = Some(name.to_string());
                }
                entries.push(entry);
            }
            Err((called, error)) => bad.push(Listed::new(Vec::new(), Some(called), Origin::Wrong(error))),
        }
    }
    let listed =
        |(written, entries): (Option<String>, Vec<Descriptor>)| match written.as_deref().map(read_name) {
            None => Listed::new(Vec::new(), None, Origin::Oci(entries)),
            Some(Ok(Named::Whole(name))) => Listed::new(vec![name], written, Origin::Oci(entries)),
            Some(Ok(Named::Tag(tag))) => {
                Listed { tag: Some(tag), ..Listed::new(Vec::new(), written, Origin::Oci(entries)) }
            }
            Some(Err(error)) => Listed::new(Vec::new(), written, Origin::Wrong(error)),
        };
    Ok(group_by_name(entries).into_iter().map(listed).chain(bad).collect())
}

/// The images of manifest.json. Of two with one name the later one has it, as for Docker.
fn by_docker(images: Vec<DockerImage>, layout: &Layout) -> Vec<Listed> {
    let mut all = Vec::new();
    let mut holders: HashMap<Reference, usize> = HashMap::new();
    for mut image in images {
        let (mut names, mut bad) = (Vec::new(), Vec::new());
        for tag in std::mem::take(&mut image.repo_tags) {
            match tag.parse::<Reference>() {
                Ok(name) => names.push(name),
                Err(error) => bad.push(Listed::new(Vec::new(), Some(tag), Origin::Wrong(error))),
            }
        }
        // Errors are reported when the image is taken.
        let config = layout.document(&image.config).and_then(|bytes| config_digest(&image.config, &bytes));
        if !names.is_empty() || bad.is_empty() {
            holders.extend(names.iter().cloned().map(|name| (name, all.len())));
            let configs = config.ok().into_iter().collect();
            all.push(Listed { configs, ..Listed::new(names, None, Origin::Docker(image)) });
        }
        all.extend(bad);
    }
    for (at, listed) in all.iter_mut().enumerate() {
        // Each once.
        listed.names.retain(|name| holders.get(name) == Some(&at) && holders.remove(name).is_some());
    }
    all
}

/// The entries so far, and the holders of names and configs.
struct Lists {
    all: Vec<Listed>,
    by_name: HashMap<Reference, usize>,
    by_config: HashMap<Digest, usize>,
}

impl Lists {
    fn new(all: Vec<Listed>) -> Self {
        let (mut by_name, mut by_config) = (HashMap::new(), HashMap::new());
        for (at, listed) in all.iter().enumerate() {
            for name in &listed.names {
                by_name.entry(name.clone()).or_insert(at);
            }
            for config in &listed.configs {
                by_config.entry(config.clone()).or_insert(at);
            }
        }
        Self { all, by_name, by_config }
    }

    /// Adds the images of manifest.json to those of index.json: usually the same image, described in both ways.
    fn join(&mut self, mut new: Listed) -> Result<()> {
        let same = new.configs.iter().find_map(|config| self.by_config.get(config)).copied();
        let at = same.unwrap_or(self.all.len());
        let (mut more, mut is_told) = (Vec::new(), false);
        for name in std::mem::take(&mut new.names) {
            match self.by_name.get(&name).map(|holder| &self.all[*holder]) {
                None => {
                    self.by_name.insert(name.clone(), at);
                    more.push(name);
                }
                Some(holder) if !holder.configs.is_disjoint(&new.configs) => {}
                // A missing part of it is reported when it is taken.
                Some(holder) if holder.configs.is_empty() && holder.is_unread => is_told = true,
                Some(_) => {
                    let name = name.familiar();
                    return Err(wrong(format!("its lists give the name {name} to different images")));
                }
            }
        }
        match same {
            Some(same) => self.all[same].names.extend(more),
            None if is_told && more.is_empty() => {}
            None => self.all.push(Listed { names: more, ..new }),
        }
        Ok(())
    }

    /// Makes names of the tags alone: in the repository that the other list gives, else in the file's.
    fn name_tags(&mut self, path: &Path) {
        for (at, listed) in self.all.iter_mut().enumerate() {
            let Some(tag) = &listed.tag else { continue };
            let name = match listed.names.as_slice() {
                [] => of_file(tag, path),
                names if names.iter().any(|name| name.tag() == Some(tag.as_str())) => None,
                [first, ..] => format!("{}:{tag}", first.repository()).parse().ok(),
            };
            // The holder of the whole name keeps it.
            if let Some(name) = name.filter(|name| !self.by_name.contains_key(name)) {
                self.by_name.insert(name.clone(), at);
                listed.names.push(name);
            }
        }
    }
}

/// The one image that is wanted: by its name, its tag alone, its manifest's digest (its config's, where manifest.json alone
/// lists it), or a name and a digest.
struct Wanted<'a> {
    text: &'a str,
    name: Option<Reference>,
    digest: Option<Digest>,
}

impl<'a> Wanted<'a> {
    fn read(text: &'a str) -> Self {
        let name = text.parse::<Reference>().ok();
        let digest = text.strip_prefix('@').unwrap_or(text).parse::<Digest>().ok();
        let (name, digest) = match digest {
            Some(digest) => (None, Some(digest)),
            None => {
                let digest = name.as_ref().and_then(Reference::digest).cloned();
                (name, digest)
            }
        };
        Self { text, name, digest }
    }

    fn is_name(&self, own: &Reference) -> bool {
        self.name.as_ref().is_some_and(|name| {
            let is_repository = (name.domain(), name.path()) == (own.domain(), own.path());
            is_repository && (own.tag() == name.tag() || name.tag().is_none())
        })
    }

    fn is_tag(&self, own: &Reference) -> bool {
        own.tag() == Some(self.text)
    }

    fn is_digest(&self, listed: &Listed) -> bool {
        self.digest.as_ref().is_some_and(|digest| match &listed.origin {
            Origin::Oci(entries) => entries.iter().any(|entry| entry.digest == *digest),
            Origin::Docker(_) => listed.configs.contains(digest),
            Origin::Wrong(_) => false,
        })
    }

    fn means(&self, listed: &Listed) -> bool {
        let has_name = || listed.names.iter().any(|own| self.is_name(own));
        match (&self.digest, &self.name) {
            (Some(_), Some(_)) => self.is_digest(listed) && has_name(),
            (Some(_), None) => self.is_digest(listed),
            _ => listed.written.as_deref() == Some(self.text) || has_name(),
        }
    }

    /// Keeps the wanted part of `listed`: other names, and other entries under its name, are not wanted.
    fn cut(&self, listed: &mut Listed) {
        if let (Some(digest), Origin::Oci(entries)) = (&self.digest, &mut listed.origin) {
            entries.retain(|entry| entry.digest == *digest);
        }
        let names = &mut listed.names;
        if names.iter().any(|own| self.is_name(own)) {
            names.retain(|own| self.is_name(own));
        } else if names.iter().any(|own| self.is_tag(own)) {
            names.retain(|own| self.is_tag(own));
        }
    }
}

/// The one image that `wanted` means.
pub(super) fn only(all: Vec<Listed>, wanted: &str) -> Result<Vec<Listed>> {
    let there: Vec<String> = all.iter().map(Listed::called).collect();
    let there = there.join(", ");
    let wish = Wanted::read(wanted);
    let by_name = all.iter().any(|listed| wish.means(listed));
    let has_tag = |listed: &Listed| listed.names.iter().any(|own| wish.is_tag(own));
    let mut chosen: Vec<Listed> =
        all.into_iter().filter(|listed| if by_name { wish.means(listed) } else { has_tag(listed) }).collect();
    match chosen.as_mut_slice() {
        [] => Err(wrong(format!("has no image {}; there is {there}", shown(wanted)))),
        [one] => {
            wish.cut(one);
            Ok(chosen)
        }
        _ => Err(wrong(format!("has several images {}; there is {there}", shown(wanted)))
            .hint("give the whole name, or the digest")),
    }
}

/// Reads Docker's `manifest.json`.
pub(in crate::image) fn parse_docker_list(bytes: &[u8]) -> Result<Vec<DockerImage>> {
    let bad = |error: serde_json::Error| wrong(format!("manifest.json: {}", shown(&error.to_string())));
    let value = json::parse(bytes).map_err(bad)?;
    if value.as_array().map_or(0, Vec::len) > IMAGES_MAX {
        return Err(wrong(format!("the archive has more than {IMAGES_MAX} images")));
    }
    let images: Vec<DockerImage> = json::read(value, &json::DOCKER_LIST).map_err(bad)?;
    if images.iter().map(|image| image.repo_tags.len()).sum::<usize>() > TAGS_MAX {
        return Err(wrong(format!("manifest.json gives more than {TAGS_MAX} names")));
    }
    Ok(images)
}

/// The digest of a config in the file `name`: by the algorithm of which the name is, if it is a digest's. A blob has the one
/// that it is named by, or is refused; other names are only names.
pub(super) fn config_digest(name: &str, bytes: &[u8]) -> Result<Digest> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let stem = last.strip_suffix(".json").unwrap_or(last);
    let Some(named) = stem.parse().ok().or_else(|| Digest::of_hex(stem)) else {
        return Ok(Digest::of(bytes));
    };
    let own = Digest::with(named.algorithm(), bytes);
    match own == named {
        true => Ok(own),
        false if name.strip_prefix("./").unwrap_or(name) == blob_name(&named) => {
            Err(wrong(format!("{} has the wrong digest: its content is {own}", shown(name))))
        }
        false => Ok(Digest::of(bytes)),
    }
}

/// The entries of an index by name, in order; entries without one stand alone, unless they are one image's
/// platforms, each once.
pub(in crate::image) fn group_by_name(entries: Vec<Descriptor>) -> Vec<(Option<String>, Vec<Descriptor>)> {
    let mut groups: Vec<(Option<String>, Vec<Descriptor>)> = Vec::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let is_one = |entry: &Descriptor| entry.platform.is_some() && !entry.is_index();
    for entry in entries {
        let lacks = |(name, group): &(Option<String>, Vec<Descriptor>)| {
            let has_it = || group.iter().any(|other| other.platform == entry.platform);
            name.is_none() && is_one(&entry) && is_one(&group[0]) && !has_it()
        };
        let at = match &entry.name {
            Some(name) => by_name.get(name).copied(),
            None => groups.iter().position(lacks),
        };
        match at {
            Some(at) => groups[at].1.push(entry),
            None => {
                by_name.extend(entry.name.clone().map(|name| (name, groups.len())));
                groups.push((entry.name.clone(), vec![entry]));
            }
        }
    }
    groups
}

/// The name of an image in an annotation.
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
    // In a repository any tag may follow: an invalid tag is refused.
    format!("any:{annotation}").parse::<Reference>().map(|_| Named::Tag(annotation.to_owned()))
}

/// The tag as one of the file's own name, if that can be a repository's: a stream has none.
fn of_file(tag: &str, path: &Path) -> Option<Reference> {
    let is_descriptor = ["/proc", "/dev/fd", "/dev/stdin"].iter().any(|place| path.starts_with(place));
    let is_stream = fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
    if path == Path::new(layout::STDIN) || is_descriptor || is_stream {
        return None;
    }
    // `.` has no name of its own.
    let whole = if path.file_name().is_none() { fs::canonicalize(path).ok()? } else { path.to_owned() };
    let stem = whole.file_name()?.to_str()?.split('.').next()?.to_lowercase();
    format!("{stem}:{tag}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::model::digest::Algorithm;

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
        for path in ["-", "/dev/stdin", "/dev/fd/63", "/dev/null", "/proc/self/fd/0", "/", "+.tar", ".tar"] {
            assert_eq!(name(path), None, "{path}");
        }
        assert_eq!(name("/dev/shm/app.tar").as_deref(), Some("app:v1"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(name("."), name(here.to_str().unwrap()));
        assert_eq!(name("../."), name(here.parent().unwrap().to_str().unwrap()));
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
                assert_eq!(config_digest(&name, bytes).unwrap(), digest, "{name}");
            }
            let other = config_digest(&format!("{hex}.json"), b"other").unwrap();
            assert_eq!(other, Digest::of(b"other"));
            let error = config_digest(&blob_name(&digest), b"other").unwrap_err();
            assert!(error.message().contains("has the wrong digest"), "{error}");
        }
        assert_eq!(config_digest("config.json", bytes).unwrap(), Digest::of(bytes));
    }
}
