//! The engine on a real kernel: containers are spawned from a small root, looked into, and gone
//! afterwards. Needs root; each case runs in a process of its own with one thread, as the engine wants.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Process, Spec};
use runtime::cgroup::{Cgroup, Layout};
use runtime::engine::{self, Attached, Child, ExecInputs, Inputs, Nodes, Plan, Rootfs, Stdio, Tie};
use runtime::sys::file::held::HeldMounts;
use runtime::sys::io::socket;
use runtime::sys::process::pidfd::{self, Exit, Wait};
use runtime::{Error, ErrorKind};
use serde_json::{Value, json};

#[path = "engine/allocator.rs"]
mod allocator;
#[path = "engine/fields.rs"]
mod fields;
#[path = "engine/seccomp.rs"]
mod seccomp;

type Case = fn(&Bench);

const CASES: &[(&str, Case)] = &[
    ("a_command_runs_to_its_end", a_command_runs_to_its_end),
    ("a_container_is_pid_1_of_its_own_and_sees_only_its_own", a_container_is_alone),
    ("rights_are_what_the_spec_says", rights_are_what_the_spec_says),
    ("only_the_standard_streams_are_open", only_the_standard_streams_are_open),
    ("a_process_can_be_run_inside", a_process_can_be_run_inside),
    ("missing_and_forbidden_commands_are_told_apart", missing_and_forbidden_commands),
    ("a_working_directory_outside_is_refused", a_working_directory_outside_is_refused),
    ("a_failed_step_reads_like_strace", a_failed_step_reads_like_strace),
    ("what_is_masked_is_empty", what_is_masked_is_empty),
    ("images_cannot_lead_mounts_astray", images_cannot_lead_mounts_astray),
    ("volumes_held_by_descriptor_are_shared", volumes_held_by_descriptor_are_shared),
    ("an_overlay_held_by_descriptor_is_a_root", an_overlay_is_a_root),
    ("limits_hold_and_an_oom_kill_is_counted", limits_hold),
    ("devices_are_denied_unless_allowed", devices_are_denied),
    ("a_cgroup_is_killed_and_removed_with_what_is_below", a_cgroup_is_killed_and_removed),
    ("a_terminal_is_the_controlling_one", a_terminal_is_the_controlling_one),
    ("a_shared_pid_namespace_has_a_powerless_init", a_shared_pid_namespace),
    ("the_order_of_the_steps_is_the_security_order", the_order_is_the_security_order),
    ("what_goes_among_others_has_all_behind_it", the_order_of_going_inside),
    ("a_seccomp_filter_holds_from_the_first_instruction", seccomp::a_filter_holds),
    ("a_seccomp_filter_has_to_allow_execve_and_capset_only", seccomp::what_a_filter_has_to_allow),
    ("a_seccomp_filter_is_for_32_bit_calls_too", seccomp::a_filter_is_for_32_bit_calls_too),
    ("a_seccomp_filter_is_kept_by_what_it_says", seccomp::a_filter_is_kept),
    ("a_seccomp_agent_is_told_and_asked", seccomp::an_agent_is_told_and_asked),
    ("a_seccomp_agent_that_is_not_there_is_an_error", seccomp::an_agent_that_is_not_there),
    ("a_start_is_awaited_with_nothing_in_hand", a_start_is_awaited),
    ("a_paused_child_still_sees_the_host", a_paused_child_still_sees_the_host),
    ("ids_of_a_user_namespace_are_the_hosts_others", ids_of_a_user_namespace),
    ("a_process_runs_where_and_when_it_is_told_to", fields::placement),
    ("clocks_of_a_time_namespace_are_shifted", fields::time_namespace),
    ("a_user_namespace_is_joined_by_its_path", fields::joined_user_namespace),
    ("a_namespace_of_another_type_is_refused", fields::wrong_namespace),
    ("a_bind_mount_shows_other_owners", fields::idmap),
    ("a_tmpfs_begins_with_what_it_covers", fields::copy_up),
    ("a_child_that_allocates_would_abort", allocator::is_watched),
    ("nothing_is_left", nothing_is_left),
    ("timing", timing),
];

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if let Ok(case) = std::env::var("ENGINE_CASE") {
        let (_, run) =
            CASES.iter().find(|(name, _)| *name == case).expect("the case was named by this program");
        allocator::watch();
        run(&Bench::new(&case));
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) != 0) {
        println!("test engine ... ignored, needs root");
        return ExitCode::SUCCESS;
    }
    let own = std::env::current_exe().expect("/proc is mounted");
    let mut failed = 0;
    let unified_only = Layout::detect().is_ok_and(|layout| layout.is_unified_only());
    for view in [View::Host, View::Unified] {
        if view == View::Unified && unified_only {
            println!("the host has cgroup v2 alone: its view is the other one too");
            continue;
        }
        // What it prints is for a reader, so it runs only when asked for by name.
        let wanted = |name: &str| match &filter {
            None => name != "timing",
            Some(part) => name.contains(part.as_str()),
        };
        for (name, _) in CASES.iter().filter(|(name, _)| wanted(name)) {
            if view == View::Unified && ["limits_hold_and_an_oom_kill_is_counted", "timing"].contains(name) {
                println!("test {name} ({view:?}) ... ignored, needs controllers");
                continue;
            }
            let run = view.command(&own).env("ENGINE_CASE", name).status().expect("it can be run again");
            println!("test {name} ({view:?}) ... {}", if run.success() { "ok" } else { "FAILED" });
            failed += u32::from(!run.success());
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How a case sees the host's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// As they are.
    Host,
    /// As on a host that has v2 alone, if without controllers.
    Unified,
}

impl View {
    fn command(self, program: &Path) -> Command {
        match self {
            Self::Host => Command::new(program),
            Self::Unified => {
                let mut command = Command::new("unshare");
                let script =
                    "umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\"";
                command.args(["-m", "sh", "-c", script]).arg(program);
                command
            }
        }
    }
}

/// A root, a cgroup and a place for files, all removed at the end.
struct Bench {
    directory: tempfile::TempDir,
    layout: Layout,
    cgroup: Cgroup,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cgroup.kill().unwrap();
        self.cgroup.remove().unwrap();
        Cgroup::open(&self.layout, "/podrun-engine-test").unwrap().remove_if_empty();
    }
}

impl Bench {
    fn new(case: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for below in ["bin", "etc", "tmp", "work"] {
            std::fs::create_dir_all(root.join(below)).unwrap();
        }
        let program = inside();
        for name in [
            "true", "exit", "cat", "ls", "pause", "pwd", "pid", "env", "tty", "touch", "open", "stat", "eat",
            "orphan", "forks", "calls", "calls32", "agent", "mkdir", "placed", "owner",
        ] {
            std::fs::hard_link(&program, root.join("bin").join(name))
                .or_else(|_| std::fs::copy(&program, root.join("bin").join(name)).map(drop))
                .unwrap();
        }
        let layout = Layout::detect().unwrap();
        let path = format!("/podrun-engine-test/{case}-{}", std::process::id());
        let cgroup = Cgroup::create(&layout, &path, None).unwrap();
        Self { directory, layout, cgroup }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// The spec of a pod's usual container, changed at some JSON pointers.
    fn spec(&self, args: &[&str], changes: &[(&str, Value)]) -> Spec {
        let mut spec = json!({
            "ociVersion": "1.2.0",
            "root": {"path": self.root(), "readonly": false},
            "process": {
                "args": args, "cwd": "/", "env": ["PATH=/bin"],
                "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
                "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/sys", "type": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
            ],
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "cgroup"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
                "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/missing"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        });
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match spec.pointer_mut(parent).unwrap() {
                Value::Array(list) => list.push(value.clone()),
                parent => parent[key] = value.clone(),
            }
        }
        serde_json::from_value(spec).unwrap()
    }

    fn plan(&self, spec: &Spec, attached: &[Attached<'_>], out: OwnedFd) -> Result<Plan, Error> {
        let inputs = Inputs { attached, ..plain(spec, &self.cgroup, stdio(out)) };
        engine::compile(inputs)
    }

    /// Runs a container to its end: what it printed and how it ended.
    fn run(&self, spec: &Spec, attached: &[Attached<'_>]) -> Result<(String, Exit), Error> {
        let (mut read, write) = std::io::pipe().unwrap();
        let plan = self.plan(spec, attached, write.into())?;
        let child = start(&plan)?;
        drop(plan);
        let mut printed = String::new();
        read.read_to_string(&mut printed).unwrap();
        Ok((printed, end(&child)))
    }

    fn print(&self, args: &[&str], changes: &[(&str, Value)]) -> String {
        self.run(&self.spec(args, changes), &[]).unwrap().0
    }

    fn fail(&self, args: &[&str], changes: &[(&str, Value)]) -> Error {
        match self.run(&self.spec(args, changes), &[]) {
            Ok(ran) => panic!("it ran: {ran:?}"),
            Err(error) => error,
        }
    }

    /// A container that waits.
    fn pause(&self) -> Child {
        let plan = self.plan(&self.spec(&["pause"], &[]), &[], null()).unwrap();
        start(&plan).unwrap()
    }
}

/// The static program that the containers run, built once.
fn inside() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/inside.c");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inside");
    let newer = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    if newer(&built) < newer(&source) {
        let part = built.with_extension(std::process::id().to_string());
        let gcc = Command::new("gcc").args(["-O1", "-static", "-o"]).arg(&part).arg(&source).status();
        assert!(gcc.is_ok_and(|status| status.success()), "gcc and a static libc are needed");
        std::fs::rename(&part, &built).unwrap();
    }
    built
}

fn null() -> OwnedFd {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into()
}

/// The inputs of a container that is bound to this process.
fn plain<'a>(spec: &'a Spec, cgroup: &'a Cgroup, stdio: Stdio) -> Inputs<'a> {
    Inputs {
        spec,
        rootfs: Rootfs::Spec,
        attached: &[],
        cgroup,
        resctrl: Vec::new(),
        stdio,
        console: None,
        null: Nodes::among(&mut HeldMounts::default(), None).mask(spec).unwrap(),
        pid_namespace: None,
        programs: None,
        state: None,
        tie: Tie::Always,
        pause: false,
        preserve: &[],
        keyring: true,
    }
}

fn stdio(out: OwnedFd) -> Stdio {
    let stderr = out.try_clone().unwrap();
    Stdio { stdin: null(), stdout: out, stderr }
}

/// Spawns a plan, and waits until it has reached execve or failed.
fn start(plan: &Plan) -> Result<Child, Error> {
    let mut child = plan.spawn()?;
    plan.meet_agent(&mut child)?;
    assert!(pidfd::wait_readable(child.wire.as_fd(), Duration::from_secs(5)), "the wire is silent");
    plan.complete(&mut child, |_| Ok(()))?;
    Ok(child)
}

fn end(child: &Child) -> Exit {
    pidfd::reap(child.pidfd.as_fd(), Wait::Block).unwrap().unwrap()
}

fn kill(child: &Child) {
    pidfd::pidfd_send_signal(child.pidfd.as_fd(), pidfd::SIGKILL).unwrap();
    assert_eq!(end(child), Exit::Signal(pidfd::SIGKILL));
}

fn exec(bench: &Bench, init: &Child, args: &[&str], changes: Value) -> Result<(String, Exit), Error> {
    exec_filtered(bench, init, args, changes, None)
}

fn exec_filtered(
    bench: &Bench,
    init: &Child,
    args: &[&str],
    changes: Value,
    linux: Option<&Linux>,
) -> Result<(String, Exit), Error> {
    let mut process = json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    process.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let process: Process = serde_json::from_value(process).unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    let usual = bench.spec(args, &[]);
    let namespaces = linux.or(usual.linux().as_ref()).and_then(|linux| linux.namespaces().as_deref());
    let plan = engine::compile_exec(ExecInputs {
        process: &process,
        program: None,
        namespaces: namespaces.unwrap_or_default(),
        init: init.pidfd.as_fd(),
        cgroup: &bench.cgroup,
        resctrl: Vec::new(),
        stdio: stdio(write.into()),
        linux,
        programs: None,
        state: None,
        tie: Tie::Always,
        preserve: &[],
    })?;
    let child = start(&plan)?;
    drop(plan);
    let mut printed = String::new();
    read.read_to_string(&mut printed).unwrap();
    Ok((printed, end(&child)))
}

fn a_command_runs_to_its_end(bench: &Bench) {
    let (printed, exit) = bench.run(&bench.spec(&["true"], &[]), &[]).unwrap();
    assert_eq!((printed.as_str(), exit), ("", Exit::Code(0)));
    assert_eq!(bench.run(&bench.spec(&["exit", "7"], &[]), &[]).unwrap().1, Exit::Code(7));
    assert_eq!(bench.print(&["pwd"], &[("/process/cwd", json!("/made/here"))]), "/made/here\n");
    assert_eq!(
        bench.print(&["env"], &[("/process/env", json!(["PATH=/bin", "A=b c"]))]),
        "PATH=/bin\nA=b c\nHOME=/\n"
    );
}

fn a_container_is_alone(bench: &Bench) {
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

fn rights_are_what_the_spec_says(bench: &Bench) {
    let changes = [
        ("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [7], "umask": 0o27})),
        ("/process/oomScoreAdj", json!(500)),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}])),
    ];
    let status = bench.print(&["cat", "/proc/self/status"], &changes);
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in {status}"));
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("Uid:"), "1000 1000 1000 1000");
    assert_eq!(field("Gid:"), "1001 1001 1001 1001");
    assert_eq!(field("Groups:"), "7");
    assert_eq!(field("Umask:"), "0027");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("CapInh:"), "0000000000000000");
    assert_eq!(field("CapAmb:"), "0000000000000000");
    assert_eq!(field("CapEff:"), "0000000000000000", "a plain user's are lost at execve");
    assert_eq!(field("CapBnd:"), "0000000000000001");
    assert_eq!(field("SigBlk:"), "0000000000000000");
    assert_eq!(field("SigIgn:"), "0000000000000000");
    assert_eq!(bench.print(&["cat", "/proc/self/oom_score_adj"], &changes), "500\n");
    let limits = bench.print(&["cat", "/proc/self/limits"], &changes);
    assert!(
        limits.lines().any(|line| line.split_whitespace().eq("Max open files 64 128 files".split(' '))),
        "{limits}"
    );
    let root = bench.print(&["cat", "/proc/self/status"], &[]);
    assert!(root.contains("CapEff:\t0000000000000001"), "{root}");
}

fn only_the_standard_streams_are_open(bench: &Bench) {
    let _leak: Vec<OwnedFd> = (0..5).map(|_| std::fs::File::open("/").unwrap().into()).collect();
    assert_eq!(bench.print(&["ls", "/proc/self/fd"], &[]), "0\n1\n2\n");
    let init = bench.pause();
    assert_eq!(exec(bench, &init, &["ls", "/proc/self/fd"], json!({})).unwrap().0, "0\n1\n2\n");
    kill(&init);
}

fn a_process_can_be_run_inside(bench: &Bench) {
    let init = bench.pause();
    let before: Vec<_> =
        ["mnt", "pid", "pid_for_children", "net", "ipc", "uts", "cgroup"].map(namespace).into();
    let (printed, exit) = exec(bench, &init, &["pid"], json!({})).unwrap();
    assert_eq!((printed.as_str(), exit), ("2\n", Exit::Code(0)));
    assert_eq!(exec(bench, &init, &["exit", "3"], json!({})).unwrap().1, Exit::Code(3));
    let after: Vec<_> =
        ["mnt", "pid", "pid_for_children", "net", "ipc", "uts", "cgroup"].map(namespace).into();
    assert_eq!(before, after, "the parent is back where it was");
    let inside = exec(bench, &init, &["cat", "/proc/self/cgroup"], json!({})).unwrap().0;
    assert!(inside.lines().any(|line| line == "0::/"), "{inside}");
    let mounts = exec(
        bench,
        &init,
        &["cat", "/proc/self/mountinfo", "/proc/self/oom_score_adj"],
        json!({"oomScoreAdj": 300}),
    )
    .unwrap()
    .0;
    assert!(mounts.ends_with("\n300\n"), "{mounts}");
    let missing = exec(bench, &init, &["nothing"], json!({})).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::CommandNotFound);
    kill(&init);
    let dead = exec(bench, &init, &["true"], json!({})).unwrap_err();
    assert!(dead.message().contains("not running"), "{dead}");
}

fn namespace(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
}

fn missing_and_forbidden_commands(bench: &Bench) {
    let missing = bench.fail(&["nothing"], &[]);
    assert_eq!(missing.kind(), ErrorKind::CommandNotFound);
    assert_eq!(missing.message(), "execve(\"nothing\"): ENOENT (no such file or directory)");
    std::fs::write(bench.root().join("bin/data"), "x").unwrap();
    assert_eq!(bench.fail(&["data"], &[]).kind(), ErrorKind::CommandNotExecutable);
    let script = bench.root().join("bin/script");
    std::fs::write(&script, "#!/no/shell\n").unwrap();
    Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    let orphan = bench.fail(&["script"], &[]);
    assert!(orphan.hint_text().unwrap().contains("interpreter"), "{orphan:?}");
    let proc = bench.fail(&["/proc/self/fd/5"], &[]);
    assert_eq!(proc.kind(), ErrorKind::CommandNotFound, "{proc}");
}

fn a_working_directory_outside_is_refused(bench: &Bench) {
    for number in [3, 5, 9] {
        let cwd = format!("/proc/self/fd/{number}");
        let error = bench.fail(&["true"], &[("/process/cwd", json!(cwd))]);
        assert!(error.message().contains("directory"), "{error}");
    }
    std::os::unix::fs::symlink("/proc/self/fd/7", bench.root().join("link")).unwrap();
    bench.fail(&["true"], &[("/process/cwd", json!("/link"))]);
}

fn a_failed_step_reads_like_strace(bench: &Bench) {
    let bad = json!({"destination": "/tmp/x", "type": "tmpfs", "options": ["size=nonsense"]});
    let error = bench.fail(&["true"], &[("/mounts/-", bad)]);
    let words = error.message();
    assert!(
        words.starts_with("mount ")
            && words.contains(" of ")
            && words.contains("fsconfig(\"tmpfs\" -> \"tmp/x\"): EINVAL"),
        "{words}"
    );
    let missing =
        json!({"destination": "/tmp/x", "type": "bind", "source": "/no/such", "options": ["rbind"]});
    let error = bench.fail(&["true"], &[("/mounts/-", missing)]);
    assert!(error.message().contains("open_tree(\"/no/such\", OPEN_TREE_CLONE): ENOENT"), "{error}");
}

fn what_is_masked_is_empty(bench: &Bench) {
    let seen = bench.print(&["stat", "/proc/timer_list", "/proc/keys", "/proc/kcore"], &[]);
    for line in seen.lines() {
        assert!(line.ends_with("none") || line.ends_with("20666 1:3"), "{line}");
    }
    assert_eq!(bench.print(&["ls", "/sys/firmware"], &[]), "");
    assert_eq!(bench.print(&["touch", "/proc/sys/kernel/domainname"], &[]), "refused\n");
    let own_dev = [(
        "/mounts/-",
        json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}),
    )];
    let mut spec = serde_json::to_value(bench.spec(&["stat", "/proc/keys"], &own_dev)).unwrap();
    spec["mounts"].as_array_mut().unwrap().retain(|mount| {
        !(mount["destination"].as_str().unwrap().starts_with("/dev") && mount["type"] != "bind")
    });
    let (seen, _) = bench.run(&serde_json::from_value(spec).unwrap(), &[]).unwrap();
    assert!(seen.ends_with("20666 1:3\n") || seen.ends_with("none\n"), "{seen}");
}

fn images_cannot_lead_mounts_astray(bench: &Bench) {
    let canary = bench.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    // /dev of the image is a link to the host's directory by its host path: inside it leads to nothing, which is made there.
    std::os::unix::fs::symlink(&canary, bench.root().join("dev")).unwrap();
    assert_eq!(bench.print(&["true"], &[]), "");
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
    let inside = bench.root().join(canary.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0, "what is mounted is empty below");
    std::fs::remove_file(bench.root().join("dev")).unwrap();
    // A link that leads up is cut at the root.
    std::os::unix::fs::symlink("../../../../../../../../tmp", bench.root().join("up")).unwrap();
    let volume = json!({"destination": "/up/volume", "type": "bind", "source": canary, "options": ["rbind"]});
    assert_eq!(bench.print(&["touch", "/tmp/volume/x"], &[("/mounts/-", volume)]), "made\n");
    assert!(canary.join("x").exists() && bench.root().join("tmp/volume").is_dir());
    // proc on a link is refused, and so is a link onto a part of proc.
    let astray = json!({"destination": "/link", "type": "tmpfs"});
    std::os::unix::fs::symlink("/proc/sys", bench.root().join("link")).unwrap();
    let error = bench.fail(&["true"], &[("/mounts/-", astray)]);
    assert!(error.message().contains("fstatfs"), "{error}");
    std::fs::remove_dir(bench.root().join("proc")).unwrap();
    std::os::unix::fs::symlink("tmp", bench.root().join("proc")).unwrap();
    let error = bench.fail(&["true"], &[]);
    assert!(error.message().contains("ELOOP"), "{error}");
}

fn volumes_held_by_descriptor_are_shared(bench: &Bench) {
    use runtime::sys::file::mount;
    let mut held = HeldMounts::default();
    for name in ["other", "ours"] {
        let context = mount::fsopen(c"tmpfs").unwrap();
        mount::fsconfig_create(context.as_fd()).unwrap();
        held.insert(name, mount::fsmount(context.as_fd(), 0).unwrap());
    }
    // As this kernel can, and then as before Linux 6.15: both ways lead to one file system.
    let mut copies = 0;
    let mut copy = |name: &str| {
        let tree = held.get(name).unwrap().try_clone_to_owned().unwrap();
        copies += 1;
        match copies {
            1 | 2 => held.copy(name, tree.as_fd(), mount::Depth::Recursive).unwrap(),
            _ => held.copy_from_room(name, tree.as_fd(), mount::Depth::Recursive).unwrap(),
        }
    };
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/{kind}")).unwrap();
    let (namespace, folder) = (own("ns/mnt"), own("cwd"));
    copy("other");
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(
        (own("ns/mnt"), own("cwd"), own("root")),
        (namespace.clone(), folder.clone(), PathBuf::from("/"))
    );
    let mut run = |spec: &Spec| {
        let tree = copy("ours");
        bench.run(spec, &[Attached { destination: "/work", tree: tree.as_fd(), checked: false }]).unwrap().0
    };
    let entry = |options: Value| {
        ("/mounts/-", json!({"destination": "/work", "type": "bind", "source": "none", "options": options}))
    };
    let spec = bench.spec(&["touch", "/work/x"], &[entry(json!(["rbind"]))]);
    assert_eq!(run(&spec), "made\n");
    let spec = bench.spec(&["touch", "/work/y"], &[entry(json!(["rbind", "ro"]))]);
    assert_eq!(run(&spec), "refused\n");
    let spec = bench.spec(&["ls", "/work"], &[entry(json!(["rbind", "rro"]))]);
    assert_eq!(run(&spec), "x\n");
    assert_eq!((own("ns/mnt"), own("cwd"), own("root")), (namespace, folder, PathBuf::from("/")));
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

fn an_overlay_is_a_root(bench: &Bench) {
    use runtime::sys::file::overlay::{self, Naming};
    let open = |name: &str| {
        let directory = bench.directory.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        OwnedFd::from(std::fs::File::open(directory).unwrap())
    };
    std::fs::create_dir_all(bench.directory.path().join("over/etc")).unwrap();
    std::fs::write(bench.directory.path().join("over/etc/over"), "").unwrap();
    let own = || std::env::current_dir().unwrap();
    let folder = own();
    // As this kernel has it, and as older ones had it.
    for (round, naming) in [None, Some(Naming::Joined)].into_iter().enumerate() {
        let (upper, work) = (open(&format!("upper{round}")), open(&format!("work{round}")));
        let (over, root) = (open("over"), open("root"));
        let lower = [over.as_fd(), root.as_fd()];
        let tree = match naming {
            None => overlay::mount(&lower, upper.as_fd(), work.as_fd()),
            Some(naming) => overlay::mount_by(naming, &lower, upper.as_fd(), work.as_fd()),
        };
        let tree = tree.unwrap();
        assert_eq!(own(), folder);
        let spec = bench.spec(&["touch", "/etc/x"], &[]);
        let inputs =
            Inputs { rootfs: Rootfs::Detached(tree.as_fd()), ..plain(&spec, &bench.cgroup, stdio(null())) };
        let plan = engine::compile(inputs).unwrap();
        drop(tree);
        let child = start(&plan).unwrap();
        assert_eq!(end(&child), Exit::Code(0));
        assert!(bench.directory.path().join(format!("upper{round}/etc/x")).exists());
        assert!(!bench.root().join("etc/x").exists());
    }
}

fn limits_hold(bench: &Bench) {
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

fn devices_are_denied(bench: &Bench) {
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
fn run_in(bench: &Bench, cgroup: &Cgroup, args: &[&str]) -> (String, Exit) {
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

fn a_cgroup_is_killed_and_removed(bench: &Bench) {
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

fn a_terminal_is_the_controlling_one(bench: &Bench) {
    let spec = bench.spec(&["tty"], &[("/process/terminal", json!(true))]);
    let made = engine::terminal(&spec).unwrap().unwrap();
    let (main, peer) = made.pair;
    let clone = || peer.try_clone().unwrap();
    let stdio = Stdio { stdin: clone(), stdout: clone(), stderr: clone() };
    let inputs = Inputs { console: Some(made.console), ..plain(&spec, &bench.cgroup, stdio) };
    let plan = engine::compile(inputs).unwrap();
    drop(peer);
    let child = start(&plan).unwrap();
    assert_eq!(end(&child), Exit::Code(0));
    let mut printed = [0; 64];
    let read = std::fs::File::from(main).read(&mut printed).unwrap();
    assert_eq!(std::str::from_utf8(&printed[..read]).unwrap().trim_end(), "/dev/pts/0");
}

fn a_shared_pid_namespace(bench: &Bench) {
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

fn the_order_is_the_security_order(bench: &Bench) {
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
fn the_order_of_going_inside(bench: &Bench) {
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

/// Inputs as an OCI runtime has them.
fn made<'a>(bench: &'a Bench, spec: &'a Spec, tie: Tie<'a>, pause: bool, out: OwnedFd) -> Inputs<'a> {
    Inputs { tie, pause, ..plain(spec, &bench.cgroup, stdio(out)) }
}

fn a_start_is_awaited(bench: &Bench) {
    let listener = socket::listen(bench.directory.path(), "start.sock").unwrap();
    let spec = bench.spec(&["exit", "3"], &[]);
    let plan = engine::compile(made(bench, &spec, Tie::UntilStart(listener.as_fd()), false, null())).unwrap();
    let text = plan.describe();
    let last: Vec<&str> = text.lines().rev().take(5).collect();
    assert_eq!(
        last,
        [
            "execve \"exit\"",
            "await start",
            "outlive the parent",
            "find program \"exit\"",
            "no new privileges"
        ]
    );
    let mut child = plan.spawn().unwrap();
    plan.complete(&mut child, |_| Ok(())).unwrap();
    drop((plan, listener));
    let held = std::fs::read_dir(format!("/proc/{}/fd", child.pid)).unwrap().count();
    assert_eq!(held, 4, "the standard streams and the socket");
    // A look is no start.
    let connect =
        || socket::connect_within(bench.directory.path(), "start.sock", Duration::from_secs(10)).unwrap();
    drop(connect());
    let mut start = std::os::unix::net::UnixStream::from(connect());
    assert!(socket::is_listening(bench.directory.path(), "start.sock").unwrap());
    start.write_all(&[1]).unwrap();
    let mut said = Vec::new();
    start.read_to_end(&mut said).unwrap();
    assert_eq!((said.as_slice(), end(&child)), ([].as_slice(), Exit::Code(3)));
    assert!(!socket::is_listening(bench.directory.path(), "start.sock").unwrap());
}

fn a_paused_child_still_sees_the_host(bench: &Bench) {
    let spec = bench.spec(&["true"], &[]);
    let plan = engine::compile(made(bench, &spec, Tie::Always, true, null())).unwrap();
    let mut child = plan.spawn().unwrap();
    let mut paused = 0;
    plan.complete(&mut child, |child| {
        paused += 1;
        let root = format!("/proc/{}/root", child.pid);
        let place = format!("{root}{}/proc/self", bench.root().display());
        assert!(
            Path::new(&place).symlink_metadata().is_ok(),
            "its procfs is mounted where hooks look: {place}"
        );
        Ok(())
    })
    .unwrap();
    assert_eq!((paused, end(&child)), (1, Exit::Code(0)));
    let plan = engine::compile(made(bench, &spec, Tie::Always, true, null())).unwrap();
    let mut child = plan.spawn().unwrap();
    let failed = plan.complete(&mut child, |_| Err(Error::failed("a hook"))).unwrap_err();
    assert_eq!(failed.message(), "a hook");
    assert!(pidfd::reap(child.pidfd.as_fd(), Wait::Poll).is_err(), "it is killed and reaped");
}

fn ids_of_a_user_namespace(bench: &Bench) {
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

fn nothing_is_left(bench: &Bench) {
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = (mounts(), fds());
    for _ in 0..20 {
        bench.print(&["true"], &[]);
        bench.fail(&["nothing"], &[]);
        let init = bench.pause();
        exec(bench, &init, &["true"], json!({})).unwrap();
        kill(&init);
    }
    assert_eq!((mounts(), fds()), before);
    assert!(bench.cgroup.pids().unwrap().is_empty());
}

/// Not a check: what spawning costs here, beside the floor program where one is named by FLOOR.
fn timing(bench: &Bench) {
    let mut spec = serde_json::to_value(bench.spec(&["true"], &[])).unwrap();
    spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "cgroup");
    if std::env::var_os("BARE").is_some() {
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
    }
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let (mut compile, mut run, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..200 {
        let begin = Instant::now();
        let cgroup =
            Cgroup::create(&bench.layout, &format!("{}/t{number}", bench.cgroup.path()), None).unwrap();
        let compiled = Instant::now();
        let plan = engine::compile(plain(&spec, &cgroup, stdio(null()))).unwrap();
        let spawned = Instant::now();
        let child = start(&plan).unwrap();
        run.push(spawned.elapsed());
        assert_eq!(end(&child), Exit::Code(0));
        cgroup.remove().unwrap();
        whole.push(begin.elapsed());
        compile.push(spawned - compiled);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let init = bench.pause();
    let mut inside = Vec::new();
    for _ in 0..100 {
        let begin = Instant::now();
        exec(bench, &init, &["true"], json!({})).unwrap();
        inside.push(begin.elapsed());
    }
    kill(&init);
    println!(
        "compile {:?}, spawn to exec {:?}, cgroup to end {:?}; exec of true {:?}",
        median(&mut compile),
        median(&mut run),
        median(&mut whole),
        median(&mut inside)
    );
    let Some(floor) = std::env::var_os("FLOOR") else { return };
    let mut times = Vec::new();
    for number in 0..100 {
        let begin = Instant::now();
        let cgroup = format!("/sys/fs/cgroup/unified/floor{number}");
        assert!(Command::new(&floor).arg("run").arg(bench.root()).arg(cgroup).status().unwrap().success());
        times.push(begin.elapsed());
    }
    println!("floor run {:?}", median(&mut times));
}
