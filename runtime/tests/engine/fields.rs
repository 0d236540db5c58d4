//! Fields of the spec that a pod does not use: where and when a process runs, clocks, owners, copied mounts.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;

pub(super) fn placement(bench: &Bench) {
    let changes = [
        ("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5})),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0})),
        ("/linux/personality", json!({"domain": "LINUX32"})),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"})),
    ];
    let plain = bench.print(&["placed"], &[]);
    let placed = bench.print(&["placed"], &changes);
    let cpus = |text: &str| text.split("cpus ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(placed, format!("policy 3 nice 5 io 0x6000 personality 0x8 cpus {} memory 2\n", cpus(&plain)));
    // What is the container's holds for what runs inside; its CPUs are the process's own.
    let init = bench.pause();
    let linux: Linux = serde_json::from_value(json!({"personality": {"domain": "LINUX32"}})).unwrap();
    let affinity = json!({"execCPUAffinity": {"initial": "0-1", "final": "0"}});
    let (inside, _) = exec_filtered(bench, &init, &["placed"], affinity, Some(&linux)).unwrap();
    assert!(inside.contains("personality 0x8 cpus 1 "), "{inside}");
    let none = json!({"execCPUAffinity": {"final": "8000"}});
    let error = exec(bench, &init, &["true"], none).unwrap_err();
    assert!(error.message().contains("sched_setaffinity"), "{error}");
    kill(&init);
    let error = bench.fail(&["true"], &[("/process/scheduler", json!({"policy": "SCHED_FIFO"}))]);
    assert_eq!(error.kind(), ErrorKind::Usage);
}

pub(super) fn time_namespace(bench: &Bench) {
    const DAY: f64 = 86_400.0;
    let changes = [
        ("/linux/namespaces/-", json!({"type": "time"})),
        (
            "/linux/timeOffsets",
            json!({"boottime": {"secs": 864_000}, "monotonic": {"secs": 5, "nanosecs": 7}}),
        ),
    ];
    let seconds = |text: &str| text.split(' ').next().unwrap().parse::<f64>().unwrap();
    let uptime = seconds(&std::fs::read_to_string("/proc/uptime").unwrap());
    let shifted = seconds(&bench.print(&["cat", "/proc/uptime"], &changes)) - uptime;
    assert!((9.9 * DAY..10.1 * DAY).contains(&shifted), "{shifted}");
    let init = start(&bench.plan(&bench.spec(&["pause"], &changes), &[], null()).unwrap()).unwrap();
    let linux: Linux = serde_json::from_value(json!({"namespaces": [{"type": "time"}]})).unwrap();
    let (inside, _) = exec_filtered(bench, &init, &["cat", "/proc/uptime"], json!({}), Some(&linux)).unwrap();
    assert!(seconds(&inside) - uptime > 9.9 * DAY, "{inside}");
    // Another container can be in it too.
    let joined =
        [("/linux/namespaces/-", json!({"type": "time", "path": format!("/proc/{}/ns/time", init.pid)}))];
    assert!(seconds(&bench.print(&["cat", "/proc/uptime"], &joined)) - uptime > 9.9 * DAY);
    kill(&init);
    let error = bench.fail(&["true"], &[("/linux/timeOffsets", json!({"boottime": {"secs": 1}}))]);
    assert!(error.message().contains("no time namespace"), "{error}");
}

/// Mount points that a root which is not the host's could not make.
fn make_mount_points(bench: &Bench) {
    for name in ["proc", "dev", "sys"] {
        std::fs::create_dir_all(bench.root().join(name)).unwrap();
    }
}

pub(super) fn joined_user_namespace(bench: &Bench) {
    make_mount_points(bench);
    let map = json!([{"containerID": 0, "hostID": 70_000, "size": 1000}]);
    let own = [
        ("/linux/namespaces/-", json!({"type": "user"})),
        ("/linux/uidMappings", map.clone()),
        ("/linux/gidMappings", map),
    ];
    let plan = bench.plan(&bench.spec(&["pause"], &own), &[], null()).unwrap();
    let mut first = plan.spawn().unwrap();
    plan.complete(&mut first, |_| Ok(())).unwrap();
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid);
    let namespaces = json!([
        {"type": "mount"}, {"type": "pid", "path": path("pid")}, {"type": "ipc"}, {"type": "uts", "path": path("uts")},
        {"type": "network", "path": path("net")}, {"type": "cgroup"}, {"type": "user", "path": path("user")},
    ]);
    let (mut read, write) = std::io::pipe().unwrap();
    let spec = bench.spec(&["cat", "/proc/self/uid_map"], &[("/linux/namespaces", namespaces)]);
    let plan = bench.plan(&spec, &[], write.into()).unwrap();
    let mut second = plan.spawn().unwrap();
    plan.complete(&mut second, |_| Ok(())).unwrap();
    drop(plan);
    let mut printed = String::new();
    read.read_to_string(&mut printed).unwrap();
    assert_eq!(printed.split_whitespace().collect::<Vec<_>>(), ["0", "70000", "1000"]);
    assert_eq!(end(&second), Exit::Code(0));
    kill(&first);
    let own = [("/linux/namespaces/-", json!({"type": "user", "path": "/proc/self/ns/user"}))];
    assert!(bench.fail(&["true"], &own).message().contains("cannot be joined"));
}

pub(super) fn wrong_namespace(bench: &Bench) {
    for path in ["/proc/self/ns/net", "/proc/self/status"] {
        let change = [("/linux/namespaces/-", json!({"type": "time", "path": path}))];
        let error = bench.fail(&["true"], &change);
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains("is no namespace of this type"), "{error}");
    }
}

pub(super) fn idmap(bench: &Bench) {
    let volume = bench.directory.path().join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("file"), "").unwrap();
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1}]);
    let mount = json!({
        "destination": "/work", "source": volume, "type": "bind", "options": ["bind", "idmap"],
        "uidMappings": map(1234), "gidMappings": map(1235),
    });
    let printed = bench.print(&["owner", "/work/file"], &[("/mounts/-", mount)]);
    assert_eq!(printed, "/work/file 1234:1235 100644\n");
    assert_eq!(std::fs::metadata(volume.join("file")).unwrap().uid(), 0);
    let mount =
        json!({"destination": "/work", "source": volume, "type": "bind", "options": ["bind", "idmap"]});
    assert!(bench.fail(&["true"], &[("/mounts/-", mount)]).message().contains("mappings"));
}

pub(super) fn copy_up(bench: &Bench) {
    let work = bench.root().join("work");
    std::fs::create_dir_all(work.join("deep/er")).unwrap();
    std::fs::write(work.join("deep/er/file"), "content\n").unwrap();
    std::fs::set_permissions(work.join("deep"), std::fs::Permissions::from_mode(0o1711)).unwrap();
    std::os::unix::fs::chown(work.join("deep/er/file"), Some(7), Some(8)).unwrap();
    std::fs::set_permissions(work.join("deep/er/file"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("/etc", work.join("link")).unwrap();
    std::fs::set_permissions(&work, std::fs::Permissions::from_mode(0o751)).unwrap();
    let mount = |options: &[&str]| {
        [(
            "/mounts/-",
            json!({"destination": "/work", "type": "tmpfs", "source": "tmpfs", "options": options}),
        )]
    };
    let up = mount(&["nosuid", "nodev", "tmpcopyup"]);
    assert_eq!(bench.print(&["cat", "/work/deep/er/file"], &up), "content\n");
    let owners = bench.print(&["owner", "/work", "/work/deep", "/work/deep/er/file", "/work/link"], &up);
    assert_eq!(
        owners,
        "/work 0:0 40751\n/work/deep 0:0 41711\n/work/deep/er/file 7:8 104755\n/work/link 0:0 120777\n"
    );
    // Read-only, it holds the copy all the same; what is written to it stays in it.
    assert_eq!(bench.print(&["cat", "/work/deep/er/file"], &mount(&["ro", "tmpcopyup"])), "content\n");
    assert_eq!(bench.print(&["touch", "/work/new"], &up), "made\n");
    assert!(!work.join("new").exists());
    assert_eq!(bench.print(&["owner", "/work"], &mount(&["mode=700"])), "/work 0:0 40700\n");
    let proc = [("/mounts/-", json!({"destination": "/work", "type": "mqueue", "options": ["tmpcopyup"]}))];
    assert!(bench.fail(&["true"], &proc).message().contains("tmpcopyup"));
}
