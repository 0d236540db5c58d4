//! The limits that a cgroup has, and a change of some of them judged with the others: swap counts with memory in the
//! specification, and without it in cgroup v2; a quota is nothing without its period.
//!
//! Invariant: a change is complete when it leaves here: its writer need not know the values in force.

use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::layout::Controller;
use super::{Cgroup, resources};
use crate::error::{Context as _, Error, ErrorKind, Result};

/// The limits in force, each absent where unknown: a new cgroup has none. -1 is no limit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct InForce {
    memory: Option<i64>,
    /// Of memory and swap together.
    both: Option<i64>,
    memory_used: Option<i64>,
    quota: Option<i64>,
    period: Option<u64>,
}

impl Cgroup {
    /// Completes `change` by the limits in force, for [`Cgroup::update`]. Refuses a change that conflicts with
    /// them.
    pub fn complete(&self, change: &LinuxResources) -> Result<LinuxResources> {
        resources::check(change)
            .and_then(|()| self.in_force().complete(change))
            .context(|| format!("cgroup {}", self.path()))
    }

    fn in_force(&self) -> InForce {
        let mut present = InForce::default();
        match (self.directory(Controller::Memory), &self.unified) {
            (Some(directory), _) => present.memory_v1(directory),
            (None, Some(directory)) => present.memory_v2(directory),
            (None, None) => {}
        }
        match (self.directory(Controller::Cpu), &self.unified) {
            (Some(directory), _) => {
                present.quota = text(directory, "cpu.cfs_quota_us").parse().ok();
                present.period = text(directory, "cpu.cfs_period_us").parse().ok();
            }
            (None, Some(directory)) => present.cpu_max(&text(directory, "cpu.max")),
            (None, None) => {}
        }
        present
    }
}

fn text(directory: &Path, file: &str) -> String {
    std::fs::read_to_string(directory.join(file)).unwrap_or_default().trim().to_owned()
}

/// A limit in bytes: v1's largest, a whole number of pages, and v2's `max` are none.
fn limit(text: &str) -> Option<i64> {
    const LARGEST: i64 = i64::MAX - (1 << 16);
    if text == "max" {
        return Some(-1);
    }
    text.parse().ok().map(|bytes| if bytes > LARGEST { -1 } else { bytes })
}

impl InForce {
    fn memory_v1(&mut self, directory: &Path) {
        self.memory = limit(&text(directory, "memory.limit_in_bytes"));
        self.both = limit(&text(directory, "memory.memsw.limit_in_bytes"));
        self.memory_used = limit(&text(directory, "memory.usage_in_bytes"));
    }

    fn memory_v2(&mut self, directory: &Path) {
        self.memory = limit(&text(directory, "memory.max"));
        // Where memory is not limited, neither are both together.
        self.both = match (self.memory, limit(&text(directory, "memory.swap.max"))) {
            (Some(memory @ 0..), Some(swap @ 1..)) => Some(memory.saturating_add(swap)),
            // No swap stays no swap, whatever the memory limit becomes.
            (_, Some(0)) => None,
            _ => Some(-1),
        };
        self.memory_used = limit(&text(directory, "memory.current"));
    }

    /// `QUOTA PERIOD`.
    fn cpu_max(&mut self, text: &str) {
        let Some((quota, period)) = text.split_once(' ') else { return };
        (self.quota, self.period) = (limit(quota), period.parse().ok());
    }

    /// See [`Cgroup::complete`].
    pub(super) fn complete(&self, change: &LinuxResources) -> Result<LinuxResources> {
        let mut complete = change.clone();
        if let Some(cpu) = change.cpu() {
            complete.set_cpu(Some(self.cpu(cpu)));
        }
        // Values in cgroup v2's own files are not counted.
        let swap_by_file =
            change.unified().as_ref().is_some_and(|files| files.contains_key("memory.swap.max"));
        if let Some(memory) = change.memory().filter(|_| !swap_by_file) {
            complete.set_memory(Some(self.memory(memory)?));
        }
        Ok(complete)
    }

    /// One of quota and period with the other that is in force.
    fn cpu(&self, change: &LinuxCpu) -> LinuxCpu {
        let mut cpu = change.clone();
        let (quota, period) =
            (cpu.quota().filter(|quota| *quota != 0), cpu.period().filter(|period| *period != 0));
        if quota.is_some() || period.is_some() {
            cpu.set_quota(quota.or(self.quota)).set_period(period.or(self.period));
        }
        cpu
    }

    fn memory(&self, change: LinuxMemory) -> Result<LinuxMemory> {
        let given = |bytes: &i64| *bytes != 0;
        let (limit, swap) = (change.limit().filter(given), change.swap().filter(given));
        if let (Some(limit @ 1..), Some(used), Some(true)) =
            (limit, self.memory_used, change.check_before_update())
            && limit < used
        {
            return Err(Error::failed(format!(
                "linux.resources.memory.limit: {limit} bytes are less than the {used} in use"
            ))
            .hint("without memory.checkBeforeUpdate it is set, and the kernel kills what does not fit"));
        }
        let mut memory = change;
        match (limit, swap) {
            // No limit of memory means no limit of memory and swap either.
            (Some(..0), None) => {
                memory.set_swap(Some(-1));
            }
            (Some(limit), None) if self.both.is_some_and(|both| both > 0) => {
                memory.set_swap(fitting(limit, self.both)?);
            }
            (_, Some(swap @ 1..)) => {
                let limit = limit.or(self.memory);
                let Some(limit @ 0..) = limit else {
                    return Err(Error::new(
                        ErrorKind::Usage,
                        "linux.resources.memory.swap: it counts memory and swap together, and memory has no limit",
                    )
                    .hint("give memory.limit too"));
                };
                memory.set_limit(Some(limit)).set_swap(fitting(limit, Some(swap))?);
            }
            _ => {}
        }
        Ok(memory)
    }
}

/// `both`, into which `limit` fits.
fn fitting(limit: i64, both: Option<i64>) -> Result<Option<i64>> {
    match both {
        Some(both) if both < limit => Err(Error::new(
            ErrorKind::Usage,
            format!("linux.resources.memory.swap: {both} must be at least memory.limit ({limit})"),
        )
        .hint("it counts memory and swap together: change both at once")),
        fits => Ok(fits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(present: InForce, json: &str) -> Result<serde_json::Value> {
        let complete = present.complete(&serde_json::from_str(json).unwrap())?;
        Ok(serde_json::to_value(complete).unwrap())
    }

    fn limited() -> InForce {
        InForce {
            memory: Some(100),
            both: Some(150),
            memory_used: Some(80),
            quota: Some(5000),
            period: Some(20_000),
        }
    }

    #[test]
    fn a_change_takes_what_it_needs_of_what_is_in_force() {
        for (change, field, expected) in [
            (r#"{"memory":{"swap":180}}"#, "/memory/limit", "100"),
            (r#"{"memory":{"swap":-1}}"#, "/memory/limit", "null"),
            (r#"{"memory":{"limit":120}}"#, "/memory/swap", "150"),
            (r#"{"memory":{"limit":-1}}"#, "/memory/swap", "-1"),
            (r#"{"memory":{"limit":90,"swap":90}}"#, "/memory/swap", "90"),
            (r#"{"memory":{"reservation":90}}"#, "/memory/swap", "null"),
            (r#"{"memory":{"limit":170},"unified":{"memory.swap.max":"0"}}"#, "/memory/swap", "null"),
            (r#"{"cpu":{"quota":7000}}"#, "/cpu/period", "20000"),
            (r#"{"cpu":{"period":7000}}"#, "/cpu/quota", "5000"),
            (r#"{"cpu":{"period":0}}"#, "/cpu/quota", "null"),
            (r#"{"cpu":{"shares":7}}"#, "/cpu/period", "null"),
        ] {
            let complete = complete(limited(), change).unwrap();
            let found = complete.pointer(field).map_or("null".to_owned(), ToString::to_string);
            assert_eq!(found, expected, "{change} {field}");
        }
        // A new cgroup has nothing.
        let new = complete(InForce::default(), r#"{"memory":{"limit":9},"cpu":{"quota":7}}"#).unwrap();
        assert_eq!((&new["memory"]["swap"], &new["cpu"]["period"]), (&().into(), &().into()));
    }

    #[test]
    fn a_change_that_does_not_fit_is_refused() {
        for change in [
            r#"{"memory":{"swap":99}}"#,
            r#"{"memory":{"limit":151}}"#,
            r#"{"memory":{"limit":10,"swap":5}}"#,
            r#"{"memory":{"limit":79,"checkBeforeUpdate":true}}"#,
        ] {
            assert!(complete(limited(), change).is_err(), "{change}");
        }
        complete(limited(), r#"{"memory":{"limit":79}}"#).unwrap();
        assert!(complete(InForce::default(), r#"{"memory":{"swap":9}}"#).is_err());
    }

    #[test]
    fn no_limit_is_read_in_either_form() {
        assert_eq!(
            ["max", "9223372036854771712", "4096", ""].map(limit),
            [Some(-1), Some(-1), Some(4096), None]
        );
        let mut present = InForce::default();
        present.cpu_max("max 100000");
        assert_eq!((present.quota, present.period), (Some(-1), Some(100_000)));
    }
}
