//! Mount options: the words of the runtime-spec's tables, sorted by what they act on.
//!
//! Invariant: pure, and total over the tables: a word is an attribute, a propagation, a kind of
//! bind, or a parameter for the file system; what podrun does not do is refused by name.

use crate::error::{Error, ErrorKind, Result};
use crate::sys::mount::{Attributes, Depth, Propagation};

/// A mount's options, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// `bind` or `rbind`.
    pub(super) bind: Option<Depth>,
    /// For the mount itself.
    pub(super) attributes: Attributes,
    /// For the mount and all below it.
    pub(super) recursive: Attributes,
    /// How mounts travel.
    pub(super) propagation: Option<(Propagation, Depth)>,
    /// `idmap` or `ridmap`: owners are those of the container's user namespace, or of the mount's own mappings.
    pub(super) idmap: Option<Depth>,
    /// `tmpcopyup`: a tmpfs begins with a copy of what it covers.
    pub(super) copy_up: bool,
    /// What the file system itself is told: `key=value`, or a flag.
    pub(super) data: Vec<(String, Option<String>)>,
}

impl Options {
    /// Takes what a bind mount can do nothing with: the file system is there already. Gives the words; mount(8)
    /// leaves them out too, and generators of configs add them to every mount.
    pub(super) fn take_data_of_bind(&mut self) -> Option<String> {
        if self.bind.is_none() || self.data.is_empty() {
            return None;
        }
        let word = |(key, value): (String, Option<String>)| match value {
            Some(value) => format!("{key}={value}"),
            None => key,
        };
        let words: Vec<String> = std::mem::take(&mut self.data).into_iter().map(word).collect();
        Some(words.join(","))
    }
}

/// (word, bits to set, bits to clear)
const ATTRIBUTES: [(&str, u64, u64); 17] = [
    ("ro", Attributes::RDONLY, 0),
    ("rw", 0, Attributes::RDONLY),
    ("nosuid", Attributes::NOSUID, 0),
    ("suid", 0, Attributes::NOSUID),
    ("nodev", Attributes::NODEV, 0),
    ("dev", 0, Attributes::NODEV),
    ("noexec", Attributes::NOEXEC, 0),
    ("exec", 0, Attributes::NOEXEC),
    ("noatime", Attributes::NOATIME, Attributes::ATIME_MASK),
    ("atime", 0, Attributes::ATIME_MASK),
    ("strictatime", Attributes::STRICTATIME, Attributes::ATIME_MASK),
    ("nostrictatime", 0, Attributes::ATIME_MASK),
    ("relatime", 0, Attributes::ATIME_MASK),
    ("norelatime", Attributes::STRICTATIME, Attributes::ATIME_MASK),
    ("nodiratime", Attributes::NODIRATIME, 0),
    ("diratime", 0, Attributes::NODIRATIME),
    ("nosymfollow", Attributes::NOSYMFOLLOW, 0),
];

const PROPAGATIONS: [(&str, Propagation, Depth); 8] = [
    ("private", Propagation::Private, Depth::One),
    ("rprivate", Propagation::Private, Depth::Recursive),
    ("slave", Propagation::Slave, Depth::One),
    ("rslave", Propagation::Slave, Depth::Recursive),
    ("shared", Propagation::Shared, Depth::One),
    ("rshared", Propagation::Shared, Depth::Recursive),
    ("unbindable", Propagation::Unbindable, Depth::One),
    ("runbindable", Propagation::Unbindable, Depth::Recursive),
];

/// Words that name what a new mount is anyway.
const DEFAULTS: [&str; 9] =
    ["defaults", "async", "nolazytime", "nomand", "noiversion", "loud", "silent", "symfollow", "rsymfollow"];

/// What the kernel, or no file system of a container, does any more.
const REFUSED: [&str; 2] = ["mand", "iversion"];

/// The propagation that a word names.
pub(super) fn propagation(word: &str) -> Option<(Propagation, Depth)> {
    PROPAGATIONS
        .iter()
        .find(|(known, ..)| *known == word)
        .map(|(_, propagation, depth)| (*propagation, *depth))
}

/// Every word that is understood, in the order of the alphabet.
pub fn words() -> Vec<String> {
    let plain = ATTRIBUTES.iter().map(|(word, ..)| (*word).to_owned());
    let recursive = ATTRIBUTES.iter().map(|(word, ..)| format!("r{word}"));
    let propagation = PROPAGATIONS.iter().map(|(word, ..)| (*word).to_owned());
    let defaults = DEFAULTS.iter().map(|word| (*word).to_owned());
    let binds = ["bind", "rbind", "idmap", "ridmap", "tmpcopyup"].map(str::to_owned);
    let mut all: Vec<String> =
        plain.chain(recursive).chain(propagation).chain(defaults).chain(binds).collect();
    all.sort();
    all
}

/// Sorts a mount's options.
pub(super) fn parse(destination: &str, words: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for word in words.iter().map(String::as_str).filter(|word| !DEFAULTS.contains(word)) {
        if REFUSED.contains(&word) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("mount {destination}: option `{word}` is not supported"),
            ));
        }
        if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(known, ..)| *known == word) {
            add(&mut options.attributes, *set, *clear);
        } else if let Some((_, set, clear)) =
            ATTRIBUTES.iter().find(|(known, ..)| word.strip_prefix('r') == Some(known))
        {
            add(&mut options.recursive, *set, *clear);
        } else if let Some((_, propagation, depth)) = PROPAGATIONS.iter().find(|(known, ..)| *known == word) {
            options.propagation = Some((*propagation, *depth));
        } else {
            match word {
                "bind" => options.bind = options.bind.or(Some(Depth::One)),
                "rbind" => options.bind = Some(Depth::Recursive),
                "idmap" => options.idmap = options.idmap.or(Some(Depth::One)),
                "ridmap" => options.idmap = Some(Depth::Recursive),
                "tmpcopyup" => options.copy_up = true,
                _ => options.data.push(match word.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (word.to_owned(), None),
                }),
            }
        }
    }
    Ok(options)
}

/// The later word wins, as on a command line.
fn add(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !(set & !Attributes::ATIME_MASK) | clear;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &str) -> Options {
        parse("/x", &words.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_are_sorted_by_what_they_act_on() {
        let all = options("rbind,ro,nosuid,rnoexec,rslave");
        assert_eq!(all.bind, Some(Depth::Recursive));
        assert_eq!(all.attributes.set, Attributes::RDONLY | Attributes::NOSUID);
        assert_eq!(all.recursive.set, Attributes::NOEXEC);
        assert_eq!(all.propagation, Some((Propagation::Slave, Depth::Recursive)));
        assert!(all.data.is_empty());
    }

    #[test]
    fn r_stands_before_words_that_begin_with_r_too() {
        assert_eq!(options("rro").recursive.set, Attributes::RDONLY);
        assert_eq!(options("rrw").recursive.clear, Attributes::RDONLY);
        assert_eq!(options("relatime").attributes.clear, Attributes::ATIME_MASK);
        assert_eq!(options("rrelatime").recursive.clear, Attributes::ATIME_MASK);
    }

    #[test]
    fn the_last_word_wins() {
        let last = options("ro,rw").attributes;
        assert_eq!((last.set, last.clear), (0, Attributes::RDONLY));
        let last = options("rw,ro").attributes;
        assert_eq!((last.set, last.clear), (Attributes::RDONLY, 0));
    }

    #[test]
    fn the_rest_is_for_the_file_system() {
        assert_eq!(
            options("newinstance,mode=0620").data,
            [("newinstance".to_owned(), None), ("mode".to_owned(), Some("0620".to_owned()))]
        );
    }

    #[test]
    fn what_is_not_done_is_refused() {
        assert!(parse("/x", &["mand".to_owned()]).is_err());
    }

    #[test]
    fn a_bind_has_no_data() {
        let mut bind = options("bind,ro,size=1k,newinstance");
        assert_eq!(bind.take_data_of_bind().as_deref(), Some("size=1k,newinstance"));
        assert_eq!((bind.data.len(), bind.attributes.set), (0, Attributes::RDONLY));
        assert_eq!(bind.take_data_of_bind(), None);
        assert_eq!(options("size=1k").take_data_of_bind(), None);
    }
}
