//! What a person meets: pages that line up, terminals that are left and joined, and pods whose monitor is in trouble.

use anyhow::{Context, Result, ensure};

use support::fixtures::reference;
use support::host::Host;
use support::pods::{pod, probe, shell, sleeper};
use support::suite::Suite;
use support::terminal::Terminal;

const IMAGES: &[&str] = &["probe"];

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("describe has kubectl's columns", IMAGES, describe_columns);
    suite.on_host("delete leaves a silent monitor its pod unless forced", IMAGES, silent_monitor);
    suite.on_host("wait and get -w see at once that a monitor was killed", IMAGES, killed_monitor);
    suite.on_host("ns shows the host where pid 1 may not be looked at", IMAGES, ns_without_ptrace);
    suite.on_host("a terminal that run left can be attached to again", &["busybox"], left_and_joined);
    suite.on_host(
        "run -it without a terminal passes its input on and ends",
        &["busybox"],
        run_without_terminal,
    );
    suite.on_host(
        "run -it shows what a program said that ended at once, the size of its window",
        &["busybox"],
        ended_at_once,
    );
    suite.on_host("run --rm does not restart what it removes", &["busybox"], removed_at_its_end);
    suite.on_host("create says what it waits for when it takes long", &["busybox"], told_what_is_awaited);
    suite.on_host("a pod that cannot come up leaves its last words in the error", &["busybox"], last_words);
    suite.on_host("exec that fails before its program is 125", &[], podruns_own_failure);
}

/// The pid of a pod's monitor in the host.
fn monitor_of(host: &Host, pod: &str) -> Result<String> {
    let table = host.podrun(&["ns", pod])?.ok()?;
    let row = table.lines().find(|line| line.starts_with(&format!("{pod} (monitor)"))).context("a row")?;
    Ok(row.split_whitespace().nth(2).context("a pid")?.to_owned())
}

fn describe_columns(host: &Host) -> Result<()> {
    let spec = serde_json::json!({ "containers": [probe("main", &["sleep"])] });
    host.create(&pod("web", &spec))?;
    let text = host.podrun(&["describe", "pod", "web"])?.ok()?;
    for line in ["    Restart Count:  0", "    Ready:          True", "    Environment:    <none>"] {
        ensure!(text.lines().any(|shown| shown == line), "{line:?} in {text}");
    }
    let position = |name: &str, value: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).context(name.to_owned())?;
        line.find(value).with_context(|| format!("{value} in {line}"))
    };
    ensure!(position("Image:", &reference("probe"))? == position("Container ID:", "podrun://")?, "{text}");
    ensure!(text.contains("\nEvents:\n  Type    Reason   Age   From    Message\n  ----    ------"), "{text}");
    ensure!(text.lines().all(|line| line == line.trim_end()), "no line ends in spaces: {text}");
    host.delete("web")?;
    Ok(())
}

fn silent_monitor(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let monitor = monitor_of(host, "web")?;
    host.run("kill", &["-STOP", &monitor])?.ok()?;
    let refused = host.podrun(&["delete", "web"])?;
    ensure!(refused.stdout.is_empty(), "nothing was deleted: {refused}");
    let said = refused.fails_with(1)?;
    ensure!(said.contains("monitor does not answer") && said.contains("--force"), "{said}");
    ensure!(host.pod("web")?["status"]["phase"] == "Running", "its records are left alone");
    host.podrun(&["delete", "web", "--force"])?.ok()?;
    host.podrun(&["get", "pod", "web"])?.fails_with(4)?;
    Ok(())
}

fn killed_monitor(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let monitor = monitor_of(host, "web")?;
    let waiting = host.start(&["wait", "web", "--for=jsonpath={.status.reason}=MonitorLost"])?;
    let following = host.start(&["logs", "-f", "web"])?;
    host.run("kill", &["-KILL", &monitor])?.ok()?;
    waiting.wait()?.ok()?;
    following.wait()?.ok()?;
    host.delete("web")?;
    Ok(())
}

fn ns_without_ptrace(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let table = host.script("setpriv --bounding-set=-sys_ptrace $podrun ns web")?.ok()?;
    let row = table.lines().find(|line| line.starts_with("host ")).context("the host's row")?;
    ensure!(row.split_whitespace().skip(3).all(|cell| cell == "*"), "{table}");
    host.delete("web")?;
    Ok(())
}

fn left_and_joined(host: &Host) -> Result<()> {
    let image = format!("--image={}", reference("busybox"));
    let line = ["run", "shell", &image, "-it", "--command", "--", "sh"];
    let mut terminal = Terminal::start(&host.podrun_command(&line)?)?;
    terminal.wait_until_shown("# ")?;
    terminal.types("\x10\x11")?;
    terminal.wait_until_shown("detached")?;
    ensure!(terminal.wait()? == 0, "to leave is no failure");
    let mut again = Terminal::start(&host.podrun_command(&["attach", "-it", "shell"])?)?;
    again.wait_until_shown("try pressing enter")?;
    again.types("echo $((6 * 7))\r")?;
    again.wait_until_shown("42")?;
    again.types("\x10\x11")?;
    ensure!(again.wait()? == 0, "to leave is no failure");
    host.podrun(&["delete", "shell", "--force"])?.ok()?;
    Ok(())
}

fn ended_at_once(host: &Host) -> Result<()> {
    let image = format!("--image={}", reference("busybox"));
    let line = ["run", "shell", &image, "-it", "--rm", "--command", "--", "stty", "size"];
    let terminal = Terminal::start_in_window(&host.podrun_command(&line)?, (41, 143))?;
    terminal.wait_until_shown("41 143")?;
    ensure!(terminal.wait()? == 0);
    Ok(())
}

fn run_without_terminal(host: &Host) -> Result<()> {
    let image = format!("--image={}", reference("busybox"));
    let line = ["run", "cat", &image, "-it", "--rm", "--", "sh", "-c", "cat; exit 5"];
    let outcome = host.podrun_with_stdin(&line, b"hello\n")?;
    ensure!(outcome.stdout == "hello\n" && outcome.stderr.contains("Unable to use a TTY"), "{outcome}");
    outcome.fails_with(5)?;
    host.podrun(&["run", "x", &image, "-t"])?.fails_with(125)?;
    Ok(())
}

fn removed_at_its_end(host: &Host) -> Result<()> {
    let image = format!("--image={}", reference("busybox"));
    // Under the default policy this one would be started again, and have to be killed.
    let line = ["run", "deaf", &image, "-i", "--rm", "--", "sh", "-c", "trap '' TERM; exit 7"];
    host.podrun_with_stdin(&line, b"")?.fails_with(7)?;
    let shown = host.podrun(&["run", "x", &image, "-i", "--rm", "--dry-run=client", "-o", "json"])?.ok()?;
    ensure!(shown.contains("\"restartPolicy\": \"Never\""), "{shown}");
    Ok(())
}

fn told_what_is_awaited(host: &Host) -> Result<()> {
    let spec = serde_json::json!({
        "initContainers": [shell("prepare", "sleep 3")],
        "containers": [shell("main", "sleep 1000")],
    });
    let manifest = host.write("slow.json", &pod("slow", &spec).to_string())?;
    let made = host.podrun(&["create", &manifest.to_string_lossy()])?;
    ensure!(made.stdout == "pod/slow created\n", "{made}");
    ensure!(made.stderr.contains("pod/slow: waiting: ") && made.stderr.contains("prepare"), "{made}");
    host.podrun(&["delete", "slow", "--force"])?.ok()?;
    Ok(())
}

fn last_words(host: &Host) -> Result<()> {
    let init = |script: &str| {
        let spec = serde_json::json!({
            "restartPolicy": "Never",
            "initContainers": [shell("prepare", script)],
            "containers": [shell("main", "sleep 1000")],
        });
        host.write("web.json", &pod("web", &spec).to_string())
    };
    let manifest = init("for n in $(seq 30); do echo line $n; done; echo no disk >&2; exit 3")?;
    let said = host.podrun(&["create", &manifest.to_string_lossy()])?.fails_with(1)?;
    let wanted = "init container \"prepare\": exit code 3 (Error); its log ends:\n  line 22\n";
    ensure!(said.contains(wanted) && said.contains("  line 30\n  no disk\n"), "{said}");
    // One that does not end, and one that ends without a word.
    let manifest = init("echo still at it; sleep 1000")?;
    let said = host.podrun(&["create", &manifest.to_string_lossy(), "--timeout=2s"])?.fails_with(8)?;
    ensure!(said.contains("timed out") && said.contains("; its log ends:\n  still at it\n"), "{said}");
    let manifest = init("exit 4")?;
    let said = host.podrun(&["create", &manifest.to_string_lossy()])?.fails_with(1)?;
    ensure!(said == "podrun: pod/web: init container \"prepare\": exit code 4 (Error)\n", "{said}");
    Ok(())
}

fn podruns_own_failure(host: &Host) -> Result<()> {
    host.podrun(&["exec", "none", "--", "true"])?.fails_with(125)?;
    let plain = "setpriv --bounding-set=-all --inh-caps=-all $podrun exec none -- true";
    host.script(plain)?.fails_with(125)?;
    Ok(())
}
