//! What the cases work with: a root, a cgroup, a place for files; and how a child is started, ended and gone into.
//!
//! Invariant: what a bench has made goes with it.

use super::*;

/// A root, a cgroup and a place for files, all removed at the end.
pub(super) struct Bench {
    pub(super) directory: tempfile::TempDir,
    pub(super) layout: Layout,
    pub(super) cgroup: Cgroup,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cgroup.kill().unwrap();
        self.cgroup.remove().unwrap();
        Cgroup::open(&self.layout, "/podrun-engine-test").unwrap().remove_if_empty();
    }
}

impl Bench {
    pub(super) fn new(case: &str) -> Self {
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

    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// The spec of a pod's usual container, changed at some JSON pointers.
    pub(super) fn spec(&self, args: &[&str], changes: &[(&str, Value)]) -> Spec {
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

    pub(super) fn plan(&self, spec: &Spec, attached: &[Attached<'_>], out: OwnedFd) -> Result<Plan, Error> {
        let inputs = Inputs { attached, ..plain(spec, &self.cgroup, stdio(out)) };
        engine::compile(inputs)
    }

    /// Runs a container to its end: what it printed and how it ended.
    pub(super) fn run(&self, spec: &Spec, attached: &[Attached<'_>]) -> Result<(String, Exit), Error> {
        let (mut read, write) = std::io::pipe().unwrap();
        let plan = self.plan(spec, attached, write.into())?;
        let child = start(&plan)?;
        drop(plan);
        let mut printed = String::new();
        read.read_to_string(&mut printed).unwrap();
        Ok((printed, end(&child)))
    }

    pub(super) fn print(&self, args: &[&str], changes: &[(&str, Value)]) -> String {
        self.run(&self.spec(args, changes), &[]).unwrap().0
    }

    pub(super) fn fail(&self, args: &[&str], changes: &[(&str, Value)]) -> Error {
        match self.run(&self.spec(args, changes), &[]) {
            Ok(ran) => panic!("it ran: {ran:?}"),
            Err(error) => error,
        }
    }

    /// A container that waits.
    pub(super) fn pause(&self) -> Child {
        let plan = self.plan(&self.spec(&["pause"], &[]), &[], null()).unwrap();
        start(&plan).unwrap()
    }
}

/// The static program that the containers run, built once.
pub(super) fn inside() -> PathBuf {
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

pub(super) fn null() -> OwnedFd {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into()
}

/// The inputs of a container that is bound to this process.
pub(super) fn plain<'a>(spec: &'a Spec, cgroup: &'a Cgroup, stdio: Stdio) -> Inputs<'a> {
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

pub(super) fn stdio(out: OwnedFd) -> Stdio {
    let stderr = out.try_clone().unwrap();
    Stdio { stdin: null(), stdout: out, stderr }
}

/// Spawns a plan, and waits until it has reached execve or failed.
pub(super) fn start(plan: &Plan) -> Result<Child, Error> {
    let mut child = plan.spawn()?;
    assert!(
        runtime::sys::io::poll::wait_readable(child.wire.as_fd(), Duration::from_secs(5)),
        "the wire is silent"
    );
    plan.complete(&mut child, |_| Ok(()))?;
    Ok(child)
}

pub(super) fn end(child: &Child) -> Exit {
    pidfd::reap(child.pidfd.as_fd(), Wait::Block).unwrap().unwrap()
}

pub(super) fn kill(child: &Child) {
    pidfd::pidfd_send_signal(child.pidfd.as_fd(), pidfd::SIGKILL).unwrap();
    assert_eq!(end(child), Exit::Signal(pidfd::SIGKILL));
}

pub(super) fn exec(
    bench: &Bench,
    init: &Child,
    args: &[&str],
    changes: Value,
) -> Result<(String, Exit), Error> {
    exec_filtered(bench, init, args, changes, None)
}

pub(super) fn exec_filtered(
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

pub(super) fn namespace(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
}

/// Inputs as an OCI runtime has them.
pub(super) fn made<'a>(
    bench: &'a Bench,
    spec: &'a Spec,
    tie: Tie<'a>,
    pause: bool,
    out: OwnedFd,
) -> Inputs<'a> {
    Inputs { tie, pause, ..plain(spec, &bench.cgroup, stdio(out)) }
}
