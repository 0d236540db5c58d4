//! What containers write: the files in CRI's format, their rotation, and `podrun logs`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::host::Host;
use support::pods::{container_status, pod, probe, shell};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("logs of several pods are chosen by their labels", &["busybox"], by_labels);
    suite.on_host("logs shows what is asked of a container", &["busybox"], flags);
    suite.on_host("logs of several containers can be told apart", &["busybox"], several_containers);
    suite.on_host("logs -p shows the attempt before and -f goes on into the next", &["busybox"], attempts);
    suite.on_host("logs -f ends when the container is not restarted", &["busybox"], follow_to_the_end);
    suite.on_host("log files are in CRI's format with long lines in parts", &["busybox", "probe"], format);
    suite.on_host("a flood of logs is kept within five files of ten megabytes", &["probe"], flood);
    suite.on_host("a flood on a terminal slows no other container", &["busybox"], flooding_neighbour);
    suite.on_host("what a container wrote last is there when its end is", &["busybox"], drained);
}

/// The log folder of a container.
fn folder(host: &Host, pod: &Value, container: &str) -> Result<PathBuf> {
    let meta = &pod["metadata"];
    let word = |name: &str| meta[name].as_str().context(name.to_owned());
    let name = format!("{}_{}_{}", word("namespace")?, word("name")?, word("uid")?);
    Ok(host.log_dir().join(name).join(container))
}

fn flags(host: &Host) -> Result<()> {
    let script = "for n in 1 2 3 4 5; do echo line $n; done; echo to stderr >&2; sleep 1000";
    host.create(&pod("web", &json!({ "containers": [shell("main", script)] })))?;
    let logs = |arguments: &[&str]| host.podrun(&[&["logs", "web"], arguments].concat());
    wait_for("the log", || {
        ensure!(logs(&[])?.ok()?.lines().count() == 6, "not yet");
        Ok(())
    })?;
    let all = logs(&[])?;
    ensure!(all.stderr.is_empty() && all.stdout.contains("to stderr"), "both streams are one log: {all}");
    ensure!(logs(&["--tail=2"])?.stdout.lines().count() == 2, "--tail=2");
    ensure!(logs(&["--tail", "0"])?.stdout.is_empty(), "--tail 0");
    ensure!(logs(&["--tail=-1"])?.stdout.lines().count() == 6, "--tail=-1 is all");
    ensure!(logs(&["--since=1h"])?.stdout.lines().count() == 6, "--since");
    wait_for("what is older than a second is left out", || {
        let newer = logs(&["--since=1s"])?.ok()?;
        ensure!(newer.is_empty(), "{newer}");
        Ok(())
    })?;
    let timed = logs(&["--timestamps", "--tail=1"])?.ok()?;
    let (time, _) = timed.split_once(' ').context("a time")?;
    ensure!(
        time.starts_with("20") && time.contains('T') && time.len() >= 30,
        "RFC 3339 with nanoseconds: {timed}"
    );
    let named = host.podrun(&["logs", "pod/web", "main"])?.ok()?;
    ensure!(named.lines().count() == 6, "{named}");
    host.podrun(&["logs", "web", "-c", "none"])?.fails_with(4)?;
    host.podrun(&["logs", "none"])?.fails_with(4)?;
    host.podrun(&["logs", "web", "-p"])?.fails_with(4)?;
    host.podrun(&["logs"])?.fails_with(2)?;
    host.delete("web")?;
    Ok(())
}

fn several_containers(host: &Host) -> Result<()> {
    let spec = json!({
        "initContainers": [shell("init", "echo of init")],
        "containers": [shell("a", "echo of a; sleep 1000"), shell("b", "echo of b; sleep 1000")],
    });
    host.create(&pod("web", &spec))?;
    wait_for("all three", || {
        let all = host.podrun(&["logs", "web", "--all-containers", "--prefix"])?.ok()?;
        let mut lines: Vec<&str> = all.lines().collect();
        lines.sort_unstable();
        ensure!(lines == ["[pod/web/a] of a", "[pod/web/b] of b", "[pod/web/init] of init"], "{all}");
        Ok(())
    })?;
    host.delete("web")?;
    Ok(())
}

fn by_labels(host: &Host) -> Result<()> {
    for name in ["one", "two"] {
        let script =
            format!("for n in $(seq 12); do echo {name} $n; done; read line </gate/{name}; echo {name} ends");
        let mut main = shell("main", &script);
        main["volumeMounts"] = json!([{ "name": "gate", "mountPath": "/gate" }]);
        let gate = host.file("gate");
        std::fs::create_dir_all(&gate)?;
        host.run("mkfifo", &[&gate.join(name).to_string_lossy()])?.ok()?;
        let volume = json!([{ "name": "gate", "hostPath": { "path": gate } }]);
        let mut manifest =
            pod(name, &json!({ "restartPolicy": "Never", "containers": [main], "volumes": volume }));
        manifest["metadata"]["labels"] = json!({ "app": "x" });
        host.create(&manifest)?;
    }
    wait_for("ten lines of each", || {
        let shown = host.podrun(&["logs", "-l", "app=x", "--prefix"])?.ok()?;
        for name in ["one", "two"] {
            let mine: Vec<&str> =
                shown.lines().filter(|line| line.starts_with(&format!("[pod/{name}/main] "))).collect();
            ensure!(mine.len() == 10 && mine[9].ends_with(&format!("{name} 12")), "{shown}");
        }
        Ok(())
    })?;
    ensure!(
        host.podrun(&["logs", "-l", "app=x", "--tail=-1"])?.ok()?.lines().count() == 24,
        "--tail=-1 is all"
    );
    host.podrun(&["logs", "one", "-l", "app=x"])?.fails_with(2)?;
    let following = host.start(&["logs", "-f", "-l", "app=x"])?;
    for name in ["one", "two"] {
        host.script(&format!("echo >gate/{name}"))?.ok()?;
    }
    let shown = following.wait()?.ok()?;
    ensure!(shown.contains("one ends\n") && shown.contains("two ends\n"), "{shown}");
    // From one line's own time on, and from a time yet to come.
    let timed = host.podrun(&["logs", "one", "--timestamps", "--tail=1"])?.ok()?;
    let (time, _) = timed.split_once(' ').context("a time")?;
    let since = |time: &str| host.podrun(&["logs", "one", &format!("--since-time={time}")]);
    ensure!(since(time)?.ok()? == "one ends\n", "{time}");
    ensure!(since("2026-01-01T00:00:00+02:00")?.ok()?.lines().count() == 13, "all are newer");
    ensure!(since("2199-01-01T00:00:00Z")?.ok()?.is_empty(), "none is");
    ensure!(since("yesterday")?.fails_with(2)?.contains("--since=5m"), "no time");
    host.podrun(&["delete", "pods", "--all", "--force"])?.ok()?;
    Ok(())
}

fn attempts(host: &Host) -> Result<()> {
    let script = "n=$(cat /v/n || echo 1); echo $((n + 1)) >/v/n; echo attempt $n; read go </v/fifo; exit 1";
    let mut main = shell("main", script);
    main["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    let files = host.file("v");
    std::fs::create_dir_all(&files)?;
    host.run("mkfifo", &[&files.join("fifo").to_string_lossy()])?.ok()?;
    let spec = json!({ "containers": [main], "volumes": [{ "name": "v", "hostPath": { "path": files } }] });
    host.create(&pod("web", &spec))?;
    let follow = host.start_script("exec $podrun logs -f web >followed")?;
    let followed = |wanted: &str| {
        wait_for("what is followed", || {
            let seen = std::fs::read_to_string(host.file("followed"))?;
            ensure!(seen.ends_with(wanted), "{seen:?}");
            Ok(())
        })
    };
    followed("attempt 1\n")?;
    std::fs::write(files.join("fifo"), "go\n")?;
    followed("attempt 2\n")?;
    let shown = host.pod("web")?;
    ensure!(container_status(&shown, "main").context("main")?["restartCount"] == 1, "{:#}", shown["status"]);
    ensure!(host.podrun(&["logs", "web"])?.ok()? == "attempt 2\n", "the current one");
    let before = host.podrun(&["logs", "-p", "web"])?.ok()?;
    ensure!(before.ends_with("attempt 1\n"), "{before}");
    host.delete("web")?;
    follow.wait()?.ok()?;
    Ok(())
}

fn follow_to_the_end(host: &Host) -> Result<()> {
    let mut main =
        shell("main", "next() { until read go </v/fifo; do :; done; }; next; echo one; next; echo two");
    main["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    let files = host.file("v");
    std::fs::create_dir_all(&files)?;
    host.run("mkfifo", &[&files.join("fifo").to_string_lossy()])?.ok()?;
    let spec = json!({
        "containers": [main], "restartPolicy": "Never",
        "volumes": [{ "name": "v", "hostPath": { "path": files } }],
    });
    host.create(&pod("job", &spec))?;
    let follow = host.start_script("exec $podrun logs -f job >followed")?;
    for (text, count) in [("one", 1), ("two", 2)] {
        std::fs::write(files.join("fifo"), "go\n")?;
        wait_for(text, || {
            let seen = std::fs::read_to_string(host.file("followed"))?;
            ensure!(seen.lines().count() == count && seen.ends_with(&format!("{text}\n")), "{seen:?}");
            Ok(())
        })?;
    }
    follow.wait()?.ok()?;
    host.delete("job")?;
    Ok(())
}

fn format(host: &Host) -> Result<()> {
    let spec = json!({
        "containers": [probe("long", &["write-bytes", "40000"]), shell("short", "echo out; echo err >&2; printf 'no newline'")],
        "restartPolicy": "Never",
    });
    host.create(&pod("web", &spec))?;
    let shown = host.wait_for_pod("web", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    let read = |container: &str| {
        Ok::<_, anyhow::Error>(std::fs::read_to_string(folder(host, &shown, container)?.join("0.log"))?)
    };
    let long = read("long")?;
    let mut sizes = Vec::new();
    for line in long.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        ensure!(words.len() == 4 && words[0].ends_with('Z') && words[1] == "stdout", "{words:?}");
        sizes.push((words[2].to_owned(), words[3].len()));
    }
    ensure!(sizes.iter().map(|(_, size)| size).sum::<usize>() == 40_000, "{sizes:?}");
    ensure!(sizes.iter().all(|(_, size)| *size <= 16 << 10), "{sizes:?}");
    ensure!(sizes.iter().rev().skip(1).all(|(tag, _)| tag == "P"), "{sizes:?}");
    let short = read("short")?;
    for (stream, text) in [("stdout F", "out"), ("stderr F", "err"), ("stdout", "no newline")] {
        ensure!(
            short.lines().any(|line| line.contains(&format!(" {stream}")) && line.ends_with(text)),
            "{short}"
        );
    }
    let printed = host.podrun(&["logs", "web", "-c", "long"])?.ok()?;
    ensure!(printed.trim_end().len() == 40_000 && printed.lines().count() == 1, "the parts are joined");
    host.delete("web")?;
    Ok(())
}

fn flood(host: &Host) -> Result<()> {
    const LINES: usize = 800_000;
    let spec = json!({ "containers": [probe("main", &["write-log", &LINES.to_string(), "80"])], "restartPolicy": "Never" });
    host.create(&pod("flood", &spec))?;
    let shown = host.wait_for_pod("flood", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    let folder = folder(host, &shown, "main")?;
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        sizes.push(entry?.metadata()?.len());
    }
    ensure!(sizes.len() <= 5 && sizes.len() > 1, "{sizes:?}");
    ensure!(sizes.iter().all(|size| *size <= (10 << 20) + (64 << 10)), "{sizes:?}");
    let log = host.podrun(&["logs", "flood"])?.ok()?;
    let last = log.lines().last().context("a line")?;
    ensure!(last.starts_with(&format!("line {} ", LINES - 1)), "the end is kept: {last}");
    let first = log.lines().next().context("a line")?;
    let first: usize = first.split(' ').nth(1).context("a number")?.parse()?;
    for (index, line) in log.lines().enumerate() {
        ensure!(line.starts_with(&format!("line {} ", first + index)), "line {index}: {line}");
    }
    ensure!(host.podrun(&["logs", "flood", "--tail=3"])?.ok()?.lines().count() == 3, "--tail");
    host.delete("flood")?;
    Ok(())
}

fn flooding_neighbour(host: &Host) -> Result<()> {
    let mut loud = shell("loud", "yes a line that is written as fast as it can be");
    loud["tty"] = json!(true);
    host.create(&pod("web", &json!({ "containers": [loud, shell("quiet", "sleep 1000")] })))?;
    for _ in 0..5 {
        host.podrun(&["exec", "web", "-c", "quiet", "--", "true"])?.ok()?;
    }
    host.podrun(&["delete", "pod", "web"])?.ok()?;
    Ok(())
}

fn drained(host: &Host) -> Result<()> {
    for number in 0..10 {
        let name = format!("last-{number}");
        let spec = json!({ "containers": [shell("main", "i=0; while [ $i -lt 500 ]; do echo $i; i=$((i + 1)); done; echo the end")], "restartPolicy": "Never" });
        host.create(&pod(&name, &spec))?;
        host.wait_for_pod(&name, "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
        let log = host.podrun(&["logs", &name])?.ok()?;
        ensure!(log.lines().count() == 501 && log.ends_with("the end\n"), "{} lines", log.lines().count());
        host.delete(&name)?;
    }
    Ok(())
}
