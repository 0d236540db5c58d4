//! Realtime scheduling on cgroup v1: the budgets of a cgroup's children are bounded by its own, and a new
//! cgroup's is zero.
//!
//! Invariant: the budget of another program's cgroup is never raised: below one of zero, the kernel's refusal
//! is reported.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxCpu;

use super::{read_number, write_file};
use crate::error::{Context as _, Result};

const RUNTIME: &str = "cpu.rt_runtime_us";
const PERIOD: &str = "cpu.rt_period_us";

/// Raises each of `above`, the nearest first, to the sum that `directory` and its siblings need.
pub(super) fn make_room(cpu: &LinuxCpu, directory: &Path, above: &[PathBuf]) -> Result<()> {
    let asked = Share {
        runtime: cpu.realtime_runtime().or_else(|| read_number(&directory.join(RUNTIME))).unwrap_or(0),
        period: cpu.realtime_period().or_else(|| read_number(&directory.join(PERIOD))).unwrap_or(0),
    };
    let (mut child, mut share, mut raised) = (directory, asked, Vec::new());
    for parent in above {
        let Some(present) = Share::of(parent) else { break };
        let needed = neighbours(parent, child)?
            .iter()
            .filter_map(Share::of)
            .chain([share])
            .map(|share| share.within(present.period))
            .fold(0, i64::saturating_add);
        if needed <= present.runtime {
            break;
        }
        raised.push((parent, needed));
        (child, share) = (parent, Share { runtime: needed, ..present });
    }
    // From the top: none may have more than the one above.
    for (parent, runtime) in raised.into_iter().rev() {
        write_file(&parent.join(RUNTIME), &runtime.to_string())?;
    }
    Ok(())
}

/// So many microseconds of so many.
#[derive(Clone, Copy)]
struct Share {
    runtime: i64,
    period: u64,
}

impl Share {
    fn of(directory: impl AsRef<Path>) -> Option<Self> {
        let directory = directory.as_ref();
        Some(Self {
            runtime: read_number(&directory.join(RUNTIME))?,
            period: read_number(&directory.join(PERIOD))?,
        })
    }

    /// The same share of another period, rounded up.
    fn within(self, period: u64) -> i64 {
        let runtime = u128::try_from(self.runtime).unwrap_or(0);
        let whole = u128::from(self.period.max(1));
        i64::try_from((runtime * u128::from(period)).div_ceil(whole)).unwrap_or(i64::MAX)
    }
}

fn neighbours(parent: &Path, child: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(parent).context(|| format!("read {}", parent.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path != child && path.is_dir()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(directory: &Path, runtime: i64, period: u64) {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join(RUNTIME), runtime.to_string()).unwrap();
        std::fs::write(directory.join(PERIOD), period.to_string()).unwrap();
    }

    #[test]
    fn those_above_get_what_all_below_need() {
        let top = tempfile::tempdir().unwrap();
        let (outer, inner) = (top.path().join("podrun"), top.path().join("podrun/a"));
        cgroup(&outer, 50_000, 1_000_000);
        cgroup(&outer.join("other"), 25_000, 500_000);
        cgroup(&inner, 0, 1_000_000);
        cgroup(&inner.join("web"), 0, 1_000_000);
        let cpu: LinuxCpu =
            serde_json::from_str(r#"{"realtimeRuntime":1000,"realtimePeriod":30000}"#).unwrap();
        make_room(&cpu, &inner.join("web"), &[inner.clone(), outer.clone()]).unwrap();
        let runtime = |directory: &Path| read_number::<i64>(&directory.join(RUNTIME));
        assert_eq!((runtime(&inner), runtime(&outer)), (Some(33_334), Some(83_334)));
        make_room(&cpu, &inner.join("web"), &[inner.clone(), outer.clone()]).unwrap();
        assert_eq!(runtime(&outer), Some(83_334));
    }
}
