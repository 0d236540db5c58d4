//! The steps of a container's life (runtime.md, "Lifecycle"), what is run at each and where, and who is told.

use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixDatagram, UnixListener};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;
use support::suite::Suite;
use support::terminal::Terminal;

use super::{Oci, hook, message};

pub(super) fn add(suite: &mut Suite) {
    for (name, test) in [
        ("oci hooks run in their order with the state on stdin", hooks as fn(&Host) -> Result<()>),
        ("oci a hook that fails undoes the create", failing_hooks),
        ("oci a hook that fails at the start ends and destroys the container", failing_start_hooks),
        ("oci hooks start in the bundle or the container, with podrun's environment or its", surroundings),
        ("oci lo is up in a new network namespace", loopback),
        ("oci a time namespace has its offsets in a user namespace too", clocks),
        ("oci a log that cannot be opened is an error", logs),
        ("oci the pidfd of a process goes to the pidfd socket", pidfds),
        ("oci a terminal has its caller's window from the first look on", windows),
        ("oci a service that is activated by sockets hands them on", listened),
        ("oci a service is ready when its container says so", notified),
    ] {
        suite.on_host(name, &["busybox"], test);
    }
}

fn hooks(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let root = oci.bundle.join("rootfs");
    let own = |kind: &str| hook(&oci, kind, false);
    let hooks = json!({
        "prestart": own("prestart"), "createRuntime": own("createRuntime"),
        "createContainer": own("createContainer"), "startContainer": hook(&oci, "startContainer", true),
        "poststart": own("poststart"), "poststop": own("poststop"),
    });
    oci.config(&["sh", "-c", "echo program >>/seen; sleep 1000"], &[("/hooks", hooks)])?;
    let seen = || std::fs::read_to_string(root.join("seen")).unwrap_or_default();
    oci.create("")?.ok().with_context(|| oci.out("err").unwrap_or_default())?;
    let created = "prestart created set\ncreateRuntime creating set\ncreateContainer creating set\n";
    ensure!(seen() == created, "{}", seen());
    oci.oci(&["start", "web"])?.ok()?;
    let mut after: Vec<String> = seen().trim_start_matches(created).lines().map(str::to_owned).collect();
    ensure!(after.first().is_some_and(|line| line == "startContainer created set"), "{after:?}");
    // The program and the poststart hooks run at the same time.
    after.retain(|line| line != "program");
    ensure!(after.get(1).is_some_and(|line| line == "poststart running set"), "{after:?}");
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    ensure!(seen().ends_with("poststop stopped set\n"), "{}", seen());
    Ok(())
}

fn failing_hooks(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let seen = oci.bundle.join("rootfs/seen");
    for (kind, path) in [
        ("prestart", "/bin/false"),
        ("createRuntime", "/bin/false"),
        ("createContainer", "/bin/false"),
        ("createRuntime", "/nothing"),
    ] {
        let hooks = json!({kind: [{"path": path}], "poststop": hook(&oci, "poststop", false)});
        oci.config(&["true"], &[("/hooks", hooks)])?;
        oci.create("")?.fails_with(1)?;
        ensure!(oci.out("err")?.contains(&format!("{kind} hook {path}")), "{}", oci.out("err")?);
        oci.gone()?;
        ensure!(std::fs::read_to_string(&seen)? == "poststop stopped set\n");
        std::fs::remove_file(&seen)?;
    }
    let slow = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]});
    oci.config(&["true"], &[("/hooks", slow)])?;
    oci.create("")?.fails_with(1)?;
    ensure!(oci.out("err")?.contains("did not end in 1 s"), "{}", oci.out("err")?);
    oci.gone()?;
    let failing = hook(&oci, "poststop", false);
    let failing = json!([{"path": "/bin/false"}, failing[0]]);
    oci.config(
        &["true"],
        &[("/hooks", json!({"createRuntime": [{"path": "/bin/false"}], "poststop": failing}))],
    )?;
    oci.create("")?.fails_with(1)?;
    let said = oci.out("err")?;
    ensure!(
        said.contains("createRuntime hook /bin/false: exit status: 1; and poststop hook /bin/false"),
        "{said}"
    );
    ensure!(std::fs::read_to_string(&seen)? == "poststop stopped set\n", "the next hook is run as well");
    oci.gone()
}

fn failing_start_hooks(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let (bundle, seen) = (oci.bundle.to_string_lossy().into_owned(), oci.bundle.join("rootfs/seen"));
    for (kind, later) in [("startContainer", "poststart"), ("poststart", "")] {
        let mut hooks = json!({kind: [{"path": "/bin/false"}], "poststop": hook(&oci, "poststop", false)});
        if !later.is_empty() {
            hooks[later] = hook(&oci, later, false);
        }
        oci.config(&["sleep", "1000"], &[("/hooks", hooks)])?;
        oci.create("")?.ok()?;
        let init = oci.state()?["pid"].to_string();
        let said = oci.oci(&["start", "web"])?.fails_with(1)?;
        ensure!(said.contains(&format!("{kind} hook /bin/false: exit status: 1")), "{said}");
        // The container is stopped and destroyed; only then its poststop hooks run.
        ensure!(!host.proc().join(&init).join("root/bin").exists(), "{kind}: {init} lives");
        oci.gone()?;
        ensure!(
            std::fs::read_to_string(&seen)? == "poststop stopped set\n",
            "{}",
            std::fs::read_to_string(&seen)?
        );
        oci.oci(&["delete", "--force", "web"])?.ok()?;
        std::fs::remove_file(&seen)?;
        let said = oci.oci(&["run", "--bundle", &bundle, "web"])?.fails_with(1)?;
        ensure!(said.contains(kind), "{said}");
        ensure!(std::fs::read_to_string(&seen)? == "poststop stopped set\n", "poststop hooks ran once");
        std::fs::remove_file(&seen)?;
        oci.gone()?;
    }
    // After the container is gone there is nothing to undo any more: a warning, and the next one.
    let next = hook(&oci, "poststop", false);
    oci.config(&["sleep", "1000"], &[("/hooks", json!({"poststop": [{"path": "/bin/false"}, next[0]]}))])?;
    oci.create("")?.ok()?;
    let said = oci.oci(&["delete", "--force", "web"])?;
    ensure!(said.status.success() && said.stderr.contains("warning: poststop hook /bin/false"), "{said}");
    ensure!(std::fs::read_to_string(&seen)? == "poststop stopped set\n");
    oci.gone()
}

/// Where each kind of hook starts, and what it has of podrun's environment and of the program's.
fn surroundings(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let (bundle, root) = (oci.bundle.display().to_string(), oci.bundle.join("rootfs"));
    let say = |kind: &str, to: &str| {
        let script = format!("echo {kind} $(pwd) $MARK $OWN >>{to}");
        json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
    };
    let outside = root.join("seen").display().to_string();
    let mut none = say("empty", &outside);
    none["env"] = json!([]);
    let hooks = json!({
        "prestart": [say("prestart", &outside), none], "createRuntime": [say("createRuntime", &outside)],
        "createContainer": [say("createContainer", "seen")], "startContainer": [say("startContainer", "/seen")],
        "poststart": [say("poststart", &outside)], "poststop": [say("poststop", &outside)],
    });
    oci.config(
        &["sh", "-c", "while ! [ -e /go ]; do sleep 0.01; done"],
        &[
            ("/hooks", hooks),
            ("/process/cwd", json!("/work")),
            ("/process/env", json!(["PATH=/bin:/usr/bin", "OWN=own"])),
        ],
    )?;
    let line = |verb: &str| {
        host.script(&format!(
            "cd /; MARK=mark exec \"$podrun\" oci --root {} {verb} >/dev/null 2>{bundle}/err </dev/null",
            oci.root()
        ))
    };
    line(&format!("create --bundle {bundle} web"))?
        .ok()
        .with_context(|| oci.out("err").unwrap_or_default())?;
    line("start web")?.ok()?;
    line("delete --force web")?.ok()?;
    let wanted = format!(
        "prestart {bundle} mark\nempty {bundle}\ncreateRuntime {bundle} mark\ncreateContainer {bundle}/rootfs mark\n\
         startContainer /work own\npoststart {bundle} mark\npoststop {bundle} mark\n"
    );
    let seen = std::fs::read_to_string(root.join("seen"))?;
    ensure!(seen == wanted, "{seen}");
    // A bundle that has gone meanwhile keeps no poststop hook from its work.
    let elsewhere = host.file("moved");
    let marked = host.file("marked");
    let hooks = json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", format!("pwd >{}", marked.display())]}]});
    oci.config(&["sleep", "1000"], &[("/hooks", hooks)])?;
    oci.create("")?.ok()?;
    std::fs::rename(&oci.bundle, &elsewhere)?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    ensure!(std::fs::read_to_string(&marked)? == "/\n");
    oci.gone()
}

fn loopback(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    let flags = "ip address show lo";
    let ids = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
    let kinds = |more: &[&str]| -> Value {
        ["pid", "mount", "uts", "ipc", "network"]
            .iter()
            .chain(more)
            .map(|kind| json!({"type": kind}))
            .collect()
    };
    for user in [vec![], vec![("/linux/uidMappings", ids.clone()), ("/linux/gidMappings", ids)]] {
        let more: &[&str] = if user.is_empty() { &[] } else { &["user"] };
        let changes = [user.as_slice(), &[("/linux/namespaces", kinds(more))]].concat();
        oci.config(&["sh", "-c", flags], &changes)?;
        let said = oci.oci(&["run", "--bundle", &bundle, "web"])?.ok()?;
        ensure!(said.contains("LOOPBACK,UP") && said.contains("127.0.0.1/8"), "{said}");
    }
    oci.gone()
}

fn clocks(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    let kinds: Value = ["pid", "mount", "uts", "ipc", "network", "time", "user"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    let run = |secs: i64, user: bool| {
        let offsets = json!({"boottime": {"secs": secs}, "monotonic": {"secs": secs, "nanosecs": 5}});
        let mut changes = vec![("/linux/namespaces", kinds.clone()), ("/linux/timeOffsets", offsets)];
        if user {
            changes.extend([("/linux/uidMappings", ids.clone()), ("/linux/gidMappings", ids.clone())]);
        } else if let Some(kinds) = changes[0].1.as_array_mut() {
            kinds.retain(|kind| kind["type"] != "user");
        }
        oci.config(&["sh", "-c", "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime"], &changes)?;
        host.script(&format!(
            "chmod o+x {bundle} {0} && chown -R 100000:100000 {bundle}/rootfs",
            host.file("").display()
        ))?;
        oci.oci(&["run", "--bundle", &bundle, "web"])
    };
    for user in [false, true] {
        let said = run(1_000_000_000, user)?.ok()?;
        let words: Vec<&str> = said.split_whitespace().collect();
        ensure!(
            words.get(..6) == Some(&["monotonic", "1000000000", "5", "boottime", "1000000000", "0"]),
            "{said}"
        );
        let uptime: u64 = words.last().context("no uptime")?.parse()?;
        ensure!(uptime >= 1_000_000_000, "{said}");
        // The kernel's word on an offset that it does not take is about the file, not about what was written.
        let said = run(-1_000_000_000, user)?.fails_with(1)?;
        ensure!(
            said.contains("time namespace: write(\"/proc/self/timens_offsets\", \"boottime -1000000000 0"),
            "{said}"
        );
        oci.gone()?;
    }
    Ok(())
}

fn logs(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["true"], &[])?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    for (line, code) in
        [(vec!["run", "--bundle", &bundle, "web"], 1), (vec!["exec", "web", "true"], 255), (vec!["list"], 1)]
    {
        let line = [&["--log", "/nothing/there/log"], line.as_slice()].concat();
        let said = oci.oci(&line)?;
        ensure!(said.code() == code && said.stderr.contains("--log /nothing/there/log: ENOENT"), "{said}");
    }
    oci.gone()
}

fn pidfds(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sleep", "1000"], &[])?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    let socket = host.file("pidfd.sock");
    let (listener, path) = (UnixListener::bind(&socket)?, socket.to_string_lossy().into_owned());
    // In each pid namespace from this one down, of which the host's is one.
    let pids_of = |pidfd: &std::fs::File| -> Result<Vec<String>> {
        let number = std::os::fd::AsRawFd::as_raw_fd(pidfd);
        let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
        let line = told.lines().find_map(|line| line.strip_prefix("NSpid:")).context("no pidfd")?;
        Ok(line.split_whitespace().map(str::to_owned).collect())
    };
    // The container keeps its streams.
    host.script(&format!(
        "exec \"$podrun\" oci --root {} create --bundle {bundle} --pidfd-socket {path} web >/dev/null 2>&1 </dev/null",
        oci.root()
    ))?
    .ok()?;
    let (word, init) = message(&listener)?;
    ensure!(word == "standard" && pids_of(&init)?.contains(&oci.state()?["pid"].to_string()), "{word}");
    oci.oci(&["start", "web"])?.ok()?;
    let pid_file = host.file("exec.pid");
    let flags = ["exec", "--pidfd-socket", &path, "--pid-file", &pid_file.to_string_lossy(), "web", "true"];
    oci.oci(&flags)?.ok()?;
    // The process has ended; its descriptor is of nobody else.
    let (word, process) = message(&listener)?;
    ensure!(word == "setns" && pids_of(&process)? == ["-1"], "{word} {:?}", pids_of(&process)?);
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    let wrong = ["create", "--bundle", &bundle, "--pidfd-socket", "/nothing/there", "web"];
    ensure!(oci.oci(&wrong)?.fails_with(1)?.contains("--pidfd-socket /nothing/there"));
    oci.gone()?;
    oci.config(&["true"], &[])?;
    oci.oci(&["run", "--no-subreaper", "--bundle", &bundle, "--pidfd-socket", &path, "web"])?.ok()?;
    ensure!(message(&listener)?.0 == "standard");
    oci.gone()
}

fn windows(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let (bundle, root) = (oci.bundle.to_string_lossy().into_owned(), oci.root());
    let (look, size) = (["stty", "size"], json!({"height": 31, "width": 97}));
    let see = |line: &[&str], window: (u16, u16)| -> Result<String> {
        let command = host.podrun_command(&[&["oci", "--root", &root], line].concat())?;
        let terminal = Terminal::start_in_window(&command, window)?;
        terminal.wait_until_shown("\n")?;
        let shown = terminal.shown();
        ensure!(terminal.wait()? == 0, "{shown}");
        Ok(shown.trim().to_owned())
    };
    for (window, wanted) in [((41, 143), "41 143"), ((0, 0), "31 97")] {
        oci.config(&look, &[("/process/terminal", json!(true)), ("/process/consoleSize", size.clone())])?;
        let shown = see(&["run", "--bundle", &bundle, "web"], window)?;
        ensure!(shown == wanted, "run: {shown:?}");
    }
    oci.config(&["sleep", "1000"], &[])?;
    oci.create("")?.ok()?;
    oci.oci(&["start", "web"])?.ok()?;
    let shown = see(&["exec", "-t", "web", "stty", "size"], (41, 143))?;
    ensure!(shown == "41 143", "exec: {shown:?}");
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()
}

fn listened(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sh", "-c", "env | grep LISTEN_ | sort; cat <&3; cat <&4; ls /proc/self/fd"], &[])?;
    let (root, bundle) = (oci.root(), oci.bundle.display().to_string());
    let run = |environment: &str| {
        host.script(&format!(
            "echo three >3; echo four >4; export {environment}
            exec \"$podrun\" oci --root {root} run --preserve-fds 1 --bundle {bundle} web 3<3 4<4 </dev/null"
        ))
    };
    let said = run("LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web")?;
    ensure!(
        said.stdout == "LISTEN_FDNAMES=web\nLISTEN_FDS=1\nLISTEN_PID=1\nthree\nfour\n0\n1\n2\n3\n4\n5\n",
        "{said}"
    );
    // They are meant for another process.
    let said = run("LISTEN_FDS=1 LISTEN_PID=1")?;
    ensure!(said.stdout.starts_with("three\n") && !said.stdout.contains("LISTEN"), "{said}");
    ensure!(run("LISTEN_FDS=3 LISTEN_PID=$$")?.fails_with(1)?.contains("LISTEN_FDS"));
    ensure!(run("LISTEN_FDS=x LISTEN_PID=$$")?.fails_with(1)?.contains("LISTEN_FDS: `x`"));
    oci.gone()
}

/// What comes to the socket of a service manager's, and, for a barrier, its descriptor, which is closed at once.
fn heard(manager: &UnixDatagram) -> Result<String> {
    let (mut bytes, mut descriptors) = ([0; 256], Vec::new());
    let count = runtime::sys::io::socket::receive(manager.as_fd(), &mut bytes, &mut descriptors)?;
    let count = count.context("nothing was heard in a minute")?;
    ensure!(
        descriptors.len() == usize::from(bytes.starts_with(b"BARRIER")),
        "{} descriptors",
        descriptors.len()
    );
    Ok(String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned())
}

fn notified(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let (root, bundle) = (oci.root(), oci.bundle.display().to_string());
    let path = host.file("manager.sock");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
    oci.config(
        &["sh", "-c", "echo $NOTIFY_SOCKET; ls -l $NOTIFY_SOCKET; sleep 1000"],
        &[("/root/readonly", json!(false))],
    )?;
    let line = |line: &str| {
        format!("export NOTIFY_SOCKET={}; exec \"$podrun\" oci --root {root} {line}", path.display())
    };
    let say = |text: &[u8]| -> Result<()> {
        // What the container sees at /run/notify.
        let own = std::path::Path::new(&root).join("web/notify/notify.sock");
        wait_for("the socket", || {
            let socket = UnixDatagram::unbound()?;
            Ok(socket.send_to(text, &own).map(drop)?)
        })
    };
    host.script(&line(&format!("create --bundle {bundle} web >{bundle}/out 2>&1 </dev/null")))?.ok()?;
    let start = host.start_script(&line("start web"))?;
    say(b"STATUS=soon\nERRNO=5")?;
    // The start waits, and holds no lock.
    oci.wait_for("running")?;
    wait_for("the program's words", || {
        let seen = oci.out("out")?;
        ensure!(seen.starts_with("/run/notify/notify.sock\nsrwxrwxrwx"), "{seen}");
        Ok(())
    })?;
    say(b"MAINPID=1\nREADY=1\nSTATUS=up")?;
    ensure!(heard(&manager)? == "READY=1\n");
    let main = format!("MAINPID={}\n", oci.state()?["pid"]);
    let (told, barrier) = (heard(&manager)?, heard(&manager)?);
    ensure!(told == main && barrier == "BARRIER=1", "{told} {barrier}");
    start.wait_within(std::time::Duration::from_secs(60))?.ok()?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    // A container that ends without a word is waited for no longer; in the foreground podrun stands for it.
    oci.config(&["true"], &[])?;
    host.start_script(&line(&format!("run --detach --bundle {bundle} web </dev/null")))?
        .wait_within(std::time::Duration::from_secs(60))?
        .ok()?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.config(&["sh", "-c", "while ! [ -e /over ]; do sleep 0.1; done; exit 7"], &[])?;
    let running = host.start_script(&line(&format!("run --bundle {bundle} web </dev/null")))?;
    say(b"READY=1")?;
    ensure!(heard(&manager)? == "READY=1\n" && heard(&manager)?.starts_with("MAINPID="));
    ensure!(heard(&manager)? == "BARRIER=1");
    std::fs::write(oci.bundle.join("rootfs/over"), "")?;
    let ended = running.wait_within(std::time::Duration::from_secs(60))?;
    ensure!(ended.code() == 7, "{ended}");
    oci.gone()
}
