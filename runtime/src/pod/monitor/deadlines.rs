//! The monitor's deadlines, of which the next is epoll's timeout.
//!
//! Invariant: a deadline is told once, and never one that was cancelled.

use std::time::{Duration, Instant};

/// A due act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The child of this launch should have reached its execve.
    Handshake(u32),
    /// The grace of the container in this slot is over.
    Kill(u32),
    /// The output of the ended container in this slot should have come to its end.
    Drain(u32),
    /// The file systems of a container's host paths should have answered.
    HostPaths,
    /// The exec'd process of this pid, whose client is gone, has not ended in time.
    HangUp(i32),
    /// The policy wanted to be woken.
    Policy,
    /// Stale records are to be written: of an uncommitted pod, or after a failure.
    Records,
}

/// The moments waited for: a handful, so a plain list.
#[derive(Debug, Default)]
pub(super) struct Deadlines(Vec<(Instant, Due)>);

impl Deadlines {
    /// `due` comes at `at`, and no longer at another time.
    pub(super) fn set(&mut self, due: Due, at: Instant) {
        self.cancel(due);
        self.0.push((at, due));
    }

    /// `due` comes after `wait`, and no longer at another time.
    pub(super) fn set_after(&mut self, due: Due, wait: Duration) {
        // A deadline beyond the clock's range is no deadline.
        match Instant::now().checked_add(wait) {
            Some(at) => self.set(due, at),
            None => self.cancel(due),
        }
    }

    /// `due` does not come.
    pub(super) fn cancel(&mut self, due: Due) {
        self.0.retain(|(_, other)| *other != due);
    }

    /// When `due` comes.
    pub(super) fn get(&self, due: Due) -> Option<Instant> {
        self.0.iter().find(|(_, other)| *other == due).map(|(at, _)| *at)
    }

    /// How long until the next comes; absent: none is waited for.
    pub(super) fn until_next(&self) -> Option<Duration> {
        let next = self.0.iter().map(|(at, _)| *at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// One that has come.
    pub(super) fn pop_due(&mut self) -> Option<Due> {
        let now = Instant::now();
        let index = self.0.iter().position(|(at, _)| *at <= now)?;
        Some(self.0.swap_remove(index).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_set_again_comes_once() {
        let mut deadlines = Deadlines::default();
        deadlines.set_after(Due::Kill(1), Duration::from_secs(60));
        deadlines.set_after(Due::Kill(1), Duration::ZERO);
        deadlines.set_after(Due::Kill(2), Duration::from_secs(60));
        assert_eq!(deadlines.pop_due(), Some(Due::Kill(1)));
        assert_eq!(deadlines.pop_due(), None);
        assert!(deadlines.until_next().is_some_and(|wait| wait > Duration::from_secs(59)));
    }

    #[test]
    fn a_wait_without_end_is_none() {
        let mut deadlines = Deadlines::default();
        deadlines.set_after(Due::Policy, Duration::MAX);
        assert_eq!(deadlines.until_next(), None);
    }
}
