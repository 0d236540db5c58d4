//! Mount options: the words of the runtime-spec's tables, sorted by their effect.
//!
//! Invariant: pure, and total over the tables: a word is an attribute, a propagation, a kind of
//! bind, or a parameter for the file system. Of two words that contradict each other the later one holds.

use super::plan::Change;
use crate::sys::file::mount::{Attributes, Depth, Propagation};

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
    /// `idmap` or `ridmap`: owners are mapped by the container's user namespace, or by the mount's own
    /// mappings.
    pub(super) idmap: Option<Depth>,
    /// `tmpcopyup`: a tmpfs begins with a copy of the directory it covers.
    pub(super) copy_up: bool,
    /// `remount`: changes the present mount.
    pub(super) remount: bool,
    /// Parameters of the file system itself: `key=value`, or a flag.
    pub(super) data: Vec<(String, Option<String>)>,
    /// Words that do nothing.
    pub(super) idle: Vec<String>,
}

impl Options {
    /// The attribute changes of a detached tree, call by call; without a propagation word it is private.
    pub(super) fn changes(&self) -> Vec<Change> {
        let (propagation, depth) = self.propagation.unwrap_or((Propagation::Private, Depth::Recursive));
        let first = Change { depth, attributes: Attributes::default(), propagation: Some(propagation) };
        std::iter::once(first).chain(self.attribute_changes()).collect()
    }

    /// The attributes alone. The recursive ones come last, as runc and crun have it: they hold for the mount itself too.
    fn attribute_changes(&self) -> impl Iterator<Item = Change> {
        [(Depth::One, self.attributes), (Depth::Recursive, self.recursive)]
            .into_iter()
            .filter(|(_, attributes)| !attributes.is_empty())
            .map(|(depth, attributes)| Change { depth, attributes, propagation: None })
    }

    /// The attribute changes of a present mount by `remount`: as by mount(2), attributes that are not named are
    /// cleared, except the access-time mode.
    pub(super) fn remount_changes(&self) -> Vec<Change> {
        let Attributes { set, clear } = self.attributes;
        let attributes = Attributes { set, clear: clear | Attributes::FLAGS & !set };
        let propagation = self.propagation.map(|(propagation, depth)| Change {
            depth,
            attributes: Attributes::default(),
            propagation: Some(propagation),
        });
        let whole = Self { attributes, recursive: self.recursive, ..Self::default() };
        propagation.into_iter().chain(whole.attribute_changes()).collect()
    }

    /// Removes and returns parameters that have no effect on an existing file system; mount(8) leaves them out
    /// too, and generators of configs add them to every mount.
    pub(super) fn take_data(&mut self) -> Option<String> {
        if self.data.is_empty() {
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

/// (word, bits to set, bits to clear). Of the three kinds of access times, relatime is the one without a bit.
const ATTRIBUTES: [(&str, u64, u64); 18] = [
    ("ro", Attributes::RDONLY, 0),
    ("rw", 0, Attributes::RDONLY),
    ("nosuid", Attributes::NOSUID, 0),
    ("suid", 0, Attributes::NOSUID),
    ("nodev", Attributes::NODEV, 0),
    ("dev", 0, Attributes::NODEV),
    ("noexec", Attributes::NOEXEC, 0),
    ("exec", 0, Attributes::NOEXEC),
    ("noatime", Attributes::NOATIME, Attributes::ATIME_MASK),
    ("atime", 0, Attributes::NOATIME),
    ("strictatime", Attributes::STRICTATIME, Attributes::ATIME_MASK),
    ("nostrictatime", 0, Attributes::STRICTATIME),
    ("relatime", 0, Attributes::ATIME_MASK),
    ("norelatime", 0, 0),
    ("nodiratime", Attributes::NODIRATIME, 0),
    ("diratime", 0, Attributes::NODIRATIME),
    ("nosymfollow", Attributes::NOSYMFOLLOW, 0),
    ("symfollow", 0, Attributes::NOSYMFOLLOW),
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

/// Flags of a new superblock: the word, and its opposite, which is the default.
const SUPERBLOCK: [(&str, &str); 4] =
    [("sync", "async"), ("dirsync", ""), ("lazytime", "nolazytime"), ("mand", "nomand")];

/// Words that change nothing.
const DEFAULTS: [&str; 4] = ["defaults", "noiversion", "loud", "silent"];

/// Words that change nothing any more: the kernel counts a file's versions where its file system can.
const IDLE: [&str; 1] = ["iversion"];

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
    let superblock = SUPERBLOCK.iter().flat_map(|(word, opposite)| [*word, *opposite]);
    let rest = ["bind", "rbind", "idmap", "ridmap", "tmpcopyup", "remount"];
    let single = superblock.chain(DEFAULTS).chain(IDLE).chain(rest).filter(|word| !word.is_empty());
    let mut all: Vec<String> =
        plain.chain(recursive).chain(propagation).chain(single.map(str::to_owned)).collect();
    all.sort();
    all
}

/// Sorts a mount's options. Empty ones, which podman writes, say nothing.
pub(super) fn parse(words: &[String]) -> Options {
    let mut options = Options::default();
    let says = |word: &&str| !word.is_empty() && !DEFAULTS.contains(word);
    for word in words.iter().map(String::as_str).filter(says) {
        if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(known, ..)| *known == word) {
            add(&mut options.attributes, *set, *clear);
        } else if let Some((_, set, clear)) =
            ATTRIBUTES.iter().find(|(known, ..)| word.strip_prefix('r') == Some(known))
        {
            add(&mut options.recursive, *set, *clear);
        } else if let Some((_, propagation, depth)) = PROPAGATIONS.iter().find(|(known, ..)| *known == word) {
            options.propagation = Some((*propagation, *depth));
        } else if let Some((taken_back, _)) = SUPERBLOCK.iter().find(|(_, opposite)| *opposite == word) {
            options.data.retain(|(key, _)| key != taken_back);
        } else {
            match word {
                "bind" => options.bind = options.bind.or(Some(Depth::One)),
                "rbind" => options.bind = Some(Depth::Recursive),
                "idmap" => options.idmap = options.idmap.or(Some(Depth::One)),
                "ridmap" => options.idmap = Some(Depth::Recursive),
                "tmpcopyup" => options.copy_up = true,
                "remount" => options.remount = true,
                _ if IDLE.contains(&word) => options.idle.push(word.to_owned()),
                _ => options.data.extend(parameters(word)),
            }
        }
    }
    options
}

/// The parameters of a file system in one word: mount(2) takes them with commas between, so that some write several. A
/// comma behind a backslash is the value's, as for overlayfs, which takes the backslash away itself.
fn parameters(word: &str) -> impl Iterator<Item = (String, Option<String>)> {
    let mut after_backslash = false;
    let parts = word.split(move |char| {
        let ends = char == ',' && !after_backslash;
        after_backslash = char == '\\' && !after_backslash;
        ends
    });
    parts.filter(|part| !part.is_empty()).map(|part| match part.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (part.to_owned(), None),
    })
}

/// The later word wins, as on a command line. The kernel takes the kinds of access times as one value: a word against
/// one of them asks for relatime, unless an earlier one asked for a third.
fn add(attributes: &mut Attributes, set: u64, clear: u64) {
    const ATIME: u64 = Attributes::ATIME_MASK;
    let clear = match clear & ATIME {
        0 | ATIME => clear,
        against if attributes.set & ATIME & !against != 0 => return,
        _ => clear | ATIME,
    };
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !(set & !ATIME) | clear;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &str) -> Options {
        parse(&words.split(',').map(str::to_owned).collect::<Vec<_>>())
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
    fn access_times_are_of_one_kind() {
        const MASK: u64 = Attributes::ATIME_MASK;
        for (words, set, clear) in [
            ("noatime,strictatime", Attributes::STRICTATIME, MASK),
            ("strictatime,atime", Attributes::STRICTATIME, MASK),
            ("noatime,nostrictatime", Attributes::NOATIME, MASK),
            ("noatime,atime", 0, MASK),
            ("strictatime,nostrictatime", 0, MASK),
            ("strictatime,norelatime", Attributes::STRICTATIME, MASK),
            ("atime", 0, MASK),
            ("nodiratime,relatime", Attributes::NODIRATIME, MASK),
            ("norelatime", 0, 0),
        ] {
            let found = options(words).attributes;
            assert_eq!((found.set, found.clear), (set, clear), "{words}");
        }
    }

    #[test]
    fn a_word_takes_back_what_a_file_system_was_to_be_told() {
        let told = |words| options(words).data.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(told("sync,dirsync,lazytime,mand"), ["sync", "dirsync", "lazytime", "mand"]);
        assert_eq!(told("sync,lazytime,mand,size=1,async,nolazytime,nomand"), ["size"]);
        assert_eq!(told("async,sync"), ["sync"]);
    }

    #[test]
    fn what_holds_below_holds_for_the_mount_itself_too() {
        let changes = options("rbind,ro,rrw").changes();
        let [first, own, below] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((first.propagation, first.depth), (Some(Propagation::Private), Depth::Recursive));
        assert_eq!((own.attributes.set, own.depth), (Attributes::RDONLY, Depth::One));
        assert_eq!((below.attributes.clear, below.depth), (Attributes::RDONLY, Depth::Recursive));
    }

    #[test]
    fn a_remount_clears_what_it_does_not_name() {
        let changes = options("remount,ro,nosuid,size=1k").remount_changes();
        let [change] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(change.attributes.set, Attributes::RDONLY | Attributes::NOSUID);
        assert_eq!(change.attributes.clear, Attributes::FLAGS & !change.attributes.set);
        assert_eq!(change.attributes.clear & Attributes::ATIME_MASK, 0);
    }

    #[test]
    fn one_word_may_hold_several_parameters_or_none() {
        let words = ["", "size=1k,mode=700,", "lowerdir=/a\\,b:/c"].map(str::to_owned);
        let found: Vec<_> =
            parse(&words).data.into_iter().map(|(key, value)| format!("{key} {}", value.unwrap())).collect();
        assert_eq!(found, ["size 1k", "mode 700", "lowerdir /a\\,b:/c"]);
    }

    #[test]
    fn data_is_taken() {
        let mut bind = options("bind,ro,size=1k,newinstance");
        assert_eq!(bind.take_data().as_deref(), Some("size=1k,newinstance"));
        assert_eq!((bind.data.len(), bind.attributes.set), (0, Attributes::RDONLY));
        assert_eq!(bind.take_data(), None);
    }
}
