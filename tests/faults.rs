//! Bad input and faults. After each: a clear message, the right exit code, and the host as before.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::fixtures;
use support::host::Host;
use support::pods::{container_status, monitors, pod, probe, sleeper};
use support::run::Outcome;
use support::suite::Suite;
use support::terminal::Terminal;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a manifest that is no JSON is refused with its place", &[], no_json);
    suite.on_host("a typo is refused with its path place line and a suggestion", &[], typo);
    suite.on_host("wrong types and duplicate names are refused and all are listed", &[], wrong_types);
    suite.on_host("a field that is not there yet is refused by name", &[], not_yet);
    suite.on_host("an image that is missing fails the create and leaves no pod", &[], missing_image);
    suite.on_host(
        "a command that is missing fails the create and is StartError without waiting",
        &["probe"],
        missing_command,
    );
    suite.on_host("exec of a missing command is 127 and of a plain file 126", &["probe"], exec_codes);
    suite.on_host("a name that is taken is refused with 5 and the pod goes on", &["probe"], name_taken);
    suite.on_host(
        "run -it of a missing command is 127 and of a plain file 126 and leaves no pod",
        &["probe"],
        run_codes,
    );
    suite.on_host("a port that is taken is refused and leaves no pod", &["probe"], port_taken);
    suite.on_host("a port that a program of the host holds is refused", &["probe"], port_of_a_program);
    suite.on_host(
        "an address pool that is used up is said so and serves again after a delete",
        &["probe"],
        pool_used_up,
    );
    suite.on_host("a cgroup that cannot be made fails the create and leaves no pod", &["probe"], no_cgroup);
    suite.on_host("a full disk fails the create and leaves no pod", &["probe"], full_disk);
    suite.on_host("a create on a full disk says so and leaves no pod", &["probe"], full_root);
    suite.on_host("a plain user is told to use sudo", &[], no_root);
    suite.on_host("a root without the capabilities is told which it lacks", &[], no_capability);
    suite.on_host("Ctrl-C during create removes the pod and exits with 130", &["probe"], interrupted);
    suite.on_host("a create killed at any moment leaves the whole pod or none", &["probe"], killed_create);
    suite.on_host(
        "a killed monitor takes its processes along and the pod is MonitorLost",
        &["probe"],
        killed_monitor,
    );
    suite.on_host("a killed monitor leaves other pods alone", &["probe"], neighbours);
    suite.on_host("no pod is lost for want of a descriptor", &["probe"], few_descriptors);
    suite.on_host(
        "a monitor that stands still keeps nobody beyond his deadline",
        &["probe"],
        stopped_monitor,
    );
    // Cgroup v1 alone has these.
    for (name, test) in [
        ("a monitor that cannot be killed is named by a forced delete", frozen_monitor as fn(&Host) -> _),
        ("a monitor is held by nothing that its maker is in", left_cgroups),
    ] {
        suite.on_host_with_controller(name, "freezer", &["probe"], test);
    }
    suite.on_host(
        "a pod whose lock or name was deleted is found by what runs",
        &["probe"],
        without_lock_or_name,
    );
    suite.on_host("a pipe in the place of a record keeps nobody waiting", &["probe"], pipe_for_a_record);
    suite.on_host("a container that forks without end ends with its pod", &["probe"], fork_bomb);
    suite.on_host("a container that logs as fast as it can loses no line", &["probe"], fast_log);
}

fn create(host: &Host, manifest: &Value) -> Result<Outcome> {
    host.podrun_with_stdin(&["create", "-f", "-"], manifest.to_string().as_bytes())
}

/// The create fails with `code`, says each of `words`, and leaves no pod.
fn refused(host: &Host, manifest: &Value, code: i32, words: &[&str]) -> Result<String> {
    let outcome = create(host, manifest)?;
    ensure!(outcome.code() == code && outcome.stdout.is_empty(), "expected {code}: {outcome}");
    ensure!(outcome.stderr.starts_with("podrun: ") || outcome.stderr.contains("\npodrun: "), "{outcome}");
    for word in words {
        ensure!(outcome.stderr.contains(word), "`{word}` is not in: {outcome}");
    }
    let left = host.podrun(&["get", "pods"])?.ok()?;
    ensure!(left.is_empty(), "a pod is left: {left}");
    Ok(outcome.stderr)
}

fn no_json(host: &Host) -> Result<()> {
    let file = host.write("pod.json", "{\n  \"kind\": \"Pod\",\n  \"apiVersion\" \"v1\"\n}\n")?;
    let said = host.podrun(&["create", &file.to_string_lossy()])?.fails_with(3)?;
    ensure!(said.contains("pod.json:3:"), "{said}");
    host.podrun(&["create", "/missing.json"])?.fails_with(1)?;
    host.podrun(&["create"])?.fails_with(2)?;
    Ok(())
}

fn typo(host: &Host) -> Result<()> {
    let text = "{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Pod\",\n  \"metadata\": { \"name\": \"web\" },\n  \"spec\": {\n    \"containers\": [{\n      \"name\": \"a\",\n      \"image\": \"b:1\",\n      \"imagePulPolicy\": \"Never\"\n    }]\n  }\n}\n";
    let file = host.write("pod.json", text)?;
    for verb in ["create", "validate"] {
        let said = host.podrun(&[verb, &file.to_string_lossy()])?.fails_with(3)?;
        let wanted =
            "pod.json:9:7: spec.containers[0].imagePulPolicy: unknown field; did you mean imagePullPolicy?";
        ensure!(said.contains(wanted), "{said}");
        ensure!(said.contains("\"imagePulPolicy\": \"Never\""), "the line itself is shown: {said}");
    }
    Ok(())
}

fn wrong_types(host: &Host) -> Result<()> {
    let mut manifest = sleeper("web");
    manifest["spec"]["containers"] = json!([probe("same", &[]), probe("same", &[])]);
    manifest["metadata"]["name"] = json!("Not_A_Name");
    manifest["spec"]["restartPolicy"] = json!("Sometimes");
    let said =
        refused(host, &manifest, 3, &["metadata.name", "spec.containers[1].name", "spec.restartPolicy"])?;
    ensure!(said.contains("same"), "{said}");
    let mut manifest = sleeper("web");
    manifest["spec"]["terminationGracePeriodSeconds"] = json!("soon");
    refused(host, &manifest, 3, &["spec.terminationGracePeriodSeconds"])?;
    refused(
        host,
        &json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "x" } }),
        3,
        &["Service"],
    )?;
    Ok(())
}

fn not_yet(host: &Host) -> Result<()> {
    let mut manifest = sleeper("web");
    manifest["spec"]["containers"][0]["livenessProbe"] = json!({ "exec": { "command": ["true"] } });
    refused(host, &manifest, 3, &["spec.containers[0].livenessProbe"])?;
    Ok(())
}

fn missing_image(host: &Host) -> Result<()> {
    let mut manifest = sleeper("web");
    manifest["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    refused(host, &manifest, 6, &["localhost/podrun/probe:1"])?;
    Ok(())
}

fn missing_command(host: &Host) -> Result<()> {
    let mut manifest = sleeper("web");
    manifest["spec"]["restartPolicy"] = json!("Never");
    manifest["spec"]["containers"][0]["command"] = json!(["/missing"]);
    let said = refused(host, &manifest, 1, &["/missing", "hint: the image has no such program"])?;
    ensure!(said.matches("container \"main\"").count() == 1, "named once: {said}");
    let mut unfit = sleeper("web");
    unfit["spec"]["containers"][0]["securityContext"] = json!({ "runAsNonRoot": true, "runAsUser": 0 });
    let said = refused(host, &unfit, 1, &["runAsNonRoot"])?;
    ensure!(said.matches("container \"main\"").count() == 1, "named once: {said}");
    let outcome =
        host.podrun_with_stdin(&["create", "--wait=none", "-f", "-"], manifest.to_string().as_bytes())?;
    outcome.ok()?;
    let shown = host.wait_for_pod("web", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
    let end = &container_status(&shown, "main").context("main")?["state"]["terminated"];
    ensure!(end["reason"] == "StartError" && end["exitCode"] == 128, "{end:#}");
    host.delete("web")?;
    Ok(())
}

fn exec_codes(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    for (command, code) in [("/missing", 127), ("missing", 127), ("/not-executable", 126)] {
        host.podrun(&["exec", "web", "--", command])?.fails_with(code)?;
    }
    for code in ["0", "1", "42", "255"] {
        let outcome = host.podrun(&["exec", "web", "--", "/probe", "exit", code])?;
        ensure!(outcome.code().to_string() == code, "{outcome}");
    }
    ensure!(
        host.podrun(&["exec", "web", "--", "/probe", "kill-self", "9"])?.code() == 137,
        "128 and the signal"
    );
    host.podrun(&["exec", "missing", "--", "/probe"])?.fails_with(125)?;
    host.podrun(&["exec", "web", "-c", "missing", "--", "/probe"])?.fails_with(125)?;
    host.delete("web")?;
    Ok(())
}

fn run_codes(host: &Host) -> Result<()> {
    let image = format!("--image={}", fixtures::reference("probe"));
    for (program, code) in [("/missing", 127), ("missing", 127), ("/not-executable", 126)] {
        let line = ["run", "web", &image, "-it", "--rm", "--command", "--", program];
        let terminal = Terminal::start(&host.podrun_command(&line)?)?;
        terminal.wait_until_shown("execve")?;
        let seen = terminal.wait()?;
        ensure!(seen == code, "{program}: {seen}");
        host.podrun(&["get", "pod", "web"])?.fails_with(4)?;
    }
    Ok(())
}

fn name_taken(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let before = host.pod("web")?;
    let outcome = create(host, &sleeper("web"))?;
    ensure!(outcome.fails_with(5)?.contains("web"), "the name is said");
    ensure!(host.pod("web")?["metadata"]["uid"] == before["metadata"]["uid"], "the pod is another");
    host.delete("web")?;
    Ok(())
}

fn with_port(name: &str, port: u16) -> Value {
    let mut manifest = sleeper(name);
    manifest["spec"]["containers"][0]["args"] = json!(["serve", "80", name]);
    manifest["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80, "hostPort": port }]);
    manifest
}

fn port_taken(host: &Host) -> Result<()> {
    host.create(&with_port("first", 8080))?;
    let outcome = create(host, &with_port("second", 8080))?;
    ensure!(!outcome.status.success() && outcome.stderr.contains("8080"), "{outcome}");
    host.podrun(&["get", "pod", "second"])?.fails_with(4)?;
    host.delete("first")?;
    host.create(&with_port("second", 8080))?;
    host.delete("second")?;
    Ok(())
}

fn port_of_a_program(host: &Host) -> Result<()> {
    // In the host's network a container is a program of the host.
    let mut program = sleeper("program");
    program["spec"]["hostNetwork"] = json!(true);
    program["spec"]["containers"][0]["args"] = json!(["serve", "8080", "x"]);
    host.create(&program)?;
    wait_for("it listens", || {
        ensure!(host.run("ss", &["-ltn"])?.stdout.contains(":8080"), "not yet");
        Ok(())
    })?;
    let outcome = create(host, &with_port("web", 8080))?;
    ensure!(outcome.stderr.contains("host port 8080/tcp is taken by a program on the host"), "{outcome}");
    outcome.fails_with(1)?;
    host.podrun(&["get", "pod", "web"])?.fails_with(4)?;
    host.delete("program")?;
    Ok(())
}

fn pool_used_up(host: &Host) -> Result<()> {
    std::fs::write(host.config_file(), "network:\n  subnet: 10.77.0.0/29\n  idleSeconds: 0\n")?;
    // Eight addresses: network, broadcast and the bridge leave five.
    for number in 1..=5 {
        host.create(&sleeper(&format!("pod-{number}")))?;
    }
    let outcome = create(host, &sleeper("pod-6"))?;
    ensure!(!outcome.status.success() && outcome.stderr.contains("10.77.0.0/29"), "{outcome}");
    host.podrun(&["get", "pod", "pod-6"])?.fails_with(4)?;
    host.delete("pod-3")?;
    wait_for("the address is free", || create(host, &sleeper("pod-6"))?.ok())?;
    host.podrun(&["delete", "pods", "--all", "--now"])?.ok()?;
    Ok(())
}

fn no_cgroup(host: &Host) -> Result<()> {
    // A file's name where a folder is wanted: no hierarchy lets it be made.
    let mut command = host.podrun_command(&["--cgroup-parent", "/cgroup.procs/x", "create", "-f"])?;
    let file = host.write("pod.json", &sleeper("web").to_string())?;
    let output = command.arg(&file).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && said.contains("cgroup"), "{:?}: {said}", output.status);
    host.podrun(&["get", "pod", "web"])?.fails_with(4)?;
    Ok(())
}

fn full_disk(host: &Host) -> Result<()> {
    let small = host.file("small");
    std::fs::create_dir_all(&small)?;
    let path = small.to_string_lossy().into_owned();
    host.run("mount", &["-t", "tmpfs", "-o", "size=64k,nr_inodes=40", "small", &path])?.ok()?;
    let archive = fixtures::path("probe.tar")?;
    let load = host.podrun(&["--root", &path, "load", &archive.to_string_lossy()])?;
    ensure!(!load.status.success() && load.stderr.contains("no space for it on the store's disk"), "{load}");
    ensure!(host.podrun(&["--root", &path, "images"])?.ok()?.lines().count() <= 1, "no image is left");
    host.run("umount", &[&path])?.ok()?;
    Ok(())
}

fn full_root(host: &Host) -> Result<()> {
    // A copy of the image store on a small tmpfs, then filled up.
    let small = host.file("small");
    std::fs::create_dir_all(&small)?;
    let path = small.to_string_lossy().into_owned();
    host.run("mount", &["-t", "tmpfs", "-o", "size=64m", "small", &path])?.ok()?;
    let archive = fixtures::path("probe.tar")?;
    host.podrun(&["--root", &path, "load", &archive.to_string_lossy()])?.ok()?;
    host.run("sh", &["-c", &format!("cat /dev/zero >{path}/filler 2>/dev/null; :")])?.ok()?;
    let file = host.write("pod.json", &sleeper("web").to_string())?;
    let outcome = host.podrun(&["--root", &path, "create", &file.to_string_lossy()])?;
    ensure!(outcome.code() == 1 && outcome.stderr.contains("ENOSPC"), "{outcome}");
    host.podrun(&["--root", &path, "get", "pod", "web"])?.fails_with(4)?;
    // With room again the same name is free.
    host.run("rm", &[&format!("{path}/filler")])?.ok()?;
    host.podrun(&["--root", &path, "create", &file.to_string_lossy()])?.ok()?;
    // A pod that runs can be deleted from a full disk.
    host.run("sh", &["-c", &format!("cat /dev/zero >{path}/filler 2>/dev/null; :")])?.ok()?;
    host.podrun(&["--root", &path, "delete", "pod", "web"])?.ok()?;
    host.podrun(&["--root", &path, "get", "pod", "web"])?.fails_with(4)?;
    host.run("umount", &[&path])?.ok()?;
    Ok(())
}

fn no_root(host: &Host) -> Result<()> {
    let binary = support::host::binary_under_test()?;
    // The binary may lie where a plain user cannot come: it is put where it can be run.
    let copy = host.path("/run/podrun-copy");
    std::fs::copy(&binary, &copy)?;
    let run = |arguments: &[&str]| {
        let line =
            [&["--reuid=65534", "--regid=65534", "--clear-groups", "/run/podrun-copy"], arguments].concat();
        host.run("setpriv", &line)
    };
    let said = run(&["create", "pod.json"])?.fails_with(1)?;
    ensure!(said.contains("podrun: create needs root; run it with sudo"), "{said}");
    ensure!(said.contains("sudo") && said.contains("create pod.json"), "the hint repeats the line: {said}");
    let said = run(&["image", "ls"])?.fails_with(1)?;
    ensure!(said.contains("podrun: image ls needs root"), "the whole verb: {said}");
    run(&["version"])?.ok()?;
    run(&["--help"])?.ok()?;
    run(&["completion", "bash"])?.ok()?;
    let manifest = host.path("/run/pod.json");
    std::fs::write(&manifest, sleeper("web").to_string())?;
    ensure!(run(&["validate", "/run/pod.json"])?.ok()? == "/run/pod.json: ok, pod/web\n", "validate");
    ensure!(
        run(&["create", "/run/pod.json", "--dry-run=client", "-o", "name"])?.ok()? == "pod/web\n",
        "dry run"
    );
    host.run("chmod", &["600", "/run/pod.json"])?.ok()?;
    let said = run(&["validate", "/run/pod.json"])?.fails_with(1)?;
    ensure!(said.contains("/run/pod.json: EACCES (permission denied)"), "{said}");
    std::fs::remove_file(manifest)?;
    std::fs::remove_file(copy)?;
    Ok(())
}

fn no_capability(host: &Host) -> Result<()> {
    let file = host.write("pod.json", &sleeper("web").to_string())?;
    let mut command = host.command("setpriv", &["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]);
    command.arg(support::host::binary_under_test()?).arg("create").arg(&file);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(7), "{said}");
    ensure!(said.contains("create needs CAP_SYS_ADMIN") && said.contains("doctor"), "{said}");
    Ok(())
}

fn interrupted(host: &Host) -> Result<()> {
    // An init container that never ends keeps the create waiting.
    let spec =
        json!({ "initContainers": [probe("wait", &["sleep"])], "containers": [probe("main", &["sleep"])] });
    let file = host.write("pod.json", &pod("slow", &spec).to_string())?;
    let running = host.start(&["create", &file.to_string_lossy()])?;
    wait_for("the init container runs", || {
        ensure!(host.run("pgrep", &["-f", "^/probe sleep"])?.status.success(), "not yet");
        Ok(())
    })?;
    // By then the client takes signals: it has asked for the container.
    running.signal(Signal::SIGINT)?;
    let said = running.wait()?.fails_with(130)?;
    ensure!(said.contains("interrupted; the pod is removed again"), "{said}");
    host.podrun(&["get", "pod", "slow"])?.fails_with(4)?;
    Ok(())
}

/// 200 times by default; PODRUN_TESTS_KILLS gives another number.
fn kills() -> u32 {
    std::env::var("PODRUN_TESTS_KILLS").ok().and_then(|number| number.parse().ok()).unwrap_or(200)
}

fn killed_create(host: &Host) -> Result<()> {
    let file = host.write("pod.json", &sleeper("web").to_string())?;
    let file = file.to_string_lossy().into_owned();
    // The moments are spread evenly over a bit more than what a create takes here.
    let start = std::time::Instant::now();
    host.podrun(&["create", &file])?.ok()?;
    let whole = start.elapsed().mul_f64(1.2);
    host.delete("web")?;
    let (mut there, mut gone) = (0, 0);
    for number in 0..kills() {
        let running = host.start(&["create", &file])?;
        let moment = whole.mul_f64(f64::from(number) / f64::from(kills()));
        std::thread::sleep(moment);
        // It may have ended by itself before.
        running.signal(Signal::SIGKILL).ok();
        running.wait()?;
        let outcome = host.podrun(&["get", "pod", "web", "-o", "name"])?;
        if outcome.status.success() {
            // A monitor whose client is gone undoes the pod, which may be seen while that goes on.
            let deleted = host.podrun(&["delete", "pod", "web", "--grace-period=0", "--force"])?;
            ensure!([0, 4].contains(&deleted.code()), "{deleted}");
            there += 1;
        } else {
            ensure!(outcome.code() == 4, "{outcome}");
            gone += 1;
        }
        wait_for("the name is free", || {
            ensure!(monitors(host)?.is_empty(), "a monitor is left");
            Ok(())
        })?;
    }
    ensure!(there > 0 && gone > 0, "killed too early or too late always: {there} there, {gone} gone");
    Ok(())
}

fn killed_monitor(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let all = monitors(host)?;
    ensure!(all.len() == 1, "{all:?}");
    host.run("kill", &["-9", &all[0]])?.ok()?;
    wait_for("its processes end", || {
        let left = host.run("pgrep", &["-f", "^/probe sleep"])?;
        ensure!(!left.status.success(), "{left}");
        Ok(())
    })?;
    let shown = host.pod("web")?;
    let status = &shown["status"];
    ensure!(status["phase"] == "Failed" && status["reason"] == "MonitorLost", "{status:#}");
    ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("MonitorLost"), "the table says so");
    host.podrun(&["delete", "pod", "web"])?.ok()?;
    Ok(())
}

fn neighbours(host: &Host) -> Result<()> {
    host.create(&sleeper("one"))?;
    let first = monitors(host)?;
    host.create(&sleeper("two"))?;
    host.run("kill", &["-9", &first[0]])?.ok()?;
    host.wait_for_pod("one", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
    ensure!(host.pod("two")?["status"]["phase"] == "Running", "the other goes on");
    host.podrun(&["exec", "two", "--", "/probe", "exit", "0"])?.ok()?;
    host.podrun(&["delete", "pods", "--all", "--now"])?.ok()?;
    Ok(())
}

/// One that watches has a few descriptors, as many pods as would each take one, and two monitors that are killed.
fn few_descriptors(host: &Host) -> Result<()> {
    let documents: Vec<String> =
        (10..24).map(|number| sleeper(&format!("pod-{number}")).to_string()).collect();
    host.podrun_with_stdin(&["create", "-"], documents.join("\n---\n").as_bytes())?.ok()?;
    let seen = host.file("seen");
    let watch = host.start_script("ulimit -n 17; exec $podrun get pods -w >seen 2>&1")?;
    let wait_until_seen = |word: &str, times: usize| {
        wait_for(&format!("{word} is seen {times} times"), || {
            let text = std::fs::read_to_string(&seen)?;
            ensure!(text.matches(word).count() == times, "{text}");
            Ok(())
        })
    };
    wait_until_seen("Running", 14)?;
    for monitor in monitors(host)?.iter().take(2) {
        host.run("kill", &["-9", monitor])?.ok()?;
    }
    wait_until_seen("MonitorLost", 2)?;
    watch.signal(Signal::SIGTERM)?;
    watch.wait()?;
    ensure!(!std::fs::read_to_string(&seen)?.contains("Unreadable"), "healthy pods show as they are");
    // However few there are: the verb fails, or tells what is so.
    let said =
        host.script("for n in $(seq 4 16); do (ulimit -n $n; $podrun get pods 2>&1 || :); done")?.ok()?;
    ensure!(!said.contains("Unreadable"), "{said}");
    let left = host.podrun(&["get", "pods", "--no-headers"])?.ok()?;
    ensure!(left.lines().count() == 14 && left.matches("Running").count() == 12, "{left}");
    host.podrun(&["delete", "pods", "--all", "--force"])?.ok()?;
    Ok(())
}

fn stopped_monitor(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let monitor = monitors(host)?.pop().context("a monitor")?;
    host.run("kill", &["-STOP", &monitor])?.ok()?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("Running"), "get asks nobody");
    host.podrun(&["wait", "web", "--for=delete", "--timeout=1s"])?.fails_with(8)?;
    let said = host.podrun(&["delete", "pod", "web", "--timeout=1s"])?.fails_with(8)?;
    ensure!(said.contains("does not answer") && said.contains("--force"), "{said}");
    // More than the monitor's queue of connections takes.
    let many =
        "for n in $(seq 80); do $podrun delete web --wait=false --timeout=1s >/dev/null 2>&1 & done; wait";
    host.script(many)?.ok()?;
    host.podrun(&["delete", "pod", "web", "--timeout=1s"])?.fails_with(8)?;
    host.delete("web")?;
    ensure!(monitors(host)?.is_empty(), "it was killed");
    Ok(())
}

fn frozen_monitor(host: &Host) -> Result<()> {
    let freezer = std::path::Path::new("/sys/fs/cgroup/freezer");
    host.create(&sleeper("web"))?;
    let monitor = monitors(host)?.pop().context("a monitor")?;
    let cgroup = format!("{}{}-frozen", freezer.display(), host.cgroup_parent());
    host.script(&format!(
        "mkdir {cgroup}; echo {monitor} >{cgroup}/tasks; echo FROZEN >{cgroup}/freezer.state"
    ))?
    .ok()?;
    let deleted = host.podrun(&["delete", "web", "--force", "--timeout=2s"]);
    host.script(&format!("echo THAWED >{cgroup}/freezer.state"))?.ok()?;
    let said = deleted?.fails_with(8)?;
    ensure!(said.contains(&format!("process {monitor}, was killed and does not end")), "{said}");
    host.podrun(&["delete", "web", "--force", "--ignore-not-found"])?.ok()?;
    wait_for("the cgroup is left", || host.run("rmdir", &[&cgroup])?.ok())?;
    Ok(())
}

/// Of six MiB, say, which would be its pod's end.
fn left_cgroups(host: &Host) -> Result<()> {
    let file = host.write("pod.json", &sleeper("web").to_string())?;
    let mut folders = Vec::new();
    let mut enter = String::new();
    for folder in host.cgroup_folders()? {
        let name = folder.parent().and_then(|hierarchy| hierarchy.file_name()).unwrap_or_default();
        // A new cpuset takes nobody before it has its processors.
        let tasks = folder.parent().is_some_and(|hierarchy| hierarchy.join("tasks").exists());
        if !tasks || name == "cpuset" {
            continue;
        }
        let maker = format!("{}-maker", folder.display());
        enter += &format!("mkdir {maker}; echo $$ >{maker}/tasks; ");
        folders.push(maker);
    }
    ensure!(folders.len() > 1, "{folders:?}");
    host.script(&format!("{enter} $podrun create {}", file.display()))?.ok()?;
    let monitor = monitors(host)?.pop().context("a monitor")?;
    let shown = host.run("cat", &[&format!("/proc/{monitor}/cgroup")])?.ok()?;
    for folder in &folders {
        host.run("rmdir", &[folder]).ok();
    }
    host.delete("web")?;
    ensure!(!shown.contains("-maker"), "{shown}");
    Ok(())
}

fn without_lock_or_name(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let id = host.script("ls $PODRUN_STATE_DIR/pods")?.ok()?;
    std::fs::remove_file(host.state_dir().join("pods").join(id.trim()).join("lock"))?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("Running"), "its monitor answers");
    host.podrun(&["exec", "web", "--", "/probe", "exit", "0"])?.ok()?;
    std::fs::remove_file(host.root().join("names/default/web"))?;
    ensure!(host.podrun(&["get", "pod", "web"])?.ok()?.contains("Running"), "its record has its name");
    std::fs::remove_file(host.root().join("names/default/web"))?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("web"), "in the list too");
    host.delete("web")?;
    Ok(())
}

fn pipe_for_a_record(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    host.script("cd $PODRUN_ROOT/pods/*; mv status.json kept; mkfifo status.json")?.ok()?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("RecordUnreadable"), "it is no record");
    host.script("cd $PODRUN_ROOT/pods/*; mv kept status.json")?.ok()?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("Running"), "it is one again");
    host.delete("web")?;
    Ok(())
}

fn fork_bomb(host: &Host) -> Result<()> {
    host.create(&pod("bomb", &json!({ "containers": [probe("main", &["fork-bomb", "300"])] })))?;
    wait_for("it has forked", || {
        let log = host.podrun(&["logs", "bomb"])?.ok()?;
        ensure!(log.starts_with("started "), "{log}");
        Ok(())
    })?;
    host.delete("bomb")?;
    Ok(())
}

fn fast_log(host: &Host) -> Result<()> {
    const LINES: usize = 50_000;
    let spec = json!({ "containers": [probe("main", &["write-log", &LINES.to_string(), "80"])], "restartPolicy": "Never" });
    host.create(&pod("loud", &spec))?;
    host.wait_for_pod("loud", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    let log = host.podrun(&["logs", "loud"])?.ok()?;
    ensure!(log.lines().count() == LINES, "{} lines", log.lines().count());
    for (number, line) in log.lines().enumerate() {
        ensure!(line.len() == 79 && line.starts_with(&format!("line {number} x")), "line {number}: {line}");
    }
    host.delete("loud")?;
    Ok(())
}
