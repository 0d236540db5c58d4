//! From an index to the wanted image: the common part of a load's walk and a pull's.
//!
//! Invariant: only entries for another platform, or of no image, are passed over; any other error ends the
//! walk. One walk examines a bounded number of entries without a platform, however deep they lie.

use std::cell::Cell;

use crate::error::{Error, ErrorKind, Result, shown};
use crate::image::model::manifest::Descriptor;
use crate::image::model::platform::Platform;

/// How deep an index may lie in an index.
pub(in crate::image) const INDEX_DEPTH: usize = 2;
/// How many entries without a platform are looked at: each is a manifest and a config to fetch.
pub(in crate::image) const TRIES: usize = 16;

/// The target of a descriptor.
#[derive(Debug)]
pub(in crate::image) enum Found<T> {
    Image(T),
    /// Only images for other platforms, and the message about them.
    Other(Error),
    /// No image at all, but of this type.
    Artifact(String),
}

/// A walk from one name to one image.
pub(in crate::image) struct Search<'a> {
    pub(in crate::image) platform: &'a Platform,
    left: Cell<usize>,
}

impl<'a> Search<'a> {
    pub(in crate::image) fn new(platform: &'a Platform) -> Self {
        Self { platform, left: Cell::new(TRIES) }
    }

    /// The entries of an index to look at, in their order.
    pub(in crate::image) fn among<'s, 'e>(&'s self, entries: &'e [Descriptor]) -> Choice<'s, 'e> {
        let chosen = choose(entries, self.platform);
        Choice { search: self, entries, chosen, at: 0, other: None, artifact: None }
    }
}

/// The rest of one index, and the entries passed over.
pub(in crate::image) struct Choice<'s, 'e> {
    search: &'s Search<'s>,
    entries: &'e [Descriptor],
    chosen: Vec<&'e Descriptor>,
    at: usize,
    other: Option<Error>,
    artifact: Option<String>,
}

impl<'e> Choice<'_, 'e> {
    /// The next entry to look at.
    pub(in crate::image) fn next(&mut self) -> Result<Option<&'e Descriptor>> {
        let Some(entry) = self.chosen.get(self.at).copied() else { return Ok(None) };
        if is_silent(entry) {
            let Some(left) = self.search.left.get().checked_sub(1) else {
                let (platform, at, all) = (self.search.platform, self.at, self.chosen.len());
                let what = format!(
                    "no image for {platform}: {at} of {all} entries without a platform were looked at"
                );
                return Err(
                    Error::new(ErrorKind::Image, what).hint("name the image by its manifest's digest")
                );
            };
            self.search.left.set(left);
        }
        self.at += 1;
        Ok(Some(entry))
    }

    /// The target of the last entry is not the wanted image.
    pub(in crate::image) fn pass<T>(&mut self, found: Found<T>) {
        match found {
            Found::Image(_) => {}
            Found::Other(error) => self.other = self.other.take().or(Some(error)),
            Found::Artifact(what) => self.artifact = self.artifact.take().or(Some(what)),
        }
    }

    /// The alternative to the image.
    pub(in crate::image) fn end<T>(self) -> Found<T> {
        if let Some(error) = self.other {
            return Found::Other(error);
        }
        let images = self.entries.iter().filter(|entry| entry.may_be_image());
        let there = images.filter_map(|entry| entry.platform.as_ref());
        let there = there.filter(|platform| platform.os != "unknown").map(ToString::to_string);
        let there = there.collect::<Vec<_>>().join(", ");
        if !there.is_empty() {
            let what = format!("no image for {}; there is {}", self.search.platform, shown(&there));
            return Found::Other(
                Error::new(ErrorKind::Image, what).hint("choose one of them with --platform"),
            );
        }
        let other = || self.entries.iter().find(|entry| !entry.may_be_image()).map(Descriptor::not_an_image);
        let what = self.artifact.or_else(other);
        Found::Artifact(what.unwrap_or_else(|| "it is an index that names no image".to_owned()))
    }
}

/// Whether the config has to tell for which platform it is: half a platform is none.
fn is_silent(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_none_or(|said| said.os.is_empty() || said.architecture.is_empty())
}

/// The images among `entries` that may run on `platform`: the one that states it best, else, in order, the
/// incomplete ones, whose configs decide.
pub(in crate::image) fn choose<'a>(entries: &'a [Descriptor], platform: &Platform) -> Vec<&'a Descriptor> {
    let images: Vec<&Descriptor> = entries.iter().filter(|entry| entry.may_be_image()).collect();
    let (silent, said): (Vec<&Descriptor>, Vec<&Descriptor>) =
        images.into_iter().partition(|entry| is_silent(entry));
    let ranked = said.iter().filter_map(|entry| Some((platform.rank(entry.platform.as_ref()?)?, *entry)));
    // Of two that rank the same the first counts, as everywhere.
    if let Some((_, best)) = ranked.rev().max_by_key(|(rank, _)| *rank) {
        return vec![best];
    }
    let fits = |said: &Platform| platform.fits(&said.os, &said.architecture);
    silent.into_iter().filter(|entry| entry.platform.as_ref().is_none_or(fits)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::model::manifest::{OCI_INDEX, OCI_MANIFEST};

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn entry(platform: &str, size: u64) -> Descriptor {
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: D.parse().unwrap(),
            size,
            platform: Some(platform.parse().unwrap()),
            name: None,
        }
    }

    fn silent(media_type: &str, size: u64) -> Descriptor {
        Descriptor { media_type: media_type.into(), platform: None, ..entry("linux/amd64", size) }
    }

    fn host() -> Platform {
        "linux/amd64/v3".parse().unwrap()
    }

    fn sizes(all: &[Descriptor]) -> Vec<u64> {
        choose(all, &host()).iter().map(|entry| entry.size).collect()
    }

    #[test]
    fn the_best_platform_is_chosen() {
        let all = [
            entry("linux/arm64", 1),
            entry("linux/amd64", 2),
            entry("linux/amd64/v2", 3),
            entry("linux/amd64/v4", 4),
        ];
        assert_eq!(sizes(&all), [3]);
        assert_eq!(sizes(&all[..1]), [0; 0]);
        // Entries without a platform are tried one after the other, if none states this one.
        let some = [entry("linux/arm64", 1), silent("", 2), silent("application/x", 3), silent(OCI_INDEX, 4)];
        assert_eq!(sizes(&some), [2, 4]);
        assert_eq!(sizes(&[some.as_slice(), &all].concat()), [3]);
        assert_eq!(sizes(&some[2..3]), [0; 0]);
        // Half a platform is tried like none, unless it does not fit.
        let half = |os: &str, architecture: &str, size| Descriptor {
            platform: Some(Platform { os: os.into(), architecture: architecture.into(), variant: None }),
            ..entry("linux/amd64", size)
        };
        let halves = [half("linux", "", 7), half("windows", "", 8), half("", "amd64", 9)];
        assert_eq!(sizes(&halves), [7, 9]);
        assert_eq!(sizes(&[&halves[..], &all].concat()), [3]);
    }

    #[test]
    fn where_no_image_is_found_it_is_said_what_is_there() {
        let host = host();
        let search = Search::new(&host);
        let end = |entries: &[Descriptor], passed: Option<Found<()>>| {
            let mut choice = search.among(entries);
            passed.into_iter().for_each(|found| choice.pass(found));
            match choice.end::<()>() {
                Found::Other(error) => format!("error: {}", error.message()),
                Found::Artifact(what) => what,
                Found::Image(()) => panic!("an image"),
            }
        };
        let artifact = || Some(Found::Artifact("a signature".to_owned()));
        let others = [entry("linux/arm64", 1), silent("", 2)];
        assert!(
            end(&others, artifact()).contains("error: no image for linux/amd64/v3; there is linux/arm64")
        );
        assert_eq!(end(&others[1..], artifact()), "a signature");
        assert!(end(&[silent("text/plain", 1)], None).contains("it is a text/plain"));
        for nothing in [&[][..], &[entry("unknown/unknown", 1)]] {
            assert_eq!(end(nothing, None), "it is an index that names no image");
        }
        let error = Error::new(ErrorKind::Image, "for another");
        assert_eq!(end(&others, Some(Found::Other(error))), "error: for another");
    }

    #[test]
    fn one_search_looks_at_so_many_silent_entries_in_all_its_indexes() {
        let host = host();
        let search = Search::new(&host);
        let all = vec![silent("", 1); TRIES + 1];
        let mut first = search.among(&all[..TRIES - 1]);
        while first.next().unwrap().is_some() {}
        let mut second = search.among(&all);
        assert!(second.next().unwrap().is_some());
        assert!(second.next().unwrap_err().message().contains("1 of 17 entries without a platform"));
        // Of one that says its platform there is no doubt.
        assert!(search.among(&[entry("linux/amd64", 1)]).next().unwrap().is_some());
    }
}
