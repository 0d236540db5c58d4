//! The pod's sandbox: namespaces, network, cgroup, held mounts and the files of /etc, made and taken down.
//!
//! Invariant: each part is noted in [`Sandbox`] before the next is made, and [`Monitor::take_down`] undoes the
//! noted parts in the opposite order; so a sandbox that failed half-way and one that lived for a year end
//! alike.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::value::RawValue;

use super::container::failure_on;
use super::{Monitor, start};
use crate::cgroup::{self, Cgroup};
use crate::engine::HeldMounts;
use crate::engine::sysctl::{self, Setting};
use crate::engine::{self, Child, Nodes};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::net::etc::{self, HostFiles, Names};
use crate::net::{self, HostSockets, NetworkAttachment, Owner};
use crate::pod::bundle::FILES;
use crate::pod::protocol::{HeldMount, NamespaceMode, Network, SandboxSpec};
use crate::pod::record::{self, ProcessId, SandboxState};
use crate::pod::recovery::remove_netns_link;
use crate::pod::sandbox::NETNS_DIR;
use crate::pod::{shared, volume};
use crate::sys::file::mount::{self, Attributes, Depth, Propagation};
use crate::sys::file::{dir, own};
use crate::sys::io::poll;
use crate::sys::process::ns::{self, Namespaces};
use crate::sys::process::{daemon, signal};

/// The parts of a sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) spec: SandboxSpec,
    network: Option<HostSockets>,
    attachment: Option<NetworkAttachment>,
    /// The namespaces that the monitor came from, to go back to.
    origin: Vec<(Namespaces, OwnedFd)>,
    /// The trees that containers mount, whole or in part: /dev/shm, the memory volumes, the pod's files, a procfs and a null
    /// device.
    held: HeldMounts,
    /// The cgroup that podrun owns as a whole, if any.
    pub(super) cgroup: Option<Cgroup>,
    pub(super) parent: cgroup::Parent,
    netns_link: Option<PathBuf>,
    /// The init of a shared pid namespace.
    init: Option<Init>,
}

/// Remains of a sandbox that was taken down, for a monitor that waits for the bridge's end.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) sockets: HostSockets,
    origin: Vec<(Namespaces, OwnedFd)>,
}

impl Left {
    /// Returns to the host's namespaces. The pod's end with the last process in them: this one.
    pub(super) fn leave_namespaces(&mut self) {
        for (kind, namespace) in self.origin.drain(..) {
            // They were entered from there, and cannot have gone since.
            let _ = ns::setns(namespace.as_fd(), kind);
        }
    }
}

/// The init of a shared pid namespace.
#[derive(Debug)]
struct Init {
    child: Child,
    process: ProcessId,
    cgroup: Cgroup,
}

impl Sandbox {
    fn new(spec: SandboxSpec, spare: String) -> Self {
        let spare = (!spec.cgroup_owned).then_some(spare);
        Self {
            parent: cgroup::Parent { path: spec.cgroup.clone(), spare },
            spec,
            network: None,
            attachment: None,
            origin: Vec::new(),
            held: HeldMounts::default(),
            cgroup: None,
            netns_link: None,
            init: None,
        }
    }

    /// The init of the shared pid namespace as the host sees it.
    pub(super) fn init_process(&self) -> Option<ProcessId> {
        self.init.as_ref().map(|init| init.process)
    }

    /// The pidfd of the shared pid namespace's init, through which it is joined.
    pub(super) fn shared_pid_namespace(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(|init| init.child.pidfd.as_fd())
    }

    /// A container's own copy of the procfs of the shared pid namespace, made before any container was in it:
    /// mounting one requires a process inside with rights that no container may see.
    pub(super) fn shared_proc(&mut self) -> Result<OwnedFd> {
        let tree = self.held.get(PROC).ok_or_else(|| Error::failed("the sandbox holds no procfs"))?;
        let whole = crate::sys::io::stream::duplicate(tree)?;
        Ok(self.held.copy(PROC, whole.as_fd(), Depth::One)?)
    }

    /// The namespaces of the host that the monitor has left.
    pub(super) fn home(&self) -> &[(Namespaces, OwnedFd)] {
        &self.origin
    }

    /// The link in /run/netns.
    pub(super) fn netns_link(&self) -> Option<&Path> {
        self.netns_link.as_deref()
    }

    /// A container's own copy of a held tree, or of a folder in it, with its submounts.
    pub(super) fn held_tree(&mut self, mount: &HeldMount) -> Result<OwnedFd> {
        let tree = self.held.get(&mount.tree).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the sandbox holds no tree {:?}", mount.tree))
        })?;
        let part = match &mount.sub_path {
            Some(sub_path) => volume::open_sub_path(tree, sub_path),
            None => Ok(crate::sys::io::stream::duplicate(tree)?),
        };
        part.and_then(|part| Ok(self.held.copy(&mount.tree, part.as_fd(), Depth::Recursive)?))
            .context(|| format!("mount {:?}", mount.destination))
    }

    /// The device nodes shared by the pod's containers, and by no other.
    pub(super) fn nodes(&mut self) -> Nodes<'_> {
        Nodes::among(&mut self.held, None)
    }

    fn owns(&self, mode: NamespaceMode) -> bool {
        mode != NamespaceMode::Host
    }

    /// Moves the monitor into the pod's namespaces.
    fn unshare(&mut self) -> Result<()> {
        let mut kinds = Namespaces::NONE;
        let mut origin = Vec::new();
        if self.spec.network != Network::Host {
            kinds = kinds.with(Namespaces::NET).with(Namespaces::UTS);
            origin.extend([("net", Namespaces::NET), ("uts", Namespaces::UTS)]);
        }
        if self.owns(self.spec.ipc) {
            kinds = kinds.with(Namespaces::IPC);
            origin.push(("ipc", Namespaces::IPC));
        }
        for (name, kind) in origin {
            let path = format!("/proc/self/ns/{name}");
            let file = std::fs::File::open(&path).context(|| path)?;
            self.origin.push((kind, file.into()));
        }
        if !kinds.is_empty() {
            ns::unshare(kinds).map_err(|errno| errno.during("unshare(the pod's namespaces)"))?;
        }
        Ok(())
    }

    /// A detached tmpfs that containers mount by clones of it. Without a limit of its own on inodes it has the kernel's, by
    /// the host's memory.
    fn hold(&mut self, name: &str, limits: Limits, mode: &str) -> Result<()> {
        let mode = CString::new(mode).expect("a mode is digits");
        let number = |number: u64| CString::new(number.to_string()).expect("a number is digits");
        let (size, inodes) = (limits.size.map(number), limits.inodes.map(number));
        let parameters = [
            // The source that `df` and `mount` show in the container.
            (c"source", Some(c"tmpfs")),
            (c"mode", Some(&*mode)),
            (c"size", size.as_deref()),
            (c"nr_inodes", inodes.as_deref()),
        ];
        let parameters: Vec<_> = parameters.into_iter().filter(|(_, value)| value.is_some()).collect();
        let tree = mount::make_detached(c"tmpfs", &parameters, Attributes::NOSUID | Attributes::NODEV)
            .context(|| format!("the pod's {name:?}"))?;
        mount::mount_setattr(tree.as_fd(), Depth::One, Attributes::default(), Some(Propagation::Shared))
            .map_err(|errno| errno.during(format!("mount_setattr(tmpfs for {name:?})")))?;
        self.held.insert(name, tree);
        Ok(())
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.attachment.iter().flat_map(|attachment| attachment.addresses.iter().map(|at| at.ip)).collect()
    }

    /// The host's addresses as the pod sees them; with the host's network they are the pod's own.
    pub(super) fn host_addresses(&self) -> Vec<IpAddr> {
        if self.spec.network == Network::Host {
            return net::own_addresses();
        }
        self.attachment.iter().flat_map(|attachment| attachment.gateways.iter().copied()).collect()
    }

    /// The pod's hosts, hostname and resolv.conf, in memory of its own: containers cannot fill the host's disk
    /// by writing to them (CVE-2020-8557), and their file handles lead to no other file system.
    fn hold_files(&mut self) -> Result<()> {
        let spec = &self.spec;
        let aliases: Vec<etc::HostAlias> = spec
            .host_aliases
            .iter()
            .map(|alias| etc::HostAlias { ip: alias.ip, hostnames: alias.hostnames.clone() })
            .collect();
        let hosts = if spec.network == Network::Host {
            etc::hosts_of_host_network(&HostFiles::read(Path::new("/")), &aliases)
        } else {
            let names = Names {
                hostname: &spec.hostname,
                subdomain: spec.subdomain.as_deref(),
                namespace: &spec.namespace,
            };
            etc::hosts(&names, &self.addresses(), &aliases)
        };
        let texts = [hosts, etc::hostname(&spec.hostname), spec.resolv_conf.clone()];
        // A host's own /etc/hosts may be of any length.
        let own: u64 = texts.iter().map(|text| text.len() as u64).sum();
        let limits = Limits { size: Some(own + FILES_SIZE), inodes: Some(FILES_INODES) };
        self.hold(HeldMount::FILES, limits, "0700")?;
        FILES.iter().zip(texts).try_for_each(|(name, text)| self.make_file(name, &text, 0o644))
    }

    /// Makes one of the files that containers mount by themselves.
    pub(super) fn make_file(&self, name: &str, text: &str, mode: u32) -> Result<()> {
        let context = || format!("the pod's file {name:?}");
        let made = self.files().and_then(|files| Ok(dir::create_file(files, name.as_bytes(), mode)?));
        let mut file = File::from(made.context(context)?);
        dir::set_mode(&file, mode)?;
        file.write_all(text.as_bytes()).context(context)
    }

    /// Removes a file that no container mounts any more, and returns its first `most` bytes. One that its
    /// container made immutable goes with the pod.
    pub(super) fn take_file(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let files = self.files()?;
        let file = File::from(dir::resolve_file(files, name.as_bytes(), dir::Links::Refused)?);
        let mut bytes = Vec::new();
        let read = file.take(most).read_to_end(&mut bytes);
        let _ = dir::remove_file(files, name.as_bytes());
        read.context(|| format!("read the pod's file {name:?}"))?;
        Ok(bytes)
    }

    fn files(&self) -> Result<BorrowedFd<'_>> {
        self.held.get(HeldMount::FILES).ok_or_else(|| Error::failed("the sandbox holds no files"))
    }

    /// Names the pod's network for `ip netns`. Our own code never follows the link: once the monitor is gone its
    /// pid may be a stranger's.
    fn link_netns(&mut self, monitor: i32) -> Result<()> {
        let Some(name) = &self.spec.netns_link else { return Ok(()) };
        let link = Path::new(NETNS_DIR).join(name);
        let target = format!("/proc/{monitor}/ns/net");
        own::directories(Path::new(NETNS_DIR), own::LISTED).context(|| format!("mkdir({NETNS_DIR})"))?;
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&target, &link)
            .context(|| format!("symlink({target:?}, {})", link.display()))?;
        self.netns_link = Some(link);
        Ok(())
    }
}

/// The name of the held procfs of a shared pid namespace.
const PROC: &str = "proc";

/// The bytes that containers may add to the pod's files together.
const FILES_SIZE: u64 = 1 << 20;
/// How many files there may be: three, and a termination log for each container that runs.
const FILES_INODES: u64 = 16 << 10;

/// The capacity of a tmpfs; `None`: the kernel's own limit.
#[derive(Debug, Clone, Copy)]
struct Limits {
    size: Option<u64>,
    inodes: Option<u64>,
}

/// How long the init of a shared pid namespace may take to give up its rights.
const INIT_READY: Duration = Duration::from_secs(10);

impl Monitor {
    /// Answers `create-sandbox`; the parts of a failed one are undone with the pod.
    pub(super) fn create_sandbox(&mut self, spec: SandboxSpec) -> Result<()> {
        if self.sandbox.is_some() || self.ending.is_some() {
            return Err(Error::state("the pod has its sandbox already, or is ending"));
        }
        self.sandbox = Some(Sandbox::new(spec, shared::pod_cgroup(&self.host, &self.id)));
        if let Err(error) = self.make_sandbox() {
            self.take_down();
            return Err(error);
        }
        let ips = self.sandbox.as_ref().map(Sandbox::addresses).unwrap_or_default();
        self.status.state = SandboxState::Ready;
        self.status.ready_at = record::now();
        self.status.ips = ips;
        self.processes_changed();
        self.publish_sandbox();
        Ok(())
    }

    fn make_sandbox(&mut self) -> Result<()> {
        let Some(sandbox) = &mut self.sandbox else { return Ok(()) };
        if sandbox.spec.pid == NamespaceMode::Host {
            daemon::adopt_orphans()?;
        }
        if let Network::Bridge { .. } = sandbox.spec.network {
            sandbox.network = Some(HostSockets::open(&self.host).context(|| "network")?);
        }
        sandbox.unshare()?;
        if let (Some(sockets), Network::Bridge { ports, filter }) =
            (&mut sandbox.network, &sandbox.spec.network)
        {
            let name = sandbox.spec.netns_link.as_deref().unwrap_or(&sandbox.spec.hostname);
            let owner = Owner { id: &self.id, name };
            let attachment = net::attach(sockets, &self.host, owner, ports, *filter)?;
            self.status.network =
                serde_json::to_string(&attachment).ok().and_then(|text| RawValue::from_string(text).ok());
            sandbox.attachment = Some(attachment);
        }
        if sandbox.spec.network == Network::None {
            let up = crate::sys::io::socket::loopback_up();
            up.map_err(|errno| errno.during("ioctl(SIOCSIFFLAGS, \"lo\", IFF_UP)")).context(|| "network")?;
        }
        if sandbox.spec.network != Network::Host {
            daemon::set_hostname(&sandbox.spec.hostname)?;
        }
        for (name, value) in &sandbox.spec.sysctls {
            write_sysctl(&sandbox.spec, name, value)?;
        }
        if sandbox.owns(sandbox.spec.ipc) {
            let size = Some(sandbox.spec.shm_size);
            sandbox.hold(HeldMount::SHM, Limits { size, inodes: None }, "1777")?;
        }
        for (name, size) in sandbox.spec.memory_volumes.clone() {
            sandbox.hold(&name, Limits { size, inodes: None }, "0777")?;
        }
        sandbox.cgroup = Some(match &sandbox.parent.spare {
            None => Cgroup::create(&self.layout, &sandbox.spec.cgroup, sandbox.spec.resources.as_ref())?,
            Some(spare) => Cgroup::open(&self.layout, spare)?,
        });
        sandbox.hold_files()?;
        if self.host.links_netns() {
            sandbox.link_netns(self.me.pid)?;
        }
        if sandbox.spec.pid == NamespaceMode::Pod {
            self.ensure_pod_init()?;
        }
        Ok(())
    }

    /// Starts the init of a shared pid namespace where there is none, in a leaf cgroup of its own: an inner one
    /// must have no tasks. An init that was killed ends after all containers; containers that start again
    /// meanwhile get a second one.
    pub(super) fn ensure_pod_init(&mut self) -> Result<()> {
        let Some(sandbox) = self.sandbox.as_mut() else { return Ok(()) };
        if sandbox.init.as_ref().is_some_and(|init| !start::is_exiting(init.process)) {
            return Ok(());
        }
        let cgroup = Cgroup::create_below(&self.layout, &sandbox.parent, &self.id, None)?;
        let plan = engine::compile_pod_init(&cgroup)?;
        let mut child = plan.spawn()?;
        let proc = plan.take_proc(&mut child, INIT_READY)?;
        // Before it has dropped its rights it is a way to the host for any process that sees it: no container
        // starts earlier, and so far no client waits for this half millisecond.
        if !poll::wait_readable(child.wire.as_fd(), INIT_READY) {
            return Err(Error::new(ErrorKind::Timeout, "the pod's own init is not ready"));
        }
        if let Some(failure) = failure_on(&child.wire) {
            return Err(plan.render(failure));
        }
        let process = start::process(start::host_pid(&child.pidfd)?)?;
        sandbox.held.insert(PROC, proc);
        sandbox.init = Some(Init { child, process, cgroup });
        Ok(())
    }

    /// Whether the child that ended is the shared pid namespace's init: then the kernel has ended the pod.
    pub(super) fn pod_init_ended(&mut self, pid: i32) -> bool {
        let Some(sandbox) = &mut self.sandbox else { return false };
        if sandbox.init.as_ref().is_none_or(|init| init.child.pid != pid) {
            return false;
        }
        if let Some(init) = sandbox.init.take() {
            let _ = init.cgroup.remove();
        }
        true
    }

    /// Ends the shared pid namespace's init, after the containers.
    pub(super) fn stop_pod_init(&mut self) -> bool {
        let init = self.sandbox.as_ref().and_then(|sandbox| sandbox.init.as_ref());
        init.is_some_and(|init| signal::send(&init.child.pidfd, signal::KILL).is_ok())
    }

    /// Takes the sandbox down in any state; no process of the pod is left. Failures are logged to `monitor.log`
    /// and left to `recovery`.
    pub(super) fn take_down(&mut self) {
        let Some(mut sandbox) = self.sandbox.take() else { return };
        let mut failures = Vec::new();
        let mut note = |result: Result<()>| failures.extend(result.err());
        if let Some(link) = sandbox.netns_link.take() {
            note(remove_netns_link(&link, self.me.pid));
        }
        if let Some(init) = sandbox.init.take() {
            note(init.cgroup.remove());
        }
        if let Some(cgroup) = sandbox.cgroup.take() {
            note(cgroup.remove());
        }
        if let (Some(sockets), Some(attachment)) = (&mut sandbox.network, sandbox.attachment.take()) {
            note(net::detach(sockets, &self.host, &attachment));
            self.status.network = None;
        }
        sandbox.held.clear();
        self.left = sandbox.network.take().map(|sockets| Left { sockets, origin: sandbox.origin });
        self.left_over |= !failures.is_empty();
        for error in failures {
            self.keep(Err(error));
        }
    }
}

/// Writes one sysctl of the pod's own namespaces, as /proc shows them to this process.
fn write_sysctl(spec: &SandboxSpec, name: &str, value: &str) -> Result<()> {
    let path = sysctl_path(spec, name)?;
    std::fs::write(&path, value).context(|| format!("sysctl {name}={value}"))
}

/// Where a sysctl lies, if it belongs to a namespace that the pod has of its own. All others are the host's.
fn sysctl_path(spec: &SandboxSpec, name: &str) -> Result<PathBuf> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::Manifest, format!("sysctl {name}: {why}")));
    let Some(setting) = Setting::parse(name) else { return refuse("not the name of a setting") };
    match setting.owner() {
        sysctl::Owner::Ipc if spec.ipc == NamespaceMode::Host => {
            refuse("the pod uses the host's IPC namespace")
        }
        sysctl::Owner::Network if spec.network == Network::Host => refuse("the pod uses the host's network"),
        sysctl::Owner::Ipc | sysctl::Owner::Network => Ok(Path::new("/proc").join(setting.file())),
        _ => refuse("it belongs to no namespace of the pod"),
    }
}
