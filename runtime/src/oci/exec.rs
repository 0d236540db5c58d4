//! `exec`: another process in a container that runs. Not in the runtime-spec; runc's flags and habits.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use super::schema::{self, Read};
use super::{Container, Status, Streams, config, resctrl, stdio};
use crate::cgroup::{Below, Cgroup};
use crate::engine::HeldMounts;
use crate::engine::{self, ExecInputs, Nodes, Tie};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::io::pty;
use crate::sys::process::pidfd;

/// The arguments of `exec`.
#[derive(Debug)]
pub struct Exec {
    /// The process.
    pub asked: Asked,
    /// Its streams.
    pub streams: Streams,
    /// Where its pid is written (`--pid-file`).
    pub pid_file: Option<PathBuf>,
    /// Where its pidfd is sent (`--pidfd-socket`).
    pub pidfd_socket: Option<PathBuf>,
    /// Descriptors to give on, the first as number 3 (`--preserve-fds`).
    pub preserve: Vec<OwnedFd>,
    /// Whether it may be put into a paused container, where it waits too (`--ignore-paused`).
    pub ignore_paused: bool,
    /// Where in the container's cgroup it goes (`--cgroup`); nowhere said: to the top of it, or to where the init is
    /// when that takes none.
    pub cgroup: Vec<Below>,
}

/// A process that is asked for.
#[derive(Debug)]
pub struct Asked {
    process: Process,
    /// Warnings about values that were left out.
    warnings: Vec<String>,
}

impl Asked {
    /// The process in a file, in the form of config.json. Absent restrictions default to the container's own,
    /// as with runc.
    pub fn read(file: &Path, container: &Container) -> Result<Self> {
        let context = || file.display().to_string();
        let bytes = std::fs::read(file).context(context)?;
        let Read { value: mut process, warnings, .. } = schema::process(&bytes).context(context)?;
        if let Some(own) = container.config()?.process() {
            inherit(&mut process, own);
        }
        Ok(Self { process, warnings })
    }
}

fn inherit(process: &mut Process, own: &Process) {
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    let says = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if !says(process.apparmor_profile()) {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if !says(process.selinux_label()) {
        process.set_selinux_label(own.selinux_label().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(own.oom_score_adj());
    }
    if process.user().umask().is_none() {
        let mut user = process.user().clone();
        user.set_umask(own.user().umask());
        process.set_user(user);
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(own.rlimits().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*own.io_priority());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(own.scheduler().clone());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(own.exec_cpu_affinity().clone());
    }
}

/// Changes to the container's own process, each absent: as it is there.
#[derive(Debug, Default)]
pub struct Override {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// User and, if given, group.
    pub user: Option<(u32, Option<u32>)>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// The working directory.
    pub cwd: Option<PathBuf>,
    /// Further environment: the last of a name counts.
    pub env: Vec<String>,
    /// Capabilities to add, by name.
    pub capabilities: Vec<String>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label.
    pub label: Option<String>,
    /// No execve gains rights.
    pub no_new_privileges: Option<bool>,
}

impl Override {
    /// The container's own process, changed.
    pub fn of(self, container: &Container) -> Result<Asked> {
        let mut process = match container.config()?.process() {
            Some(own) => own.clone(),
            None => schema::process(br#"{"cwd":"/"}"#)?.value,
        };
        if self.args.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "exec: there is no command"));
        }
        process.set_args(Some(self.args));
        process.set_terminal(Some(self.terminal));
        process.set_console_size(None);
        if let Some((uid, gid)) = self.user {
            process.user_mut().set_uid(uid);
            if let Some(gid) = gid {
                process.user_mut().set_gid(gid);
            }
        }
        if !self.additional_gids.is_empty() {
            let mut gids = process.user().additional_gids().clone().unwrap_or_default();
            gids.extend(self.additional_gids);
            process.user_mut().set_additional_gids(Some(gids));
        }
        if let Some(cwd) = self.cwd {
            process.set_cwd(cwd);
        }
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(self.env);
        process.set_env(Some(env));
        let unknown = add_capabilities(&mut process, &self.capabilities);
        if self.apparmor.is_some() {
            process.set_apparmor_profile(self.apparmor);
        }
        if self.label.is_some() {
            process.set_selinux_label(self.label);
        }
        if self.no_new_privileges.is_some() {
            process.set_no_new_privileges(self.no_new_privileges);
        }
        let warnings = schema::unknown_capabilities("--cap", &unknown).into_iter().collect();
        Ok(Asked { process, warnings })
    }
}

/// Adds them to the bounding, permitted and effective sets, and to the ambient one where the container's inheritable set has them. An
/// inheritable set that is not empty has let programs gain rights (CVE-2022-29162): nothing is added to it. The names that are
/// none come back.
fn add_capabilities(process: &mut Process, names: &[String]) -> BTreeSet<String> {
    let mut unknown = BTreeSet::new();
    if names.is_empty() {
        return unknown;
    }
    let own = process.capabilities().as_ref();
    let set = |get: fn(&LinuxCapabilities) -> &Option<HashSet<Capability>>| {
        own.and_then(|own| get(own).clone()).unwrap_or_default()
    };
    let (mut bounding, mut ambient) = (set(LinuxCapabilities::bounding), set(LinuxCapabilities::ambient));
    let (mut effective, mut permitted) =
        (set(LinuxCapabilities::effective), set(LinuxCapabilities::permitted));
    let inheritable = set(LinuxCapabilities::inheritable);
    for name in names {
        let Some(capability) = schema::capability(name) else {
            unknown.insert(name.clone());
            continue;
        };
        for set in [&mut bounding, &mut effective, &mut permitted] {
            set.insert(capability);
        }
        if inheritable.contains(&capability) {
            ambient.insert(capability);
        }
    }
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(bounding)).set_effective(Some(effective)).set_permitted(Some(permitted));
    sets.set_inheritable(Some(inheritable)).set_ambient(Some(ambient));
    process.set_capabilities(Some(sets));
    unknown
}

/// A process that has reached its program.
#[derive(Debug)]
pub struct Executed {
    /// Its pidfd; it is a child of the caller.
    pub process: OwnedFd,
    /// Its terminal's master, where the caller keeps it.
    pub terminal: Option<OwnedFd>,
    /// Clamped or omitted values, for the caller to report.
    pub warnings: Vec<String>,
}

impl Exec {
    /// Starts it in `container`. The caller's process has one thread.
    pub fn perform(self, container: &Container) -> Result<Executed> {
        let Asked { process, warnings: left_out } = &self.asked;
        let living: &[Status] = match self.ignore_paused {
            true => &[Status::Created, Status::Running, Status::Paused],
            false => &[Status::Created, Status::Running],
        };
        let record = container.must_be(living, "entered")?;
        let init = container.init(&record)?;
        let own = container.cgroup_of(&record)?;
        let cgroup = match (self.cgroup.as_slice(), record.init) {
            ([], Some(init)) => own.with_init(init.pid)?,
            (listed, _) => listed.iter().try_fold(own, Cgroup::at).context(|| "--cgroup")?,
        };
        if !self.ignore_paused {
            cgroup.must_move()?;
        }
        let config = container.config()?;
        let mut held = HeldMounts::default();
        let mut nodes = Nodes::among(&mut held, config.linux().as_ref());
        let terminal = match (process.terminal(), record.init) {
            (Some(true), Some(init)) => Some(pty::open_for(Path::new(&format!("/proc/{}/root", init.pid)))?),
            (Some(true), None) => Some(pty::open()?),
            _ => None,
        };
        let (stdio, master) = self.streams.prepare(Some(process), terminal, &mut nodes)?.split();
        let preserve: Vec<BorrowedFd<'_>> = self.preserve.iter().map(OwnedFd::as_fd).collect();
        let plan = engine::compile_exec(ExecInputs {
            process,
            program: None,
            init: init.as_fd(),
            namespaces: config::namespaces(config),
            cgroup: &cgroup,
            resctrl: resctrl::join(record.resctrl.as_ref(), container.id())?,
            stdio,
            linux: config.linux().as_ref(),
            programs: Some(&container.seccomp_programs()),
            state: Some(&container.state()?.plain()),
            tie: Tie::UntilExec,
            preserve: &preserve,
        })?;
        let mut child = plan.spawn()?;
        drop(held);
        plan.complete(&mut child, |_| Ok(()))?;
        let (socket, file) = (self.pidfd_socket.as_deref(), self.pid_file.as_deref());
        match stdio::announce(master, &child, "setns", socket, file) {
            Ok(terminal) => {
                let warnings = [left_out, plan.warnings()].concat();
                Ok(Executed { process: child.pidfd, terminal, warnings })
            }
            Err(error) => {
                // It would run unnoticed.
                let _ = pidfd::pidfd_send_signal(child.pidfd.as_fd(), pidfd::SIGKILL);
                Err(error)
            }
        }
    }
}
