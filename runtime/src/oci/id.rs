//! A container's id: a file name that cannot lead anywhere else.
//!
//! Invariant: no [`ContainerId`] holds a slash, starts with a dot, or is longer than a file name may be.
//! Every verb parses it first: ids with `..` have reached other containers' state elsewhere.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The longest id, in bytes: a cgroup's name is a file name too.
const LONGEST: usize = 255;

/// A valid id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Err(Error::new(ErrorKind::Usage, format!("container id {text:?}: {why}"))
                .hint("letters, digits, `_`, `+`, `-` and `.`, but no `.` at the start"))
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        match text {
            "" => wrong("it is empty"),
            _ if text.len() > LONGEST => wrong("it is longer than 255 bytes"),
            _ if text.starts_with('.') => wrong("it starts with a dot"),
            _ if !text.bytes().all(plain) => wrong("it holds a character that an id cannot have"),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names() {
        for good in ["a", "web-1", "A_b+c.d", "0", &"x".repeat(255)] {
            good.parse::<ContainerId>().unwrap();
        }
        for bad in ["", ".", "..", ".a", "a/b", "../a", "a\0", "a\n", "ä", "a b", &"x".repeat(256)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
    }
}
