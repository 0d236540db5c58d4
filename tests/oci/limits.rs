//! Limits, the flags that set them, and cgroups that stand still: what `create` makes, `update` changes and `delete` waits for.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::host::Host;
use support::suite::Suite;

use super::Oci;

pub(super) fn add(suite: &mut Suite) {
    suite.on_host("oci switches and dashes are read as Go's package flag reads them", &["busybox"], flags);
    suite.on_host(
        "oci an update may send the device rules along that the container has",
        &["busybox"],
        same_rules,
    );
    // A hierarchy of v1 that is there already: a new one would be seen by all.
    suite.on_host_with_controller(
        "oci a host is what lies at /sys/fs/cgroup, whatever hierarchy is mounted elsewhere",
        "freezer",
        &["busybox"],
        layout,
    );
    suite.on_host("oci settings go to the namespaces that are the container's own", &["busybox"], settings);
    suite.on_host("oci nothing is put into a cgroup that stands still", &["busybox"], joins_nothing_frozen);
    suite.on_host_with_controller(
        "oci delete tells what keeps a killed container, and goes on when that lets it go",
        "freezer",
        &["busybox"],
        deletes_within_a_time,
    );
    for (name, controller, test) in [
        (
            "oci an update takes runc's sizes and is judged with the limits in force",
            "memory",
            memory as fn(&Host) -> Result<()>,
        ),
        ("oci an update of quota and period fits below the parent's at every step", "cpu", cpu),
        ("oci a share of realtime scheduling is given by what podrun has made above", "cpu", realtime),
        ("oci a limit of no processes holds, and an absent one is none", "pids", processes),
        ("oci a weight of block I/O is written for the scheduler that there is", "io", weight),
    ] {
        suite.on_host_with_controller(name, controller, &["busybox"], test);
    }
}

/// What the container's cgroup has in the first of `files` that is there, each the name that one version gives it.
fn limit(host: &Host, files: &[&str]) -> Result<String> {
    let folders: Vec<PathBuf> = host.cgroup_folders()?.into_iter().map(|folder| folder.join("c")).collect();
    let all = files.iter().flat_map(|file| folders.iter().map(move |folder| folder.join(file)));
    let text = all.flat_map(std::fs::read_to_string).next();
    Ok(text.with_context(|| format!("no cgroup has any of {files:?}"))?.trim().to_owned())
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
const MIB: i64 = 1 << 20;

fn created<'a>(host: &'a Host, resources: &Value) -> Result<Oci<'a>> {
    let oci = Oci::new(host)?;
    oci.config(&["sleep", "1000"], &[("/linux/resources", resources.clone())])?;
    let said = || std::fs::read_to_string(oci.bundle.join("err")).unwrap_or_default();
    oci.create("")?.ok().with_context(said)?;
    Ok(oci)
}

fn flags(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["sh", "-c", "exit 7"], &[])?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    let run = |flags: &[&str]| oci.oci(&[&["run"], flags, &["web"]].concat());
    run(&["-bundle", &bundle, "--detach=false", "-keep=F"])?.fails_with(7)?;
    run(&["--bundle", "/nowhere", &format!("-bundle={bundle}"), "-d", "-detach=0"])?.fails_with(7)?;
    oci.gone()?;
    oci.config(&["sleep", "1000"], &[])?;
    // The container keeps the streams.
    let root = oci.root();
    host.script(&format!("exec \"$podrun\" oci -root {root} run -bundle {bundle} -detach web >out 2>&1"))?
        .ok()?;
    oci.oci(&["exec", "-tty=false", "-cwd", "/tmp", "web", "sh", "-c", "test $PWD = /tmp"])?.ok()?;
    let said = oci.oci(&["exec", "--no-new-privs=1", "web", "echo", "-tty=false"])?.ok()?;
    ensure!(said == "-tty=false\n", "the program's own words were read: {said}");
    ensure!(oci.oci(&["list", "-quiet=false"])?.ok()?.contains("BUNDLE"));
    let said = oci.oci(&["delete", "--force=maybe", "web"])?.fails_with(1)?;
    ensure!(said.contains("maybe") && said.contains("--force"), "{said}");
    ensure!(oci.oci(&["delete", "-force=false", "web"])?.fails_with(1)?.contains("running"));
    oci.oci(&["delete", "web", "-force"])?.ok()?;
    oci.gone()
}

fn memory(host: &Host) -> Result<()> {
    let oci = created(host, &json!({"memory": {"limit": 64 * MIB, "swap": 128 * MIB}}))?;
    let update = |flags: &[&str]| oci.oci(&[&["update"], flags, &["web"]].concat());
    // Memory, and swap as cgroup v2 counts it: where the kernel counts none, there is none to look at.
    let in_force = |memory: &str, both: Option<i64>| -> Result<()> {
        let found = limit(host, &MEMORY)?;
        ensure!(found == memory, "memory: {found}, not {memory}");
        let Some(both) = both else { return Ok(()) };
        if let Ok(found) = limit(host, &["memory.memsw.limit_in_bytes"]) {
            ensure!(found == both.to_string(), "memory and swap: {found}, not {both}");
        }
        if let Ok(found) = limit(host, &["memory.swap.max"]) {
            let swap = both - memory.parse::<i64>()?;
            ensure!(found == swap.to_string(), "swap: {found}, not {swap}");
        }
        Ok(())
    };
    let bytes = |mib: i64| (mib * MIB).to_string();
    update(&["--memory", "100M"])?.ok()?;
    in_force(&bytes(100), Some(128 * MIB))?;
    update(&["-memory-swap", "0.25GiB"])?.ok()?;
    in_force(&bytes(100), Some(256 * MIB))?;
    update(&["--memory=300m", "--memory-swap=300mb", "--memory-reservation", "1k"])?.ok()?;
    in_force(&bytes(300), Some(300 * MIB))?;
    for (flags, says) in [
        (&["--memory-swap", "1M"][..], "must be at least memory.limit"),
        (&["--memory", "1X"], "`1X` is no size"),
        (&["--memory", "301M"], "change both at once"),
    ] {
        // On cgroup v2 a container without swap stays so.
        if says == "change both at once" && limit(host, &["memory.memsw.limit_in_bytes"]).is_err() {
            update(&["--memory", "301M"])?.ok()?;
            in_force(&bytes(301), Some(301 * MIB))?;
            update(&["--memory", "300M"])?.ok()?;
            continue;
        }
        let said = update(flags)?.fails_with(1)?;
        ensure!(said.contains(says), "{flags:?}: {said}");
        in_force(&bytes(300), Some(300 * MIB))?;
    }
    update(&["--memory", "", "--kernel-memory", "1M"])?.ok()?;
    in_force(&bytes(300), Some(300 * MIB))?;
    let file =
        host.write("resources", &json!({"memory": {"limit": 50 * MIB, "swap": 80 * MIB}}).to_string())?;
    let ignored = update(&["-r", &file.to_string_lossy(), "--memory", "1G"])?;
    ensure!(ignored.code() == 0 && ignored.stderr.contains("ignored"), "{ignored}");
    in_force(&bytes(50), Some(80 * MIB))?;
    update(&["--memory", "-1"])?.ok()?;
    ensure!(update(&["--memory-swap", "80M"])?.fails_with(1)?.contains("memory has no limit"));
    let json = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}).to_string();
    let update =
        host.podrun_with_stdin(&["oci", "--root", &oci.root(), "update", "-r", "-", "web"], json.as_bytes())?;
    ensure!(update.fails_with(1)?.contains("in use"));
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

/// A cgroup of somebody else's, in which the container's is to be; it goes with this.
struct Outer(Vec<PathBuf>);

impl Outer {
    fn new(host: &Host) -> Result<Self> {
        let mut outer = Self(Vec::new());
        for folder in host.cgroup_folders()? {
            std::fs::create_dir(&folder)?;
            outer.0.push(folder);
        }
        Ok(outer)
    }

    /// Its directory with `file`.
    fn with(&self, file: &str) -> Option<&PathBuf> {
        self.0.iter().find(|folder| folder.join(file).exists())
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        self.0.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

fn cpu(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let outer = Outer::new(host)?;
    let outer = outer.with("cpu.cfs_quota_us");
    if let Some(outer) = outer {
        std::fs::write(outer.join("cpu.cfs_quota_us"), "50000")?;
    }
    let resources = json!({"cpu": {"quota": 20_000, "period": 100_000}});
    oci.config(&["sleep", "1000"], &[("/linux/resources", resources)])?;
    oci.create("")?.ok()?;
    let update = |flags: &[&str], expected: &str| -> Result<()> {
        oci.oci(&[&["update"], flags, &["web"]].concat())?.ok()?;
        let found = match limit(host, &["cpu.cfs_quota_us"]) {
            Ok(quota) => format!("{quota} {}", limit(host, &["cpu.cfs_period_us"])?),
            Err(_) => limit(host, &["cpu.max"])?,
        };
        ensure!(found == expected, "{flags:?}: {found}");
        Ok(())
    };
    // The old quota of the new period would be more than the parent's half; and the other way round.
    update(&["--cpu-period", "20000", "--cpu-quota", "8000"], "8000 20000")?;
    update(&["--cpu-period", "100000", "--cpu-quota", "40000"], "40000 100000")?;
    update(&["--cpu-period", "90000"], "40000 90000")?;
    update(&["--cpu-quota", "30000", "--cpu-burst", "10000"], "30000 90000")?;
    update(&["--cpu-period", "0", "--cpu-quota", "0"], "30000 90000")?;
    if outer.is_some() {
        let said = oci.oci(&["update", "--cpu-quota", "60000", "web"])?.fails_with(1)?;
        ensure!(said.contains("cpu.cfs_quota_us"), "{said}");
    }
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

fn realtime(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let share = json!({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}});
    let path = |below: &str| json!(format!("{}/{below}", host.cgroup_parent()));
    // Two new ones above, which have nothing.
    oci.config(
        &["sleep", "1000"],
        &[("/linux/resources", share.clone()), ("/linux/cgroupsPath", path("c/x/y"))],
    )?;
    let made = oci.create("")?;
    let said = std::fs::read_to_string(oci.bundle.join("err"))?;
    if said.contains("this kernel has no such limit") || said.contains("cgroup v2 has no such setting") {
        return Ok(()); // CONFIG_RT_GROUP_SCHED
    }
    made.ok().context(said)?;
    ensure!(
        limit(host, &["x/y/cpu.rt_runtime_us"])? == "1000" && limit(host, &["cpu.rt_runtime_us"])? == "2000"
    );
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    // One of another's gives what it has, and is not given more.
    let outer = Outer::new(host)?;
    let outer = outer.with("cpu.rt_runtime_us").context("the share was given in cgroup v1")?;
    oci.config(&["sleep", "1000"], &[("/linux/resources", share)])?;
    oci.create("")?.fails_with(1)?;
    let said = std::fs::read_to_string(oci.bundle.join("err"))?;
    ensure!(said.contains("cpu.rt_runtime_us of each above"), "{said}");
    ensure!(std::fs::read_to_string(outer.join("cpu.rt_runtime_us"))?.trim() == "0");
    oci.gone()
}

fn processes(host: &Host) -> Result<()> {
    for (pids, expected, code) in [
        (json!({"limit": 0}), "1", 2),
        (json!({"limit": -1}), "max", 0),
        (json!({}), "max", 0),
        (json!({"limit": 20}), "20", 0),
    ] {
        let oci = created(host, &json!({"pids": pids}))?;
        ensure!(limit(host, &["pids.max"])? == expected, "{pids}: {}", limit(host, &["pids.max"])?);
        oci.oci(&["delete", "--force", "web"])?.ok()?;
        oci.config(&["sh", "-c", "/bin/true & wait"], &[("/linux/resources", json!({"pids": pids}))])?;
        let bundle = oci.bundle.to_string_lossy().into_owned();
        let ran = oci.oci(&["run", "--bundle", &bundle, "web"])?;
        ensure!(ran.code() == code, "{pids}: {ran}");
        std::fs::remove_dir_all(oci.bundle)?;
    }
    let oci = created(host, &json!({"pids": {"limit": 20}}))?;
    oci.oci(&["update", "--pids-limit", "30", "web"])?.ok()?;
    oci.oci(&["update", "--cpu-share", "512", "web"])?.ok()?;
    ensure!(limit(host, &["pids.max"])? == "30");
    oci.oci(&["update", "--pids-limit", "0", "web"])?.ok()?;
    ensure!(limit(host, &["pids.max"])? == "1");
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

fn weight(host: &Host) -> Result<()> {
    const FILES: [&str; 4] = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
    let oci = Oci::new(host)?;
    oci.config(&["sleep", "1000"], &[("/linux/resources", json!({"blockIO": {"weight": 300}}))])?;
    let made = oci.create("")?;
    let said = std::fs::read_to_string(oci.bundle.join("err"))?;
    if said.contains("this kernel has no such limit") {
        return Ok(()); // CONFIG_BFQ_GROUP_IOSCHED
    }
    made.ok().context(said)?;
    let found = limit(host, &FILES)?;
    ensure!(["300", "default 300", "default 2930"].iter().any(|weight| found.starts_with(weight)), "{found}");
    oci.oci(&["update", "--blkio-weight", "500", "web"])?.ok()?;
    ensure!(limit(host, &FILES)? != found);
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    Ok(())
}

/// Tells every freezer of these directories, of either version, to hold what is in it or to let it go.
fn freeze(folders: &[PathBuf], hold: bool) -> Result<()> {
    let words = if hold { ["1", "FROZEN"] } else { ["0", "THAWED"] };
    for folder in folders {
        for (file, word) in ["cgroup.freeze", "freezer.state"].into_iter().zip(words) {
            let file = folder.join(file);
            if file.exists() {
                std::fs::write(file, word)?;
            }
        }
    }
    Ok(())
}

fn joins_nothing_frozen(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let outer = Outer::new(host)?;
    oci.config(&["sleep", "1000"], &[])?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    for one in outer
        .0
        .iter()
        .filter(|one| ["cgroup.freeze", "freezer.state"].iter().any(|file| one.join(file).exists()))
    {
        freeze(std::slice::from_ref(one), true)?;
        let said = oci.oci(&["run", "--bundle", &bundle, "web"])?.fails_with(1)?;
        let folder = one.to_string_lossy();
        ensure!(
            said.contains(&format!("below {folder}, which is frozen")) && said.contains("hint: `echo"),
            "{said}"
        );
        freeze(std::slice::from_ref(one), false)?;
        oci.gone()?;
    }
    oci.create("")?.ok()?;
    oci.oci(&["start", "web"])?.ok()?;
    // A part of it alone; and all of it, by one above.
    let parts: Vec<PathBuf> = outer.0.iter().map(|one| one.join("c/part")).collect();
    parts.iter().try_for_each(std::fs::create_dir)?;
    freeze(&parts, true)?;
    // A new cpuset takes nobody: where there is one, the part is the freezer's alone.
    let v1 = parts.iter().any(|part| part.join("freezer.state").exists());
    let part = if v1 { "freezer:part" } else { "part" };
    let said = oci.oci(&["exec", "--cgroup", part, "web", "true"])?.fails_with(255)?;
    ensure!(said.contains("c/part, which is frozen"), "{said}");
    freeze(&parts, false)?;
    oci.oci(&["exec", "--cgroup", part, "web", "true"])?.ok()?;
    freeze(&outer.0, true)?;
    oci.wait_for("paused")?;
    ensure!(oci.oci(&["exec", "web", "true"])?.fails_with(255)?.contains("paused"));
    freeze(&outer.0, false)?;
    // What another has frozen of its own goes on by resume, and ends by delete.
    let own: Vec<PathBuf> = outer.0.iter().map(|one| one.join("c")).collect();
    freeze(&own, true)?;
    oci.wait_for("paused")?;
    oci.oci(&["resume", "web"])?.ok()?;
    oci.wait_for("running")?;
    freeze(&own, true)?;
    oci.oci(&["kill", "web", "KILL"])?.ok()?;
    oci.wait_for("stopped")?;
    oci.oci(&["delete", "web"])?.ok()?;
    oci.create("")?.ok()?;
    freeze(&own, true)?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()
}

fn deletes_within_a_time(host: &Host) -> Result<()> {
    let oci = created(host, &json!({}))?;
    oci.oci(&["start", "web"])?.ok()?;
    let pid = oci.state()?["pid"].to_string();
    let folders = host.cgroup_folders()?;
    let strange = folders.iter().find(|folder| folder.join("c/freezer.state").exists());
    let strange = strange.context("this is cgroup v1's freezer")?.join("strange");
    std::fs::create_dir(&strange)?;
    // By its number on this host, which is another on the machine.
    host.script(&format!("echo {pid} >{}/cgroup.procs", strange.display()))?.ok()?;
    freeze(std::slice::from_ref(&strange), true)?;
    let said = oci.oci(&["delete", "--force", "web"])?.fails_with(1)?;
    let held = format!("does not end: it is in the frozen cgroup {}", strange.display());
    ensure!(said.contains(&held) && said.contains("THAWED"), "{said}");
    // Its lock is free, and it is not forgotten.
    ensure!(oci.state()?["id"] == "web");
    freeze(std::slice::from_ref(&strange), false)?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    // The one above could not go with the container.
    strange.ancestors().take(2).try_for_each(std::fs::remove_dir)?;
    oci.gone()
}

fn layout(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["true"], &[])?;
    let script = format!(
        "mkdir elsewhere
        unshare --mount --propagation private sh -euc '
            umount -l /sys/fs/cgroup
            mount -t cgroup2 none /sys/fs/cgroup
            mount -t cgroup -o freezer none elsewhere
            \"$podrun\" oci features
            \"$podrun\" oci --root {} run --bundle {} web >&2 </dev/null'",
        oci.root(),
        oci.bundle.display()
    );
    let features: Value = serde_json::from_str(&host.script(&script)?.ok()?)?;
    let cgroup = &features["linux"]["cgroup"];
    ensure!(cgroup["v1"] == false && cgroup["v2"] == true, "{cgroup}");
    oci.gone()
}

fn settings(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    let run = |name: &str, value: &str, kinds: &[&str]| {
        let namespaces = kinds.iter().chain(&["mount"]).map(|kind| json!({"type": kind})).collect::<Vec<_>>();
        let mut changes =
            vec![("/linux/sysctl", json!({name: value})), ("/linux/namespaces", json!(namespaces))];
        if kinds.contains(&"user") {
            let ids = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            changes.extend([("/linux/uidMappings", ids.clone()), ("/linux/gidMappings", ids)]);
        }
        if !kinds.contains(&"uts") {
            changes.push(("/hostname", json!("")));
        }
        let file = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
        oci.config(&["sh", "-c", &format!("cat /proc/sys/{file}")], &changes)?;
        oci.oci(&["run", "--bundle", &bundle, "web"])
    };
    let mut good = vec![
        ("user.max_net_namespaces", "7", "user"),
        ("user/max_inotify_watches", "9", "user"),
        ("kernel.auto_msgmni", "0", "ipc"),
        ("kernel/sem", "250\t32000\t32\t7", "ipc"),
        ("kernel.domainname", "example", "uts"),
        ("net/ipv4/conf/lo/forwarding", "1", "network"),
        ("net.ipv4.conf.lo.forwarding", "1", "network"),
    ];
    if Path::new("/proc/sys/kernel/ns_last_pid").exists() {
        good.push(("kernel.ns_last_pid", "70", "pid"));
    }
    for (name, value, kind) in &good {
        let ran = run(name, value, &["network", "uts", "ipc", "pid", "user"])?;
        // The kernel says of the last pid what it is by now.
        let same = ran.stdout.trim() == *value || name.ends_with("last_pid");
        ensure!(ran.code() == 0 && same, "{name}: {ran}");
        let others: Vec<&str> =
            ["network", "uts", "ipc", "pid", "user"].into_iter().filter(|other| other != kind).collect();
        let said = run(name, value, &others)?.fails_with(1)?;
        let short = if *kind == "network" { "net" } else { kind };
        ensure!(said.contains(&format!("no {short} namespace of its own")), "{name}: {said}");
    }
    for name in ["kernel.core_pattern", "kernel.threads-max", "user", "fs.file-max"] {
        let said = run(name, "1", &["network", "uts", "ipc", "pid", "user"])?.fails_with(1)?;
        ensure!(said.contains("is the host's"), "{name}: {said}");
    }
    oci.gone()
}

/// containerd sends all of `linux.resources`, whatever has changed.
fn same_rules(host: &Host) -> Result<()> {
    let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}]);
    let oci = created(host, &json!({"devices": rules}))?;
    let update = |rules: &Value| -> Result<support::run::Outcome> {
        let file = host.write("resources", &json!({"devices": rules}).to_string())?;
        oci.oci(&["update", "--resources", &file.to_string_lossy(), "web"])
    };
    update(&rules)?.ok()?;
    let own = update(&rules)?;
    ensure!(own.code() == 0 && own.stderr.is_empty(), "{own}");
    let others = update(&json!([{"allow": false, "access": "rwm"}]))?;
    ensure!(others.code() == 0 && others.stderr.contains("linux.resources.devices: the rules"), "{others}");
    oci.oci(&["start", "web"])?.ok()?;
    oci.oci(&["exec", "web", "sh", "-c", "echo x >/dev/null"])?.ok()?;
    oci.oci(&["delete", "--force", "web"])?.ok()?;
    oci.gone()
}
