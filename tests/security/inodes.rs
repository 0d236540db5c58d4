//! No inode of the host's devices or terminals reaches a container, by a descriptor or by a mount: whoever has one can
//! change its mode and owner for the whole host, and watch who opens it.
//!
//! Invariant: the host's /dev is a stand-in here, in the test's own mount namespace: an attack that comes through changes
//! that and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;
use support::pods::{pod, shell};
use support::terminal::Terminal;

use crate::oci::{Oci, received};

/// What every container of these tests does.
const SLEEP: &str = "sleep 1000; true";

/// A host whose /dev is a file system of the test's.
pub(crate) struct StandIn<'a> {
    host: &'a Host,
    /// The file systems of devices and terminals that are the host's, or the machine's.
    foreign: BTreeSet<u64>,
}

impl<'a> StandIn<'a> {
    pub(crate) fn new(host: &'a Host) -> Result<Self> {
        let dev = host.file("dev");
        // By its whole path: the working directory is of the machine's mount namespace.
        host.script(&format!(
            "mkdir {dev}; mount -n -t tmpfs -o mode=755 dev {dev}; cd {dev}
            mkdir pts shm; ln -s pts/ptmx ptmx; cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty .
            mkdir net; mknod net/tun c 10 200
            mount -n -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts {dev}/pts
            cd /; mount -n --move {dev} /dev; rmdir {dev}",
            dev = dev.display(),
        ))?
        .ok()?;
        let places = ["/dev", "/dev/pts"].map(|place| [PathBuf::from(place), host.path(place)]);
        let foreign = places.iter().flatten().map(|place| Ok(std::fs::metadata(place)?.dev()));
        Ok(Self { host, foreign: foreign.collect::<Result<_>>()? })
    }

    /// Takes it away.
    pub(crate) fn end(self) -> Result<()> {
        // The last monitor may be on its way out, with its streams open.
        support::deadline::wait_for("nobody has it open", || {
            self.host.script("umount -n -R /dev")?.ok().map(drop)
        })
    }

    /// The mode and the owners of all that is in it: of the host's devices and terminals.
    fn shown(&self) -> Result<BTreeMap<PathBuf, String>> {
        let mut shown = BTreeMap::new();
        for folder in ["/dev", "/dev/pts"] {
            for entry in std::fs::read_dir(self.host.path(folder))? {
                let path = entry?.path();
                let found = std::fs::symlink_metadata(&path)?;
                shown.insert(path, format!("{:o} {}:{}", found.mode(), found.uid(), found.gid()));
            }
        }
        Ok(shown)
    }

    /// The processes of containers: those that are in another mount namespace than the host.
    fn processes(&self) -> Result<Vec<PathBuf>> {
        let namespace = |process: &Path| std::fs::read_link(process.join("ns/mnt"));
        let own = namespace(&self.host.proc().join("1"))?;
        let all = std::fs::read_dir(self.host.proc())?.flatten().map(|entry| entry.path());
        let numbered = all.filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
        });
        Ok(numbered.filter(|path| namespace(path).is_ok_and(|found| found != own)).collect())
    }

    /// What processes of containers hold or see of file systems that are the host's: the descriptors and the mounts.
    fn held(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for process in self.processes()? {
            let command = command_line(&process)?;
            for entry in std::fs::read_dir(process.join("fd"))?.flatten() {
                // A socket or a pipe has an inode of the kernel's own.
                let Ok(file) = std::fs::metadata(entry.path()) else { continue };
                if self.foreign.contains(&file.dev()) {
                    let number = entry.file_name();
                    found.insert(format!("{command}: descriptor {}", number.to_string_lossy()));
                }
            }
            for line in std::fs::read_to_string(process.join("mountinfo"))?.lines() {
                let fields: Vec<&str> = line.split(' ').collect();
                let numbers = fields[2].split_once(':').context("a device number")?;
                let device = nix::sys::stat::makedev(numbers.0.parse()?, numbers.1.parse()?);
                if self.foreign.contains(&device) {
                    found.insert(format!("mount {}", fields[4]));
                }
            }
        }
        Ok(found)
    }

    /// Waits until there is a process of a container whose command line has each of these words.
    fn wait_for_processes(&self, words: &[&str]) -> Result<()> {
        wait_for("the containers' processes", || {
            let commands =
                self.processes()?.iter().map(|process| command_line(process)).collect::<Result<Vec<_>>>()?;
            let missing: Vec<_> = words
                .iter()
                .filter(|word| !commands.iter().any(|command| command.contains(**word)))
                .collect();
            ensure!(missing.is_empty(), "{missing:?} are not among {commands:?}");
            Ok(())
        })
    }
}

fn command_line(process: &Path) -> Result<String> {
    let bytes = std::fs::read(process.join("cmdline"))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

/// A container that sleeps, with more fields.
fn container(name: &str, more: &Value) -> Value {
    let mut container = shell(name, SLEEP);
    let fields = more.as_object().into_iter().flatten();
    fields.for_each(|(field, value)| container[field] = value.clone());
    container
}

pub(super) fn pods(host: &Host) -> Result<()> {
    let dev = StandIn::new(host)?;
    let volume = json!([{"name": "dev", "mountPath": "/dev"}]);
    let given = json!([{"name": "zero", "mountPath": "/given"}]);
    host.create(&pod(
        "one",
        &json!({
            "containers": [
                container("plain", &json!({})),
                container("tty", &json!({"tty": true})),
                container("stdin", &json!({"stdin": true})),
                container("user", &json!({"securityContext": {"runAsUser": 1000}})),
                container("user-tty", &json!({"tty": true, "stdin": true, "securityContext": {"runAsUser": 1000}})),
                container("privileged", &json!({"securityContext": {"privileged": true}})),
                container("readonly", &json!({"securityContext": {"readOnlyRootFilesystem": true}})),
                container("volume", &json!({"volumeMounts": volume})),
                container("volume-tty", &json!({"tty": true, "volumeMounts": volume})),
                container("given", &json!({"volumeMounts": given})),
            ],
            "volumes": [
                {"name": "dev", "emptyDir": {}},
                {"name": "zero", "hostPath": {"path": "/dev/zero", "type": "CharDevice"}},
            ],
        }),
    ))?;
    let shared = [container("plain", &json!({})), container("tty", &json!({"tty": true}))];
    host.create(&pod("two", &json!({"shareProcessNamespace": true, "containers": shared})))?;
    let mut running = Vec::new();
    let mut terminals = Vec::new();
    for (number, (pod, name)) in
        [("one", "plain"), ("one", "volume"), ("one", "privileged"), ("two", "plain")].into_iter().enumerate()
    {
        let sleep = (2000 + number).to_string();
        running.push(host.start(&["exec", pod, "-c", name, "--", "sleep", &sleep])?);
        let sleep = (3000 + number).to_string();
        let command = host.podrun_command(&["exec", "-it", pod, "-c", name, "--", "sleep", &sleep])?;
        terminals.push(Terminal::start(&command)?);
    }
    dev.wait_for_processes(&["2000", "2001", "2002", "2003", "3000", "3001", "3002", "3003"])?;
    // A device that the manifest names is the host's, and is seen here to be.
    let found = dev.held()?;
    ensure!(found == BTreeSet::from(["mount /given".to_owned()]), "{found:#?}");
    host.delete("one")?;
    host.delete("two")?;
    running.into_iter().try_for_each(|exec| exec.wait().map(drop))?;
    terminals.into_iter().try_for_each(|exec| exec.wait().map(drop))?;
    dev.end()
}

/// What it is, and what it changes of the usual one, by JSON pointers.
type Config = (&'static str, Vec<(&'static str, Value)>);

/// The configs of an OCI caller's.
fn configs(oci: &Oci<'_>) -> Result<Vec<Config>> {
    oci.config(&["true"], &[])?;
    let spec: Value = serde_json::from_str(&std::fs::read_to_string(oci.bundle.join("config.json"))?)?;
    let all = spec["mounts"].as_array().context("mounts")?;
    let is_dev = |mount: &Value| mount["destination"].as_str().is_some_and(|at| at.starts_with("/dev"));
    let without: Vec<Value> = all.iter().filter(|mount| !is_dev(mount)).cloned().collect();
    let folder = oci.bundle.join("volume");
    std::fs::create_dir_all(&folder)?;
    let mut volume = without.clone();
    volume.push(json!({"destination": "/dev", "type": "bind", "source": folder, "options": ["rbind"]}));
    let mut namespaces = spec["linux"]["namespaces"].clone();
    namespaces.as_array_mut().context("namespaces")?.push(json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 70_000, "size": 1000}]);
    let device = json!([{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}]);
    let hook = json!({"createRuntime": [{"path": "/bin/true"}]});
    Ok(vec![
        ("usual", Vec::new()),
        ("a user", vec![("/process/user", json!({"uid": 1000, "gid": 1000}))]),
        ("no mount at /dev", vec![("/mounts", json!(without))]),
        ("a volume at /dev", vec![("/mounts", json!(volume))]),
        ("a hook", vec![("/hooks", hook)]),
        (
            "a user namespace",
            vec![
                ("/linux/namespaces", namespaces),
                ("/linux/uidMappings", map.clone()),
                ("/linux/gidMappings", map),
                ("/linux/devices", device),
            ],
        ),
    ])
}

pub(super) fn containers(host: &Host) -> Result<()> {
    let dev = StandIn::new(host)?;
    let oci = Oci::new(host)?;
    let (bundle, socket) = (oci.bundle.to_string_lossy().into_owned(), oci.bundle.join("console.sock"));
    let listener = UnixListener::bind(&socket)?;
    let path = socket.to_string_lossy().into_owned();
    let mut wrong = Vec::new();
    for (name, changes) in configs(&oci)? {
        let owner = if name == "a user namespace" { "70000:70000" } else { "0:0" };
        host.script(&format!("chown -R {owner} {bundle}/rootfs"))?.ok()?;
        for terminal in [false, true] {
            let changes = [&changes[..], &[("/process/terminal", json!(terminal))]].concat();
            oci.config(&["sleep", "1000"], &changes)?;
            let mut masters = Vec::new();
            if terminal {
                oci.oci(&["create", "--bundle", &bundle, "--console-socket", &path, "web"])?.ok()?;
                masters.push(received(&listener)?);
            } else {
                oci.create("")?
                    .ok()
                    .with_context(|| std::fs::read_to_string(oci.bundle.join("err")).unwrap_or_default())?;
            }
            wrong.extend(dev.held()?.into_iter().map(|what| format!("{name}, created: {what}")));
            oci.oci(&["start", "web"])?.ok()?;
            let root = oci.root();
            host.script(&format!(
                "exec \"$podrun\" oci --root {root} exec --detach web sleep 2000 >/dev/null 2>/dev/null </dev/null"
            ))?
            .ok()?;
            oci.oci(&["exec", "--detach", "--tty", "--console-socket", &path, "web", "sleep", "3000"])?
                .ok()?;
            masters.push(received(&listener)?);
            dev.wait_for_processes(&["1000", "2000", "3000"])?;
            wrong.extend(dev.held()?.into_iter().map(|what| format!("{name}, terminal {terminal}: {what}")));
            oci.oci(&["delete", "--force", "web"])?.ok()?;
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    oci.gone()?;
    dev.end()
}

/// What changes a file, if it can be changed, each with how it came to that.
fn changes(files: &str) -> String {
    format!(
        "for file in {files}; do chmod 600 $file; chown 5:5 $file; echo written >$file; : <$file; done 2>&1; true"
    )
}

pub(super) fn changed(host: &Host) -> Result<()> {
    let dev = StandIn::new(host)?;
    let before = dev.shown()?;
    let volume = json!([{"name": "dev", "mountPath": "/dev"}]);
    host.create(&pod(
        "one",
        &json!({
            "containers": [
                container("plain", &json!({})),
                container("volume", &json!({"volumeMounts": volume})),
                container("tty", &json!({"tty": true, "stdin": true})),
            ],
            "volumes": [{"name": "dev", "emptyDir": {}}],
        }),
    ))?;
    let mut wrong = Vec::new();
    if dev.shown()? != before {
        wrong.push(format!("a terminal is among the host's: {:#?}", dev.shown()?));
    }
    for (name, files, read_only) in [
        ("plain", "/proc/1/fd/0 /proc/self/fd/0", 4),
        ("volume", "/proc/1/fd/0 /proc/keys /proc/interrupts", 6),
        ("tty", "/proc/1/fd/0 /dev/console", 0),
    ] {
        let said = host.podrun(&["exec", "one", "-c", name, "--", "sh", "-c", &changes(files)])?.ok()?;
        if dev.shown()? != before {
            wrong.push(format!("{name}: {said}: {:#?}", dev.shown()?));
            host.script("chmod 666 /dev/null; chown 0:0 /dev/null")?.ok()?;
            continue;
        }
        let refused = said.lines().filter(|line| line.contains("ead-only file system")).count();
        // Written to and opened anew are they all.
        ensure!((refused, said.lines().count()) == (read_only, read_only), "{name}: {said}");
    }
    wrong.extend(watched(&dev, "plain").err().map(|error| error.to_string()));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    host.delete("one")?;
    dev.end()
}

/// Nothing that the host does with its null device is seen at a container's.
fn watched(dev: &StandIn<'_>, name: &str) -> Result<()> {
    let host = dev.host;
    let shown = host.podrun(&["exec", "one", "-c", name, "--", "readlink", "/proc/1/ns/mnt"])?.ok()?;
    let is_init = |process: &&PathBuf| {
        let namespace = std::fs::read_link(process.join("ns/mnt"));
        namespace.is_ok_and(|link| link == Path::new(shown.trim()))
            && command_line(process).is_ok_and(|command| command.starts_with("sh -c sleep"))
    };
    let stdin = dev.processes()?.iter().find(is_init).context("the container's process")?.join("fd/0");
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    watch.add_watch(&stdin, AddWatchFlags::IN_OPEN | AddWatchFlags::IN_ATTRIB)?;
    host.script(": </dev/null; chmod 666 /dev/null")?.ok()?;
    ensure!(watch.read_events().is_err(), "the host's null device is watched");
    // Its own is.
    host.podrun(&["exec", "one", "-c", name, "--", "sh", "-c", ": </proc/1/fd/0"])?.ok()?;
    ensure!(!watch.read_events()?.is_empty());
    Ok(())
}

pub(super) fn given(host: &Host) -> Result<()> {
    let dev = StandIn::new(host)?;
    let before = dev.shown()?;
    let oci = Oci::new(host)?;
    let (root, bundle) = (oci.root(), oci.bundle.display().to_string());
    let run = |streams: &str| {
        host.script(&format!("exec \"$podrun\" oci --root {root} run --bundle {bundle} attack {streams}"))
    };
    for (name, more) in configs(&oci)?.into_iter().filter(|(name, _)| *name != "a user namespace") {
        for device in ["null", "zero", "full", "random", "urandom"] {
            let files = "/proc/self/fd/0 /proc/keys /proc/interrupts";
            let script = format!("for file in {files}; do chmod 600 $file; chown 5:5 $file; done; true");
            oci.config(&["sh", "-c", &script], &more)?;
            let said = run(&format!("</dev/{device}"))?;
            ensure!(dev.shown()? == before, "{name}, {device}: {said}: {:#?}", dev.shown()?);
            said.ok()?;
        }
    }
    // Each is the same device, open for what the caller's was.
    let shown = "sed -n 's/^flags:.*\\(.\\)$/\\1/p' /proc/1/fdinfo/0 /proc/1/fdinfo/2; stat -Lc %t:%T /proc/1/fd/0 /proc/1/fd/2";
    oci.config(&["sh", "-c", shown], &[])?;
    for (device, number) in [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("urandom", "1:9")] {
        let said = run(&format!("</dev/{device} 2>/dev/null"))?.ok()?;
        ensure!(said == format!("0\n1\n{number}\n1:3\n"), "{device}: {said}");
    }
    let said = run("<>/dev/zero 2>>/dev/full")?.ok()?;
    ensure!(said == "2\n1\n1:5\n1:7\n", "{said}");
    // What is no device that every container has is the caller's own.
    oci.config(&["stat", "-Lc", "%F", "/proc/self/fd/0"], &[])?;
    ensure!(run("<bundle/config.json")?.ok()? == "regular file\n");
    oci.gone()?;
    dev.end()
}
