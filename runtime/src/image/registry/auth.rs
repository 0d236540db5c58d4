//! What a registry's challenge asks for, and the forms in which credentials travel.
//!
//! Invariant: whatever a header says, reading it ends, and what cannot be read is no challenge.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

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

/// Reads `Scheme key="value", key=value, Scheme …`; what cannot be read ends the list.
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

/// A quoted or bare value, and what follows it.
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
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Base64 (RFC 4648, section 4).
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let six = group >> (18 - 6 * digit) & 63;
            text.push(if digit <= chunk.len() { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    text
}

/// What [`encode`] gave, with or without its padding.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let mut group = 0_usize;
        for digit in chunk {
            group = group << 6 | ALPHABET.iter().position(|letter| letter == digit)?;
        }
        group <<= 6 * (4 - chunk.len());
        let three = [group >> 16, group >> 8 & 255, group & 255];
        bytes.extend(three.iter().take(chunk.len() - 1).filter_map(|byte| u8::try_from(*byte).ok()));
    }
    Some(bytes)
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
