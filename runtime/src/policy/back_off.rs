//! Whether and when an ended container is started again.
//!
//! Invariant: the first restart is immediate; each one after it waits twice as long as the one before,
//! from [`BackOff::FIRST`] up to [`BackOff::LONGEST`] seconds, until a run has outlived
//! [`BackOff::FORGOTTEN_AFTER`].

use super::{BackOff, Moment, Role};
use crate::manifest::RestartPolicy;

impl BackOff {
    /// Seconds that the second restart waits.
    pub const FIRST: u64 = 10;
    /// Seconds that no restart waits longer than.
    pub const LONGEST: u64 = 300;
    /// Seconds after a restart when an exit counts as the first again.
    pub const FORGOTTEN_AFTER: u64 = 2 * Self::LONGEST;

    /// Seconds that a container which ended at `finished` is kept from restarting.
    pub(super) fn held_after(&mut self, finished: Moment) -> u64 {
        if finished.millis_since(self.updated_at) > Self::FORGOTTEN_AFTER * 1000 {
            self.seconds = 0;
        }
        self.seconds
    }

    /// The container is being restarted now.
    pub(super) fn restarted(&mut self, now: Moment) {
        self.seconds = (self.seconds * 2).clamp(Self::FIRST, Self::LONGEST);
        self.updated_at = now;
    }
}

/// Whether a container that ended with `exit_code` is started again.
pub(super) fn restarts(policy: RestartPolicy, role: Role, exit_code: i32) -> bool {
    match (role, policy) {
        (Role::Sidecar, _) | (Role::App, RestartPolicy::Always) => true,
        (_, RestartPolicy::Never) => false,
        (Role::Init, _) | (Role::App, RestartPolicy::OnFailure) => exit_code != 0,
    }
}

/// `1m20s`, as Go writes a duration of whole seconds.
pub(super) fn go_seconds(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}
