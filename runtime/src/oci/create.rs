//! `create` (runtime.md, "Create"): everything but the program. The engine's child walks its plan up to
//! its last step and waits there; this command then ends, and nothing but that child is left.
//!
//! Invariant: a create that fails or is killed leaves no process: its child is bound to its life until it is
//! complete, and a failure is undone before it is reported.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::runtime::{LinuxMemory, LinuxResources, Spec};

use super::activation::{self, Listened};
use super::config::{self, Config};
use super::container::START;
use super::hooks::{self, Inside, Kind};
use super::record::{Record, RootMount, State, VERSION};
use super::stdio::Master;
use super::{
    Container, ContainerId, Protected, Status, Store, Streams, delete, devices, links, resctrl, rootless,
    stdio, store,
};
use crate::cgroup::{Cgroup, Layout, Placeholder, Scope};
use crate::engine::{self, Child, HeldMounts, Inputs, Nodes, Plan, ProcessId, Rootfs, Tie};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::net::Moved;
use crate::sys::io::socket;
use crate::sys::process::proc;
use crate::time::Time;

/// The arguments of `create`.
#[derive(Debug)]
pub struct Create {
    /// The bundle's directory (`--bundle`).
    pub bundle: PathBuf,
    /// The process's streams.
    pub streams: Streams,
    /// Where the init's pid is written (`--pid-file`).
    pub pid_file: Option<PathBuf>,
    /// Where the init's pidfd is sent (`--pidfd-socket`).
    pub pidfd_socket: Option<PathBuf>,
    /// Whether the container gets a session keyring of its own (not `--no-new-keyring`).
    pub keyring: bool,
    /// Descriptors to give on, the first as number 3 (`--preserve-fds`).
    pub preserve: Vec<OwnedFd>,
    /// The first of these, which it was activated with, and of which the program is told so (`LISTEN_FDS`).
    pub listened: Listened,
    /// Whether the program is to say when it is ready (`NOTIFY_SOCKET`): its start waits for that.
    pub notifies: bool,
    /// The mount of the command's own binary, released as soon as the container's process is on its way.
    pub protected: Protected,
    /// Whether it may go without a cgroup where the caller has no right to one (`--rootless`); absent: if the caller is
    /// not the machine's root.
    pub rootless: Option<bool>,
    /// The maker of the cgroup (`--cgroup-manager`).
    pub cgroups: CgroupManager,
}

/// The maker of a container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    /// podrun, as directories.
    Cgroupfs,
    /// systemd, as a scope.
    Systemd,
}

/// A container that has just been made.
#[derive(Debug)]
pub struct Created {
    /// The container.
    pub container: Container,
    /// Its init, a child of the caller.
    pub init: OwnedFd,
    /// Its terminal's master, where the caller keeps it.
    pub terminal: Option<OwnedFd>,
    /// Clamped or omitted values, for the caller to report.
    pub warnings: Vec<String>,
    /// The steps that its init has walked, a line each.
    pub steps: String,
}

impl Create {
    /// Makes the container `id` in `store`. The caller's process has one thread.
    pub fn perform(self, store: &Store, id: &ContainerId) -> Result<Created> {
        let bundle = std::fs::canonicalize(&self.bundle).context(|| format!("bundle {:?}", self.bundle))?;
        let config = config::load(&bundle)?;
        hooks::check(&config.spec)?;
        links::check(&config.spec)?;
        resctrl::check(&config.spec, id)?;
        let (container, _lock) = store.reserve(id)?;
        self.make(&container, &bundle, config).map_err(|error| error.and(&delete::undo(&container)))
    }

    fn make(self, container: &Container, bundle: &Path, config: Config) -> Result<Created> {
        store::replace(&container.file("config.json"), &config.bytes)?;
        let mut spec = resolved(config.spec, bundle)?;
        self.listened.tell(&mut spec);
        if self.notifies {
            activation::prepare_notify(container, &mut spec)?;
        }
        let mut record = Self::record(&spec, bundle)?;
        let mut warnings = config.warnings;
        let (cgroup, placeholder) = match self.cgroups {
            CgroupManager::Cgroupfs => (self.cgroup(container, &spec, &mut record, &mut warnings)?, None),
            CgroupManager::Systemd => {
                let (cgroup, placeholder) = scope(container, &spec, &mut record)?;
                (cgroup, Some(placeholder))
            }
        };
        let mut making = Making { container, spec: Arc::new(spec), record, cgroup };
        // From here on the cgroup is this container's, and delete removes it.
        making.write()?;
        making.cgroup.must_move()?;
        let resctrl = making.resctrl()?;
        let listener = socket::listen(container.directory(), START)?;
        let mut held = HeldMounts::default();
        let (plan, master) =
            making.plan(self.streams, resctrl, listener.as_fd(), &self.preserve, self.keyring, &mut held)?;
        making.know_root(&plan)?;
        let kills = memory_is_scarce(&making.spec).then(|| making.cgroup.oom_kills());
        let mut child = plan.spawn()?;
        drop(placeholder);
        making.record.init = Some(ProcessId::of(child.pid)?);
        making.write()?;
        // The child has most likely closed its copies, by its first step; else the wait is the child's.
        drop((self.protected, held));
        let mut links = None;
        let completed = making.complete(&plan, &mut child, &mut links, kills);
        let told = completed.and_then(|()| {
            // In a pid namespace that it joins it is another than at first.
            making.record.init = Some(ProcessId::of(child.pid)?);
            let (socket, file) = (self.pidfd_socket.as_deref(), self.pid_file.as_deref());
            let terminal = stdio::announce(master, &child, "standard", socket, file)?;
            making.record.complete = true;
            making.write().map(|()| terminal)
        });
        // The host's links do not go with a container that does not come to be.
        let terminal = told.map_err(|error| links::take_back(links, error))?;
        warnings.extend_from_slice(plan.warnings());
        let steps = plan.describe();
        // For a caller that starts it at once.
        container.know(making.spec);
        Ok(Created { container: container.clone(), init: child.pidfd, terminal, warnings, steps })
    }

    /// Makes the container's cgroup, or lets it go without one.
    fn cgroup(
        &self,
        container: &Container,
        spec: &Spec,
        record: &mut Record,
        warnings: &mut Vec<String>,
    ) -> Result<Cgroup> {
        let layout = container.layout()?;
        let path = cgroup_path(spec, container.id());
        record.made_cgroup = topmost_missing(layout, &path)?;
        record.cgroup = Some(path.clone());
        let made = cgroup(layout, &path, resources(spec));
        let Err(error) = made else { return made };
        let half = Cgroup::open(layout, &path)?;
        // Its former parents stay; a cgroup that cannot be removed is in use by now.
        let _ = delete::remove_cgroup(container, &half, record);
        (record.made_cgroup, record.cgroup) = (None, None);
        rootless::without_cgroup(spec, &half, self.rootless, error, warnings)
    }

    fn record(spec: &Spec, bundle: &Path) -> Result<Record> {
        let Some(root) = spec.root() else {
            return Err(Error::new(ErrorKind::Usage, "root: there is none"));
        };
        let annotations: BTreeMap<String, String> =
            spec.annotations().clone().unwrap_or_default().into_iter().collect();
        Ok(Record {
            version: VERSION,
            oci_version: spec.version().clone(),
            bundle: bundle.to_owned(),
            rootfs: root.path().clone(),
            created: Time::now(),
            owner: owner(),
            annotations,
            cgroup: None,
            made_cgroup: None,
            unit: None,
            root_mount: None,
            resctrl: None,
            init: None,
            complete: false,
        })
    }
}

/// A container that has its cgroup, on its way to its first process.
struct Making<'a> {
    container: &'a Container,
    spec: Arc<Spec>,
    record: Record,
    cgroup: Cgroup,
}

impl Making<'_> {
    /// Writes its record: delete must find it, whatever becomes of this command.
    fn write(&self) -> Result<()> {
        store::write(self.container, &self.record)
    }

    /// Makes its groups of resctrl; gives the files by which it joins them.
    fn resctrl(&mut self) -> Result<Vec<OwnedFd>> {
        resctrl::make(&self.spec, self.container.id(), |group| {
            self.record.resctrl = group;
            store::write(self.container, &self.record)
        })
    }

    /// Compiles its plan, with the master of its terminal. `held` is released when its first process exists.
    fn plan(
        &self,
        streams: Streams,
        resctrl: Vec<OwnedFd>,
        listener: BorrowedFd<'_>,
        preserve: &[OwnedFd],
        keyring: bool,
        held: &mut HeldMounts,
    ) -> Result<(Plan, Master)> {
        let spec = &*self.spec;
        let mut nodes = Nodes::among(held, spec.linux().as_ref());
        let (terminal, console) =
            engine::terminal(spec)?.map(|terminal| (terminal.pair, terminal.console)).unzip();
        let (stdio, master) = streams.prepare(spec.process().as_ref(), terminal, &mut nodes)?.split();
        let preserve: Vec<BorrowedFd<'_>> = preserve.iter().map(OwnedFd::as_fd).collect();
        let hooked = [Kind::Prestart, Kind::CreateRuntime, Kind::CreateContainer];
        let plan = engine::compile(Inputs {
            spec,
            rootfs: Rootfs::Spec,
            attached: &[],
            cgroup: &self.cgroup,
            resctrl,
            stdio,
            console,
            null: nodes.mask(spec)?,
            pid_namespace: None,
            programs: Some(&self.container.seccomp_programs()),
            state: Some(&self.container.state_of(self.record.clone(), Status::Creating).plain()),
            tie: Tie::UntilStart(listener),
            pause: links::has_some(spec) || hooked.iter().any(|kind| !hooks::of(spec, *kind).is_empty()),
            preserve: &preserve,
            keyring,
        })?;
        Ok((plan, master))
    }

    /// Records the root that stays in the host's mount table until delete takes it away.
    fn know_root(&mut self, plan: &Plan) -> Result<()> {
        let Some(number) = plan.root_in_shared_mounts()? else { return Ok(()) };
        let over = delete::mount_at(&self.record.rootfs)?.map_or(0, |(_, over)| over);
        self.record.root_mount = Some(RootMount { number, over });
        self.write()
    }

    /// Brings its first process to where that waits for the start. `kills`: how often the cgroup had run out of memory before,
    /// where that may be why it does not get there.
    fn complete(
        &self,
        plan: &Plan,
        child: &mut Child,
        moved: &mut Option<Moved>,
        kills: Option<u64>,
    ) -> Result<()> {
        let state = self.container.state_of(self.record.clone(), Status::Created);
        plan.complete(child, |child| {
            *moved = links::give(&self.spec, child.pid)?;
            run_hooks(&self.spec, state.clone(), child, &self.cgroup)
        })?;
        match kills {
            // It has closed its wire too, as one that waits has.
            Some(before) if self.cgroup.oom_kills() > before => Err(Error::failed(
                "the container's first process was killed for want of memory before its program could start",
            )
            .hint(engine::NO_MEMORY)),
            _ => Ok(()),
        }
    }
}

/// The hooks between the mounts and the end of the host's tree.
fn run_hooks(spec: &Spec, mut state: State, child: &Child, cgroup: &Cgroup) -> Result<()> {
    // Prestart hooks come "after the start operation is called" in version 1.0.0, whose callers still use them.
    hooks::run(spec, Kind::Prestart, &state)?;
    state.status = Status::Creating;
    hooks::run(spec, Kind::CreateRuntime, &state)?;
    state.pid = proc::innermost_pid(child.pid)?;
    // Its root is still at its place on the host, within the hooks' reach; the program is the host's, and so is
    // its environment.
    let env: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value.to_str()?)))
        .collect();
    let inside = Inside { init: child.pidfd.as_fd(), cgroup, folder: &state.rootfs, env: &env };
    hooks::run_inside(spec, Kind::CreateContainer, &state, inside)
}

/// The name of the caller's user; its number where it has none.
fn owner() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").map_or(0, |own| own.uid()).to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid.as_str())).then(|| name.to_owned())
    });
    name.unwrap_or(uid)
}

/// The spec with every path of the host's absolute: root.md and config.md, "Mounts", have them relative to
/// the bundle.
fn resolved(mut spec: Spec, bundle: &Path) -> Result<Spec> {
    devices::allow(&mut spec);
    if let Some(root) = spec.root_mut() {
        let path = bundle.join(root.path());
        let path = std::fs::canonicalize(&path).context(|| format!("root.path {path:?}"))?;
        root.set_path(path);
    }
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let bind = engine::is_bind(mount);
        if let Some(source) = mount.source().clone().filter(|source| bind && source.is_relative()) {
            mount.set_source(Some(bundle.join(source)));
        }
    }
    Ok(spec)
}

/// The scope that systemd makes, and the record that says so. The placeholder stays until the container's init is there.
fn scope(container: &Container, spec: &Spec, record: &mut Record) -> Result<(Cgroup, Placeholder)> {
    let layout = container.layout()?;
    let asked = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let scope = Scope::parse(asked.and_then(|path| path.to_str()), container.id().as_str())?;
    let placeholder = scope.start(layout, &format!("container {}", container.id()), resources(spec))?;
    let path = scope.path();
    record.made_cgroup = Some(path.clone());
    record.unit = Some(scope.unit().to_owned());
    record.cgroup = Some(path.clone());
    // Where this is not reached, the scope ends with the placeholder.
    store::write(container, record)?;
    let cgroup = Cgroup::create_everywhere(layout, &path, resources(spec))?;
    Ok((cgroup, placeholder))
}

/// Whether the container's limit of memory is one in which it may not even be made.
fn memory_is_scarce(spec: &Spec) -> bool {
    const ENOUGH: i64 = 16 << 20;
    let memory = resources(spec).and_then(|resources| resources.memory().as_ref());
    memory.and_then(LinuxMemory::limit).is_some_and(|limit| (0..ENOUGH).contains(&limit))
}

fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref().and_then(|linux| linux.resources().as_ref())
}

/// `linux.cgroupsPath` (config-linux.md, "Cgroups Path"): an absolute one as it is, a relative one below podrun's own.
fn cgroup_path(spec: &Spec, id: &ContainerId) -> String {
    let asked = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    match asked.and_then(|path| path.to_str()).filter(|path| !path.is_empty()) {
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(path) => format!("/podrun/{path}"),
        None => format!("/podrun/{id}"),
    }
}

/// The topmost of `path` and the cgroups above it that is not there yet.
fn topmost_missing(layout: &Layout, path: &str) -> Result<Option<String>> {
    let ends = path.char_indices().skip(1).filter(|(_, character)| *character == '/').map(|(end, _)| end);
    for end in ends.chain([path.len()]) {
        let above = path.get(..end).unwrap_or_default().trim_end_matches('/');
        if !above.is_empty() && !Cgroup::open(layout, above)?.exists() {
            return Ok(Some(above.to_owned()));
        }
    }
    Ok(None)
}

/// Makes the cgroup; one in which others are is not taken, since all in it is killed at the end.
fn cgroup(layout: &Layout, path: &str, resources: Option<&LinuxResources>) -> Result<Cgroup> {
    if !Cgroup::open(layout, path)?.pids()?.is_empty() {
        return Err(Error::new(
            ErrorKind::Exists,
            format!("linux.cgroupsPath: `{path}` has processes in it"),
        )
        .hint("a container's cgroup is its own; give another path"));
    }
    Cgroup::create_everywhere(layout, path, resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_absolute_relative_or_ours() {
        let path = |json: &str| {
            let spec: Spec = serde_json::from_str(json).unwrap();
            cgroup_path(&spec, &"web".parse().unwrap())
        };
        assert_eq!(path(r#"{"ociVersion":"1.2.0"}"#), "/podrun/web");
        assert_eq!(path(r#"{"ociVersion":"1.2.0","linux":{"cgroupsPath":"/a/b"}}"#), "/a/b");
        assert_eq!(path(r#"{"ociVersion":"1.2.0","linux":{"cgroupsPath":"a/b"}}"#), "/podrun/a/b");
    }
}
