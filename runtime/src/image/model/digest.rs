//! Digests of content, and the ids that are made of them.
//!
//! Invariant: a [`Digest`] is `sha256` or `sha512` and exactly as many lower-case hex digits as that
//! algorithm has. Nothing else ever becomes part of a path or of a URL.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, ErrorKind, Result, quoted};

/// The algorithm of a [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, which every registry uses.
    Sha256,
    /// SHA-512, the other one that OCI registers.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub(in crate::image) const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The algorithm's name, as it stands before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hex digits its digests have.
    pub(in crate::image) fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Whether its digests look like this.
    fn has(self, hex: &str) -> bool {
        hex.len() == self.hex_len() && hex.bytes().all(is_lower_hex)
    }
}

/// `sha256:<64 hex digits>` or `sha512:<128 hex digits>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::with(Algorithm::Sha256, bytes)
    }

    /// The digest of `bytes` by that algorithm.
    pub fn with(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest with these hex digits: as many as there are only one algorithm has.
    pub(in crate::image) fn of_hex(hex: &str) -> Option<Self> {
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.has(hex))?;
        Some(Self { algorithm, hex: hex.to_owned() })
    }

    /// Whether `text` is the beginning of this: of its hex digits, or of the whole with the algorithm before a colon.
    pub(in crate::image) fn begins_with(&self, text: &str) -> bool {
        match text.split_once(':') {
            Some((algorithm, hex)) => algorithm == self.algorithm.name() && self.hex.starts_with(hex),
            None => self.hex.starts_with(text),
        }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve hex digits, as tables show an id.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::new(ErrorKind::Image, format!("digest {}: {why}", quoted(text)));
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| wrong("no algorithm before a colon"))?;
        let algorithm = Algorithm::ALL.into_iter().find(|known| known.name() == algorithm);
        let algorithm = algorithm.ok_or_else(|| wrong("the algorithm is neither sha256 nor sha512"))?;
        if !algorithm.has(hex) {
            return Err(wrong(&format!("not {} lower-case hex digits", algorithm.hex_len())));
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

/// Whether `byte` is a hex digit as digests are written.
pub(crate) fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Reads a digest where it lies: a record holds some, and a store a thousand records.
struct Text;

impl Visitor<'_> for Text {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Digest, E> {
        text.parse().map_err(|error: Error| E::custom(error.message()))
    }
}

/// The id of a stack of layers: the layers below are part of its name, so that one directory serves every image
/// with the same lower layers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(Digest);

impl ChainId {
    /// The id of the layer `diff_id` on top of `parent`.
    pub fn of(parent: Option<&ChainId>, diff_id: &Digest) -> Self {
        match parent {
            None => Self(diff_id.clone()),
            Some(parent) => Self(Digest::of(format!("{parent} {diff_id}").as_bytes())),
        }
    }

    /// The ids of a whole image, the lowest layer first.
    pub fn stack(diff_ids: &[Digest]) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            let next = Self::of(chain.last(), diff_id);
            chain.push(next);
        }
        chain
    }

    /// The first twelve hex digits, as tables show it.
    pub fn short(&self) -> &str {
        self.0.short()
    }

    /// The name of the layer's directory: the hex digits.
    pub fn directory(&self) -> &str {
        self.0.hex()
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A running digest.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

impl Hasher {
    /// The digest of nothing, yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// Takes in all of `source`: its length.
    pub(in crate::image) fn take_in(&mut self, mut source: impl std::io::Read) -> std::io::Result<u64> {
        let (mut buffer, mut taken) = (vec![0; 256 * 1024], 0);
        loop {
            match source.read(&mut buffer)? {
                0 => return Ok(taken),
                len => {
                    self.update(&buffer[..len]);
                    taken += len as u64;
                }
            }
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest { algorithm: Algorithm::Sha256, hex: hex(&state.finalize()) },
            State::Sha512(state) => Digest { algorithm: Algorithm::Sha512, hex: hex(&state.finalize()) },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_exact_or_refused() {
        let empty = Digest::of(b"");
        assert_eq!(
            empty.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(empty.to_string().parse::<Digest>().unwrap(), empty);
        let (no_colon, unknown) = ("no algorithm before a colon", "neither sha256 nor sha512");
        let (not_64, not_128) = ("not 64 lower-case hex digits", "not 128 lower-case hex digits");
        for (wrong, why) in [
            ("", no_colon),
            ("sha256", no_colon),
            ("sha256:", not_64),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", unknown),
            ("sha256:../../x", not_64),
            ("sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", not_64),
            ("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85", not_64),
            ("sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", not_128),
            ("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 ", not_64),
        ] {
            let error = wrong.parse::<Digest>().expect_err(wrong);
            assert!(error.message().contains(why), "{error}");
        }
    }

    #[test]
    fn hex_digits_alone_are_a_digest_of_the_algorithm_that_has_as_many() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::with(algorithm, b"x");
            assert_eq!(Digest::of_hex(digest.hex()), Some(digest.clone()));
            assert_eq!(Digest::of_hex(&digest.hex()[1..]), None);
            for text in [&digest.hex()[..4], digest.hex(), &digest.to_string(), &digest.to_string()[..12]] {
                assert!(digest.begins_with(text), "{text}");
            }
            let other = if algorithm == Algorithm::Sha256 { "sha512" } else { "sha256" };
            assert!(!digest.begins_with(&format!("{other}:{}", &digest.hex()[..4])));
        }
    }

    #[test]
    fn a_chain_id_names_all_that_lies_below() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let chain = ChainId::stack(&[a.clone(), b.clone()]);
        assert_eq!(chain[0].to_string(), a.to_string());
        assert_eq!(chain[1].to_string(), Digest::of(format!("{a} {b}").as_bytes()).to_string());
        assert_ne!(ChainId::stack(&[b, a])[1], chain[1]);
    }
}
