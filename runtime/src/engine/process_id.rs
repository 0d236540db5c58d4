//! A process in a record, read back by another podrun later.
//!
//! Invariant: a pid that is another process's by then is not taken for it.

use serde::{Deserialize, Serialize};

use crate::sys::Result;
use crate::sys::process::proc;

/// A process that a reused pid cannot be taken for, as records keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    /// The pid, in the pid namespace of the record's writer.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since the boot.
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Result<Self> {
        Ok(Self { pid, start_time: proc::stat_field(pid, 22)? })
    }

    /// Whether it still is there: its pid is no other's, and not free.
    pub fn is_same(self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_itself() {
        let own = i32::try_from(std::process::id()).unwrap();
        let process = ProcessId::of(own).unwrap();
        assert!(process.is_same() && process.start_time > 1);
        assert!(!ProcessId { start_time: 1, ..process }.is_same());
    }
}
