//! The OCI front through the real binary: what podman and containerd do with a runtime, and what they look at.

#[path = "oci/classes.rs"]
mod classes;
#[path = "oci/devices.rs"]
mod devices;
#[path = "oci/granted.rs"]
mod granted;
#[path = "oci/lifecycle.rs"]
mod lifecycle;
#[path = "oci/limits.rs"]
mod limits;
#[path = "oci/mounts.rs"]
mod mounts;
#[path = "oci/process.rs"]
mod process;
#[path = "oci/shared.rs"]
mod shared;
#[path = "oci/systemd.rs"]
mod systemd;
#[path = "oci/watched.rs"]
mod watched;

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;
use support::run::{Outcome, Running};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    for (name, test) in [
        ("oci a container goes from created to deleted", life as fn(&Host) -> Result<()>),
        ("oci after create only the container's own process lives", only_init),
        ("oci create tells of a missing program, in the log too", missing_program),
        ("oci verbs in the wrong moment are refused and change nothing", wrong_moments),
        ("oci an id leads nowhere, whatever the verb", ids),
        ("oci a killed create leaves nothing that runs", killed_create),
        ("oci run passes the exit code on and leaves nothing", run),
        ("oci exec runs beside the program with the rights it is given", exec),
        ("oci a terminal goes to the console socket", terminal),
        ("oci run ends what reads a terminal at the end of its own input", input_ends),
        ("oci descriptors are preserved and no others", descriptors),
        ("oci the binary cannot be written to through a container", sealed_binary),
        ("oci a seccomp filter holds, for exec too, and is kept compiled", watched::filtered),
        (
            "oci links of the host's go to the container, and come back if it does not come to be",
            granted::links,
        ),
        ("oci exec goes where it is told to in the container's cgroup", granted::below),
        ("oci a cgroup that was there takes one container after the other, and stays", granted::again),
        ("oci a label or class that the kernel has none of is refused", granted::labels),
        (
            "oci a container without a mount namespace is in the host's, and leaves no mount there",
            shared::life,
        ),
        ("oci what fails in the host's mount namespace leaves no mount there", shared::failures),
        ("oci what is not done is refused by name", refused),
    ] {
        suite.on_host(name, &["busybox"], test);
    }
    for (name, test) in [
        ("oci a container is paused, resumed, updated and listed", pause as fn(&Host) -> Result<()>),
        ("oci events tell what a container uses, and of a killing for want of memory", watched::events),
    ] {
        suite.on_host_with_controller(name, "memory", &["busybox"], test);
    }
    classes::add(suite);
    devices::add(suite);
    lifecycle::add(suite);
    limits::add(suite);
    mounts::add(suite);
    process::add(suite);
    systemd::add(suite);
}

/// The front on one host.
pub(crate) struct Oci<'a> {
    host: &'a Host,
    pub(crate) bundle: PathBuf,
}

impl<'a> Oci<'a> {
    pub(crate) fn new(host: &'a Host) -> Result<Self> {
        let bundle = host.file("bundle");
        std::fs::create_dir_all(&bundle)?;
        let layers = std::fs::read_dir(host.root().join("layers"))?;
        let root =
            layers.flatten().map(|entry| entry.path().join("tree")).find(|path| path.join("bin/sh").exists());
        let root = root.context("the image busybox has no layer with bin/sh")?;
        let copied = Command::new("cp").arg("-a").arg(root).arg(bundle.join("rootfs")).status()?;
        ensure!(copied.success(), "cp -a: {copied}");
        Ok(Self { host, bundle })
    }

    /// Writes the default config for `args`, changed at some JSON pointers.
    pub(crate) fn config(&self, args: &[&str], changes: &[(&str, Value)]) -> Result<()> {
        let file = self.bundle.join("config.json");
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        self.oci(&["spec", "--bundle", &self.bundle.to_string_lossy()])?.ok()?;
        let mut spec: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        spec["process"]["args"] = json!(args);
        spec["process"]["terminal"] = json!(false);
        spec["linux"]["cgroupsPath"] = json!(format!("{}/c", self.host.cgroup_parent()));
        spec["root"]["readonly"] = json!(false);
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('/').context("a pointer begins with a slash")?;
            spec.pointer_mut(parent).with_context(|| format!("no {parent}"))?[key] = value.clone();
        }
        Ok(std::fs::write(file, spec.to_string())?)
    }

    fn arguments<'b>(&self, rest: &[&'b str], root: &'b str) -> Vec<&'b str> {
        ["oci", "--root", root].into_iter().chain(rest.iter().copied()).collect()
    }

    pub(crate) fn root(&self) -> String {
        self.host.state_dir().join("oci").to_string_lossy().into_owned()
    }

    /// Runs a verb to its end. A container keeps the verb's streams: they are files here, which end with it.
    pub(crate) fn oci(&self, rest: &[&str]) -> Result<Outcome> {
        self.host.podrun(&self.arguments(rest, &self.root()))
    }

    fn start(&self, rest: &[&str]) -> Result<Running> {
        self.host.start(&self.arguments(rest, &self.root()))
    }

    /// `create`, the container's output into the bundle's `out`.
    pub(crate) fn create(&self, flags: &str) -> Result<Outcome> {
        let (root, bundle) = (self.root(), self.bundle.display());
        self.host.script(&format!(
            "exec \"$podrun\" oci --root {root} {flags} create --bundle {bundle} --pid-file {bundle}/pid web >{bundle}/out 2>{bundle}/err </dev/null"
        ))
    }

    fn out(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.bundle.join(file))?)
    }

    pub(crate) fn state(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.oci(&["state", "web"])?.ok()?)?)
    }

    pub(crate) fn wait_for(&self, status: &str) -> Result<()> {
        wait_for(&format!("web is {status}"), || {
            let state = self.state()?;
            ensure!(state["status"] == status, "{state:#}");
            Ok(())
        })
    }

    pub(crate) fn gone(&self) -> Result<()> {
        let listed = self.oci(&["list", "--quiet"])?.ok()?;
        ensure!(listed.is_empty(), "still listed: {listed}");
        Ok(())
    }
}

fn life(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sh", "-c", "echo hello; sleep 1000"], &[("/annotations", json!({"a.b": "c"}))])?;
    oci.create("")?.ok().with_context(|| oci.out("err").unwrap_or_default())?;
    let state = oci.state()?;
    ensure!(
        state["status"] == "created" && state["id"] == "web" && state["ociVersion"] == "1.3.0",
        "{state:#}"
    );
    ensure!(state["bundle"] == json!(oci.bundle) && state["annotations"]["a.b"] == "c", "{state:#}");
    let told: Value = serde_json::from_str(&oci.out("pid")?)?;
    ensure!(told == state["pid"], "pid file {told}: {state:#}");
    ensure!(oci.out("out")?.is_empty(), "the program ran before it was started");
    oci.oci(&["start", "web"])?.ok()?;
    ensure!(oci.state()?["status"] == "running");
    wait_for("the program's word", || {
        ensure!(oci.out("out")? == "hello\n", "{:?}", oci.out("out")?);
        Ok(())
    })?;
    oci.oci(&["kill", "web", "KILL"])?.ok()?;
    oci.wait_for("stopped")?;
    ensure!(oci.state()?["pid"] == 0);
    oci.oci(&["delete", "web"])?.ok()?;
    oci.oci(&["state", "web"])?.fails_with(1)?;
    oci.gone()
}

fn only_init(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sleep", "1000"], &[])?;
    let processes = || -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(host.proc())?.flatten() {
            if let Ok(command) = std::fs::read(entry.path().join("cmdline")) {
                let text = String::from_utf8_lossy(&command).replace('\0', " ");
                if text.contains("oci --root") {
                    found.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        Ok(found)
    };
    oci.create("")?.ok()?;
    let pid = oci.state()?["pid"].to_string();
    ensure!(processes()? == [pid], "{:?}", processes()?);
    oci.oci(&["start", "web"])?.ok()?;
    ensure!(processes()?.is_empty(), "{:?}", processes()?);
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

fn missing_program(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["nothing-here"], &[])?;
    let log = oci.bundle.join("log");
    oci.create(&format!("--log {} --log-format json", log.display()))?.fails_with(1)?;
    let said = oci.out("err")?;
    ensure!(said.contains("nothing-here") && said.contains("no such file or directory"), "{said}");
    let line: Value = serde_json::from_str(oci.out("log")?.lines().last().context("the log is empty")?)?;
    ensure!(
        line["level"] == "error" && line["msg"].as_str().is_some_and(|text| text.contains("nothing-here")),
        "{line}"
    );
    oci.gone()
}

fn wrong_moments(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sleep", "1000"], &[])?;
    for verb in [
        &["start", "web"][..],
        &["state", "web"],
        &["kill", "web", "TERM"],
        &["delete", "web"],
        &["pause", "web"],
    ] {
        ensure!(oci.oci(verb)?.fails_with(1)?.contains("does not exist"), "{verb:?}");
    }
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.create("")?.ok()?;
    let again = oci.create("")?;
    again.fails_with(1)?;
    ensure!(oci.out("err")?.contains("exists already"), "{}", oci.out("err")?);
    ensure!(oci.oci(&["delete", "web"])?.fails_with(1)?.contains("created"));
    ensure!(oci.oci(&["resume", "web"])?.fails_with(1)?.contains("created"));
    oci.oci(&["start", "web"])?.ok()?;
    ensure!(oci.oci(&["start", "web"])?.fails_with(1)?.contains("running"));
    ensure!(oci.oci(&["delete", "web"])?.fails_with(1)?.contains("running"));
    ensure!(oci.state()?["status"] == "running", "a refused verb changed something");
    oci.oci(&["kill", "web", "9"])?.ok()?;
    oci.wait_for("stopped")?;
    ensure!(oci.oci(&["kill", "web", "9"])?.fails_with(1)?.contains("not running"));
    ensure!(oci.oci(&["start", "web"])?.fails_with(1)?.contains("stopped"));
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

fn ids(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["true"], &[])?;
    let canary = Path::new(&oci.root()).parent().context("the root has a parent")?.join("canary");
    std::fs::create_dir_all(&canary)?;
    std::fs::write(canary.join("state.json"), "{}")?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    for id in ["../canary", "..", ".", "/etc", "a/b", ".hidden", ""] {
        for verb in [
            &["create", "--bundle", &bundle][..],
            &["run", "--bundle", &bundle],
            &["start"],
            &["state"],
            &["kill"],
            &["delete"],
            &["delete", "--force"],
            &["exec"],
            &["ps"],
            &["pause"],
            &["resume"],
            &["update"],
            &["events"],
        ] {
            let line: Vec<&str> = verb.iter().copied().chain([id]).collect();
            let outcome = oci.oci(&line)?;
            ensure!(outcome.code() == 1, "{outcome}");
        }
    }
    ensure!(canary.join("state.json").exists());
    Ok(std::fs::remove_dir_all(canary)?)
}

/// A hook that adds its kind and the status that it was told to `seen`.
fn hook(oci: &Oci<'_>, kind: &str, inside: bool) -> Value {
    let seen = if inside { "/seen".to_owned() } else { oci.bundle.join("rootfs/seen").display().to_string() };
    let script = format!(r#"s=$(sed 's/.*"status":"\([a-z]*\)".*/\1/'); echo {kind} $s $X >>{seen}"#);
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["X=set", "PATH=/bin:/usr/bin"], "timeout": 30}])
}

/// A create, with a config changed so, that is killed while its createRuntime hook runs; `meanwhile` looks at it there.
fn kill_in_hook(
    host: &Host,
    oci: &Oci<'_>,
    changes: &[(&str, Value)],
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<String> {
    let hooks = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", format!("echo $$ >{0}/hook; exec sleep 1000", oci.bundle.display())]}]});
    oci.config(&["true"], &[changes, &[("/hooks", hooks)]].concat())?;
    let running = oci.start(&["create", "--bundle", &oci.bundle.to_string_lossy(), "web"])?;
    oci.wait_for("creating")?;
    wait_for("the hook", || {
        ensure!(!oci.out("hook")?.is_empty(), "nothing yet");
        Ok(())
    })?;
    meanwhile()?;
    let init = oci.state()?["pid"].to_string();
    host.run("sh", &["-c", &format!("kill -9 $(pgrep -f 'oci --root .* create' | grep -vx {init})")])?;
    // A hook is the caller's own program: it has no bond to the create.
    host.run("kill", &["-9", oci.out("hook")?.trim()])?.ok()?;
    running.wait()?;
    oci.wait_for("stopped")?;
    Ok(init)
}

fn killed_create(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let init = kill_in_hook(host, &oci, &[], || {
        let busy = oci.oci(&["delete", "--force", "web"])?.fails_with(1)?;
        ensure!(busy.contains("in use by another command"), "{busy}");
        Ok(())
    })?;
    wait_for("the init's end", || {
        ensure!(!host.proc().join(&init).exists(), "{init} is there");
        Ok(())
    })?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()
}

fn run(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    oci.config(&["sh", "-c", "echo out; echo err >&2; exit 7"], &[])?;
    let outcome = oci.oci(&["run", "--bundle", &bundle, "web"])?;
    ensure!(outcome.code() == 7 && outcome.stdout == "out\n" && outcome.stderr == "err\n", "{outcome}");
    oci.gone()?;
    oci.config(&["nothing"], &[])?;
    oci.oci(&["run", "--bundle", &bundle, "web"])?.fails_with(1)?;
    oci.gone()?;
    oci.config(&["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"], &[])?;
    let running = oci.start(&["run", "--bundle", &bundle, "web"])?;
    oci.wait_for("running")?;
    // The trap is set once the program has spoken; a signal before that is ignored, as for any first process.
    let ended = wait_for("the signal's effect", || {
        host.run("sh", &["-c", "kill -TERM $(pgrep -f 'oci --root .* run')"])?;
        ensure!(oci.oci(&["list", "--quiet"])?.ok()?.is_empty(), "still there");
        Ok(())
    });
    ended?;
    let outcome = running.wait()?;
    ensure!(outcome.code() == 9, "{outcome}");
    oci.config(&["sleep", "1000"], &[])?;
    host.script(&format!(
        "\"$podrun\" oci --root {} run --detach --bundle {bundle} web >/dev/null 2>&1 </dev/null",
        oci.root()
    ))?
    .ok()?;
    ensure!(oci.state()?["status"] == "running");
    oci.oci(&["delete", "-f", "web"])?.ok()?;
    oci.gone()
}

fn exec(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sleep", "1000"], &[])?;
    oci.create("")?.ok()?;
    oci.oci(&["start", "web"])?.ok()?;
    let outcome = oci.oci(&[
        "exec",
        "--user",
        "7:8",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        "web",
        "sh",
        "-c",
        "id -u; id -g; echo $A; pwd; exit 3",
    ])?;
    ensure!(outcome.code() == 3 && outcome.stdout == "7\n8\nb\n/tmp\n", "{outcome}");
    let caps =
        oci.oci(&["exec", "--cap", "CAP_SYS_ADMIN", "web", "grep", "Cap", "/proc/self/status"])?.ok()?;
    ensure!(
        caps.contains("CapInh:\t0000000000000000") && caps.contains("CapAmb:\t0000000000000000"),
        "{caps}"
    );
    ensure!(caps.contains("CapEff:\t0000000020200420"), "{caps}");
    ensure!(oci.oci(&["exec", "web", "nothing"])?.fails_with(255)?.contains("no such file or directory"));
    let file = host.write("process.json", &json!({"args": ["sh", "-c", "sleep 1000"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]}).to_string())?;
    host.script(&format!(
        "\"$podrun\" oci --root {} exec --detach --pid-file {}/exec.pid --process {} web >/dev/null 2>&1 </dev/null",
        oci.root(), oci.bundle.display(), file.display()
    ))?.ok()?;
    let pids: Vec<u32> = serde_json::from_str(&oci.oci(&["ps", "--format", "json", "web"])?.ok()?)?;
    ensure!(pids.contains(&oci.out("exec.pid")?.parse()?), "{pids:?}");
    let table = oci.oci(&["ps", "web"])?.ok()?;
    ensure!(table.lines().count() == pids.len() + 1 && table.contains("sleep 1000"), "{table}");
    oci.oci(&["kill", "--all", "web", "KILL"])?.ok()?;
    oci.wait_for("stopped")?;
    ensure!(oci.oci(&["exec", "web", "true"])?.fails_with(255)?.contains("stopped"));
    oci.oci(&["delete", "web"])?.ok()?;
    Ok(())
}

/// The descriptor that comes with the first message at `listener`.
pub(crate) fn received(listener: &UnixListener) -> Result<std::fs::File> {
    Ok(message(listener)?.1)
}

/// The first message at `listener`: its words, and the descriptor that comes with them.
fn message(listener: &UnixListener) -> Result<(String, std::fs::File)> {
    let (connection, _) = listener.accept()?;
    let (mut bytes, mut descriptors) = ([0; 256], Vec::new());
    let count = runtime::sys::io::socket::receive(connection.as_fd(), &mut bytes, &mut descriptors)?;
    let descriptor = descriptors.pop().context("the message carried no descriptor")?;
    ensure!(descriptors.is_empty(), "more than one descriptor");
    let words = bytes.get(..count.unwrap_or(0)).unwrap_or_default();
    Ok((String::from_utf8_lossy(words).into_owned(), descriptor.into()))
}

fn terminal(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let changes =
        [("/process/terminal", json!(true)), ("/process/consoleSize", json!({"height": 31, "width": 97}))];
    oci.config(&["sh", "-c", "tty; stty size; read line; echo got $line"], &changes)?;
    oci.create("")?.fails_with(1)?;
    ensure!(oci.out("err")?.contains("--console-socket"), "{}", oci.out("err")?);
    oci.gone()?;
    let socket = oci.bundle.join("console.sock");
    let listener = UnixListener::bind(&socket)?;
    let (bundle, path) = (oci.bundle.to_string_lossy().into_owned(), socket.to_string_lossy().into_owned());
    oci.oci(&["create", "--bundle", &bundle, "--console-socket", &path, "web"])?.ok()?;
    let mut master = received(&listener)?;
    oci.oci(&["start", "web"])?.ok()?;
    std::io::Write::write_all(&mut master, b"word\n")?;
    let mut said = Vec::new();
    // A terminal whose last peer has gone is EIO.
    let _ = master.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).into_owned();
    // Of the container's own devpts, and the first there.
    ensure!(said.contains("/dev/pts/0"), "{said}");
    ensure!(said.contains("31 97") && said.contains("got word"), "{said}");
    oci.wait_for("stopped")?;
    oci.oci(&["delete", "web"])?.ok()?;
    Ok(())
}

fn input_ends(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let (root, bundle) = (oci.root(), oci.bundle.display());
    let terminal = [("/process/terminal", json!(true))];
    for (args, input, wanted) in [
        (vec!["sh"], "</dev/null", ""),
        (vec!["sh", "-c", "cat; echo over"], "</dev/null", "over\r\n"),
        // The terminal shows what comes, and so does cat.
        (vec!["sh", "-c", "cat; echo over"], "< <(echo line)", "line\r\nline\r\nover\r\n"),
        (vec!["sh", "-c", "cat; echo over"], "< <(printf half)", "halfhalfover\r\n"),
    ] {
        oci.config(&args, &terminal)?;
        let script = format!("exec \"$podrun\" oci --root {root} run --bundle {bundle} web {input}");
        let shown = host.start_script(&script)?.wait_within(std::time::Duration::from_secs(60))?.ok()?;
        ensure!(shown.ends_with(wanted), "{args:?} {input}: {shown:?}");
    }
    oci.gone()
}

fn descriptors(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sh", "-c", "ls /proc/self/fd; cat <&3; cat <&4"], &[])?;
    host.write("three", "3\n")?;
    host.write("four", "4\n")?;
    let (root, bundle) = (oci.root(), oci.bundle.display());
    let outcome = host.script(&format!(
        "exec \"$podrun\" oci --root {root} run --preserve-fds 2 --bundle {bundle} web 3<three 4<four 5</dev/null </dev/null"
    ))?;
    // `ls` has one of its own, for the directory: the first free number.
    ensure!(outcome.stdout == "0\n1\n2\n3\n4\n5\n3\n4\n", "{outcome}");
    let none = host.script(&format!(
        "exec \"$podrun\" oci --root {root} run --preserve-fds 2 --bundle {bundle} web 3<three"
    ))?;
    ensure!(none.fails_with(1)?.contains("--preserve-fds"));
    oci.config(&["ls", "/proc/self/fd"], &[])?;
    let outcome =
        host.script(&format!("exec \"$podrun\" oci --root {root} run --bundle {bundle} web 3<three 9</"))?;
    ensure!(outcome.stdout == "0\n1\n2\n3\n", "{outcome}");
    oci.gone()
}

fn pause(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sleep", "1000"], &[])?;
    oci.create("")?.ok()?;
    oci.oci(&["start", "web"])?.ok()?;
    oci.oci(&["pause", "web"])?.ok()?;
    ensure!(oci.state()?["status"] == "paused");
    ensure!(oci.oci(&["pause", "web"])?.fails_with(1)?.contains("paused"));
    ensure!(oci.oci(&["exec", "web", "true"])?.fails_with(255)?.contains("paused"));
    oci.oci(&["resume", "web"])?.ok()?;
    ensure!(oci.state()?["status"] == "running");
    let list: Value = serde_json::from_str(&oci.oci(&["list", "--format", "json"])?.ok()?)?;
    ensure!(list[0]["id"] == "web" && list[0]["owner"] == "root", "{list:#}");
    let table = oci.oci(&["list"])?.ok()?;
    ensure!(table.starts_with("ID          PID") && table.contains("running"), "{table}");
    oci.oci(&["update", "--memory", "67108864", "web"])?.ok()?;
    let limit = wait_for("the new limit", || {
        let files = host.cgroup_folders()?.into_iter().map(|folder| folder.join("c"));
        let names = ["memory.limit_in_bytes", "memory.max"];
        let mut texts =
            files.flat_map(|folder| names.map(|name| folder.join(name))).flat_map(std::fs::read_to_string);
        texts.next().context("no cgroup of the container's has a memory limit")
    })?;
    ensure!(limit.trim() == "67108864", "{limit}");
    oci.oci(&["pause", "web"])?.ok()?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()
}

fn sealed_binary(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["/proc/self/exe", "oci", "--version"], &[])?;
    oci.create("")?.ok()?;
    let init = oci.state()?["pid"].to_string();
    let mount = nix::sys::statvfs::statvfs(&host.proc().join(init).join("exe"))?;
    ensure!(mount.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY), "{mount:?}");
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

fn refused(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["true"], &[])?;
    for (line, word) in [
        (&["checkpoint", "web"][..], "checkpoint"),
        (&["restore", "web"], "restore"),
        (&["--cgroup-manager", "other", "state", "web"], "--cgroup-manager other"),
        (&["create", "--no-pivot", "web"], "--no-pivot"),
    ] {
        let said = oci.oci(line)?.fails_with(1)?;
        ensure!(said.contains(word) && said.contains("not supported"), "{said}");
    }
    let features: Value = serde_json::from_str(&oci.oci(&["features"])?.ok()?)?;
    ensure!(features["hooks"].as_array().is_some_and(|hooks| hooks.len() == 6), "{features:#}");
    ensure!(features["potentiallyUnsafeConfigAnnotations"] == json!([]), "{features:#}");
    let rdt = json!({"enabled": true, "schemata": true, "monitoring": true});
    ensure!(features["linux"]["intelRdt"] == rdt, "{features:#}");
    for (version, code) in [("1.0.0", 0), ("2.0.0", 1), ("invalid", 1)] {
        oci.config(&["true"], &[("/ociVersion", json!(version))])?;
        let bundle = oci.bundle.to_string_lossy().into_owned();
        let outcome = oci.oci(&["run", "--bundle", &bundle, "web"])?;
        ensure!(outcome.code() == code, "{version}: {outcome}");
    }
    oci.gone()
}
