//! `linux.devices` (config-linux.md, "Devices"): each made as it is listed, wherever that is, or refused.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::host::Host;
use support::suite::Suite;

use super::Oci;

pub(super) fn add(suite: &mut Suite) {
    for (name, test) in [
        ("oci a listed device is made as it is listed, a default one too", listed as fn(&Host) -> Result<()>),
        ("oci a device is made anywhere in the root, and found there again", anywhere),
        ("oci a device that is there and differs is refused", differs),
    ] {
        suite.on_host(name, &["busybox"], test);
    }
}

const STAT: &str = "stat -c '%n %F %t:%T %a %u:%g'";

/// The host's own user namespace, and one in which the container's ids are the host's first thousand.
fn user_namespaces(oci: &Oci<'_>) -> Result<[Vec<(&'static str, Value)>; 2]> {
    oci.config(&["true"], &[])?;
    let spec: Value = serde_json::from_str(&std::fs::read_to_string(oci.bundle.join("config.json"))?)?;
    let mut namespaces = spec["linux"]["namespaces"].clone();
    namespaces.as_array_mut().context("linux.namespaces")?.push(json!({"type": "user"}));
    let ids = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
    Ok([
        vec![],
        vec![
            ("/linux/namespaces", namespaces),
            ("/linux/uidMappings", ids.clone()),
            ("/linux/gidMappings", ids),
        ],
    ])
}

fn listed(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let bundle = oci.bundle.to_string_lossy().into_owned();
    let devices = json!([
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600, "uid": 5, "gid": 6},
        {"path": "/dev/net/tun", "type": "u", "major": 10, "minor": 200, "fileMode": 0o640, "gid": 7},
        {"path": "/dev/disk0", "type": "b", "major": 7, "minor": 77},
        {"path": "/dev/stdin", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/initctl", "type": "p", "fileMode": 0o620, "uid": 8},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
    ]);
    let paths = "/dev/null /dev/full /dev/net/tun /dev/disk0 /dev/stdin /dev/initctl /dev/zero";
    let script = format!("{STAT} {paths}; readlink /dev/ptmx; head -c 3 /dev/null | wc -c");
    for user in user_namespaces(&oci)? {
        let changes = [&[("/linux/devices", devices.clone())], user.as_slice()].concat();
        oci.config(&["sh", "-c", &script], &changes)?;
        let said = oci.oci(&["run", "--bundle", &bundle, "web"])?;
        ensure!(
            said.stdout
                == "/dev/null character special file 1:5 666 0:0\n\
                    /dev/full character special file 1:7 600 5:6\n\
                    /dev/net/tun character special file a:c8 640 0:7\n\
                    /dev/disk0 block special file 7:4d 666 0:0\n\
                    /dev/stdin character special file 1:3 666 0:0\n\
                    /dev/initctl fifo 0:0 620 8:0\n\
                    /dev/zero character special file 1:5 666 0:0\n\
                    pts/ptmx\n3\n",
            "{user:?}: {said}"
        );
    }
    oci.gone()
}

fn anywhere(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let (bundle, root) = (oci.bundle.to_string_lossy().into_owned(), oci.bundle.join("rootfs"));
    let devices = json!([
        {"path": "/opt/dev0", "type": "c", "major": 1, "minor": 5, "uid": 3},
        {"path": "/a/b/pipe", "type": "p", "fileMode": 0o600},
        {"path": "/dev/shm/dev1", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/../link/dev2", "type": "c", "major": 1, "minor": 7},
    ]);
    let script = format!("{STAT} /opt/dev0 /a/b/pipe /dev/shm/dev1 /real/dev2; head -c 3 /opt/dev0 | wc -c");
    std::fs::create_dir(root.join("real"))?;
    std::os::unix::fs::symlink("/real", root.join("link"))?;
    let [none, user] = user_namespaces(&oci)?;
    // What is bound leaves its place in the root, what is made stays there: a second run finds either.
    for (space, readonly) in [(&user, false), (&user, true), (&none, true)] {
        for _ in 0..2 {
            let changes = [("/linux/devices", devices.clone()), ("/root/readonly", json!(readonly))].to_vec();
            oci.config(&["sh", "-c", &script], &[changes, space.clone()].concat())?;
            let said = oci.oci(&["run", "--bundle", &bundle, "web"])?;
            ensure!(
                said.stdout
                    == "/opt/dev0 character special file 1:5 666 3:0\n\
                        /a/b/pipe fifo 0:0 600 0:0\n\
                        /dev/shm/dev1 character special file 1:3 666 0:0\n\
                        /real/dev2 character special file 1:7 666 0:0\n3\n",
                "{space:?}, read-only {readonly}: {said}"
            );
        }
        if space.is_empty() {
            break;
        }
        host.script(&format!(
            "find {} -xdev '(' -type c -o -type b ')' | grep . && exit 1 || true",
            root.display()
        ))?
        .ok()
        .context("a device was made in a user namespace's root")?;
        if readonly {
            // A bound one's place is no device.
            host.script(&format!("rm {0}/opt/dev0 {0}/real/dev2", root.display()))?.ok()?;
        }
    }
    oci.gone()
}

fn differs(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    let (bundle, root) = (oci.bundle.to_string_lossy().into_owned(), oci.bundle.join("rootfs"));
    let own = host.file("dev");
    host.script(&format!(
        "mkdir -p {own} {root}/opt && mknod -m 600 {own}/dev0 c 1 3 && mknod -m 666 {own}/null c 1 3
        mknod -m 600 {root}/opt/dev0 c 1 3; mknod {root}/opt/block b 7 77
        echo text >{root}/opt/file; mkdir {root}/opt/folder; ln -s nowhere {root}/opt/link",
        own = own.display(),
        root = root.display()
    ))?
    .ok()?;
    let bound = json!([{"destination": "/proc", "type": "proc"}, {"destination": "/dev/", "type": "bind", "source": own, "options": ["rbind"]}]);
    let device = |path: &str, more: Value| {
        let mut device = json!({"path": path, "type": "c", "major": 1, "minor": 3});
        device
            .as_object_mut()
            .into_iter()
            .for_each(|fields| fields.extend(more.as_object().cloned().unwrap_or_default()));
        device
    };
    let run = |device: &Value, more: &[(&str, Value)]| {
        oci.config(&["true"], &[&[("/linux/devices", json!([device]))], more].concat())?;
        oci.oci(&["run", "--bundle", &bundle, "web"])
    };
    let mounts = [("/mounts", bound), ("/linux/maskedPaths", json!([])), ("/linux/readonlyPaths", json!([]))];
    for user in user_namespaces(&oci)? {
        for (device, says) in [
            (device("/opt/dev0", json!({"minor": 5})), "EEXIST"),
            (device("/opt/dev0", json!({"type": "b"})), "EEXIST"),
            (device("/opt/dev0", json!({"fileMode": 0o666})), "another mode or owner"),
            (device("/opt/dev0", json!({"uid": 9})), "another mode or owner"),
            (device("/opt/block", json!({})), "EEXIST"),
            (device("/opt/file", json!({})), "EEXIST"),
            (device("/opt/folder", json!({})), "EEXIST"),
            (device("/opt/link", json!({})), "(\"opt/link\")"),
            (device("/proc/dev0", json!({})), "(\"proc/dev0\")"),
            (device("/dev/ptmx", json!({})), "linux.devices: `/dev/ptmx`"),
            (device("/", json!({})), "linux.devices: `/`"),
            (device("/opt/x", json!({"major": 4096})), "major number 4096"),
        ] {
            let said = run(&device, &user)?;
            ensure!(said.code() == 1 && said.stderr.contains(says), "{device} {says} {user:?}: {said}");
            ensure!(says != "EEXIST" || said.stderr.contains("linux.devices lists"), "{said}");
            oci.gone()?;
        }
        run(&device("/opt/dev0", json!({"fileMode": 0o600, "uid": 0})), &user)?.ok()?;
        // In a /dev of the config's own a device is found, and nothing is made.
        let more = [user.as_slice(), &mounts].concat();
        run(&device("/dev/dev0", json!({})), &more)?.ok()?;
        run(&device("/dev/dev1", json!({})), &more)?.ok()?;
        ensure!(!own.join("dev1").exists(), "nothing is made in a /dev of the config's own");
        run(&device("/dev/dev0", json!({"fileMode": 0o660})), &more)?.fails_with(1)?;
    }
    let left = std::fs::read_dir(&own)?.count();
    ensure!(left == 2, "{left} entries in what was bound as /dev");
    oci.gone()
}
