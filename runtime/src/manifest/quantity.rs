//! A Kubernetes quantity: `500m`, `1.5Gi`, `2e3`.
//!
//! Invariant: a [`Quantity`] always holds a number that parsed. Its text is kept as given for messages; it is
//! written in canonical form, as an API server answers; all arithmetic is on exact billionths. As in
//! Kubernetes, a fraction finer than a billionth is rounded away from zero, and a number beyond 2^63-1 is
//! clamped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Billionths in one.
const NANO: i128 = 1_000_000_000;

/// The largest quantity, in billionths.
const MAX: i128 = i64::MAX as i128 * NANO;

/// An amount of something, with its text as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    text: String,
    nanos: i128,
    format: Format,
}

/// The family of suffixes a quantity was written in; its canonical text stays in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `n u m k M G T P E` or none
    Decimal,
    /// `Ki Mi Gi Ti Pi Ei`
    Binary,
    /// `e3`
    Exponent,
}

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAQuantity;

impl fmt::Display for NotAQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a number with an optional suffix, like 500m, 2, 1.5Gi or 2e3")
    }
}

impl std::error::Error for NotAQuantity {}

/// A suffix's multiplier: a power of ten or of two.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

impl Quantity {
    /// `bytes` (or any whole number) as a quantity.
    pub fn from_value(value: u64) -> Self {
        Self { text: value.to_string(), nanos: (i128::from(value) * NANO).min(MAX), format: Format::Decimal }
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The exact amount in billionths, by which quantities compare.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// Whether there is no fraction.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    /// The amount as a whole number, rounded up; 0 for a negative one.
    pub fn value(&self) -> u64 {
        self.rounded_up_by(NANO)
    }

    /// The amount in thousandths, rounded up; 0 for a negative one.
    pub fn milli(&self) -> u64 {
        self.rounded_up_by(NANO / 1000)
    }

    /// Rounded up to whole thousandths, as Kubernetes keeps requests and limits.
    #[must_use]
    pub fn rounded_up(self) -> Self {
        const MILLI: i128 = NANO / 1000;
        let missing = (-self.nanos).rem_euclid(MILLI);
        if missing == 0 {
            return self;
        }
        let mut rounded = Self { nanos: self.nanos + missing, ..self };
        rounded.text = rounded.canonical();
        rounded
    }

    fn rounded_up_by(&self, unit: i128) -> u64 {
        if self.nanos <= 0 {
            return 0;
        }
        u64::try_from((self.nanos + unit - 1) / unit).unwrap_or(u64::MAX)
    }

    /// The one text all equal quantities of this family share: no fraction, the largest suffix.
    pub fn canonical(&self) -> String {
        if self.nanos == 0 {
            return "0".into();
        }
        let whole = self.nanos % NANO == 0;
        if self.format == Format::Binary && whole && self.nanos.abs() >= 1024 * NANO {
            return canonical_binary(self.nanos / NANO);
        }
        canonical_decimal(self.nanos, self.format)
    }
}

fn canonical_binary(mut number: i128) -> String {
    let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
    let mut suffix = suffixes.next().unwrap_or_default();
    while number % 1024 == 0
        && let Some(next) = suffixes.next()
    {
        number /= 1024;
        suffix = next;
    }
    format!("{number}{suffix}")
}

fn canonical_decimal(mut number: i128, format: Format) -> String {
    let mut exponent = -9;
    while number % 1000 == 0 && exponent < 18 {
        number /= 1000;
        exponent += 3;
    }
    if format == Format::Exponent {
        return if exponent == 0 { number.to_string() } else { format!("{number}e{exponent}") };
    }
    let suffix = match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        _ => "E",
    };
    format!("{number}{suffix}")
}

/// The scale and the family a suffix stands for.
fn scale_of(suffix: &str) -> Option<(Scale, Format)> {
    let scale = match suffix {
        "n" => Scale::Ten(-9),
        "u" => Scale::Ten(-6),
        "m" => Scale::Ten(-3),
        "" => Scale::Ten(0),
        "k" => Scale::Ten(3),
        "M" => Scale::Ten(6),
        "G" => Scale::Ten(9),
        "T" => Scale::Ten(12),
        "P" => Scale::Ten(15),
        "E" => Scale::Ten(18),
        "Ki" => Scale::Two(10),
        "Mi" => Scale::Two(20),
        "Gi" => Scale::Two(30),
        "Ti" => Scale::Two(40),
        "Pi" => Scale::Two(50),
        "Ei" => Scale::Two(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            return Some((Scale::Ten(exponent.parse().ok()?), Format::Exponent));
        }
    };
    let format = if matches!(scale, Scale::Two(_)) { Format::Binary } else { Format::Decimal };
    Some((scale, format))
}

/// `digits`, of which the last `fraction` stand behind the point, times `scale`, in billionths.
fn nanos_of(digits: &str, fraction: i32, scale: Scale) -> i128 {
    let (power, shift) = match scale {
        Scale::Ten(exponent) => (exponent.saturating_sub(fraction).saturating_add(9), 0),
        Scale::Two(shift) => (9_i32.saturating_sub(fraction), shift),
    };
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    // 38 digits are beyond any quantity even before the scale; the rest only tells whether to round up.
    let magnitude = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(i64::from(power));
    if magnitude > 29 {
        return MAX;
    }
    if magnitude < -20 {
        return 1;
    }
    let kept = digits.len().min(36);
    let lost = digits.len() - kept;
    let mut number: i128 = digits[..kept].parse().expect("36 decimal digits fit in an i128");
    let mut inexact = digits[kept..].bytes().any(|byte| byte != b'0');
    let mut power = i64::from(power) + i64::try_from(lost).unwrap_or(i64::MAX);
    while power > 0 {
        number = number.saturating_mul(10);
        power -= 1;
    }
    // Shift before dividing, so that 0.5Ki is exact; a number that overflows is beyond MAX anyway.
    number = number.checked_mul(1 << shift).unwrap_or_else(|| {
        let mut reduced = number;
        while power < 0 && reduced > i128::MAX >> shift {
            inexact |= reduced % 10 != 0;
            reduced /= 10;
            power += 1;
        }
        reduced.saturating_mul(1 << shift)
    });
    while power < 0 {
        inexact |= number % 10 != 0;
        number /= 10;
        power += 1;
    }
    (number + i128::from(inexact)).min(MAX)
}

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(NotAQuantity);
        }
        let (scale, format) = scale_of(suffix).ok_or(NotAQuantity)?;
        let places = i32::try_from(fraction.len()).map_err(|_| NotAQuantity)?;
        let nanos = nanos_of(&format!("{whole}{fraction}"), places, scale);
        Ok(Self { text: text.into(), nanos: if negative { -nanos } else { nanos }, format })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.canonical())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|_| panic!("{text} is a quantity"))
    }

    #[test]
    fn reads_every_suffix() {
        let cases: &[(&str, i128)] = &[
            ("0", 0),
            ("1", NANO),
            ("+1", NANO),
            ("-1", -NANO),
            ("1n", 1),
            ("1u", 1_000),
            ("1m", 1_000_000),
            ("1k", 1_000 * NANO),
            ("1M", 1_000_000 * NANO),
            ("1G", 1_000_000_000 * NANO),
            ("1T", 1_000_000_000_000 * NANO),
            ("1P", 1_000_000_000_000_000 * NANO),
            ("1E", 1_000_000_000_000_000_000 * NANO),
            ("1Ki", 1024 * NANO),
            ("1Mi", (1 << 20) * NANO),
            ("1Gi", (1 << 30) * NANO),
            ("1Ti", (1 << 40) * NANO),
            ("1Pi", (1 << 50) * NANO),
            ("1Ei", (1 << 60) * NANO),
            ("2e3", 2_000 * NANO),
            ("2E3", 2_000 * NANO),
            ("2e+3", 2_000 * NANO),
            ("25e-1", 2_500_000_000),
            ("0.5", NANO / 2),
            (".5", NANO / 2),
            ("5.", 5 * NANO),
            ("1.5Gi", 3 * (1 << 29) * NANO),
            ("0.5Ki", 512 * NANO),
            ("0.1n", 1),
            ("0.0000000001", 1),
            ("-0.1n", -1),
            ("1e99", MAX),
            ("16Ei", MAX),
            ("1e-99", 1),
            ("000100m", 100_000_000),
            ("100000000000000000000000000000000000000000000", MAX),
            ("0.00000000000000000000000000000000000000000000001Ei", 1),
        ];
        for (text, nanos) in cases {
            assert_eq!(quantity(text).nanos, *nanos, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "", "-", ".", "m", "1K", "1ki", "1 Gi", "1GiB", "1e", "1e+", "1ee3", "1.2.3", "0x10", "1_000",
            "Infinity", "½",
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(NotAQuantity), "{text}");
        }
    }

    #[test]
    fn rounds_up_to_what_the_kernel_takes() {
        assert_eq!(quantity("100m").milli(), 100);
        assert_eq!(quantity("0.0001").milli(), 1);
        assert_eq!(quantity("1.5").value(), 2);
        assert_eq!(quantity("64Mi").value(), 64 << 20);
        assert_eq!(quantity("-1").value(), 0);
        assert_eq!(quantity("16Ei").value(), i64::MAX.unsigned_abs());
    }

    #[test]
    fn is_rounded_up_to_thousandths() {
        for (text, rounded) in
            [("0.0001", "1m"), ("1.0001Ki", "1024103m"), ("1500m", "1500m"), ("1Gi", "1Gi"), ("-1u", "0")]
        {
            assert_eq!(quantity(text).rounded_up().canonical(), rounded, "{text}");
        }
    }

    #[test]
    fn prints_kubernetes_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("0Ki", "0"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000Ki", "1000Ki"),
            ("0.5Ki", "512"),
            ("1.0001Ki", "1024102400u"),
            ("1000k", "1M"),
            ("100000", "100k"),
            ("123456", "123456"),
            ("2e3", "2e3"),
            ("2000e0", "2e3"),
            ("5e1", "50"),
            ("-2048Ki", "-2Mi"),
            ("1024", "1024"),
        ] {
            assert_eq!(quantity(text).canonical(), canonical, "{text}");
        }
    }

    #[test]
    fn keeps_the_text_for_messages_and_takes_bare_numbers() {
        let read: Quantity = serde_json::from_str("\"1024Mi\"").unwrap();
        assert_eq!((read.as_str(), serde_json::to_string(&read).unwrap().as_str()), ("1024Mi", "\"1Gi\""));
        let bare: Quantity = serde_json::from_str("0.5").unwrap();
        assert_eq!((bare.milli(), bare.as_str()), (500, "0.5"));
        assert!(serde_json::from_str::<Quantity>("\"lots\"").is_err());
    }

    proptest! {
        #[test]
        fn canonical_means_the_same(
            number in 0_u64..10_000_000,
            places in 0_usize..4,
            suffix in proptest::sample::select(vec!["n", "u", "m", "", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-2"]),
        ) {
            let mut digits = format!("{number:05}");
            digits.insert(digits.len() - places, '.');
            let given = quantity(&format!("{digits}{suffix}"));
            let canonical = quantity(&given.canonical());
            prop_assert_eq!(canonical.nanos, given.nanos);
            prop_assert_eq!(canonical.canonical(), given.canonical());
        }

        #[test]
        fn never_panics(text in "[-+]?[0-9.]{0,50}[a-zA-Z]{0,2}[-+]?[0-9]{0,12}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
