//! Untrusted text in podrun's output: of an image, a registry, a manifest, a container.
//!
//! Invariant: nothing of it steers a terminal, or changes the order in which a line reads. In a message it is cut where the
//! message is made, so that none is longer than its own words and a few of these: errors are stored, sent and logged.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// As many characters of a stranger's text as a message shows.
pub const SHOWN_MAX: usize = 200;

/// Whether a terminal acts on `c` instead of showing it: the control characters, ESC and U+009B (CSI) among
/// them; the line and paragraph separators; and characters that reverse text (UAX #9, "Trojan Source":
/// CVE-2021-42574).
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// All of `text`, with characters that steer a terminal as escapes: `\u{1b}`.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut shown, c));
    Cow::Owned(shown)
}

/// [`harmless`], line by line: podrun's own text of several lines keeps them.
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && steers(c)) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> = text.split('\n').map(harmless).collect();
    Cow::Owned(lines.join("\n"))
}

/// The beginning of `text` as a message shows it, without quotes: a name, a place, another program's words.
pub fn shown(text: &str) -> Foreign<'_> {
    Foreign { text, quoted: false }
}

/// The beginning of `text` as a message quotes it: `"name"`.
pub fn quoted(text: &str) -> Foreign<'_> {
    Foreign { text, quoted: true }
}

/// A stranger's text in a message; see [`shown`] and [`quoted`].
#[derive(Debug, Clone, Copy)]
pub struct Foreign<'a> {
    text: &'a str,
    quoted: bool,
}

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = self.text.char_indices().nth(SHOWN_MAX).map(|(at, _)| at);
        let begin = &self.text[..cut.unwrap_or(self.text.len())];
        let more = if cut.is_some() { "…" } else { "" };
        match self.quoted {
            // The ellipsis stands outside: it is not part of the text.
            true => write!(f, "{begin:?}{more}"),
            false => write!(f, "{}{more}", harmless(begin)),
        }
    }
}

fn push(shown: &mut String, c: char) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        c if steers(c) => write!(shown, "{}", c.escape_unicode()).expect("a string takes all"),
        c => shown.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that must never come through: ESC, C1's CSI, BEL, DEL, a new line, an override, an isolate, a
    /// separator.
    const STEERING: [char; 9] =
        ['\u{1b}', '\u{9b}', '\u{7}', '\u{7f}', '\n', '\u{202e}', '\u{2066}', '\u{2028}', '\u{200f}'];

    #[test]
    fn what_steers_is_an_escape_and_all_else_stays() {
        for c in STEERING {
            let text = format!("a{c}b");
            for said in [harmless(&text).into_owned(), shown(&text).to_string(), quoted(&text).to_string()] {
                assert!(!said.contains(c) && said.contains("a\\"), "{c:?} in {said:?}");
            }
        }
        assert_eq!(harmless("a\u{1b}[31m\r"), "a\\u{1b}[31m\\r");
        assert!(matches!(harmless("grün — 日本 \\ \""), Cow::Borrowed("grün — 日本 \\ \"")));
        assert_eq!(harmless_lines("a\nb\u{1b}\u{9b}"), "a\nb\\u{1b}\\u{9b}");
    }

    #[test]
    fn a_message_has_two_hundred_characters_of_it() {
        let whole = "ä".repeat(SHOWN_MAX);
        assert_eq!(shown(&whole).to_string(), whole);
        assert_eq!(quoted(&whole).to_string(), format!("\"{whole}\""));
        let longer = whole.clone() + "x";
        assert_eq!(shown(&longer).to_string(), format!("{whole}…"));
        assert_eq!(quoted(&longer).to_string(), format!("\"{whole}\"…"));
    }
}
