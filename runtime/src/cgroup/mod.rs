//! Control groups on v1, hybrid and v2 hosts: made, limited, joined, killed, counted and removed.
//!
//! Invariant: nothing here writes `cgroup.procs`, except for a supervisor that exits. A child joins by writing
//! `0` into `tasks` (v1) or is born inside (CLONE_INTO_CGROUP), because moving another process waits for an RCU
//! grace period of 10 ms and more. Only hierarchies with a limit set or read are touched; a supervisor leaves
//! all of its maker's.

mod below;
mod block_io;
mod dbus;
mod devices;
mod end;
mod in_force;
mod layout;
mod realtime;
mod refusals;
mod resources;
mod standstill;
mod stats;
mod systemd;

use std::ffi::CString;
use std::io::{ErrorKind as Io, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys;
use crate::sys::file::own;
pub use below::Below;
pub use end::OomNotices;
use layout::Controller;
pub use layout::Layout;
use resources::Write;
pub use standstill::{explain, unended};
pub use stats::{BlockIo, Cpu, Memory, Pids, Stats, Usage};
pub use systemd::{Placeholder, Scope};

/// One cgroup: the same path in every hierarchy that it needs. Dropping it removes nothing.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: String,
    /// Its directory in each v1 hierarchy that the host mounts.
    v1: Vec<Place>,
    /// Its directory in the unified hierarchy.
    unified: Option<PathBuf>,
    /// Which of our controllers the unified hierarchy carries.
    unified_controllers: Vec<Controller>,
}

/// A directory in a v1 hierarchy.
#[derive(Debug, Clone)]
struct Place {
    controllers: Vec<Controller>,
    directory: PathBuf,
    mount: PathBuf,
    /// Whether the cgroup exists there, so that its processes belong into it.
    joined: bool,
}

/// Whether the cgroup above is there.
fn has_parent(directory: &Path) -> bool {
    directory.parent().is_some_and(Path::is_dir)
}

/// The descriptors by which a child joins before its first instruction.
#[derive(Debug)]
pub struct Join {
    /// The `tasks` files of v1 hierarchies, into which the child writes `0`.
    pub tasks: Vec<OwnedFd>,
    /// The unified directory, for CLONE_INTO_CGROUP.
    pub unified: Option<OwnedFd>,
}

impl Join {
    /// Moves the calling process, which has one thread, into the v1 hierarchies.
    pub fn enter_v1(&self) -> Result<()> {
        for tasks in &self.tasks {
            sys::file::fs::write_whole(tasks.as_fd(), b"0")
                .map_err(|errno| errno.during("write(tasks, \"0\")"))?;
        }
        Ok(())
    }
}

/// The cgroup below which containers' are made.
#[derive(Debug, Clone)]
pub struct Parent {
    /// Its path.
    pub path: String,
    /// Set where it is another's, who may have made it in the v1 hierarchies alone: a cgroup of ours below which the
    /// containers are in the unified one then, where they can be counted and killed.
    pub spare: Option<String>,
}

/// One hierarchy as a container sees it below /sys/fs/cgroup.
#[derive(Debug)]
pub struct View {
    /// The directory's name there; empty when the unified hierarchy is all there is.
    pub name: String,
    /// The cgroup's directory on the host.
    pub directory: PathBuf,
}

impl Cgroup {
    /// Makes the cgroup `path` (`/podrun/<pod>`; parents included) and limits it.
    /// It exists afterwards in each hierarchy where something is set or read.
    pub fn create(layout: &Layout, path: &str, resources: Option<&LinuxResources>) -> Result<Self> {
        Self::place(layout, path)?.create_in(layout, resources, |_| false)
    }

    /// The same for the cgroup `name` below `parent`, in each hierarchy where that is: its limits hold there.
    pub fn create_below(
        layout: &Layout,
        parent: &Parent,
        name: &str,
        resources: Option<&LinuxResources>,
    ) -> Result<Self> {
        let mut cgroup = Self::place(layout, &format!("{}/{name}", parent.path))?;
        if let Some(spare) = &parent.spare {
            cgroup.stay_below(parent, Self::place(layout, &format!("{spare}/{name}"))?, resources)?;
        }
        cgroup.create_in(layout, resources, |place| has_parent(&place.directory))
    }

    /// Leaves the hierarchies in which nobody has made its parent; what it has in the unified one then is `spare`'s.
    fn stay_below(&mut self, parent: &Parent, spare: Self, resources: Option<&LinuxResources>) -> Result<()> {
        let gone = |kind, why| Err(Error::new(kind, format!("cgroup {:?} is not there{why}", parent.path)));
        if !self.directories().any(|directory| has_parent(directory)) {
            return gone(ErrorKind::NotFound, String::new());
        }
        if self.unified.as_ref().is_some_and(|unified| !has_parent(unified)) {
            self.unified = spare.unified;
            self.unified_controllers.clear();
        }
        let needed = resources::controllers(resources);
        let missing = self.v1.iter().filter(|place| !has_parent(&place.directory));
        let mut lacking = missing.flat_map(|place| &place.controllers);
        if let Some(controller) = lacking.find(|controller| needed.contains(controller.name())) {
            return gone(ErrorKind::Unsupported, format!(" for the controller `{}`", controller.name()));
        }
        self.v1.retain(|place| has_parent(&place.directory));
        Ok(())
    }

    /// The same in every hierarchy that the host mounts: for callers that read a container's use there themselves, and
    /// would take its parent's for it.
    pub fn create_everywhere(
        layout: &Layout,
        path: &str,
        resources: Option<&LinuxResources>,
    ) -> Result<Self> {
        Self::place(layout, path)?.create_in(layout, resources, |_| true)
    }

    /// Makes and limits it, also where `wanted` says so.
    fn create_in(
        mut self,
        layout: &Layout,
        resources: Option<&LinuxResources>,
        wanted: impl Fn(&Place) -> bool,
    ) -> Result<Self> {
        let cgroup = &mut self;
        let needed = resources::controllers(resources);
        // A cgroup that delegates a controller can have no process of its own, and delegating one later costs a
        // grace period. So delegate the usual ones at once, and the others only where a cgroup asks for them.
        let usual = cgroup.v1.is_empty();
        cgroup
            .unified_controllers
            .retain(|controller| needed.contains(controller.name()) || (usual && controller.is_usual()));
        for place in &mut cgroup.v1 {
            // Without the unified hierarchy a container is frozen, and so killed, by the freezer.
            place.joined = wanted(place)
                || place.controllers.iter().any(|controller| {
                    needed.contains(controller.name())
                        || (*controller == Controller::Freezer && layout.unified.is_none())
                });
        }
        let realtime = resources.is_some_and(resources::has_realtime);
        let made = if realtime { cgroup.missing() } else { Vec::new() };
        let set = |wanted| {
            in_force::InForce::default().complete(wanted).and_then(|wanted| cgroup.set(&wanted, &made))
        };
        cgroup.make().and_then(|()| resources.map_or(Ok(()), set)).map_err(|error| {
            // Undo a half-made cgroup; a directory that cannot be removed is another program's.
            let _ = cgroup.remove();
            error.context(format!("cgroup {}", cgroup.path))
        })?;
        Ok(self)
    }

    /// Makes the cgroup of a supervisor: without a limit, and in every v1 hierarchy, so that neither its
    /// maker's limits, which may be a few MiB, nor a freezer applies to it. On the unified hierarchy it gets no
    /// controller.
    pub fn create_for_supervisor(layout: &Layout, path: &str) -> Result<Self> {
        let mut cgroup = Self::place(layout, path)?;
        cgroup.v1.iter_mut().for_each(|place| place.joined = true);
        cgroup.unified_controllers.clear();
        cgroup.make().context(|| format!("cgroup {path}"))?;
        Ok(cgroup)
    }

    /// No cgroup: for a container whose maker may not make one. It has no processes: nothing can be counted,
    /// frozen or killed by it.
    pub fn none() -> Self {
        Self { path: String::new(), v1: Vec::new(), unified: None, unified_controllers: Vec::new() }
    }

    /// Whether it is [`Cgroup::none`].
    pub fn is_none(&self) -> bool {
        self.path.is_empty()
    }

    /// Whether the caller may make it: in each hierarchy the lowest directory on its way that is there can be written to.
    pub fn may_be_made(&self) -> bool {
        let above = |directory: &PathBuf| {
            directory.ancestors().find(|above| above.is_dir()).is_some_and(sys::file::fs::may_write)
        };
        self.directories().all(above)
    }

    /// A cgroup that was made earlier, where its directories are.
    pub fn open(layout: &Layout, path: &str) -> Result<Self> {
        let mut cgroup = Self::place(layout, path)?;
        for place in &mut cgroup.v1 {
            place.joined = place.directory.is_dir();
        }
        Ok(cgroup)
    }

    fn place(layout: &Layout, path: &str) -> Result<Self> {
        let below = path.trim_start_matches('/');
        let plain = Path::new(below).components().all(|part| matches!(part, Component::Normal(_)));
        if below.is_empty() || !plain || below.contains(['\n', '\0']) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("cgroup path {path:?}: not a path below the root"),
            ));
        }
        let v1 = layout.v1.iter().map(|hierarchy| Place {
            controllers: hierarchy.controllers.clone(),
            directory: hierarchy.mount.join(below),
            mount: hierarchy.mount.clone(),
            joined: false,
        });
        let unified = layout.unified.as_ref();
        Ok(Self {
            path: format!("/{below}"),
            v1: v1.collect(),
            unified: unified.map(|unified| unified.mount.join(below)),
            unified_controllers: unified.map(|unified| unified.controllers.clone()).unwrap_or_default(),
        })
    }

    /// Its directories, and their parents, that do not exist yet.
    fn missing(&self) -> Vec<PathBuf> {
        let missing = |directory: &PathBuf| {
            let above = directory.ancestors().take_while(|above| !above.is_dir());
            above.map(Path::to_owned).collect::<Vec<_>>()
        };
        self.directories().flat_map(missing).collect()
    }

    fn make(&self) -> Result<()> {
        for place in self.v1.iter().filter(|place| place.joined) {
            make_directory(&place.directory)?;
            if place.controllers.contains(&Controller::Cpuset) {
                inherit_cpuset(&place.mount, &place.directory)?;
            }
        }
        let Some(unified) = &self.unified else { return Ok(()) };
        make_directory(unified)?;
        if !self.unified_controllers.is_empty() {
            self.delegate(unified)?;
        }
        Ok(())
    }

    /// Gives every controller that this cgroup may need to each cgroup above it: before any has a
    /// process, for then it costs 0.4 ms, and afterwards a grace period.
    fn delegate(&self, unified: &Path) -> Result<()> {
        let depth = self.path.matches('/').count();
        let mut above: Vec<&Path> = unified.ancestors().skip(1).take(depth).collect();
        above.reverse();
        for (level, directory) in above.into_iter().enumerate() {
            let file = directory.join("cgroup.subtree_control");
            let given = std::fs::read_to_string(&file).context(|| format!("read {}", file.display()))?;
            let missing: Vec<String> = self
                .unified_controllers
                .iter()
                .filter(|controller| !given.split_whitespace().any(|name| name == controller.name()))
                .filter(|controller| ![Controller::Devices, Controller::Freezer].contains(controller))
                .map(|controller| format!("+{}", controller.name()))
                .collect();
            if missing.is_empty() {
                continue;
            }
            if level == 0 && !self.v1.is_empty() {
                // It would stay so: others that use v1 refuse to work on such a host.
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the host's v1 and v2 hierarchies leave {} to nobody", missing.join(" ")),
                )
                .hint(format!("write `{}` into {}", missing.join(" "), file.display())));
            }
            write_file(&file, &missing.join(" "))?;
        }
        self.await_files(unified)
    }

    /// A controller that another process delegates at this moment is listed before its files exist. A second
    /// write of it waits for the end of the first, under the kernel's lock of all cgroups.
    fn await_files(&self, unified: &Path) -> Result<()> {
        const FILES: [(Controller, &str); 3] = [
            (Controller::Cpu, "cpu.weight"),
            (Controller::Memory, "memory.max"),
            (Controller::Pids, "pids.max"),
        ];
        let Some(above) = unified.parent() else { return Ok(()) };
        for (controller, file) in FILES {
            if self.unified_controllers.contains(&controller) && !unified.join(file).exists() {
                write_file(&above.join("cgroup.subtree_control"), &format!("+{}", controller.name()))?;
            }
        }
        Ok(())
    }

    /// Its path below each hierarchy's root, for records.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Changes the limits of a living cgroup to these, which [`Cgroup::complete`] has given.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        self.set(resources, &[]).context(|| format!("cgroup {}", self.path))
    }

    /// Sets limits that are complete; `made`: the directories above that are new with it.
    fn set(&self, resources: &LinuxResources, made: &[PathBuf]) -> Result<()> {
        resources::check(resources)?;
        if self.v1.is_empty() {
            resources::refuse_on_v2(resources)?;
        }
        self.make_room_for_realtime(resources, made)?;
        let mut writes = Vec::new();
        for write in resources::v1(resources) {
            if let Some(directory) = self.directory(write.controller) {
                writes.extend(placed(write, directory));
            } else if !self.unified_controllers.contains(&write.controller) {
                return Err(self.lacks(&write));
            }
        }
        if let Some(unified) = &self.unified {
            if !self.unified_controllers.is_empty() {
                let here = |write: &Write| self.unified_controllers.contains(&write.controller);
                let ours = resources::v2(resources)?.into_iter().filter(here);
                writes.extend(ours.filter_map(|write| placed(write, unified)));
            }
            for (file, value) in resources::unified(resources) {
                let path = unified.join(&file);
                if !resources::is_of_swap(&file) || path.exists() {
                    writes.push((path, value));
                }
            }
        }
        write_together(&writes)?;
        match resources.devices() {
            Some(rules) if !rules.is_empty() => self.set_devices(rules),
            _ => Ok(()),
        }
    }

    /// Give podrun's own parents enough first.
    fn make_room_for_realtime(&self, resources: &LinuxResources, made: &[PathBuf]) -> Result<()> {
        let Some(cpu) = resources.cpu().as_ref().filter(|_| resources::has_realtime(resources)) else {
            return Ok(());
        };
        let Some(place) = self.v1.iter().find(|place| place.controllers.contains(&Controller::Cpu)) else {
            return Ok(());
        };
        let own = place.mount.join("podrun");
        let above = place.directory.ancestors().skip(1);
        let above: Vec<PathBuf> = above
            .take_while(|above| above.starts_with(&own) || made.iter().any(|made| made == above))
            .map(Path::to_owned)
            .collect();
        realtime::make_room(cpu, &place.directory, &above)
    }

    fn lacks(&self, write: &Write) -> Error {
        let (file, name) = (&write.file, write.controller.name());
        let refuse = |why: &str| Error::new(ErrorKind::Unsupported, format!("{file}: {why} `{name}`"));
        if self.v1.iter().any(|place| place.controllers.contains(&write.controller)) {
            return refuse("it was made without the controller")
                .hint("a limit of that kind has to be there from the start");
        }
        refuse("this host has no cgroup controller").hint(format!(
            "the kernel was booted without it, or it is mounted nowhere: see `{name}` in /proc/cgroups"
        ))
    }

    fn set_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        if let Some(directory) = self.directory(Controller::Devices) {
            return write_lines(directory, &devices::v1(rules)?);
        }
        let Some(unified) = &self.unified else {
            return Err(Error::new(ErrorKind::Unsupported, "this host cannot limit devices: no cgroups"));
        };
        let directory = open_directory(unified)?;
        let program = sys::kernel::bpf::load_device_program(&devices::program(rules)?)
            .map_err(|errno| errno.during("bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE)"))?;
        sys::kernel::bpf::attach_device_program(directory.as_fd(), program.as_fd())
            .map_err(|errno| errno.during("bpf(BPF_PROG_ATTACH, BPF_CGROUP_DEVICE)"))?;
        Ok(())
    }

    /// Where a controller's files are on v1; `None` when it is not there or not joined.
    fn directory(&self, controller: Controller) -> Option<&PathBuf> {
        self.v1
            .iter()
            .find(|place| place.joined && place.controllers.contains(&controller))
            .map(|place| &place.directory)
    }

    /// The descriptors by which a child joins.
    pub fn join(&self) -> Result<Join> {
        let mut tasks = Vec::new();
        for place in self.v1.iter().filter(|place| place.joined) {
            let file = c_path(&place.directory.join("tasks"))?;
            let fd = sys::file::fs::open_host_for_writing(&file)
                .map_err(|errno| errno.during(format!("open({file:?}, O_WRONLY)")))?;
            tasks.push(fd);
        }
        let unified = self.unified.as_deref().map(open_directory).transpose()?;
        Ok(Join { tasks, unified })
    }

    /// The view of a container in it below /sys/fs/cgroup: its own cgroup, where it is joined.
    pub fn views(&self) -> Vec<View> {
        let mut views: Vec<View> = self
            .v1
            .iter()
            .filter(|place| place.joined)
            .filter_map(|place| {
                let name = place.mount.file_name()?.to_str()?.to_owned();
                Some(View { name, directory: place.directory.clone() })
            })
            .collect();
        if let Some(unified) = &self.unified {
            let name = if self.v1.is_empty() { "" } else { "unified" };
            views.push(View { name: name.to_owned(), directory: unified.clone() });
        }
        views
    }

    /// Whether the child's cgroup namespace can be made by the clone3 that puts it into its cgroup.
    /// Where v1 hierarchies are joined afterwards, the namespace comes after that.
    pub fn is_joined_by_clone(&self) -> bool {
        self.unified.is_some() && self.v1.iter().all(|place| !place.joined)
    }
}

/// The file of `directory` that a write is for, and its value; none for a limit of swap where swap is not counted.
fn placed(write: Write, directory: &Path) -> Option<(PathBuf, String)> {
    let file = directory.join(&write.file);
    match write.or {
        Some((other, value)) if !file.exists() => Some((directory.join(other), value)),
        _ if resources::is_of_swap(&write.file) && !file.exists() => None,
        _ => Some((file, write.value)),
    }
}

/// mkdir with its parents, also when another one removes an emptied parent at the same moment.
fn make_directory(directory: &Path) -> Result<()> {
    const TRIES: u32 = 16;
    let mut tried = 0;
    loop {
        let made = match own::new_directory(directory, own::LISTED) {
            Err(error) if error.kind() == Io::NotFound => make_with_parent(directory),
            other => other,
        };
        tried += 1;
        match made {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == Io::AlreadyExists => return Ok(()),
            Err(error) if error.kind() == Io::NotFound && tried < TRIES => {}
            Err(error) => {
                return Err(Error::from(error).context(format!("mkdir({directory:?})")));
            }
        }
    }
}

/// Most often it is the pod's cgroup alone that is missing above a container's.
fn make_with_parent(directory: &Path) -> std::io::Result<()> {
    if let Some(parent) = directory.parent()
        && own::new_directory(parent, own::LISTED).is_ok()
    {
        return own::new_directory(directory, own::LISTED);
    }
    own::directories(directory, own::LISTED)
}

/// A new v1 cpuset has no CPU and no memory node, and takes no task until it has: it gets its parent's.
fn inherit_cpuset(mount: &Path, directory: &Path) -> Result<()> {
    let below: Vec<&Path> = directory.ancestors().take_while(|above| *above != mount).collect();
    for directory in below.into_iter().rev() {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = directory.join(file);
            let given = std::fs::read_to_string(&own).context(|| format!("read {}", own.display()))?;
            if given.trim().is_empty()
                && let Some(parent) = directory.parent()
            {
                let from = parent.join(file);
                let inherited =
                    std::fs::read_to_string(&from).context(|| format!("read {}", from.display()))?;
                write_file(&own, inherited.trim())?;
            }
        }
    }
    Ok(())
}

/// Writes values that the kernel checks against each other, such as a quota and its period, or the limits of
/// memory and of memory and swap. A value refused beside one that is still to come is written again after all
/// others.
fn write_together(writes: &[(PathBuf, String)]) -> Result<()> {
    let mut refused = Vec::new();
    for (file, value) in writes {
        match try_write(file, value) {
            Err(error) if error.raw_os_error() == Some(sys::Errno::EINVAL.0) => refused.push((file, value)),
            other => written(file, value, other)?,
        }
    }
    refused.into_iter().try_for_each(|(file, value)| written(file, value, try_write(file, value)))
}

fn written(file: &Path, value: &str, result: std::io::Result<()>) -> Result<()> {
    result.map_err(|cause| match cause.kind() == Io::NotFound && file.parent().is_some_and(Path::is_dir) {
        true => refused(file, value, cause)
            .with_kind(ErrorKind::Unsupported)
            .hint("this kernel has no such limit, or its controller is in another hierarchy of the host's"),
        false => refused(file, value, cause),
    })
}

fn refused(file: &Path, value: &str, cause: std::io::Error) -> Error {
    let errno = cause.raw_os_error();
    refusals::hint(file, errno, Error::from(cause).context(format!("write({file:?}, {value:?})")))
}

fn write_file(file: &Path, value: &str) -> Result<()> {
    try_write(file, value).map_err(|cause| refused(file, value, cause))
}

fn try_write(file: &Path, value: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(file)?;
    file.write_all(value.as_bytes())
}

/// Writes line after line, each by one write(2), a file open as long as it is the same.
fn write_lines(directory: &Path, lines: &[devices::Line]) -> Result<()> {
    for run in lines.chunk_by(|one, next| one.file == next.file) {
        let Some(first) = run.first() else { continue };
        let path = directory.join(first.file);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .context(|| format!("open({path:?}, O_WRONLY)"))?;
        for line in run {
            file.write_all(line.rule.as_bytes()).context(|| format!("write({path:?}, {:?})", line.rule))?;
        }
    }
    Ok(())
}

fn read_number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(ErrorKind::Usage, format!("{path:?}: a path cannot hold a null byte")))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let path = c_path(path)?;
    let open = sys::file::fs::open_host_directory(&path);
    Ok(open.map_err(|errno| errno.during(format!("open({path:?}, O_PATH)")))?)
}
