//! The order of a plan's steps, which is the security order.

use super::*;

pub(super) fn the_order_is_the_security_order(bench: &Bench) {
    let changes = [
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})),
        ("/process/oomScoreAdj", json!(500)),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}])),
        ("/root/readonly", json!(true)),
        ("/process/cwd", json!("/work")),
        ("/hostname", json!("h")),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"})),
    ];
    let text = bench.plan(&bench.spec(&["true"], &changes), &[], null()).unwrap().describe();
    let mut names: Vec<&str> = text.lines().collect();
    // Masks and mounts differ between hosts; that they stand together is what counts.
    let kinds = ["mount ", "masked path ", "read-only path ", "seccomp "];
    let group = |line: &&str| kinds.iter().find(|kind| line.starts_with(*kind)).copied();
    names.dedup_by(|one, other| group(one).is_some() && group(one) == group(other));
    let names: Vec<&str> = names.into_iter().map(|line| group(&line).unwrap_or(line).trim_end()).collect();
    let joined = match bench.cgroup.is_joined_by_clone() {
        true => [].as_slice(),
        false => &["join cgroup 1 v1 hierarchies", "cgroup namespace"],
    };
    let mut expected = vec!["close others", "die with parent"];
    expected.extend(joined);
    expected.extend([
        "loopback \"lo\", IFF_UP",
        "keyring",
        "session",
        "slave mounts",
        "attach root",
        "root",
        "mount",
        "null device",
        // By a procfs that nothing covers yet.
        "hostname \"h\"",
        "oom score \"500\"",
        "sysctl \"sys/net/ipv4/ip_forward\", \"1\"",
    ]);
    // What hides and protects. Cgroups of v1 stand in a tmpfs, which is read-only once they do.
    expected.extend((!bench.cgroup.is_joined_by_clone()).then_some("read-only mount \"sys/fs/cgroup\""));
    expected.extend([
        "read-only path",
        "masked path",
        "make directory \"work\"",
        "read-only root",
        // The process: streams and place while it is still root, then its rights, which only shrink.
        "stdio",
        "working directory \"work\"",
        "find home of 0",
        "limits 1 of them",
        "umask 0022",
        "signals",
        "close descriptors",
        "bounding set 0x1",
        "groups []",
        "gid 0",
        "uid 0",
        "capabilities 0x1",
        // A change of credentials forgets the parent.
        "die with parent",
        "no new privileges",
        // Last, where the filter needs no right: execve is the only call that it has to allow.
        "seccomp",
        "execve \"true\"",
    ]);
    assert_eq!(names, expected);
    // Without no_new_privs it takes CAP_SYS_ADMIN: as late as that is still there.
    let changes = [&changes[..], &[("/process/noNewPrivileges", json!(false))]].concat();
    let text = bench.plan(&bench.spec(&["true"], &changes), &[], null()).unwrap().describe();
    let names: Vec<&str> =
        text.lines().map(|line| if line.starts_with("seccomp") { "seccomp" } else { line }).collect();
    let (_, end) = names.split_at(names.iter().position(|name| *name == "uid 0").unwrap());
    let expected =
        ["uid 0", "hold capabilities", "die with parent", "seccomp", "capabilities 0x1", "execve \"true\""];
    assert_eq!(end, expected);
    // The host's mount namespace keeps all that it has: the root is private before anything is mounted in it.
    let changes = [("/linux/namespaces", json!([{"type": "pid"}]))];
    let text = bench.plan(&bench.spec(&["true"], &changes), &[], null()).unwrap().describe();
    let at = |begin: &str| text.lines().position(|line| line.starts_with(begin));
    assert_eq!(at("slave mounts"), None, "{text}");
    let order = [
        "attach root \"",
        "root propagation private",
        "mount ",
        "root in the host's mount namespace",
        "masked path ",
    ]
    .map(at);
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{text}");
}

/// What exec starts is seen inside after its filter, and has nothing left to do but what nobody can do for it.
pub(super) fn the_order_of_going_inside(bench: &Bench) {
    let init = bench.pause();
    let process = json!({
        "args": ["true"], "cwd": "/", "user": {"uid": 7, "gid": 7}, "terminal": true, "oomScoreAdj": 500, "noNewPrivileges": false,
    });
    let process: Process = serde_json::from_value(process).unwrap();
    let spec = bench.spec(&["true"], &[("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}))]);
    let linux = spec.linux().as_ref().unwrap();
    let plan = |namespaces| {
        let inputs = ExecInputs {
            process: &process,
            program: None,
            namespaces,
            init: init.pidfd.as_fd(),
            cgroup: &bench.cgroup,
            resctrl: Vec::new(),
            stdio: stdio(null()),
            linux: Some(linux),
            programs: None,
            state: None,
            tie: Tie::Always,
            preserve: &[],
        };
        engine::compile_exec(inputs).unwrap().describe()
    };
    let listed = linux.namespaces().as_deref().unwrap();
    let text = plan(listed);
    let names = text.lines().filter(|line| !line.starts_with("join cgroup"));
    let names: Vec<&str> =
        names.map(|line| if line.starts_with("seccomp") { "seccomp" } else { line }).collect();
    let expected = [
        "close others",
        "die with parent",
        "keyring",
        "private proc",
        "oom score \"500\"",
        "join container",
        // Of the process outside, so that nothing of the caller's is in sight inside.
        "session",
        "stdio",
        "working directory \".\"",
        "find home of 7",
        "umask 0022",
        "signals",
        "close descriptors",
        "bounding set 0x0",
        "groups []",
        "gid 7",
        "uid 7",
        "hold capabilities",
        "die with parent",
        "seccomp",
        "capabilities 0x0",
        "go inside",
        "session",
        "controlling terminal",
        "execve \"true\"",
    ];
    assert_eq!(names, expected);
    // In the caller's own pid namespace there is no inside.
    let shared: Vec<_> = listed.iter().filter(|one| one.typ() != LinuxNamespaceType::Pid).cloned().collect();
    let text = plan(&shared);
    assert!(!text.contains("go inside") && text.contains("session\n"), "{text}");
    kill(&init);
}
