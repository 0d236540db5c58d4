//! A monitor driven by its socket alone, without a policy: what a kubelet's front will ask of it.
//!
//! The test program runs itself again inside the test's host: once as the client that asks, and, since a client
//! starts the monitor by running its own binary anew, once as the monitor.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{SockaddrIn, connect};
use serde_json::{Value, json};

use runtime::ErrorKind;
use runtime::cgroup::Layout;
use runtime::image::ImageStore;
use runtime::image::snapshot;
use runtime::pod::client::{Client, Notice};
use runtime::pod::draw_id;
use runtime::pod::protocol::{Change, ContainerSpec, Exec, LogSpec, NamespaceMode, Network, SandboxSpec};
use runtime::pod::record::{self, ContainerState, ContainerStatusRecord, SandboxState};
use support::deadline::wait_for;
use support::fixtures::reference;
use support::suite::Suite;

/// The argument that makes the test program a monitor's client; the host's trees follow.
const CLIENT: &str = "--monitor-client";

/// The same for a client that starts a container and is then killed; the pod and the container come last.
const DOOMED_CLIENT: &str = "--doomed-monitor-client";

pub(crate) fn add(suite: &mut Suite) {
    add_client(suite, "a monitor is driven by its socket alone", "socket");
}

type Acts = fn(runtime::host::Host) -> Result<()>;

/// What a client may do, by its name among the arguments.
const CLIENTS: [(&str, Acts); 4] = [
    ("socket", drive),
    ("requests", crate::protocol::answer_each),
    ("ends", crate::protocol::end_twice),
    ("ownership", crate::ownership::keep_what_is_anothers),
];

/// A test that is one of [`CLIENTS`].
pub(crate) fn add_client(suite: &mut Suite, name: &str, client: &'static str) {
    suite.on_host(name, &["busybox"], move |host| {
        let itself = std::env::current_exe()?;
        let (root, state, log) = (host.root(), host.state_dir(), host.log_dir());
        let trees = [&root, &state, &log].map(|path| path.to_str().unwrap_or_default());
        let [root, state, log] = trees;
        let arguments = [CLIENT, client, root, state, log, host.cgroup_parent()];
        host.run(itself.to_str().context("a path in UTF-8")?, &arguments)?.ok().map(drop)
    });
}

/// Takes over when the program was started as a client or as a monitor.
pub(crate) fn take_over() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let host = |root: &str, state: &str, log: &str, cgroup: &str| runtime::host::Host {
        root: root.into(),
        state_dir: state.into(),
        log_dir: log.into(),
        cgroup_parent: cgroup.into(),
        ..runtime::host::Host::default()
    };
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["monitor", id] => runtime::pod::monitor::run(id, |_| None).map_err(anyhow::Error::from),
        [CLIENT, client, root, state, log, cgroup] => {
            let (_, act) = CLIENTS.iter().find(|(name, _)| *name == client)?;
            act(host(root, state, log, cgroup))
        }
        [DOOMED_CLIENT, root, state, log, cgroup, pod, container] => {
            start_and_wait_for_the_end(&host(root, state, log, cgroup), pod, container)
        }
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    })
}

/// One pod, and the connection to its monitor.
pub(crate) struct Driven {
    pub(crate) host: runtime::host::Host,
    pub(crate) id: String,
    pub(crate) monitor: Client,
}

fn drive(host: runtime::host::Host) -> Result<()> {
    let mut pod = begin(host)?;
    stays_ready_without_containers(&mut pod)?;
    let first = two_attempts_of_one_name(&mut pod)?;
    let second = pod.container("main", 1, "cat", true)?;
    pod.monitor.start(&second)?;
    one_is_removed(&mut pod, &first)?;
    exec_passes_output_and_code(&mut pod, &second)?;
    attach_joins_the_streams(&mut pod, &second)?;
    a_socket_is_of_the_pods_network(&mut pod, &second)?;
    the_log_is_reopened(&mut pod, &second)?;
    no_exit_code_is_lost(&mut pod)?;
    stops_with_grace(&mut pod, &second)?;
    ends_and_is_removed_without_a_monitor(pod)
}

/// A sandbox with a network of its own and nothing else, committed.
pub(crate) fn begin(host: runtime::host::Host) -> Result<Driven> {
    let id = draw_id()?;
    let spec = sandbox_spec(&host, &id);
    begin_as(host, id, &spec)
}

/// The sandbox `id` as `spec` says, committed.
pub(crate) fn begin_as(host: runtime::host::Host, id: String, spec: &SandboxSpec) -> Result<Driven> {
    std::fs::create_dir_all(host.pod_root(&id))?;
    let mut monitor = Client::spawn(&host, &Layout::detect()?, &id, false)?;
    monitor.create_sandbox(spec)?;
    monitor.commit()?;
    Ok(Driven { host, id, monitor })
}

pub(crate) fn sandbox_spec(host: &runtime::host::Host, id: &str) -> SandboxSpec {
    SandboxSpec {
        hostname: "driven".into(),
        network: Network::None,
        ipc: NamespaceMode::Own,
        pid: NamespaceMode::Own,
        sysctls: [("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned())].into(),
        cgroup: format!("{}/{id}", host.cgroup_parent),
        cgroup_owned: true,
        resources: None,
        shm_size: 1 << 20,
        memory_volumes: [].into(),
        namespace: "default".into(),
        subdomain: None,
        host_aliases: Vec::new(),
        resolv_conf: String::new(),
        netns_link: None,
        grace: 1000,
    }
}

impl Driven {
    /// Writes the runtime spec of a container that runs `script`, and has it taken in.
    pub(crate) fn container(
        &mut self,
        name: &str,
        attempt: u32,
        script: &str,
        stdin: bool,
    ) -> Result<String> {
        let container = ContainerSpec {
            name: name.into(),
            attempt,
            log: Some(LogSpec {
                folder: None,
                path: format!("driven/{name}/{attempt}.log"),
                max_size: 0,
                max_files: 1,
            }),
            stdin,
            ..ContainerSpec::default()
        };
        self.take_in(script, container, |_| ())
    }

    /// The same with a spec that `change` has changed.
    pub(crate) fn take_in(
        &mut self,
        script: &str,
        container: ContainerSpec,
        change: impl FnOnce(&mut Value),
    ) -> Result<String> {
        let image: runtime::image::Reference = reference("busybox").parse()?;
        let image = ImageStore::open(&self.host)?.get(&image)?.context("busybox is loaded")?;
        let id = draw_id()?;
        let folder = record::container_dir(&self.host, &self.id, &id);
        std::fs::create_dir_all(&folder)?;
        let mut spec = json!({
            "ociVersion": "1.2.0",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": ["/bin/sh", "-c", script],
                "env": ["PATH=/bin:/sbin:/usr/bin:/usr/sbin"],
                "cwd": "/",
            },
            "root": { "path": "rootfs" },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }] },
        });
        change(&mut spec);
        std::fs::write(folder.join("config.json"), spec.to_string())?;
        let layers = image.layers.iter().map(ToString::to_string).collect();
        self.monitor.create(&ContainerSpec { id: id.clone(), layers, ..container })?;
        Ok(id)
    }

    pub(crate) fn log(&self, name: &str, attempt: u32) -> PathBuf {
        self.host.log_dir.join(format!("driven/{name}/{attempt}.log"))
    }

    /// Waits for the event that `container` has ended.
    pub(crate) fn ended(&mut self, container: &str) -> Result<ContainerStatusRecord> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.monitor.next(Some(deadline))?.context("no event in time")? {
                Notice::Event(event) => match event.change {
                    Change::Container(status)
                        if status.id == container && status.record.state == ContainerState::Exited =>
                    {
                        return Ok(status.record);
                    }
                    _ => {}
                },
                Notice::Exited { .. } => bail!("an exec ended that nobody started"),
            }
        }
    }

    pub(crate) fn exec(&mut self, container: &str, script: &str) -> Result<(String, i32)> {
        let exec = Exec {
            container: container.into(),
            args: ["sh", "-c", script].map(str::to_owned).to_vec(),
            ..Exec::default()
        };
        let session = self.monitor.exec(exec)?;
        let mut output = String::new();
        File::from(session.streams.stdout.context("no stdout")?).read_to_string(&mut output)?;
        loop {
            match self.monitor.next(Some(Instant::now() + Duration::from_secs(10)))? {
                Some(Notice::Exited { id, exit }) if id == session.id => return Ok((output, exit.code)),
                Some(_) => {}
                None => bail!("the exec's end was not told"),
            }
        }
    }
}

fn stays_ready_without_containers(pod: &mut Driven) -> Result<()> {
    std::thread::sleep(Duration::from_millis(300));
    let snapshot = pod.monitor.watch(0)?;
    ensure!(snapshot.sandbox.state == SandboxState::Ready, "{:?}", snapshot.sandbox);
    ensure!(snapshot.containers.is_empty() && snapshot.present.is_empty());
    Ok(())
}

/// The first attempt: its code, and its output in the log before its end is told.
fn two_attempts_of_one_name(pod: &mut Driven) -> Result<String> {
    let first = pod.container("main", 0, "echo out; echo err >&2; exit 3", false)?;
    pod.monitor.start(&first)?;
    let record = pod.ended(&first)?;
    ensure!(record.exit_code == Some(3) && record.reason == "Error", "{record:?}");
    let log = std::fs::read_to_string(pod.log("main", 0))?;
    ensure!(log.contains(" stdout F out\n") && log.contains(" stderr F err\n"), "{log}");
    let on_disk = record::container_dir(&pod.host, &pod.id, &first).join("status.json");
    let on_disk: ContainerStatusRecord = record::load(&on_disk)?.present().context("no status.json")?;
    ensure!(on_disk.exit_code == Some(3));
    Ok(first)
}

fn one_is_removed(pod: &mut Driven, first: &str) -> Result<()> {
    pod.monitor.remove(first)?;
    snapshot::remove(&pod.host, first)?;
    let snapshot = pod.monitor.watch(0)?;
    ensure!(snapshot.present.len() == 1 && !snapshot.present.contains(&first.to_owned()));
    let again = pod.monitor.start(first).err().context("a removed container was started")?;
    ensure!(again.kind() == ErrorKind::NotFound, "{again}");
    Ok(())
}

fn exec_passes_output_and_code(pod: &mut Driven, container: &str) -> Result<()> {
    let (output, code) = pod.exec(container, "echo $((6 * 7)); exit 9")?;
    ensure!((output.as_str(), code) == ("42\n", 9), "{output:?}, {code}");
    let missing = Exec { container: container.into(), args: vec!["nosuch".into()], ..Exec::default() };
    let missing = pod.monitor.exec(missing).err().context("a missing command ran")?;
    ensure!(missing.kind() == ErrorKind::CommandNotFound, "{missing}");
    Ok(())
}

fn attach_joins_the_streams(pod: &mut Driven, container: &str) -> Result<()> {
    let ends = pod.monitor.attach(container, true)?;
    let mut stdin = File::from(ends.stdin.context("no stdin")?);
    let mut stdout = File::from(ends.stdout.context("no stdout")?);
    stdin.write_all(b"echoed\n")?;
    let mut line = [0; 7];
    stdout.read_exact(&mut line)?;
    ensure!(&line == b"echoed\n");
    Ok(())
}

fn a_socket_is_of_the_pods_network(pod: &mut Driven, container: &str) -> Result<()> {
    let (_, code) = pod.exec(container, "httpd -p 127.0.0.1:8042 -h /")?;
    ensure!(code == 0, "httpd: {code}");
    let at = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8042));
    let connected = |socket: OwnedFd| connect(socket.as_raw_fd(), &at).is_ok();
    let from_pod = connected(pod.monitor.socket(false)?);
    ensure!(from_pod, "nobody listens on the pod's 127.0.0.1:8042");
    ensure!(std::net::TcpStream::connect("127.0.0.1:8042").is_err(), "the host's 127.0.0.1 is the pod's");
    Ok(())
}

fn the_log_is_reopened(pod: &mut Driven, container: &str) -> Result<()> {
    let (log, aside) = (pod.log("main", 1), pod.log("main", 1).with_extension("old"));
    std::fs::rename(&log, &aside)?;
    pod.monitor.reopen_log(container)?;
    let ends = pod.monitor.attach(container, true)?;
    File::from(ends.stdin.context("no stdin")?).write_all(b"after\n")?;
    File::from(ends.stdout.context("no stdout")?).read_exact(&mut [0; 6])?;
    let (before, after) = (std::fs::read_to_string(aside)?, std::fs::read_to_string(log)?);
    ensure!(before.contains("echoed") && !before.contains("after"), "{before}");
    ensure!(after.contains("after") && !after.contains("echoed"), "{after}");
    Ok(())
}

/// What the doomed client does: it says that the container is started, and watches until it is killed.
fn start_and_wait_for_the_end(host: &runtime::host::Host, pod: &str, container: &str) -> Result<()> {
    let mut monitor = Client::connect(host, pod, None)?;
    monitor.watch(0)?;
    monitor.start(container)?;
    println!("started");
    loop {
        std::thread::park();
    }
}

/// A client starts a container, is killed, and the container ends. The one that comes next has the exit code.
fn no_exit_code_is_lost(pod: &mut Driven) -> Result<()> {
    let short = pod.container("short", 0, "read line; exit 5", true)?;
    let seen = pod.monitor.watch(0)?.sequence;
    let mut doomed = std::process::Command::new(std::env::current_exe()?)
        .arg(DOOMED_CLIENT)
        .args([&pod.host.root, &pod.host.state_dir, &pod.host.log_dir])
        .args([&pod.host.cgroup_parent, &pod.id, &short])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut said = [0; 8];
    doomed.stdout.take().context("a pipe")?.read_exact(&mut said)?;
    ensure!(&said == b"started\n", "{said:?}");
    doomed.kill()?;
    doomed.wait()?;
    // One line ends the container; nobody watches.
    drop(
        Client::connect(&pod.host, &pod.id, None)?
            .attach(&short, true)?
            .stdin
            .map(|stdin| File::from(stdin).write_all(b"go\n")),
    );
    let on_disk = record::container_dir(&pod.host, &pod.id, &short).join("status.json");
    wait_for("the record says that it has ended", || {
        let status: ContainerStatusRecord = record::load(&on_disk)?.present().context("no status.json")?;
        ensure!(status.state == ContainerState::Exited, "{status:?}");
        Ok(())
    })?;
    pod.monitor = Client::connect(&pod.host, &pod.id, None)?;
    let snapshot = pod.monitor.watch(seen)?;
    let status = snapshot.containers.iter().find(|status| status.id == short).context("it is not there")?;
    ensure!(status.record.exit_code == Some(5), "{status:?}");
    ensure!(snapshot.containers.len() == 1, "what did not change is told again");
    Ok(())
}

fn stops_with_grace(pod: &mut Driven, container: &str) -> Result<()> {
    // The first process of a pid namespace does not hear a SIGTERM that it has no handler for.
    let began = Instant::now();
    pod.monitor.stop(container, Duration::from_millis(300))?;
    ensure!(began.elapsed() >= Duration::from_millis(300), "it was killed before its grace was over");
    let snapshot = pod.monitor.watch(0)?;
    let status = snapshot.containers.iter().find(|status| status.id == container).context("it is gone")?;
    ensure!(status.record.exit_code == Some(137), "{status:?}");
    what_its_state_forbids_is_said_to_be_that(pod, container)
}

/// Of a container that has ended, and of a pod that has its sandbox.
fn what_its_state_forbids_is_said_to_be_that(pod: &mut Driven, ended: &str) -> Result<()> {
    let exec = Exec { container: ended.into(), args: vec!["true".into()], ..Exec::default() };
    let refused = [
        ("exec", pod.monitor.exec(exec).err()),
        ("attach", pod.monitor.attach(ended, false).err()),
        ("start", pod.monitor.start(ended).err()),
        ("create-sandbox", pod.monitor.create_sandbox(&sandbox_spec(&pod.host, &pod.id)).err()),
    ];
    for (what, error) in refused {
        let error = error.with_context(|| format!("{what} was done"))?;
        ensure!(error.kind() == ErrorKind::State, "{what}: {error:?}");
    }
    Ok(())
}

fn ends_and_is_removed_without_a_monitor(mut pod: Driven) -> Result<()> {
    pod.monitor.stop_sandbox(None)?;
    let gone = Client::connect(&pod.host, &pod.id, None).err().context("the monitor is still there")?;
    ensure!(gone.kind() == ErrorKind::NotFound, "{gone}");
    let status: record::SandboxStatus = record::load(&record::sandbox_status_path(&pod.host, &pod.id))?
        .present()
        .context("no record is left")?;
    ensure!(status.state == SandboxState::Ended, "{status:?}");
    runtime::pod::store::remove(&pod.host, &pod.id)?;
    std::fs::remove_dir_all(pod.host.log_dir.join("driven"))?;
    Ok(())
}
