//! Corrections of PAX records before tar-core reads them: records that it would refuse or misread are read and
//! hidden here.
//!
//! Invariant: records change in place, and only in the first letter of a key, which then is unknown; bytes that
//! are no record are left for the parser to refuse.

use std::collections::BTreeSet;
use std::ops::Range;

use super::wrong;
use crate::error::Result;

const MTIME: &[u8] = b"mtime";
/// In place of a key's first letter: no key that means something begins so.
const UNKNOWN: u8 = b'-';

/// Reads the time of `records`, which may lie before 1970, and drops the records that an empty value deletes,
/// so that the header's own field counts, as for Go.
pub(super) fn mend(records: &mut [u8]) -> Result<Option<(i64, i64)>> {
    let mut keys: Vec<(Range<usize>, bool)> = Vec::new();
    let (mut mtime, mut deleted) = (None, BTreeSet::new());
    let mut at = 0;
    while let Some((key, value)) = record(&records[at..]) {
        let (key, value) = (at + key.start..at + key.end, at + value.start..at + value.end);
        // Behind the value stands the record's end.
        at = value.end + 1;
        let says_nothing = value.is_empty();
        if says_nothing {
            deleted.insert(records[key.clone()].to_vec());
        } else if !deleted.is_empty() {
            // Later records of the key count again.
            deleted.remove(&records[key.clone()]);
        }
        if &records[key.clone()] == MTIME {
            mtime = Some(value);
        }
        keys.push((key, says_nothing));
    }
    let mtime = mtime.map(|value| &records[value]).filter(|text| !text.is_empty());
    let mtime =
        mtime.map(|text| time(text).ok_or_else(|| wrong("has a PAX time that is none"))).transpose()?;
    for (key, says_nothing) in keys {
        let name = &records[key.clone()];
        if (says_nothing || name == MTIME || deleted.contains(name)) && name.first().is_some_and(u8::is_ascii)
        {
            records[key.start] = UNKNOWN;
        }
    }
    Ok(mtime)
}

/// Where key and value of the first record lie: `LENGTH KEY=VALUE\n`.
fn record(records: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let len: usize = str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    let (last, text) = records.get(space + 1..len)?.split_last()?;
    let equals = space + 1 + text.iter().position(|byte| *byte == b'=')?;
    (*last == b'\n').then_some((space + 1..equals, equals + 1..len - 1))
}

/// Seconds and nanoseconds since 1970 of a decimal number, perhaps a negative one.
fn time(text: &[u8]) -> Option<(i64, i64)> {
    let text = str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: i64 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_on_both_sides_of_1970() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("-1", Some((-1, 0))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-0.25", Some((-1, 750_000_000))),
            ("-0.0", Some((0, 0))),
            ("-2147483649.000000001", Some((-2_147_483_650, 999_999_999))),
            ("4294967296.1234567899", Some((4_294_967_296, 123_456_789))),
            ("", None),
            ("-", None),
            (".5", None),
            ("1.-5", None),
            ("1.5.5", None),
            ("9223372036854775808", None),
            ("-9223372036854775808.5", None),
            ("now", None),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn an_empty_value_takes_its_key_away() {
        for (before, after) in [
            ("8 path=\n", "8 -ath=\n"),
            ("9 path=a\n8 path=\n", "9 -ath=a\n8 -ath=\n"),
            ("8 path=\n9 path=a\n", "8 -ath=\n9 path=a\n"),
            ("24 SCHILY.xattr.user.a=\n9 path=a\n", "24 -CHILY.xattr.user.a=\n9 path=a\n"),
            ("9 mtime=\n", "9 -time=\n"),
            ("4 =\n", "4 =\n"),
            ("8 path=\n9 path", "8 -ath=\n9 path"),
            ("x path=\n", "x path=\n"),
        ] {
            let mut records = before.as_bytes().to_vec();
            mend(&mut records).unwrap();
            assert_eq!(String::from_utf8(records).unwrap(), after, "{before}");
        }
        let mut records = b"11 mtime=7\n12 mtime=-2\n".to_vec();
        assert_eq!(mend(&mut records).unwrap(), Some((-2, 0)));
        assert_eq!(records, b"11 -time=7\n12 -time=-2\n");
        assert!(mend(&mut b"12 mtime=no\n".to_vec()).is_err());
    }

    proptest! {
        #[test]
        fn no_records_break_it(text in "([0-9]{1,2} (path|mtime|x)=[0-9a-z-]{0,4}\n){0,6}\\PC{0,20}") {
            let mut records = text.into_bytes();
            let before = records.len();
            let _ = mend(&mut records);
            prop_assert_eq!(records.len(), before);
        }
    }
}
