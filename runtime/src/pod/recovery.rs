//! Recovery, the first act of every verb: finds pods whose monitor died, and the remains of a killed client or
//! a reboot, and brings them to a known end.
//!
//! Invariants: no process works on a pod whose lock is free and whose folder in the state dir is not held; both
//! are held during recovery. A committed pod stays visible, Failed, until it is deleted; an uncommitted one
//! vanishes. In the normal case this reads two small files and tries one lock for each living pod, and writes
//! nothing.

use std::fs::File;
use std::io::ErrorKind as IoKind;
use std::path::Path;
use std::time::Duration;

use super::driver::{Fronts, Loss};
use super::record::{
    self, ContainerState, ContainerStatusRecord, Live, Loaded, Sandbox, SandboxState, SandboxStatus,
};
use super::{client, names, sandbox, shared, store};
use crate::cgroup::{Cgroup, Layout};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::image::snapshot;
use crate::sys::file::own;
use crate::sys::io::socket;
use crate::sys::process::proc;
use crate::{lock, net};

/// Ends the pods of dead monitors and finishes half-done work; returns the failures, which the next verb
/// retries. A failure of one pod, such as a full disk, stops neither the recovery of others nor its deletion.
#[must_use]
pub fn reap(host: &Host, fronts: Fronts) -> Vec<Error> {
    let mut troubles = Vec::new();
    let mut found_dead = false;
    match store::boot_id().and_then(|boot| Ok((known_boot(host)?, boot))) {
        Ok((known, boot)) if known.as_ref() == Some(&boot) => {}
        Ok((_, boot)) => {
            found_dead = true;
            troubles.extend(after_boot(host, fronts, &boot).context(|| "after a reboot").err());
        }
        Err(error) => troubles.push(error),
    }
    let marked = store::folder_names(&host.state_dir.join("pods")).unwrap_or_else(|error| {
        troubles.push(error);
        Vec::new()
    });
    for id in marked {
        match recover_if_dead(host, fronts, &id, Loss::MonitorLost) {
            Ok(was_dead) => found_dead |= was_dead,
            Err(error) => troubles.push(error.context(format_args!("clean up after pod {id}"))),
        }
    }
    troubles.extend(shared::tidy(host, found_dead).err());
    troubles
}

/// The same for one pod, of which something told that its monitor may have ended.
pub(super) fn reap_one(host: &Host, fronts: Fronts, id: &str) -> Result<()> {
    if recover_if_dead(host, fronts, id, Loss::MonitorLost)? { shared::tidy(host, true) } else { Ok(()) }
}

/// How long a monitor that was killed may take to be gone.
const DIES_WITHIN: Duration = Duration::from_secs(2);
/// How long a boot's id is: a UUID.
const BOOT_ID: u64 = 36;

/// The boot in which podrun was last used here; none if the file holds no boot id.
fn known_boot(host: &Host) -> Result<Option<String>> {
    let path = host.state_dir.join("boot_id");
    match own::read_text(&path, BOOT_ID) {
        Ok(boot) => Ok(Some(boot)),
        Err(error) => match error.kind() {
            IoKind::NotFound | IoKind::FileTooLarge | IoKind::InvalidData => Ok(None),
            _ => Err(error).context(|| format!("read {}", path.display())),
        },
    }
}

/// The first verb of a boot, which no pod can have lived through; or of a state dir that was emptied.
fn after_boot(host: &Host, fronts: Fronts, boot: &str) -> Result<()> {
    host.make_state_dir()?;
    let folder = &host.state_dir;
    // One at a time; the second finds the first's work done.
    let lock = File::open(folder).context(|| format!("open {}", folder.display()))?;
    lock::take(&lock, folder, lock::LONG)?;
    let known = known_boot(host)?;
    if known.as_deref() == Some(boot) {
        return Ok(());
    }
    // Without a known boot the state dir was emptied, as a container's /run is at its restart: then the pods of
    // this boot with a monitor are alive.
    let running = if known.is_none() { shared::running_monitors(host)? } else { None };
    let is_lost = |id: &str| running.as_ref().is_some_and(|running| !running.contains_key(id));
    let mut trouble = Ok(());
    for name in store::folder_names(&host.root.join("pods"))? {
        let id = name.trim_start_matches('.');
        let ended = record::load::<Sandbox>(&record::sandbox_path(host, id)).and_then(|sandbox| {
            let is_earlier = sandbox.present().is_none_or(|sandbox| sandbox.boot_id != boot);
            if !is_earlier && !is_lost(id) {
                return Ok(());
            }
            let loss = if is_earlier { Loss::HostRebooted } else { Loss::MonitorLost };
            store::mark(host, id).and_then(|()| recover_if_dead(host, fronts, id, loss)).map(drop)
        });
        trouble = trouble.and(ended.context(|| format!("pod {id}")));
    }
    // The boot stays unknown until all are ended, so that remains still count as the last boot's.
    trouble?;
    record::write_bytes(&folder.join("boot_id"), boot.as_bytes())
}

/// Whether it was dead, and is recovered now.
fn recover_if_dead(host: &Host, fronts: Fronts, id: &str, loss: Loss) -> Result<bool> {
    if store::is_alive(host, id)? {
        return Ok(false);
    }
    let Some(guard) = store::hold(host, id)? else { return Ok(false) };
    // Its maker may have committed and let go between the two checks. And taking its lock away did not end it.
    if store::is_alive(host, id)? || has_listening_monitor(host, id)? {
        return Ok(false);
    }
    recover(host, fronts, id, loss)?;
    drop(guard);
    Ok(true)
}

/// Whether a monitor without a lock file listens: the file was deleted.
fn has_listening_monitor(host: &Host, id: &str) -> Result<bool> {
    let lock = record::lock_path(host, id);
    let is_locked = store::is_there(&lock)?;
    Ok(!is_locked && socket::is_listening(&host.pod_state_dir(id), client::SOCKET)?)
}

/// Removes the pod `id` if it has no monitor, and returns whether it did; waits for its maker or remover.
pub(super) fn remove_dead(host: &Host, id: &str, patience: Duration) -> Result<bool> {
    // Its monitor removed it. Held anew it would seem to be there still, to the last monitor too, which asks whether the
    // bridge is used.
    if store::is_removed(host, id)? {
        return Ok(true);
    }
    let _guard = store::hold_for_removal(host, id, patience)?;
    if store::is_alive(host, id)? {
        return Ok(false);
    }
    remove(host, id).map(|()| true)
}

/// Removes the pod `id`, which the caller holds, with the remains of its killed monitor.
pub(super) fn remove(host: &Host, id: &str) -> Result<()> {
    let sandbox = record::load::<Sandbox>(&record::sandbox_path(host, id))?.present();
    let status = record::load_status(host, id)?.0.present();
    // Of one that removed its records, and only waits to take the bridge away, nothing is to be done.
    let may_run = sandbox.is_some() && status.is_none_or(|status| status.state != SandboxState::Ended);
    let is_locked = record::lock_path(host, id).try_exists().context(|| format!("the lock of pod {id}"))?;
    // Emptying the state dir took the lock and the socket of a running monitor: no client can reach it.
    let was_lost = !is_locked && may_run && shared::kill_lost_monitor(host, id, DIES_WITHIN)?;
    // A monitor that ended by itself has removed the lock.
    if is_locked || may_run {
        take_down(host, id, sandbox.as_ref())?;
    }
    store::remove(host, id)?;
    if was_lost { shared::tidy(host, true) } else { Ok(()) }
}

/// Brings the pod `id`, on which no process works, to its end.
fn recover(host: &Host, fronts: Fronts, id: &str, loss: Loss) -> Result<()> {
    let sandbox = match record::load::<Sandbox>(&record::sandbox_path(host, id))? {
        Loaded::Present(sandbox) => sandbox,
        // A removal that was cut off, or a creation that had no record yet.
        Loaded::Missing => return store::remove(host, id),
        // A creation that was cut off over its record: it had no name yet.
        Loaded::Unreadable(_) if !names::has_any(host, id)? => return store::remove(host, id),
        // It stays visible as Unknown until it is deleted.
        Loaded::Unreadable(_) => {
            take_down(host, id, None)?;
            return store::unmark(host, id);
        }
    };
    let (status, is_behind) = record::load_status(host, id)?;
    let known = status.clone().present();
    if known.as_ref().is_none_or(|status| status.state != SandboxState::Ended) {
        take_down(host, id, Some(&sandbox))?;
    }
    match status {
        Loaded::Present(status) if !status.committed || status.deletion_at.is_some() => {
            store::remove(host, id)
        }
        Loaded::Present(status) => {
            end(host, fronts, &sandbox, status, is_behind, loss)?;
            store::unmark(host, id)
        }
        Loaded::Missing if loss == Loss::MonitorLost => store::remove(host, id),
        // A record lost in a power cut is Unknown, and stays until it is deleted.
        Loaded::Missing | Loaded::Unreadable(_) => {
            remove_snapshots(host, id)?;
            store::unmark(host, id)
        }
    }
}

/// Records the pod's end, and removes the parts of a running pod. A write that a full disk refuses stops
/// nothing else; all of it is retried.
fn end(
    host: &Host,
    fronts: Fronts,
    sandbox: &Sandbox,
    mut status: SandboxStatus,
    is_behind: bool,
    loss: Loss,
) -> Result<()> {
    let mut outcome = remove_snapshots(host, &sandbox.id);
    if status.state == SandboxState::Ended && !is_behind {
        return outcome;
    }
    for container in store::folder_names(&host.pod_root(&sandbox.id).join("containers"))? {
        let path = record::container_dir(host, &sandbox.id, &container).join("status.json");
        outcome = outcome.and(end_container(&path));
    }
    if status.state == SandboxState::Ended {
        let written = record::write_status(host, &sandbox.id, &status);
        return outcome.and(written);
    }
    // Of a front that has no rules, or is not linked, nothing more is said.
    if let (Some(rules), Some(known)) = (fronts(sandbox.front), &status.pod)
        && let Some(text) = (rules.lose)(sandbox, known, loss)
    {
        status.pod = Some(text);
    }
    status.state = SandboxState::Ended;
    status.network = None;
    let written = record::write_status(host, &sandbox.id, &status);
    outcome.and(written)
}

fn end_container(path: &Path) -> Result<()> {
    let Loaded::Present(mut status) = record::load::<ContainerStatusRecord>(path)? else { return Ok(()) };
    if status.state == ContainerState::Exited {
        return Ok(());
    }
    status.state = ContainerState::Exited;
    status.pid = None;
    status.finished_at = record::now();
    status.exit_code = Some(record::LOST);
    status.reason = "ContainerStatusUnknown".into();
    status.message = "nobody saw how it ended".into();
    record::write(path, &status)
}

/// Leaves nothing of a pod on the host but its files. The link goes first: once the monitor's pid is used
/// again it leads to a stranger's network.
fn take_down(host: &Host, id: &str, sandbox: Option<&Sandbox>) -> Result<()> {
    match record::load::<Live>(&record::live_path(host, id))? {
        Loaded::Present(Live { netns_link: Some(link), monitor, .. }) => {
            remove_netns_link(&link, monitor.pid)?;
        }
        // It died before it could write down that there is one.
        _ if host.links_netns() => {
            if let Some(name) = sandbox.and_then(sandbox::netns_link) {
                remove_lost_netns_link(&Path::new(sandbox::NETNS_DIR).join(name))?;
            }
        }
        _ => {}
    }
    let layout = Layout::detect()?;
    let cgroups = own_cgroups(host, id, sandbox)?;
    let cgroups = cgroups.iter().map(|path| Cgroup::open(&layout, path)).collect::<Result<Vec<_>>>()?;
    // hostPID pods outlive their monitor; for the others this finds no process.
    cgroups.iter().try_for_each(Cgroup::kill)?;
    // By the id alone: the monitor may have died before it recorded its addresses.
    net::detach_lost(host, id)?;
    cgroups.iter().try_for_each(Cgroup::remove)
}

/// The cgroups that belong to the pod as a whole: another owner's may hold the same pod's next attempt.
fn own_cgroups(host: &Host, id: &str, sandbox: Option<&Sandbox>) -> Result<Vec<String>> {
    let own = shared::pod_cgroup(host, id);
    let Some(sandbox) = sandbox else { return Ok(vec![own]) };
    if sandbox.cgroup_owned {
        return Ok(vec![sandbox.cgroup.clone()]);
    }
    let mut names = store::folder_names(&host.pod_root(id).join("containers"))?;
    names.push(id.to_owned());
    let below = names.iter().map(|name| format!("{}/{name}", sandbox.cgroup));
    Ok(below.chain([own]).collect())
}

/// Removes the pod's link in /run/netns if it leads to the monitor with this pid; any other link is another
/// pod's.
pub(super) fn remove_netns_link(link: &Path, monitor: i32) -> Result<()> {
    if leads_to(link) == Some(monitor) { remove_link(link) } else { Ok(()) }
}

/// The same for an unknown pid: a link that leads to a running monitor belongs to that one.
fn remove_lost_netns_link(link: &Path) -> Result<()> {
    let is_monitor = |arguments: &[String]| arguments.get(1).is_some_and(|verb| verb == "monitor");
    match leads_to(link) {
        Some(pid) if !proc::arguments(pid).is_ok_and(|arguments| is_monitor(&arguments)) => remove_link(link),
        _ => Ok(()),
    }
}

/// The process whose network a link leads to.
fn leads_to(link: &Path) -> Option<i32> {
    let target = std::fs::read_link(link).ok()?;
    target.to_str()?.strip_prefix("/proc/")?.strip_suffix("/ns/net")?.parse().ok()
}

fn remove_link(link: &Path) -> Result<()> {
    match std::fs::remove_file(link) {
        Err(error) if error.kind() != IoKind::NotFound => {
            Err(Error::from(error).context(format_args!("remove {}", link.display())))
        }
        _ => Ok(()),
    }
}

fn remove_snapshots(host: &Host, id: &str) -> Result<()> {
    let containers = store::folder_names(&host.pod_root(id).join("containers"))?;
    containers.iter().try_for_each(|container| snapshot::remove(host, container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_that_was_cut_off_over_its_record_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let host =
            Host { root: dir.path().join("root"), state_dir: dir.path().join("state"), ..Host::default() };
        for id in ["1111", "2222"] {
            std::fs::create_dir_all(host.pod_state_dir(id)).unwrap();
            std::fs::create_dir_all(host.pod_root(id)).unwrap();
            std::fs::write(record::sandbox_path(&host, id), "{\"version\":1,").unwrap();
        }
        names::reserve(&host, &names::Key::Pod { namespace: "default", name: "web" }, "2222").unwrap();
        assert_eq!(reap(&host, |_| None).len(), 0);
        assert!(!host.pod_root("1111").exists(), "it had no name: it never was");
        assert!(host.pod_root("2222").exists(), "its name is taken: it shows as Unknown");
        assert!(!host.pod_state_dir("2222").exists());
    }

    #[test]
    fn one_pods_trouble_is_told_and_keeps_nobody_from_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let host =
            Host { root: dir.path().join("root"), state_dir: dir.path().join("state"), ..Host::default() };
        for id in ["1111", "2222"] {
            std::fs::create_dir_all(host.pod_state_dir(id)).unwrap();
        }
        // It cannot be taken from the records: its place among the removed is taken.
        std::fs::create_dir_all(host.root.join("pods/1111")).unwrap();
        std::fs::create_dir_all(host.root.join("pods/.1111/full")).unwrap();
        let troubles = reap(&host, |_| None);
        assert!(troubles.iter().all(|trouble| trouble.to_string().contains("1111")), "{troubles:?}");
        assert!(!host.pod_state_dir("2222").exists(), "the next one was cleaned up");
        assert_eq!(known_boot(&host).unwrap(), None, "not before all are ended");
        std::fs::remove_dir_all(host.root.join("pods/.1111")).unwrap();
        assert_eq!(reap(&host, |_| None).len(), 0);
        assert_eq!(known_boot(&host).unwrap(), Some(store::boot_id().unwrap()));
    }
}
