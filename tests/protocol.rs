//! What a monitor is asked by its protocol alone: each request once where it fits, and where it does not.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use runtime::ErrorKind;
use runtime::cgroup::Layout;
use runtime::host::Host;
use runtime::pod::client::{Client, Notice};
use runtime::pod::draw_id;
use runtime::pod::protocol::{Change, ContainerSpec, LogSpec, Op};
use runtime::pod::record::{self, ContainerState};
use runtime::pod::store;
use support::deadline::wait_for;
use support::suite::Suite;

use crate::monitor::{Driven, add_client, begin, sandbox_spec};

pub(crate) fn add(suite: &mut Suite) {
    add_client(suite, "a monitor answers each request of its protocol, and refuses it", "requests");
    add_client(suite, "a sandbox is stopped twice and keeps its records", "ends");
}

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn answer_each(host: Host) -> Result<()> {
    nothing_is_created_without_a_sandbox(&host).context("nothing is created without a sandbox")?;
    let mut pod = begin(host)?;
    unknown_containers_are_not_found(&mut pod).context("unknown containers are not found")?;
    ids_are_checked(&mut pod).context("ids are checked")?;
    signals_arrive(&mut pod).context("signals arrive")?;
    standard_input_is_closed_twice(&mut pod).context("standard input is closed twice")?;
    a_terminal_is_resized(&mut pod).context("a terminal is resized")?;
    limits_are_updated(&mut pod).context("limits are updated")?;
    a_start_comes_once(&mut pod).context("a start comes once")?;
    a_second_stop_shortens_the_first(&mut pod).context("a second stop shortens the first")?;
    the_running_are_removed_and_told(&mut pod).context("the running are removed and told")?;
    end(pod)
}

fn end(mut pod: Driven) -> Result<()> {
    pod.monitor.stop_sandbox(Some(Duration::ZERO))?;
    store::remove(&pod.host, &pod.id)?;
    match std::fs::remove_dir_all(pod.host.log_dir.join("driven")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The error of a request that must fail.
fn refused<T>(what: &str, result: runtime::Result<T>) -> Result<runtime::Error> {
    result.err().with_context(|| format!("{what} went well"))
}

/// What only a running container can do is refused for `container`, in these words.
fn asks_what_needs_a_process(pod: &mut Driven, container: &str, words: &str) -> Result<()> {
    let monitor = &mut pod.monitor;
    for (what, result) in [
        ("kill", monitor.kill(container, 15, false)),
        ("update", monitor.update(container, Default::default())),
        ("close-stdin", monitor.close_stdin(container)),
        ("resize", monitor.resize(container, 24, 80)),
        ("reopen-log", monitor.reopen_log(container)),
        ("attach", monitor.attach(container, true).map(drop)),
    ] {
        let error = refused(what, result)?;
        ensure!(error.to_string().contains(words), "{what}: {error}");
    }
    Ok(())
}

fn nothing_is_created_without_a_sandbox(host: &Host) -> Result<()> {
    let id = draw_id()?;
    std::fs::create_dir_all(host.pod_root(&id))?;
    let mut monitor = Client::spawn(host, &Layout::detect()?, &id, false)?;
    let spec = ContainerSpec { id: draw_id()?, ..ContainerSpec::default() };
    let error = refused("create", monitor.create(&spec))?;
    ensure!(error.to_string().contains("no sandbox"), "{error}");
    monitor.create_sandbox(&sandbox_spec(host, &id))?;
    let error = refused("a second sandbox", monitor.create_sandbox(&sandbox_spec(host, &id)))?;
    ensure!(error.kind() == ErrorKind::State, "{error}");
    monitor.remove_sandbox(None)?;
    ensure!(!host.pod_root(&id).exists(), "its records are left");
    Ok(())
}

fn unknown_containers_are_not_found(pod: &mut Driven) -> Result<()> {
    let unknown = draw_id()?;
    asks_what_needs_a_process(pod, &unknown, "is not in this pod")?;
    for (what, result) in [
        ("start", pod.monitor.start(&unknown)),
        ("stop", pod.monitor.stop(&unknown, HOUR)),
        ("remove", pod.monitor.remove(&unknown)),
    ] {
        let error = refused(what, result)?;
        ensure!(error.kind() == ErrorKind::NotFound, "{what}: {error}");
    }
    Ok(())
}

fn ids_are_checked(pod: &mut Driven) -> Result<()> {
    for id in ["", "web", "../../../../tmp"] {
        let spec = ContainerSpec { id: id.into(), ..ContainerSpec::default() };
        let error = refused("create", pod.monitor.create(&spec))?;
        ensure!(error.kind() == ErrorKind::Usage, "{id:?}: {error}");
    }
    let created = pod.container("created", 0, "true", false)?;
    let spec = ContainerSpec { id: created.clone(), ..ContainerSpec::default() };
    let error = refused("create", pod.monitor.create(&spec))?;
    ensure!(error.kind() == ErrorKind::Exists, "{error}");
    asks_what_needs_a_process(pod, &created, "is not running")?;
    // Nothing runs, which is what is wanted.
    pod.monitor.stop(&created, HOUR)?;
    pod.monitor.remove(&created)?;
    let error = refused("a second removal", pod.monitor.remove(&created))?;
    ensure!(error.kind() == ErrorKind::NotFound, "{error}");
    Ok(())
}

fn signals_arrive(pod: &mut Driven) -> Result<()> {
    let script = "trap 'exit 7' USR1; echo ready; sleep 1000 & wait";
    let trapping = pod.container("trapping", 0, script, false)?;
    pod.monitor.watch(u64::MAX)?;
    pod.monitor.start(&trapping)?;
    says(pod, "trapping", "ready")?;
    let error = refused("a signal to all", pod.monitor.kill(&trapping, 10, true))?;
    ensure!(error.kind() == ErrorKind::Usage, "{error}");
    refused("a signal that is none", pod.monitor.kill(&trapping, 1000, false))?;
    pod.monitor.kill(&trapping, 10, false)?;
    let record = pod.ended(&trapping)?;
    ensure!(record.exit_code == Some(7) && record.signal.is_none(), "{record:?}");
    asks_what_needs_a_process(pod, &trapping, "is not running")?;
    let all = pod.container("all", 0, "sleep 1000 & sleep 1000", false)?;
    pod.monitor.start(&all)?;
    pod.monitor.kill(&all, 9, true)?;
    let record = pod.ended(&all)?;
    ensure!(record.exit_code == Some(137) && record.signal == Some(9), "{record:?}");
    Ok(())
}

fn says(pod: &Driven, name: &str, words: &str) -> Result<()> {
    let log = pod.log(name, 0);
    wait_for("the log says so", || {
        let text = std::fs::read_to_string(&log)?;
        ensure!(text.contains(words), "{text:?}");
        Ok(())
    })
}

fn standard_input_is_closed_twice(pod: &mut Driven) -> Result<()> {
    let reading = pod.container("reading", 0, "cat; echo closed; sleep 1000", true)?;
    pod.monitor.start(&reading)?;
    let ends = pod.monitor.attach(&reading, true)?;
    File::from(ends.stdin.context("no stdin")?).write_all(b"before\n")?;
    says(pod, "reading", "before")?;
    pod.monitor.close_stdin(&reading)?;
    says(pod, "reading", "closed")?;
    pod.monitor.close_stdin(&reading)?;
    ensure!(pod.monitor.attach(&reading, true)?.stdin.is_none(), "who attaches late may write");
    pod.monitor.stop(&reading, Duration::ZERO)?;
    Ok(())
}

fn a_terminal_is_resized(pod: &mut Driven) -> Result<()> {
    let spec = ContainerSpec {
        name: "terminal".into(),
        log: Some(log_spec("terminal")),
        stdin: true,
        ..ContainerSpec::default()
    };
    let script = "echo ready; read line; stty size; sleep 1000";
    let terminal = pod.take_in(script, spec, |spec| spec["process"]["terminal"] = json!(true))?;
    pod.monitor.start(&terminal)?;
    says(pod, "terminal", "ready")?;
    pod.monitor.resize(&terminal, 33, 101)?;
    let ends = pod.monitor.attach(&terminal, true)?;
    File::from(ends.stdin.context("no stdin")?).write_all(b"\n")?;
    says(pod, "terminal", "33 101")?;
    pod.monitor.stop(&terminal, Duration::ZERO)?;
    Ok(())
}

fn log_spec(name: &str) -> LogSpec {
    LogSpec { folder: None, path: format!("driven/{name}/0.log"), max_size: 0, max_files: 1 }
}

/// More memory than memory and swap together were allowed before: only both together can be raised.
fn limits_are_updated(pod: &mut Driven) -> Result<()> {
    const BEFORE: i64 = 32 << 20;
    const AFTER: i64 = 64 << 20;
    let spec =
        ContainerSpec { name: "limited".into(), log: Some(log_spec("limited")), ..ContainerSpec::default() };
    let limits = json!({ "memory": { "limit": BEFORE }, "cpu": { "quota": 50_000, "period": 100_000 } });
    let limited = pod.take_in("sleep 1000", spec, |spec| spec["linux"]["resources"] = limits)?;
    pod.monitor.start(&limited)?;
    let file = limit_of_memory(&format!("{}/{}/{limited}", pod.host.cgroup_parent, pod.id))?;
    let in_force = || anyhow::Ok(std::fs::read_to_string(&file)?.trim().parse::<i64>()?);
    ensure!(in_force()? == BEFORE);
    for (change, expected) in [
        (json!({ "memory": { "limit": AFTER } }), AFTER),
        (json!({ "memory": { "limit": BEFORE } }), BEFORE),
        (json!({ "cpu": { "period": 50_000 } }), BEFORE),
    ] {
        pod.monitor.update(&limited, serde_json::from_value(change)?)?;
        ensure!(in_force()? == expected);
    }
    let wrong = serde_json::from_value(json!({ "memory": { "limit": AFTER, "swap": BEFORE } }))?;
    refused("less swap and memory than memory", pod.monitor.update(&limited, wrong))?;
    ensure!(in_force()? == BEFORE, "a refused change was made");
    pod.monitor.stop(&limited, Duration::ZERO)?;
    Ok(())
}

fn limit_of_memory(cgroup: &str) -> Result<PathBuf> {
    let files = [
        format!("/sys/fs/cgroup/memory{cgroup}/memory.limit_in_bytes"),
        format!("/sys/fs/cgroup{cgroup}/memory.max"),
    ];
    files.into_iter().map(PathBuf::from).find(|file| file.exists()).context("no limit of memory is there")
}

fn a_start_comes_once(pod: &mut Driven) -> Result<()> {
    let once = pod.container("once", 0, "exit 4", false)?;
    pod.monitor.start(&once)?;
    let error = refused("a second start", pod.monitor.start(&once))?;
    ensure!(error.to_string().contains("was started before"), "{error}");
    pod.ended(&once)?;
    // Nothing runs, which is what is wanted.
    pod.monitor.stop(&once, HOUR)?;
    let bare = draw_id()?;
    std::fs::create_dir_all(record::container_dir(&pod.host, &pod.id, &bare))?;
    let before = pod.monitor.watch(0)?.sequence;
    pod.monitor.create(&ContainerSpec { id: bare.clone(), ..ContainerSpec::default() })?;
    refused("a start without a spec", pod.monitor.start(&bare))?;
    let now = pod.monitor.watch(before)?;
    let changed: Vec<_> = now.containers.iter().map(|status| status.id.as_str()).collect();
    ensure!(changed == [bare.as_str()] && now.present.len() > 1, "{changed:?}");
    let record = &now.containers[0].record;
    ensure!(record.state == ContainerState::Exited && record.reason == "StartError", "{record:?}");
    let ahead = pod.monitor.watch(u64::MAX)?;
    ensure!(ahead.containers.is_empty() && ahead.present == now.present, "{ahead:?}");
    Ok(())
}

fn a_second_stop_shortens_the_first(pod: &mut Driven) -> Result<()> {
    let deaf = pod.container("deaf", 0, "sleep 1000", false)?;
    pod.monitor.start(&deaf)?;
    pod.monitor.send(Op::Stop { container: deaf.clone(), grace: 3_600_000 })?;
    pod.monitor.stop(&deaf, Duration::ZERO)?;
    let again = pod.container("deaf", 1, "sleep 1000", false)?;
    pod.monitor.start(&again)?;
    pod.monitor.send(Op::Stop { container: again.clone(), grace: 50 })?;
    pod.monitor.stop(&again, HOUR)?;
    Ok(())
}

fn the_running_are_removed_and_told(pod: &mut Driven) -> Result<()> {
    let doomed = pod.container("doomed", 0, "sleep 1000", false)?;
    pod.monitor.start(&doomed)?;
    pod.monitor.remove(&doomed)?;
    loop {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        match pod.monitor.next(Some(deadline))? {
            Some(Notice::Event(event)) => match event.change {
                Change::Removed { container } if container == doomed => return Ok(()),
                _ => {}
            },
            _ => bail!("nobody told that it is gone"),
        }
    }
}

pub(crate) fn end_twice(host: Host) -> Result<()> {
    let mut pod = begin(host)?;
    let deaf = pod.container("deaf", 0, "sleep 1000", false)?;
    pod.monitor.start(&deaf)?;
    let created = pod.container("created", 0, "true", false)?;
    let six = pod.monitor.socket(true)?;
    drop(six);
    let mut other = Client::connect(&pod.host, &pod.id, None)?;
    other.send(Op::StopSandbox { grace: Some(3_600_000) })?;
    // In its turn: behind what the other has asked.
    other.watch(0)?;
    let spec = ContainerSpec { id: draw_id()?, ..ContainerSpec::default() };
    let error = refused("a create in a sandbox that ends", pod.monitor.create(&spec))?;
    ensure!(error.to_string().contains("is ending"), "{error}");
    refused("a start in a sandbox that ends", pod.monitor.start(&created))?;
    pod.monitor.stop_sandbox(Some(Duration::ZERO))?;
    let gone = refused("a request", pod.monitor.kill(&deaf, 9, true))?;
    ensure!(gone.kind() == ErrorKind::NotFound, "{gone}");
    for (container, state) in [(&deaf, ContainerState::Exited), (&created, ContainerState::Exited)] {
        let path = record::container_dir(&pod.host, &pod.id, container).join("status.json");
        let status: record::ContainerStatusRecord =
            record::load(&path)?.present().context("no status.json")?;
        ensure!(status.state == state, "{status:?}");
    }
    store::remove(&pod.host, &pod.id)?;
    std::fs::remove_dir_all(pod.host.log_dir.join("driven"))?;
    Ok(())
}
