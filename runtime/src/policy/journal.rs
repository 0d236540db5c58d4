//! The events that `describe` shows, in Kubernetes' words.
//!
//! Invariant: entries that say the same are one entry with a count, and there are never more than
//! [`Journal::LIMIT`]: a container that crashes for a year does not fill the disk.

use serde::{Deserialize, Serialize};

use super::Moment;

/// The events, sorted by their last time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Journal {
    entries: Vec<JournalEntry>,
}

/// One line of `describe`'s events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub severity: Severity,
    /// `Pulled`, `Created`, `Started`, `Killing`, `BackOff`, `Failed`, ...
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// The container it is about; `None`: the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How often.
    pub count: u32,
    /// When first.
    pub first_at: Moment,
    /// When last.
    pub last_at: Moment,
}

/// Whether an event is in the order of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// It is.
    Normal,
    /// It is not.
    Warning,
}

impl Journal {
    /// How many different entries are kept; the ones that were last seen the longest ago go first.
    pub const LIMIT: usize = 64;

    /// The source of the events: the `From` column.
    pub const SOURCE: &'static str = "podrun";

    /// The events, sorted by their last time.
    pub fn entries(&self) -> &[JournalEntry] {
        &self.entries
    }

    pub(super) fn note(
        &mut self,
        severity: Severity,
        reason: &str,
        container: Option<&str>,
        message: String,
        now: Moment,
    ) {
        let same = |entry: &JournalEntry| {
            entry.reason == reason && entry.message == message && entry.container.as_deref() == container
        };
        let (count, first_at) = match self.entries.iter().position(same) {
            Some(index) => {
                let entry = self.entries.remove(index);
                (entry.count.saturating_add(1), entry.first_at)
            }
            None => (1, now),
        };
        if self.entries.len() >= Self::LIMIT {
            self.entries.remove(0);
        }
        self.entries.push(JournalEntry {
            severity,
            reason: reason.to_owned(),
            message,
            container: container.map(str::to_owned),
            count,
            first_at,
            last_at: now,
        });
    }
}
