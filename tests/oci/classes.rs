//! `linux.intelRdt` through the real binary: in the kernel's resctrl where there is one, and everywhere in a directory that
//! stands for it, which the binary takes for it since its mountinfo says so. That one has what is there beforehand; what
//! the kernel does at mkdir is missing in it, so that what has to be made fails there half way, and must be undone.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;
use support::run::{Outcome, Running};
use support::suite::Suite;

use super::Oci;

pub(super) fn add(suite: &mut Suite) {
    suite.on_host("oci a container joins its class of service, and exec after it", &["busybox"], joined);
    suite.on_host("oci what a class of service cannot be is refused and undone", &["busybox"], undone);
    suite.on_host(
        "oci a monitoring group goes with its container, and after a killed create too",
        &["busybox"],
        monitored,
    );
    suite.on_host_with_resctrl(
        "oci classes of service and monitoring groups come and go with their containers",
        &["busybox"],
        in_resctrl,
    );
}

/// A directory that stands for resctrl, with a class `guaranteed`.
struct StandIn<'a> {
    host: &'a Host,
    oci: Oci<'a>,
    tree: PathBuf,
}

impl<'a> StandIn<'a> {
    fn new(host: &'a Host) -> Result<Self> {
        let tree = host.file("resctrl");
        for class in [tree.clone(), tree.join("guaranteed")] {
            std::fs::create_dir_all(class.join("mon_groups"))?;
            std::fs::write(class.join("tasks"), "")?;
            std::fs::write(class.join("schemata"), "    MB:0=100\n    L3:0=7f0\n")?;
        }
        Ok(Self { host, oci: Oci::new(host)?, tree })
    }

    /// Runs a verb whose mountinfo has the directory as resctrl; its streams are files, which end with it.
    fn oci(&self, line: &str) -> Result<Outcome> {
        self.start(line)?.wait()
    }

    fn start(&self, line: &str) -> Result<Running> {
        let (tree, table) = (self.tree.display(), self.host.file("mountinfo"));
        let (table, root) = (table.display(), self.oci.root());
        let within = format!(
            "(cat /proc/self/mountinfo; echo \"9999 1 0:999 / {tree} rw - resctrl resctrl rw\") >{table}
            mount --bind {table} /proc/$$/mountinfo
            exec \"$podrun\" oci --root {root} {line}"
        );
        self.host.start_script(&format!("exec unshare --mount bash -euc '{within}' </dev/null"))
    }

    fn configured(&self, rdt: &Value, more: &[(&str, Value)]) -> Result<()> {
        let changes = [&[("/linux/intelRdt", rdt.clone())], more].concat();
        self.oci.config(&["sleep", "1000"], &changes)
    }

    fn create(&self) -> Result<Outcome> {
        self.start_create()?.wait()
    }

    fn start_create(&self) -> Result<Running> {
        let bundle = self.oci.bundle.display();
        self.start(&format!("create --bundle {bundle} web >{bundle}/out 2>{bundle}/err"))
    }

    fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.tree.join(path)).with_context(|| path.to_owned())
    }

    /// The directories there are, each below the one before.
    fn groups(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for place in ["", "mon_groups", "guaranteed", "guaranteed/mon_groups"] {
            for entry in std::fs::read_dir(self.tree.join(place))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    found.push(format!("{place}/{}", entry.file_name().to_string_lossy()));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

const AT_FIRST: [&str; 3] = ["/guaranteed", "/mon_groups", "guaranteed/mon_groups"];

fn joined(host: &Host) -> Result<()> {
    let stand_in = StandIn::new(host)?;
    let err = || stand_in.oci.out("err").unwrap_or_default();
    for (class, file) in [("guaranteed", "guaranteed/tasks"), ("/", "tasks")] {
        stand_in.configured(&json!({"closID": class, "l3CacheSchema": "L3:0=7F0"}), &[])?;
        stand_in.create()?.ok().with_context(err)?;
        // What the process has written is its own 0: it is there before its program is.
        ensure!(stand_in.read(file)? == "0", "{class}: {:?}", stand_in.read(file)?);
        stand_in.oci("start web")?.ok()?;
        std::fs::write(stand_in.tree.join(file), "")?;
        stand_in.oci("exec web true")?.ok()?;
        ensure!(stand_in.read(file)? == "0", "exec, {class}: {:?}", stand_in.read(file)?);
        stand_in.oci("update --l3-cache-schema L3:0=3 --mem-bw-schema MB:0=10 web")?.ok()?;
        let schemata = file.replace("tasks", "schemata");
        ensure!(
            stand_in.read(&schemata)?.starts_with("L3:0=3\nMB:0=10\n"),
            "{:?}",
            stand_in.read(&schemata)?
        );
        let said = stand_in.oci("update --mem-bw-schema 0=10 web")?.fails_with(1)?;
        ensure!(said.contains("memBwSchema"), "{said}");
        let stats: Value = serde_json::from_str(&stand_in.oci("events --stats web")?.ok()?)?;
        ensure!(stats["data"]["intel_rdt"]["l3_cache_schema"] == "L3:0=3", "{stats:#}");
        stand_in.oci("delete --force web")?.ok()?;
        ensure!(stand_in.groups()? == AT_FIRST, "{:?}", stand_in.groups()?);
        stand_in.oci.gone()?;
    }
    // A container without a class has none to change, and one whose resctrl is gone is deleted all the same.
    stand_in.oci.config(&["sleep", "1000"], &[])?;
    stand_in.create()?.ok().with_context(err)?;
    let said = stand_in.oci("update --l3-cache-schema L3:0=3 --memory 67108864 web")?.fails_with(1)?;
    ensure!(said.contains("no class of service"), "{said}");
    stand_in.oci("delete --force web")?.ok()?;
    std::fs::write(stand_in.tree.join("guaranteed/tasks"), "")?;
    stand_in.configured(&json!({"closID": "guaranteed"}), &[])?;
    stand_in.create()?.ok().with_context(err)?;
    stand_in.oci.oci(&["delete", "--force", "web"])?.ok()?;
    stand_in.oci.gone()
}

fn undone(host: &Host) -> Result<()> {
    let stand_in = StandIn::new(host)?;
    let hook = json!({"createRuntime": [{"path": "/bin/false"}]});
    for (rdt, more, says) in [
        (json!({"closID": "../x"}), vec![], "linux.intelRdt.closID"),
        (json!({"closID": "info"}), vec![], "resctrl's own"),
        (json!({"closID": "missing"}), vec![], "there is no class"),
        (json!({"closID": "guaranteed", "l3CacheSchema": "L3:0=f"}), vec![], "L3:0=7f0"),
        // These are made, lack what the kernel would have put into them, and go again.
        (json!({}), vec![], "resctrl/web/tasks"),
        (json!({"closID": "missing", "schemata": ["L3:0=f"]}), vec![], "resctrl/missing/schemata"),
        (json!({"closID": "guaranteed", "enableMonitoring": true}), vec![], "mon_groups/web/tasks"),
        (json!({"closID": "guaranteed"}), vec![("/hooks", hook)], "createRuntime hook"),
        (json!({"closID": "guaranteed"}), vec![("/process/args", json!(["nothing"]))], "nothing"),
    ] {
        stand_in.configured(&rdt, &more)?;
        stand_in.create()?.fails_with(1)?;
        let said = stand_in.oci.out("err")?;
        ensure!(said.contains(says), "{rdt}: {said}");
        stand_in.oci.gone()?;
        ensure!(stand_in.groups()? == AT_FIRST, "{rdt}: {:?}", stand_in.groups()?);
    }
    Ok(())
}

/// The class's `tasks` is a pipe here: whoever opens it waits for its reader, and that is when the test puts into the
/// monitoring group, which is made by then, what the kernel would have.
fn monitored(host: &Host) -> Result<()> {
    let stand_in = StandIn::new(host)?;
    let (tasks, monitor) =
        (stand_in.tree.join("guaranteed/tasks"), stand_in.tree.join("guaranteed/mon_groups/web"));
    std::fs::remove_file(&tasks)?;
    nix::unistd::mkfifo(&tasks, nix::sys::stat::Mode::S_IRWXU)?;
    stand_in.configured(&json!({"closID": "guaranteed", "enableMonitoring": true}), &[])?;
    let begin = || {
        let create = stand_in.start_create()?;
        wait_for("the monitoring group", || {
            ensure!(monitor.is_dir(), "{:?}", stand_in.oci.out("err"));
            Ok(())
        })?;
        Ok::<_, anyhow::Error>(create)
    };
    let killed = begin()?;
    killed.signal(nix::sys::signal::Signal::SIGKILL)?;
    killed.wait()?;
    stand_in.oci("delete --force web")?.ok()?;
    ensure!(stand_in.groups()? == AT_FIRST, "after a killed create: {:?}", stand_in.groups()?);
    let create = begin()?;
    std::fs::write(monitor.join("tasks"), "")?;
    let mut class =
        std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&tasks)?;
    create.wait()?.ok()?;
    let mut joined = || -> Result<(String, String)> {
        let mut byte = [0; 8];
        let count = class.read(&mut byte)?;
        Ok((
            String::from_utf8_lossy(&byte[..count]).into_owned(),
            std::fs::read_to_string(monitor.join("tasks"))?,
        ))
    };
    let both = ("0".to_owned(), "0".to_owned());
    ensure!(joined()? == both, "the container is not in both groups");
    stand_in.oci("start web")?.ok()?;
    std::fs::write(monitor.join("tasks"), "")?;
    stand_in.oci("exec web true")?.ok()?;
    ensure!(joined()? == both, "what is executed is not in both groups");
    // The kernel removes it with what is in it.
    std::fs::remove_file(monitor.join("tasks"))?;
    stand_in.oci("delete --force web")?.ok()?;
    ensure!(stand_in.groups()? == AT_FIRST, "{:?}", stand_in.groups()?);
    stand_in.oci.gone()
}

/// Where the machine's resctrl is.
fn resctrl() -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = fields.find(|fields| fields.get(2) == Some(&"resctrl")).context("no resctrl")?;
    Ok(PathBuf::from(found[1]))
}

/// The first line of the default class's schemata, and the field that has such a line.
fn schema(root: &Path) -> Result<(String, &'static str)> {
    let text = std::fs::read_to_string(root.join("schemata"))?;
    let line = text.lines().next().context("the default class has no schemata")?.trim().to_owned();
    let field = if line.starts_with("MB:") { "memBwSchema" } else { "l3CacheSchema" };
    Ok((line, field))
}

fn in_resctrl(host: &Host) -> Result<()> {
    let root = resctrl()?;
    let class = format!("podrun-test-{}", std::process::id());
    let tested = classes(&Oci::new(host)?, &root, &class);
    // It outlives its containers, by the specification.
    let removed = std::fs::remove_dir(root.join(&class));
    tested.and_then(|()| Ok(removed?))
}

fn classes(oci: &Oci<'_>, root: &Path, class: &str) -> Result<()> {
    let monitored = root.join("mon_groups").exists();
    let (line, field) = schema(root)?;
    let none = json!({"closID": class});
    oci.config(&["true"], &[("/linux/intelRdt", none)])?;
    oci.create("")?.fails_with(1)?;
    ensure!(oci.out("err")?.contains("there is no class"), "{}", oci.out("err")?);
    for (rdt, directory, stays) in [
        (json!({}), root.join("web"), false),
        (json!({"closID": class, "schemata": [line]}), root.join(class), true),
        (json!({"closID": class, field: line}), root.join(class), true),
        (json!({"closID": class}), root.join(class), true),
        (json!({"closID": "/"}), root.to_owned(), true),
    ] {
        for monitored in [false, monitored] {
            let mut rdt = rdt.clone();
            rdt["enableMonitoring"] = json!(monitored);
            let monitor = directory.join("mon_groups/web");
            let group = if monitored { &monitor } else { &directory };
            comes_and_goes(oci, &rdt, group).with_context(|| rdt.to_string())?;
            ensure!(directory.exists() == stays && !monitor.exists(), "{rdt}: {directory:?}");
        }
    }
    Ok(())
}

/// A container of the config is in `group`, and so is what is executed in it.
fn comes_and_goes(oci: &Oci<'_>, rdt: &Value, group: &Path) -> Result<()> {
    oci.config(&["sleep", "1000"], &[("/linux/intelRdt", rdt.clone())])?;
    oci.create("")?.ok().with_context(|| oci.out("err").unwrap_or_default())?;
    let is_in_group = |pid: String| {
        // From inside: it shows processes by the numbers of the reader's pid namespace.
        let seen = oci.host.script(&format!("cat {}/tasks", group.display()))?.ok()?;
        ensure!(seen.lines().any(|line| line == pid), "{pid} is not among {seen}");
        Ok(())
    };
    is_in_group(oci.out("pid")?)?;
    oci.oci(&["start", "web"])?.ok()?;
    let file = oci.bundle.join("exec").display().to_string();
    oci.oci(&["exec", "--detach", "--pid-file", &file, "web", "sleep", "1000"])?.ok()?;
    is_in_group(oci.out("exec")?)?;
    let stats: Value = serde_json::from_str(&oci.oci(&["events", "--stats", "web"])?.ok()?)?;
    ensure!(stats["data"]["intel_rdt"].as_object().is_some_and(|shown| !shown.is_empty()), "{stats:#}");
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()
}
