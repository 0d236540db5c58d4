//! How a monitor comes to be: spawned by a client, it lets go of it and settles on the host.
//!
//! Invariant: after [`settle`] nothing that happens to the client, its session, its unit or its cgroup reaches the
//! monitor, and nothing of the pod's limits does.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::cgroup::{Join, Layout};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::pod::record::ProcessId;
use crate::pod::shared::{self, AmongMonitors};
use crate::sys::file::own;
use crate::sys::io::socket;
use crate::sys::process::{daemon, pidfd, proc};

/// How much the monitor is spared when memory runs out: it is small, and its pod dies with it.
const OOM_SCORE_ADJUST: i32 = -998;

/// The parts that a monitor's client holds until the monitor's first answer: its place among the monitors, and
/// the mount it was executed from, whose end the client has time to wait for.
#[derive(Debug)]
pub(in crate::pod) struct Birth {
    _among: AmongMonitors,
    _program: daemon::Program,
}

/// Starts the monitor of pod `id`; the socket owns the pod until it says `commit`.
pub(in crate::pod) fn spawn(
    host: &Host,
    layout: &Layout,
    id: &str,
    host_pid: bool,
) -> Result<(OwnedFd, Birth)> {
    let (ours, theirs) = socket::pair()?;
    let _among = AmongMonitors::join(host)?;
    // Born in its own cgroup, so that no session's or unit's end takes it along.
    let _program = shared::join_monitors(host, layout, |join| {
        let unified = join.unified.as_ref().map(AsFd::as_fd);
        daemon::launch(&["podrun", "monitor", id], theirs.as_fd(), unified, !host_pid).map_err(Error::from)
    })?;
    Ok((ours, Birth { _among, _program }))
}

/// Leaves the maker's v1 cgroups (the monitor was born outside the unified one), and takes as much protection
/// from the OOM killer as the host grants: without CAP_SYS_RESOURCE not more than its maker has.
pub(super) fn settle(host: &Host, layout: &Layout) -> Result<()> {
    shared::join_monitors(host, layout, Join::enter_v1)?;
    // The kernel refuses a lower value without the right to it: the monitor keeps its maker's.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUST.to_string());
    Ok(())
}

/// This process as the host sees it: its pid there, since its own namespace gives another, and its start.
pub(super) fn own_process() -> Result<ProcessId> {
    let shown = std::fs::read_link("/proc/self").context(|| "readlink(/proc/self)")?;
    let pid = shown.to_str().and_then(|pid| pid.parse().ok());
    process(pid.ok_or_else(|| Error::failed("/proc/self names no process: is /proc the host's?"))?)
}

/// The process of host pid `pid`, with its start time.
pub(super) fn process(pid: i32) -> Result<ProcessId> {
    Ok(ProcessId::of(pid)?)
}

/// Whether a process is on its way out though it has not ended: the init of a pid namespace first sees all others end,
/// and nothing can be started in it any more.
pub(super) fn is_exiting(process: ProcessId) -> bool {
    /// Of the flags, which are field 9.
    const PF_EXITING: u64 = 0x4;
    !process.is_same() || proc::stat_field(process.pid, 9).is_ok_and(|flags| flags & PF_EXITING != 0)
}

/// The pid that the host gives the process behind `pidfd`.
pub(super) fn host_pid(pidfd: &OwnedFd) -> Result<i32> {
    pidfd::pid_in_proc(pidfd.as_fd()).ok_or_else(|| Error::failed("the process is gone"))
}

/// Adds to a small file of the pod's own.
pub(super) fn append(path: &Path, text: &str) -> Result<()> {
    own::append(path, text.as_bytes()).context(|| format!("write({})", path.display()))
}
