//! The cgroup: limits, device rules, its end.

use super::*;

pub(super) fn limits_hold(bench: &Bench) {
    let limits: LinuxResources =
        serde_json::from_value(json!({"memory": {"limit": 16 << 20}, "pids": {"limit": 5}, "cpu": {"shares": 512, "quota": 50000, "period": 100000}})).unwrap();
    let cgroup =
        Cgroup::create(&bench.layout, &format!("{}/limited", bench.cgroup.path()), Some(&limits)).unwrap();
    let run = |args: &[&str]| run_in(bench, &cgroup, args);
    let ([memory, pids, cpu], quota) = match bench.layout.is_unified_only() {
        true => (["memory.max", "pids.max", "cpu.max"], "50000 100000"),
        false => (["memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.cfs_quota_us"], "50000"),
    };
    let [memory, pids, cpu] = [memory, pids, cpu].map(|file| format!("/sys/fs/cgroup/{file}"));
    assert_eq!(run(&["cat", &memory, &pids, &cpu]).0, format!("16777216\n5\n{quota}\n"));
    assert_eq!(run(&["forks"]).0, "4\n");
    assert_eq!(cgroup.oom_kills(), 0);
    assert_eq!(run(&["eat"]).1, Exit::Signal(9));
    assert_eq!(cgroup.oom_kills(), 1);
    let more: LinuxResources = serde_json::from_value(json!({"memory": {"limit": 32 << 20}})).unwrap();
    cgroup.update(&more).unwrap();
    assert_eq!(run(&["cat", &memory]).0, "33554432\n");
    cgroup.remove().unwrap();
    cgroup.remove().unwrap();
}

pub(super) fn devices_are_denied(bench: &Bench) {
    let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "access": "m"}, {"allow": true, "type": "c", "major": 5, "access": "rwm"}]);
    let limits: LinuxResources = serde_json::from_value(json!({"devices": rules})).unwrap();
    let cgroup =
        Cgroup::create(&bench.layout, &format!("{}/devices", bench.cgroup.path()), Some(&limits)).unwrap();
    for (device, answer) in [("/dev/null", "opened\n"), ("/dev/zero", "refused\n")] {
        assert_eq!(run_in(bench, &cgroup, &["open", device]).0, answer, "{device}");
    }
    cgroup.remove().unwrap();
}

/// Runs a container in another cgroup than the bench's.
pub(super) fn run_in(bench: &Bench, cgroup: &Cgroup, args: &[&str]) -> (String, Exit) {
    let (mut read, write) = std::io::pipe().unwrap();
    let spec = bench.spec(args, &[]);
    let stdio = stdio(write.into());
    let plan = engine::compile(plain(&spec, cgroup, stdio)).unwrap();
    let child = start(&plan).unwrap();
    drop(plan);
    let mut printed = String::new();
    read.read_to_string(&mut printed).unwrap();
    (printed, end(&child))
}

pub(super) fn a_cgroup_is_killed_and_removed(bench: &Bench) {
    let children: Vec<Child> = (0..3).map(|_| bench.pause()).collect();
    assert_eq!(bench.cgroup.pids().unwrap().len(), 3);
    bench.cgroup.freeze().unwrap();
    bench.cgroup.thaw().unwrap();
    bench.cgroup.kill().unwrap();
    // Removed before anybody has reaped: it waits for their end, not for us.
    bench.cgroup.remove().unwrap();
    for child in &children {
        assert_eq!(end(child), Exit::Signal(9));
    }
    bench.cgroup.kill().unwrap();
    assert!(bench.cgroup.pids().unwrap().is_empty());
    assert_eq!(bench.cgroup.oom_kills(), 0);
}
