//! The edges of a pod's fields: what a kubelet and containerd do where the API's words end, and what a container
//! that means harm finds there.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::host::Host;
use support::pods::{pod, probe, shell};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    let busybox = &["busybox"];
    suite.on_host("a pod in the host's network is called as the host is", busybox, name_of_host_network);
    suite.on_host("a pod may ping and its users may listen on low ports", busybox, open_network);
    suite.on_host("a hostPath is made as its type says under any umask", busybox, host_path_is_made);
    suite.on_host("mount points in a hostPath stay on the host and nothing else", busybox, mount_points);
    suite.on_host("volumes on an image's links to nothing are where these lead", busybox, volumes_on_links);
    suite.on_host("an init container's hostPort is nobody's", &["busybox", "probe"], init_ports);
    suite.on_host("a folder swapped for a link never leads out of its volume", busybox, swapped_folder);
    suite.on_host("links in a volume over /etc lead nowhere on the host", busybox, linked_etc);
    suite.on_host("a process of exec shows the container nothing of the host", busybox, exec_shows_nothing);
    suite.on_host(
        "the init of a shared pid namespace is not theirs to end",
        &["probe", "busybox"],
        shared_init,
    );
    suite.on_host("every masked path is empty and cgroups are read-only", &["probe"], masks);
}

fn ask(host: &Host, name: &str, script: &str) -> Result<String> {
    host.podrun(&["exec", name, "--", "sh", "-c", script])?.ok()
}

fn name_of_host_network(host: &Host) -> Result<()> {
    let spec = json!({ "containers": [shell("main", "sleep 1000")], "hostNetwork": true, "hostname": "own" });
    host.create(&pod("net", &spec))?;
    let seen = ask(host, "net", "hostname; echo $HOSTNAME; cat /etc/hostname")?;
    ensure!(seen == "test-host\ntest-host\ntest-host\n", "{seen}");
    host.delete("net")?;
    Ok(())
}

fn open_network(host: &Host) -> Result<()> {
    let mut main = shell("main", "httpd -f -p 80 -h /etc");
    main["securityContext"] = json!({ "runAsUser": 1000, "capabilities": { "drop": ["ALL"] } });
    host.create(&pod("open", &json!({ "containers": [main] })))?;
    let groups = ask(host, "open", "cat /proc/sys/net/ipv4/ping_group_range")?;
    ensure!(groups == "0\t2147483647\n", "who may open a socket for pings: {groups}");
    wait_for("port 80 answers", || ask(host, "open", "wget -qO- http://127.0.0.1/hostname"))?;
    host.delete("open")?;
    Ok(())
}

fn volumes_on_links(host: &Host) -> Result<()> {
    let trees = std::fs::read_dir(host.root().join("layers"))?;
    let tree =
        trees.flatten().map(|entry| entry.path().join("tree")).find(|tree| tree.join("bin/sh").exists());
    let (tree, tar) = (tree.context("busybox has a layer with bin/sh")?, host.file("root.tar"));
    let (tree, tar) = (tree.display(), tar.to_string_lossy().into_owned());
    host.script(&format!(
        "cp -a {tree} root; ln -s ../made/kept root/kept; ln -s /made/data root/data; ln -s /made/time root/etc/localtime
        ln -sfn ../run/systemd/resolve/stub-resolv.conf root/etc/resolv.conf
        tar -C root -cf {tar} ."
    ))?
    .ok()?;
    host.podrun(&["image", "import", &tar, "lab/links:1", "--change", "VOLUME /kept/here"])?.ok()?;
    let file = host.write("file", "of the host\n")?;
    let main = json!({
        "name": "main", "image": "docker.io/lab/links:1", "imagePullPolicy": "Never",
        "command": ["sh", "-c", "sleep 1000"], "securityContext": { "readOnlyRootFilesystem": true },
        "volumeMounts": [
            { "name": "data", "mountPath": "/data" },
            { "name": "file", "mountPath": "/etc/localtime" },
        ],
    });
    let volumes = json!([
        { "name": "data", "emptyDir": {} },
        { "name": "file", "hostPath": { "path": file, "type": "File" } },
    ]);
    host.create(&pod("links", &json!({ "containers": [main], "volumes": volumes })))?;
    let script = "for at in data kept/here; do echo x >/$at/file && cat /made/$at/file; done; cat /made/time
        cmp /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf && grep -c ^nameserver /etc/resolv.conf";
    let seen = ask(host, "links", script)?;
    ensure!(seen.starts_with("x\nx\nof the host\n"), "{seen}");
    ensure!(seen.lines().nth(3).is_some_and(|count| count != "0"), "{seen}");
    host.delete("links")?;
    Ok(())
}

/// As under a kubelet: another pod's may be mounted there by the time that this one ends.
fn mount_points(host: &Host) -> Result<()> {
    let folder = host.file("shared");
    std::fs::create_dir_all(&folder)?;
    let mut main = shell("main", "echo said >/dev/termination-log; touch /dev/deep/file; sleep 1000");
    main["volumeMounts"] =
        json!([{ "name": "shared", "mountPath": "/dev" }, { "name": "own", "mountPath": "/dev/deep" }]);
    let volumes =
        json!([{ "name": "shared", "hostPath": { "path": folder } }, { "name": "own", "emptyDir": {} }]);
    host.create(&pod("web", &json!({ "containers": [main], "volumes": volumes })))?;
    host.delete("web")?;
    let mut left = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        let is_empty = match entry.file_type()?.is_dir() {
            true => std::fs::read_dir(entry.path())?.next().is_none(),
            false => entry.metadata()?.len() == 0,
        };
        ensure!(is_empty, "{:?} has something in it", entry.path());
        left.push(entry.file_name().to_string_lossy().into_owned());
    }
    left.sort();
    ensure!(left == ["deep", "mqueue", "pts", "shm", "termination-log"], "{left:?}");
    Ok(())
}

fn host_path_is_made(host: &Host) -> Result<()> {
    let folder = host.file("made");
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let volumes = json!([
        { "name": "a", "hostPath": { "path": at("plain/deep") } },
        { "name": "b", "hostPath": { "path": at("folder/deep"), "type": "DirectoryOrCreate" } },
        { "name": "c", "hostPath": { "path": at("file"), "type": "FileOrCreate" } },
    ]);
    let mut main = shell("main", "sleep 1000");
    main["volumeMounts"] = json!([
        { "name": "a", "mountPath": "/a" }, { "name": "b", "mountPath": "/b" }, { "name": "c", "mountPath": "/c" },
    ]);
    let file = pod("made", &json!({ "containers": [main], "volumes": volumes })).to_string();
    host.write("made.json", &file)?;
    host.script("umask 077; $podrun create made.json")?.ok()?;
    for (name, mode) in
        [("plain", 0o755), ("plain/deep", 0o755), ("folder", 0o755), ("folder/deep", 0o755), ("file", 0o644)]
    {
        let found = std::fs::metadata(folder.join(name)).with_context(|| name.to_owned())?;
        ensure!(found.permissions().mode() & 0o7777 == mode, "{name}: {:o}", found.permissions().mode());
    }
    host.delete("made")?;
    Ok(())
}

fn init_ports(host: &Host) -> Result<()> {
    let port = |own: u16| json!([{ "containerPort": own, "hostPort": 8080 }]);
    let (mut init, mut main) = (probe("init", &["exit", "0"]), probe("main", &["serve", "80", "served"]));
    init["ports"] = port(81);
    main["ports"] = port(80);
    let spec = json!({ "initContainers": [init], "containers": [main] });
    let outcome = host.podrun_with_stdin(&["create", "-"], pod("ports", &spec).to_string().as_bytes())?;
    ensure!(outcome.stderr.contains("spec.initContainers[0].ports[0].hostPort"), "a warning: {outcome}");
    outcome.ok()?;
    wait_for("the app answers", || {
        let script = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
        let page = host.run("timeout", &["5", "bash", "-c", script])?.ok()?;
        ensure!(page.contains("served"), "{page}");
        Ok(())
    })?;
    host.delete("ports")?;
    Ok(())
}

/// Exchanges two entries of a folder, again and again, while `work` runs.
fn while_swapping<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // One of them may be missing for a moment; there is another try.
                let _ = renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE);
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

/// CVE-2017-1002101 by the source of a subPath, CVE-2021-30465 by a mount point below a shared volume.
fn swapped_folder(host: &Host) -> Result<()> {
    let (volume, outside) = (host.file("volume"), host.file("outside"));
    std::fs::create_dir_all(volume.join("part"))?;
    std::fs::create_dir_all(&outside)?;
    host.write("outside/secret", "of the host")?;
    symlink(&outside, volume.join("link"))?;
    let mounts = json!([
        { "name": "shared", "mountPath": "/part", "subPath": "part" },
        { "name": "shared", "mountPath": "/shared" },
        { "name": "own", "mountPath": "/shared/part" },
    ]);
    let script = "cat /part/secret /shared/part/secret; touch /part/x /shared/part/x";
    let containers: Vec<Value> = (0..25)
        .map(|number| {
            let mut container = shell(&format!("c{number}"), script);
            container["volumeMounts"] = mounts.clone();
            container
        })
        .collect();
    let spec = json!({
        "containers": containers, "restartPolicy": "Never",
        "volumes": [{ "name": "shared", "hostPath": { "path": volume } }, { "name": "own", "emptyDir": {} }],
    });
    let manifest = pod("swapped", &spec).to_string();
    let mut ran = 0;
    for _ in 0..4 {
        while_swapping(&volume.join("part"), &volume.join("link"), || -> Result<()> {
            // A lookup that the exchange disturbs may fail, with the container: nothing more.
            let line = ["create", "--wait=none", "-"];
            host.podrun_with_stdin(&line, manifest.as_bytes())?.ok()?;
            let shown = host.wait_for_pod("swapped", "all had their try", |pod| {
                let statuses = pod["status"]["containerStatuses"].as_array();
                statuses.is_some_and(|statuses| {
                    statuses.iter().all(|one| {
                        one["state"]["terminated"].is_object()
                            || one["state"]["waiting"]["reason"]
                                .as_str()
                                .is_some_and(|why| why.ends_with("Error"))
                    })
                })
            })?;
            let statuses = shown["status"]["containerStatuses"].as_array().context("statuses")?;
            ran += statuses.iter().filter(|one| one["state"]["terminated"]["startedAt"].is_string()).count();
            let said = host.podrun(&["logs", "swapped", "--all-containers"])?.ok()?;
            ensure!(!said.contains("of the host"), "{said}");
            host.delete("swapped")?;
            Ok(())
        })?;
        let left: Vec<_> =
            std::fs::read_dir(&outside)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
        ensure!(left.len() == 1, "written outside: {left:?}");
    }
    ensure!(ran > 10, "only {ran} containers ran");
    Ok(())
}

/// CVE-2019-18837, CVE-2024-5154: what podrun writes into /etc does not follow what lies there.
fn linked_etc(host: &Host) -> Result<()> {
    let (etc, canary) = (host.file("etc"), host.write("canary", "untouched")?);
    std::fs::create_dir_all(&etc)?;
    symlink(&canary, etc.join("hosts"))?;
    symlink("../../../../../../../../..", etc.join("hostname"))?;
    let mut main = shell("main", "echo overwritten >/etc/hosts; sleep 1000");
    main["volumeMounts"] = json!([{ "name": "etc", "mountPath": "/etc" }]);
    let spec = json!({ "containers": [main], "volumes": [{ "name": "etc", "hostPath": { "path": etc } }] });
    let outcome =
        host.podrun_with_stdin(&["create", "--timeout=5s", "-"], pod("etc", &spec).to_string().as_bytes())?;
    if outcome.status.success() {
        host.delete("etc")?;
    }
    ensure!(std::fs::read_to_string(&canary)? == "untouched", "{outcome}");
    host.podrun(&["get", "pod", "etc"])?.fails_with(4)?;
    // CVE-2019-16884: a volume over /proc would answer for the kernel.
    for place in ["/proc", "/proc/sys", "/proc/self/attr"] {
        let mut main = shell("main", "sleep 1000");
        main["volumeMounts"] = json!([{ "name": "v", "mountPath": place }]);
        let spec = json!({ "containers": [main], "volumes": [{ "name": "v", "emptyDir": {} }] });
        let outcome = host.podrun_with_stdin(&["create", "-"], pod("proc", &spec).to_string().as_bytes())?;
        ensure!(outcome.code() == 1 && outcome.stderr.contains("/proc"), "{place}: {outcome}");
    }
    Ok(())
}

/// CVE-2016-9962, CVE-2024-21626: a container that may trace looks into every process that joins it.
fn exec_shows_nothing(host: &Host) -> Result<()> {
    let up = "/..".repeat(12);
    let there = host.root().to_string_lossy().into_owned();
    let script = format!(
        "while :; do for p in /proc/[0-9]*; do for d in root cwd fd/3 fd/4 fd/5 fd/6 fd/7 fd/8 fd/9; do \
         for way in $p/$d{there} $p/$d{up}{there}; do [ -d $way ] && echo $way; done; done; done; done"
    );
    let mut main = shell("main", &script);
    main["securityContext"] = json!({ "capabilities": { "add": ["SYS_PTRACE", "DAC_READ_SEARCH"] } });
    main["volumeMounts"] = json!([{ "name": "host", "mountPath": "/host", "readOnly": true }]);
    let volumes = json!([{ "name": "host", "hostPath": { "path": "/" } }]);
    host.create(&pod("spy", &json!({ "containers": [main], "volumes": volumes })))?;
    for _ in 0..30 {
        host.podrun(&["exec", "spy", "--", "true"])?.ok()?;
    }
    let said = host.podrun(&["logs", "spy"])?.ok()?;
    ensure!(said.is_empty(), "ways to the host: {said}");
    for number in 3..12 {
        let line = ["exec", "spy", "--", &format!("/proc/self/fd/{number}")];
        ensure!(host.podrun(&line)?.code() >= 126, "descriptor {number} can be executed");
    }
    // It would have seen one: here is a process that stands in the host's tree.
    let standing = host.start(&["exec", "spy", "--", "sh", "-c", "cd /host && sleep 1000"])?;
    wait_for("the spy sees a way that is there", || {
        let said = host.podrun(&["logs", "spy"])?.ok()?;
        ensure!(said.contains("/cwd"), "{said}");
        Ok(())
    })?;
    host.delete("spy")?;
    standing.wait()?;
    Ok(())
}

fn shared_init(host: &Host) -> Result<()> {
    let containers = json!([shell("a", "sleep 1000"), probe("b", &["sleep"])]);
    host.create(&pod("pids", &json!({ "containers": containers, "shareProcessNamespace": true })))?;
    // What a container may do to its neighbours it may not do to the one that ends them all.
    let said = ask(
        host,
        "pids",
        "for signal in TERM INT HUP KILL; do kill -$signal 1; done; sleep 0.2; echo alive",
    )?;
    ensure!(said == "alive\n", "{said}");
    // Killed from the host it takes the containers along, and they come back under another one.
    let init = host.run("pgrep", &["-u", "65534", "-f", "podrun monitor"])?.ok()?;
    host.run("kill", &["-9", init.trim()])?.ok()?;
    let shown = host.wait_for_pod("pids", "both are back", |pod| {
        let mut statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        statuses.all(|one| one["restartCount"] == 1 && one["state"]["running"].is_object())
    })?;
    for one in shown["status"]["containerStatuses"].as_array().into_iter().flatten() {
        ensure!(one["lastState"]["terminated"]["exitCode"] == 137, "{one:#}");
    }
    let seen = ask(host, "pids", "cat /proc/[0-9]*/cmdline")?;
    ensure!(seen.contains("/probe"), "they share one again: {seen}");
    host.delete("pids")?;
    Ok(())
}

fn masks(host: &Host) -> Result<()> {
    host.create(&support::pods::sleeper("web"))?;
    let probe = |arguments: &[&str]| host.podrun(&[&["exec", "web", "--", "/probe"], arguments].concat());
    for path in [
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/timer_list",
        "/proc/timer_stats",
    ] {
        let found = probe(&["read", path])?;
        let is_absent = found.stderr.contains("os error 2");
        ensure!(is_absent || found.code() == 0 && found.stdout.is_empty(), "{path}: {found}");
    }
    let seen: Value = serde_json::from_str(&probe(&["report"])?.ok()?)?;
    let mounts = seen["mounts"].as_array().context("mounts")?;
    for folder in ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"] {
        let is_there = Path::new(folder).is_dir();
        let mask = mounts.iter().find(|mount| mount["destination"] == folder);
        ensure!(is_there == mask.is_some_and(|mount| mount["type"] == "tmpfs"), "{folder}: {mask:?}");
    }
    let cgroups =
        mounts.iter().filter(|mount| mount["type"].as_str().is_some_and(|kind| kind.starts_with("cgroup")));
    let folders: Vec<_> = cgroups.filter_map(|mount| mount["destination"].as_str()).collect();
    ensure!(!folders.is_empty(), "{mounts:?}");
    for folder in folders {
        for file in ["cgroup.procs", "release_agent", "memory.limit_in_bytes", "devices.allow"] {
            let said = probe(&["write", &format!("{folder}/{file}"), "1"])?.ok()?;
            ensure!(said.contains("os error 30") || said.contains("os error 2"), "{folder}/{file}: {said}");
        }
    }
    host.delete("web")?;
    Ok(())
}
