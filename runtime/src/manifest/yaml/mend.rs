//! Spellings that kubectl's YAML reader takes and the library does not: corrected in the text, where the
//! library stops.
//!
//! Invariant: no character changes its line. None changes its column, except on a line with a byte order mark.
//! An inserted character does not occur in the text, not even as an escape, and is removed again only from
//! values of a corrected text ([`restore`]).

use super::super::tree::Position;

/// Stands for a `-` that is all of an item between brackets.
const DASH: char = '\u{e000}';

/// Stands for nothing.
const NOTHING: char = '\u{e001}';

const BOM: char = '\u{feff}';

/// As many bytes may be read again for the sake of mending.
const READ_AGAIN_MAX: usize = 1 << 20;

/// The most corrections, whatever the size.
const MENDED_MAX: usize = 100;

/// How often a text may be mended, so that reading it costs no more than its size.
pub(super) fn tries(text: &str) -> usize {
    match text.contains([DASH, NOTHING]) || escapes_marks(text) {
        true => 0,
        false => (READ_AGAIN_MAX / text.len().max(1)).min(MENDED_MAX),
    }
}

/// Whether [`DASH`] or [`NOTHING`] stands in `text` as `\u` or `\U` and its number.
fn escapes_marks(text: &str) -> bool {
    let number = |escape: &str| {
        let digits = match escape.chars().next()? {
            'u' => escape.get(1..5)?,
            'U' => escape.get(1..9)?,
            _ => return None,
        };
        u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
    };
    text.split('\\').skip(1).any(|escape| matches!(number(escape), Some(DASH | NOTHING)))
}

/// Mends the place at which the library stumbled; false where kubectl would stumble too.
pub(super) fn mend(text: &mut String, at: Position) -> bool {
    let line = text.split_inclusive('\n').take(at.line as usize - 1).map(str::len).sum::<usize>();
    let column =
        text[line..].char_indices().nth(at.column as usize - 1).map_or(text.len() - line, |(i, _)| i);
    let place = line + column;
    match text[place..].chars().next() {
        Some(BOM) if column == 0 => text.replace_range(place..place + BOM.len_utf8(), ""),
        Some('-') if text[place + 1..].starts_with([',', ']', '}']) => {
            text.replace_range(place..=place, DASH.encode_utf8(&mut [0; 4]))
        }
        Some('"') => return mend_escapes(text, place),
        _ => return mend_tabs(text, line),
    }
    true
}

/// The value as it was before the correction.
pub(super) fn restore(text: String) -> String {
    if !text.contains([DASH, NOTHING]) {
        return text;
    }
    text.chars().filter(|c| *c != NOTHING).map(|c| if c == DASH { '-' } else { c }).collect()
}

/// `\'` between double quotes, from the first of them at `place` on, is a quote.
fn mend_escapes(text: &mut String, place: usize) -> bool {
    let (mut found, mut escaped) = (Vec::new(), false);
    for (index, c) in text[place..].char_indices().skip(1) {
        match (escaped, c) {
            (true, '\'') => found.push(place + index - 1),
            (false, '"') => break,
            _ => {}
        }
        escaped = !escaped && c == '\\';
    }
    // From the end, so that earlier offsets stay valid.
    for index in found.iter().rev() {
        text.replace_range(*index..=*index, NOTHING.encode_utf8(&mut [0; 4]));
    }
    !found.is_empty()
}

/// Replaces tabs before an item between brackets by spaces, on the line that begins at `line` and on the
/// continuation lines.
fn mend_tabs(text: &mut String, mut line: usize) -> bool {
    let mut is_mended = false;
    loop {
        let blank = text[line..].find(|c| !matches!(c, ' ' | '\t')).unwrap_or(text.len() - line);
        if !text[line..line + blank].contains('\t') || !is_between_brackets(text, line) {
            return is_mended;
        }
        text.replace_range(line..line + blank, &" ".repeat(blank));
        is_mended = true;
        line = text[line..].find('\n').map_or(text.len(), |end| line + end + 1);
    }
}

/// Whether the line that begins at `line` begins between brackets, by the characters on both sides of its end. To kubectl's
/// reader a tab below a bare word would go on with that.
fn is_between_brackets(text: &str, line: usize) -> bool {
    let mut before =
        text[..line].lines().rev().map(|line| line.split(" #").next().unwrap_or_default().trim());
    let before = before.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let closes = text[line..].trim_start().starts_with([']', '}']);
    before.ends_with(['[', '{', ',']) || (closes && before.ends_with([']', '}', '"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_mended_where_it_is_and_nowhere_else() {
        let mended = |text: &str, line, column| {
            let mut mended = text.to_owned();
            mend(&mut mended, Position { line, column }).then_some(mended)
        };
        assert_eq!(mended("a: [cat, -]", 1, 10).as_deref(), Some("a: [cat, \u{e000}]"));
        assert_eq!(mended("a: [cat, -, x]", 1, 10).map(restore).as_deref(), Some("a: [cat, -, x]"));
        assert_eq!(mended("a: -", 1, 4), None);
        assert_eq!(mended("a: \"it\\'s\\\\'\"", 1, 4).map(restore).as_deref(), Some("a: \"it's\\\\'\""));
        assert_eq!(mended("a: \"\\q\"", 1, 4), None);
        assert_eq!(mended("a: [\n\t\tx,\n\t'y'\n\t]", 2, 2).as_deref(), Some("a: [\n  x,\n 'y'\n ]"));
        assert_eq!(mended("a: [ # b\n# c\n\tx]", 3, 2).as_deref(), Some("a: [ # b\n# c\n x]"));
        assert_eq!(mended("a: [\nx\n\t]", 3, 2), None);
        assert_eq!(mended("a: [- ]", 1, 5), None);
        assert_eq!(mended("a:\n\tb: c", 2, 2), None);
        assert_eq!(mended("a: b\n---\n\u{feff}a: c", 3, 1).as_deref(), Some("a: b\n---\na: c"));
        assert_eq!(mended("a: \u{feff}b", 1, 4), None);
        assert_eq!(mended("", 7, 3), None);
    }

    #[test]
    fn what_is_large_or_marked_already_is_left_as_it_is() {
        assert_eq!(tries("a: [-]"), MENDED_MAX);
        assert_eq!(tries(&"x".repeat(READ_AGAIN_MAX / 2)), 2);
        assert_eq!(tries(&"x".repeat(2 * READ_AGAIN_MAX)), 0);
        for marked in ["\u{e000}", r"a: '\ue001'", r#""\u0041\uE000""#, r#""\U0000e001""#] {
            assert_eq!(tries(marked), 0, "{marked}");
        }
        for plain in [r"\ue002", r"\u", r"\ue00ä", r"\U000e0000", "\\"] {
            assert_eq!(tries(plain), MENDED_MAX, "{plain}");
        }
    }
}
