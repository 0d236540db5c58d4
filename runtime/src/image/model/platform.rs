//! Platforms: which of an index's images runs on this host.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result, quoted};

/// `os/architecture[/variant]`, as Go names them: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `riscv64`, …
    pub architecture: String,
    /// `v8`, or nothing.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of the machine this program was built for, with the newest variant it runs.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", Some(x86_level())),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.map(str::to_owned) }
    }

    /// Whether a stated system and architecture are this platform's; an empty one fits.
    pub fn fits(&self, os: &str, architecture: &str) -> bool {
        (os.is_empty() || os == self.os) && (architecture.is_empty() || architecture == self.architecture)
    }

    /// How well an image of `other` runs here: nothing if it does not, else the higher the better.
    pub fn rank(&self, other: &Platform) -> Option<u32> {
        if !self.fits(&other.os, &other.architecture) {
            return None;
        }
        let wanted = other.level();
        (wanted <= self.level()).then_some(wanted)
    }

    /// The variant as a number; an architecture without one is at its first.
    fn level(&self) -> u32 {
        let first = if self.architecture == "arm64" { 8 } else { 1 };
        self.variant.as_deref().and_then(|variant| variant.strip_prefix('v')?.parse().ok()).unwrap_or(first)
    }
}

/// The level of the x86-64 psABI that this processor reaches.
#[cfg(target_arch = "x86_64")]
fn x86_level() -> &'static str {
    let v2 = is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("popcnt");
    let v3 = v2
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let v4 = v3
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (v2, v3, v4) {
        (_, _, true) => "v4",
        (_, true, _) => "v3",
        (true, ..) => "v2",
        _ => "v1",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_level() -> &'static str {
    "v1"
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(os), Some(architecture), variant, None)
                if !os.is_empty() && !architecture.is_empty() && variant.as_deref() != Some("") =>
            {
                Ok(Self { os, architecture, variant })
            }
            _ => Err(Error::new(
                ErrorKind::Usage,
                format!("platform {} is not os/architecture[/variant]", quoted(text)),
            )),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_variant_that_runs_ranks_highest() {
        let host = platform("linux/amd64/v3");
        assert_eq!(host.rank(&platform("linux/amd64")), Some(1));
        assert_eq!(host.rank(&platform("linux/amd64/v3")), Some(3));
        assert_eq!(host.rank(&platform("linux/amd64/v4")), None);
        assert_eq!(host.rank(&platform("linux/arm64")), None);
        assert_eq!(host.rank(&platform("windows/amd64")), None);
        assert_eq!(platform("linux/arm64/v8").rank(&platform("linux/arm64")), Some(8));
        assert_eq!(platform("linux/arm/v7").rank(&platform("linux/arm/v6")), Some(6));
    }

    #[test]
    fn what_is_not_said_fits() {
        let host = platform("linux/amd64/v3");
        for (os, architecture) in [("linux", "amd64"), ("", ""), ("linux", ""), ("", "amd64")] {
            assert!(host.fits(os, architecture), "{os}/{architecture}");
        }
        for (os, architecture) in [("windows", ""), ("", "arm64"), ("linux", "arm64")] {
            assert!(!host.fits(os, architecture), "{os}/{architecture}");
        }
    }

    #[test]
    fn a_platform_has_two_or_three_parts() {
        assert_eq!(platform("linux/arm64/v8").to_string(), "linux/arm64/v8");
        for wrong in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/arm/"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong:?} was taken");
        }
    }
}
