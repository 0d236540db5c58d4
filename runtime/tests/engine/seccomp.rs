//! Filters on the kernel: a call is refused with the filter, and by the kernel alone it is not.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio as Piped;

use oci_spec::runtime::{ContainerState, State};

use super::*;

/// A change of a spec that gives it a filter with these rules.
fn filter(rules: Value) -> (&'static str, Value) {
    ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
}

fn refuse(names: &[&str]) -> Value {
    json!([{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 71}]) // EPROTO: the kernel has no reason for it
}

// The native numbers of mkdir, rmdir, and socket.
#[cfg(target_arch = "x86_64")]
const CALLS: [&str; 3] = ["calls", "83", "84"];

/// How a container may come to its filter: with no_new_privs or without, as root or as somebody else.
fn ways() -> [Vec<(&'static str, Value)>; 4] {
    let way = |no_new_privs: bool, uid: u32| {
        vec![
            ("/process/noNewPrivileges", json!(no_new_privs)),
            ("/process/user", json!({"uid": uid, "gid": uid})),
        ]
    };
    [way(true, 0), way(false, 0), way(true, 1000), way(false, 1000)]
}

pub(super) fn a_filter_holds(bench: &Bench) {
    for way in ways() {
        let free = bench.print(&CALLS, &way);
        assert_eq!(free, "83 EFAULT\n84 EFAULT\n", "without a filter");
        let filtered = [way.clone(), vec![filter(refuse(&["mkdir"]))]].concat();
        assert_eq!(bench.print(&CALLS, &filtered), "83 EPROTO\n84 EFAULT\n", "{way:?}");
        let status = bench.print(&["cat", "/proc/self/status"], &filtered);
        assert!(status.contains("Seccomp:\t2\n") && status.contains("Seccomp_filters:\t1\n"), "{status}");
        assert!(status.contains("CapBnd:\t0000000000000001\n"), "CAP_SYS_ADMIN goes: {status}");
        let status = bench.print(&["cat", "/proc/self/status"], &way);
        assert!(status.contains("Seccomp:\t0\n"), "{status}");
    }
    // One that kills: by SIGSYS.
    let deadly = json!([{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]);
    let ended = bench.run(&bench.spec(&CALLS, &[filter(deadly)]), &[]).unwrap().1;
    assert_eq!(ended, Exit::Signal(31));
    // What is run inside has the container's filter too.
    let init = bench.pause();
    let linux: Linux = serde_json::from_value(json!({"seccomp": filter(refuse(&["mkdir"])).1})).unwrap();
    let free = exec(bench, &init, &CALLS, json!({})).unwrap();
    let filtered = exec_filtered(bench, &init, &CALLS, json!({}), Some(&linux)).unwrap();
    assert_eq!((free.0.as_str(), filtered.0.as_str()), ("83 EFAULT\n84 EFAULT\n", "83 EPROTO\n84 EFAULT\n"));
    kill(&init);
}

pub(super) fn what_a_filter_has_to_allow(bench: &Bench) {
    // All that the child half calls before: none of it may still be to come.
    let earlier = [
        "close_range",
        "close",
        "dup3",
        "fcntl",
        "fchown",
        "prctl",
        "prlimit64",
        "rt_sigaction",
        "rt_sigprocmask",
        "setgroups",
        "setresgid",
        "setresuid",
        "setsid",
        "umask",
        "fchdir",
        "openat2",
        "capget",
        "poll",
        "mount_setattr",
    ];
    for way in ways() {
        let changes = [way.clone(), vec![filter(refuse(&earlier))]].concat();
        let ended = bench.run(&bench.spec(&["exit", "7"], &changes), &[]);
        assert_eq!(ended.unwrap().1, Exit::Code(7), "{way:?}");
        let changes = [way, vec![filter(refuse(&["execve"]))]].concat();
        let error = bench.fail(&["true"], &changes);
        assert!(error.message().starts_with("execve(\"true\"): EPROTO"), "{error}");
    }
    let changes = [vec![filter(refuse(&["capset"]))], ways()[1].clone()].concat();
    let error = bench.fail(&["true"], &changes);
    assert!(error.message().contains("capset"), "{error}");
    assert!(error.hint_text().unwrap().contains("no_new_privs"), "{error:?}");
    let changes = [vec![filter(refuse(&["capset"]))], ways()[0].clone()].concat();
    assert_eq!(bench.run(&bench.spec(&["true"], &changes), &[]).unwrap().1, Exit::Code(0));
}

pub(super) fn a_filter_is_for_32_bit_calls_too(bench: &Bench) {
    let calls = ["calls32", "39", "40"]; // mkdir and rmdir of i386
    if bench.run(&bench.spec(&calls, &[]), &[]).unwrap().1 != Exit::Code(0) {
        println!("(this kernel executes no 32-bit calls)");
        return;
    }
    let mut both = filter(refuse(&["mkdir"]));
    both.1["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert_eq!(bench.print(&calls, &[]), "39 EFAULT\n40 EFAULT\n");
    assert_eq!(bench.print(&calls, std::slice::from_ref(&both)), "39 EPROTO\n40 EFAULT\n");
    // x32 is a bit in the number; most kernels lack it, and the filter answers before that shows.
    let x32 = ["calls", "1073741907", "1073741908"];
    assert!(bench.print(&x32, &[both]).starts_with("1073741907 EPROTO\n"));
    // An architecture that is not in the profile is not to be had at all.
    let ended = bench.run(&bench.spec(&calls, &[filter(refuse(&["mkdir"]))]), &[]).unwrap().1;
    assert_eq!(ended, Exit::Signal(31));
}

pub(super) fn a_filter_is_kept(bench: &Bench) {
    let folder = bench.directory.path().join("filters");
    let run = |spec: &Spec| {
        let (mut read, write) = std::io::pipe().unwrap();
        let inputs = plain(spec, &bench.cgroup, stdio(write.into()));
        let plan = engine::compile(Inputs { programs: Some(&folder), ..inputs }).unwrap();
        let child = start(&plan).unwrap();
        drop(plan);
        let mut printed = String::new();
        read.read_to_string(&mut printed).unwrap();
        end(&child);
        printed
    };
    let files = || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mkdir = bench.spec(&CALLS, &[filter(refuse(&["mkdir"]))]);
    assert_eq!(run(&mkdir), "83 EPROTO\n84 EFAULT\n");
    let [kept] = &files()[..] else { panic!("one program is kept") };
    let whole = std::fs::read(kept).unwrap();
    assert_eq!(run(&mkdir), "83 EPROTO\n84 EFAULT\n");
    assert_eq!(files().len(), 1, "the same again");
    // A torn file is never what is installed: not even the half that is a program.
    std::fs::write(kept, &whole[..whole.len() - 8]).unwrap();
    assert_eq!(run(&mkdir), "83 EPROTO\n84 EFAULT\n");
    assert_eq!(std::fs::read(kept).unwrap(), whole, "it is whole again");
    // Neither is another profile's.
    let rmdir = bench.spec(&CALLS, &[filter(refuse(&["rmdir"]))]);
    assert_eq!(run(&rmdir), "83 EFAULT\n84 EPROTO\n");
    assert_eq!(files().len(), 2);
    let other = files().into_iter().find(|file| file != kept).unwrap();
    std::fs::copy(other, kept).unwrap();
    assert_eq!(run(&mkdir), "83 EPROTO\n84 EFAULT\n");
}

fn asking(socket: &Path) -> (&'static str, Value) {
    let rules = json!([{"names": ["mkdir", "capset", "execve"], "action": "SCMP_ACT_NOTIFY"}]);
    let (pointer, mut seccomp) = filter(rules);
    seccomp["listenerPath"] = json!(socket);
    seccomp["listenerMetadata"] = json!("for the agent");
    seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    (pointer, seccomp)
}

fn state() -> State {
    let state = json!({"ociVersion": "1.2.0", "id": "web", "status": "creating", "bundle": "/bundle", "annotations": {"a": "b"}});
    serde_json::from_value(state).unwrap()
}

pub(super) fn an_agent_is_told_and_asked(bench: &Bench) {
    for (number, way) in (0..).zip(ways()) {
        let socket = bench.directory.path().join(format!("agent-{number}"));
        let mut agent =
            Command::new(bench.root().join("bin/agent")).arg(&socket).stdout(Piped::piped()).spawn().unwrap();
        let mut said = BufReader::new(agent.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(said.next().unwrap(), "ready");
        let spec = bench.spec(&["mkdir", "/x"], &[way, vec![asking(&socket)]].concat());
        let (mut read, write) = std::io::pipe().unwrap();
        let (state, cgroup) = (state(), &bench.cgroup);
        let inputs = plain(&spec, cgroup, stdio(write.into()));
        let plan = engine::compile(Inputs { state: Some(&state), ..inputs }).unwrap();
        let child = start(&plan).unwrap();
        drop(plan);
        let told: Value = serde_json::from_str(&said.next().unwrap()).unwrap();
        assert_eq!(told["fds"], json!(["seccompFd"]));
        assert_eq!((&told["metadata"], &told["pid"]), (&json!("for the agent"), &json!(child.pid)));
        assert_eq!((&told["state"]["id"], &told["state"]["status"]), (&json!("web"), &json!("creating")));
        assert_eq!((&told["state"]["pid"], &told["state"]["bundle"]), (&json!(child.pid), &json!("/bundle")));
        assert_eq!((&told["ociVersion"], &told["state"]["annotations"]["a"]), (&json!("1.2.0"), &json!("b")));
        let mut printed = String::new();
        read.read_to_string(&mut printed).unwrap();
        assert_eq!((printed.as_str(), end(&child)), ("ENOTUNIQ\n", Exit::Code(0)), "the agent's answer");
        assert!(!bench.root().join("x").exists());
        let asked: Vec<String> = said.collect();
        assert!(
            asked.contains(&"asked 83".to_owned()) && asked.contains(&"asked 59".to_owned()),
            "{asked:?}"
        );
        assert!(agent.wait().unwrap().success(), "it ended when the container did");
    }
    assert_eq!(state().status(), &ContainerState::Creating);
}

pub(super) fn an_agent_that_is_not_there(bench: &Bench) {
    let socket = bench.directory.path().join("nobody");
    let spec = bench.spec(&["mkdir", "/x"], &[asking(&socket)]);
    let state = state();
    let inputs = plain(&spec, &bench.cgroup, stdio(null()));
    let plan = engine::compile(Inputs { state: Some(&state), ..inputs }).unwrap();
    let error = start(&plan).unwrap_err();
    assert!(error.message().starts_with("seccomp agent ") && error.message().contains("ENOENT"), "{error}");
    assert!(bench.cgroup.pids().unwrap().is_empty(), "no child is left");
    assert!(!bench.root().join("x").exists());
    // A step that fails before the filter is told as ever.
    let cwd = [asking(&socket), ("/process/cwd", json!("/proc/self/fd/3"))];
    let spec = bench.spec(&["mkdir", "/x"], &cwd);
    let inputs = plain(&spec, &bench.cgroup, stdio(null()));
    let plan = engine::compile(Inputs { state: Some(&state), ..inputs }).unwrap();
    assert!(!start(&plan).unwrap_err().message().contains("agent"));
    // Nobody to tell of: refused before there is a child.
    let error = bench.plan(&bench.spec(&["true"], &[asking(&socket)]), &[], null()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
