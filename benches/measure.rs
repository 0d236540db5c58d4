//! Timing processes, and the lines of the tables.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A bench's arguments: a path for each of `names`, and what follows them.
pub(crate) fn arguments<const N: usize>(names: [&str; N]) -> Result<([PathBuf; N], Option<String>)> {
    let mut arguments = std::env::args().skip(1);
    let mut paths = [const { PathBuf::new() }; N];
    for (path, name) in paths.iter_mut().zip(names) {
        *path = arguments.next().with_context(|| format!("no {name} given"))?.into();
    }
    Ok((paths, arguments.next()))
}

/// From start to end of one process, which has to succeed.
pub(crate) fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let status = command.status().with_context(|| format!("{command:?}"))?;
    let took = start.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took)
}

/// One container by the kernel alone.
pub(crate) fn floor_run(floor: &Path, rootfs: &Path) -> Result<Duration> {
    let cgroup = std::fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4).map(|folder| Path::new(folder).join("podrun-bench-floor")))
        .context("no cgroup2 is mounted")?;
    timed(Command::new(floor).arg("run").arg(rootfs).arg(&cgroup))
}

pub(crate) fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

pub(crate) fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

pub(crate) fn heading() {
    println!("{:<52}{:>10}{:>10}{:>8}{:>8}", "row (medians, ms)", "beside", "podrun", "ratio", "goal");
}

pub(crate) fn line(row: &str, floor: Option<Duration>, podrun: Duration, goal: Option<f64>) {
    let times = floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.2}", ratio(podrun, floor)));
    let floor = floor.map_or_else(|| "-".to_owned(), ms);
    let goal = goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.1}"));
    println!("{row:<52}{floor:>10}{:>10}{times:>8}{goal:>8}", ms(podrun));
}
