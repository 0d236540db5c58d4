//! The parts that the pods of a host share, and their end: the monitors' cgroup and the parent of all, the
//! bridge, leases of images.
//!
//! Invariant: every function here can be called by any process at any time, repeatedly and concurrently: a part
//! that a pod needs is in use, and stays.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use crate::cgroup::{Cgroup, Join, Layout};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::ImageStore;
use crate::pod::store;
use crate::sys::Errno;
use crate::sys::file::own;
use crate::sys::io::poll;
use crate::sys::process::{pidfd, proc};
use crate::{lock, net};

/// The cgroup of all monitors, below the host's parent.
const MONITORS: &str = "monitors";

/// How often a cgroup is made again that the end of another pod has removed.
const TRIES: u32 = 16;

/// The path of the monitors' cgroup.
fn monitors_cgroup(host: &Host) -> String {
    format!("{}/{MONITORS}", parent_cgroup(host))
}

/// The pod's own cgroup, even if its containers are in another.
pub(super) fn pod_cgroup(host: &Host, id: &str) -> String {
    format!("{}/{id}", parent_cgroup(host))
}

fn parent_cgroup(host: &Host) -> &str {
    host.cgroup_parent.trim_end_matches('/')
}

/// A share in the monitors' cgroup, of a member or of a process about to start one: each holds the pods' folder
/// by a shared flock, and the holder of the exclusive one is the last.
#[derive(Debug)]
pub(super) struct AmongMonitors(File);

impl AmongMonitors {
    /// Waits for the last one's end, if that is under way: some 20 ms.
    pub(super) fn join(host: &Host) -> Result<Self> {
        let pods = host.state_dir.join("pods");
        let open = || -> Result<File> {
            host.make_state_dir()?;
            own::directory(&pods, own::PRIVATE)?;
            Ok(File::open(&pods)?)
        };
        let folder = File::open(&pods).map_err(Error::from).or_else(|_| open());
        let folder = folder.context(|| format!("open {}", pods.display()))?;
        lock::take_shared(&folder, &pods, lock::BRIEF)?;
        Ok(Self(folder))
    }
}

/// Passes the monitors' cgroup to `enter`. The last monitor's end may remove the cgroup meanwhile: then it is
/// made again.
pub(super) fn join_monitors<T>(
    host: &Host,
    layout: &Layout,
    mut enter: impl FnMut(&Join) -> Result<T>,
) -> Result<T> {
    let path = monitors_cgroup(host);
    for _ in 1..TRIES {
        let joined = Cgroup::create_for_supervisor(layout, &path).and_then(|cgroup| cgroup.join());
        if let Ok(entered) = joined.and_then(|join| enter(&join)) {
            return Ok(entered);
        }
    }
    enter(&Cgroup::create_for_supervisor(layout, &path)?.join()?)
}

/// The processes of running monitors and of their errands, by pod id: the members of the monitors' cgroup,
/// whatever any state dir records. `None`: some are in another pid namespace, and cannot be identified.
pub(super) fn running_monitors(host: &Host) -> Result<Option<HashMap<String, Vec<i32>>>> {
    let cgroup = Cgroup::open(&Layout::detect()?, &monitors_cgroup(host))?;
    let mut running: HashMap<String, Vec<i32>> = HashMap::new();
    for pid in cgroup.own_processes()? {
        if pid == 0 {
            return Ok(None);
        }
        match proc::arguments(pid).as_deref() {
            Ok([_, verb, id]) if verb == "monitor" => running.entry(id.clone()).or_default().push(pid),
            Ok(_) => {}
            Err(error) if [Errno::ENOENT, Errno::ESRCH].contains(&Errno(error.errno)) => {}
            // A process that cannot be inspected may be any of them.
            Err(error) => return Err(error.clone().into()),
        }
    }
    Ok(Some(running))
}

/// Kills a monitor, and with it the pid namespace of its containers, and waits for its end.
pub(super) fn kill_monitor(process: BorrowedFd<'_>, patience: Duration) -> Result<()> {
    match pidfd::pidfd_send_signal(process, pidfd::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno.during("pidfd_send_signal(the pod's monitor, SIGKILL)").into()),
    }
    if poll::wait_readable(process, patience) {
        return Ok(());
    }
    let pid = pidfd::pid_in_proc(process).unwrap_or_default();
    Err(Error::new(
        ErrorKind::Timeout,
        format!("the pod's monitor, process {pid}, was killed and does not end"),
    )
    .hint(format!(
        "a cgroup that it is in is frozen (/proc/{pid}/cgroup), or it waits in the kernel (/proc/{pid}/stack)"
    )))
}

/// Kills the monitor of the pod `id` that runs and that no record leads to, with its errands; whether there was one.
pub(super) fn kill_lost_monitor(host: &Host, id: &str, patience: Duration) -> Result<bool> {
    let pids =
        || Ok::<_, Error>(running_monitors(host)?.and_then(|mut all| all.remove(id)).unwrap_or_default());
    let mut found = Vec::new();
    for pid in pids()? {
        match pidfd::pidfd_open(pid) {
            Err(Errno::ESRCH) => {}
            opened => found.push((pid, opened.map_err(|errno| errno.during(format!("pidfd_open({pid})")))?)),
        }
    }
    // Looked at again only now: a descriptor names one process for ever.
    let still = pids()?;
    for (_, process) in found.iter().filter(|(pid, _)| still.contains(pid)) {
        kill_monitor(process.as_fd(), patience)?;
    }
    Ok(!found.is_empty())
}

/// Leaves the monitors' cgroup, as this monitor's last act; the last one removes it. Trying for the exclusive
/// flock gives up the share, so that of two leaving at once one is the last.
pub(super) fn leave_monitors(host: &Host, layout: &Layout, among: &AmongMonitors) -> Result<()> {
    if among.0.try_lock().is_err() {
        return Ok(());
    }
    let cgroup = Cgroup::open(layout, &monitors_cgroup(host))?;
    cgroup.leave()?;
    // Monitors that left a moment before may still be exiting in it.
    cgroup.remove()?;
    remove_cgroups(host, layout)
}

/// Removes the cgroups above the pods', if the last pod has left them.
fn remove_cgroups(host: &Host, layout: &Layout) -> Result<()> {
    for path in [&monitors_cgroup(host), parent_cgroup(host)] {
        Cgroup::open(layout, path)?.remove_if_empty();
    }
    Ok(())
}

/// Removes shared parts that no pod needs; cheap unless `found_dead`: a pod was found whose monitor cannot do
/// it, or the host was rebooted.
pub(super) fn tidy(host: &Host, found_dead: bool) -> Result<()> {
    if !found_dead && !store::folder_names(&host.state_dir.join("pods"))?.is_empty() {
        return Ok(());
    }
    let layout = Layout::detect()?;
    // A failure of one step does not skip the others.
    let mut outcome = if found_dead { remove_lost_cgroups(host, &layout) } else { Ok(()) };
    outcome = outcome.and(remove_cgroups(host, &layout));
    outcome = outcome.and(net::remove_abandoned_bridge(host, found_dead));
    if found_dead { outcome.and(release_stale_leases(host)) } else { outcome }
}

/// Removes pod cgroups, named by id, of pods with neither a monitor nor a folder in the state dir. Pods of
/// another state dir may have theirs beside them: their monitors are in the same monitors' cgroup.
fn remove_lost_cgroups(host: &Host, layout: &Layout) -> Result<()> {
    let parent = parent_cgroup(host);
    let found: Vec<String> =
        Cgroup::open(layout, parent)?.children().into_iter().filter(|name| is_id(name)).collect();
    if found.is_empty() {
        return Ok(());
    }
    // Looked at after the cgroups: a pod's is made by its monitor.
    let Some(running) = running_monitors(host)? else { return Ok(()) };
    let mut outcome = Ok(());
    for id in found.iter().filter(|id| !running.contains_key(*id)) {
        if !store::is_there(&host.pod_state_dir(id))? {
            outcome = outcome.and(remove_lost_cgroup(layout, &pod_cgroup(host, id)));
        }
    }
    outcome
}

pub(super) fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes a pod's cgroup. An OCI container's may have such a name and lie here as well: a pod has its processes in its
/// containers' cgroups alone, which have their ids as names.
fn remove_lost_cgroup(layout: &Layout, path: &str) -> Result<()> {
    let cgroup = Cgroup::open(layout, path)?;
    let children = cgroup.children();
    if !cgroup.own_processes()?.is_empty() || !children.iter().all(|name| is_id(name)) {
        return Ok(());
    }
    if children.is_empty() {
        cgroup.remove_if_empty();
        return Ok(());
    }
    cgroup.kill()?;
    cgroup.remove()
}

/// Gives back the images of pods that are no more.
fn release_stale_leases(host: &Host) -> Result<()> {
    let images = ImageStore::open(host)?;
    for owner in images.lease_owners()? {
        let pod = owner.split('.').next().unwrap_or(&owner);
        if store::is_removed(host, pod)? {
            images.release(&owner).context(|| format!("images of pod {pod}"))?;
        }
    }
    Ok(())
}
