//! The child half: walks the plan's steps from clone3 to execve.
//!
//! Invariant: between clone and execve nothing here allocates, locks, logs, panics or returns into
//! the caller's code; a failed step is 16 bytes on the wire and an exit. The child reads no
//! configuration and is sent no data: all it knows it inherited.

mod mounts;
mod reap;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use super::failure::{Call, During as _, Failure, Fault};
use super::plan::{INTERPRETER, Plan, Step};
use super::seccomp::Filter;
use crate::sys::exec::Strings;
use crate::sys::fs::Want;
use crate::sys::ns::Namespaces;
use crate::sys::{Errno, creds, exec, fs, mount, ns, seccomp};

/// What earlier steps leave for later ones.
struct State<'a> {
    /// The write end of the wire.
    wire: BorrowedFd<'a>,
    /// The descriptors to keep, in rising order.
    keep: &'a [RawFd],
    /// The container's root.
    root: Option<OwnedFd>,
    /// A procfs of the child's own pid namespace.
    proc: Option<OwnedFd>,
    /// A null device that nobody can have replaced.
    null: Option<OwnedFd>,
    /// The empty directory that masks directories.
    empty: Option<OwnedFd>,
}

impl State<'_> {
    /// The root; EINVAL when no step made one, which a plan never is.
    fn root(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.root.as_ref().map(OwnedFd::as_fd).ok_or(Errno::EINVAL)
    }

    fn proc(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.proc.as_ref().map(OwnedFd::as_fd).ok_or(Errno::EINVAL)
    }
}

/// Runs the child half of `plan`; returns the exit code of a child that failed.
pub(super) fn run(plan: &Plan, wire: BorrowedFd<'_>, keep: &[RawFd]) -> i32 {
    let mut state = State { wire, keep, root: None, proc: None, null: None, empty: None };
    exec::umask(0); // modes are what the plan says; the process's own mask is a step
    for (number, step) in plan.steps.iter().enumerate() {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        if let Err(fault) = walk(number, step, &mut state) {
            let step = number;
            let failure = Failure { step, call: fault.call, index: fault.index, errno: fault.errno.0 };
            // A parent that is gone will not read it; either way the child ends.
            let _ = fs::write_whole(state.wire, &failure.to_bytes());
            return 1;
        }
    }
    0
}

fn walk(number: u16, step: &Step, state: &mut State<'_>) -> Result<(), Fault> {
    match step {
        Step::CloseOthers => close_others(state.keep).during(Call::CloseRange),
        Step::DieWithParent => die_with_parent(state),
        Step::JoinCgroup(tasks) => join_cgroup(tasks),
        Step::UnshareCgroup => ns::unshare(Namespaces::CGROUP).during(Call::Unshare),
        Step::JoinNamespace { fd, kind, .. } => ns::setns(fd.as_fd(), *kind).during(Call::Setns),
        Step::JoinContainer(pidfd) => join_container(pidfd.as_fd(), state),
        Step::NewKeyring => new_keyring(),
        Step::NewSession => exec::setsid().during(Call::Setsid),
        Step::MakeRootSlave => mount::make_root_slave().during(Call::Mount),
        Step::PivotRoot(tree) => mounts::pivot(tree.as_fd(), state),
        Step::PivotEmptyRoot => mounts::pivot_empty(state),
        Step::Mount(mount) => mounts::mount(mount, state),
        Step::PrivateProc => mounts::private_proc(state),
        Step::OomScore(score) => state
            .proc()
            .and_then(|proc| fs::write_kernel_file(proc, c"self/oom_score_adj", score.to_bytes()))
            .during(Call::Write),
        Step::Hostname(name) => exec::sethostname(name).during(Call::Sethostname),
        Step::Domainname(name) => exec::setdomainname(name).during(Call::Setdomainname),
        Step::Sysctl { file, value } => state
            .proc()
            .and_then(|proc| fs::write_kernel_file(proc, file, value.to_bytes()))
            .during(Call::Write),
        Step::HostNull => mounts::host_null(state),
        Step::ReadonlyPath(path) => mounts::make_readonly(path, state),
        Step::MaskedPath(path) => mounts::mask(path, state),
        Step::MakeDirectory(target) => mounts::find_or_make(target, false, state).map(drop),
        Step::ReadonlyRoot => mounts::readonly_root(state),
        Step::WorkingDirectory(target) => change_directory(target, state),
        Step::Seccomp(filter) => install_filter(filter, number, state),
        other => walk_process(other, state),
    }
}

/// The steps that concern the process rather than its surroundings.
fn walk_process(step: &Step, state: &mut State<'_>) -> Result<(), Fault> {
    match step {
        Step::Stdio { fds, give, uid } => install_stdio(fds, *give, *uid),
        Step::ControllingTerminal => exec::take_terminal().during(Call::Ioctl),
        Step::Rlimits(limits) => {
            for (index, limit) in (0..).zip(limits) {
                exec::set_rlimit(*limit).map_err(|errno| Fault { call: Call::Prlimit, index, errno })?;
            }
            Ok(())
        }
        Step::NoNewPrivs => creds::set_no_new_privs().during(Call::Prctl),
        Step::BoundingSet(keep) => creds::limit_bounding_set(*keep).during(Call::Prctl),
        Step::Groups(groups) => creds::set_groups(groups).during(Call::Setgroups),
        Step::Gid(gid) => creds::set_gid(*gid).during(Call::Setresgid),
        Step::Uid(uid) => {
            creds::keep_capabilities(true).during(Call::Prctl)?;
            creds::set_uid(*uid).during(Call::Setresuid)?;
            creds::keep_capabilities(false).during(Call::Prctl)
        }
        Step::HoldCapabilities { inheritable, ambient } => {
            creds::hold_capabilities(*inheritable).during(Call::Capset)?;
            creds::set_ambient(*ambient).during(Call::Prctl)
        }
        Step::Capabilities { sets, ambient } => {
            creds::set_capabilities(*sets).during(Call::Capset)?;
            ambient.map_or(Ok(()), creds::set_ambient).during(Call::Prctl)
        }
        Step::Umask(mask) => {
            exec::umask(*mask);
            Ok(())
        }
        Step::ResetSignals => exec::reset_signals().during(Call::Sigaction),
        Step::CloseDescriptors => close_descriptors(state),
        Step::Execve { paths, argv, envp } => execve(paths, argv, envp),
        Step::Reap => reap::run(state),
        _ => Ok(()),
    }
}

/// Closes every descriptor above the standard streams that is not in `keep`, which rises, range by range.
pub(super) fn close_others(keep: &[RawFd]) -> Result<(), Errno> {
    let mut first = 3;
    for kept in keep.iter().copied() {
        if kept > first {
            fs::close_range(first, kept - 1)?;
        }
        first = first.max(kept + 1);
    }
    fs::close_from(first)
}

fn die_with_parent(state: &State<'_>) -> Result<(), Fault> {
    creds::set_not_dumpable().during(Call::Prctl)?;
    creds::die_with_parent().during(Call::Prctl)?;
    // getppid() is 0 in a new pid namespace; the wire's other end is open as long as the parent lives.
    if exec::is_hung_up(state.wire) { Err(Errno::ESRCH).during(Call::ParentGone) } else { Ok(()) }
}

fn join_cgroup(tasks: &[OwnedFd]) -> Result<(), Fault> {
    for (index, tasks) in (0..).zip(tasks) {
        fs::write_whole(tasks.as_fd(), b"0").map_err(|errno| Fault { call: Call::Write, index, errno })?;
    }
    Ok(())
}

fn join_container(pidfd: BorrowedFd<'_>, state: &mut State<'_>) -> Result<(), Fault> {
    let rest = Namespaces::IPC.with(Namespaces::UTS).with(Namespaces::NET).with(Namespaces::CGROUP);
    ns::setns(pidfd, rest).during(Call::Setns)?;
    // The root is the container's since birth: see `Visit::Container`.
    state.root = Some(fs::open_host_directory(c"/").during(Call::Openat)?);
    Ok(())
}

/// A kernel without keyrings, or a user at their quota, has no shared keyring to protect either.
fn new_keyring() -> Result<(), Fault> {
    match creds::new_session_keyring() {
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        other => other.during(Call::Prctl),
    }
}

fn install_stdio(fds: &[OwnedFd; 3], give: [bool; 3], uid: u32) -> Result<(), Fault> {
    for (number, (fd, give)) in (0..).zip(fds.iter().zip(give)) {
        fs::install_at(fd.as_fd(), number).during(Call::Dup)?;
        if give {
            match fs::fchown_user(fd.as_fd(), uid) {
                // A read-only or foreign file system: the stream works, it only cannot be reopened.
                Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
                Err(errno) => return Err(errno).during(Call::Fchown),
            }
        }
    }
    Ok(())
}

fn change_directory(target: &super::plan::Target, state: &State<'_>) -> Result<(), Fault> {
    let root = state.root().during(Call::Openat)?;
    let directory = fs::open_in_root(root, &target.path, Want::Directory).during(Call::Openat)?;
    fs::fchdir(directory.as_fd()).during(Call::Chdir)?;
    fs::check_cwd_reachable().during(Call::Getcwd)
}

/// The number of the wire from [`Step::CloseDescriptors`] on.
const WIRE: RawFd = 3;

fn close_descriptors(state: &mut State<'_>) -> Result<(), Fault> {
    // Their numbers are about to be closed or taken: nobody may close them a second time.
    for kept in [state.root.take(), state.proc.take(), state.null.take(), state.empty.take()] {
        std::mem::forget(kept);
    }
    if state.wire.as_raw_fd() != WIRE {
        state.wire = fs::move_to(state.wire, WIRE).during(Call::Dup)?;
    }
    fs::close_from(WIRE + 1).during(Call::CloseRange)
}

/// From here on the filter decides about our own calls too. Where it asks an agent, the parent hands
/// over the descriptor, whose number it is told as the record of step `number`.
fn install_filter(filter: &Filter, number: u16, state: &State<'_>) -> Result<(), Fault> {
    let installed = seccomp::install(&filter.program, filter.flags).during(Call::Seccomp)?;
    let Some(listener) = installed else { return Ok(()) };
    let index = listener.as_raw_fd().cast_unsigned();
    let said = Failure { step: number, call: Call::Seccomp, index, errno: 0 };
    // It is closed by execve: close itself may be one of the calls that the agent is asked about.
    std::mem::forget(listener);
    fs::write_whole(state.wire, &said.to_bytes()).during(Call::Write)?;
    exec::wait_for_answer(state.wire).during(Call::Read)
}

/// Tries each path as execvp does: a missing one leads to the next, a forbidden one is remembered.
fn execve(paths: &[std::ffi::CString], argv: &Strings, envp: &Strings) -> Result<(), Fault> {
    let mut worst = Fault { call: Call::Execve, index: 0, errno: Errno::ENOENT };
    for (index, path) in (0..).zip(paths) {
        let Err(errno) = exec::execve(path, argv, envp);
        let fault = Fault { call: Call::Execve, index, errno };
        match errno {
            Errno::ENOENT if exec::exists(path) => {
                return Err(Fault { index: index | INTERPRETER, ..fault });
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => worst = fault,
            _ => return Err(fault),
        }
    }
    Err(worst)
}
