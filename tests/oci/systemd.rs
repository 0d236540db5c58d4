//! Cgroups that systemd makes: in the machine's own namespaces, since a test's host has no systemd.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;
use support::suite::Suite;

use super::Oci;

/// The slice of these tests, and where it lies: in another, by its name.
const SLICE: &str = "podruntest-deep.slice";
const PLACE: &str = "podruntest.slice/podruntest-deep.slice";

pub(super) fn add(suite: &mut Suite) {
    suite.on_host(
        "oci systemd's cgroups are refused where systemd is not the init",
        &["busybox"],
        no_systemd,
    );
    suite.on_systemd("oci systemd makes a container's cgroup and keeps its limits", &["busybox"], life);
    suite.on_systemd("oci a create that fails leaves no unit of systemd's", &["busybox"], failures);
}

fn no_systemd(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["true"], &[("/linux/cgroupsPath", json!("a.slice:b:c"))])?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    for flags in [&["--systemd-cgroup"][..], &["--cgroup-manager", "systemd"]] {
        let line = [flags, &["run", "--bundle", &bundle, "web"]].concat();
        let said = oci.oci(&line)?.fails_with(1)?;
        ensure!(said.contains("systemd is not this host's init") && said.contains("cgroupfs"), "{said}");
    }
    oci.config(&["true"], &[("/linux/cgroupsPath", json!("/a/b"))])?;
    let said = oci.oci(&["--systemd-cgroup", "run", "--bundle", &bundle, "web"])?.fails_with(1)?;
    ensure!(said.contains("slice:prefix:name"), "{said}");
    oci.gone()
}

/// A host's front, called in the machine's own namespaces.
struct Outside<'a> {
    oci: Oci<'a>,
    unit: String,
}

impl<'a> Outside<'a> {
    fn new(host: &'a Host) -> Result<Self> {
        let name = host.cgroup_parent().trim_start_matches('/').to_owned();
        Ok(Self { oci: Oci::new(host)?, unit: format!("t-{name}.scope") })
    }

    fn config(&self, args: &[&str]) -> Result<()> {
        let resources = json!({
            "memory": {"limit": 64 << 20}, "pids": {"limit": 20},
            "cpu": {"shares": 512, "quota": 50000, "period": 100_000, "cpus": "0"},
            "devices": [{"allow": false, "access": "rwm"}], "unified": {"memory.high": "48M"},
        });
        let path = format!("{SLICE}:t:{}", self.unit.trim_start_matches("t-").trim_end_matches(".scope"));
        self.oci.config(args, &[("/linux/cgroupsPath", json!(path)), ("/linux/resources", resources)])
    }

    /// A script in which `$oci` is podrun's front with systemd's cgroups, and `$unit`, `$cgroup` are the container's.
    fn script(&self, script: &str) -> Result<String> {
        let (root, bundle, unit) = (self.oci.root(), self.oci.bundle.display(), &self.unit);
        self.oci
            .host
            .outside(&format!(
                "oci() {{ \"$podrun\" oci --root {root} --systemd-cgroup \"$@\"; }}
                bundle={bundle} unit={unit} cgroup=/sys/fs/cgroup/{PLACE}/{unit}
                {script}"
            ))?
            .ok()
    }

    /// Changes the config at a JSON pointer.
    fn change(&self, pointer: &str, value: &Value) -> Result<()> {
        let file = self.oci.bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        *spec.pointer_mut(pointer).with_context(|| format!("no {pointer}"))? = value.clone();
        Ok(std::fs::write(file, spec.to_string())?)
    }

    fn ensure(&self, script: &str, expected: &str) -> Result<()> {
        let said = self.script(script)?;
        ensure!(said.trim_end() == expected, "`{script}`: {said:?}, not {expected:?}");
        Ok(())
    }

    fn ensure_gone(&self) -> Result<()> {
        wait_for("systemd has forgotten the unit", || {
            self.ensure("systemctl show -P LoadState $unit; ls -d $cgroup 2>/dev/null || :", "not-found")
        })
    }
}

fn life(host: &Host) -> Result<()> {
    let outside = Outside::new(host)?;
    outside.config(&["sleep", "1000"])?;
    outside.script("oci create --bundle $bundle --pid-file $bundle/pid web >$bundle/out 2>&1 </dev/null")?;
    // The process with which the scope began has gone.
    outside.ensure("[ \"$(cat $cgroup/cgroup.procs)\" = \"$(cat $bundle/pid)\" ] && echo alone", "alone")?;
    let properties = "for name in Slice Delegate MemoryMax TasksMax CPUWeight CPUQuotaPerSecUSec AllowedCPUs; do \
                      systemctl show -P $name $unit; done | paste -sd' '";
    outside.ensure(properties, &format!("{SLICE} yes {} 20 59 500ms 0", 64 << 20))?;
    let files = "cd $cgroup; cat memory.max pids.max cpu.weight cpu.max cpuset.cpus | paste -sd' '";
    let limits = format!("{} 20 59 50000 100000 0", 64 << 20);
    outside.ensure(files, &limits)?;
    outside.script("oci start web; systemctl daemon-reload")?;
    outside.ensure(files, &limits)?;
    outside.ensure("oci exec web cat /proc/self/cgroup", "0::/")?;
    outside.script("oci update --memory 33554432 --pids-limit 30 web")?;
    // What another property's change sets anew is what it was.
    outside.ensure(
        "systemctl show -P MemoryMax $unit; systemctl show -P TasksMax $unit; cd $cgroup; cat memory.max pids.max memory.high",
        &format!("33554432\n30\n33554432\n30\n{}", 48 << 20),
    )?;
    outside.ensure(
        "oci pause web; cat $cgroup/cgroup.freeze; oci resume web; cat $cgroup/cgroup.freeze",
        "1\n0",
    )?;
    // Another one of the same name is systemd's to refuse.
    let said = outside.script("oci run --bundle $bundle other 2>&1 || echo code $?")?;
    ensure!(said.contains("already") && said.contains("code 1"), "{said}");
    outside.script("oci kill web KILL; oci delete --force web")?;
    outside.ensure_gone()?;
    // Where the last process ends by itself, systemd is the first to see it.
    outside.config(&["true"])?;
    outside.script("oci run --bundle $bundle web")?;
    outside.ensure_gone()?;
    // Without a path it has a name by its id.
    outside.oci.config(&["cat", "/proc/self/cgroup"], &[("/linux/cgroupsPath", json!(""))])?;
    let own = ["mount", "pid", "uts", "ipc", "network"];
    let namespaces = json!(own.map(|kind| json!({"type": kind})));
    outside.change("/linux/namespaces", &namespaces)?;
    let id = outside.unit.trim_end_matches(".scope");
    outside
        .ensure(&format!("oci run --bundle $bundle {id}"), &format!("0::/system.slice/podrun-{id}.scope"))?;
    outside.script("systemctl stop podruntest.slice").map(drop)
}

fn failures(host: &Host) -> Result<()> {
    let outside = Outside::new(host)?;
    outside.config(&["nothing-here"])?;
    let said = outside.script("oci run --bundle $bundle web 2>&1 || echo code $?")?;
    ensure!(said.contains("nothing-here") && said.contains("code 1"), "{said}");
    outside.ensure_gone()?;
    ensure!(outside.script("oci list --quiet")?.is_empty());
    outside.config(&["sleep", "1000"])?;
    outside.change("/linux/cgroupsPath", &json!(format!("../../{SLICE}:t:x")))?;
    let said = outside.script("oci run --bundle $bundle web 2>&1 || echo code $?")?;
    ensure!(said.contains("no name of a slice"), "{said}");
    Ok(())
}
