//! Another podrun, measured in the same run: a change beside what was before it.

use std::path::PathBuf;
use std::time::Duration;

use crate::measure::{ms, ratio};

/// Another podrun to measure in the same run: `make bench BESIDE=target/…`.
pub(crate) fn beside() -> Option<PathBuf> {
    std::env::var_os("PODRUN_BENCH_BESIDE").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// How many times what podrun takes another program takes; `goal`: how many it should.
pub(crate) fn other(row: &str, theirs: Duration, podrun: Duration, goal: f64) {
    let times = ratio(theirs, podrun);
    println!("{row:<52}{:>10}{:>10}{times:>7.2}x{goal:>7.1}x", ms(theirs), ms(podrun));
}
