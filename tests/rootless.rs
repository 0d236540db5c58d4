//! The OCI front of a plain user: containers in a user namespace, with no right to a cgroup or to anything else of the
//! host's.
//!
//! Invariant: the user and their subordinate ids are of this test's own /etc, which is mounted over the host's in the
//! mount namespace of each command alone.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::fixtures;
use support::host::Host;
use support::run::Outcome;
use support::suite::Suite;

use crate::oci::{Oci, received};
use crate::security::StandIn;

/// The test's user, whose group has the same number, and the first of the subordinate ids.
const USER: u32 = 4_201;
const FIRST_UID: u32 = 7_000_000;
const FIRST_GID: u32 = 8_000_000;
/// A group of the host's that the user is in.
const FOREIGN: u32 = 4_444;

pub(crate) fn add(suite: &mut Suite) {
    for (name, test) in [
        ("rootless a container goes from created to deleted", life as fn(&Host) -> Result<()>),
        ("rootless run passes the exit code on and leaves nothing", run),
        ("rootless hooks run on the host and in the container", hooks),
        ("rootless what needs rights that the user lacks is refused by name", refused),
        ("rootless CVE-2014-8989 a group that denies something cannot be dropped", groups),
        ("rootless CVE-2023-25809 no cgroup of the host's can be written to", cgroups),
        ("rootless devices, streams and masks are read-only, and terminals its own", devices),
        ("rootless a listed device is the host's wherever that is, or refused by name", listed_devices),
    ] {
        suite.on_host(name, &["busybox"], test);
    }
    suite.on_host_with_tool_and_images(
        "rootless subordinate ids are mapped, for exec too",
        "uidmap/newuidmap",
        &["busybox"],
        subordinate,
    );
}

/// A plain user of a host, with a home and a bundle.
struct User<'a> {
    host: &'a Host,
    home: PathBuf,
}

impl<'a> User<'a> {
    fn new(host: &'a Host) -> Result<Self> {
        let oci = Oci::new(host)?;
        let home = host.file("home");
        let etc = host.file("etc");
        std::fs::create_dir_all(home.join("run"))?;
        std::fs::rename(&oci.bundle, home.join("bundle"))?;
        let script = format!(
            "cp -a /etc {etc}
            echo 'plain:x:{USER}:{USER}::/:/bin/sh' >>{etc}/passwd
            echo 'plain:{FIRST_UID}:65536' >{etc}/subuid
            echo 'plain:{FIRST_GID}:65536' >{etc}/subgid
            chown -R {USER}:{USER} {home}",
            etc = etc.display(),
            home = home.display(),
        );
        host.script(&script)?.ok()?;
        // Whoever unpacked them owns them, and the right that they give is of their owner.
        if let Some(tool) = fixtures::tool("uidmap/newuidmap") {
            let install = "install -D --owner=0 --group=0 --mode=4755 --target-directory";
            let (bin, tools) = (host.file("setuid"), tool.with_file_name("new*map"));
            host.script(&format!("{install} {} {}", bin.display(), tools.display()))?.ok()?;
        }
        Ok(Self { host, home })
    }

    /// Runs a line of the shell's as the user, in the bundle; `$podrun` is podrun.
    fn sh(&self, line: &str) -> Result<Outcome> {
        self.sh_in_groups("--clear-groups", line)
    }

    fn sh_in_groups(&self, groups: &str, line: &str) -> Result<Outcome> {
        std::fs::write(self.host.file("line"), line)?;
        self.host.script(&format!(
            "export PATH={tools}:$PATH XDG_RUNTIME_DIR={home}/run
            exec unshare --mount bash -euc 'mount --bind {etc} /etc; cd {home}/bundle
                exec setpriv --reuid {USER} --regid {USER} {groups} bash -eu {line}'",
            tools = self.host.file("setuid").display(),
            home = self.home.display(),
            etc = self.host.file("etc").display(),
            line = self.host.file("line").display(),
        ))
    }

    fn oci(&self, arguments: &str) -> Result<Outcome> {
        self.sh(&format!("exec \"$podrun\" oci {arguments}"))
    }

    /// Writes the config that `spec --rootless` gives, changed at some JSON pointers.
    fn config(&self, args: &[&str], changes: &[(&str, Value)]) -> Result<()> {
        self.sh("rm -f config.json; \"$podrun\" oci spec --rootless")?.ok()?;
        let file = self.home.join("bundle/config.json");
        let mut spec: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        spec["process"]["args"] = json!(args);
        spec["process"]["terminal"] = json!(false);
        spec["root"]["readonly"] = json!(false);
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('/').context("a pointer begins with a slash")?;
            spec.pointer_mut(parent).with_context(|| format!("no {parent}"))?[key] = value.clone();
        }
        Ok(std::fs::write(file, spec.to_string())?)
    }

    fn state(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.oci("state web")?.ok()?)?)
    }

    fn wait_for(&self, status: &str) -> Result<()> {
        wait_for(&format!("web is {status}"), || {
            let state = self.state()?;
            ensure!(state["status"] == status, "{state:#}");
            Ok(())
        })
    }

    fn gone(&self) -> Result<()> {
        let listed = self.oci("list --quiet")?.ok()?;
        ensure!(listed.is_empty(), "still listed: {listed}");
        Ok(())
    }
}

fn life(host: &Host) -> Result<()> {
    let user = User::new(host)?;
    user.config(&["sh", "-c", "id -u; cat /proc/self/uid_map; sleep 1000"], &[])?;
    user.sh("\"$podrun\" oci create --pid-file pid web >out 2>err </dev/null || { cat err; exit 1; }")?
        .ok()?;
    let state = user.state()?;
    ensure!(state["status"] == "created" && state["owner"] == "plain", "{state:#}");
    let root = user.home.join("run/podrun/web");
    ensure!(root.join("state.json").exists(), "the state is not below XDG_RUNTIME_DIR");
    let pid: i32 = std::fs::read_to_string(user.home.join("bundle/pid"))?.parse()?;
    ensure!(state["pid"] == pid);
    ensure!(std::fs::metadata(host.proc().join(pid.to_string()))?.uid() != 0, "it is a process of root's");
    user.oci("start web")?.ok()?;
    let said = wait_for("the program's word", || {
        let said = std::fs::read_to_string(user.home.join("bundle/out"))?;
        ensure!(said.lines().count() == 2, "{said:?}");
        Ok(said)
    })?;
    let words: Vec<&str> = said.split_whitespace().collect();
    ensure!(words == ["0", "0", &USER.to_string(), "1"], "{said}");
    let inside = user
        .oci("exec web sh -c 'hostname; id -u; ps; readlink /proc/1/ns/user; readlink /proc/self/ns/user'")?
        .ok()?;
    let lines: Vec<&str> = inside.lines().collect();
    ensure!(lines.starts_with(&["podrun", "0"]) && inside.contains("sleep 1000"), "{inside}");
    ensure!(lines.iter().rev().take(2).collect::<std::collections::BTreeSet<_>>().len() == 1, "{inside}");
    ensure!(user.oci("exec web sh -c 'exit 7'")?.code() == 7);
    ensure!(user.oci("exec web nothing")?.fails_with(255)?.contains("nothing"));
    ensure!(user.oci("list")?.ok()?.contains("running"));
    for verb in
        ["pause web", "ps web", "update --memory 1048576 web", "events --stats web", "kill --all web TERM"]
    {
        let said = user.oci(verb)?.fails_with(1)?;
        ensure!(said.contains("no cgroup") && said.contains("hint"), "{verb}: {said}");
    }
    user.oci("kill web TERM")?.ok()?;
    user.oci("kill web KILL")?.ok()?;
    user.wait_for("stopped")?;
    user.oci("delete web")?.ok()?;
    ensure!(!root.exists());
    user.gone()
}

fn run(host: &Host) -> Result<()> {
    let user = User::new(host)?;
    user.config(&["sh", "-c", "echo out; echo err >&2; touch /made; exit 7"], &[])?;
    let outcome = user.oci("run web")?;
    ensure!(outcome.code() == 7 && outcome.stdout == "out\n" && outcome.stderr == "err\n", "{outcome}");
    let made = std::fs::metadata(user.home.join("bundle/rootfs/made"))?;
    ensure!((made.uid(), made.gid()) == (USER, USER), "{}:{}", made.uid(), made.gid());
    // Whatever it has started ends with it, without any cgroup.
    user.config(&["sh", "-c", "sleep 1000 & sleep 1000 & exit 0"], &[])?;
    user.oci("run web")?.ok()?;
    user.config(&["sleep", "1000"], &[])?;
    user.sh("\"$podrun\" oci run --detach web >/dev/null 2>&1 </dev/null")?.ok()?;
    ensure!(user.oci("delete web")?.fails_with(1)?.contains("running"));
    user.oci("delete --force web")?.ok()?;
    user.gone()
}

fn hooks(host: &Host) -> Result<()> {
    let user = User::new(host)?;
    let seen = user.home.join("bundle/rootfs/seen");
    let hook = |kind: &str, file: &str| {
        let script = format!("echo {kind} $(id -u) $(hostname) >>{file}");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    let outside = seen.to_string_lossy().into_owned();
    let hooks = json!({
        "createRuntime": hook("createRuntime", &outside), "createContainer": hook("createContainer", &outside),
        "startContainer": hook("startContainer", "/seen"), "poststop": hook("poststop", &outside),
    });
    user.config(&["true"], &[("/hooks", hooks)])?;
    user.oci("run web")?.ok()?;
    let host_name = host.run("hostname", &[])?.ok()?;
    let host_name = host_name.trim();
    let expected = format!(
        "createRuntime {USER} {host_name}\ncreateContainer 0 podrun\nstartContainer 0 podrun\npoststop {USER} {host_name}\n"
    );
    let said = std::fs::read_to_string(&seen)?;
    // The container's own name is set after its createContainer hooks.
    let said = said.replace(&format!("createContainer 0 {host_name}"), "createContainer 0 podrun");
    ensure!(said == expected, "{said}");
    user.gone()
}

fn refused(host: &Host) -> Result<()> {
    let user = User::new(host)?;
    let without = |kind: &str| -> Result<Value> {
        user.config(&["true"], &[])?;
        let text = std::fs::read_to_string(user.home.join("bundle/config.json"))?;
        let spec: Value = serde_json::from_str(&text)?;
        let kept = spec["linux"]["namespaces"].as_array().context("namespaces")?.iter();
        Ok(kept.filter(|namespace| namespace["type"] != kind).cloned().collect())
    };
    let foreign = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    for (change, says) in [
        (("/linux/namespaces", without("user")?), "linux.namespaces"),
        (("/linux/namespaces", without("pid")?), "linux.namespaces"),
        (("/linux/resources", json!({"memory": {"limit": 1 << 30}})), "linux.resources.memory"),
        (("/linux/resources", json!({"unified": {"pids.max": "10"}})), "linux.resources.unified"),
        (("/linux/cgroupsPath", json!("/mine")), "linux.cgroupsPath"),
        (
            ("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [5]})),
            "process.user.additionalGids",
        ),
        (("/process/user", json!({"uid": 5, "gid": 0})), "no mapping for this id"),
        (("/linux/uidMappings", foreign), "newuidmap"),
    ] {
        user.config(&["echo", "ran"], std::slice::from_ref(&change))?;
        let outcome = user.oci("run web")?;
        let said = format!("{}: {outcome}", change.0);
        ensure!(
            outcome.code() == 1 && outcome.stdout.is_empty() && outcome.stderr.contains(says),
            "{says}: {said}"
        );
        user.gone()?;
    }
    // What a mount of the host's root is marked with stays.
    let locked = user.home.join("locked");
    let at = locked.display();
    host.script(&format!("mkdir {at}; mount -t tmpfs -o nosuid,noexec,strictatime locked {at}"))?.ok()?;
    let outcomes = ["ro", "suid"].map(|word| -> Result<_> {
        let mounts = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/x", "type": "bind", "source": locked, "options": ["bind", word]},
        ]);
        user.config(&["grep", " /x ", "/proc/self/mountinfo"], &[("/mounts", mounts)])?;
        user.oci("run web")
    });
    host.script(&format!("umount {at}"))?.ok()?;
    let [kept, cleared] = outcomes;
    let kept = kept?.ok()?;
    ensure!(kept.contains(" ro,nosuid,noexec - "), "{kept}");
    let said = cleared?.fails_with(1)?;
    ensure!(said.contains("clear MOUNT_ATTR_NOSUID") && said.contains("more privileged user"), "{said}");
    // What has no effect is said; what is not forgiven fails.
    let devices = json!({"devices": [{"allow": false, "access": "rwm"}]});
    user.config(&["echo", "ran"], &[("/linux/resources", devices)])?;
    let outcome = user.oci("run web")?;
    ensure!(outcome.code() == 0 && outcome.stderr.contains("linux.resources.devices"), "{outcome}");
    user.config(&["echo", "ran"], &[])?;
    let outcome = user.oci("--rootless false run web")?;
    ensure!(outcome.code() == 1 && outcome.stderr.contains("cgroup"), "{outcome}");
    user.gone()?;
    // Another's container is not theirs to enter.
    let root = host.state_dir().join("oci");
    std::fs::create_dir_all(root.join("web"))?;
    let said = user.oci(&format!("--root {} exec web true", root.display()))?.fails_with(255)?;
    ensure!(said.contains("web"), "{said}");
    Ok(std::fs::remove_dir_all(root)?)
}

fn groups(host: &Host) -> Result<()> {
    let user = User::new(host)?;
    // Everybody but its group may read it.
    let secret = user.home.join("bundle/rootfs/secret");
    std::fs::write(&secret, "secret")?;
    let mode = format!("chown 0:{FOREIGN} {0}; chmod 0707 {0}", secret.display());
    host.script(&mode)?.ok()?;
    user.config(&["sh", "-c", "cat /proc/self/setgroups; cat /secret"], &[])?;
    let said = user.sh_in_groups(&format!("--groups {FOREIGN}"), "exec \"$podrun\" oci run web")?;
    ensure!(said.stdout == "deny\n" && said.stderr.contains("ermission denied"), "{said}");
    let said = user.sh("exec \"$podrun\" oci run web")?;
    ensure!(said.stdout == "deny\nsecret", "{said}");
    Ok(())
}

fn cgroups(host: &Host) -> Result<()> {
    let user = User::new(host)?;
    const WRITABLE: &str = "find /sys -xdev -type d >/dev/null; grep -E ' (cgroup2?|sysfs) ' /proc/self/mountinfo | \
                            cut -d' ' -f5,6; for f in $(find /sys/fs/cgroup -type f); do echo $f; done; mkdir /sys/fs/cgroup/x";
    user.config(&["sh", "-c", WRITABLE], &[])?;
    let said = user.oci("run web")?;
    let mounts: Vec<&str> = said.stdout.lines().filter(|line| line.starts_with("/sys")).collect();
    ensure!(!mounts.is_empty() && mounts.iter().all(|line| line.contains(" ro,")), "{said}");
    ensure!(!said.status.success() && said.stderr.contains("ead-only file system"), "{said}");
    Ok(())
}

/// A plain user can make no device: the host's are bound, and nothing of them can be changed.
fn devices(host: &Host) -> Result<()> {
    let dev = StandIn::new(host)?;
    let user = User::new(host)?;
    const CHANGE: &str = "for file in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /proc/1/fd/0 \
                          /proc/self/fd/0 /proc/keys; do chmod 666 $file; done 2>&1 | grep -c 'ead-only file system'; \
                          echo written >/dev/null; echo written >/proc/1/fd/0; head -c 1 /dev/zero | wc -c";
    user.config(&["sh", "-c", CHANGE], &[])?;
    let said = user.sh("exec \"$podrun\" oci run web <>/dev/null")?;
    ensure!(said.stdout == "9\n1\n" && said.stderr.is_empty(), "{said}");
    // Of the host's terminals there is none more while one runs.
    let terminals = || -> Result<usize> { Ok(std::fs::read_dir(host.path("/dev/pts"))?.count()) };
    let before = terminals()?;
    let listener = UnixListener::bind(user.home.join("console.sock"))?;
    host.script(&format!("chown {USER} {}", user.home.join("console.sock").display()))?.ok()?;
    user.config(
        &["sh", "-c", "tty; ls -l /proc/self/fd/0; sleep 1000"],
        &[("/process/terminal", json!(true))],
    )?;
    user.oci("create --console-socket ../console.sock web")?.ok()?;
    let mut master = received(&listener)?;
    user.oci("start web")?.ok()?;
    let mut said = [0; 64];
    let length = std::io::Read::read(&mut master, &mut said)?;
    ensure!(length > 0 && terminals()? == before, "{}", String::from_utf8_lossy(&said));
    user.oci("delete --force web")?.ok()?;
    user.gone()?;
    dev.end()
}

fn listed_devices(host: &Host) -> Result<()> {
    let user = User::new(host)?;
    let devices = json!([
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/missing", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666},
        {"path": "/opt/dev0", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]);
    let script =
        "stat -c '%n %F %t:%T %a' /dev/null /dev/missing /opt/dev0 /dev/pipe; head -c 2 /dev/null | wc -c";
    user.config(&["sh", "-c", script], &[("/linux/devices", devices)])?;
    for _ in 0..2 {
        let said = user.oci("run web")?;
        ensure!(
            said.stdout
                == "/dev/null character special file 1:5 666\n/dev/missing character special file 1:7 666\n\
                    /opt/dev0 character special file 1:3 666\n/dev/pipe fifo 0:0 600\n2\n",
            "{said}"
        );
    }
    for (device, says) in [
        (
            json!({"path": "/dev/x", "type": "c", "major": 200, "minor": 200}),
            "/dev/x: no device can be made here, and the host has none that is c 200:200",
        ),
        (json!({"path": "/dev/x", "type": "b", "major": 1, "minor": 3}), "none that is b 1:3"),
        (
            json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}),
            "/dev/null, of mode 0666, has another mode",
        ),
        (
            json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "uid": 0}),
            "leave fileMode, uid and gid out",
        ),
        (
            json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "uid": 77}),
            "uid 77 is not mapped",
        ),
    ] {
        user.config(&["true"], &[("/linux/devices", json!([device]))])?;
        let said = user.oci("run web")?.fails_with(1)?;
        ensure!(said.contains(says), "{device}: {said}");
        user.gone()?;
    }
    Ok(())
}

fn subordinate(host: &Host) -> Result<()> {
    let user = User::new(host)?;
    let mappings = |first: u32| {
        json!([
            {"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": first, "size": 65535},
        ])
    };
    let maps = [("/linux/uidMappings", mappings(FIRST_UID)), ("/linux/gidMappings", mappings(FIRST_GID))];
    let mine = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    let changes = [&maps[..], &[("/process/user", mine)]].concat();
    user.config(&["sh", "-c", "id -u; id -G; touch /tmp/made; sleep 1000"], &changes)?;
    let place = user.home.join("bundle/rootfs/tmp");
    ensure!(Command::new("chmod").arg("1777").arg(&place).status()?.success());
    user.sh("\"$podrun\" oci run --detach web >out 2>err </dev/null || { cat err; exit 1; }")?.ok()?;
    wait_for("the program's file", || {
        let made = std::fs::metadata(place.join("made"))?;
        ensure!((made.uid(), made.gid()) == (FIRST_UID + 4, FIRST_GID + 5), "{}:{}", made.uid(), made.gid());
        Ok(())
    })?;
    let said = std::fs::read_to_string(user.home.join("bundle/out"))?;
    ensure!(said == "5\n6 7\n", "{said}");
    let said = user.oci("exec --user 9:10 -g 11 web sh -c 'id -u; id -G'")?.ok()?;
    ensure!(said.trim_end().starts_with("9\n10 ") && said.contains("11"), "{said}");
    // The file that the container's user has made is not the user's own, and yet goes with the container's rights.
    user.oci("exec --user 5 web rm /tmp/made")?.ok()?;
    user.oci("kill web KILL")?.ok()?;
    user.wait_for("stopped")?;
    user.oci("delete web")?.ok()?;
    user.gone()?;
    // Ids that are nobody's to give are refused by who gives them.
    user.config(
        &["true"],
        &[("/linux/uidMappings", mappings(FIRST_UID + 2)), ("/linux/gidMappings", mappings(FIRST_GID))],
    )?;
    let said = user.oci("run web")?.fails_with(1)?;
    ensure!(said.contains("newuidmap") && said.contains("subuid"), "{said}");
    Ok(())
}
