//! Images, their sizes, ages and users in tables.
//!
//! Invariant: the texts of an image are untrusted; they are only shown.

use std::collections::HashMap;

use runtime::host::Host;
use runtime::image::Image;
use runtime::manifest::DEFAULT_NAMESPACE;
use runtime::pod::names;
use runtime::time::Time;

/// The placeholder of an empty cell.
pub(crate) const NONE: &str = "<none>";

/// An image's id: twelve digits of it, or all.
pub(crate) fn id(image: &Image, whole: bool) -> String {
    if whole { image.id.to_string() } else { image.id.short().to_owned() }
}

/// Go's empty time, 0001-01-01T00:00:00Z: not stated.
const UNSAID: i64 = -62_135_596_800;
/// By how many seconds another machine's clock may be ahead of this one's.
const AHEAD: i64 = -60;

/// How long ago `then` (RFC 3339, as an image says it) was, in kubectl's words; the day, where it is still to come.
pub(crate) fn age(then: Option<&str>) -> String {
    let then = then.and_then(|text| text.parse::<Time>().ok()).filter(|then| then.unix() != UNSAID);
    let Some(then) = then else { return "<unknown>".into() };
    let age = Time::now().unix() - then.unix();
    match age {
        ..AHEAD => then.to_string()[..10].to_owned(),
        AHEAD..0 => "0s".to_owned(),
        0..120 => format!("{age}s"),
        120..7200 => format!("{}m", age / 60),
        7200..172_800 => format!("{}h", age / 3600),
        172_800..63_072_000 => format!("{}d", age / 86_400),
        _ => format!("{}y", age / 31_536_000),
    }
}

/// Bytes as people read them: `5.1MB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0}{}", UNITS[unit])
    } else {
        format!("{value:.1}{}", UNITS[unit])
    }
}

/// `1 layer`, `2 layers`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The holders of leases, by the names of their pods: `web`, `blue/job`; a pod without a name by its id.
pub(crate) fn pods(host: &Host, holders: &[String]) -> Vec<String> {
    if holders.is_empty() {
        return Vec::new();
    }
    let known: HashMap<String, String> = names::all(host)
        .unwrap_or_default()
        .into_iter()
        .map(|(namespace, name, id)| {
            let named = if namespace == DEFAULT_NAMESPACE { name } else { format!("{namespace}/{name}") };
            (id, named)
        })
        .collect();
    // A process that looks at an image holds it too, and has no id to shorten.
    let short = |holder: &String| match holder.starts_with("process ") {
        true => holder.clone(),
        false => holder.get(..12).unwrap_or(holder).to_owned(),
    };
    // A lease of one container is its pod's.
    let pod = |holder: &String| known.get(holder.split('.').next()?).cloned();
    let mut pods: Vec<String> =
        holders.iter().map(|holder| pod(holder).unwrap_or_else(|| short(holder))).collect();
    pods.sort_unstable();
    pods.dedup();
    pods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_of_times_that_can_be_one() {
        assert_eq!(age(Some(&Time::now().to_string())), "0s");
        assert_eq!(age(Some(&Time::from_unix(Time::now().unix() - 86_400 * 3).to_string())), "3d");
        let since_1970 = Time::now().unix() / 31_536_000;
        for text in ["1970-01-01T00:00:00Z", "1970-01-01T01:00:00+01:00"] {
            assert_eq!(age(Some(text)), format!("{since_1970}y"), "{text}");
        }
        assert_eq!(
            age(Some("1900-01-01T00:00:00Z")),
            format!("{}y", (Time::now().unix() + 2_208_988_800) / 31_536_000)
        );
        assert_eq!(age(Some("9999-12-31T23:59:59Z")), "9999-12-31");
        assert_eq!(age(Some(&Time::from_unix(Time::now().unix() + 30).to_string())), "0s");
        for text in ["yesterday", "0001-01-01T00:00:00Z", ""] {
            assert_eq!(age(Some(text)), "<unknown>", "{text}");
        }
        assert_eq!(age(None), "<unknown>");
    }

    #[test]
    fn sizes_have_two_digits_or_three() {
        for (bytes, wanted) in
            [(0, "0B"), (999, "999B"), (1000, "1.0kB"), (5_120_000, "5.1MB"), (999_600, "1.0MB")]
        {
            assert_eq!(size(bytes), wanted);
        }
    }
}
