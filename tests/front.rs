//! A third front, on the library alone: a sandbox and two containers in a cgroup and a folder of logs of its own, without a
//! v1 Pod, without rules, and without a record written by hand.
//!
//! The test program runs itself again inside the test's host, as the front and as the monitor.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::value::RawValue;

use runtime::cgroup::{Cgroup, Layout};
use runtime::host::Host;
use runtime::image::ImageStore;
use runtime::pod::client::Client;
use runtime::pod::config::{ContainerConfig, Dns, DnsConfig, DnsPolicy, ProcessConfig, SandboxConfig};
use runtime::pod::protocol::{LogSpec, NamespaceMode, Network};
use runtime::pod::record::{self, ContainerState, Front};
use runtime::pod::{self, Facts, launch, store};
use support::fixtures::reference;
use support::suite::Suite;

/// The argument that makes the test program a front; the host's trees follow.
const FRONT: &str = "--third-front";

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a third front stands on the pods' mechanism alone", &["busybox"], |host| {
        let itself = std::env::current_exe()?;
        let (root, state, log) = (host.root(), host.state_dir(), host.log_dir());
        let trees = [&root, &state, &log].map(|path| path.to_str().unwrap_or_default());
        let [root, state, log] = trees;
        let arguments = [FRONT, root, state, log, host.cgroup_parent()];
        host.run(itself.to_str().context("a path in UTF-8")?, &arguments)?.ok().map(drop)
    });
}

/// Takes over when the program was started as the front. As a monitor it is started as in the module `monitor`.
pub(crate) fn take_over() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [FRONT, root, state, log, cgroup] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let host = Host {
        root: root.into(),
        state_dir: state.into(),
        log_dir: log.into(),
        cgroup_parent: cgroup.into(),
        ..Host::default()
    };
    Some(match run_two(&host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    })
}

fn run_two(host: &Host) -> Result<()> {
    let layout = Layout::detect()?;
    let parent = format!("{}/third", host.cgroup_parent);
    let cgroup = Cgroup::create_everywhere(&layout, &parent, None)?;
    let logs = host.log_dir.with_extension("third");
    std::fs::create_dir_all(&logs)?;
    let asked = sandbox(&parent, &logs)?;
    let ((sandbox, _), mut client) = launch::up(host, false, |raising| raising.sandbox(&asked, None))?;
    let image = ImageStore::open(host)?.get(&reference("busybox").parse()?)?.context("busybox is loaded")?;
    let facts = Facts::read(&layout);
    client.watch(0)?;
    for name in ["one", "two"] {
        let container = container(name, &logs);
        let id = pod::create_container(host, &sandbox, &container, &image, &facts, &mut client)?;
        client.start(&id)?;
        ensure!(exit_code(&mut client, &id)? == 7);
        let said = std::fs::read_to_string(logs.join(format!("{name}.log")))?;
        ensure!(said.contains(&format!(" stdout F {name} in third\n")), "{said}");
    }
    client.stop_sandbox(None)?;
    store::remove(host, &sandbox.id)?;
    ensure!(!host.pod_root(&sandbox.id).exists() && !host.pod_state_dir(&sandbox.id).exists());
    ensure!(logs.join("one.log").exists() && logs.join("two.log").exists(), "the logs are another's");
    ensure!(cgroup.exists(), "the pod has removed another's cgroup");
    cgroup.remove_if_empty();
    ensure!(!cgroup.exists(), "the pod has left a cgroup below another's");
    Ok(std::fs::remove_dir_all(logs)?)
}

/// Waits for the end of the container `id`.
fn exit_code(client: &mut Client, id: &str) -> Result<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let status = client.watch(0)?.containers.into_iter().find(|status| status.id == id);
        let record = status.context("the container is gone")?.record;
        if record.state == ContainerState::Exited {
            return record.exit_code.context("no exit code");
        }
        client.next(Some(deadline))?.context("the container does not end")?;
    }
}

fn sandbox(cgroup: &str, logs: &Path) -> Result<SandboxConfig> {
    Ok(SandboxConfig {
        front: Front::Cri,
        name: "third".into(),
        namespace: "fronts".into(),
        uid: "1".into(),
        attempt: 0,
        labels: [].into(),
        created_at: record::now(),
        hostname: Some("third".into()),
        subdomain: None,
        host_aliases: Vec::new(),
        dns: Dns { policy: DnsPolicy::Default, config: DnsConfig::default() },
        network: Network::None,
        ipc: NamespaceMode::Own,
        pid: NamespaceMode::Own,
        sysctls: [].into(),
        resources: Default::default(),
        cgroup: Some(cgroup.to_owned()),
        shm_size: 1 << 20,
        volumes: Vec::new(),
        log_dir: logs.to_owned(),
        log_dir_owned: false,
        grace: 1000,
        asked: RawValue::from_string("{}".into())?,
    })
}

fn container(name: &str, logs: &Path) -> ContainerConfig {
    let script = format!("echo {name} in $(hostname); exit 7");
    ContainerConfig {
        name: name.into(),
        image: reference("busybox"),
        process: ProcessConfig {
            command: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
            ..ProcessConfig::default()
        },
        log: Some(LogSpec {
            folder: Some(logs.to_owned()),
            path: format!("{name}.log"),
            max_size: 0,
            max_files: 1,
        }),
        ..ContainerConfig::default()
    }
}
