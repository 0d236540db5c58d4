//! Hooks of all six kinds (config.md, "POSIX-platform Hooks"): in their order, each with the container's
//! state on stdin and within its time.
//!
//! Invariant: a hook that fails, by status, signal or time, is an error that names it; the verb decides the
//! consequence.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::{
    Hook, Hooks, LinuxCapabilities, LinuxCapabilitiesBuilder, Process, ProcessBuilder, Spec,
};

use super::config;
use super::record::State;
use crate::cgroup::Cgroup;
use crate::engine::{self, ExecInputs, Nodes, Stdio, Tie};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::file::held::HeldMounts;
use crate::sys::process::hook::{self, Ended};
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
    let ended = hook::run(hook.path(), folder, args, env, &document(state)?, time(hook))
        .map_err(Error::from)
        .and_then(|ended| judge(ended, hook));
    ended.context(|| named(hook, kind))
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
    let said = hook::document(b"")?;
    let stdio = Stdio {
        stdin: hook::document(&document(state)?)?.into(),
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
    let timed_out = time(hook).is_some_and(|time| !pidfd::wait_readable(child.pidfd.as_fd(), time));
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
        Some(Exit::Code(code)) => Ended::Status(Some(format!("exit status: {code}")), hook::written(said)),
        Some(Exit::Signal(signal)) => Ended::Status(Some(format!("signal: {signal}")), hook::written(said)),
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
