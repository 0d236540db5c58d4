//! When a request is made again, and after how long.
//!
//! Invariant: retries end: their number and each pause are bounded; a longer pause asked for by a server is
//! reported to the caller, not waited for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};

/// How often the same thing is tried.
pub(super) const TRIES: u32 = 5;
/// How often one blob may be taken up again where it broke off, however much came each time.
pub(super) const RESUMES: u32 = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whether a moment later the answer may be another one (RFC 9110, sections 15.5 and 15.6; RFC 6585, 4).
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The pause after `failed` tries in a row: the server's request, else a quarter of a second that doubles.
/// Nothing: no retry.
pub(super) fn pause(failed: u32, asked: Option<Duration>) -> Option<Duration> {
    if failed >= TRIES || asked.is_some_and(|asked| asked > LONGEST_PAUSE) {
        return None;
    }
    Some(asked.unwrap_or(FIRST_PAUSE * 2_u32.pow(failed.saturating_sub(1))))
}

/// The request of a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn asked(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = UNIX_EPOCH.checked_add(Duration::from_secs(http_date(value)?))?;
    Some(then.duration_since(now).unwrap_or_default())
}

/// The seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that is still sent.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = fields.as_slice() else { return None };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    if month.len() != 3 || !(1970..10_000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let month = u64::try_from(MONTHS.find(month)?).ok()? / 3;
    let mut clock = time.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    // Sixty is a leap second.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March end with their leap day.
    let (year, month) = if month > 1 { (year, month - 2) } else { (year - 1, month + 10) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some(days.checked_sub(719_469)? * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let all: Vec<_> = (1..=TRIES).map(|failed| pause(failed, None)).collect();
        let millis = |pause: &Option<Duration>| pause.map(|pause| pause.as_millis());
        assert_eq!(
            all.iter().map(millis).collect::<Vec<_>>(),
            [Some(250), Some(500), Some(1000), Some(2000), None]
        );
        assert_eq!(pause(1, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause(1, Some(Duration::from_secs(3600))), None);
    }

    #[test]
    fn a_server_asks_in_seconds_or_by_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let asks = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            asked(&headers, now).map(|asked| asked.as_secs())
        };
        assert_eq!(asks("12"), Some(12));
        assert_eq!(asks("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(asks("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0), "it is over");
        for nothing in [
            "",
            "soon",
            "-1",
            "Sun, 06 Nov 1994",
            "Sun, 06 XXX 1994 08:49:37 GMT",
            // Numbers that no sum of seconds can hold: this was a panic, which ended the pull without a word.
            "Sun, 18446744073709551615 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 18446744073709551615:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:18446744073709551615 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(asks(nothing), None, "{nothing:?}");
        }
    }
}
