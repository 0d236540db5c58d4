//! `--filter` of `images` and `image prune`, in docker's and podman's words.
//!
//! Invariant: a filter that podrun does not have is refused by name. Filters of different kinds all have to hold, and
//! so do several labels; of several references one is enough, as with docker.

use std::str::FromStr;
use std::time::SystemTime;

use runtime::Result;
use runtime::image::{Image, ImageStore, Reference};
use runtime::time::Time;

use crate::duration;

/// One `KEY=VALUE` after `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Whether the image has no name.
    Dangling(bool),
    /// A pattern that one of its names has.
    Reference(String),
    /// Built before that image.
    Before(String),
    /// Built after that image.
    Since(String),
    /// Built before that moment.
    Until(Time),
    /// A label, and perhaps its value.
    Label(String, Option<String>),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        const KNOWN: &str = "dangling, reference, before, since, until and label are the filters";
        let (key, value) = text.split_once('=').ok_or_else(|| format!("write it as KEY=VALUE; {KNOWN}"))?;
        if value.is_empty() {
            return Err(format!("{key}: a value is wanted"));
        }
        Ok(match key {
            "dangling" => Self::Dangling(match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err("dangling: one of true, false is wanted".into()),
            }),
            "reference" => Self::Reference(value.to_owned()),
            "before" => Self::Before(value.to_owned()),
            "since" | "after" => Self::Since(value.to_owned()),
            "until" => Self::Until(moment(value)?),
            "label" => match value.split_once('=') {
                Some((label, value)) => Self::Label(label.to_owned(), Some(value.to_owned())),
                None => Self::Label(value.to_owned(), None),
            },
            _ => return Err(format!("{key:?} is none; {KNOWN}")),
        })
    }
}

/// A time, or how long ago it was.
fn moment(text: &str) -> std::result::Result<Time, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = duration::parse(text).map_err(|_| {
        format!("until: {text:?} is neither a duration (24h) nor a time (2026-01-31T12:00:00Z)")
    })?;
    let then = SystemTime::now().checked_sub(ago).ok_or_else(|| format!("until: {text} is too long ago"))?;
    Ok(then.into())
}

/// Filters with resolved images.
#[derive(Debug)]
pub(crate) struct Filters<'a> {
    all: &'a [Filter],
    before: Option<Time>,
    since: Option<Time>,
}

impl<'a> Filters<'a> {
    /// Resolves the images that filters name; a missing one is an error.
    pub(crate) fn new(all: &'a [Filter], store: &ImageStore) -> Result<Self> {
        let (mut before, mut since): (Option<Time>, Option<Time>) = (None, None);
        for filter in all {
            match filter {
                Filter::Before(image) => {
                    let then = built(&store.known(image)?);
                    before = Some(before.map_or(then, |other| other.min(then)));
                }
                Filter::Since(image) => {
                    let then = built(&store.known(image)?);
                    since = Some(since.map_or(then, |other| other.max(then)));
                }
                Filter::Until(then) => before = Some(before.map_or(*then, |other| other.min(*then))),
                Filter::Dangling(_) | Filter::Reference(_) | Filter::Label(..) => {}
            }
        }
        Ok(Self { all, before, since })
    }

    /// Whether the image is one that is asked for.
    pub(crate) fn hold(&self, image: &Image) -> bool {
        let names = || image.names.iter().any(|name| self.shows(name));
        self.in_time(image)
            && (names() || !self.all.iter().any(|filter| matches!(filter, Filter::Reference(_))))
            && self.all.iter().all(|filter| match filter {
                Filter::Dangling(wanted) => image.names.is_empty() == *wanted,
                Filter::Label(label, value) => {
                    let own = image.config.labels.get(label);
                    own.is_some() && (value.is_none() || own == value.as_ref())
                }
                _ => true,
            })
    }

    fn in_time(&self, image: &Image) -> bool {
        let then = built(image);
        self.before.is_none_or(|before| then < before) && self.since.is_none_or(|since| then > since)
    }

    /// Whether that name of an image is selected.
    pub(crate) fn shows(&self, name: &str) -> bool {
        let mut patterns = self.all.iter().filter_map(|filter| match filter {
            Filter::Reference(pattern) => Some(pattern),
            _ => None,
        });
        let Some(first) = patterns.next() else { return true };
        let forms = forms(name);
        std::iter::once(first)
            .chain(patterns)
            .any(|pattern| forms.iter().any(|form| matches(pattern.as_bytes(), form.as_bytes())))
    }
}

/// When an image was built; one that does not say is older than all that do.
fn built(image: &Image) -> Time {
    let said = image.created.as_deref().and_then(|text| text.parse().ok());
    said.unwrap_or(Time::from_unix(i64::MIN))
}

/// The ways to write a name: whole, as people write it, each with its tag and without.
fn forms(name: &str) -> Vec<String> {
    let Ok(reference) = name.parse::<Reference>() else { return vec![name.to_owned()] };
    let familiar = reference.familiar_repository();
    let tag = reference.tag().unwrap_or_default();
    vec![name.to_owned(), reference.repository(), format!("{familiar}:{tag}"), familiar]
}

/// Whether `text` is as the pattern says: `*` is anything but a slash, `?` one character but a slash.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            let within = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            // Stars side by side are one: each would double the work of the next.
            let rest = &rest[rest.iter().take_while(|byte| **byte == b'*').count()..];
            (0..=within).any(|len| matches(rest, &text[len..]))
        }
        (Some((b'?', pattern)), Some((byte, text))) => *byte != b'/' && matches(pattern, text),
        (Some((wanted, pattern)), Some((byte, text))) => wanted == byte && matches(pattern, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_dockers_and_others_are_refused_by_name() {
        assert_eq!("dangling=true".parse(), Ok(Filter::Dangling(true)));
        assert_eq!("label=a=b=c".parse(), Ok(Filter::Label("a".into(), Some("b=c".into()))));
        assert_eq!("label=a".parse(), Ok(Filter::Label("a".into(), None)));
        assert_eq!("after=x".parse(), Ok(Filter::Since("x".into())));
        assert_eq!("until=2026-01-31T12:00:00Z".parse(), Ok(Filter::Until(Time::from_unix(1_769_860_800))));
        assert!(matches!("until=24h".parse(), Ok(Filter::Until(_))));
        for (text, why) in [
            ("dangling", "KEY=VALUE"),
            ("dangling=maybe", "true, false"),
            ("readonly=true", "\"readonly\" is none; dangling, reference"),
            ("until=soon", "neither"),
            ("label=", "a value"),
        ] {
            let said = text.parse::<Filter>().unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, name) in [
            ("busybox", "docker.io/library/busybox:1.36"),
            ("busy*", "docker.io/library/busybox:1.36"),
            ("busybox:1.*", "docker.io/library/busybox:1.36"),
            ("docker.io/*/busybox", "docker.io/library/busybox:1.36"),
            ("localhost/*/b*:?", "localhost/podrun/busybox:1"),
        ] {
            assert!(forms(name).iter().any(|form| matches(pattern.as_bytes(), form.as_bytes())), "{pattern}");
        }
        for (pattern, name) in
            [("*", "localhost/podrun/busybox:1"), ("busybox:2", "docker.io/library/busybox:1.36")]
        {
            assert!(
                !forms(name).iter().any(|form| matches(pattern.as_bytes(), form.as_bytes())),
                "{pattern}"
            );
        }
    }
}
