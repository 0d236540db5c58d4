//! The fields of a pod, one after the other: what a container sees when one is set.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::fixtures::reference;
use support::host::Host;
use support::pods::{container_status, logged_report, pod, probe, report, shell, sleeper};
use support::suite::Suite;

const PROBE: &[&str] = &["probe"];
const BUSYBOX: &[&str] = &["busybox"];

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host(
        "command and args stand for entrypoint and cmd as Kubernetes says",
        &["layers"],
        command_and_args,
    );
    suite.on_host("a working directory that is not there is made", PROBE, working_dir);
    suite.on_host("users are numbers names and the image's groups", BUSYBOX, users);
    suite.on_host("runAsNonRoot looks at the user that it would be", &["layers", "busybox"], run_as_non_root);
    suite.on_host("capabilities are added and dropped by name and by ALL", PROBE, capabilities);
    suite.on_host("a container cannot escalate when it must not", BUSYBOX, escalation);
    suite.on_host("sysctls are the pod's own and unsafe ones are refused", PROBE, sysctls);
    suite.on_host_with_controller(
        "seccomp rlimits and oom score are those of a pod",
        "memory",
        PROBE,
        process_attributes,
    );
    suite.on_host("proc and sys hide what is the host's", PROBE, masks);
    suite.on_host("a subPath is a part of a volume and never climbs out", BUSYBOX, sub_path);
    suite.on_host(
        "an emptyDir outlives a container's restart and ends with the pod",
        BUSYBOX,
        empty_dir_lives,
    );
    suite.on_host("a memory volume is full at its limit", BUSYBOX, memory_limit);
    suite.on_host("a hostPath shows the host's files and mounts", BUSYBOX, host_path);
    suite.on_host("the image's volumes are writable on a read-only root", &["layers"], image_volumes);
    suite.on_host_with_controller(
        "cpu and memory requests and limits are Kubernetes' in the cgroups",
        "memory",
        PROBE,
        resources,
    );
    suite.on_host_with_controller(
        "a number of processes is what a container may have at most",
        "pids",
        PROBE,
        pids_limit,
    );
    suite.on_host(
        "the termination message comes from the file or the end of the log",
        BUSYBOX,
        termination_message,
    );
    suite.on_host("names that are too long are cut and a subdomain is written", BUSYBOX, names);
    suite.on_host("resolv.conf follows the DNS policy", BUSYBOX, dns);
    suite.on_host("a pod in the host's network has the host's files and ports", BUSYBOX, host_network);
    suite.on_host("a pod in the host's pid and ipc namespaces sees the host's", PROBE, host_namespaces);
    suite.on_host("ports of both protocols and of one address reach the pod", PROBE, ports);
    suite.on_host("the manifest may be YAML with several documents", PROBE, yaml);
}

/// Runs a pod of one container that ends, and gives what its `report` saw.
fn seen_by(host: &Host, container: &Value, spec: &Value) -> Result<Value> {
    let mut spec = spec.clone();
    spec["containers"] = json!([container]);
    spec["restartPolicy"] = json!("Never");
    host.create(&pod("once", &spec))?;
    let shown = host.wait_for_pod("once", "an end", |pod| {
        ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase)
    })?;
    ensure!(shown["status"]["phase"] == "Succeeded", "{:#}", shown["status"]);
    let seen = logged_report(host, "once", "main")?;
    host.delete("once")?;
    Ok(seen)
}

fn words(list: &Value) -> Vec<&str> {
    let mut words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    words.sort_unstable();
    words
}

/// Runs a shell in the pod's first container.
fn ask(host: &Host, name: &str, script: &str) -> Result<String> {
    host.podrun(&["exec", name, "--", "sh", "-c", script])?.ok()
}

/// The create is refused with `code`, and what it says holds each of `words`; no pod is left.
fn refused(host: &Host, manifest: &Value, code: i32, words: &[&str]) -> Result<()> {
    let outcome = host.podrun_with_stdin(&["create", "-"], manifest.to_string().as_bytes())?;
    ensure!(outcome.code() == code, "expected {code}: {outcome}");
    for word in words {
        ensure!(outcome.stderr.contains(word), "`{word}` is not in: {outcome}");
    }
    ensure!(host.podrun(&["get", "pods"])?.ok()?.is_empty(), "a pod is left: {outcome}");
    Ok(())
}

fn command_and_args(host: &Host) -> Result<()> {
    // The image says Entrypoint ["/probe"] and Cmd ["report"].
    for (command, arguments, wanted) in [
        (None, None, json!(["/probe", "report"])),
        (Some(json!(["/probe"])), None, json!(["/probe"])),
        (None, Some(json!(["report"])), json!(["/probe", "report"])),
        (Some(json!(["/probe", "report"])), None, json!(["/probe", "report"])),
        (Some(json!(["/probe"])), Some(json!(["report"])), json!(["/probe", "report"])),
    ] {
        let mut main = json!({ "name": "main", "image": reference("layers") });
        main["command"] = command.unwrap_or_default();
        main["args"] = arguments.unwrap_or_default();
        let main: Value = main
            .as_object()
            .context("an object")?
            .clone()
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect();
        let seen = seen_by(host, &main, &json!({}))?;
        ensure!(seen["arguments"] == wanted, "{main}: {}", seen["arguments"]);
        ensure!(seen["cwd"] == "/kept" && seen["pid"] == 1, "{}", seen["cwd"]);
    }
    Ok(())
}

fn working_dir(host: &Host) -> Result<()> {
    let mut main = probe("main", &["report"]);
    main["workingDir"] = json!("/made/for/this");
    ensure!(seen_by(host, &main, &json!({}))?["cwd"] == "/made/for/this", "workingDir");
    Ok(())
}

fn users(host: &Host) -> Result<()> {
    // In Debian's base-passwd `www-data` is 33, `games` is 5 and its group 60.
    let as_user = |user: u64, context: Value| {
        let mut manifest = pod("user", &json!({ "containers": [shell("main", "sleep 1000")] }));
        manifest["spec"]["securityContext"] = context;
        if user > 0 {
            manifest["spec"]["securityContext"]["runAsUser"] = json!(user);
        }
        manifest
    };
    for (user, context, wanted) in [
        (0, json!({}), "0:0:0:/root"),
        (33, json!({}), "33:33:33:/var/www"),
        (5, json!({}), "5:60:60:/usr/games"),
        (12345, json!({}), "12345:0:0:/"),
        (33, json!({ "runAsGroup": 7, "supplementalGroups": [8, 9] }), "33:7:7 8 9:/var/www"),
    ] {
        host.create(&as_user(user, context))?;
        let seen = ask(host, "user", "echo $(id -u):$(id -g):$(id -G):$HOME")?;
        ensure!(seen.trim_end() == wanted, "{wanted}: {seen}");
        host.delete("user")?;
    }
    // As a runtime below containerd finds it: where it is empty, and in the file that the container sees.
    let own = host.write("passwd", "x:x:33:33::/mounted:\n")?;
    let mut main = shell("main", "sleep 1000");
    main["env"] = json!([{ "name": "HOME" }]);
    main["volumeMounts"] = json!([{ "name": "own", "mountPath": "/etc/passwd" }]);
    let volumes = json!([{ "name": "own", "hostPath": { "path": own } }]);
    let spec = json!({ "containers": [main], "volumes": volumes, "securityContext": { "runAsUser": 33 } });
    host.create(&pod("user", &spec))?;
    let seen = ask(host, "user", "echo $HOME; tr '\\0' '\\n' </proc/1/environ | grep HOME")?;
    ensure!(seen == "/mounted\nHOME=/mounted\n", "{seen}");
    host.delete("user")?;
    Ok(())
}

fn run_as_non_root(host: &Host) -> Result<()> {
    let non_root = json!({ "runAsNonRoot": true });
    // The image `layers` says User 1234:5678; `busybox` says nothing, which is root.
    let mut main = json!({ "name": "main", "image": reference("layers") });
    main["securityContext"] = non_root.clone();
    ensure!(seen_by(host, &main, &json!({}))?["uids"][0] == 1234, "the image's user is none of root");
    let mut manifest = pod("root", &json!({ "containers": [shell("main", "sleep 1000")] }));
    manifest["spec"]["securityContext"] = non_root;
    refused(host, &manifest, 1, &["runAsNonRoot", "root"])?;
    manifest["spec"]["securityContext"]["runAsUser"] = json!(0);
    refused(host, &manifest, 3, &["runAsNonRoot"])
        .or_else(|_| refused(host, &manifest, 1, &["runAsNonRoot"]))?;
    // Without waiting the pod stays, and says why it does not start.
    manifest["spec"]["securityContext"] = json!({ "runAsNonRoot": true });
    host.podrun_with_stdin(&["create", "--wait=none", "-"], manifest.to_string().as_bytes())?.ok()?;
    host.wait_for_pod("root", "the reason", |pod| {
        container_status(pod, "main")
            .is_some_and(|main| main["state"]["waiting"]["reason"] == "CreateContainerConfigError")
    })?;
    host.delete("root")?;
    Ok(())
}

fn capabilities(host: &Host) -> Result<()> {
    let with = |context: Value| {
        let mut main = probe("main", &["report"]);
        main["securityContext"] = json!({ "capabilities": context });
        main
    };
    let seen =
        seen_by(host, &with(json!({ "add": ["NET_ADMIN", "SYS_TIME"], "drop": ["KILL"] })), &json!({}))?;
    let set = words(&seen["capabilities"]["effective"]);
    ensure!(set.contains(&"NET_ADMIN") && set.contains(&"SYS_TIME") && !set.contains(&"KILL"), "{set:?}");
    ensure!(set.len() == 15, "{set:?}");
    let seen = seen_by(host, &with(json!({ "drop": ["ALL"] })), &json!({}))?;
    for set in ["effective", "permitted", "bounding", "inheritable", "ambient"] {
        ensure!(words(&seen["capabilities"][set]).is_empty(), "{set}: {}", seen["capabilities"][set]);
    }
    let seen = seen_by(host, &with(json!({ "add": ["ALL"], "drop": ["SYS_ADMIN"] })), &json!({}))?;
    let set = words(&seen["capabilities"]["effective"]);
    ensure!(set.contains(&"NET_ADMIN") && !set.contains(&"SYS_ADMIN") && set.len() > 30, "{set:?}");
    let seen = seen_by(host, &with(json!({ "add": ["CAP_NET_ADMIN"] })), &json!({}));
    ensure!(
        seen.is_ok() || host.podrun(&["get", "pods"])?.ok()?.is_empty(),
        "a name with CAP_ is taken or refused"
    );
    let unknown = pod("unknown", &json!({ "containers": [with(json!({ "drop": ["NO_SUCH", "KILL"] }))] }));
    let told = host.podrun_with_stdin(&["validate", "-"], unknown.to_string().as_bytes())?;
    ensure!(told.code() == 0 && told.stderr.contains("no capability is called \"NO_SUCH\""), "{told}");
    let seen = seen_by(host, &with(json!({ "drop": ["NO_SUCH", "KILL"] })), &json!({}))?;
    ensure!(words(&seen["capabilities"]["effective"]).len() == 13, "{}", seen["capabilities"]);
    refused(
        host,
        &pod("wrong", &json!({ "containers": [with(json!({ "add": ["NO_SUCH"] }))] })),
        3,
        &["NO_SUCH"],
    )?;
    Ok(())
}

fn escalation(host: &Host) -> Result<()> {
    // ping-like: a program with the setuid bit becomes root only where escalation is allowed.
    let script = "cp /bin/busybox /tmp/id; chown root /tmp/id; chmod 4755 /tmp/id";
    let spec = |allowed: bool| {
        let mut init = shell("init", script);
        let mut main = shell("main", "/v/id -u; sleep 1000");
        let mounts = json!([{ "name": "v", "mountPath": "/v" }]);
        init["command"] = json!(["sh", "-c", script.replace("/tmp", "/v")]);
        init["volumeMounts"] = mounts.clone();
        main["volumeMounts"] = mounts;
        main["securityContext"] = json!({ "runAsUser": 1000, "allowPrivilegeEscalation": allowed });
        json!({ "initContainers": [init], "containers": [main], "volumes": [{ "name": "v", "emptyDir": {} }] })
    };
    for (allowed, wanted) in [(false, "NoNewPrivs:\t1"), (true, "NoNewPrivs:\t0")] {
        host.create(&pod("set", &spec(allowed)))?;
        let status = ask(host, "set", "grep NoNewPrivs /proc/1/status /proc/self/status")?;
        ensure!(status.matches(wanted).count() == 2, "exec too: {status}");
        host.delete("set")?;
    }
    let mut manifest = pod("set", &spec(false));
    manifest["spec"]["containers"][0]["securityContext"]["privileged"] = json!(true);
    refused(host, &manifest, 3, &["allowPrivilegeEscalation"])
}

fn sysctls(host: &Host) -> Result<()> {
    let before = host
        .run("cat", &["/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/ipv4/ip_unprivileged_port_start"])?
        .ok()?;
    let mut manifest = sleeper("tuned");
    manifest["spec"]["securityContext"] = json!({ "sysctls": [
        { "name": "kernel.shm_rmid_forced", "value": "1" },
        { "name": "net.ipv4.ip_unprivileged_port_start", "value": "100" },
        { "name": "net.ipv4.ping_group_range", "value": "0 2000" },
    ] });
    host.create(&manifest)?;
    let read = |name: &str| {
        host.podrun(&["exec", "tuned", "--", "/probe", "read", &format!("/proc/sys/{name}")])?.ok()
    };
    ensure!(read("kernel/shm_rmid_forced")? == "1\n", "an ipc one");
    ensure!(read("net/ipv4/ip_unprivileged_port_start")? == "100\n", "a net one");
    ensure!(read("net/ipv4/ping_group_range")? == "0\t2000\n", "a list");
    let after = host
        .run("cat", &["/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/ipv4/ip_unprivileged_port_start"])?
        .ok()?;
    ensure!(before == after, "the host's are its own");
    host.delete("tuned")?;
    for (name, value) in [("kernel.panic", "1"), ("vm.swappiness", "1"), ("net.ipv4.no_such_thing", "1")] {
        let mut manifest = sleeper("tuned");
        manifest["spec"]["securityContext"] = json!({ "sysctls": [{ "name": name, "value": value }] });
        let outcome = host.podrun_with_stdin(&["create", "-"], manifest.to_string().as_bytes())?;
        ensure!(!outcome.status.success() && outcome.stderr.contains(name), "{name}: {outcome}");
        host.podrun(&["get", "pod", "tuned"])?.fails_with(4)?;
    }
    Ok(())
}

fn process_attributes(host: &Host) -> Result<()> {
    let seen = seen_by(host, &probe("main", &["report"]), &json!({}))?;
    ensure!(seen["oomScoreAdj"] == "1000", "BestEffort: {}", seen["oomScoreAdj"]);
    ensure!(seen["noNewPrivs"] == false, "as Kubernetes' default");
    ensure!(seen["parent"] == 0, "pid 1 has no parent inside: {}", seen["parent"]);
    let mut main = probe("main", &["report"]);
    main["resources"] = json!({ "limits": { "cpu": "100m", "memory": "64Mi" } });
    let guaranteed = seen_by(host, &main, &json!({}))?;
    let score: i32 = guaranteed["oomScoreAdj"].as_str().context("a number")?.parse()?;
    ensure!(score <= 0, "Guaranteed: {score}");
    Ok(())
}

fn masks(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    let probe =
        |arguments: &[&str]| host.podrun(&[&["exec", "web", "--", "/probe"], arguments].concat())?.ok();
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        let found = host.podrun(&["exec", "web", "--", "/probe", "read", path])?;
        let absent = found.stderr.contains("os error 2");
        ensure!(absent || found.code() == 0 && found.stdout.is_empty(), "{path} is masked: {found}");
    }
    for path in ["/proc/sysrq-trigger", "/proc/sys/vm/swappiness", "/sys/fs/cgroup/x"] {
        ensure!(!probe(&["write", path, "1"])?.starts_with("ok"), "{path} takes writes");
    }
    let seen = report(host, "web", "main")?;
    let mounts = seen["mounts"].as_array().context("mounts")?;
    let root = &mounts[0];
    ensure!(root["destination"] == "/" && root["type"] == "overlay", "{root}");
    for (place, option) in
        [("/sys", "ro"), ("/proc", "nosuid"), ("/dev/shm", "nodev"), ("/dev/mqueue", "nosuid")]
    {
        let mount = mounts.iter().find(|mount| mount["destination"] == place).context(place)?;
        ensure!(words(&mount["options"]).contains(&option), "{mount}");
    }
    let outside = host.root();
    let outside = outside.to_string_lossy();
    ensure!(
        !mounts.iter().any(|mount| mount["destination"] == *outside),
        "nothing of the host's tree is mounted"
    );
    host.delete("web")?;
    Ok(())
}

fn sub_path(host: &Host) -> Result<()> {
    let mut init = shell(
        "init",
        "mkdir -p /v/inner/deep; echo inner >/v/inner/file; ln -s /etc /v/climb; ln -s ../.. /v/up",
    );
    init["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    let mut main = shell("main", "sleep 1000");
    main["volumeMounts"] = json!([
        { "name": "v", "mountPath": "/part", "subPath": "inner" },
        { "name": "v", "mountPath": "/one-file", "subPath": "inner/file", "readOnly": true },
        { "name": "v", "mountPath": "/fresh", "subPath": "made/for/this" },
    ]);
    let spec = json!({ "initContainers": [init], "containers": [main], "volumes": [{ "name": "v", "emptyDir": {} }] });
    host.create(&pod("parts", &spec))?;
    let seen = ask(
        host,
        "parts",
        "ls /part; cat /one-file; ls /fresh | wc -l; echo x >/one-file || echo read-only",
    )?;
    ensure!(seen == "deep\nfile\ninner\n0\nread-only\n", "{seen}");
    host.delete("parts")?;
    for path in ["../x", "/etc", "a/../../b"] {
        let mut manifest = pod("parts", &spec);
        manifest["spec"]["containers"][0]["volumeMounts"] =
            json!([{ "name": "v", "mountPath": "/part", "subPath": path }]);
        refused(host, &manifest, 3, &["subPath"])?;
    }
    // A link that leads out is refused, and not taken for one to what has the same path inside; on a disk and in memory.
    for (link, medium) in
        ["climb", "up", "up/etc", "up/new"].iter().flat_map(|link| [(link, ""), (link, "Memory")])
    {
        let mut manifest = pod("parts", &spec);
        manifest["spec"]["volumes"][0]["emptyDir"] = json!({ "medium": medium });
        manifest["spec"]["containers"][0]["volumeMounts"] =
            json!([{ "name": "v", "mountPath": "/part", "subPath": link }]);
        refused(host, &manifest, 1, &["/part", "leads out of the volume"])?;
    }
    Ok(())
}

fn empty_dir_lives(host: &Host) -> Result<()> {
    let mounts = json!([{ "name": "disk", "mountPath": "/disk" }, { "name": "ram", "mountPath": "/ram" }]);
    let mut main = shell(
        "main",
        "cat /disk/f /ram/f; echo kept >/disk/f; echo kept >/ram/f; touch /gone; test -s /disk/again && sleep 1000; echo x >/disk/again; exit 1",
    );
    main["volumeMounts"] = mounts;
    let spec = json!({
        "containers": [main],
        "volumes": [{ "name": "disk", "emptyDir": {} }, { "name": "ram", "emptyDir": { "medium": "Memory" } }],
    });
    host.create(&pod("web", &spec))?;
    host.wait_for_pod("web", "a restart", |pod| {
        container_status(pod, "main")
            .is_some_and(|main| main["restartCount"] == 1 && main["state"]["running"].is_object())
    })?;
    wait_for("both were kept", || {
        let log = host.podrun(&["logs", "web"])?.ok()?;
        ensure!(log == "kept\nkept\n", "{log}");
        Ok(())
    })?;
    host.delete("web")?;
    Ok(())
}

fn memory_limit(host: &Host) -> Result<()> {
    let mut main = shell("main", "sleep 1000");
    main["volumeMounts"] = json!([{ "name": "ram", "mountPath": "/ram" }]);
    let volumes = json!([{ "name": "ram", "emptyDir": { "medium": "Memory", "sizeLimit": "2Mi" } }]);
    host.create(&pod("ram", &json!({ "containers": [main], "volumes": volumes })))?;
    let said = ask(
        host,
        "ram",
        "head -c 1000000 /dev/zero >/ram/a && echo fits; head -c 3000000 /dev/zero >/ram/b 2>&1 || echo full",
    )?;
    ensure!(said.starts_with("fits\n") && said.ends_with("full\n"), "{said}");
    host.delete("ram")?;
    Ok(())
}

fn host_path(host: &Host) -> Result<()> {
    let folder = host.file("shared");
    std::fs::create_dir_all(folder.join("inner"))?;
    let inner = folder.join("inner").to_string_lossy().into_owned();
    host.run("mount", &["-t", "tmpfs", "inner", &inner])?.ok()?;
    host.run("sh", &["-c", &format!("echo of the host >{inner}/file")])?.ok()?;
    std::os::unix::fs::symlink(&folder, host.file("link"))?;
    let mut main = shell("main", "sleep 1000");
    main["volumeMounts"] =
        json!([{ "name": "v", "mountPath": "/v" }, { "name": "v", "mountPath": "/ro", "readOnly": true }]);
    let spec = json!({ "containers": [main], "volumes": [{ "name": "v", "hostPath": { "path": host.file("link"), "type": "Directory" } }] });
    host.create(&pod("files", &spec))?;
    let seen = ask(
        host,
        "files",
        "cat /v/inner/file /ro/inner/file; echo x >/v/new; echo x >/ro/new2 || echo read-only",
    )?;
    ensure!(seen == "of the host\nof the host\nread-only\n", "{seen}");
    ensure!(folder.join("new").exists() && !folder.join("new2").exists(), "the host's folder");
    host.delete("files")?;
    host.run("umount", &[&inner])?.ok()?;
    ensure!(folder.join("new").exists(), "a hostPath stays as it is");
    Ok(())
}

fn image_volumes(host: &Host) -> Result<()> {
    // The image `layers` declares /volume.
    let main = json!({
        "name": "main", "image": reference("layers"), "args": ["sleep"],
        "securityContext": { "readOnlyRootFilesystem": true, "runAsUser": 0 },
    });
    host.create(&pod("volume", &json!({ "containers": [main] })))?;
    let write = |path: &str| host.podrun(&["exec", "volume", "--", "/probe", "write", path, "x"])?.ok();
    ensure!(write("/volume/file")? == "ok\n", "the image's volume takes writes");
    ensure!(write("/kept/file")?.contains("os error 30"), "the rest does not");
    host.delete("volume")?;
    Ok(())
}

/// The value of the first of `files` that a cgroup has, in whatever hierarchy.
fn cgroup_value(host: &Host, below: &str, files: &[&str]) -> Result<String> {
    for folder in host.cgroup_folders()? {
        for file in files {
            if let Ok(text) = std::fs::read_to_string(folder.join(below).join(file)) {
                return Ok(text.trim_end().to_owned());
            }
        }
    }
    anyhow::bail!("{below}: none of {files:?}")
}

/// The cgroups of a pod and of its container, below the host's.
fn cgroups_of(host: &Host, name: &str) -> Result<(String, String)> {
    let ns: Value = serde_json::from_str(&host.podrun(&["ns", name, "-o", "json"])?.ok()?)?;
    let id = ns["pods"][0]["id"].as_str().context("id")?.to_owned();
    let shown = host.pod(name)?;
    let container = shown["status"]["containerStatuses"][0]["containerID"].as_str().context("containerID")?;
    let container = container.rsplit('/').next().context("an id")?;
    ensure!(
        shown["status"]["containerStatuses"][0]["containerID"]
            .as_str()
            .is_some_and(|id| id.starts_with("podrun://")),
        "{shown:#}"
    );
    Ok((id.clone(), format!("{id}/{container}")))
}

fn resources(host: &Host) -> Result<()> {
    let mut manifest = sleeper("web");
    manifest["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "250m", "memory": "32Mi" }, "limits": { "cpu": "1500m", "memory": "64Mi" } });
    host.create(&manifest)?;
    ensure!(host.pod("web")?["status"]["qosClass"] == "Burstable", "qosClass");
    let (pod_group, container) = cgroups_of(host, "web")?;
    for group in [&pod_group, &container] {
        ensure!(
            cgroup_value(host, group, &["memory.limit_in_bytes", "memory.max"])? == "67108864",
            "{group}"
        );
        let quota = cgroup_value(host, group, &["cpu.cfs_quota_us", "cpu.max"])?;
        ensure!(quota == "150000" || quota == "150000 100000", "{group}: {quota}");
        let shares = cgroup_value(host, group, &["cpu.shares", "cpu.weight"])?;
        ensure!(["256", "35"].contains(&shares.as_str()), "250m is 256 shares: {shares}");
    }
    let counted: u64 =
        cgroup_value(host, &container, &["memory.usage_in_bytes", "memory.current"])?.parse()?;
    ensure!(counted > 0, "the container's memory is counted");
    host.delete("web")?;
    // A container without limits leaves the pod without, and requests alone set the shares.
    let spec = json!({ "containers": [probe("main", &["sleep"]), probe("other", &["sleep"])] });
    let mut manifest = pod("web", &spec);
    manifest["spec"]["containers"][1]["resources"] = json!({ "limits": { "memory": "32Mi" } });
    host.create(&manifest)?;
    let (_, container) = cgroups_of(host, "web")?;
    let limit = cgroup_value(host, &container, &["memory.limit_in_bytes", "memory.max"]).unwrap_or_default();
    ensure!(limit != "33554432", "the limit is the other's: {limit}");
    host.delete("web")?;
    Ok(())
}

fn pids_limit(host: &Host) -> Result<()> {
    // Pods have no field for it: a container may have what podrun gives every one.
    host.create(&pod("bomb", &json!({ "containers": [probe("main", &["fork-bomb", "100000"])] })))?;
    let log = wait_for("it is refused", || {
        let log = host.podrun(&["logs", "bomb"])?.ok()?;
        let line = log.lines().find(|line| line.starts_with("started ")).context(log.clone())?;
        Ok(line.to_owned())
    })?;
    let started: u32 = log.split([' ', ':']).nth(1).context("a number")?.parse()?;
    ensure!((100..4096).contains(&started) && log.contains("os error 11"), "{log}");
    ensure!(host.pod("bomb")?["status"]["phase"] == "Running", "the pod goes on");
    host.delete("bomb")?;
    Ok(())
}

fn termination_message(host: &Host) -> Result<()> {
    let end = |script: &str, policy: &str, path: &str| -> Result<Value> {
        let mut main = shell("main", script);
        main["terminationMessagePolicy"] = json!(policy);
        main["terminationMessagePath"] = json!(path);
        host.create(&pod("last", &json!({ "containers": [main], "restartPolicy": "Never" })))?;
        let shown = host.wait_for_pod("last", "Failed", |pod| pod["status"]["phase"] == "Failed")?;
        host.delete("last")?;
        Ok(container_status(&shown, "main").context("main")?["state"]["terminated"]["message"].clone())
    };
    let (log, fallback) = ("/dev/termination-log", "FallbackToLogsOnError");
    ensure!(end("echo of the log; exit 1", fallback, log)? == "of the log\n", "the log's end");
    ensure!(
        end("echo of the log; echo of the file >/dev/termination-log; exit 1", fallback, log)?
            == "of the file\n",
        "the file first"
    );
    ensure!(end("echo of the log; exit 1", "File", log)?.is_null(), "no file, no message");
    ensure!(end("echo own >/tmp/my-end; exit 1", "File", "/tmp/my-end")? == "own\n", "a path of one's own");
    let long = end("head -c 10000 /dev/zero | tr '\\0' x >/dev/termination-log; exit 1", "File", log)?;
    ensure!(long.as_str().map(str::len) == Some(4096), "at most 4096 bytes");
    let long = end("seq 1 1000; exit 1", fallback, log)?;
    let long = long.as_str().context("a message")?;
    ensure!(long.len() <= 2048 && long.lines().count() <= 80 && long.ends_with("1000\n"), "{long}");
    Ok(())
}

fn names(host: &Host) -> Result<()> {
    let name = format!("{}.{}.end", "a".repeat(70), "b".repeat(60));
    let mut manifest = pod(&name, &json!({ "containers": [shell("main", "sleep 1000")] }));
    host.create(&manifest)?;
    ensure!(ask(host, &name, "hostname")? == format!("{}\n", "a".repeat(63)), "cut to 63");
    host.delete(&name)?;
    manifest["metadata"]["name"] = json!("web");
    manifest["metadata"]["namespace"] = json!("blue");
    manifest["spec"]["hostname"] = json!("front");
    manifest["spec"]["subdomain"] = json!("group");
    manifest["spec"]["hostAliases"] =
        json!([{ "ip": "10.1.2.3", "hostnames": ["one", "two"] }, { "ip": "fd00::1", "hostnames": ["six"] }]);
    host.create(&manifest)?;
    let ask = |script: &str| host.podrun(&["exec", "-n", "blue", "web", "--", "sh", "-c", script])?.ok();
    ensure!(ask("hostname; cat /etc/hostname")? == "front\nfront\n", "hostname");
    let hosts = ask("cat /etc/hosts")?;
    ensure!(hosts.contains("\tfront.group.blue.svc.cluster.local\tfront\n"), "{hosts}");
    ensure!(hosts.contains("10.1.2.3\tone\ttwo\n") && hosts.contains("fd00::1\tsix\n"), "{hosts}");
    ensure!(hosts.contains("# Entries added by HostAliases."), "{hosts}");
    host.podrun(&["delete", "-n", "blue", "web", "--force"])?.ok()?;
    Ok(())
}

fn dns(host: &Host) -> Result<()> {
    // The host's own resolv.conf is the machine's: it is covered by one of the test's.
    let own = host.write(
        "resolv.conf",
        "search corp.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions timeout:1\n",
    )?;
    let target = std::fs::canonicalize("/etc/resolv.conf").context("the machine has a resolv.conf")?;
    let target = target.to_string_lossy().into_owned();
    host.run("mount", &["--bind", &own.to_string_lossy(), &target])?.ok()?;
    let with = |policy: &str, config: Value| -> Result<String> {
        let mut spec = json!({ "containers": [shell("main", "sleep 1000")], "dnsPolicy": policy });
        if config.is_object() {
            spec["dnsConfig"] = config;
        }
        host.create(&pod("dns", &spec))?;
        let text = ask(host, "dns", "cat /etc/resolv.conf")?;
        host.delete("dns")?;
        Ok(text)
    };
    let text = with("Default", json!(null))?;
    ensure!(
        text.contains("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
            && text.contains("search corp.example\n"),
        "{text}"
    );
    ensure!(
        with("ClusterFirst", json!(null))?.contains("nameserver 192.0.2.1\n"),
        "without a cluster as Default"
    );
    let more = json!({ "nameservers": ["192.0.2.9", "192.0.2.1"], "searches": ["own.example"], "options": [{ "name": "timeout", "value": "3" }, { "name": "debug" }] });
    let text = with("Default", more.clone())?;
    ensure!(
        text.contains("nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.9\n"),
        "added, once each: {text}"
    );
    ensure!(
        text.contains("search corp.example own.example\n")
            && text.contains("timeout:3")
            && text.contains("debug"),
        "{text}"
    );
    ensure!(!text.contains("timeout:1"), "the pod's option counts: {text}");
    let text = with("None", more)?;
    ensure!(!text.contains("192.0.2.2") && !text.contains("corp.example"), "{text}");
    refused(
        host,
        &pod("dns", &json!({ "containers": [shell("main", "sleep 1")], "dnsPolicy": "None" })),
        3,
        &["dnsConfig"],
    )?;
    host.run("umount", &[&target])?.ok()?;
    Ok(())
}

fn host_network(host: &Host) -> Result<()> {
    let mut main = shell("main", "httpd -f -p 8088 & cat /etc/hosts; sleep 1000");
    main["ports"] = json!([{ "containerPort": 8088 }]);
    let spec = json!({ "containers": [main], "hostNetwork": true, "hostAliases": [{ "ip": "10.1.2.3", "hostnames": ["one"] }] });
    host.create(&pod("net", &spec))?;
    let shown = host.pod("net")?;
    ensure!(shown["spec"]["containers"][0]["ports"][0]["hostPort"] == 8088, "{:#}", shown["spec"]);
    wait_for("the host's port", || {
        let listening = host.run("ss", &["-Hltn", "sport = 8088"])?.ok()?;
        ensure!(!listening.is_empty(), "not yet");
        Ok(())
    })?;
    let hosts = ask(host, "net", "cat /etc/hosts")?;
    ensure!(hosts.contains("10.1.2.3\tone"), "{hosts}");
    ensure!(ask(host, "net", "hostname")? == "test-host\n", "the host's name");
    ensure!(host.run("ip", &["-o", "link"])?.ok()?.lines().count() == 1, "no link is made");
    host.delete("net")?;
    Ok(())
}

fn host_namespaces(host: &Host) -> Result<()> {
    let mut manifest = sleeper("host");
    manifest["spec"]["hostPID"] = json!(true);
    manifest["spec"]["hostIPC"] = json!(true);
    host.create(&manifest)?;
    let seen = report(host, "host", "main")?;
    let own = |kind: &str| host.run("readlink", &[&format!("/proc/self/ns/{kind}")])?.ok();
    for kind in ["pid", "ipc"] {
        ensure!(own(kind)?.contains(&seen["namespaces"][kind].to_string()), "{kind}: {}", seen["namespaces"]);
    }
    ensure!(!own("net")?.contains(&seen["namespaces"]["net"].to_string()), "net is the pod's");
    let processes = seen["processes"].as_object().context("processes")?;
    ensure!(
        processes
            .get("1")
            .is_some_and(|first| first.as_str().is_some_and(|line| line.contains("--test-host-init"))),
        "{processes:?}"
    );
    host.podrun(&["delete", "pod", "host"])?.ok()?;
    ensure!(!host.run("pgrep", &["-f", "^/probe sleep"])?.status.success(), "its processes are gone");
    // Its monitor killed, there is no pid namespace that takes the processes along: who finds it does.
    host.create(&manifest)?;
    let monitors = support::pods::monitors(host)?;
    host.run("kill", &["-9", &monitors[0]])?.ok()?;
    host.wait_for_pod("host", "MonitorLost", |pod| pod["status"]["reason"] == "MonitorLost")?;
    wait_for("its processes are gone", || {
        ensure!(!host.run("pgrep", &["-f", "^/probe sleep"])?.status.success(), "not yet");
        Ok(())
    })?;
    host.delete("host")?;
    Ok(())
}

fn ports(host: &Host) -> Result<()> {
    host.run("ip", &["address", "add", "192.0.2.10/32", "dev", "lo"])?.ok()?;
    let mut web = probe("web", &["serve", "80", "served"]);
    web["ports"] = json!([
        { "containerPort": 80, "hostPort": 8080, "hostIP": "192.0.2.10" },
        { "containerPort": 80, "hostPort": 8081, "name": "all" },
    ]);
    let mut echo = probe("echo", &["udp-echo", "53"]);
    echo["ports"] = json!([{ "containerPort": 53, "hostPort": 8080, "protocol": "UDP" }]);
    host.create(&pod("ports", &json!({ "containers": [web, echo] })))?;
    let get = |address: &str, port: u16| {
        let script =
            format!("exec 3<>/dev/tcp/{address}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
        host.run("timeout", &["5", "bash", "-c", &script])
    };
    wait_for("by its address", || get("192.0.2.10", 8080)?.ok())?;
    wait_for("by any address", || get("127.0.0.1", 8081)?.ok())?;
    wait_for("by IPv6", || get("fd10:87::1", 8081)?.ok())?;
    ensure!(!get("127.0.0.1", 8080)?.status.success(), "the port is of the one address");
    wait_for("a datagram comes back", || {
        let script = "exec 3<>/dev/udp/127.0.0.1/8080; echo hello >&3; timeout 1 head -n 1 <&3";
        let answer = host.run("bash", &["-c", script])?.ok()?;
        ensure!(answer == "hello\n", "{answer:?}");
        Ok(())
    })?;
    host.delete("ports")?;
    host.run("ip", &["address", "del", "192.0.2.10/32", "dev", "lo"])?.ok()?;
    Ok(())
}

fn yaml(host: &Host) -> Result<()> {
    let image = reference("probe");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: one\nspec:\n  containers:\n  - name: main\n    image: {image}\n    args: [sleep]\n    env:\n    - name: \"NO\"\n      value: \"no\"\n---\n# nothing\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: two}}\nspec:\n  containers: [{{name: main, image: '{image}', args: [sleep]}}]\n"
    );
    let said = host.podrun_with_stdin(&["create", "-f", "-"], text.as_bytes())?.ok()?;
    ensure!(said == "pod/one created\npod/two created\n", "{said}");
    ensure!(report(host, "one", "main")?["environment"]["NO"] == "no", "a word stays a word");
    host.podrun(&["delete", "pods", "--all", "--force"])?.ok()?;
    Ok(())
}
