//! A process: its rights, streams, directory and failures, its wait for a start, and others in its container.

use super::*;

pub(super) fn a_command_runs_to_its_end(bench: &Bench) {
    let (printed, exit) = bench.run(&bench.spec(&["true"], &[]), &[]).unwrap();
    assert_eq!((printed.as_str(), exit), ("", Exit::Code(0)));
    assert_eq!(bench.run(&bench.spec(&["exit", "7"], &[]), &[]).unwrap().1, Exit::Code(7));
    assert_eq!(bench.print(&["pwd"], &[("/process/cwd", json!("/made/here"))]), "/made/here\n");
    assert_eq!(
        bench.print(&["env"], &[("/process/env", json!(["PATH=/bin", "A=b c"]))]),
        "PATH=/bin\nA=b c\nHOME=/\n"
    );
}

pub(super) fn rights_are_what_the_spec_says(bench: &Bench) {
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

pub(super) fn only_the_standard_streams_are_open(bench: &Bench) {
    let _leak: Vec<OwnedFd> = (0..5).map(|_| std::fs::File::open("/").unwrap().into()).collect();
    assert_eq!(bench.print(&["ls", "/proc/self/fd"], &[]), "0\n1\n2\n");
    let init = bench.pause();
    assert_eq!(exec(bench, &init, &["ls", "/proc/self/fd"], json!({})).unwrap().0, "0\n1\n2\n");
    kill(&init);
}

pub(super) fn a_process_can_be_run_inside(bench: &Bench) {
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

pub(super) fn missing_and_forbidden_commands(bench: &Bench) {
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

pub(super) fn a_working_directory_outside_is_refused(bench: &Bench) {
    for number in [3, 5, 9] {
        let cwd = format!("/proc/self/fd/{number}");
        let error = bench.fail(&["true"], &[("/process/cwd", json!(cwd))]);
        assert!(error.message().contains("directory"), "{error}");
    }
    std::os::unix::fs::symlink("/proc/self/fd/7", bench.root().join("link")).unwrap();
    bench.fail(&["true"], &[("/process/cwd", json!("/link"))]);
}

pub(super) fn a_failed_step_reads_like_strace(bench: &Bench) {
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

pub(super) fn a_terminal_is_the_controlling_one(bench: &Bench) {
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

pub(super) fn a_start_is_awaited(bench: &Bench) {
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

pub(super) fn a_paused_child_still_sees_the_host(bench: &Bench) {
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
