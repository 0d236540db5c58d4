//! Where in a pod something is: `spec.containers[0].image`, `metadata.labels[app]`.
//!
//! Invariant: a path names fields as the manifest does, so that its text can be searched for there
//! and [`super::tree::Node::locate`] can follow it.

use std::fmt;

use crate::error::shown;

/// The way from a pod to one of its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Segment>);

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A field of the API: `.image`
    Field(String),
    /// An item of a list: `[0]`
    Index(usize),
    /// A key of a free mapping: `[app]`
    Key(String),
}

impl Path {
    /// The whole pod.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of nothing but fields that `dotted` spells: `metadata.name`.
    pub fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(|name| Segment::Field(name.into())).collect())
    }

    /// This path and a field below it.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Field(name.into()));
        path
    }

    /// This path and an item below it.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }

    /// This path and a key of a free mapping below it.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Key(key.into()));
        path
    }

    /// This path without its last step.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The steps from the pod.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether this path is `other` or below it.
    pub fn starts_with(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if position == 0 => write!(f, "{}", shown(name))?,
                Segment::Field(name) => write!(f, ".{}", shown(name))?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => write!(f, "[{}]", shown(key))?,
            }
        }
        Ok(())
    }
}

/// A problem of a pod: its path and its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field.
    pub path: Path,
    /// The message: lower case, without a full stop.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.0.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}
