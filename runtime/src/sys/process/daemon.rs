//! A process of this binary that outlives its maker, and its first acts.
//!
//! Invariant: it keeps one descriptor of its maker, number 3, and nothing else: no other descriptor, no standard
//! stream, session, working directory, environment or umask.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::ns::Namespaces;
use crate::sys::child::clone::{ChildHalf, Request, clone3};
use crate::sys::child::descriptors;
use crate::sys::child::exec::{self, Strings};
use crate::sys::file::mount::{self, Attributes, Depth};
use crate::sys::file::{fs, memory};
use crate::sys::{Error, Result};

/// The descriptor that a daemon keeps of its maker.
pub const INHERITED: i32 = 3;

/// The number of the descriptor of a binary that goes on in another: above those that a caller passes by
/// number.
const ABOVE: i32 = 512;

/// How many files a daemon and its children may open, as far as the hard limit goes.
const OPEN_FILES: u64 = 1 << 20;

fn failed(call: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::new(call, errno.raw_os_error())
}

/// Runs this binary again with `arguments` (the program's name first) and `inherited` as its descriptor
/// [`INHERITED`]: born in `cgroup` where one is given, and as process 1 of a pid namespace of its own where
/// `pid_namespace` says so. The caller gets the [`Program`], to keep until the new process shows that it runs.
pub fn launch(
    arguments: &[&str],
    inherited: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
    pid_namespace: bool,
) -> Result<Program> {
    let arguments = arguments.iter().map(|text| CString::new(*text).expect("ids and verbs hold no NUL"));
    let (argv, envp) = (Strings::new(arguments.collect(), None), Strings::new(Vec::new(), None));
    let program = program()?;
    // The child cannot report that it cannot close its descriptors.
    descriptors::can_close().map_err(|errno| errno.during("close_range(~0, ~0)"))?;

    let namespaces = if pid_namespace { Namespaces::PID } else { Namespaces::NONE };
    let child = |half: &ChildHalf| {
        let _ = descriptors::install_at(half, inherited, INHERITED)
            .and_then(|()| descriptors::close_from_at_exec(half, INHERITED + 1))
            .and_then(|()| exec::execveat(program.0.as_fd(), &argv, &envp));
        127
    };
    // Without CLONE_VFORK: the caller goes on, and the child is put on another processor at once. It costs some
    // page faults, and saves the millisecond in which a woken caller keeps the child off its processor. SAFETY:
    // the child makes three system calls, whose arguments were laid out before.
    let cloned = unsafe { clone3(&Request { namespaces, cgroup }, None, child) };
    cloned.map_err(|errno| errno.during("clone3(podrun's monitor)"))?;
    Ok(program)
}

/// This binary for one exec, by a descriptor through which it cannot be written: a process that reaches the new
/// process's /proc/PID/exe gets no more (CVE-2019-5736). No process in a container may have it: while it is
/// open the mount can be made writable again through it.
///
/// It is a mount of its own, and its last close waits for a grace period of the kernel, some milliseconds. So
/// close it where the caller waits anyway.
#[derive(Debug)]
pub struct Program(OwnedFd);

fn program() -> Result<Program> {
    let shown = "open_tree(\"/proc/self/exe\", OPEN_TREE_CLONE)";
    match mount::clone_host_tree(c"/proc/self/exe", Depth::One) {
        Ok(tree) => {
            let read_only = Attributes { set: Attributes::RDONLY | Attributes::NOSUID, clear: 0 };
            mount::mount_setattr(tree.as_fd(), Depth::One, read_only, None)
                .map_err(|errno| errno.during("mount_setattr(podrun's binary, MOUNT_ATTR_RDONLY)"))?;
            Ok(Program(tree))
        }
        // It was started from a mount of another namespace, or from one that cannot be bound.
        Err(crate::sys::Errno::EINVAL) => sealed_copy().map(Program),
        Err(errno) => Err(errno.during(shown)),
    }
}

/// Goes on in a binary that cannot be written, if this one can: the same program, arguments and environment
/// from the start. A program in a container can make the kernel execute /proc/self/exe, which is this binary
/// until its own execve, and write to it later (CVE-2019-5736). Returns the descriptor that this binary was
/// executed by, if any, to be closed before any container can reach this process's descriptors, where nothing
/// waits for it. Call it before anything is opened.
pub fn go_on_read_only(
    arguments: impl Iterator<Item = std::ffi::OsString>,
    environment: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<Option<Program>> {
    use std::os::unix::ffi::OsStringExt as _;
    let held = rustix::fs::statvfs("/proc/self/exe").map_err(failed("statfs(\"/proc/self/exe\")"))?;
    if held.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) || is_sealed() {
        return Ok(executed_by());
    }
    let string = |bytes| CString::new(bytes).map_err(|_| Error::new("execveat(podrun)", libc::EINVAL));
    let argv: Vec<CString> = arguments.map(|word| string(word.into_vec())).collect::<Result<_>>()?;
    let entry = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        string([name.into_vec(), value.into_vec()].join(&b'='))
    };
    let envp: Vec<CString> = environment.map(entry).collect::<Result<_>>()?;
    let Program(program) = program()?;
    // Left open over the exec; above the numbers that `--preserve-fds` may name. Where there is no such number
    // the exec closes it.
    let program = match rustix::io::fcntl_dupfd_cloexec(&program, ABOVE) {
        Ok(above) => rustix::io::fcntl_setfd(&above, rustix::io::FdFlags::empty()).map(|()| above),
        Err(_) => Ok(program),
    };
    let program = program.map_err(failed("fcntl(F_SETFD)"))?;
    exec::execveat(program.as_fd(), &Strings::new(argv, None), &Strings::new(envp, None))
        .map(|_| None)
        .map_err(|errno| errno.during("execveat(podrun's binary, AT_EMPTY_PATH)"))
}

/// The descriptor that this process was executed by, if [`go_on_read_only`] left it open.
fn executed_by() -> Option<Program> {
    let name = rustix::param::linux_execfn().to_str().ok()?;
    let number: i32 = name.strip_prefix("/dev/fd/")?.parse().ok().filter(|number| *number >= ABOVE)?;
    fs::was_inherited(number).ok()?;
    // SAFETY: it is open and was inherited, so nothing here owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(Program(fd))
}

/// Whether this binary is one of [`sealed_copy`]'s.
fn is_sealed() -> bool {
    let seals =
        std::fs::File::open("/proc/self/exe").and_then(|binary| Ok(rustix::fs::fcntl_get_seals(&binary)?));
    seals.is_ok_and(|seals| seals.contains(rustix::fs::SealFlags::WRITE))
}

/// How often the kernel is asked to seal it.
const SEALING_TRIES: u32 = 16;

/// This binary in memory, sealed.
fn sealed_copy() -> Result<OwnedFd> {
    use rustix::fs::SealFlags;
    let copy = memory::empty("podrun")?;
    let copied = std::fs::File::open("/proc/self/exe")
        .and_then(|mut binary| std::io::copy(&mut binary, &mut std::fs::File::from(copy.try_clone()?)));
    copied.map_err(|error| Error::new("copy /proc/self/exe", error.raw_os_error().unwrap_or(0)))?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    // While the kernel itself holds one of the pages, to move it say, nothing can be sealed. Each try waits for 150 ms.
    let mut sealed = Err(Errno::BUSY);
    for _ in 0..SEALING_TRIES {
        sealed = rustix::fs::fcntl_add_seals(&copy, all);
        if sealed != Err(Errno::BUSY) {
            break;
        }
    }
    sealed.map(|()| copy).map_err(failed("fcntl(F_ADD_SEALS)"))
}

/// A daemon's first act: forbids tracing, and detaches from its maker. Returns descriptor [`INHERITED`].
pub fn detach() -> Result<OwnedFd> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("prctl(PR_SET_DUMPABLE, 0)"))?;
    // It was executed by a descriptor, which would leave it that number as its name.
    rustix::thread::set_name(c"podrun").map_err(failed("prctl(PR_SET_NAME)"))?;
    fs::was_inherited(INHERITED).map_err(|errno| errno.during("fcntl(3, F_GETFD)"))?;
    // SAFETY: it is open and was inherited, so nothing here owns it; from the next call on it does not pass for that again.
    let inherited = unsafe { OwnedFd::from_raw_fd(INHERITED) };
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::CLOEXEC)
        .map_err(failed("fcntl(3, F_SETFD, FD_CLOEXEC)"))?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())
        .map_err(failed("open(\"/dev/null\")"))?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .map_err(failed("dup2(null, 0..2)"))?;
    // It fails only for a process that leads a group already; a freshly cloned one does not.
    rustix::process::setsid().map_err(failed("setsid()"))?;
    rustix::process::chdir("/").map_err(failed("chdir(\"/\")"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // A write to a closed pipe is an error to handle, not an end.
    // SAFETY: SIG_IGN is no handler: nothing runs when the signal comes.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = hard.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES));
    // Its children inherit this one: the same whichever shell or unit made the pod.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: hard });
    Ok(inherited)
}

/// Makes this process the parent of its descendants' orphans, where it is not process 1 of a namespace anyway.
pub fn adopt_orphans() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(failed("prctl(PR_SET_CHILD_SUBREAPER)"))
}

/// Sets the host name of this process's UTS namespace.
pub fn set_hostname(name: &str) -> Result<()> {
    let set = CString::new(name).map_err(|_| Errno::INVAL.into()).and_then(|name| exec::sethostname(&name));
    set.map_err(|errno: crate::sys::Errno| errno.during(format!("sethostname({name:?})")))
}

/// Makes the lock file at `path`, locked before it is visible: a process that tries it cannot keep it from its
/// owner. `None`: it exists. It is held as long as the descriptor.
pub fn lock_new(path: &std::path::Path) -> Result<Option<OwnedFd>> {
    use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
    let failed = |call: &str, errno: Errno| Error::new(format!("{call}({path:?})"), errno.raw_os_error());
    let unseen = path.with_extension("new");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&unseen, flags, Mode::from_raw_mode(0o600))
        .map_err(|errno| failed("open", errno))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| failed("flock", errno))?;
    match rustix::fs::renameat_with(CWD, &unseen, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::EXIST) => Ok(None),
        Err(errno) => Err(failed("rename", errno)),
    }
}
