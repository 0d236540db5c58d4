//! The namespaces of a container, of its own and shared.

use super::*;

pub(super) fn a_container_is_alone(bench: &Bench) {
    assert_eq!(bench.print(&["pid"], &[]), "1\n");
    let hostname = [("/hostname", json!("inside"))];
    assert_eq!(bench.print(&["cat", "/proc/sys/kernel/hostname"], &hostname), "inside\n");
    let mounts = bench.print(&["cat", "/proc/self/mountinfo"], &[]);
    for line in mounts.lines() {
        let place = line.split(' ').nth(4).unwrap();
        assert!(
            place == "/" || ["/proc", "/dev", "/sys"].iter().any(|known| place.starts_with(known)),
            "{line}"
        );
    }
    assert!(mounts.contains(" /sys ro,nosuid,nodev,noexec"), "{mounts}");
    let cgroups = bench.print(&["cat", "/proc/self/cgroup"], &[]);
    assert!(cgroups.lines().any(|line| line == "0::/"), "{cgroups}");
    let own = bench.print(&["cat", "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/cgroup.procs"], &[]);
    assert!(own.lines().any(|line| line == "1"), "{own}");
    let dev = bench.print(&["ls", "/dev"], &[]);
    let mut dev: Vec<&str> = dev.lines().collect();
    dev.sort_unstable();
    let usual = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(dev, usual);
    assert!(bench.print(&["stat", "/dev/null"], &[]).contains("20666 1:3"));
    let readonly = [("/root/readonly", json!(true))];
    assert_eq!(bench.print(&["touch", "/x"], &readonly), "refused\n");
    assert_eq!(bench.print(&["touch", "/x"], &[]), "made\n");
    let sysctl = [("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}))];
    let values = ["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shm_rmid_forced"];
    assert_eq!(bench.print(&values, &sysctl), "1\n1\n");
}

pub(super) fn a_shared_pid_namespace(bench: &Bench) {
    let plan = engine::compile_pod_init(&bench.cgroup).unwrap();
    let mut init = plan.spawn().unwrap();
    let proc = plan.take_proc(&mut init, Duration::from_secs(5)).unwrap();
    plan.complete(&mut init, |_| Ok(())).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", init.pid)).unwrap();
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "CapPrm:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert_eq!(std::fs::read_dir(format!("/proc/{}/fd", init.pid)).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(format!("/proc/{}/root", init.pid)).unwrap().count(), 0);
    let (mut read, write) = std::io::pipe().unwrap();
    let spec = bench.spec(&["pid"], &[]);
    let held = [Attached { destination: "/proc", tree: proc.as_fd(), checked: false }];
    let inputs = Inputs {
        pid_namespace: Some(init.pidfd.as_fd()),
        attached: &held,
        ..plain(&spec, &bench.cgroup, stdio(write.into()))
    };
    let member = engine::compile(inputs).unwrap();
    assert!(member.describe().ends_with("go inside\nsession\nexecve \"pid\"\n"), "{}", member.describe());
    let child = start(&member).unwrap();
    drop(member);
    let mut printed = String::new();
    read.read_to_string(&mut printed).unwrap();
    assert_eq!((printed.as_str(), end(&child)), ("2\n", Exit::Code(0)));
    pidfd::pidfd_send_signal(init.pidfd.as_fd(), 15).unwrap();
    assert_eq!(end(&init), Exit::Code(0));
}

pub(super) fn ids_of_a_user_namespace(bench: &Bench) {
    let map = json!([{"containerID": 0, "hostID": 70_000, "size": 1000}]);
    let changes = [
        ("/linux/namespaces/-", json!({"type": "user"})),
        ("/linux/uidMappings", map.clone()),
        ("/linux/gidMappings", map),
        ("/process/oomScoreAdj", json!(700)),
    ];
    // Its root is not the owner of the bench's files, and could not make them.
    for mount_point in ["proc", "dev", "sys"] {
        std::fs::create_dir(bench.root().join(mount_point)).unwrap();
    }
    let (mut read, write) = std::io::pipe().unwrap();
    let spec = bench.spec(&["cat", "/proc/self/uid_map", "/proc/self/oom_score_adj"], &changes);
    let plan = engine::compile(made(bench, &spec, Tie::Always, false, write.into())).unwrap();
    let mut child = plan.spawn().unwrap();
    plan.complete(&mut child, |_| Ok(())).unwrap();
    drop(plan);
    let mut printed = String::new();
    read.read_to_string(&mut printed).unwrap();
    assert_eq!(end(&child), Exit::Code(0));
    assert_eq!(printed.split_whitespace().collect::<Vec<_>>(), ["0", "70000", "1000", "700"]);
}
