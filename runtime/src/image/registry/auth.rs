//! A registry's challenges, and the forms in which credentials travel.
//!
//! Invariant: reading a header always ends, and an unreadable one is no challenge.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters that a query has to escape.
const IN_QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b'/');
/// Files of credentials are written by many programs: padding may lack, and the bits behind the last byte are passed over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value of an Authorization header.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", encode(format!("{user}:{password}").as_bytes()))
}

/// One challenge of a WWW-Authenticate header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case: `bearer`, `basic`.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Reads `Scheme key="value", key=value, Scheme …`; an unreadable part ends the list.
pub(super) fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start_matches(' ');
        if let Some(value) = after.strip_prefix('=') {
            let Some((value, after)) = parse_value(value) else { break };
            let Some(challenge) = challenges.last_mut() else { break };
            challenge.parameters.push((word.to_ascii_lowercase(), value));
            rest = after;
        } else if word.is_empty() {
            break;
        } else {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

/// A quoted or bare value, and the rest.
pub(super) fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, &quoted[at + 1..])),
            _ => value.push(character),
        }
    }
    None
}

/// `text` as part of a URL's query.
pub(super) fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, IN_QUERY).to_string()
}

/// Base64 (RFC 4648, section 4).
pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The inverse of [`encode`], with or without padding.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.trim().trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read() {
        let all =
            parse_challenges(r#"Bearer realm="https://a/t",service="s, \"x\"",scope=a, Basic realm="r""#);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].scheme.as_str(), all[0].get("realm")), ("bearer", Some("https://a/t")));
        assert_eq!((all[0].get("service"), all[0].get("scope")), (Some("s, \"x\""), Some("a")));
        assert_eq!((all[1].scheme.as_str(), all[1].get("realm")), ("basic", Some("r")));
        assert_eq!(parse_challenges("").len(), 0);
        assert_eq!(parse_challenges("=x").len(), 0);
        assert_eq!(parse_challenges("Bearer realm=\"open").len(), 1);
    }

    proptest! {
        #[test]
        fn base64_goes_both_ways(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn no_header_breaks_the_parser(header in "\\PC{0,80}") {
            parse_challenges(&header);
        }
    }
}
