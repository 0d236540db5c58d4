//! Hints about a child half's failure.
//!
//! Invariant: pure; a hint names a remedy, and is given only where the step, the call and the errno leave one
//! cause.

use std::ffi::CString;

use super::failure::{Call, Failure, INTERPRETER, OTHER_TYPE};
use super::plan::{Device, Mount, NewMount, Source, Step};
use crate::error::KERNEL_LACKS;
use crate::sys::Errno;
use crate::sys::child::exec::{Rlimit, rlimit_number};
use crate::sys::file::mount::Depth;

/// Whether the container is gone: setns of a dead process is ESRCH, and EINVAL once that has left its
/// namespaces; fork into a pid namespace whose init is dead is ENOMEM.
pub(super) fn is_gone(step: &Step, failure: Failure) -> bool {
    match step {
        Step::JoinContainer { .. } => [Errno::ESRCH, Errno::EINVAL].contains(&Errno(failure.errno)),
        Step::GoInside(_) => Errno(failure.errno) == Errno::ENOMEM,
        _ => false,
    }
}

/// The hint at the limit of processes.
pub(super) const PROCESS_LIMIT: &str =
    "a limit of processes is reached: the cgroup's pids.max, or RLIMIT_NPROC";

/// The same of namespaces.
pub(super) const NAMESPACE_LIMIT: &str =
    "a limit of namespaces is reached: see /proc/sys/user/max_*_namespaces";

/// The hint for a cgroup without processors or memory nodes.
pub(super) const EMPTY_CPUSET: &str = "cpuset.cpus or cpuset.mems of the cgroup, or of one above, is empty";

/// The hint for a mount that the kernel does not change.
pub(super) const LOCKED: &str = "an attribute of a mount that comes from a more privileged user namespace cannot be cleared: leave the option out";

/// The hint where the kernel has no memory for a call.
pub const NO_MEMORY: &str = "the cgroup's limit of memory is too low for a container to be made in it (16 MiB are plenty), or the machine has none left";

/// The hint for a group of resctrl that takes no process.
pub(super) const JOIN_RESCTRL: &str = "resctrl says why in info/last_cmd_status";

/// The hint for arguments and variables beyond the kernel's limit.
pub(super) const TOO_BIG: &str = "an argument or a variable has more than 131071 bytes, or all have more than 6 MiB or a quarter of the stack's limit";

/// The hint for a missing interpreter.
pub(super) const NO_INTERPRETER: &str = "the file is there; what is missing is its interpreter: the one its `#!` line names, or the dynamic loader it was linked for";

/// The hint on a step's failure.
pub(super) fn hint(step: &Step, failure: Failure) -> Option<String> {
    if is_gone(step, failure) {
        return Some("the container is not running".to_owned());
    }
    let own = match step {
        Step::Execve { paths, .. } | Step::FindProgram { paths, .. } => program_hint(step, paths, failure),
        Step::Mount(mount) => mount_hint(mount, failure),
        Step::Rlimits(limits) => rlimit_hint(limits, failure),
        Step::Device(device) => device_hint(device, failure),
        _ => place_hint(step, failure).or_else(|| process_hint(step, failure)).map(str::to_owned),
    };
    own.or_else(|| (Errno(failure.errno) == Errno::ENOSYS).then(|| KERNEL_LACKS.to_owned()))
}

fn program_hint(step: &Step, paths: &[CString], failure: Failure) -> Option<String> {
    let executes = matches!(step, Step::Execve { .. });
    let hint = match Errno(failure.errno) {
        Errno::ENOENT if executes && failure.index & INTERPRETER != 0 => NO_INTERPRETER,
        Errno::ENOENT | Errno::ENOTDIR => match paths {
            [] => "the command has no `/` and PATH names no directory to look for it",
            [one] => return Some(format!("there is no {one:?} in the container's file system")),
            _ => "none of the directories in the container's PATH holds it",
        },
        Errno::EACCES => "it is no executable file, or the container's user may not execute it",
        Errno::E2BIG if executes => TOO_BIG,
        Errno::ENOEXEC if executes => "it is neither a binary for this machine nor a script with a `#!` line",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn device_hint(device: &Device, failure: Failure) -> Option<String> {
    match Errno(failure.errno) {
        Errno::EEXIST => Some(
            "what is there is another file, or has another mode or owner than linux.devices lists".to_owned(),
        ),
        Errno::EROFS => {
            Some(format!("the file system of {:?} is read-only: make the device in it", device.path))
        }
        _ => None,
    }
}

/// The hint about a place in the container's root, or about a kernel's file.
fn place_hint(step: &Step, failure: Failure) -> Option<&'static str> {
    Some(match (step, failure.call, Errno(failure.errno)) {
        (Step::MaskedPath(_) | Step::ReadonlyPath(_), _, Errno::ELOOP) => {
            "the path leads over a symbolic link, which could hide what it covers"
        }
        (Step::MakeDirectory(_) | Step::WorkingDirectory(_), _, Errno::ENOTDIR) => {
            "it, or a part of its path, is a file in the container"
        }
        (Step::MakeDirectory(_) | Step::WorkingDirectory(_), _, Errno::ELOOP) => {
            "symbolic links on the way lead to each other, or through those of /proc"
        }
        (Step::MakeDirectory(_), _, Errno::EROFS) => {
            "it is missing, and its file system is read-only: make it in the image"
        }
        (Step::WorkingDirectory(_), Call::Getcwd, _) => "the working directory is outside of the container",
        (Step::ReadonlyRoot, _, Errno::EBUSY) => "a file in the root is open for writing",
        (Step::Sysctl { .. }, _, Errno::ENOENT) => "this kernel has no such setting, or not in a namespace",
        (Step::Sysctl { .. }, Call::Write, Errno::EINVAL | Errno::ERANGE) => {
            "the kernel does not take this value"
        }
        (Step::JoinCgroup(_), _, Errno::ENOSPC) => EMPTY_CPUSET,
        (Step::JoinResctrl(_), _, _) => JOIN_RESCTRL,
        _ => return None,
    })
}

/// The hint about the process, its namespaces or its rights.
fn process_hint(step: &Step, failure: Failure) -> Option<&'static str> {
    Some(match (step, failure.call, Errno(failure.errno)) {
        (Step::Hostname(_) | Step::Domainname(_), _, Errno::EINVAL) => {
            "the kernel takes no name of more than 64 bytes"
        }
        (Step::Uid(_) | Step::Gid(_) | Step::Groups(_), _, Errno::EINVAL) => {
            "the container's user namespace has no mapping for this id"
        }
        (Step::NewTimeNamespace(_), Call::Write, Errno::ERANGE) => {
            "a clock of the container would be before 0, or too late for the kernel"
        }
        (Step::NewTimeNamespace(_), Call::Unshare, Errno::EINVAL) => {
            "the kernel has no time namespaces (CONFIG_TIME_NS)"
        }
        (Step::LoopbackUp, _, Errno::EPERM) => "podrun lacks CAP_NET_ADMIN",
        (Step::CloseDescriptors { .. }, Call::Dup, Errno::EBADF) => {
            "RLIMIT_NOFILE is too low for the descriptors that the container is made with"
        }
        (Step::Scheduling(_) | Step::IoPriority(_), _, Errno::EPERM) => "it needs CAP_SYS_NICE",
        (Step::MemoryPolicy { .. }, _, Errno::EINVAL) => {
            "mode, flags and nodes do not go together, or one of them is none of this kernel's"
        }
        (Step::Seccomp(_), Call::Seccomp, Errno::EINVAL) => {
            "the kernel has no seccomp filters, or not this one's flags"
        }
        (Step::Seccomp(_), Call::Write | Call::Read, _) => {
            "the seccomp agent is told by them: the profile must allow write and read"
        }
        (Step::Capabilities { ambient: None, .. }, _, _) => {
            "without no_new_privs the filter comes before the last capset, which the seccomp profile must allow"
        }
        (Step::GoInside(_), _, Errno::EAGAIN) => PROCESS_LIMIT,
        (Step::GoInside(_) | Step::MakeNamespaces(_), _, Errno::ENOSPC) => NAMESPACE_LIMIT,
        (Step::AwaitStart, _, _) => {
            "in a pid namespace with others it waits by the filter: the seccomp profile must allow close, poll, \
             accept4 and read"
        }
        _ => return None,
    })
}

fn rlimit_hint(limits: &[Rlimit], failure: Failure) -> Option<String> {
    let limit = limits.get(usize::try_from(failure.index).ok()?)?;
    if Errno(failure.errno) != Errno::EPERM {
        return None;
    }
    Some(match rlimit_number("RLIMIT_NOFILE") == Some(limit.resource) {
        true => {
            format!("RLIMIT_NOFILE: {} is above /proc/sys/fs/nr_open, or needs CAP_SYS_RESOURCE", limit.hard)
        }
        false => "a hard limit is raised by CAP_SYS_RESOURCE alone".to_owned(),
    })
}

fn mount_hint(mount: &Mount, failure: Failure) -> Option<String> {
    let text = &mount.text;
    let place = format!("/{}", mount.place.to_string_lossy());
    let errno = Errno(failure.errno);
    if let Some(hint) = source_hint(mount, failure) {
        return Some(hint);
    }
    let hint = match (failure.call, errno) {
        (Call::Procfs, _) => {
            "nothing may be mounted over parts of /proc but the files that lxcfs provides".to_owned()
        }
        (Call::Openat, Errno::ELOOP) if mount.refuse_links => {
            "the destination leads over a symbolic link, where the image must have a real directory"
                .to_owned()
        }
        (Call::Openat, Errno::ELOOP) => {
            "symbolic links on the way to the destination lead to each other, or through those of /proc"
                .to_owned()
        }
        (Call::Mkdirat | Call::Openat, Errno::EROFS) => {
            format!(
                "the mount point {place:?} is missing and its file system is read-only: make it in the image"
            )
        }
        (Call::Mkdirat | Call::Openat | Call::Readlink, Errno::ENOTDIR) => format!(
            "what is mounted is a directory and {place:?} is a file in the container, or a part of that path is: mount a \
             file, or elsewhere"
        ),
        (Call::MoveMount, Errno::EINVAL) if failure.index == OTHER_TYPE => {
            format!(
                "{text:?} is a file and {place:?} is a directory in the container: mount a directory, or elsewhere"
            )
        }
        (Call::Mkdirat | Call::Openat, Errno::EACCES | Errno::EPERM) => format!(
            "the mount point {place:?} is missing, and the container's root may not make it there: make it in the image"
        ),
        (Call::Mkdirat | Call::Openat, Errno::ENOSPC) => {
            format!("the file system is full on which the mount point {place:?} is to be made")
        }
        (Call::Fstat, Errno::EBUSY) => {
            "the destination leads to the root itself, over which nothing can be mounted".to_owned()
        }
        (Call::MoveMount, Errno::ENOSPC) => {
            "the mount namespace is full: see /proc/sys/fs/mount-max".to_owned()
        }
        (_, Errno::ENOSYS) => KERNEL_LACKS.to_owned(),
        _ => return None,
    };
    Some(hint)
}

/// The hint about a mount's source, rather than its place.
fn source_hint(mount: &Mount, failure: Failure) -> Option<String> {
    let hint = match (&mount.source, failure.call, Errno(failure.errno)) {
        (Source::New(new), call, errno) => return new_hint(new, failure.index, call, errno),
        (Source::Inside(_), Call::OpenTree, Errno::ENOENT | Errno::ENOTDIR) => {
            "the source lies in the root, where it is looked up after the mounts before this one: nothing is there then"
                .to_owned()
        }
        (Source::Inside(_), Call::OpenTree, Errno::EPERM) => {
            "the source lies in the root, and a link leads to the root itself, or to its /proc or /sys, of which nothing is \
             mounted elsewhere"
                .to_owned()
        }
        (Source::Inside(inner), Call::OpenTree, Errno::ELOOP | Errno::EXDEV) if inner.depth == Depth::Recursive => {
            "the source lies in the root and leads over a symbolic link there: name what it leads to, or use `bind`".to_owned()
        }
        (Source::Inside(_), Call::OpenTree, Errno::ELOOP) => {
            "symbolic links on the way to the source lead to each other, or through those of /proc".to_owned()
        }
        (Source::Inside(_), Call::OpenTree, Errno::EINVAL) => {
            "a part of the source may not be bound: it is unbindable, or has mounts in it that are locked (use rbind)"
                .to_owned()
        }
        (Source::Inside(_) | Source::Remount(_), Call::MountSetattr, Errno::EPERM) => LOCKED.to_owned(),
        (Source::Remount(_), Call::MountSetattr | Call::Fspick, Errno::EINVAL)
        | (Source::Remount(_), Call::Openat, Errno::ENOENT | Errno::ENOTDIR) => {
            format!("`remount` changes what is mounted, and nothing is at /{}", mount.place.to_string_lossy())
        }
        (Source::Remount(change), Call::Fsconfig, Errno::EINVAL) => {
            return refused_option(&change.parameters, failure.index);
        }
        _ => return None,
    };
    Some(hint)
}

fn new_hint(new: &NewMount, index: u32, call: Call, errno: Errno) -> Option<String> {
    let kind = new.kind.to_string_lossy();
    let hint = match (call, errno) {
        (Call::Fsopen, Errno::ENODEV) => {
            format!("this kernel has no file system `{kind}`: see /proc/filesystems, or use `bind`")
        }
        (Call::Fsopen | Call::Fsmount | Call::Fsconfig, Errno::EPERM) => format!(
            "the container's root may not mount a new `{kind}`: in a user namespace few file systems can be, proc and \
             sysfs only where a whole one is in sight; bind the host's"
        ),
        (Call::Fsconfig, Errno::EINVAL) => return refused_option(&new.parameters, index),
        (Call::Fsconfig, Errno::ENOMEM | Errno::ENOSPC) => NO_MEMORY.to_owned(),
        _ => return None,
    };
    Some(hint)
}

/// Which of a mount's options its file system does not take; past the last one, all of them together.
fn refused_option(parameters: &[(CString, Option<CString>)], index: u32) -> Option<String> {
    let (key, value) = parameters.get(usize::try_from(index).ok()?)?;
    let key = key.to_string_lossy();
    let word =
        value.as_ref().map_or_else(|| key.to_string(), |value| format!("{key}={}", value.to_string_lossy()));
    Some(format!("the file system does not take the option `{word}`: correct it or leave it out"))
}
