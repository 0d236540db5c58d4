//! No room: what a container can fill is its own, and giving back takes none.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::host::Host;
use support::pods::{pod, shell};

/// The state dir on a file system of its own, which goes with the host.
const SMALL: &str = "/run/small";

/// Takes the file system at `path` away, once the last monitor has closed what it has there.
fn leave(path: &str) -> String {
    format!("for _ in $(seq 1000); do umount {path} 2>/dev/null && break; sleep 0.01; done; rmdir {path}")
}

fn with_small_state(host: &Host, options: &str, script: &str) -> Result<String> {
    let mounted = format!(
        "export PODRUN_STATE_DIR={SMALL}
         mountpoint -q {SMALL} || {{ mkdir {SMALL}; mount -t tmpfs -o mode=755,{options} small {SMALL}; }}
         {script}"
    );
    host.script(&mounted)?.ok()
}

fn write(host: &Host, name: &str, port: Option<u16>) -> Result<()> {
    let mut main = shell("main", "sleep 1000");
    if let Some(port) = port {
        main["ports"] = json!([{ "containerPort": 80, "hostPort": port }]);
    }
    host.write(&format!("{name}.json"), &pod(name, &json!({ "containers": [main] })).to_string())?;
    Ok(())
}

/// CVE-2020-8557.
pub(super) fn filled_etc(host: &Host) -> Result<()> {
    write(host, "web", None)?;
    write(host, "next", None)?;
    let fill = "for file in /etc/hosts /etc/hostname /etc/resolv.conf /dev/termination-log; do
        dd if=/dev/zero of=$file bs=4k count=8192 conv=notrunc 2>&1 | grep -q 'No space' || echo $file has no end
    done";
    let script = format!(
        "room() {{ df --output=avail {SMALL} | tail -1; }}
         $podrun create web.json >/dev/null
         before=$(room)
         $podrun exec web -- sh -c '{}'
         echo $before $(room)
         $podrun create next.json >/dev/null
         $podrun delete pod web next --force >/dev/null 2>&1
         {}",
        fill.replace('\'', "'\\''"),
        leave(SMALL)
    );
    let said = with_small_state(host, "size=16m", &script)?;
    let numbers: Vec<i64> =
        said.split_whitespace().map(str::parse).collect::<Result<_, _>>().context(said.clone())?;
    ensure!(numbers.len() == 2 && numbers[0] - numbers[1] < 64, "KiB on the host before and after: {said}");
    Ok(())
}

pub(super) fn full_state_dir(host: &Host) -> Result<()> {
    for name in ["web", "next"] {
        write(host, name, Some(8080))?;
    }
    for (options, fill) in [
        ("size=4m", "cat /dev/zero >$PODRUN_STATE_DIR/fill 2>/dev/null || :"),
        (
            "size=4m,nr_inodes=60",
            "for number in $(seq 100); do : 2>/dev/null >$PODRUN_STATE_DIR/fill$number || :; done",
        ),
    ] {
        let script = format!(
            "$podrun create web.json >/dev/null
             {fill}
             $podrun delete pod web --force 2>/dev/null
             $podrun get pod web 2>&1 | head -1 || :
             rm -f $PODRUN_STATE_DIR/fill*
             $podrun create next.json
             $podrun delete pod next --force 2>/dev/null
             ip -o link | grep podrun || :
             nft list tables
             {}",
            leave(SMALL)
        );
        let said = with_small_state(host, options, &script)?;
        let lines: Vec<&str> = said.lines().collect();
        ensure!(
            lines.first() == Some(&"pod \"web\" force deleted")
                && lines.get(1).is_some_and(|line| line.contains("not found"))
                && lines.get(2..) == Some(&["pod/next created", "pod \"next\" force deleted"]),
            "{options}: {said}"
        );
    }
    Ok(())
}

/// Of a pod that nobody knows, as a kill or a full disk has left it under an older podrun.
pub(super) fn stale_lease(host: &Host) -> Result<()> {
    write(host, "web", None)?;
    write(host, "next", Some(8080))?;
    host.script("$podrun create web.json >/dev/null")?.ok()?;
    let leases = host.state_dir().join("net/podrun0/leases");
    let mut text = std::fs::read_to_string(&leases)?;
    text.push_str("address 0 99 held pr0123456789ab default/ghost\n");
    text.push_str("port TCP 8080 * pr0123456789ab default/ghost\n");
    std::fs::write(&leases, text)?;
    host.script("$podrun create next.json >/dev/null; $podrun delete pod web next --force")?.ok()?;
    let left = host.script("ip -o link | grep podrun || :; nft list tables")?.ok()?;
    ensure!(left.is_empty(), "the bridge went with the last pod: {left}");
    Ok(())
}

pub(super) fn delete_that_fails(host: &Host) -> Result<()> {
    write(host, "web", Some(8080))?;
    host.script("$podrun create web.json >/dev/null")?.ok()?;
    let id = host.script("ls $PODRUN_ROOT/pods")?.ok()?;
    let folder = host.root().join("pods").join(id.trim()).join("containers").to_string_lossy().into_owned();
    host.run("chattr", &["+i", &folder])?.ok()?;
    let deleted = host.podrun(&["delete", "pod", "web", "--force"]);
    let moved = folder.replace(id.trim(), &format!(".{}", id.trim()));
    let unlocked = host.run("chattr", &["-f", "-i", &folder, &moved]);
    let deleted = deleted?;
    unlocked?;
    ensure!(deleted.code() == 1 && deleted.stdout.is_empty(), "{deleted}");
    ensure!(deleted.stderr.contains("pod/web") && deleted.stderr.contains("EPERM"), "{deleted}");
    // The next verb, whichever, removes the rest.
    host.podrun(&["get", "pods"])?.ok()?;
    let left =
        host.script("ls -A $PODRUN_ROOT/pods $PODRUN_STATE_DIR/pods | grep -E '[0-9a-f]{64}' || :")?.ok()?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

fn wait_for_monitor(host: &Host) -> Result<()> {
    support::deadline::wait_for("the monitor has written it down and gone", || {
        ensure!(support::pods::monitors(host)?.is_empty(), "it is there");
        Ok(())
    })
}

/// How a pod ended is not lost because there was no room for it at that moment.
pub(super) fn status_waits_for_room(host: &Host) -> Result<()> {
    let root = "/run/small-root";
    let spec = json!({ "restartPolicy": "Never", "containers": [shell("main", "read line; exit 7")] });
    let mut pod = pod("web", &spec);
    pod["spec"]["containers"][0]["stdin"] = json!(true);
    host.write("web.json", &pod.to_string())?;
    let archive = support::fixtures::path("busybox.tar")?;
    host.script(&format!(
        "mkdir {root}; mount -t tmpfs -o size=32m small {root}; export PODRUN_ROOT={root}
         $podrun load {} >/dev/null; $podrun create web.json >/dev/null
         cat /dev/zero >{root}/fill 2>/dev/null || :",
        archive.display()
    ))?
    .ok()?;
    // Its monitor is there until the end is on the disk.
    host.script(&format!(
        "export PODRUN_ROOT={root}; echo end | $podrun attach web -i >/dev/null 2>&1 || :"
    ))?
    .ok()?;
    let show = format!("export PODRUN_ROOT={root}; $podrun get pod web -o json");
    let is_seen = |what: &str| {
        support::deadline::wait_for(what, || {
            let shown: Value = serde_json::from_str(&host.script(&show)?.ok()?)?;
            let code = &shown["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
            ensure!(shown["status"]["phase"] == "Failed" && code == 7, "{:#}", shown["status"]);
            Ok(())
        })
    };
    is_seen("the pod's end, though the disk is full")?;
    host.script(&format!("rm {root}/fill"))?.ok()?;
    wait_for_monitor(host)?;
    is_seen("the pod's end on the disk")?;
    host.script(&format!(
        "PODRUN_ROOT={root} $podrun delete pod web --force >/dev/null 2>&1; {}",
        leave(root)
    ))?
    .ok()?;
    Ok(())
}

/// Nor is it hidden by a disk that takes nothing any more, whoever saw the end: a monitor, or who found it dead.
pub(super) fn ends_are_seen_on_a_read_only_disk(host: &Host) -> Result<()> {
    let root = "/run/small-root";
    for (name, end) in [("seen", "exit 7"), ("lost", "sleep 1000")] {
        let mut main = shell("main", &format!("read line; {end}"));
        main["stdin"] = json!(true);
        let spec = json!({ "restartPolicy": "Never", "containers": [main] });
        host.write(&format!("{name}.json"), &pod(name, &spec).to_string())?;
    }
    let archive = support::fixtures::path("busybox.tar")?;
    host.script(&format!(
        "mkdir {root}; mount -t tmpfs -o size=32m small {root}; export PODRUN_ROOT={root}
         $podrun load {} >/dev/null; $podrun create lost.json >/dev/null
         lost=$(pgrep -f 'podrun.* [m]onitor'); $podrun create seen.json >/dev/null
         mount -o remount,ro {root}
         kill -9 $lost; echo end | $podrun attach seen -i >/dev/null 2>&1 || :",
        archive.display()
    ))?
    .ok()?;
    let rows = || host.script(&format!("PODRUN_ROOT={root} $podrun get pods --no-headers 2>/dev/null"))?.ok();
    let are_seen = |what: &str| {
        support::deadline::wait_for(what, || {
            let rows = rows()?;
            ensure!(
                rows.contains("MonitorLost") && rows.contains("Error") && !rows.contains("Running"),
                "{rows}"
            );
            Ok(())
        })
    };
    are_seen("both ends, though the disk is read only")?;
    host.script(&format!("mount -o remount,rw {root}"))?.ok()?;
    wait_for_monitor(host)?;
    are_seen("both ends on the disk")?;
    host.script(&format!(
        "PODRUN_ROOT={root} $podrun delete pod --all --force >/dev/null 2>&1; {}",
        leave(root)
    ))?
    .ok()?;
    Ok(())
}

/// What a restarted container's config is, is known and written when there is room.
pub(super) fn config_waits_for_room(host: &Host) -> Result<()> {
    let root = "/run/small-root";
    let mut main = shell("main", "read line || sleep 1000");
    main["stdin"] = json!(true);
    host.write("web.json", &pod("web", &json!({ "containers": [main] })).to_string())?;
    let archive = support::fixtures::path("busybox.tar")?;
    host.script(&format!(
        "mkdir {root}; mount -t tmpfs -o size=32m small {root}; export PODRUN_ROOT={root}
         $podrun load {} >/dev/null; $podrun create web.json >/dev/null
         cat /dev/zero >{root}/fill 2>/dev/null || :
         echo end | $podrun attach web -i >/dev/null 2>&1 || :",
        archive.display()
    ))?
    .ok()?;
    let exec = format!("PODRUN_ROOT={root} $podrun exec web -- echo inside");
    support::deadline::wait_for("the next attempt runs", || {
        ensure!(monitor_runs_second_attempt(host, root)?, "not yet");
        ensure!(host.script(&exec)?.ok()? == "inside\n", "exec");
        Ok(())
    })?;
    host.script(&format!("rm {root}/fill"))?.ok()?;
    support::deadline::wait_for("its config is whole on the disk", || {
        let configs = host.script(&format!("cat {root}/pods/*/containers/*/config.json"))?.ok()?;
        let whole = serde_json::Deserializer::from_str(&configs).into_iter::<Value>();
        ensure!(whole.filter_map(std::result::Result::ok).count() == 2, "{configs}");
        Ok(())
    })?;
    host.script(&format!(
        "PODRUN_ROOT={root} $podrun delete pod web --force >/dev/null 2>&1; {}",
        leave(root)
    ))?
    .ok()?;
    Ok(())
}

fn monitor_runs_second_attempt(host: &Host, root: &str) -> Result<bool> {
    let shown = host.script(&format!("PODRUN_ROOT={root} $podrun get pod web -o json"))?.ok()?;
    let shown: Value = serde_json::from_str(&shown)?;
    let main = &shown["status"]["containerStatuses"][0];
    Ok(main["restartCount"] == 1 && main["state"].get("running").is_some())
}

/// A file handle is resolved on the file system of any descriptor (open_by_handle_at(2)): what a container has mounted
/// must lead to nothing of the host's. The shocker, of 2014.
pub(super) fn handles(host: &Host) -> Result<()> {
    let mut main = shell("main", "sleep 1000");
    main["securityContext"] = json!({ "capabilities": { "add": ["DAC_READ_SEARCH"] } });
    host.create(&pod("web", &json!({ "containers": [main] })))?;
    let mounts = host.podrun(&["exec", "web", "--", "cat", "/proc/self/mountinfo"])?.ok()?;
    let of_host: BTreeSet<u64> = [host.root(), host.state_dir(), host.log_dir(), "/".into()]
        .iter()
        .map(|path| Ok(std::fs::metadata(path)?.dev()))
        .collect::<Result<_>>()?;
    let mut count = 0;
    for line in mounts.lines() {
        let device =
            line.split(' ').nth(2).and_then(|device| device.split_once(':')).context(line.to_owned())?;
        let device = nix::sys::stat::makedev(device.0.parse()?, device.1.parse()?);
        ensure!(!of_host.contains(&device), "a file system of the host's: {line}");
        count += 1;
    }
    ensure!(count > 10, "{mounts}");
    host.delete("web")?;
    Ok(())
}
