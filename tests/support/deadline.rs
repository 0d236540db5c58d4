//! Waiting for a condition: the only way a test waits. It ends as soon as the condition holds.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before its test fails: more than two cores need that six builds share, for whom
/// 30 s were too few.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks `condition` until it gives a value, or fails with what it said last.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= end => bail!("{what}: not within {PATIENCE:?}: {last:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
