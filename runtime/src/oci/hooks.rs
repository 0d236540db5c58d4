//! Hooks of all six kinds (config.md, "POSIX-platform Hooks"): in their order, each with the container's
//! state on stdin and within its time.
//!
//! Invariant: a hook that fails, by status, signal or time, is an error that names it; the verb decides the
//! consequence.

use std::collections::HashSet;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio as Stream};
use std::time::Duration;

use oci_spec::runtime::{
    Hook, Hooks, LinuxCapabilities, LinuxCapabilitiesBuilder, Process, ProcessBuilder, Spec,
};

use super::config;
use super::record::State;
use crate::cgroup::Cgroup;
use crate::engine::{self, ExecInputs, HeldMounts, Nodes, Stdio, Tie};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys;
use crate::sys::file::memory;
use crate::sys::io::poll;
use crate::sys::process::pidfd::{self, Exit, Wait};

/// The kinds of hook, in the order of their moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// The name in `config.json`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// The hooks of one kind.
pub(super) fn of(spec: &Spec, kind: Kind) -> &[Hook] {
    let list = |hooks: fn(&Hooks) -> &Option<Vec<Hook>>| {
        spec.hooks().as_ref().and_then(|all| hooks(all).as_deref()).unwrap_or_default()
    };
    match kind {
        Kind::Prestart => list(Hooks::prestart),
        Kind::CreateRuntime => list(Hooks::create_runtime),
        Kind::CreateContainer => list(Hooks::create_container),
        Kind::StartContainer => list(Hooks::start_container),
        Kind::Poststart => list(Hooks::poststart),
        Kind::Poststop => list(Hooks::poststop),
    }
}

/// Refuses hooks that could never run, before anything is made.
pub(super) fn check(spec: &Spec) -> Result<()> {
    for kind in Kind::ALL {
        for hook in of(spec, kind) {
            let wrong = |why: &str| {
                let path = hook.path().display();
                Err(Error::new(ErrorKind::Usage, format!("hooks.{}: {path}: {why}", kind.name())))
            };
            if !hook.path().is_absolute() {
                return wrong("the path must be absolute");
            }
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                return wrong("the timeout must be greater than zero");
            }
        }
    }
    Ok(())
}

/// Runs the hooks of one kind on the host.
pub(super) fn run(spec: &Spec, kind: Kind, state: &State) -> Result<()> {
    for hook in of(spec, kind) {
        run_one(hook, kind, state)?;
    }
    Ok(())
}

/// Runs all hooks of one kind, whether or not one fails; returns the failures, for warnings.
pub(super) fn run_all(spec: &Spec, kind: Kind, state: &State) -> Vec<Error> {
    of(spec, kind).iter().filter_map(|hook| run_one(hook, kind, state).err()).collect()
}

fn run_one(hook: &Hook, kind: Kind, state: &State) -> Result<()> {
    // As runc and crun have it. A bundle may be gone by the time of the poststop hooks.
    let folder = if state.bundle.is_dir() { &state.bundle } else { Path::new("/") };
    let (args, env) = (hook.args().as_deref(), hook.env().as_deref());
    let ended = run_program(hook.path(), folder, args, env, &document(state)?, time(hook))
        .map_err(Error::from)
        .and_then(|ended| judge(ended, hook));
    ended.context(|| named(hook, kind))
}

/// How a program came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// Its status in words, unless it was 0, and its message on stderr.
    Status(Option<String>, String),
    /// It was killed because its time was over.
    TimedOut,
}

/// Runs the program at `path` in `folder` with `args` (its own name first; absent: the path) and exactly `env` (absent: the
/// caller's), `input` on stdin.
fn run_program(
    path: &Path,
    folder: &Path,
    args: Option<&[String]>,
    env: Option<&[String]>,
    input: &[u8],
    time: Option<Duration>,
) -> sys::Result<Ended> {
    let call = || format!("execve({path:?})");
    let said = memory::document(b"")?;
    let mut command = Command::new(path);
    if let Some((name, rest)) = args.and_then(<[String]>::split_first) {
        command.arg0(name).args(rest);
    }
    command.current_dir(folder);
    if let Some(env) = env {
        command.env_clear().envs(env.iter().filter_map(|entry| entry.split_once('=')));
    }
    command.stdin(Stream::from(memory::document(input)?)).stdout(Stream::null());
    command.stderr(Stream::from(OwnedFd::from(said.try_clone().map_err(failed("dup"))?)));
    let mut child = command.spawn().map_err(failed(call()))?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    if let Some(time) = time {
        let process = pidfd::pidfd_open(pid).map_err(|errno| errno.during("pidfd_open(hook)"))?;
        if !poll::wait_readable(process.as_fd(), time) {
            // It may have ended this moment. One that stands still in the kernel is not waited for.
            let _ = child.kill();
            if poll::wait_readable(process.as_fd(), pidfd::KILLED_WITHIN) {
                child.wait().map_err(failed("wait4(hook)"))?;
            }
            return Ok(Ended::TimedOut);
        }
    }
    let status = child.wait().map_err(failed("wait4(hook)"))?;
    Ok(Ended::Status((!status.success()).then(|| status.to_string()), written(said)))
}

/// All that was written into a file in memory, at most 4 KiB of it.
fn written(mut file: std::fs::File) -> String {
    let mut text = Vec::new();
    // A message that cannot be read is not worth a second error.
    let _ = file.rewind().and_then(|()| file.take(4096).read_to_end(&mut text));
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

fn failed(call: impl Into<String>) -> impl FnOnce(std::io::Error) -> sys::Error {
    move |error| sys::Error::new(call, error.raw_os_error().unwrap_or(0))
}

/// Where a container's own hooks run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inside<'a> {
    /// The pidfd of its init.
    pub(super) init: BorrowedFd<'a>,
    /// Its cgroup.
    pub(super) cgroup: &'a Cgroup,
    /// Where in its mount namespace they start.
    pub(super) folder: &'a Path,
    /// The environment of hooks that have none of their own.
    pub(super) env: &'a [String],
}

/// Runs the hooks of one kind in the container's namespaces, as processes of the engine's.
pub(super) fn run_inside(spec: &Spec, kind: Kind, state: &State, inside: Inside<'_>) -> Result<()> {
    for hook in of(spec, kind) {
        run_one_inside(hook, spec, state, inside).context(|| named(hook, kind))?;
    }
    Ok(())
}

fn run_one_inside(hook: &Hook, spec: &Spec, state: &State, inside: Inside<'_>) -> Result<()> {
    let path = hook.path().to_str().unwrap_or_default();
    let process = process(hook, path, inside)?;
    let said = memory::document(b"")?;
    let stdio = Stdio {
        stdin: memory::document(&document(state)?)?.into(),
        stdout: Nodes::among(&mut HeldMounts::default(), spec.linux().as_ref()).null()?,
        stderr: said.try_clone()?.into(),
    };
    let plan = engine::compile_exec(ExecInputs {
        process: &process,
        program: Some(path),
        init: inside.init,
        namespaces: config::namespaces(spec),
        cgroup: inside.cgroup,
        resctrl: Vec::new(),
        stdio,
        linux: None,
        programs: None,
        state: None,
        tie: Tie::Always,
        preserve: &[],
    })?;
    let mut child = plan.spawn()?;
    plan.complete(&mut child, |_| Ok(()))?;
    let timed_out = time(hook).is_some_and(|time| !poll::wait_readable(child.pidfd.as_fd(), time));
    if timed_out {
        // It may have ended this moment. One that is frozen with its container is not waited for.
        let _ = pidfd::pidfd_send_signal(child.pidfd.as_fd(), pidfd::SIGKILL);
    }
    let exit = match timed_out {
        true => pidfd::reap_within(child.pidfd.as_fd(), pidfd::KILLED_WITHIN),
        false => pidfd::reap(child.pidfd.as_fd(), Wait::Block),
    };
    let exit = exit.map_err(|errno| errno.during("waitid(hook)"))?;
    let ended = match exit {
        _ if timed_out => Ended::TimedOut,
        Some(Exit::Code(0)) | None => Ended::Status(None, String::new()),
        Some(Exit::Code(code)) => Ended::Status(Some(format!("exit status: {code}")), written(said)),
        Some(Exit::Signal(signal)) => Ended::Status(Some(format!("signal: {signal}")), written(said)),
    };
    judge(ended, hook)
}

/// The hook as a process with all the rights that podrun has.
fn process(hook: &Hook, path: &str, inside: Inside<'_>) -> Result<Process> {
    let all = engine::all_capabilities();
    let rights: LinuxCapabilities = LinuxCapabilitiesBuilder::default()
        .bounding(all.clone())
        .effective(all.clone())
        .permitted(all)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .map_err(|error| Error::failed(error.to_string()))?;
    let args = hook.args().clone().filter(|args| !args.is_empty()).unwrap_or_else(|| vec![path.to_owned()]);
    ProcessBuilder::default()
        .args(args)
        .env(hook.env().clone().unwrap_or_else(|| inside.env.to_vec()))
        .cwd(inside.folder)
        .no_new_privileges(false)
        .rlimits(Vec::new())
        .capabilities(rights)
        .build()
        .map_err(|error| Error::failed(error.to_string()))
}

fn time(hook: &Hook) -> Option<Duration> {
    hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
}

fn named(hook: &Hook, kind: Kind) -> String {
    format!("{} hook {}", kind.name(), hook.path().display())
}

fn judge(ended: Ended, hook: &Hook) -> Result<()> {
    match ended {
        Ended::Status(None, _) => Ok(()),
        Ended::Status(Some(status), said) if said.is_empty() => Err(Error::failed(status)),
        Ended::Status(Some(status), said) => Err(Error::failed(format!("{status}: {said}"))),
        Ended::TimedOut => {
            Err(Error::failed(format!("it did not end in {} s", hook.timeout().unwrap_or_default())))
        }
    }
}

fn document(state: &State) -> Result<Vec<u8>> {
    serde_json::to_vec(state).map_err(|error| Error::failed(error.to_string()))
}
