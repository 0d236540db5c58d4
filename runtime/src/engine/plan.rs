//! The plan: the acts of a child half between clone3 and execve, as data.
//!
//! Invariant: a plan owns all that its steps name (strings, descriptors), so that the child, which
//! replays them from its copy of the memory, allocates and decides nothing. The order of the steps is
//! the security order; a test asserts it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::rc::Rc;

use super::content::{Content, NodeFile};
use super::failure::Moment;
use super::seccomp::{Filter, Listener};
use crate::error::Result;
use crate::sys::child::creds::CapabilitySets;
use crate::sys::child::exec::{Home, Rlimit, Strings};
use crate::sys::child::sched::Scheduling;
use crate::sys::file::mount::{self, Attributes, Depth, Propagation};
use crate::sys::kernel::seccomp::Pass;
use crate::sys::process::ns::Namespaces;

/// A container, or a process in one, as data; [`Plan::spawn`] makes it.
#[derive(Debug)]
pub struct Plan {
    pub(super) entry: Entry,
    pub(super) steps: Vec<Step>,
    pub(super) warnings: Vec<String>,
    /// The agent of the seccomp filter, where it asks one.
    pub(super) listener: Option<Listener>,
    /// Its identity outside of the user namespace that it is born in.
    pub(super) identity: Option<Identity>,
}

/// Settings of a process in a user namespace that only a process outside can write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The lines of `uid_map`, as user_namespaces(7) has them.
    pub(super) uid_map: String,
    /// The lines of `gid_map`.
    pub(super) gid_map: String,
    /// oom_score_adj, which belongs to the host's root there.
    pub(super) oom_score: Option<CString>,
}

/// How the child is born.
#[derive(Debug)]
pub(super) struct Entry {
    /// Namespaces made by the clone itself.
    pub(super) namespaces: Namespaces,
    /// The unified cgroup to be born in.
    pub(super) cgroup: Option<OwnedFd>,
}

/// One step of a child half.
#[derive(Debug)]
pub(super) enum Step {
    /// Close every descriptor that this plan does not name: other children's wires, locks, logs.
    CloseOthers,
    /// SIGKILL when the parent dies, and a look whether it has by now; no ptrace by the unprivileged.
    DieWithParent,
    /// Outlive the parent from here on.
    Outlive,
    /// Say that this point is reached, and wait for the parent's word.
    Pause(Moment),
    /// Write `0` into these `tasks` files.
    JoinCgroup(Vec<OwnedFd>),
    /// The same, of resctrl's groups.
    JoinResctrl(Vec<OwnedFd>),
    /// The cgroup namespace, rooted where the process now is.
    UnshareCgroup,
    /// A time namespace, with these lines of `timens_offsets`.
    NewTimeNamespace(CString),
    /// Bring up the loopback of a network namespace that was made.
    LoopbackUp,
    /// Join a namespace by descriptor; a pid namespace is one for children alone.
    JoinNamespace { fd: OwnedFd, kind: Namespaces, text: String },
    /// Make namespaces in a user namespace that was joined, or one that owns them; a pid namespace is one for children alone.
    MakeNamespaces(Namespaces),
    /// Join namespaces of a container, by the pidfd of its init, whose root becomes the root. `root` is the
    /// container's, if it has the caller's mount namespace and hence another root than that namespace's.
    JoinContainer { init: OwnedFd, kinds: Namespaces, root: Option<OwnedFd> },
    /// Go on as a child of the parent in the joined or new pid namespace, and end outside. A process with
    /// CAP_SYS_PTRACE inside has all rights of every process there (CVE-2016-9962): with others inside, this
    /// comes after the filter, which allows the calls from here to execve by the pass.
    GoInside(Pass),
    /// A session keyring of its own.
    NewKeyring,
    /// A session of its own.
    NewSession,
    /// Take mounts from the host's namespace, give none back.
    MakeRootSlave,
    /// Put a detached mount where the root will be: over the host's root, or at a path of the host's.
    AttachRoot { tree: OwnedFd, at: Option<CString> },
    /// Make the attached mount the root, and remove the host's tree.
    PivotRoot,
    /// Make the attached mount the process's root by chroot, and leave the mount namespace as it is: it is the
    /// host's.
    ChangeRoot,
    /// Make an empty, read-only root.
    PivotEmptyRoot,
    /// Attach a mount inside the root.
    Mount(Mount),
    /// Bring a device to its place inside the root.
    Device(Device),
    /// Make the mount at a place read-only, without its submounts.
    ReadonlyMount(CString),
    /// A private procfs, for the writes of the next steps, in no mount table.
    PrivateProc,
    /// Give that procfs to the parent.
    GiveProc,
    /// Set the LSM label of the next execve: a file of /proc/self/attr, and its text.
    ExecLabel { file: CString, label: CString },
    /// Write oom_score_adj.
    OomScore(CString),
    /// The host name.
    Hostname(CString),
    /// The NIS domain name.
    Domainname(CString),
    /// Write one file below /proc/sys.
    Sysctl { file: CString, value: CString },
    /// A mount of a null device, by which the next steps cover files.
    NullDevice(OwnedFd),
    /// Make a path read-only, with all below; skipped when it is not there.
    ReadonlyPath(CString),
    /// Make a path empty; skipped when it is not there.
    MaskedPath(CString),
    /// Make the working directory where it is missing.
    MakeDirectory(CString),
    /// How mounts travel to and from the root mount.
    RootPropagation(Propagation, Depth),
    /// Make the root mount read-only.
    ReadonlyRoot,
    /// The standard streams; those with `true` are given to the user.
    Stdio { fds: [OwnedFd; 3], give: [bool; 3], uid: u32 },
    /// Make stdin the controlling terminal.
    ControllingTerminal,
    /// Go to the working directory, and check that it is inside.
    WorkingDirectory(CString),
    /// Find the user's home directory in the container's passwd.
    FindHome { uid: u32, home: Rc<Home> },
    /// The CPUs to run on, as bits.
    Affinity(Vec<u64>),
    /// The scheduler.
    Scheduling(Scheduling),
    /// The I/O priority, as the kernel packs it.
    IoPriority(i32),
    /// Where memory is taken from.
    MemoryPolicy { mode: i32, nodes: Vec<u64> },
    /// The execution domain.
    Personality(u32),
    /// Set the limits.
    Rlimits(Vec<Rlimit>),
    /// No execve gains rights from here on.
    NoNewPrivs,
    /// Drop all other capabilities from the bounding set.
    BoundingSet(u64),
    /// The supplementary groups.
    Groups(Vec<u32>),
    /// The group.
    Gid(u32),
    /// The user; capabilities are kept for the next step.
    Uid(u32),
    /// Make all that is permitted effective, for a filter that needs CAP_SYS_ADMIN; the ambient set is final.
    HoldCapabilities { inheritable: u64, ambient: u64 },
    /// The capability sets, exactly; the ambient one unless it was set before.
    Capabilities { sets: CapabilitySets, ambient: Option<u64> },
    /// Install the seccomp filter: after it only the steps that its author must allow.
    Seccomp(Filter),
    /// The file mode creation mask.
    Umask(u32),
    /// Default actions and an empty mask.
    ResetSignals,
    /// See whether one of `paths` can be executed with the rights that execve is called with.
    FindProgram { paths: Vec<CString>, name: String, effective: u64 },
    /// The set-up is complete: close the wire to say so, and wait at a listening socket for the start of the
    /// program; the connection is the wire from then on.
    AwaitStart,
    /// Close every descriptor but the standard streams, those to `preserve` (the first becomes number 3, the
    /// others follow) and, until execve, the `listener` of the next step.
    CloseDescriptors { preserve: Vec<OwnedFd>, listener: Option<OwnedFd> },
    /// Become the program: the first of `paths` that can be executed.
    Execve { paths: Vec<CString>, argv: Strings, envp: Strings },
    /// Be the init of a shared pid namespace: reap until SIGTERM.
    Reap,
}

/// A mount for [`Step::Mount`].
#[derive(Debug)]
pub(super) struct Mount {
    /// Its name, for messages: `proc`, `/srv/data`.
    pub(super) text: String,
    pub(super) source: Source,
    /// Where it goes: relative to the root, without a slash at either end and without `..`.
    pub(super) place: CString,
    /// proc and sysfs go onto a real directory or nowhere: an image that makes `/proc` a link had its
    /// LSM label written to a file of its own (CVE-2019-19921).
    pub(super) refuse_links: bool,
    /// Whether it may cover a part of a procfs.
    pub(super) may_cover_proc: bool,
    /// Whether it becomes read-only once all mounts are made: those below need their places in it.
    pub(super) readonly_later: bool,
}

impl Mount {
    /// Whether it is a new procfs.
    pub(super) fn makes_proc(&self) -> bool {
        matches!(&self.source, Source::New(new) if new.kind.as_c_str() == c"proc")
    }
}

/// Where a mount comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// A detached tree, its attributes set: only to be moved.
    Tree(OwnedFd),
    /// A new file system.
    New(NewMount),
    /// A part of the root, with the mounts of the steps before.
    Inside(InnerTree),
    /// The mount that is there already, which changes.
    Remount(Remount),
}

/// A tree that the child clones out of the root.
#[derive(Debug)]
pub(super) struct InnerTree {
    /// Relative to the root; `.` is the root itself.
    pub(super) path: CString,
    pub(super) depth: Depth,
    pub(super) changes: Vec<Change>,
}

/// A change by `remount`.
#[derive(Debug)]
pub(super) struct Remount {
    pub(super) changes: Vec<Change>,
    /// New parameters of its file system.
    pub(super) parameters: Vec<(CString, Option<CString>)>,
}

/// The request of one mount_setattr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) depth: Depth,
    pub(super) attributes: Attributes,
    pub(super) propagation: Option<Propagation>,
}

/// A file system that the child makes.
#[derive(Debug)]
pub(super) struct NewMount {
    pub(super) kind: CString,
    pub(super) parameters: Vec<(CString, Option<CString>)>,
    /// MOUNT_ATTR_*
    pub(super) attributes: u64,
    /// Whether it begins with a copy of the directory it covers.
    pub(super) copy_up: bool,
    /// Whether its root has the mode of the directory that it covers.
    pub(super) takes_mode: bool,
    /// How mounts below it travel; absent: they keep to themselves.
    pub(super) propagation: Option<Propagation>,
    /// The content made in it before it is attached.
    pub(super) content: Vec<Content>,
}

/// A device of the spec's that is not made in a fresh /dev.
#[derive(Debug)]
pub(super) struct Device {
    /// From the root.
    pub(super) path: CString,
    /// The directory that it is in.
    pub(super) parent: CString,
    pub(super) name: CString,
    pub(super) file: NodeFile,
    pub(super) way: Way,
}

/// How a device comes to its place, unless it is there already.
#[derive(Debug)]
pub(super) enum Way {
    /// It is made there.
    Made,
    /// This mount of it goes there: in a user namespace no node can be made.
    Bound(OwnedFd),
    /// It must exist as listed: the spec mounts a foreign /dev.
    Found,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Attributes { set, clear } = self.attributes;
        match self.propagation {
            Some(propagation) => write!(f, "{propagation:?}"),
            None => write!(f, "set {}, clear {}", Attributes::names(set), Attributes::names(clear)),
        }
    }
}

impl Step {
    /// The step's name and object, as the debug verb prints them.
    pub(super) fn label(&self) -> (&'static str, String) {
        let none = String::new;
        match self {
            Self::CloseOthers => ("close others", none()),
            Self::DieWithParent => ("die with parent", none()),
            Self::JoinCgroup(tasks) => ("join cgroup", format!("{} v1 hierarchies", tasks.len())),
            Self::JoinResctrl(tasks) => ("join resctrl", format!("{} groups", tasks.len())),
            Self::UnshareCgroup => ("cgroup namespace", none()),
            Self::NewTimeNamespace(offsets) => ("time namespace", format!("{offsets:?}")),
            Self::LoopbackUp => ("loopback", "\"lo\", IFF_UP".to_owned()),
            Self::JoinNamespace { text, .. } => ("join namespace", text.clone()),
            Self::MakeNamespaces(_) => ("namespaces", none()),
            Self::JoinContainer { .. } => ("join container", none()),
            Self::GoInside(_) => ("go inside", none()),
            Self::NewKeyring => ("keyring", none()),
            Self::NewSession => ("session", none()),
            Self::MakeRootSlave => ("slave mounts", none()),
            Self::Outlive => ("outlive the parent", none()),
            Self::Pause(moment) => ("pause", format!("{moment:?}").to_lowercase()),
            Self::AttachRoot { at, .. } => {
                ("attach root", at.as_ref().map(|at| format!("{at:?}")).unwrap_or_default())
            }
            Self::PivotRoot => ("root", none()),
            Self::ChangeRoot => ("root", "in the host's mount namespace".to_owned()),
            Self::PivotEmptyRoot => ("empty root", none()),
            Self::Mount(mount) => ("mount", format!("{:?} -> {:?}", mount.text, mount.place)),
            Self::Device(device) => ("device", format!("{:?}", device.path)),
            Self::ReadonlyMount(path) => ("read-only mount", format!("{path:?}")),
            Self::PrivateProc => ("private proc", none()),
            Self::GiveProc => ("give proc", none()),
            Self::ExecLabel { file, label } => ("label", format!("{file:?}, {label:?}")),
            Self::OomScore(score) => ("oom score", format!("{score:?}")),
            Self::Hostname(name) => ("hostname", format!("{name:?}")),
            Self::Domainname(name) => ("domainname", format!("{name:?}")),
            Self::Sysctl { file, value } => ("sysctl", format!("{file:?}, {value:?}")),
            Self::NullDevice(_) => ("null device", none()),
            Self::ReadonlyPath(path) => ("read-only path", format!("{path:?}")),
            Self::MaskedPath(path) => ("masked path", format!("{path:?}")),
            Self::MakeDirectory(path) => ("make directory", format!("{path:?}")),
            Self::RootPropagation(propagation, _) => {
                ("root propagation", format!("{propagation:?}").to_lowercase())
            }
            Self::ReadonlyRoot => ("read-only root", none()),
            Self::Stdio { .. } => ("stdio", none()),
            Self::ControllingTerminal => ("controlling terminal", none()),
            Self::WorkingDirectory(path) => ("working directory", format!("{path:?}")),
            Self::FindHome { uid, .. } => ("find home", format!("of {uid}")),
            Self::Affinity(cpus) => ("cpu affinity", format!("{cpus:x?}")),
            Self::Scheduling(wanted) => ("scheduler", format!("policy {}", wanted.policy)),
            Self::IoPriority(packed) => ("io priority", format!("{packed:#x}")),
            Self::MemoryPolicy { mode, nodes } => ("memory policy", format!("{mode:#x} {nodes:x?}")),
            Self::Personality(domain) => ("personality", format!("{domain:#x}")),
            Self::Rlimits(limits) => ("limits", format!("{} of them", limits.len())),
            Self::NoNewPrivs => ("no new privileges", none()),
            Self::BoundingSet(set) => ("bounding set", format!("{set:#x}")),
            Self::Groups(groups) => ("groups", format!("{groups:?}")),
            Self::Gid(gid) => ("gid", gid.to_string()),
            Self::Uid(uid) => ("uid", uid.to_string()),
            Self::HoldCapabilities { .. } => ("hold capabilities", none()),
            Self::Capabilities { sets, .. } => ("capabilities", format!("{:#x}", sets.permitted)),
            Self::Seccomp(filter) => ("seccomp", format!("{} instructions", filter.program.len())),
            Self::Umask(mask) => ("umask", format!("{mask:04o}")),
            Self::ResetSignals => ("signals", none()),
            Self::FindProgram { name, .. } => ("find program", format!("{name:?}")),
            Self::AwaitStart => ("await start", none()),
            Self::CloseDescriptors { preserve, .. } if preserve.is_empty() => ("close descriptors", none()),
            Self::CloseDescriptors { preserve, .. } => {
                ("close descriptors", format!("from {}", preserve.len() + 3))
            }
            Self::Execve { argv, .. } => {
                ("execve", argv.as_slice().first().map(|name| format!("{name:?}")).unwrap_or_default())
            }
            Self::Reap => ("reap", none()),
        }
    }

    /// The descriptors that the step needs.
    fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Self::JoinCgroup(tasks) | Self::JoinResctrl(tasks) => {
                tasks.iter().map(|fd| fd.as_raw_fd()).collect()
            }
            Self::CloseDescriptors { preserve, listener } => {
                preserve.iter().chain(listener).map(|fd| fd.as_raw_fd()).collect()
            }
            Self::JoinNamespace { fd, .. } | Self::AttachRoot { tree: fd, .. } | Self::NullDevice(fd) => {
                vec![fd.as_raw_fd()]
            }
            Self::JoinContainer { init, root, .. } => {
                std::iter::once(init).chain(root).map(|fd| fd.as_raw_fd()).collect()
            }
            Self::Mount(Mount { source: Source::Tree(tree), .. })
            | Self::Device(Device { way: Way::Bound(tree), .. }) => vec![tree.as_raw_fd()],
            Self::Stdio { fds, .. } => fds.iter().map(|fd| fd.as_raw_fd()).collect(),
            _ => Vec::new(),
        }
    }
}

impl Plan {
    /// The steps in their order, a line each.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let (name, object) = step.label();
            text.push_str(name);
            if !object.is_empty() {
                text.push(' ');
                text.push_str(&object);
            }
            text.push('\n');
        }
        text
    }

    /// The number ([`mount::number`]) of the mount that the child attaches in the caller's own mount namespace,
    /// where it stays until it is removed: the root of a container without a mount namespace of its own.
    pub fn root_in_shared_mounts(&self) -> Result<Option<u64>> {
        if !self.steps.iter().any(|step| matches!(step, Step::ChangeRoot)) {
            return Ok(None);
        }
        let tree = self.steps.iter().find_map(|step| match step {
            Step::AttachRoot { tree, .. } => Some(mount::number(tree.as_fd())),
            _ => None,
        });
        Ok(tree.transpose().map_err(|errno| errno.during("statx(root)"))?)
    }

    /// Values that the kernel or the machine would not grant, and that were clamped, for the caller to report
    /// once.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The descriptors that the steps after each [`Step::CloseOthers`] need, `wire` among them, in rising order.
    pub(super) fn descriptors(&self, wire: RawFd) -> Vec<Vec<RawFd>> {
        let closes = self.steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::CloseOthers));
        let after = |at: usize| {
            let needed = self.steps.iter().skip(at).flat_map(Step::descriptors);
            let mut fds: Vec<RawFd> = needed.chain([wire]).collect();
            fds.sort_unstable();
            fds.dedup();
            fds
        };
        closes.map(|(at, _)| after(at)).collect()
    }

    /// Whether the cloned process ends outside of the pid namespace in which another one goes on.
    pub(super) fn goes_inside(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::GoInside(_)))
    }
}

/// The file for the offsets of an empty time namespace.
pub(super) const TIME_OFFSETS: &CStr = c"/proc/self/timens_offsets";
