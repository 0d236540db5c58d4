//! The namespaces of the host, of a pod's monitor and of its containers, read from /proc.
//!
//! Invariant: a process is looked at only while it is the one the pod's record means (its start time
//! is compared), so that a reused pid never shows a stranger's namespaces. See namespaces(7).

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::record::{self, Live, ProcessId};
use crate::error::{Context, Result};
use crate::host::Host;
use crate::sys;

/// The eight kinds, by their names in /proc, in the order of the table: the ones a pod shares first.
pub const KINDS: [&str; 8] = ["net", "ipc", "uts", "user", "cgroup", "time", "mnt", "pid"];

/// The role of a process in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The host's own first process.
    Host,
    /// The pod's monitor.
    Monitor,
    /// The init of a shared PID namespace.
    Init,
    /// A container's first process.
    Container,
}

/// One process and its namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its role.
    pub part: Part,
    /// The container's name; empty for the others.
    pub container: String,
    /// Its pid on the host, as nsenter(1) takes it; 0 if unknown.
    pub pid: i32,
    /// Its pid as its own PID namespace sees it.
    pub pid_inside: i32,
    /// The inode of each namespace, in the order of [`KINDS`]; `None` where the kernel has no such kind, or
    /// does not let this process look.
    pub inodes: [Option<u64>; 8],
}

/// The host's row. If the first process may not be inspected (CAP_SYS_PTRACE is missing, or it has more rights
/// than this one), podrun's own namespaces count as the host's.
pub fn of_host() -> Result<Row> {
    let row = read(1, Part::Host, String::new()).context(|| "the host's namespaces")?;
    if row.inodes.iter().any(Option::is_some) {
        return Ok(row);
    }
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let own = read(own, Part::Host, String::new()).context(|| "podrun's own namespaces")?;
    Ok(Row { pid: 0, pid_inside: 0, ..own })
}

/// The rows of the pod `id`, if it runs: the monitor, the shared init if there is one, and each running one of
/// `containers`, by name and id.
///
/// # Errors
/// The pod's record cannot be read.
pub fn of_pod<'a>(
    host: &Host,
    id: &str,
    containers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Row>> {
    let Some(live) = record::load::<Live>(&record::live_path(host, id))?.present() else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    let mut add = |process: ProcessId, part, name: String| {
        if process.is_same() {
            // It may end while it is looked at.
            rows.extend(read(process.pid, part, name).ok());
        }
    };
    add(live.monitor, Part::Monitor, String::new());
    if let Some(init) = live.init {
        add(init, Part::Init, String::new());
    }
    for (name, id) in containers {
        if let Some(process) = live.containers.get(id) {
            add(*process, Part::Container, name.to_owned());
        }
    }
    Ok(rows)
}

fn read(pid: i32, part: Part, container: String) -> std::io::Result<Row> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let mut inodes = [None; 8];
    for (kind, inode) in KINDS.iter().zip(&mut inodes) {
        *inode = match fs::read_link(proc.join("ns").join(kind)) {
            Ok(link) => link.to_str().and_then(inode_of),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
            Err(error) if error.kind() == ErrorKind::NotFound && proc.exists() => None,
            Err(error) => return Err(error),
        };
    }
    let pid_inside = sys::process::proc::innermost_pid(pid).unwrap_or(pid);
    Ok(Row { part, container, pid, pid_inside, inodes })
}

/// The number in `net:[4026531840]`.
fn inode_of(link: &str) -> Option<u64> {
    link.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_statuses_are_read() {
        assert_eq!(inode_of("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(inode_of("nonsense"), None);
    }

    #[test]
    fn this_process_is_itself_and_no_other() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(!ProcessId { pid, start_time: 1 }.is_same());
        let row = read(pid, Part::Container, "x".into()).unwrap();
        assert!(row.inodes[0].is_some());
    }
}
