//! What goes in and out of containers: exec, attach and run, by pipes and by terminals.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::fixtures::reference;
use support::host::Host;
use support::pods::{container_status, pod, shell};
use support::suite::Suite;
use support::terminal::Terminal;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("tar through exec survives in both directions", &["busybox"], tar_through_exec);
    suite.on_host("exec keeps stdout and stderr apart and its stdin may be half closed", &["busybox"], pipes);
    suite.on_host("a process of exec is hung up when its client is killed", &["busybox"], client_killed);
    suite.on_host("exec enters the container with its user and environment", &["busybox"], exec_enters);
    suite.on_host("exec in a terminal has its size and follows it", &["busybox"], exec_in_a_terminal);
    suite.on_host("exec gives its terminal back when it is told to end", &["busybox"], terminal_given_back);
    suite.on_host("exec -t without a terminal warns and goes on", &["busybox"], no_terminal);
    suite.on_host("attach sends input to a container and shows its output", &["busybox"], attach_by_pipes);
    suite.on_host("ctrl-p ctrl-q leaves an attached container running", &["busybox"], detach);
    suite.on_host("stdinOnce ends a container's input with its first client", &["busybox"], stdin_once);
    suite.on_host("run -i passes input output and the exit code on", &["busybox", "probe"], run_attached);
    suite.on_host("run in a terminal gives a shell and removes the pod", &["busybox"], run_in_a_terminal);
}

fn sleeping(name: &str) -> Value {
    pod(name, &json!({ "containers": [shell("main", "sleep 100000")] }))
}

fn tar_through_exec(host: &Host) -> Result<()> {
    host.create(&sleeping("files"))?;
    host.script(
        "mkdir source out; for n in $(seq 300); do echo \"file $n\" >source/$n; done
         head -c 20000000 /dev/urandom >source/large
         tar c -C source . | $podrun exec -i files -- sh -c 'mkdir /copy && tar x -C /copy'
         $podrun exec files -- tar c -C /copy . | tar x -C out
         diff -r source out",
    )?
    .ok()?;
    host.delete("files")?;
    Ok(())
}

fn pipes(host: &Host) -> Result<()> {
    host.create(&sleeping("web"))?;
    let outcome = host.podrun(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3"])?;
    ensure!(outcome.code() == 3 && outcome.stdout == "out\n", "{outcome}");
    ensure!(outcome.stderr.contains("err\n") && !outcome.stderr.contains("podrun:"), "{outcome}");
    let half = ["exec", "-i", "web", "--", "sh", "-c", "cat; echo after the end"];
    ensure!(host.podrun_with_stdin(&half, b"in\n")?.ok()? == "in\nafter the end\n", "half closed");
    let without = ["exec", "web", "--", "cat"];
    ensure!(host.podrun_with_stdin(&without, b"in\n")?.ok()?.is_empty(), "without -i there is no input");
    // A program that closes its input early does not break the client.
    let early = ["exec", "-i", "web", "--", "head", "-c", "3"];
    ensure!(host.podrun_with_stdin(&early, &[b'x'; 4_000_000])?.ok()? == "xxx", "input left over");
    // A client whose output is closed early ends.
    host.script("$podrun exec web -- yes | head -n 2 >lines || :; test $(wc -l <lines) = 2")?.ok()?;
    wait_for("yes has ended", || {
        ensure!(!host.run("pgrep", &["-x", "yes"])?.status.success(), "it still runs");
        Ok(())
    })?;
    host.delete("web")?;
    Ok(())
}

fn client_killed(host: &Host) -> Result<()> {
    host.create(&sleeping("web"))?;
    let client = host.start(&["exec", "-i", "web", "--", "sleep", "54321"])?;
    wait_for("it runs", || host.run("pgrep", &["-f", "^sleep 54321"])?.ok())?;
    client.signal(Signal::SIGKILL)?;
    wait_for("it is hung up", || {
        ensure!(!host.run("pgrep", &["-f", "^sleep 54321"])?.status.success(), "it still runs");
        Ok(())
    })?;
    client.wait()?;
    ensure!(host.pod("web")?["status"]["phase"] == "Running", "the container is not concerned");
    host.delete("web")?;
    Ok(())
}

fn exec_enters(host: &Host) -> Result<()> {
    let mut manifest = sleeping("web");
    manifest["spec"]["containers"][0]["env"] = json!([{ "name": "OWN", "value": "value" }]);
    manifest["spec"]["containers"][0]["workingDir"] = json!("/tmp");
    manifest["spec"]["containers"][0]["securityContext"] = json!({ "runAsUser": 1000, "runAsGroup": 1001 });
    host.create(&manifest)?;
    let seen =
        host.podrun(&["exec", "web", "--", "sh", "-c", "echo $OWN $PWD $(id -u) $(id -g) $(hostname)"])?;
    ensure!(seen.ok()? == "value /tmp 1000 1001 web\n", "it is in the container");
    let seen = host
        .podrun(&["exec", "web", "--", "sh", "-c", "cat /proc/1/cgroup; echo; cat /proc/self/cgroup"])?
        .ok()?;
    let (first, own) = seen.split_once("\n\n").context("two lists")?;
    ensure!(first == own.trim_end(), "it is in the container's cgroups: {seen}");
    host.delete("web")?;
    Ok(())
}

fn exec_in_a_terminal(host: &Host) -> Result<()> {
    host.create(&sleeping("web"))?;
    let command = host.podrun_command(&["exec", "-it", "web", "--", "sh"])?;
    let mut terminal = Terminal::start(&command)?;
    let before = terminal.settings_before().to_owned();
    terminal.wait_until_shown("# ")?;
    ensure!(terminal.settings()? != before, "the terminal is raw meanwhile");
    terminal.types("tty; trap 'stty size' WINCH\r")?;
    terminal.wait_until_shown("/dev/pts/0")?;
    terminal.resize(33, 77)?;
    wait_for("the size arrives", || {
        terminal.types("stty size\r")?;
        terminal.wait_until_shown("33 77")
    })?;
    // Ctrl-C is the container's to handle.
    terminal.types("sleep 1000\r")?;
    wait_for("it sleeps", || host.run("pgrep", &["-f", "^sleep 1000$"])?.ok())?;
    terminal.types("\x03")?;
    terminal.types("exit 9\r")?;
    wait_for("the terminal is as before", || {
        ensure!(terminal.settings()? == before, "{} {before}", terminal.settings()?);
        Ok(())
    })?;
    ensure!(terminal.wait()? == 9, "the exit code is the shell's");
    host.delete("web")?;
    Ok(())
}

fn terminal_given_back(host: &Host) -> Result<()> {
    host.create(&sleeping("web"))?;
    for signal in ["TERM", "HUP", "INT", "QUIT"] {
        let terminal = Terminal::start(&host.podrun_command(&["exec", "-it", "web", "--", "cat"])?)?;
        let before = terminal.settings_before().to_owned();
        wait_for("the terminal is raw", || {
            ensure!(terminal.settings()? != before, "not yet");
            Ok(())
        })?;
        let client = host.run("pgrep", &["-f", "podrun exec -it"])?.ok()?;
        host.run("kill", &[&format!("-{signal}"), client.trim()])?.ok()?;
        wait_for("the terminal is as before", || {
            ensure!(terminal.settings()? == before, "after SIG{signal}: {} {before}", terminal.settings()?);
            Ok(())
        })?;
        ensure!(terminal.wait()? != 0, "SIG{signal} is no success");
        wait_for("the command is hung up", || {
            ensure!(!host.run("pgrep", &["-x", "cat"])?.status.success(), "it still runs");
            Ok(())
        })?;
    }
    host.delete("web")?;
    Ok(())
}

fn no_terminal(host: &Host) -> Result<()> {
    host.create(&sleeping("web"))?;
    let outcome = host.podrun_with_stdin(&["exec", "-it", "web", "--", "cat"], b"text\n")?;
    ensure!(outcome.stderr.contains("Unable to use a TTY"), "{outcome}");
    ensure!(outcome.ok()? == "text\n", "it goes on");
    host.delete("web")?;
    Ok(())
}

/// A container that answers each line of its input.
fn answering(name: &str, tty: bool) -> Value {
    let mut main =
        shell("main", "while read line; do echo \"got $line\"; done; echo end of input; sleep 100000");
    main["stdin"] = json!(true);
    main["tty"] = json!(tty);
    pod(name, &json!({ "containers": [main] }))
}

fn attach_by_pipes(host: &Host) -> Result<()> {
    host.create(&answering("web", false))?;
    let mut attached = host.start(&["attach", "web"])?;
    let sender = host.start_script("echo one | $podrun attach -i web")?;
    wait_for("the answer is logged", || {
        let log = host.podrun(&["logs", "web"])?.ok()?;
        ensure!(log == "got one\n", "{log}");
        Ok(())
    })?;
    // Without stdinOnce the input stays open for the next client.
    let next = host.start_script("echo two | $podrun attach -i web")?;
    wait_for("the second answer is logged", || {
        let log = host.podrun(&["logs", "web"])?.ok()?;
        ensure!(log == "got one\ngot two\n", "{log}");
        Ok(())
    })?;
    ensure!(attached.is_running()?, "attach goes on with the container");
    host.delete("web")?;
    let seen = attached.wait()?;
    ensure!(seen.stdout.contains("got two\n"), "{seen}");
    sender.wait()?;
    next.wait()?;
    Ok(())
}

fn detach(host: &Host) -> Result<()> {
    host.create(&answering("shell", true))?;
    let mut terminal = Terminal::start(&host.podrun_command(&["attach", "-it", "shell"])?)?;
    let before = terminal.settings_before().to_owned();
    terminal.wait_until_shown("try pressing enter")?;
    terminal.types("hello\r")?;
    terminal.wait_until_shown("got hello")?;
    ensure!(terminal.settings()? != before, "the terminal is raw meanwhile");
    terminal.types("\x10\x11")?;
    terminal.wait_until_shown("detached")?;
    wait_for("the terminal is as before", || {
        ensure!(terminal.settings()? == before, "{} {before}", terminal.settings()?);
        Ok(())
    })?;
    ensure!(terminal.wait()? == 0, "to leave is no failure");
    let shown = host.pod("shell")?;
    ensure!(shown["status"]["phase"] == "Running", "{:#}", shown["status"]);
    host.delete("shell")?;
    Ok(())
}

fn stdin_once(host: &Host) -> Result<()> {
    let mut manifest = answering("once", false);
    manifest["spec"]["containers"][0]["stdinOnce"] = json!(true);
    host.create(&manifest)?;
    let sender = host.start_script("echo one | $podrun attach -i once")?;
    wait_for("the input has ended", || {
        let log = host.podrun(&["logs", "once"])?.ok()?;
        ensure!(log == "got one\nend of input\n", "{log}");
        Ok(())
    })?;
    host.delete("once")?;
    sender.wait()?;
    Ok(())
}

fn run_attached(host: &Host) -> Result<()> {
    let busybox = format!("--image={}", reference("busybox"));
    let run = |name: &str, arguments: &[&str], stdin: &[u8]| {
        let line = [&["run", name, &busybox, "-i", "--rm", "--restart=Never"], arguments].concat();
        host.podrun_with_stdin(&line, stdin)
    };
    let outcome =
        run("sum", &["--command", "--", "sh", "-c", "wc -c; echo err >&2; exit 42"], &[b'x'; 100_000])?;
    ensure!(outcome.code() == 42 && outcome.stdout == "100000\n", "{outcome}");
    ensure!(outcome.stderr.contains("err\n"), "{outcome}");
    ensure!(run("env", &["--env=A=b", "--", "sh", "-c", "echo $A"], b"")?.ok()? == "b\n", "arguments");
    run("missing", &["--command", "--", "/missing"], b"")?.fails_with(127)?;
    run("folder", &["--command", "--", "/etc/passwd"], b"")?.fails_with(126)?;
    let image = "--image=localhost/podrun/absent:1";
    host.podrun(&["run", "none", image, "--image-pull-policy=Never", "-i", "--rm"])?.fails_with(125)?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.is_empty(), "each pod is gone");
    // Without --rm the pod stays, and shows how it ended.
    let line = ["run", "kept", &busybox, "-i", "--restart=Never", "--command", "--", "sh", "-c", "exit 5"];
    host.podrun(&line)?.fails_with(5)?;
    let kept = host.wait_for_pod("kept", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
    let state = &container_status(&kept, "kept").context("kept")?["state"];
    ensure!(state["terminated"]["exitCode"] == 5, "{state:#}");
    host.delete("kept")?;
    Ok(())
}

fn run_in_a_terminal(host: &Host) -> Result<()> {
    let image = format!("--image={}", reference("busybox"));
    let line = ["run", "shell", &image, "-it", "--rm", "--restart=Never", "--command", "--", "sh"];
    let mut terminal = Terminal::start(&host.podrun_command(&line)?)?;
    // The prompt may have come before the client could attach.
    terminal.wait_until_shown("try pressing enter")?;
    terminal.types("\r")?;
    terminal.wait_until_shown("# ")?;
    terminal.types("tty; echo $((6 * 7))\r")?;
    terminal.wait_until_shown("42")?;
    terminal.types("exit 6\r")?;
    ensure!(terminal.wait()? == 6, "the exit code is the shell's");
    host.podrun(&["get", "pod", "shell"])?.fails_with(4)?;
    Ok(())
}
