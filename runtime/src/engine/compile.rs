//! Compiling: a spec and what the caller holds open become a [`Plan`].
//!
//! Invariant: the order in which the steps are pushed here is the security order, and the only
//! place that decides it. A container's rights shrink from step to step; labels and kernel settings
//! come before what hides them, descriptors go after all mounts, credentials after them, and the seccomp
//! filter is as late as the kernel lets it be.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxSeccomp, Spec, State};

use super::plan::{Entry, Plan, Step, Visit};
use super::process::c_string;
use super::seccomp::{self, Filter, Listener};
use super::{ExecInputs, Inputs, mounts, process, refuse};
use crate::cgroup::Cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::ns::Namespaces;
use crate::sys::{creds, fs};

fn usage(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

/// Compiles a container's spec.
pub fn compile(inputs: Inputs<'_>) -> Result<Plan> {
    let Inputs { spec, rootfs, attached, cgroup, stdio, pid_namespace, programs, state } = inputs;
    refuse::spec(spec)?;
    let Some(process) = spec.process() else {
        return Err(usage("process: there is none".into()));
    };
    let mut warnings = Vec::new();
    let spaces = namespaces(spec.linux().as_ref())?;
    let visit = match pid_namespace {
        Some(fd) => Some(fs::dup_above(fd, 3).map_err(|errno| errno.during("fcntl(F_DUPFD_CLOEXEC)"))?),
        None => spaces.pid,
    };
    let new = if visit.is_some() { spaces.new.without(Namespaces::PID) } else { spaces.new };
    let (new, unshare_cgroup) = match new.contains(Namespaces::CGROUP) && !cgroup.is_joined_by_clone() {
        true => (new.without(Namespaces::CGROUP), true),
        false => (new, false),
    };

    let (mut steps, born_in) = first_steps(cgroup)?;
    if unshare_cgroup {
        steps.push(Step::UnshareCgroup);
    }
    for (fd, kind, text) in spaces.joined {
        steps.push(Step::JoinNamespace { fd, kind, text });
    }
    steps.push(Step::NewKeyring);
    steps.push(Step::NewSession);
    steps.push(Step::MakeRootSlave);
    let terminal = process.terminal() == Some(true);
    let console = terminal.then(|| stdio.stdin.as_fd());
    let listed = mounts::all(spec, attached, cgroup, console)?;
    let root = mounts::root(rootfs, spec)?;
    push_filesystem(&mut steps, spec, listed, root)?;
    push_settings(&mut steps, spec, new, process::oom_score(process, &mut warnings)?)?;
    push_covers(&mut steps, spec, process.cwd().to_str().unwrap_or_default())?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let (filter, listener) = filter(seccomp, programs, state, &mut warnings)?;
    steps.extend(process::steps(process, stdio, filter, &mut warnings)?);
    let visit = visit.map(Visit::PidNamespace);
    Ok(Plan { entry: Entry { namespaces: new, visit, cgroup: born_in }, steps, warnings, listener })
}

/// The container's filter, and the agent that it may ask.
fn filter(
    seccomp: Option<&LinuxSeccomp>,
    programs: Option<&Path>,
    state: Option<&State>,
    warnings: &mut Vec<String>,
) -> Result<(Option<Filter>, Option<Listener>)> {
    let Some(seccomp) = seccomp else { return Ok((None, None)) };
    let filter = seccomp::filter(seccomp, programs, warnings)?;
    Ok((Some(filter), Listener::new(seccomp, state)?))
}

/// Compiles a process to run inside a living container.
pub fn compile_exec(inputs: ExecInputs<'_>) -> Result<Plan> {
    let ExecInputs { process, init, cgroup, stdio, seccomp, programs, state } = inputs;
    refuse::process(process)?;
    if !process::is_running(init) {
        return Err(Error::new(ErrorKind::NotFound, "the container is not running"));
    }
    let mut warnings = Vec::new();
    let (mut steps, born_in) = first_steps(cgroup)?;
    steps.push(Step::NewKeyring);
    steps.push(Step::JoinContainer(dup(init)?));
    steps.push(Step::NewSession);
    if let Some(score) = process::oom_score(process, &mut warnings)? {
        steps.push(Step::PrivateProc);
        steps.push(score);
    }
    let (filter, listener) = filter(seccomp, programs, state, &mut warnings)?;
    steps.extend(process::steps(process, stdio, filter, &mut warnings)?);
    let visit = Some(Visit::Container(dup(init)?));
    let entry = Entry { namespaces: Namespaces::NONE, visit, cgroup: born_in };
    Ok(Plan { entry, steps, warnings, listener })
}

/// The init of a pid namespace that a pod's containers share: it does not exec, and without root, rights
/// and descriptors there is nothing to enter the host by. Its child's wire reports EOF when it is ready;
/// containers join by `pid_namespace`, with its pidfd.
pub fn compile_pod_init(cgroup: &Cgroup) -> Result<Plan> {
    const NOBODY: u32 = 65534;
    let (mut steps, born_in) = first_steps(cgroup)?;
    steps.extend([
        Step::NewKeyring,
        Step::NewSession,
        Step::MakeRootSlave,
        Step::PivotEmptyRoot,
        Step::BoundingSet(0),
        Step::Groups(Vec::new()),
        Step::Gid(NOBODY),
        Step::Uid(NOBODY),
        Step::Capabilities { sets: creds::CapabilitySets::default(), ambient: Some(0) },
        Step::NoNewPrivs,
        Step::DieWithParent,
        Step::Reap,
    ]);
    let namespaces = Namespaces::PID.with(Namespaces::MOUNT);
    let entry = Entry { namespaces, visit: None, cgroup: born_in };
    Ok(Plan { entry, steps, warnings: Vec::new(), listener: None })
}

fn dup(fd: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd> {
    Ok(fs::dup_above(fd, 3).map_err(|errno| errno.during("fcntl(F_DUPFD_CLOEXEC)"))?)
}

/// What every child does before anything else; and the cgroup that it is born in.
fn first_steps(cgroup: &Cgroup) -> Result<(Vec<Step>, Option<OwnedFd>)> {
    let join = cgroup.join()?;
    let mut steps = vec![Step::CloseOthers, Step::DieWithParent];
    if !join.tasks.is_empty() {
        steps.push(Step::JoinCgroup(join.tasks));
    }
    Ok((steps, join.unified))
}

fn push_filesystem(
    steps: &mut Vec<Step>,
    spec: &Spec,
    listed: Vec<super::plan::Mount>,
    root: OwnedFd,
) -> Result<()> {
    let masked = linux(spec, Linux::masked_paths);
    let null = listed.iter().any(super::plan::Mount::makes_null);
    if !masked.is_empty() && !null {
        steps.push(Step::HostNull);
    }
    steps.push(Step::PivotRoot(root));
    steps.extend(listed.into_iter().map(Step::Mount));
    Ok(())
}

/// Names, sysctls and the OOM score: by a procfs that nothing covers yet.
fn push_settings(steps: &mut Vec<Step>, spec: &Spec, new: Namespaces, score: Option<Step>) -> Result<()> {
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
    let has_proc = steps.iter().any(|step| matches!(step, Step::Mount(mount) if mount.makes_proc()));
    if (score.is_some() || !sysctls.is_empty()) && !has_proc {
        steps.push(Step::PrivateProc);
    }
    steps.extend(score);
    for (key, value) in sysctls {
        steps.push(Step::Sysctl { file: sysctl(key, new)?, value: c_string("linux.sysctl", value)? });
    }
    Ok(())
}

/// The file of a sysctl that belongs to a namespace of the container's own.
fn sysctl(key: &str, new: Namespaces) -> Result<CString> {
    // A slash separates where a part holds a dot (`net/ipv4/conf/eth0.1/forwarding`), as sysctl(8) has it.
    let separator =
        if key.find('/') < key.find('.') && key.contains('/') || !key.contains('.') { '/' } else { '.' };
    let parts: Vec<&str> = key.split(separator).collect();
    let plain = |part: &&str| {
        !part.is_empty()
            && **part != *"."
            && **part != *".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:@".contains(&byte))
    };
    if !parts.iter().all(plain) {
        return Err(usage(format!("linux.sysctl: `{key}` is not the name of a setting")));
    }
    let (owner, kind) = match parts.as_slice() {
        ["net", ..] => ("net", Namespaces::NET),
        ["kernel", name] if ["msg", "sem", "shm"].iter().any(|ipc| name.starts_with(ipc)) => {
            ("ipc", Namespaces::IPC)
        }
        ["fs", "mqueue", _] => ("ipc", Namespaces::IPC),
        ["kernel", "hostname" | "domainname"] => ("uts", Namespaces::UTS),
        _ => return Err(usage(format!("linux.sysctl: `{key}` is the host's, not a namespace's"))),
    };
    if !new.contains(kind) {
        return Err(usage(format!(
            "linux.sysctl: `{key}`: the container has no {owner} namespace of its own"
        )));
    }
    c_string("linux.sysctl", &format!("sys/{}", parts.join("/")))
}

/// What hides or protects: after all that needs to write there.
fn push_covers(steps: &mut Vec<Step>, spec: &Spec, cwd: &str) -> Result<()> {
    for path in linux(spec, Linux::readonly_paths) {
        steps.push(Step::ReadonlyPath(mounts::relative("linux.readonlyPaths", path)?));
    }
    for path in linux(spec, Linux::masked_paths) {
        steps.push(Step::MaskedPath(mounts::relative("linux.maskedPaths", path)?));
    }
    let cwd = mounts::target("process.cwd", cwd, true)?;
    if !cwd.parts.is_empty() {
        steps.push(Step::MakeDirectory(cwd));
    }
    if spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
        steps.push(Step::ReadonlyRoot);
    }
    Ok(())
}

fn linux(spec: &Spec, list: fn(&Linux) -> &Option<Vec<String>>) -> &[String] {
    spec.linux().as_ref().and_then(|linux| list(linux).as_deref()).unwrap_or_default()
}

/// The spec's namespaces, sorted by how a child comes into them. A kind that is not listed is inherited.
struct Spaces {
    new: Namespaces,
    joined: Vec<(OwnedFd, Namespaces, String)>,
    pid: Option<OwnedFd>,
}

fn namespaces(linux: Option<&Linux>) -> Result<Spaces> {
    let mut spaces = Spaces { new: Namespaces::NONE, joined: Vec::new(), pid: None };
    let mut seen = Namespaces::NONE;
    for namespace in linux.into_iter().flat_map(|linux| linux.namespaces().iter().flatten()) {
        let (typ, kind) = (namespace.typ(), kind(namespace.typ())?);
        if seen.contains(kind) {
            return Err(usage(format!("linux.namespaces: {typ} stands there twice")));
        }
        seen = seen.with(kind);
        let Some(path) = namespace.path() else {
            spaces.new = spaces.new.with(kind);
            continue;
        };
        let text = format!("{typ} {}", path.display());
        let path = c_string("linux.namespaces", path.to_str().unwrap_or_default())?;
        let fd = fs::open_host_file(&path).map_err(|errno| errno.during(format!("open({path:?})")))?;
        match kind {
            Namespaces::MOUNT => {
                return Err(usage("linux.namespaces: a container's mount namespace is its own".into()));
            }
            Namespaces::PID => spaces.pid = Some(fd),
            kind => spaces.joined.push((fd, kind, text)),
        }
    }
    if !spaces.new.contains(Namespaces::MOUNT) {
        return Err(usage("linux.namespaces: a container needs a mount namespace of its own".into()));
    }
    Ok(spaces)
}

fn kind(typ: LinuxNamespaceType) -> Result<Namespaces> {
    match typ {
        LinuxNamespaceType::Mount => Ok(Namespaces::MOUNT),
        LinuxNamespaceType::Pid => Ok(Namespaces::PID),
        LinuxNamespaceType::Network => Ok(Namespaces::NET),
        LinuxNamespaceType::Ipc => Ok(Namespaces::IPC),
        LinuxNamespaceType::Uts => Ok(Namespaces::UTS),
        LinuxNamespaceType::Cgroup => Ok(Namespaces::CGROUP),
        other => Err(usage(format!("linux.namespaces: {other} is not known here"))),
    }
}
