//! How pods live and end: init containers, sidecars, restarts, grace, deadlines, out of memory.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::host::Host;
use support::pods::{container_status, monitors, pod, probe, shell, sleeper};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("init containers run one after the other before the containers", &["busybox"], init_order);
    suite.on_host(
        "create fails and removes the pod when an init container fails under Never",
        &["probe"],
        failed_init,
    );
    suite.on_host("sidecars end after the containers in reverse order", &["busybox"], sidecar_order);
    suite.on_host("a sidecar whose app used the grace up is asked to end", &["busybox"], late_sidecar);
    suite.on_host(
        "a container that fails is restarted under OnFailure and counted",
        &["busybox"],
        on_failure,
    );
    suite.on_host("a container that fails stays ended under Never and the pod is Failed", &["probe"], never);
    suite.on_host("a container that succeeds is restarted under Always", &["busybox"], always);
    suite.on_host("a container that ignores SIGTERM is killed after its grace", &["probe"], ignores_term);
    suite.on_host("the image's stop signal is the one that is sent", &["layers"], stop_signal);
    suite.on_host("a pod past its active deadline is Failed with DeadlineExceeded", &["probe"], deadline);
    suite.on_host_with_controller(
        "a container past its memory limit is OOMKilled",
        "memory",
        &["probe"],
        oom,
    );
    suite.on_host("a container killed by a signal shows 128 and its number", &["probe"], killed_by_signal);
    suite.on_host(
        "a finished pod needs no monitor to be seen and deleted",
        &["probe"],
        finished_without_monitor,
    );
    suite.on_host("a message left in the termination log is shown", &["busybox"], termination_message);
    suite.on_host(
        "containers of a shared pid namespace see each other under one init",
        &["probe"],
        shared_pids,
    );
    suite.on_host("a pod outlives the session that created it", &["probe"], outlives_its_session);
    suite.on_host("after a reboot pods show as ended and can be deleted", &["probe"], reboot);
    suite.on_host_with_controller(
        "the richer example runs and ends in order",
        "cpu",
        &["busybox", "nginx", "redis"],
        shop,
    );
}

fn shared_volume(mut container: Value) -> Value {
    container["volumeMounts"] = json!([{ "name": "shared", "mountPath": "/shared" }]);
    container
}

/// A pod whose containers write what happens to a file of the host.
fn recorded(host: &Host, name: &str, spec: &Value) -> Result<(Value, PathBuf)> {
    let folder = host.file("record");
    std::fs::create_dir_all(&folder)?;
    let mut spec = spec.clone();
    spec["volumes"] = json!([{ "name": "shared", "hostPath": { "path": folder, "type": "Directory" } }]);
    Ok((pod(name, &spec), folder.join("events")))
}

fn init_order(host: &Host) -> Result<()> {
    let note = |text: &str| format!("echo {text} >>/shared/events");
    let spec = json!({
        "initContainers": [
            shared_volume(shell("first", &format!("sleep 0.2; {}", note("first")))),
            shared_volume(shell("second", &note("second"))),
        ],
        "containers": [shared_volume(shell("main", &format!("{}; sleep 1000", note("main"))))],
    });
    let (manifest, events) = recorded(host, "order", &spec)?;
    host.create(&manifest)?;
    wait_for("the events", || {
        let text = std::fs::read_to_string(&events)?;
        ensure!(text == "first\nsecond\nmain\n", "{text}");
        Ok(())
    })?;
    let shown = host.pod("order")?;
    for name in ["first", "second"] {
        let status = container_status(&shown, name).context(name)?;
        ensure!(
            status["state"]["terminated"]["reason"] == "Completed" && status["ready"] == true,
            "{status:#}"
        );
    }
    host.delete("order")?;
    Ok(())
}

fn failed_init(host: &Host) -> Result<()> {
    let spec = json!({
        "initContainers": [probe("broken", &["exit", "3"])],
        "containers": [probe("main", &["sleep"])],
        "restartPolicy": "Never",
    });
    let outcome =
        host.podrun_with_stdin(&["create", "-f", "-"], pod("init", &spec).to_string().as_bytes())?;
    ensure!(outcome.code() == 1, "{outcome}");
    ensure!(outcome.stderr.contains("broken") && outcome.stderr.contains('3'), "{outcome}");
    host.podrun(&["get", "pod", "init"])?.fails_with(4)?;
    Ok(())
}

fn sidecar_order(host: &Host) -> Result<()> {
    let script = |name: &str| {
        format!(
            "trap 'echo {name} ended >>/shared/events; exit 0' TERM; echo {name} >>/shared/events; while true; do sleep 0.05; done"
        )
    };
    let sidecar = |name: &str| {
        let mut container = shared_volume(shell(name, &script(name)));
        container["restartPolicy"] = json!("Always");
        container
    };
    let spec = json!({
        "initContainers": [sidecar("one"), sidecar("two")],
        "containers": [shared_volume(shell("main", &script("main")))],
        "terminationGracePeriodSeconds": 20,
    });
    let (manifest, events) = recorded(host, "sides", &spec)?;
    host.create(&manifest)?;
    wait_for("all three run", || {
        let text = std::fs::read_to_string(&events)?;
        ensure!(text.lines().count() == 3, "{text}");
        Ok(())
    })?;
    host.podrun(&["delete", "pod", "sides"])?.ok()?;
    let text = std::fs::read_to_string(&events)?;
    let ended: Vec<&str> = text.lines().filter(|line| line.ends_with("ended")).collect();
    ensure!(ended == ["main ended", "two ended", "one ended"], "{text}");
    Ok(())
}

fn late_sidecar(host: &Host) -> Result<()> {
    let asked = "trap 'echo asked >>/shared/events; exit 0' TERM; echo up >>/shared/events; while true; do sleep 0.05; done";
    let mut sidecar = shared_volume(shell("side", asked));
    sidecar["restartPolicy"] = json!("Always");
    let deaf = "trap '' TERM; echo up >>/shared/events; while true; do sleep 0.05; done";
    let spec = json!({
        "initContainers": [sidecar],
        "containers": [shared_volume(shell("main", deaf))],
        "terminationGracePeriodSeconds": 1,
    });
    let (manifest, events) = recorded(host, "late", &spec)?;
    host.create(&manifest)?;
    wait_for("both run", || {
        let text = std::fs::read_to_string(&events)?;
        ensure!(text == "up\nup\n", "{text}");
        Ok(())
    })?;
    host.podrun(&["delete", "pod", "late"])?.ok()?;
    let text = std::fs::read_to_string(&events)?;
    ensure!(text.ends_with("asked\n"), "{text}");
    Ok(())
}

fn on_failure(host: &Host) -> Result<()> {
    // Fails the first time, succeeds the second.
    let script = "if [ -e /shared/again ]; then exit 0; fi; touch /shared/again; exit 7";
    let spec = json!({
        "containers": [shared_volume(shell("main", script))],
        "volumes": [{ "name": "shared", "emptyDir": {} }],
        "restartPolicy": "OnFailure",
    });
    host.create(&pod("again", &spec))?;
    let shown = host.wait_for_pod("again", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    let main = container_status(&shown, "main").context("main")?;
    ensure!(main["restartCount"] == 1, "{main:#}");
    ensure!(main["lastState"]["terminated"]["exitCode"] == 7, "{main:#}");
    ensure!(main["state"]["terminated"]["exitCode"] == 0, "{main:#}");
    host.delete("again")?;
    Ok(())
}

fn never(host: &Host) -> Result<()> {
    let spec = json!({ "containers": [probe("main", &["exit", "42"])], "restartPolicy": "Never" });
    host.create(&pod("once", &spec))?;
    let shown = host.wait_for_pod("once", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
    let main = container_status(&shown, "main").context("main")?;
    let end = &main["state"]["terminated"];
    ensure!(end["exitCode"] == 42 && end["reason"] == "Error" && main["restartCount"] == 0, "{main:#}");
    host.delete("once")?;
    Ok(())
}

fn always(host: &Host) -> Result<()> {
    host.create(&pod("ever", &json!({ "containers": [shell("main", "exit 0")] })))?;
    let shown = host.wait_for_pod("ever", "a restart", |pod| {
        container_status(pod, "main").is_some_and(|main| main["restartCount"].as_u64() > Some(0))
    })?;
    let main = container_status(&shown, "main").context("main")?;
    ensure!(main["lastState"]["terminated"]["reason"] == "Completed", "{main:#}");
    host.wait_for_pod("ever", "CrashLoopBackOff", |pod| {
        container_status(pod, "main")
            .is_some_and(|main| main["state"]["waiting"]["reason"] == "CrashLoopBackOff")
    })?;
    host.delete("ever")?;
    Ok(())
}

fn ignores_term(host: &Host) -> Result<()> {
    host.create(&pod("deaf", &json!({ "containers": [probe("main", &["ignore-term"])] })))?;
    let start = std::time::Instant::now();
    host.podrun(&["delete", "pod", "deaf", "--grace-period=2"])?.ok()?;
    let took = start.elapsed().as_secs_f64();
    ensure!((1.5..10.0).contains(&took), "a grace of 2 s took {took} s");
    Ok(())
}

fn stop_signal(host: &Host) -> Result<()> {
    // The image says SIGUSR1, whose default ends the probe: by SIGTERM it would end with 143 by itself.
    let image = support::fixtures::reference("layers");
    let main = json!({ "name": "main", "image": image, "args": ["ignore-term"] });
    let spec =
        json!({ "containers": [main], "terminationGracePeriodSeconds": 1000, "shareProcessNamespace": true });
    host.create(&pod("signal", &spec))?;
    host.podrun(&["delete", "pod", "signal"])?.ok()?;
    Ok(())
}

fn deadline(host: &Host) -> Result<()> {
    let mut manifest = sleeper("late");
    // On a machine that is slow its create must end before.
    manifest["spec"]["activeDeadlineSeconds"] = json!(support::deadline::patience().as_secs() / 30);
    host.create(&manifest)?;
    let shown = host.wait_for_pod("late", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
    ensure!(shown["status"]["reason"] == "DeadlineExceeded", "{:#}", shown["status"]);
    host.delete("late")?;
    Ok(())
}

fn oom(host: &Host) -> Result<()> {
    let mut main = probe("main", &["eat-memory", "200"]);
    main["resources"] = json!({ "limits": { "memory": "32Mi" } });
    let spec = json!({ "containers": [main, probe("other", &["sleep"])], "restartPolicy": "Never" });
    host.create(&pod("greedy", &spec))?;
    let shown = host.wait_for_pod("greedy", "an end of main", |pod| {
        container_status(pod, "main").is_some_and(|main| main["state"]["terminated"].is_object())
    })?;
    let main = container_status(&shown, "main").context("main")?;
    let end = &main["state"]["terminated"];
    ensure!(end["reason"] == "OOMKilled" && end["exitCode"] == 137, "{main:#}");
    let other = container_status(&shown, "other").context("other")?;
    ensure!(other["state"]["running"].is_object(), "the other container goes on: {other:#}");
    host.delete("greedy")?;
    Ok(())
}

fn killed_by_signal(host: &Host) -> Result<()> {
    // Pid 1 is immune to its own signals: a child of a shell dies, and the shell says so.
    let spec = json!({ "containers": [probe("main", &["sleep"])], "restartPolicy": "Never" });
    host.create(&pod("shot", &spec))?;
    let inside = host.run("pgrep", &["-f", "^/probe sleep"])?.ok()?;
    host.run("kill", &["-9", inside.trim()])?.ok()?;
    let shown = host.wait_for_pod("shot", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
    let main = container_status(&shown, "main").context("main")?;
    ensure!(main["state"]["terminated"]["exitCode"] == 137, "{main:#}");
    host.delete("shot")?;
    Ok(())
}

fn finished_without_monitor(host: &Host) -> Result<()> {
    let spec = json!({ "containers": [probe("main", &["write-log", "3"])], "restartPolicy": "Never" });
    host.create(&pod("done", &spec))?;
    host.wait_for_pod("done", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    wait_for("the monitor goes", || {
        let left = monitors(host)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })?;
    let log = host.podrun(&["logs", "done"])?.ok()?;
    ensure!(log.lines().count() == 3 && log.starts_with("line 0 "), "{log}");
    ensure!(host.podrun(&["describe", "pod", "done"])?.ok()?.contains("Succeeded"), "describe");
    host.delete("done")?;
    Ok(())
}

fn termination_message(host: &Host) -> Result<()> {
    let main = shell("main", "echo the reason >/dev/termination-log; exit 1");
    host.create(&pod("last", &json!({ "containers": [main], "restartPolicy": "Never" })))?;
    let shown = host.wait_for_pod("last", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
    let main = container_status(&shown, "main").context("main")?;
    ensure!(main["state"]["terminated"]["message"] == "the reason\n", "{main:#}");
    host.delete("last")?;
    Ok(())
}

fn shared_pids(host: &Host) -> Result<()> {
    let containers = json!([probe("a", &["sleep"]), probe("b", &["sleep", "1000"])]);
    host.create(&pod("pids", &json!({ "containers": containers, "shareProcessNamespace": true })))?;
    let seen = support::pods::report(host, "pids", "a")?;
    let all: Vec<&str> =
        seen["processes"].as_object().context("processes")?.values().filter_map(Value::as_str).collect();
    ensure!(all.contains(&"/probe sleep") && all.contains(&"/probe sleep 1000"), "{all:?}");
    ensure!(!all.contains(&""), "a process without a command line: {all:?}");
    for inside in ["root/etc/passwd", "mem", "exe", "fd/0"] {
        let line = ["exec", "pids", "-c", "a", "--", "/probe", "open", &format!("/proc/1/{inside}")];
        let answer = host.podrun(&line)?.ok()?;
        ensure!(!answer.starts_with("ok"), "the pod's init lets /proc/1/{inside} be opened");
    }
    host.delete("pids")?;
    Ok(())
}

fn shop(host: &Host) -> Result<()> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop.yaml");
    host.podrun(&["create", manifest])?.ok()?;
    let ask = |container: &str, line: &[&str]| {
        host.podrun(&[&["exec", "shop", "-c", container, "--"], line].concat())?.ok()
    };
    wait_for("nginx shows the page that init wrote", || {
        let page = ask("counter", &["wget", "-qO-", "http://127.0.0.1/"])?;
        ensure!(page.contains("open since"), "{page}");
        Ok(())
    })?;
    wait_for("redis answers", || {
        let answer = ask("redis", &["redis-cli", "ping"])?;
        ensure!(answer == "PONG\n", "{answer}");
        Ok(())
    })?;
    ask("redis", &["redis-cli", "set", "key", "value"])?;
    ensure!(
        ask("redis", &["redis-cli", "-s", "/shared/redis.sock", "get", "key"])? == "value\n",
        "the shared socket"
    );
    let user = ask("redis", &["sh", "-c", "grep Uid /proc/1/status"])?;
    ensure!(user.contains("999"), "redis became its user: {user}");
    // redis is killed, and comes back by the pod's policy.
    let pid = host.run("pgrep", &["-x", "redis-server"])?.ok()?;
    host.run("kill", &["-9", pid.trim()])?.ok()?;
    host.wait_for_pod("shop", "redis is restarted", |pod| {
        container_status(pod, "redis")
            .is_some_and(|redis| redis["restartCount"] == 1 && redis["state"]["running"].is_object())
    })?;
    host.podrun(&["delete", "pod", "shop"])?.ok()?;
    Ok(())
}

fn outlives_its_session(host: &Host) -> Result<()> {
    host.write("web.json", &sleeper("web").to_string())?;
    // The shell leads a session, as sshd's does, and all of it is killed.
    let outcome = host
        .script("exec 7<web.json; setsid --wait bash -c 'umask 077; $podrun create web.json; kill -9 0'")?;
    ensure!(outcome.stdout == "pod/web created\n" && outcome.code() == 137, "{outcome}");
    host.podrun(&["exec", "web", "--", "/probe", "exit", "0"])?.ok()?;
    let pid = monitors(host)?.pop().context("a monitor")?;
    let look = |script: &str| host.run("sh", &["-c", &script.replace("PID", &pid)])?.ok();
    ensure!(look("ps -o sid= -p PID")?.trim() == pid, "it leads a session of its own");
    ensure!(look("readlink /proc/PID/cwd")? == "/\n", "it keeps no folder busy");
    ensure!(look("grep Umask /proc/PID/status")?.contains("0022"), "the caller's umask is not its own");
    for stream in ["0", "1", "2"] {
        ensure!(look(&format!("readlink /proc/PID/fd/{stream}"))? == "/dev/null\n", "descriptor {stream}");
    }
    // One that it closes meanwhile is an error to ls.
    let open = look("ls -l /proc/PID/fd 2>/dev/null || true")?;
    ensure!(
        open.contains("socket:") && !open.contains("web.json"),
        "it has its caller's descriptors: {open}"
    );
    ensure!(look("cat /proc/PID/cgroup")?.contains("/monitors"), "{}", look("cat /proc/PID/cgroup")?);
    host.delete("web")?;
    Ok(())
}

fn reboot(host: &Host) -> Result<()> {
    // In the host's network, since a bridge would not live through a reboot.
    let spec = json!({ "containers": [probe("main", &["write-log", "3"]), probe("other", &["sleep"])], "hostNetwork": true });
    host.create(&pod("web", &spec))?;
    wait_for("it has written its log", || {
        ensure!(host.podrun(&["logs", "web"])?.ok()?.lines().count() == 3, "not yet");
        Ok(())
    })?;
    host.run("kill", &["-9", &monitors(host)?[0]])?.ok()?;
    wait_for("its processes end", || {
        ensure!(!host.run("pgrep", &["-f", "^/probe sleep"])?.status.success(), "not yet");
        Ok(())
    })?;
    // What lies on a tmpfs is gone, and the records are of another boot.
    host.script(
        "rm -r $PODRUN_STATE_DIR/*; cd $PODRUN_ROOT/pods
         own=$(cat /proc/sys/kernel/random/boot_id); sed -i s/$own/00000000-0000-4000-8000-000000000000/ */sandbox.json",
    )?
    .ok()?;
    let shown = host.pod("web")?;
    ensure!(shown["status"]["phase"] == "Failed", "{:#}", shown["status"]);
    let snapshots = std::fs::read_dir(host.root().join("snapshots")).map_or(0, Iterator::count);
    ensure!(snapshots == 0, "{snapshots} snapshots are left");
    ensure!(host.podrun(&["logs", "web"])?.ok()?.starts_with("line 0 "), "its logs are there");
    host.podrun(&["exec", "web", "--", "/probe"])?.fails_with(125)?;
    host.podrun(&["delete", "pod", "web"])?.ok()?;
    Ok(())
}
