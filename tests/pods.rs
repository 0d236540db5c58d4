//! The main job: a pod of real images, what its containers share, what each is given, and its end.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cgroups_rs::Cgroup;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::memory::MemController;
use serde_json::{Value, json};

use support::footprint::Footprint;
use support::host::Host;
use support::pods::{container_status, logged_report, pod, probe, report, shell, sleeper};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host_with_controller(
        "a sidecar reaches the main container on localhost",
        "cpu",
        &["nginx", "busybox"],
        localhost_is_shared,
    );
    suite.on_host(
        "containers share net ipc and uts and have mnt and pid of their own",
        &["probe"],
        what_is_shared,
    );
    suite.on_host("a queue made in one container is seen in the other", &["debian"], a_queue_is_shared);
    suite.on_host(
        "the host's mount table does not change while a pod runs",
        &["probe"],
        no_mounts_on_the_host,
    );
    suite.on_host("create prints the pod's name and get shows it running", &["probe"], create_and_get);
    suite.on_host("a container has the default capabilities and no others", &["probe"], default_capabilities);
    suite.on_host("the security context decides user groups and capabilities", &["probe"], security_context);
    suite.on_host("a privileged container has every capability and the devices", &["probe"], privileged);
    suite.on_host("a read-only root refuses writes and its volumes take them", &["probe"], read_only_root);
    suite.on_host(
        "a container gets no descriptor and no variable of podrun's",
        &["probe"],
        nothing_is_inherited,
    );
    suite.on_host("the image decides user directory environment and command", &["layers"], image_config);
    suite.on_host("layers become the tree that they describe", &["layers"], layers_become_a_tree);
    suite.on_host(
        "containers of one pod share an emptyDir and see each other's files",
        &["busybox"],
        empty_dir,
    );
    suite.on_host("a memory volume is one tmpfs of its size for the whole pod", &["probe"], memory_volume);
    suite.on_host("a hostPath of each type is what it says or refused", &["probe"], host_path);
    suite.on_host(
        "sixteen pods created at once run with addresses of their own",
        &["probe"],
        sixteen_at_once,
    );
    suite.on_host("variables refer to others as Kubernetes expands them", &["probe"], expansion);
    suite.on_host("each server image serves in the foreground", &["nginx", "httpd", "redis"], servers);
    suite.on_host_with_controller("limits become the cgroup's", "memory", &["probe"], limits);
    suite.on_host_without_controller(
        "a limit that the host's cgroups cannot hold is refused by name",
        "cpu",
        &["probe"],
        no_controllers,
    );
}

fn localhost_is_shared(host: &Host) -> Result<()> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/web-and-sidecar.json");
    let printed = host.podrun(&["create", manifest])?.ok()?;
    ensure!(printed == "pod/web created\n", "{printed:?}");
    support::deadline::wait_for("the sidecar's log", || {
        let log = host.podrun(&["logs", "web", "-c", "sidecar"])?.ok()?;
        ensure!(log.contains("Welcome to nginx in a pod!") && log.contains("web: nginx answered"), "{log}");
        Ok(())
    })?;
    let page =
        host.podrun(&["exec", "web", "-c", "sidecar", "--", "wget", "-qO-", "http://127.0.0.1/"])?.ok()?;
    ensure!(page.contains("Welcome to nginx in a pod!"), "{page}");
    let own = host.run("bash", &["-c", "exec 3<>/dev/tcp/127.0.0.1/80"])?;
    ensure!(!own.status.success(), "the host's own 127.0.0.1 must not answer");
    let ended = host.podrun(&["delete", "pod", "web"])?.ok()?;
    ensure!(ended.contains("web"), "{ended}");
    let left = host.podrun(&["get", "pods"])?;
    ensure!(left.code() == 0 && left.stderr.contains("No resources found in default namespace."), "{left}");
    Ok(())
}

fn what_is_shared(host: &Host) -> Result<()> {
    host.create(&pod("two", &json!({ "containers": [probe("a", &["sleep"]), probe("b", &["sleep"])] })))?;
    let (a, b) = (report(host, "two", "a")?, report(host, "two", "b")?);
    for kind in ["net", "ipc", "uts", "user"] {
        ensure!(a["namespaces"][kind] == b["namespaces"][kind], "{kind} is not shared");
        ensure!(a["namespaces"][kind].is_u64(), "{kind}: {}", a["namespaces"]);
    }
    for kind in ["mnt", "pid", "cgroup"] {
        ensure!(a["namespaces"][kind] != b["namespaces"][kind], "{kind} is shared");
    }
    for kind in ["net", "ipc", "uts", "mnt", "pid", "cgroup"] {
        let own = host.run("readlink", &[&format!("/proc/self/ns/{kind}")])?.ok()?;
        ensure!(!own.contains(&a["namespaces"][kind].to_string()), "{kind} is the host's");
    }
    ensure!(a["hostname"] == "two" && b["hostname"] == "two", "{}", a["hostname"]);
    let seen = a["processes"].as_object().context("processes")?;
    ensure!(seen.get("1").is_some_and(|first| first == "/probe sleep") && seen.len() == 2, "{seen:?}");
    host.delete("two")?;
    Ok(())
}

fn a_queue_is_shared(host: &Host) -> Result<()> {
    let sleep = |name| json!({ "name": name, "image": support::fixtures::reference("debian"), "command": ["sleep", "1000"] });
    host.create(&pod("queue", &json!({ "containers": [sleep("a"), sleep("b")] })))?;
    let made = host.podrun(&["exec", "queue", "-c", "a", "--", "ipcmk", "-Q"])?.ok()?;
    let id = made.rsplit(' ').next().context("ipcmk prints the id")?.trim().to_owned();
    let seen = host.podrun(&["exec", "queue", "-c", "b", "--", "ipcs", "-q"])?.ok()?;
    let ids: Vec<&str> = seen.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    ensure!(ids.contains(&id.as_str()), "queue {id} is not in: {seen}");
    let outside = host.run("ipcs", &["-q"])?.ok()?;
    ensure!(!outside.contains("0x"), "the host sees it too: {outside}");
    host.delete("queue")?;
    Ok(())
}

fn no_mounts_on_the_host(host: &Host) -> Result<()> {
    let before = Footprint::of(host)?;
    let volumes =
        json!([{ "name": "disk", "emptyDir": {} }, { "name": "ram", "emptyDir": { "medium": "Memory" } }]);
    let mut main = probe("main", &["sleep"]);
    main["volumeMounts"] =
        json!([{ "name": "disk", "mountPath": "/disk" }, { "name": "ram", "mountPath": "/ram" }]);
    host.create(&pod("quiet", &json!({ "containers": [main], "volumes": volumes })))?;
    let during = Footprint::of(host)?;
    ensure!(during.of_kind("mount") == before.of_kind("mount"), "{:?}", during.changes_since(&before));
    ensure!(during.of_kind("link").len() > before.of_kind("link").len(), "a running pod has a link");
    host.delete("quiet")?;
    Ok(())
}

fn create_and_get(host: &Host) -> Result<()> {
    let printed = host.create(&sleeper("one"))?;
    ensure!(printed == "pod/one created\n", "{printed:?}");
    let table = host.podrun(&["get", "pods"])?.ok()?;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(lines[0] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"], "{table}");
    ensure!(lines[1][..4] == ["one", "1/1", "Running", "0"], "{table}");
    let shown = host.pod("one")?;
    ensure!(shown["status"]["phase"] == "Running", "{:#}", shown["status"]);
    ensure!(shown["status"]["qosClass"] == "BestEffort", "{:#}", shown["status"]);
    let main = container_status(&shown, "main").context("a status for each container")?;
    ensure!(main["ready"] == true && main["started"] == true && main["restartCount"] == 0, "{main:#}");
    ensure!(main["state"]["running"]["startedAt"].is_string(), "{main:#}");
    for condition in ["Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        let all = shown["status"]["conditions"].as_array().context("conditions")?;
        let found = all.iter().any(|one| one["type"] == condition && one["status"] == "True");
        ensure!(found, "{condition}: {all:#?}");
    }
    host.podrun(&["get", "pod", "other"])?.fails_with(4)?;
    host.delete("one")?;
    host.podrun(&["delete", "pod", "one"])?.fails_with(4)?;
    Ok(())
}

/// containerd's, so that an image's ping, sshd and package manager work as there.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn sorted(list: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    names.sort_unstable();
    names
}

fn run_to_end(host: &Host, name: &str, spec: &Value) -> Result<Value> {
    let mut spec = spec.clone();
    spec["restartPolicy"] = json!("Never");
    host.create(&pod(name, &spec))?;
    host.wait_for_pod(name, "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    let seen = logged_report(host, name, "main")?;
    host.delete(name)?;
    Ok(seen)
}

fn default_capabilities(host: &Host) -> Result<()> {
    let seen = run_to_end(host, "plain", &json!({ "containers": [probe("main", &["report"])] }))?;
    for set in ["effective", "permitted", "bounding"] {
        ensure!(
            sorted(&seen["capabilities"][set]) == DEFAULT_CAPABILITIES,
            "{set}: {}",
            seen["capabilities"][set]
        );
    }
    for set in ["inheritable", "ambient"] {
        ensure!(sorted(&seen["capabilities"][set]).is_empty(), "{set}: {}", seen["capabilities"][set]);
    }
    ensure!(seen["uids"] == json!([0, 0, 0, 0]) && seen["pid"] == 1, "{}", seen["uids"]);
    let devices = seen["devices"].as_object().context("devices")?;
    for (name, device) in [
        ("null", "c 1:3 666"),
        ("zero", "c 1:5 666"),
        ("full", "c 1:7 666"),
        ("random", "c 1:8 666"),
        ("urandom", "c 1:9 666"),
        ("tty", "c 5:0 666"),
        ("ptmx", "-> pts/ptmx"),
        ("fd", "-> /proc/self/fd"),
    ] {
        ensure!(
            devices.get(name).is_some_and(|found| found == device),
            "/dev/{name}: {:?}",
            devices.get(name)
        );
    }
    ensure!(
        !devices.contains_key("mem") && !devices.contains_key("kmsg") && !devices.contains_key("vda"),
        "{devices:?}"
    );
    Ok(())
}

fn security_context(host: &Host) -> Result<()> {
    let mut main = probe("main", &["report"]);
    main["securityContext"] = json!({
        "runAsUser": 1000, "runAsGroup": 3000, "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] },
    });
    let spec = json!({ "containers": [main], "securityContext": { "supplementalGroups": [4000, 4001], "runAsUser": 5 } });
    let seen = run_to_end(host, "secure", &spec)?;
    ensure!(seen["uids"] == json!([1000, 1000, 1000, 1000]), "{}", seen["uids"]);
    ensure!(seen["gids"] == json!([3000, 3000, 3000, 3000]), "{}", seen["gids"]);
    let groups: Vec<u64> =
        seen["groups"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    ensure!([4000, 4001].iter().all(|group| groups.contains(group)), "{groups:?}");
    ensure!(seen["noNewPrivs"] == true, "allowPrivilegeEscalation: false is no_new_privs");
    ensure!(sorted(&seen["capabilities"]["bounding"]) == ["NET_BIND_SERVICE"], "{}", seen["capabilities"]);
    ensure!(
        sorted(&seen["capabilities"]["effective"]).is_empty(),
        "a user has none: {}",
        seen["capabilities"]
    );
    let mut refused = sleeper("refused");
    refused["spec"]["containers"][0]["securityContext"] = json!({ "runAsNonRoot": true });
    // Nothing can mend what the manifest and the image do not fit: the create says why, and fails.
    let outcome =
        host.podrun_with_stdin(&["create", "-f", "-"], refused.to_string().as_bytes())?.fails_with(1)?;
    ensure!(outcome.contains("runAsNonRoot"), "{outcome}");
    host.podrun(&["get", "pod", "refused"])?.fails_with(4)?;
    Ok(())
}

fn privileged(host: &Host) -> Result<()> {
    let mut main = probe("main", &["report"]);
    main["securityContext"] = json!({ "privileged": true });
    let seen = run_to_end(host, "strong", &json!({ "containers": [main] }))?;
    let bounding = std::fs::read_to_string("/proc/self/status")?;
    let own = bounding.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).context("CapBnd")?;
    let own = u64::from_str_radix(own, 16)?.count_ones() as usize;
    ensure!(sorted(&seen["capabilities"]["effective"]).len() == own, "{}", seen["capabilities"]["effective"]);
    ensure!(seen["devices"].get("kmsg").is_some(), "{}", seen["devices"]);
    Ok(())
}

fn read_only_root(host: &Host) -> Result<()> {
    let mut main = probe("main", &["sleep"]);
    main["securityContext"] = json!({ "readOnlyRootFilesystem": true });
    main["volumeMounts"] = json!([
        { "name": "data", "mountPath": "/data" }, { "name": "data", "mountPath": "/fixed", "readOnly": true },
    ]);
    host.create(&pod(
        "fixed",
        &json!({ "containers": [main], "volumes": [{ "name": "data", "emptyDir": {} }] }),
    ))?;
    let write = |path: &str| host.podrun(&["exec", "fixed", "--", "/probe", "write", path, "x"])?.ok();
    ensure!(write("/file")?.contains("os error 30"), "EROFS");
    ensure!(write("/data/file")? == "ok\n", "a volume takes writes");
    ensure!(write("/fixed/file")?.contains("os error 30"), "a read-only mount of it does not");
    ensure!(write("/proc/sys/kernel/shmmax")?.contains("os error 30"), "/proc/sys is read-only");
    ensure!(write("/sys/kernel/profiling")?.starts_with("failed"), "/sys is read-only");
    ensure!(
        host.podrun(&["exec", "fixed", "--", "/probe", "read", "/fixed/file"])?.ok()? == "x",
        "one folder, two mounts"
    );
    host.delete("fixed")?;
    Ok(())
}

fn nothing_is_inherited(host: &Host) -> Result<()> {
    let manifest =
        pod("clean", &json!({ "containers": [probe("main", &["report"])], "restartPolicy": "Never" }));
    let file = host.write("clean.json", &manifest.to_string())?;
    let mut command = host.podrun_command(&["create", &file.to_string_lossy()])?;
    command.env("PODRUN_TEST_SECRET", "leaked");
    ensure!(command.stdout(std::process::Stdio::null()).status()?.success(), "create");
    host.wait_for_pod("clean", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    let seen = logged_report(host, "clean", "main")?;
    let environment = seen["environment"].as_object().context("environment")?;
    let names: Vec<&str> = environment.keys().map(String::as_str).collect();
    ensure!(names.iter().all(|name| ["HOME", "HOSTNAME", "PATH"].contains(name)), "{names:?}");
    let descriptors = seen["descriptors"].as_object().context("descriptors")?;
    ensure!(
        descriptors.len() == 3 && ["0", "1", "2"].iter().all(|number| descriptors.contains_key(*number)),
        "{descriptors:?}"
    );
    ensure!(seen["umask"] == "0022" && seen["cwd"] == "/", "{} {}", seen["umask"], seen["cwd"]);
    host.delete("clean")?;
    Ok(())
}

fn image_config(host: &Host) -> Result<()> {
    let image = support::fixtures::reference("layers");
    let spec = json!({ "containers": [{ "name": "main", "image": image, "env": [{ "name": "OWN", "value": "1" }] }] });
    let seen = run_to_end(host, "config", &spec)?;
    ensure!(seen["arguments"] == json!(["/probe", "report"]), "{}", seen["arguments"]);
    ensure!(seen["uids"][0] == 1234 && seen["gids"][0] == 5678, "{} {}", seen["uids"], seen["gids"]);
    ensure!(seen["cwd"] == "/kept", "{}", seen["cwd"]);
    ensure!(
        seen["environment"]["FROM_IMAGE"] == "yes" && seen["environment"]["OWN"] == "1",
        "{}",
        seen["environment"]
    );
    Ok(())
}

fn layers_become_a_tree(host: &Host) -> Result<()> {
    let image = support::fixtures::reference("layers");
    let main =
        json!({ "name": "main", "image": image, "args": ["sleep"], "securityContext": { "runAsUser": 0 } });
    host.create(&pod("layers", &json!({ "containers": [main] })))?;
    let probe = |arguments: &[&str]| {
        let line = [&["exec", "layers", "--", "/probe"], arguments].concat();
        host.podrun(&line)?.ok()
    };
    for line in probe(&["read", "/expected"])?.lines() {
        let (path, content) = line.split_once(' ').context("path and content")?;
        ensure!(probe(&["read", &format!("/{path}")])? == content, "{path}");
    }
    for gone in [
        "removed/by-whiteout",
        "removed-folder",
        "opaque/old",
        "opaque/deep",
        "removed/.wh.by-whiteout",
        "opaque/.wh..wh..opq",
    ] {
        ensure!(probe(&["open", &format!("/{gone}")])?.contains("os error 2"), "{gone} is still there");
    }
    for name in ["linked", "linked-again", "linked-third"] {
        ensure!(probe(&["read", &format!("/{name}")])? == "one file of three names", "{name}");
    }
    ensure!(
        probe(&["open", "/sparse-old"])? == "ok\n" && probe(&["open", "/sparse-pax"])? == "ok\n",
        "sparse files"
    );
    ensure!(probe(&["read", "/sparse-old"])? == probe(&["read", "/sparse-pax"])?, "both hold the same");
    host.delete("layers")?;
    Ok(())
}

fn empty_dir(host: &Host) -> Result<()> {
    let mount = json!([{ "name": "shared", "mountPath": "/shared" }]);
    let mut writer = shell("writer", "echo from the writer >/shared/file; sleep 1000");
    let mut reader = shell("reader", "sleep 1000");
    writer["volumeMounts"] = mount.clone();
    reader["volumeMounts"] = mount;
    let spec = json!({ "containers": [writer, reader], "volumes": [{ "name": "shared", "emptyDir": {} }] });
    host.create(&pod("files", &spec))?;
    support::deadline::wait_for("the file", || {
        let text = host.podrun(&["exec", "files", "-c", "reader", "--", "cat", "/shared/file"])?.ok()?;
        ensure!(text == "from the writer\n", "{text}");
        Ok(())
    })?;
    let mode =
        host.podrun(&["exec", "files", "-c", "reader", "--", "stat", "-c", "%a %u", "/shared"])?.ok()?;
    ensure!(mode == "777 0\n", "{mode}");
    host.delete("files")?;
    Ok(())
}

fn memory_volume(host: &Host) -> Result<()> {
    let mount = json!([{ "name": "ram", "mountPath": "/ram" }]);
    let containers: Vec<Value> = ["a", "b"]
        .iter()
        .map(|name| {
            let mut container = probe(name, &["sleep"]);
            container["volumeMounts"] = mount.clone();
            container
        })
        .collect();
    let volumes = json!([{ "name": "ram", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }]);
    host.create(&pod("ram", &json!({ "containers": containers, "volumes": volumes })))?;
    host.podrun(&["exec", "ram", "-c", "a", "--", "/probe", "write", "/ram/file", "text"])?.ok()?;
    ensure!(
        host.podrun(&["exec", "ram", "-c", "b", "--", "/probe", "read", "/ram/file"])?.ok()? == "text",
        "shared"
    );
    let seen = report(host, "ram", "a")?;
    let mounts = seen["mounts"].as_array().context("mounts")?;
    let ram = mounts.iter().find(|mount| mount["destination"] == "/ram").context("/ram is a mount")?;
    ensure!(ram["type"] == "tmpfs" && sorted(&ram["superOptions"]).contains(&"size=1024k"), "{ram}");
    host.delete("ram")?;
    Ok(())
}

fn host_path(host: &Host) -> Result<()> {
    let folder = host.file("folder");
    std::fs::create_dir_all(&folder)?;
    host.write("folder/file", "from the host")?;
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let create = |name: &str, path: String, kind: &str| {
        let mut manifest = sleeper(name);
        manifest["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
        manifest["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": path, "type": kind } }]);
        host.podrun_with_stdin(&["create", "-f", "-"], manifest.to_string().as_bytes())
    };
    for (kind, path) in [
        ("", at("file")),
        ("File", at("file")),
        ("Directory", folder.to_string_lossy().into_owned()),
        ("DirectoryOrCreate", at("made")),
        ("FileOrCreate", at("made-file")),
        ("CharDevice", "/dev/null".into()),
    ] {
        create("path", path, kind)?.ok()?;
        host.delete("path")?;
    }
    ensure!(folder.join("made").is_dir() && folder.join("made-file").is_file(), "OrCreate makes them");
    for (kind, path) in
        [("File", at("")), ("Directory", at("file")), ("Directory", at("missing")), ("Socket", at("file"))]
    {
        let outcome = create("path", path, kind)?;
        ensure!(!outcome.status.success() && outcome.stderr.contains("hostPath"), "{kind}: {outcome}");
        host.podrun(&["get", "pod", "path"])?.fails_with(4)?;
    }
    Ok(())
}

fn sixteen_at_once(host: &Host) -> Result<()> {
    let names: Vec<String> = (1..=16).map(|number| format!("pod-{number}")).collect();
    let mut running = Vec::new();
    for name in &names {
        let file = host.write(&format!("{name}.json"), &sleeper(name).to_string())?;
        running.push(host.start(&["create", &file.to_string_lossy()])?);
    }
    for one in running {
        one.wait()?.ok()?;
    }
    let mut addresses: Vec<String> = Vec::new();
    for name in &names {
        let shown = host.pod(name)?;
        ensure!(shown["status"]["phase"] == "Running", "{name}: {:#}", shown["status"]);
        addresses.push(shown["status"]["podIP"].as_str().context("podIP")?.to_owned());
    }
    addresses.sort();
    addresses.dedup();
    ensure!(addresses.len() == 16, "an address was given twice: {addresses:?}");
    host.podrun(&["delete", "pods", "--all", "--now"])?.ok()?;
    Ok(())
}

fn expansion(host: &Host) -> Result<()> {
    let mut main = probe("main", &["$(VERB)"]);
    main["env"] = json!([
        { "name": "VERB", "value": "report" }, { "name": "A", "value": "1" }, { "name": "B", "value": "$(A)2" }, { "name": "C", "value": "$$(A)" },
        { "name": "D", "value": "$(MISSING)" }, { "name": "E", "value": "$(LATER)" }, { "name": "LATER", "value": "x" },
    ]);
    let seen = run_to_end(host, "words", &json!({ "containers": [main] }))?;
    let environment = &seen["environment"];
    for (name, value) in [("A", "1"), ("B", "12"), ("C", "$(A)"), ("D", "$(MISSING)"), ("E", "$(LATER)")] {
        ensure!(environment[name] == value, "{name}: {}", environment[name]);
    }
    Ok(())
}

fn limits(host: &Host) -> Result<()> {
    let mut manifest = sleeper("limited");
    manifest["spec"]["containers"][0]["resources"] = json!({ "limits": { "memory": "64Mi", "cpu": "250m" } });
    host.create(&manifest)?;
    let shown = host.pod("limited")?;
    ensure!(shown["status"]["qosClass"] == "Guaranteed", "{}", shown["status"]["qosClass"]);
    // Read back by a library that has nothing of ours.
    let cgroup = Cgroup::load(cgroups_rs::hierarchies::auto(), container_cgroup(host, &shown)?);
    let memory: &MemController = cgroup.controller_of().context("no memory controller")?;
    let limit = memory.memory_stat().limit_in_bytes;
    ensure!(limit == 64 << 20, "memory limit {limit}");
    let cpu: &CpuController = cgroup.controller_of().context("no cpu controller")?;
    let (quota, period) = (cpu.cfs_quota()?, cpu.cfs_period()?);
    ensure!((quota, period) == (25_000, 100_000), "cpu quota {quota} of {period}");
    host.delete("limited")?;
    Ok(())
}

fn no_controllers(host: &Host) -> Result<()> {
    for (resources, says) in [
        (json!({ "limits": { "cpu": "250m" } }), "no cgroup controller `cpu`"),
        (json!({ "requests": { "cpu": "250m" } }), "no cgroup controller `cpu`"),
        (json!({ "limits": { "memory": "64Mi" } }), "no cgroup controller `memory`"),
    ] {
        let mut manifest = sleeper("limited");
        manifest["spec"]["containers"][0]["resources"] = resources;
        let outcome = host.podrun_with_stdin(&["create", "-f", "-"], manifest.to_string().as_bytes())?;
        ensure!(outcome.code() == 7 && outcome.stderr.contains(says), "{says}: {outcome}");
        let left = host.podrun(&["get", "pods", "-o", "name"])?.ok()?;
        ensure!(left.is_empty(), "a pod is left: {left}");
    }
    Ok(())
}

/// The cgroup of the pod's first container, below the root of each hierarchy.
fn container_cgroup(host: &Host, pod: &Value) -> Result<PathBuf> {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().context("no container id")?;
    let id = id.trim_start_matches("podrun://");
    for parent in host.cgroup_folders()? {
        for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            if entry.path().join(id).is_dir() {
                return Ok(Path::new(host.cgroup_parent().trim_start_matches('/'))
                    .join(entry.file_name())
                    .join(id));
            }
        }
    }
    anyhow::bail!("no cgroup of container {id}")
}

fn servers(host: &Host) -> Result<()> {
    let image = |name: &str| json!({ "name": name, "image": support::fixtures::reference(name) });
    for (name, ask, answer) in [
        ("nginx", "wget -qO- http://127.0.0.1/", "Welcome to nginx"),
        ("httpd", "wget -qO- http://127.0.0.1/", "It works!"),
        ("redis", "redis-cli ping", "PONG"),
    ] {
        host.create(&pod(
            name,
            &json!({ "containers": [image(name)], "terminationGracePeriodSeconds": 20 }),
        ))?;
        support::deadline::wait_for(&format!("{name} answers"), || {
            let said = host.podrun(&["exec", name, "--", "sh", "-c", ask])?.ok()?;
            ensure!(said.contains(answer), "{said}");
            Ok(())
        })?;
        let start = std::time::Instant::now();
        host.podrun(&["delete", "pod", name])?.ok()?;
        ensure!(start.elapsed().as_secs() < 15, "{name} does not end by its stop signal");
    }
    Ok(())
}
