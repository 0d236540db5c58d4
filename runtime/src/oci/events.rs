//! A container's usage and its OOM kills: the documents of runc's `events`.
//!
//! Invariant: a value that the kernel does not count is left out, or null where runc's readers expect a member.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Container, Status, resctrl};
use crate::cgroup::{BlockIo, Cgroup, Cpu, Memory, OomNotices, Pids, Stats, Usage};
use crate::error::Result;
use crate::sys::io::poll::{Interest, poll};

/// The result of [`Watch::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The time has passed.
    Time,
    /// The kernel has killed a process of the container for want of memory.
    OutOfMemory,
    /// The container's init has ended.
    Ended,
}

/// A look at a container that lasts.
#[derive(Debug)]
pub struct Watch {
    init: OwnedFd,
    cgroup: Cgroup,
    notices: Option<OomNotices>,
    kills: u64,
}

impl Container {
    /// The current usage: `{"type":"stats","id":…,"data":…}`.
    pub fn stats(&self) -> Result<Value> {
        let record = self.must_be(&[Status::Created, Status::Running, Status::Paused], "measured")?;
        let stats = self.own_cgroup(&record)?.stats();
        let mut data = document(&stats);
        data["intel_rdt"] = resctrl::usage_of(record.resctrl.as_ref(), self.id())?;
        Ok(json!({"type": "stats", "id": self.id().as_str(), "data": data}))
    }

    /// Looks at it from now on.
    pub fn watch(&self) -> Result<Watch> {
        let record = self.must_be(&[Status::Created, Status::Running, Status::Paused], "watched")?;
        let (init, cgroup) = (self.init(&record)?, self.own_cgroup(&record)?);
        let mut notices = cgroup.oom_notices()?;
        // Discard notices of before.
        notices.as_mut().map_or(Ok(()), OomNotices::take)?;
        let kills = cgroup.oom_kills();
        Ok(Watch { init, cgroup, notices, kills })
    }
}

impl Watch {
    /// Waits for the next event, at most `within`. cgroup v1 gives notice a moment before the kernel kills: a
    /// kill is reported at the end of that time.
    pub fn next(&mut self, within: Duration) -> Result<Event> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut awaited = vec![(self.init.as_fd(), Interest::Read)];
            awaited.extend(self.notices.as_ref().map(OomNotices::awaited));
            let ready = poll(&awaited, Some(left))?;
            let is_ready = |at: usize| ready.get(at).is_some_and(|one| one.readable);
            let (ended, notice) = (is_ready(0), is_ready(1));
            if notice {
                self.notices.as_mut().map_or(Ok(()), OomNotices::take)?;
            }
            let kills = self.cgroup.oom_kills();
            if std::mem::replace(&mut self.kills, kills) < kills {
                return Ok(Event::OutOfMemory);
            }
            if ended {
                return Ok(Event::Ended);
            }
            if left.is_zero() {
                return Ok(Event::Time);
            }
        }
    }
}

fn document(stats: &Stats) -> Value {
    let hugetlb: serde_json::Map<String, Value> =
        stats.hugetlb.iter().map(|(size, usage)| (size.clone(), amount(usage))).collect();
    json!({
        "cpu": stats.cpu.as_ref().map(cpu),
        "memory": stats.memory.as_ref().map(memory),
        "pids": stats.pids.as_ref().map(pids),
        "blkio": block_io(&stats.block_io),
        "hugetlb": hugetlb,
        "network_interfaces": null,
    })
}

fn cpu(cpu: &Cpu) -> Value {
    json!({
        "usage": {"total": cpu.total, "kernel": cpu.system, "user": cpu.user},
        "throttling": {
            "periods": cpu.periods,
            "throttledPeriods": cpu.throttled_periods,
            "throttledTime": cpu.throttled_time,
        },
    })
}

/// As runc has it, no limit is the largest number.
fn amount(usage: &Usage) -> Value {
    let mut shown =
        json!({"limit": usage.limit.unwrap_or(u64::MAX), "usage": usage.usage, "failcnt": usage.failures});
    if let Some(max) = usage.max {
        shown["max"] = max.into();
    }
    shown
}

fn memory(memory: &Memory) -> Value {
    let mut shown = json!({"cache": memory.cache, "usage": amount(&memory.total), "raw": memory.raw});
    if let Some(swap) = &memory.swap {
        shown["swap"] = amount(swap);
    }
    if let Some(kernel) = memory.kernel {
        shown["kernel"] = json!({"usage": kernel});
    }
    shown
}

fn pids(pids: &Pids) -> Value {
    let mut shown = json!({"current": pids.current});
    if let Some(limit) = pids.limit {
        shown["limit"] = limit.into();
    }
    shown
}

fn block_io(devices: &[BlockIo]) -> Value {
    let entries = |of: fn(&BlockIo) -> [(&'static str, u64); 2]| -> Vec<Value> {
        let entry = |device: &BlockIo| {
            let (major, minor) = (device.major, device.minor);
            of(device).map(|(op, value)| json!({"major": major, "minor": minor, "op": op, "value": value}))
        };
        devices.iter().flat_map(entry).collect()
    };
    json!({
        "ioServiceBytesRecursive": entries(|one| [("Read", one.read_bytes), ("Write", one.written_bytes)]),
        "ioServicedRecursive": entries(|one| [("Read", one.reads), ("Write", one.writes)]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_left_out() {
        let memory =
            Memory { total: Usage { usage: 5, limit: Some(9), ..Usage::default() }, ..Memory::default() };
        let stats = Stats { memory: Some(memory), ..Stats::default() };
        let shown = document(&stats);
        assert_eq!(shown["cpu"], Value::Null);
        assert_eq!(shown["memory"]["usage"], json!({"limit": 9, "usage": 5, "failcnt": 0}));
        assert_eq!(shown["memory"].get("swap"), None);
        assert_eq!(shown["blkio"]["ioServicedRecursive"], json!([]));
    }
}
