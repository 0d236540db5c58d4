//! What is another's stays: a kubelet's log folder and cgroup, while its sandboxes end in every way.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use runtime::cgroup::{Cgroup, Layout};
use runtime::host::Host;
use runtime::image::ImageStore;
use runtime::pod::protocol::{ContainerSpec, LogSpec, NamespaceMode, SandboxSpec};
use runtime::pod::record::{self, Live, Sandbox, SandboxState, SandboxStatus};
use runtime::pod::{draw_id, lease_owner};
use runtime::pod::{recovery, store};
use support::deadline::wait_for;
use support::suite::Suite;

use crate::monitor::{Driven, add_client, begin_as, sandbox_spec};

pub(crate) fn add(suite: &mut Suite) {
    add_client(suite, "what is a kubelet's survives the end of its sandboxes", "ownership");
}

/// What a kubelet makes for a pod before it asks for a sandbox.
struct Given {
    logs: PathBuf,
    cgroup: String,
    directories: Vec<PathBuf>,
    /// Of another runtime, or another attempt.
    stranger: Vec<PathBuf>,
}

pub(crate) fn keep_what_is_anothers(host: Host) -> Result<()> {
    let given = Given::make(&host)?;
    let mut first = sandbox(&host, &given, 0)?;
    let mut second = sandbox(&host, &given, 1)?;
    let (one, two) = (container(&mut first, &given)?, container(&mut second, &given)?);
    is_below(&given, &first, &one)?;
    is_below(&given, &second, &two)?;

    // A stop, and a removal without a monitor.
    first.monitor.stop_sandbox(Some(Duration::ZERO))?;
    given.is_there(&[&second.id, &two])?;
    store::remove(&host, &first.id)?;
    given.is_there(&[&second.id, &two])?;
    ensure!(second.exec(&two, "echo alive")?.0 == "alive\n", "the next attempt ended with the first");

    // A lost monitor, while the next attempt runs.
    let mut third = sandbox(&host, &given, 2)?;
    let three = container(&mut third, &given)?;
    kill_monitor(&second)?;
    let troubles = recovery::reap(&host, |_| None);
    ensure!(troubles.is_empty(), "{troubles:?}");
    given.is_there(&[&third.id, &three])?;
    ensure!(third.exec(&three, "echo alive")?.0 == "alive\n", "the next attempt ended with the second");
    store::remove(&host, &second.id)?;
    given.is_there(&[&third.id, &three])?;

    // At once.
    third.monitor.remove_sandbox(None)?;
    given.is_there(&[])?;
    a_reboot_ends_it(&host, &given)?;
    leases_are_of_one_container(&host)?;
    given.remove(&host)
}

impl Given {
    fn make(host: &Host) -> Result<Self> {
        let layout = Layout::detect()?;
        let cgroup = format!("{}/given", host.cgroup_parent);
        let limits = serde_json::from_value(json!({ "pids": { "limit": 100 } }))?;
        Cgroup::create_everywhere(&layout, &cgroup, Some(&limits))?;
        let stranger = format!("{cgroup}/{}", "5".repeat(64));
        Cgroup::create_everywhere(&layout, &stranger, None)?;
        let all = |cgroup: &str| -> Result<Vec<PathBuf>> {
            let roots = std::fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path());
            let roots = roots.chain([PathBuf::from("/sys/fs/cgroup")]);
            let found = roots.map(|root| root.join(cgroup.trim_start_matches('/')));
            Ok(found.filter(|directory| directory.is_dir()).collect())
        };
        // A kubelet of cgroup v1 knows no unified hierarchy.
        let (mut directories, mut strangers) = (all(&cgroup)?, all(&stranger)?);
        if directories.len() > 1 {
            for directories in [&mut strangers, &mut directories] {
                let unified = directories.iter().position(|at| at.join("cgroup.kill").exists());
                unified.map(|at| std::fs::remove_dir(directories.remove(at))).transpose()?;
            }
        }
        let logs = host.log_dir.with_file_name("kubelet");
        std::fs::create_dir_all(&logs)?;
        std::fs::write(logs.join("kept"), "")?;
        Ok(Self { logs, cgroup, directories, stranger: strangers })
    }

    /// Whether all that is another's is there, and of ours below it nothing but `living`.
    fn is_there(&self, living: &[&str]) -> Result<()> {
        ensure!(self.logs.join("kept").exists() && self.logs.join("main").is_dir(), "the logs are gone");
        for directory in self.directories.iter().chain(&self.stranger) {
            ensure!(directory.is_dir(), "{} is gone", directory.display());
        }
        for directory in &self.directories {
            for entry in std::fs::read_dir(directory)?.flatten().filter(|entry| entry.path().is_dir()) {
                let name = entry.file_name().into_string().unwrap_or_default();
                let known = living.contains(&name.as_str()) || self.stranger.contains(&entry.path());
                ensure!(known, "{} is left", entry.path().display());
            }
        }
        Ok(())
    }

    fn remove(self, host: &Host) -> Result<()> {
        for directory in self.stranger.iter().chain(&self.directories) {
            std::fs::remove_dir(directory).with_context(|| format!("{}", directory.display()))?;
        }
        std::fs::remove_dir_all(&self.logs)?;
        for directory in self.directories.iter().filter_map(|directory| directory.parent()) {
            // The last monitor has left it for what was in it.
            let _ = std::fs::remove_dir(directory);
        }
        let keys = host.root.join("keys");
        ensure!(!keys.exists() || std::fs::read_dir(&keys)?.next().is_none(), "a key is left");
        Ok(())
    }
}

/// The record of a kubelet's sandbox, as its front writes it.
fn write_record(host: &Host, given: &Given, id: &str, attempt: u32, boot: &str) -> Result<()> {
    let record: Sandbox = serde_json::from_value(json!({
        "version": 1, "id": id, "front": "cri", "name": "web", "namespace": "default", "uid": "of-the-kubelet",
        "attempt": attempt, "createdAt": 1, "bootId": boot, "cgroup": given.cgroup, "cgroupOwned": false,
        "logDir": given.logs, "logDirOwned": false, "asked": {},
    }))?;
    std::fs::create_dir_all(host.pod_root(id))?;
    Ok(record::write(&record::sandbox_path(host, id), &record)?)
}

fn sandbox(host: &Host, given: &Given, attempt: u32) -> Result<Driven> {
    let id = draw_id()?;
    write_record(host, given, &id, attempt, &store::boot_id()?)?;
    let spec = SandboxSpec {
        cgroup: given.cgroup.clone(),
        cgroup_owned: false,
        pid: NamespaceMode::Pod,
        ..sandbox_spec(host, &id)
    };
    begin_as(host.clone(), id, &spec)
}

fn container(pod: &mut Driven, given: &Given) -> Result<String> {
    let path = format!("main/{}.log", pod.id);
    let spec = ContainerSpec {
        name: "main".into(),
        log: Some(LogSpec {
            folder: Some(given.logs.clone()),
            path: path.clone(),
            max_size: 0,
            max_files: 1,
        }),
        pid: NamespaceMode::Pod,
        ..ContainerSpec::default()
    };
    let id = pod.take_in("echo said; sleep 1000", spec, |spec| {
        spec["mounts"] = json!([]);
        spec["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }]);
    })?;
    pod.monitor.start(&id)?;
    let log = given.logs.join(path);
    wait_for("the log says it", || {
        let text = std::fs::read_to_string(&log)?;
        ensure!(text.contains(" stdout F said\n"), "{text:?}");
        Ok(())
    })?;
    Ok(id)
}

fn live(pod: &Driven) -> Result<Live> {
    record::load(&record::live_path(&pod.host, &pod.id))?.present().context("no live.json")
}

/// The container is in each hierarchy in which the kubelet has a cgroup, and so is the init of its pid namespace.
fn is_below(given: &Given, pod: &Driven, container: &str) -> Result<()> {
    let live = live(pod)?;
    let main = live.containers.get(container).context("it does not run")?;
    let init = live.init.context("no init of a shared pid namespace")?;
    for (pid, name) in [(main.pid, container), (init.pid, &pod.id)] {
        for directory in &given.directories {
            let procs = directory.join(name).join("cgroup.procs");
            let text = std::fs::read_to_string(&procs).with_context(|| procs.display().to_string())?;
            let is_in = text.lines().any(|line| line == pid.to_string());
            ensure!(is_in, "{pid} is not in {}: {text:?}", procs.display());
        }
    }
    Ok(())
}

fn kill_monitor(pod: &Driven) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(live(pod)?.monitor.pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?;
    wait_for("the monitor is gone", || {
        ensure!(!store::is_alive(&pod.host, &pod.id)?);
        Ok(())
    })
}

/// A sandbox of an earlier boot, whose kubelet has made the folder and the cgroup anew.
fn a_reboot_ends_it(host: &Host, given: &Given) -> Result<()> {
    let id = draw_id()?;
    write_record(host, given, &id, 3, "of-before")?;
    let status = SandboxStatus { committed: true, state: SandboxState::Ready, ..SandboxStatus::default() };
    record::write_status(host, &id, &status)?;
    std::fs::write(host.state_dir.join("boot_id"), "of-before")?;
    let troubles = recovery::reap(host, |_| None);
    ensure!(troubles.is_empty(), "{troubles:?}");
    given.is_there(&[])?;
    let ended = record::load_status(host, &id)?.0.present().context("its records are gone")?;
    ensure!(ended.state == SandboxState::Ended, "{ended:?}");
    ensure!(runtime::policy::store::list(host)?.is_empty(), "the pod front sees a kubelet's sandbox");
    store::remove(host, &id)?;
    given.is_there(&[])
}

/// Two containers that are made at once do not take each other's image; each goes with its pod.
fn leases_are_of_one_container(host: &Host) -> Result<()> {
    let images = ImageStore::open(host)?;
    let (pod, one, two) = (draw_id()?, draw_id()?, draw_id()?);
    for container in [&one, &two] {
        std::fs::create_dir_all(record::container_dir(host, &pod, container))?;
        images.lease(&lease_owner(&pod, container), &[])?;
    }
    ensure!(images.lease_owners()?.len() == 2, "{:?}", images.lease_owners()?);
    store::remove(host, &pod)?;
    ensure!(images.lease_owners()?.is_empty(), "{:?}", images.lease_owners()?);
    // One whose pod nobody knows goes with what a reboot has left.
    images.lease(&lease_owner(&pod, &one), &[])?;
    std::fs::write(host.state_dir.join("boot_id"), "of-before")?;
    ensure!(recovery::reap(host, |_| None).is_empty());
    ensure!(images.lease_owners()?.is_empty(), "{:?}", images.lease_owners()?);
    Ok(())
}
