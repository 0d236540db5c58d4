//! Waiting for a condition: the only way a test waits. It ends as soon as the condition holds.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before its test fails: more than two cores need that six builds share, for whom
/// 30 s were too few. `PODRUN_TESTS_PATIENCE` multiplies it, where all is slow.
pub fn patience() -> Duration {
    let times = std::env::var("PODRUN_TESTS_PATIENCE").ok().and_then(|times| times.parse().ok());
    Duration::from_secs(90) * times.unwrap_or(1)
}

/// Asks `condition` until it gives a value, or fails with what it said last.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let patience = patience();
    let end = Instant::now() + patience;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= end => bail!("{what}: not within {patience:?}: {last:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
