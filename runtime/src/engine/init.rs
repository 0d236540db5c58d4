//! The child half: walks the plan's steps from clone3 to execve. On the way it may become another process: a
//! copy enters the pid namespace, and the original stays outside and ends ([`Step::GoInside`]).
//!
//! Invariant: between clone and execve nothing here allocates, locks, logs, panics or returns into
//! the caller's code; a failed step is one record on the wire and an exit. The child reads no
//! configuration and is sent no data: all it knows it inherited.

mod copy_up;
mod home;
mod mounts;
mod place;
mod reap;

use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

pub(super) use place::find_or_make;

use super::failure::{Call, During as _, Failure, Fault, INTERPRETER, Said, Word};
use super::plan::{Plan, Step, TIME_OFFSETS};
use super::seccomp::Filter;
use crate::sys::Errno;
use crate::sys::child::clone::{ChildHalf, SharedPid, Side, clone_beside};
use crate::sys::child::creds::{self, CapabilitySets};
use crate::sys::child::exec::{self, Rlimit, Strings};
use crate::sys::child::{descriptors, sched};
use crate::sys::file::fs::{self, Want};
use crate::sys::file::mount;
use crate::sys::io::socket;
use crate::sys::kernel::seccomp::{self, Pass};
use crate::sys::process::ns::{self, Namespaces};

/// The child half's inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outfit<'a> {
    /// The write end of the wire.
    pub(super) wire: BorrowedFd<'a>,
    /// The descriptors that each [`Step::CloseOthers`] keeps, in rising order.
    pub(super) keeps: &'a [Vec<RawFd>],
    /// Where the parent learns of the process that [`Step::GoInside`] makes.
    pub(super) inside: Option<&'a SharedPid>,
}

/// Results of earlier steps for later ones.
struct State<'a> {
    half: &'a ChildHalf,
    /// The write end of the wire.
    wire: BorrowedFd<'a>,
    /// The descriptors that the next steps of this kind keep.
    keeps: std::slice::Iter<'a, Vec<RawFd>>,
    inside: Option<&'a SharedPid>,
    /// The pass by which the filter allows this process's last calls.
    pass: Pass,
    /// The seccomp agent's descriptor, once the agent has its own.
    agents: Option<RawFd>,
    /// The container's root.
    root: Option<OwnedFd>,
    /// A procfs of the child's own pid namespace.
    proc: Option<OwnedFd>,
    /// A mount of a null device that cannot have been replaced.
    null: Option<Null<'a>>,
    /// The empty directory that masks directories.
    empty: Option<OwnedFd>,
    /// Where [`Step::AwaitStart`] waits.
    listener: Option<BorrowedFd<'static>>,
    /// The kernel's message about a failure.
    said: Said,
}

/// The cover of masked files.
struct Null<'a> {
    mount: BorrowedFd<'a>,
    /// Whether it covers one already: then it is cloned, which only an attached mount can be on every kernel.
    attached: bool,
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

/// Runs the child half of `plan`; returns the exit code of a child that failed, or that stays outside.
pub(super) fn run<'a>(half: &'a ChildHalf, plan: &'a Plan, outfit: Outfit<'a>) -> i32 {
    let Outfit { wire, keeps, inside } = outfit;
    let mut state = State {
        half,
        wire,
        keeps: keeps.iter(),
        inside,
        pass: Pass::NONE,
        agents: None,
        root: None,
        proc: None,
        null: None,
        empty: None,
        listener: None,
        said: Said::NOTHING,
    };
    if inside.is_some_and(|pid| pid.keep_from_copies(half).is_err()) {
        return 1; // which no kernel refuses; the parent sees an end without a word
    }
    exec::umask(0); // modes are what the plan says; the process's own mask is a step
    for (number, step) in plan.steps.iter().enumerate() {
        match walk(step, &mut state) {
            Ok(Side::Copy) => {}
            Ok(Side::Caller) => return 0,
            Err(fault) => {
                let step = u16::try_from(number).unwrap_or(u16::MAX);
                let Fault { call, index, errno } = fault;
                let failure = Failure { step, call, index, errno: errno.0, said: state.said };
                // A parent that is gone will not read it; either way the child ends.
                let _ = fs::write_whole(state.wire, failure.write(&mut [0; Failure::SIZE]));
                return 1;
            }
        }
    }
    0
}

/// Distinguishes the copy, which goes on, from the caller, which ends.
fn go_inside(pass: Pass, state: &mut State<'_>) -> Result<Side, Fault> {
    state.pass = pass;
    if let Some(number) = state.agents.take() {
        // A process inside could take it, and answer in the agent's place.
        descriptors::close_listener(state.half, number, pass);
    }
    // The copy has no mapping of it.
    let inside = state.inside.take().ok_or(Errno::EINVAL).during(Call::Clone)?;
    clone_beside(state.half, inside, pass).during(Call::Clone)
}

/// Takes one step, by an arm of its own for each: one without an arm does not compile. Says in which process to go on.
fn walk<'a>(step: &'a Step, state: &mut State<'a>) -> Result<Side, Fault> {
    match step {
        Step::GoInside(pass) => return go_inside(*pass, state),
        Step::CloseOthers => close_others(state),
        Step::DieWithParent => die_with_parent(state),
        Step::Outlive => creds::outlive_parent().during(Call::Prctl),
        Step::Pause(moment) => ask(Word::Reached(*moment), state),
        Step::JoinCgroup(tasks) | Step::JoinResctrl(tasks) => join(tasks),
        Step::UnshareCgroup => ns::unshare(Namespaces::CGROUP).during(Call::Unshare),
        Step::NewTimeNamespace(offsets) => new_time_namespace(offsets),
        Step::LoopbackUp => socket::loopback_up().during(Call::IfFlags),
        Step::JoinNamespace { fd, kind, .. } => ns::setns(fd.as_fd(), *kind).during(Call::Setns),
        Step::MakeNamespaces(kinds) => ns::unshare(*kinds).during(Call::Unshare),
        Step::JoinContainer { init, kinds, root } => join_container(init, *kinds, root.as_ref(), state),
        Step::NewKeyring => new_keyring(),
        Step::NewSession => exec::setsid(state.pass).during(Call::Setsid),
        Step::MakeRootSlave => mount::make_root_slave().during(Call::Mount),
        Step::AttachRoot { tree, at } => mounts::attach_root(tree.as_fd(), at.as_deref(), state),
        Step::PivotRoot => mounts::pivot(state),
        Step::ChangeRoot => state.root().and_then(fs::chroot).during(Call::Chroot),
        Step::PivotEmptyRoot => mounts::pivot_empty(state),
        Step::Mount(mount) => mounts::mount(mount, state),
        Step::Device(device) => mounts::device(device, state),
        Step::PrivateProc => mounts::private_proc(state),
        Step::GiveProc => give_proc(state),
        Step::ExecLabel { file, label } => write_proc(file, label, state),
        Step::OomScore(score) => write_proc(c"self/oom_score_adj", score, state),
        Step::Hostname(name) => exec::sethostname(name).during(Call::Sethostname),
        Step::Domainname(name) => exec::setdomainname(name).during(Call::Setdomainname),
        Step::Sysctl { file, value } => write_proc(file, value, state),
        Step::NullDevice(mount) => {
            state.null = Some(Null { mount: mount.as_fd(), attached: false });
            Ok(())
        }
        Step::ReadonlyPath(path) => mounts::make_readonly(path, state),
        Step::MaskedPath(path) => mounts::mask(path, state),
        Step::MakeDirectory(path) => make_directory(path, state),
        Step::RootPropagation(propagation, depth) => mounts::root_propagation(*propagation, *depth, state),
        Step::ReadonlyMount(path) => mounts::make_mount_readonly(path, state),
        Step::ReadonlyRoot => mounts::readonly_root(state),
        Step::WorkingDirectory(path) => change_directory(path, state),
        Step::FindHome { uid, home } => {
            home::find(*uid, home, state);
            Ok(())
        }
        Step::Seccomp(filter) => install_filter(filter, state),
        Step::Stdio { fds, give, uid } => install_stdio(fds, *give, *uid, state),
        Step::ControllingTerminal => exec::take_terminal(state.half, state.pass).during(Call::Ioctl),
        Step::Rlimits(limits) => set_limits(limits),
        Step::Affinity(cpus) => sched::set_affinity(cpus).during(Call::SchedSetaffinity),
        Step::Scheduling(wanted) => sched::set_scheduling(*wanted).during(Call::SchedSetattr),
        Step::IoPriority(packed) => sched::set_io_priority(*packed).during(Call::IoprioSet),
        Step::MemoryPolicy { mode, nodes } => {
            sched::set_memory_policy(*mode, nodes).during(Call::SetMempolicy)
        }
        Step::Personality(domain) => sched::set_personality(*domain).during(Call::Personality),
        Step::NoNewPrivs => creds::set_no_new_privs().during(Call::Prctl),
        Step::BoundingSet(keep) => creds::limit_bounding_set(*keep).during(Call::Prctl),
        Step::Groups(groups) => creds::set_groups(groups).during(Call::Setgroups),
        Step::Gid(gid) => creds::set_gid(*gid).during(Call::Setresgid),
        Step::Uid(uid) => set_user(*uid),
        Step::HoldCapabilities { inheritable, ambient } => hold_capabilities(*inheritable, *ambient),
        Step::Capabilities { sets, ambient } => set_capabilities(*sets, *ambient),
        Step::Umask(mask) => {
            exec::umask(*mask);
            Ok(())
        }
        Step::ResetSignals => exec::reset_signals(state.half).during(Call::Sigaction),
        Step::FindProgram { paths, effective, .. } => find_program(paths, *effective),
        Step::CloseDescriptors { preserve, listener } => {
            close_descriptors(preserve, listener.as_ref(), state)
        }
        Step::AwaitStart => await_start(state),
        Step::Execve { paths, argv, envp } => execve(paths, argv, envp),
        Step::Reap => reap::run(state),
    }?;
    Ok(Side::Copy)
}

/// Closes every descriptor above the standard streams that is not to be kept, which rise, range by range.
fn close_others(state: &mut State<'_>) -> Result<(), Fault> {
    let keep = state.keeps.next().ok_or(Errno::EINVAL).during(Call::CloseRange)?;
    let mut first = FIRST;
    for kept in keep.iter().copied() {
        if kept > first {
            descriptors::close_range(state.half, first, kept - 1).during(Call::CloseRange)?;
        }
        first = first.max(kept + 1);
    }
    descriptors::close_from(state.half, first).during(Call::CloseRange)
}

fn die_with_parent(state: &State<'_>) -> Result<(), Fault> {
    creds::set_not_dumpable().during(Call::Prctl)?;
    creds::die_with_parent().during(Call::Prctl)?;
    // getppid() is 0 in a new pid namespace; the wire's other end is open as long as the parent lives.
    if exec::is_hung_up(state.wire) { Err(Errno::ESRCH).during(Call::ParentGone) } else { Ok(()) }
}

/// A 0 is the writer: to cgroup v1 and to resctrl.
fn join(tasks: &[OwnedFd]) -> Result<(), Fault> {
    for (index, tasks) in (0..).zip(tasks) {
        fs::write_whole(tasks.as_fd(), b"0").map_err(|errno| Fault { call: Call::Write, index, errno })?;
    }
    Ok(())
}

/// Its offsets can be set only while it is empty: enter it after. The host's procfs is still visible.
fn new_time_namespace(offsets: &std::ffi::CStr) -> Result<(), Fault> {
    ns::unshare(Namespaces::TIME).during(Call::Unshare)?;
    if !offsets.is_empty() {
        let file = fs::open_host_for_writing(TIME_OFFSETS).during(Call::Openat)?;
        fs::write_whole(file.as_fd(), offsets.to_bytes()).during(Call::Write)?;
    }
    let made = fs::open_host_file(c"/proc/self/ns/time_for_children").during(Call::Openat)?;
    ns::setns(made.as_fd(), Namespaces::TIME).during(Call::Setns)
}

fn join_container(
    init: &OwnedFd,
    kinds: Namespaces,
    root: Option<&OwnedFd>,
    state: &mut State<'_>,
) -> Result<(), Fault> {
    ns::setns(init.as_fd(), kinds).during(Call::Setns)?;
    root.map_or(Ok(()), |root| fs::chroot(root.as_fd())).during(Call::Chroot)?;
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

/// Hands a procfs of the child's own pid namespace to the parent.
fn give_proc(state: &State<'_>) -> Result<(), Fault> {
    let number = state.proc().during(Call::Fsmount)?.as_raw_fd();
    ask(Word::Proc(number), state)
}

/// Writes a file of the child's own procfs.
fn write_proc(file: &CStr, text: &CStr, state: &State<'_>) -> Result<(), Fault> {
    state.proc().and_then(|proc| fs::write_kernel_file(proc, file, text.to_bytes())).during(Call::Write)
}

fn set_limits(limits: &[Rlimit]) -> Result<(), Fault> {
    for (index, limit) in (0..).zip(limits) {
        exec::set_rlimit(*limit).map_err(|errno| Fault { call: Call::Prlimit, index, errno })?;
    }
    Ok(())
}

fn set_user(uid: u32) -> Result<(), Fault> {
    creds::keep_capabilities(true).during(Call::Prctl)?;
    creds::set_uid(uid).during(Call::Setresuid)?;
    creds::keep_capabilities(false).during(Call::Prctl)
}

fn hold_capabilities(inheritable: u64, ambient: u64) -> Result<(), Fault> {
    creds::hold_capabilities(inheritable).during(Call::Capset)?;
    creds::set_ambient(ambient).during(Call::Prctl)
}

fn set_capabilities(sets: CapabilitySets, ambient: Option<u64>) -> Result<(), Fault> {
    creds::set_capabilities(sets).during(Call::Capset)?;
    ambient.map_or(Ok(()), creds::set_ambient).during(Call::Prctl)
}

fn install_stdio(fds: &[OwnedFd; 3], give: [bool; 3], uid: u32, state: &State<'_>) -> Result<(), Fault> {
    for (number, (fd, give)) in (0..).zip(fds.iter().zip(give)) {
        descriptors::install_at(state.half, fd.as_fd(), number).during(Call::Dup)?;
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

fn make_directory(path: &CStr, state: &State<'_>) -> Result<(), Fault> {
    let root = state.root().during(Call::Openat)?;
    place::find_or_make(root, path, Want::Directory, true).map(drop)
}

fn change_directory(path: &CStr, state: &State<'_>) -> Result<(), Fault> {
    let root = state.root().during(Call::Openat)?;
    let directory = fs::open_in_root(root, path, Want::Directory).during(Call::Openat)?;
    fs::fchdir(directory.as_fd()).during(Call::Chdir)?;
    fs::check_cwd_reachable().during(Call::Getcwd)
}

/// The first descriptor that is not a standard stream.
const FIRST: RawFd = 3;

fn close_descriptors(
    preserve: &[OwnedFd],
    listener: Option<&OwnedFd>,
    state: &mut State<'_>,
) -> Result<(), Fault> {
    // Their numbers are about to be closed or reused: prevent a second close.
    for kept in [state.root.take(), state.proc.take(), state.empty.take()] {
        std::mem::forget(kept);
    }
    // The plan holds the descriptors to preserve above the numbers that are filled here.
    let mut next = FIRST + RawFd::try_from(preserve.len()).unwrap_or(0);
    if state.wire.as_raw_fd() != next {
        state.wire = descriptors::move_to(state.half, state.wire, next).during(Call::Dup)?;
    }
    if let Some(listener) = listener {
        next += 1;
        state.listener = Some(descriptors::move_to(state.half, listener.as_fd(), next).during(Call::Dup)?);
    }
    for (number, fd) in (FIRST..).zip(preserve) {
        descriptors::install_at(state.half, fd.as_fd(), number).during(Call::Dup)?;
    }
    descriptors::close_from(state.half, next + 1).during(Call::CloseRange)
}

/// Asks the parent and waits; a parent that goes away ends the child.
fn ask(word: Word, state: &State<'_>) -> Result<(), Fault> {
    fs::write_whole(state.wire, &word.to_bytes()).during(Call::Write)?;
    match exec::wait_for_byte(state.wire).during(Call::Read)? {
        true => Ok(()),
        false => Err(Errno::ESRCH).during(Call::Read),
    }
}

/// Ends the wire, which tells the parent that all is made, and waits for a connection that says a byte;
/// one that says none was a look, or was given up.
fn await_start(state: &mut State<'_>) -> Result<(), Fault> {
    let Some(listener) = state.listener else { return Ok(()) };
    let number = state.wire.as_raw_fd();
    // Profiles older than close_range know close.
    descriptors::close(state.half, number).during(Call::Close)?;
    loop {
        let connection = exec::wait_for_connection(listener).during(Call::Accept)?;
        if exec::wait_for_byte(connection.as_fd()).during(Call::Read)? {
            state.wire = descriptors::keep_until_exec(state.half, connection);
            return Ok(());
        }
    }
}

/// Looks at each path as [`execve`] would.
fn find_program(paths: &[std::ffi::CString], effective: u64) -> Result<(), Fault> {
    let look = || {
        let mut worst = Errno::ENOENT;
        for path in paths {
            match exec::check_program(path) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) => worst = Errno::EACCES,
                found => return found,
            }
        }
        Err(worst)
    };
    creds::with_effective(effective, look).during(Call::Access)
}

/// From here on the filter decides about our own calls too. Where it asks an agent, the parent hands over the
/// descriptor.
fn install_filter(filter: &Filter, state: &mut State<'_>) -> Result<(), Fault> {
    let installed = seccomp::install(&filter.program, filter.flags).during(Call::Seccomp)?;
    let Some(listener) = installed else { return Ok(()) };
    let number = listener.as_raw_fd();
    // It is closed by execve: close itself may be one of the calls that the agent is asked about.
    std::mem::forget(listener);
    ask(Word::Filtered(number), state)?;
    state.agents = Some(number);
    Ok(())
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
