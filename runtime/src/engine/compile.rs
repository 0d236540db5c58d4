//! Compiling: a spec and the caller's descriptors become a [`Plan`].
//!
//! Invariant: the order in which the steps are pushed here is the security order, and the only place that
//! decides it. A container's rights shrink from step to step; labels and kernel settings come before the mounts
//! that hide their files, descriptors come after all mounts, credentials after them, and the seccomp filter is
//! as late as the kernel allows.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Process, Spec, State};

use super::failure::Moment;
use super::inputs::{ExecInputs, Inputs, Tie, dup};
use super::namespaces::{Joined, ProcOfJoined, Spaces, kind, namespaces, time_offsets};
use super::paths::{self, c_string, usage};
use super::plan::{Device, Entry, Identity, Plan, Step};
use super::seccomp::{self, Filter, Listener};
use super::sysctl::{Owner, Setting};
use super::{devices, idmap, labels, mounts, options, placement, process, refuse};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::sys::Errno;
use crate::sys::child::creds;
use crate::sys::file::fs;
use crate::sys::file::mount::{Depth, Propagation};
use crate::sys::kernel::seccomp::Pass;
use crate::sys::process::ns::{self, Namespaces};
use crate::sys::process::{pidfd, userns};

/// Compiles a container's spec. Without a `process` it can only be made, not started.
pub fn compile(inputs: Inputs<'_>) -> Result<Plan> {
    let Inputs { spec, rootfs, attached, cgroup, stdio, console, null, pid_namespace, .. } = inputs;
    let Inputs { resctrl, programs, state, tie, pause, preserve, keyring, .. } = inputs;
    refuse::spec(spec, !resctrl.is_empty())?;
    let mut none = Process::default();
    none.set_args(None);
    let process = match (spec.process(), tie) {
        (Some(process), _) if process.args().is_none() => {
            return Err(usage("process.args: there is no command".into()));
        }
        (Some(process), _) => process,
        (None, Tie::UntilStart(_)) => &none,
        (None, _) => return Err(usage("process: there is none".into())),
    };
    let mut warnings = Vec::new();
    let spaces = namespaces(spec.linux().as_ref(), pid_namespace)?;
    let Spaces { own, user, .. } = spaces;
    let proc = spaces.proc_of_joined(spec, attached)?;
    let attached = &[attached, &proc.trees()].concat();
    let mut score = process::oom_score(process, &mut warnings)?;
    let identity = spaces.new.contains(Namespaces::USER).then(|| identity(spec, score.take())).transpose()?;
    let groups = !user || userns::may_set_groups();
    let Begin { mut steps, entry, inside } = begin(spec, spaces, cgroup, resctrl, &proc, groups)?;
    if keyring {
        steps.push(Step::NewKeyring);
    }
    steps.push(Step::NewSession);
    let shared = !own.contains(Namespaces::MOUNT);
    if shared && user {
        return Err(usage("linux.namespaces: a user namespace without a mount namespace".into())
            .hint("nobody could mount anything for the container; list `mount` too"));
    }
    if !shared {
        steps.push(Step::MakeRootSlave);
    }
    if console.is_none() && process.terminal() == Some(true) {
        return Err(usage("process.terminal: the streams are no terminal".into()));
    }
    let listed = mounts::all(spec, rootfs, cgroup, attached, console, user, &mut warnings)?;
    let devices = devices::elsewhere(spec, mounts::dev_is_fresh(spec, attached)?, user)?;
    let root = mounts::root(rootfs, spec)?;
    let pause = pause.then_some(Step::Pause(Moment::Mounted));
    let readonly: Vec<CString> =
        listed.iter().filter(|mount| mount.readonly_later).map(|mount| mount.place.clone()).collect();
    push_filesystem(&mut steps, spec, Tree { listed, devices, root, shared }, pause, user)?;
    steps.extend(null.map(Step::NullDevice));
    let label = labels::of(process)?;
    push_settings(&mut steps, spec, own, [label, score])?;
    steps.extend(readonly.into_iter().map(Step::ReadonlyMount));
    push_covers(&mut steps, spec, process.cwd().to_str().unwrap_or_default(), &mut warnings)?;
    let (filter, listener) = filter(spec.linux().as_ref(), programs, state, &mut warnings)?;
    let end = process::End { tie, preserve, filter, groups, inside };
    steps.extend(placement::of_container(spec.linux().as_ref())?);
    steps.extend(process::steps(process, None, stdio, end, &mut warnings)?);
    Ok(Plan { entry, steps, warnings, identity, listener })
}

/// The container's filter, and the agent that it may ask.
fn filter(
    linux: Option<&Linux>,
    programs: Option<&Path>,
    state: Option<&State>,
    warnings: &mut Vec<String>,
) -> Result<(Option<Filter>, Option<Listener>)> {
    let Some(seccomp) = linux.and_then(|linux| linux.seccomp().as_ref()) else { return Ok((None, None)) };
    let filter = seccomp::filter(seccomp, programs, warnings)?;
    Ok((Some(filter), Listener::new(seccomp, state)?))
}

/// Compiles a process to run inside a living container.
pub fn compile_exec(inputs: ExecInputs<'_>) -> Result<Plan> {
    let ExecInputs { process, program, init, namespaces, cgroup, stdio, .. } = inputs;
    let ExecInputs { resctrl, linux, programs, state, tie, preserve, .. } = inputs;
    if !process::is_running(init) {
        return Err(Error::state("the container is not running"));
    }
    let mut warnings = Vec::new();
    let [initial, last] = placement::affinity(process.exec_cpu_affinity().as_ref())?;
    let First { mut steps, born_in } = first(cgroup, resctrl, true)?;
    steps.extend(initial);
    steps.push(Step::NewKeyring);
    // They need a procfs of the caller's, and rights that no process has in a user namespace.
    let settings: Vec<Step> =
        [labels::of(process)?, process::oom_score(process, &mut warnings)?].into_iter().flatten().collect();
    if !settings.is_empty() {
        steps.push(Step::PrivateProc);
    }
    steps.extend(settings);
    // A kind that is not listed is the caller's too, which only the host's root could join: a kernel may not
    // even have it.
    let listed =
        namespaces.iter().map(|namespace| kind(namespace.typ())).fold(Namespaces::NONE, Namespaces::with);
    let root = root_in_shared_mounts(init, namespaces)?;
    steps.push(Step::JoinContainer { init: dup(init)?, kinds: listed.with(Namespaces::MOUNT), root });
    let groups = !listed.contains(Namespaces::USER) || userns::may_set_groups();
    if listed.contains(Namespaces::USER) {
        push_become_root(&mut steps, None, groups);
    }
    // In the caller's own pid namespace inside and outside are the same.
    let inside = listed.contains(Namespaces::PID).then(draw_pass).transpose()?;
    steps.push(Step::NewSession);
    steps.extend(last);
    steps.extend(placement::of_container(linux)?);
    let (filter, listener) = filter(linux, programs, state, &mut warnings)?;
    let end = process::End { tie, preserve, filter, groups, inside };
    steps.extend(process::steps(process, program, stdio, end, &mut warnings)?);
    let entry = Entry { namespaces: Namespaces::NONE, cgroup: born_in };
    Ok(Plan { entry, steps, warnings, identity: None, listener })
}

fn draw_pass() -> Result<Pass> {
    Ok(Pass::draw().map_err(|errno| errno.during("getrandom"))?)
}

/// The root of the container of `init`, where that has the caller's mount namespace.
fn root_in_shared_mounts(init: BorrowedFd<'_>, namespaces: &[LinuxNamespace]) -> Result<Option<OwnedFd>> {
    let mut mount = namespaces.iter().filter(|namespace| namespace.typ() == LinuxNamespaceType::Mount);
    if mount.next().is_some_and(|mount| mount.path().is_none()) {
        return Ok(None);
    }
    let gone = || Error::state("the container is not running");
    let pid = pidfd::pid_in_proc(init).ok_or_else(gone)?;
    let open = |file: &str, open: fn(&CStr) -> std::result::Result<OwnedFd, Errno>| {
        let path = c_string("the container's init", &format!("/proc/{pid}/{file}"))?;
        open(&path).map_err(|errno| Error::from(errno.during(format!("open({path:?})"))))
    };
    let own = ns::is_callers(open("ns/mnt", fs::open_host_file)?.as_fd(), Namespaces::MOUNT)?;
    let root = if own { Some(open("root", fs::open_host_directory)?) } else { None };
    // Had it ended before, the number could be another process's.
    if process::is_running(init) { Ok(root) } else { Err(gone()) }
}

/// The init of a pid namespace that a pod's containers share: it does not exec, and without root, rights
/// and descriptors there is nothing to enter the host by, nor has it more than a handful of calls.
/// It makes the procfs that all of them get clones of
/// ([`Plan::take_proc`]), since only a process in there can. Its child's wire reports EOF when it is ready;
/// containers join by `pid_namespace`, with its pidfd.
pub fn compile_pod_init(cgroup: &Cgroup) -> Result<Plan> {
    const NOBODY: u32 = 65534;
    let First { mut steps, born_in } = first(cgroup, Vec::new(), true)?;
    steps.extend([
        Step::NewKeyring,
        Step::NewSession,
        Step::MakeRootSlave,
        Step::PrivateProc,
        Step::GiveProc,
        Step::PivotEmptyRoot,
        Step::BoundingSet(0),
        Step::Groups(Vec::new()),
        Step::Gid(NOBODY),
        Step::Uid(NOBODY),
        Step::Capabilities { sets: creds::CapabilitySets::default(), ambient: Some(0) },
        Step::NoNewPrivs,
        Step::DieWithParent,
        Step::Seccomp(Filter::of_reaper()),
        Step::Reap,
    ]);
    let namespaces = Namespaces::PID.with(Namespaces::MOUNT);
    let entry = Entry { namespaces, cgroup: born_in };
    Ok(Plan { entry, steps, warnings: Vec::new(), identity: None, listener: None })
}

/// The first steps of every child, and the cgroup that it is born in.
struct First {
    steps: Vec<Step>,
    born_in: Option<OwnedFd>,
}

/// `tied`: it is bound to its parent's life from its first moment.
fn first(cgroup: &Cgroup, resctrl: Vec<OwnedFd>, tied: bool) -> Result<First> {
    let join = cgroup.join()?;
    let mut steps = vec![Step::CloseOthers];
    steps.extend(tied.then_some(Step::DieWithParent));
    if !join.tasks.is_empty() {
        steps.push(Step::JoinCgroup(join.tasks));
    }
    if !resctrl.is_empty() {
        steps.push(Step::JoinResctrl(resctrl));
    }
    Ok(First { steps, born_in: join.unified })
}

/// How a container's child comes to its namespaces.
struct Begin {
    steps: Vec<Step>,
    entry: Entry,
    /// The filter's exception for entering a pid namespace at the end.
    inside: Option<Pass>,
}

/// The steps until all namespaces exist. The clone makes them, except those that a user namespace must own
/// which is made or joined after others were joined: from inside it those could not be joined.
fn begin(
    spec: &Spec,
    spaces: Spaces,
    cgroup: &Cgroup,
    resctrl: Vec<OwnedFd>,
    proc: &ProcOfJoined,
    groups: bool,
) -> Result<Begin> {
    let Spaces { mut new, joined, user, .. } = spaces;
    let unshare_cgroup = new.contains(Namespaces::CGROUP) && !cgroup.is_joined_by_clone();
    if unshare_cgroup {
        new = new.without(Namespaces::CGROUP);
    }
    let time = new.contains(Namespaces::TIME);
    new = new.without(Namespaces::TIME);
    let mut born = new.contains(Namespaces::USER).then_some(Step::Pause(Moment::Born));
    // A process that cannot be traced belongs to its namespace's root: without one, its ids could not be mapped
    // any more. A plain user's podrun is in such a namespace, and no process in a container has rights over its
    // children.
    let tied = born.is_none() || userns::has_root();
    let First { mut steps, born_in } = first(cgroup, resctrl, tied)?;
    let joins_pid = joined.iter().any(|one| one.kind == Namespaces::PID);
    let by_steps = user && !joined.is_empty();
    let late = joins_pid && !matches!(proc, ProcOfJoined::Inside);
    if by_steps && late {
        // For the settings, as long as it has the rights to one.
        steps.push(Step::PrivateProc);
    }
    let join = |Joined { fd, kind, text }: Joined| Step::JoinNamespace { fd, kind, text };
    let (before, after): (Vec<_>, Vec<_>) =
        joined.into_iter().partition(|one| by_steps || one.kind == Namespaces::PID);
    steps.extend(before.into_iter().map(join));
    if by_steps {
        steps.push(Step::MakeNamespaces(new));
        steps.extend(born.take());
    }
    let makes_pid = by_steps && new.contains(Namespaces::PID);
    if makes_pid || joins_pid && !late {
        // Processes inside see this one's rights and descriptors: keep only those that later steps need.
        steps.extend([Step::CloseOthers, Step::GoInside(Pass::NONE)]);
        steps.extend(tied.then_some(Step::DieWithParent));
    }
    if time {
        // The process can still open its own files in /proc: they belong to the host's root.
        steps.push(Step::NewTimeNamespace(time_offsets(spec)?));
    }
    if user {
        push_become_root(&mut steps, born, groups);
    }
    if unshare_cgroup {
        steps.push(Step::UnshareCgroup);
    }
    steps.extend(new.contains(Namespaces::NET).then_some(Step::LoopbackUp));
    steps.extend(after.into_iter().map(join));
    let inside = late.then(draw_pass).transpose()?;
    let namespaces = if by_steps { Namespaces::NONE } else { new };
    Ok(Begin { steps, entry: Entry { namespaces, cgroup: born_in }, inside })
}

/// In a user namespace of its own a process has the overflow id until ids are mapped, and then it is not yet
/// root.
fn push_become_root(steps: &mut Vec<Step>, born: Option<Step>, groups: bool) {
    steps.extend(born);
    steps.extend(groups.then(|| Step::Groups(Vec::new())));
    // A change of credentials forgets the parent.
    steps.extend([Step::Gid(0), Step::Uid(0), Step::DieWithParent]);
}

fn identity(spec: &Spec, score: Option<Step>) -> Result<Identity> {
    let linux = spec.linux().as_ref();
    let map = |field: &str, list: Option<&Vec<LinuxIdMapping>>| -> Result<String> {
        let list = list.map(Vec::as_slice).unwrap_or_default();
        if !list.iter().any(|mapping| mapping.container_id() == 0 && mapping.size() > 0) {
            return Err(usage(format!("{field}: a user namespace needs a mapping for its id 0")));
        }
        Ok(idmap::lines(list))
    };
    Ok(Identity {
        uid_map: map("linux.uidMappings", linux.and_then(|linux| linux.uid_mappings().as_ref()))?,
        gid_map: map("linux.gidMappings", linux.and_then(|linux| linux.gid_mappings().as_ref()))?,
        oom_score: match score {
            Some(Step::OomScore(score)) => Some(score),
            _ => None,
        },
    })
}

/// The tree that becomes the root, and its mounts.
struct Tree {
    listed: Vec<super::plan::Mount>,
    devices: Vec<Device>,
    root: OwnedFd,
    /// Whether the mount namespace is the caller's, in which it is seen.
    shared: bool,
}

/// The root and the mounts. The host's tree goes before any access to the container's, with three exceptions:
/// hooks, which look for the root at its place on the host; a user namespace, in which the kernel makes a
/// procfs and a sysfs only where a whole one is visible; and the host's mount namespace, whose tree stays.
fn push_filesystem(
    steps: &mut Vec<Step>,
    spec: &Spec,
    tree: Tree,
    pause: Option<Step>,
    user: bool,
) -> Result<()> {
    let at = (tree.shared || pause.is_some()).then(|| mounts::root_path(spec)).transpose()?;
    if tree.shared && at.as_deref() == Some(c"/") {
        return Err(usage(
            "root.path: `/` in the host's mount namespace would hide the host from itself".into(),
        )
        .hint("list `mount` in linux.namespaces"));
    }
    steps.push(Step::AttachRoot { tree: tree.root, at });
    if tree.shared {
        // The host's mounts may propagate; mounts made from here on do not.
        steps.push(Step::RootPropagation(Propagation::Private, Depth::Recursive));
    }
    let late = user || pause.is_some() || tree.shared;
    if !late {
        steps.push(Step::PivotRoot);
    }
    steps.extend(tree.listed.into_iter().map(Step::Mount));
    steps.extend(tree.devices.into_iter().map(Step::Device));
    steps.extend(pause);
    if tree.shared {
        steps.push(Step::ChangeRoot);
    } else if late {
        steps.push(Step::PivotRoot);
    }
    Ok(())
}

/// Names, sysctls, and settings of the process in procfs: by a procfs without covers yet.
fn push_settings(steps: &mut Vec<Step>, spec: &Spec, new: Namespaces, own: [Option<Step>; 2]) -> Result<()> {
    let own: Vec<Step> = own.into_iter().flatten().collect();
    let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    for (field, name) in [("hostname", named(spec.hostname())), ("domainname", named(spec.domainname()))] {
        let Some(name) = name else { continue };
        if !new.contains(Namespaces::UTS) {
            return Err(usage(format!("{field}: the container has no uts namespace of its own")));
        }
        let name = c_string(field, &name)?;
        steps.push(if field == "hostname" { Step::Hostname(name) } else { Step::Domainname(name) });
    }
    let sysctls = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut sysctls: Vec<_> = sysctls.into_iter().flatten().collect();
    sysctls.sort();
    let has_proc = steps.iter().any(|step| match step {
        Step::Mount(mount) => mount.makes_proc(),
        step => matches!(step, Step::PrivateProc),
    });
    let writes = !own.is_empty() || !sysctls.is_empty();
    if writes && !has_proc {
        steps.push(Step::PrivateProc);
    }
    steps.extend(own);
    for (key, value) in sysctls {
        let file = sysctl(key, new)?;
        if spec.hostname().is_some() && file.as_c_str() == c"sys/kernel/hostname" {
            return Err(usage(
                "linux.sysctl: kernel.hostname says the same as `hostname`: give one of them".into(),
            ));
        }
        steps.push(Step::Sysctl { file, value: c_string("linux.sysctl", value)? });
    }
    Ok(())
}

/// The file of a sysctl that belongs to a namespace of the container's own.
fn sysctl(key: &str, own: Namespaces) -> Result<CString> {
    let Some(setting) = Setting::parse(key) else {
        return Err(usage(format!("linux.sysctl: `{key}` is not the name of a setting")));
    };
    let (owner, kind) = match setting.owner() {
        Owner::Network => ("net", Namespaces::NET),
        Owner::Ipc => ("ipc", Namespaces::IPC),
        Owner::Uts => ("uts", Namespaces::UTS),
        Owner::User => ("user", Namespaces::USER),
        Owner::Pid => ("pid", Namespaces::PID),
        Owner::Host => {
            return Err(usage(format!("linux.sysctl: `{key}` is the host's, not a namespace's")));
        }
    };
    if !own.contains(kind) {
        return Err(usage(format!(
            "linux.sysctl: `{key}`: the container has no {owner} namespace of its own"
        )));
    }
    c_string("linux.sysctl", &setting.file())
}

/// Masks and read-only mounts: after all steps that need to write there.
fn push_covers(steps: &mut Vec<Step>, spec: &Spec, cwd: &str, warnings: &mut Vec<String>) -> Result<()> {
    let mut covered = |what: &str, path: &str| {
        if !path.starts_with('/') {
            warnings.push(format!("{what}: {path:?} is relative: taken from /"));
        }
        paths::relative(what, &format!("/{path}"))
    };
    for path in linux(spec, Linux::readonly_paths) {
        steps.push(Step::ReadonlyPath(covered("linux.readonlyPaths", path)?));
    }
    for path in linux(spec, Linux::masked_paths) {
        steps.push(Step::MaskedPath(covered("linux.maskedPaths", path)?));
    }
    let cwd = paths::place("process.cwd", cwd)?;
    if cwd.as_c_str() != c"." {
        steps.push(Step::MakeDirectory(cwd));
    }
    if let Some((propagation, depth)) = root_propagation(spec)? {
        // Last: an unbindable mount cannot be covered any more.
        steps.push(Step::RootPropagation(propagation, depth));
    }
    if spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
        steps.push(Step::ReadonlyRoot);
    }
    Ok(())
}

/// `linux.rootfsPropagation`; private, as the root is made, needs no step.
fn root_propagation(spec: &Spec) -> Result<Option<(Propagation, Depth)>> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    match asked {
        None | Some("" | "private" | "rprivate") => Ok(None),
        Some(word) => match options::propagation(word) {
            Some(found) => Ok(Some(found)),
            None => Err(usage(format!("linux.rootfsPropagation: `{word}` is no propagation"))),
        },
    }
}

fn linux(spec: &Spec, list: fn(&Linux) -> &Option<Vec<String>>) -> &[String] {
    spec.linux().as_ref().and_then(|linux| list(linux).as_deref()).unwrap_or_default()
}
