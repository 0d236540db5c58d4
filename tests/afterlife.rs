//! What is left when a pod, its monitor or its host has gone: what is seen of it, and that nothing else stays.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::footprint::Footprint;
use support::host::{Host, binary_under_test};
use support::pods::{container_status, monitors, pod, probe, shell, sleeper};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a pod that ended by itself leaves its records alone", &["probe"], natural_end);
    suite.on_host("after an idle time nothing is left of the last pod", &["probe"], idle_time);
    suite.on_host("a host that goes down leaves its pods to be seen", &["probe"], host_stops);
    suite.on_host("pods end under many eyes and none of them is lost", &["probe"], watched_ends);
    suite.on_host("a monitor killed before it wrote anything leaves no lease", &["probe"], no_status);
    suite.on_host("with the last pod's killed monitor goes the bridge", &["probe"], killed_last);
    suite.on_host("after a reboot pods show as ended and leases of none are given back", &["probe"], reboot);
    suite.on_host(
        "where the state dir is emptied who lives is who runs, and the rest goes",
        &["probe"],
        emptied,
    );
    suite.on_host("no container can write to podrun's binary", &["busybox"], binary_is_read_only);
    suite.on_host_with_controller("a container does not swap", "memory", &["probe"], no_swap);
}

/// Footprint lines of the kinds that only a running pod may have.
fn running_parts(host: &Host) -> Result<Vec<String>> {
    let now = Footprint::of(host)?;
    let of =
        |kind: &str| now.of_kind(kind).into_iter().map(|line| format!("{kind} {line}")).collect::<Vec<_>>();
    let mut parts: Vec<String> = ["cgroup", "nft"].iter().flat_map(|kind| of(kind)).collect();
    parts.extend(of("link").into_iter().filter(|line| !line.contains(" lo: ")));
    Ok(parts)
}

/// As in a container whose /run is new when it starts again, though its kernel never stopped.
fn emptied(host: &Host) -> Result<()> {
    // What the host's sysctls were is lost with the state dir: here they are as podrun wants them.
    let set = |value: &str| {
        host.script(&format!(
            "echo {value} >/proc/sys/net/ipv4/ip_forward
             for file in /proc/sys/net/ipv6/conf/*/force_forwarding; do
                case $file in */all/*|*/lo/*) ;; *) [ ! -e $file ] || echo {value} >$file; esac
             done"
        ))
    };
    let forwards = host.script("cat /proc/sys/net/ipv4/ip_forward")?.ok()?;
    set("1")?.ok()?;
    host.create(&sleeper("finished"))?;
    host.create(&with_host_pid("lost"))?;
    host.run("pkill", &["-9", "-f", "podrun.* monitor"])?.ok()?;
    wait_for("both monitors are gone", || {
        ensure!(monitors(host)?.is_empty(), "not yet");
        Ok(())
    })?;
    // Its cgroup has no record anywhere. And one of that kind is another runtime's, which has a process.
    let (nobodys, anothers) = ("a".repeat(64), "b".repeat(64));
    let folders: Vec<String> =
        host.cgroup_folders()?.iter().map(|folder| folder.join(&anothers).display().to_string()).collect();
    let sleeping = host.start_script(&format!(
        "for folder in {}; do mkdir -p $folder; echo $$ >$folder/cgroup.procs || :; done 2>/dev/null; echo $$ >there
         exec sleep 1000",
        folders.join(" ")
    ))?;
    wait_for("another's process is in its cgroup", || {
        ensure!(host.file("there").exists(), "not yet");
        Ok(())
    })?;
    host.script(&format!(
        "rm -r $PODRUN_STATE_DIR/*
         mkdir $(find /sys/fs/cgroup -type d -path \"*$PODRUN_CGROUP_PARENT\" | head -1)/{nobodys}"
    ))?
    .ok()?;
    host.create(&sleeper("web"))?;
    for name in ["finished", "lost"] {
        let status = host.pod(name)?["status"].clone();
        ensure!(status["phase"] == "Failed" && status["reason"] == "MonitorLost", "{name}: {status:#}");
    }
    let cgroups = running_parts(host)?;
    ensure!(!cgroups.iter().any(|line| line.contains(&nobodys)), "{cgroups:?}");
    host.script("kill $(cat there)")?.ok().context("another runtime's process was ended")?;
    drop(sleeping.wait()?);
    host.script(&format!("rmdir {} 2>/dev/null || :", folders.join(" ")))?.ok()?;

    host.script("rm -r $PODRUN_STATE_DIR/*")?.ok()?;
    ensure!(host.pod("web")?["status"]["phase"] == "Running", "its monitor runs");
    let refused = host.podrun_with_stdin(&["create", "-f", "-"], sleeper("next").to_string().as_bytes())?;
    ensure!(refused.code() == 1 && refused.stderr.contains("emptied under them"), "{refused}");
    host.podrun(&["delete", "pods", "--all", "--force"])?.ok()?;
    // The last one's link goes some milliseconds after its monitor.
    wait_for("the bridge is taken over", || host.create(&sleeper("next")))?;
    host.delete("next")?;
    set(forwards.trim())?.ok()?;
    Ok(())
}

fn with_host_pid(name: &str) -> Value {
    pod(name, &json!({ "hostPID": true, "containers": [probe("main", &["sleep"])] }))
}

fn wait_until_nothing_runs(host: &Host) -> Result<()> {
    wait_for("nothing but records is left", || {
        let parts = running_parts(host)?;
        ensure!(parts.is_empty(), "{}", parts.join("\n"));
        Ok(())
    })
}

fn natural_end(host: &Host) -> Result<()> {
    let spec = json!({ "containers": [probe("main", &["exit", "0"])], "restartPolicy": "Never" });
    host.create(&pod("web", &spec))?;
    host.wait_for_pod("web", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    wait_until_nothing_runs(host)?;
    host.podrun(&["delete", "pod", "web"])?.ok()?;
    Ok(())
}

fn idle_time(host: &Host) -> Result<()> {
    std::fs::write(host.config_file(), "network:\n  idleSeconds: 3\n")?;
    host.create(&sleeper("web"))?;
    let monitor = monitors(host)?;
    host.delete("web")?;
    // It waits for who may come next, and nobody cuts that short.
    ensure!(monitors(host)? == monitor, "{monitor:?} {:?}", monitors(host)?);
    host.run("ip", &["link", "show", "podrun0"])?.ok()?;
    let names: Vec<String> = (0..12).map(|number| format!("web{number}")).collect();
    for name in &names {
        host.create(&sleeper(name))?;
    }
    host.podrun(&["delete", "pods", "--all", "--now"])?.ok()?;
    // Nobody else comes: the monitors themselves are the last to see to it, of whom one is faster than the others.
    wait_until_nothing_runs(host)?;
    wait_for("the monitors are gone", || {
        ensure!(monitors(host)?.is_empty(), "not yet");
        Ok(())
    })?;
    ensure!(!host.state_dir().join("net").exists(), "a lock of the leases is left that nobody needs");
    Ok(())
}

fn host_stops(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let all = monitors(host)?;
    host.run("kill", &["-TERM", &all[0]])?.ok()?;
    let shown = host.wait_for_pod("web", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
    ensure!(shown["status"]["reason"] == "Terminated", "{:#}", shown["status"]);
    ensure!(shown["metadata"].get("deletionTimestamp").is_none(), "nobody deleted it: {shown:#}");
    wait_until_nothing_runs(host)?;
    let shown = host.pod("web")?;
    let main = container_status(&shown, "main").context("main")?;
    ensure!(main["state"]["terminated"]["exitCode"].is_number(), "it ended with grace: {main:#}");
    ensure!(shown["status"]["reason"] == "Terminated", "{:#}", shown["status"]);
    host.podrun(&["logs", "web"])?.ok()?;
    host.podrun(&["delete", "pod", "web"])?.ok()?;
    Ok(())
}

fn watched_ends(host: &Host) -> Result<()> {
    let spec = json!({ "containers": [probe("main", &["exit", "0"])], "restartPolicy": "Never" });
    for number in 0..12 {
        let name = format!("job-{number}");
        let lookers = [host.start(&["get", "pods"])?, host.start(&["get", "pods"])?];
        host.create(&pod(&name, &spec))?;
        for looker in lookers {
            let outcome = looker.wait()?;
            ensure!(outcome.status.success() && !outcome.stderr.contains("podrun:"), "{outcome}");
        }
        host.wait_for_pod(&name, "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    }
    host.podrun(&["delete", "pods", "--all"])?.ok()?;
    Ok(())
}

/// The folder of the pod `name` in the host's root.
fn records(host: &Host, name: &str) -> Result<std::path::PathBuf> {
    for entry in std::fs::read_dir(host.root().join("pods"))? {
        let folder = entry?.path();
        let sandbox: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("sandbox.json"))?)?;
        if sandbox["name"] == name {
            return Ok(folder);
        }
    }
    anyhow::bail!("no pod {name:?} has records")
}

fn kill_monitors(host: &Host) -> Result<()> {
    for monitor in monitors(host)? {
        host.run("kill", &["-9", &monitor])?.ok()?;
    }
    wait_for("the monitors are gone", || {
        ensure!(monitors(host)?.is_empty(), "not yet");
        Ok(())
    })
}

fn no_status(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let folder = records(host, "web")?;
    kill_monitors(host)?;
    // As if it had died between its lease and its first word.
    std::fs::remove_file(folder.join("status.json"))?;
    // A process that is ending has no command line any more, and its files for a moment longer.
    wait_for("the pod is gone", || host.podrun(&["get", "pod", "web"])?.fails_with(4))?;
    wait_until_nothing_runs(host)
}

fn killed_last(host: &Host) -> Result<()> {
    let before = Footprint::of(host)?;
    host.create(&sleeper("web"))?;
    kill_monitors(host)?;
    host.wait_for_pod("web", "MonitorLost", |pod| pod["status"]["reason"] == "MonitorLost")?;
    wait_until_nothing_runs(host)?;
    let sysctls = |footprint: &Footprint| footprint.of_kind("sysctl").len();
    let changes = Footprint::of(host)?.changes_since(&before);
    ensure!(!changes.iter().any(|line| line.contains("ip_forward")), "{changes:#?}");
    ensure!(sysctls(&before) > 0, "sysctls are looked at");
    host.podrun(&["delete", "pod", "web"])?.ok()?;
    Ok(())
}

/// Makes of the state what a reboot leaves of it: no process, nothing in /run, and another boot's records.
fn reboot_host(host: &Host) -> Result<()> {
    kill_monitors(host)?;
    std::fs::remove_dir_all(host.state_dir())?;
    std::fs::create_dir(host.state_dir())?;
    for entry in std::fs::read_dir(host.root().join("pods"))? {
        let path = entry?.path().join("sandbox.json");
        let mut sandbox: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let boot = sandbox.get_mut("bootId").context("the record says in which boot it was made")?;
        *boot = json!("00000000-0000-0000-0000-000000000000");
        std::fs::write(&path, sandbox.to_string())?;
    }
    let network = "nft flush ruleset; for link in $(ip -o link show type bridge | cut -d: -f2); do ip link del $link; done; \
        echo 0 >/proc/sys/net/ipv4/ip_forward; \
        for file in /proc/sys/net/ipv6/conf/*/force_forwarding; do echo 0 >$file; done";
    host.run("sh", &["-c", network])?;
    Ok(())
}

fn reboot(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    host.create(&sleeper("lost"))?;
    let lease = records(host, "web")?.file_name().context("an id")?.to_owned();
    let leases = host.root().join("leases");
    std::fs::copy(leases.join(&lease), leases.join("0123"))?;
    let snapshots = || Ok::<_, anyhow::Error>(std::fs::read_dir(host.root().join("snapshots"))?.count());
    ensure!(snapshots()? == 2, "each container has its root");
    reboot_host(host)?;
    // What a power cut may take.
    std::fs::remove_file(records(host, "lost")?.join("status.json"))?;
    let shown = host.pod("web")?;
    ensure!(shown["status"]["phase"] == "Failed", "{:#}", shown["status"]);
    ensure!(shown["status"]["reason"] == "HostRebooted", "{:#}", shown["status"]);
    ensure!(host.pod("lost")?["status"]["phase"] == "Unknown", "a pod without its record");
    ensure!(snapshots()? == 0, "the first verb removes the roots");
    ensure!(!leases.join("0123").exists() && leases.join(&lease).exists(), "leases follow the pods");
    wait_until_nothing_runs(host)?;
    // A pod of this boot is another matter.
    host.create(&sleeper("new"))?;
    ensure!(host.pod("new")?["status"]["phase"] == "Running", "a new one runs");
    host.podrun(&["delete", "pods", "--all", "--now"])?.ok()?;
    Ok(())
}

fn binary_is_read_only(host: &Host) -> Result<()> {
    // A copy, for the case that this test fails.
    let copy = host.path("/run/podrun-copy");
    std::fs::copy(binary_under_test()?, &copy)?;
    let sum = || host.run("sha256sum", &["/run/podrun-copy"])?.ok();
    let before = sum()?;
    let podrun = |arguments: &[&str]| {
        let mut command = host.podrun_command(arguments)?;
        let line: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let binary = binary_under_test()?.to_string_lossy().into_owned();
        let envs: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        command = std::process::Command::new(command.get_program());
        command.args(line.iter().map(|word| if *word == binary { "/run/podrun-copy" } else { word }));
        command.env_clear().envs(envs.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // It tries at whatever program runs beside it, by truncation, which a busy file alone does not refuse.
    let attack =
        "while :; do for exe in /proc/[0-9]*/exe; do true >$exe && echo BROKEN $exe; done 2>/dev/null; done";
    let mut privileged = shell("privileged", attack);
    privileged["securityContext"] = json!({ "privileged": true });
    let mut admin = shell("admin", attack);
    admin["securityContext"] = json!({ "capabilities": { "add": ["SYS_ADMIN", "SYS_PTRACE"] } });
    let spec = json!({ "containers": [privileged, admin] });
    let file = host.write("pod.json", &pod("web", &spec).to_string())?;
    podrun(&["create", &file.to_string_lossy()])?;
    for _ in 0..20 {
        for container in ["privileged", "admin"] {
            podrun(&["exec", "web", "-c", container, "--", "true"])?;
        }
    }
    for container in ["privileged", "admin"] {
        let log = podrun(&["logs", "web", "-c", container])?;
        ensure!(!log.contains("BROKEN"), "{container}: {log}");
    }
    // What they never get to see for long enough, the host's root does.
    let monitor = monitors(host)?.pop().context("a monitor")?;
    let exe = format!("/proc/{monitor}/exe");
    for act in [format!(": >{exe}"), format!("mount -o remount,bind,rw {exe}; : >{exe}")] {
        let said = host.run("sh", &["-c", &act])?;
        ensure!(!said.status.success() && said.stderr.contains("Read-only file system"), "{said}");
    }
    ensure!(sum()? == before, "the binary has changed");
    podrun(&["delete", "web", "--force"])?;
    std::fs::remove_file(copy)?;
    Ok(())
}

fn no_swap(host: &Host) -> Result<()> {
    let mut container = probe("main", &["sleep"]);
    container["resources"] = json!({ "limits": { "memory": "64Mi" } });
    host.create(&pod("web", &json!({ "containers": [container] })))?;
    let mut seen = 0;
    for parent in host.cgroup_folders()? {
        let mut open = vec![parent];
        while let Some(folder) = open.pop() {
            let below = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            open.extend(below.filter(|path| path.is_dir()));
            let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            // The monitors' own has no limit: it would be one for all pods' monitors.
            if read("cgroup.procs").is_empty() || folder.ends_with("monitors") {
                continue;
            }
            if folder.join("memory.memsw.limit_in_bytes").exists() {
                ensure!(read("memory.limit_in_bytes").trim() == "67108864", "{}", folder.display());
                ensure!(read("memory.memsw.limit_in_bytes").trim() == "67108864", "{}", folder.display());
                seen += 1;
            }
            if read("memory.max").trim() == "67108864" {
                ensure!(read("memory.oom.group").trim() == "1", "{}", folder.display());
                ensure!(["0", ""].contains(&read("memory.swap.max").trim()), "{}", folder.display());
                seen += 1;
            }
        }
    }
    ensure!(seen > 0, "no memory cgroup of the container was found");
    host.delete("web")?;
    Ok(())
}
