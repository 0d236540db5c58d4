//! The spec's root and mounts compiled: sources opened and given their attributes here, on the host;
//! targets taken apart, to be resolved by the child inside the root.
//!
//! Invariant: a mount has all its attributes and its propagation before anyone can reach it, and no
//! destination is ever joined to a path of the host's.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::{Mount as SpecMount, Spec};

use super::content::Content;
use super::filesystems::{dress, give_label, is_of_the_host, make_before, new, parameters, refuses_links};
use super::held_mounts::HeldMounts;
use super::init::find_or_make;
use super::inputs::{Attached, Console, Rootfs, dup};
use super::nodes::Nodes;
use super::options::{self, Options};
use super::paths::{c_string, destination, normal, parts, place, usage};
use super::plan::{Change, InnerTree, Mount, Remount, Source};
use super::sources::Root;
use super::{devices, idmap, labels};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::sys::file::fs;
use crate::sys::file::mount::{self as m, Attributes, Depth, Propagation};

/// The files that lxcfs provides: the only parts of a procfs that may be covered.
const PROC_FILES: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// Options that only the host's mount of a hierarchy can have (cgroup v2's own documentation, Mounting;
/// cgroups(7) for v1).
const HOSTS_CGROUP_OPTIONS: [&str; 9] = [
    "clone_children",
    "cpuset_v2_mode",
    "xattr",
    "nsdelegate",
    "favordynmods",
    "memory_localevents",
    "memory_recursiveprot",
    "memory_hugetlb_accounting",
    "pids_localevents",
];

/// Opens the directory at `path` in `root`; it is made where it is missing, as a mount's destination is.
pub fn make_directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    let found = find_or_make(root, &place("a directory", path)?, fs::Want::Directory, true);
    let place = found.map_err(|fault| fault.errno.during(format!("{}({path:?})", fault.call.name())))?;
    Ok(place.fd)
}

/// The detached tree that becomes the root.
pub(super) fn root(rootfs: Rootfs<'_>, spec: &Spec) -> Result<OwnedFd> {
    let tree = match rootfs {
        Rootfs::Detached(fd) => dup(fd)?,
        Rootfs::Spec => {
            let path = root_path(spec)?;
            clone_path("root.path", path.to_str().unwrap_or_default(), Depth::Recursive)?
        }
    };
    if !fs::is_directory(tree.as_fd()).map_err(|errno| errno.during("statx(root)"))? {
        return Err(usage("root.path: not a directory".into()));
    }
    let private = Some(Propagation::Private);
    dress(
        tree.as_fd(),
        Change { depth: Depth::Recursive, attributes: Attributes::default(), propagation: private },
    )?;
    Ok(tree)
}

/// The path of `root.path` on the host, for steps that run before the host's tree is gone.
pub(super) fn root_path(spec: &Spec) -> Result<CString> {
    match spec.root().as_ref().and_then(|root| root.path().to_str()) {
        Some(path) => c_string("root.path", path),
        None => Err(usage("root.path: there is none, or it is not UTF-8".into())),
    }
}

/// All mounts of a container, in the order in which they are made.
pub(super) fn all(
    spec: &Spec,
    rootfs: Rootfs<'_>,
    cgroup: &Cgroup,
    attached: &[Attached<'_>],
    console: Option<Console>,
    user: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>> {
    let (terminal, devpts) = console.map(|console| (console.terminal, console.devpts)).unzip();
    let listed = spec.mounts().as_deref().unwrap_or_default();
    let root = match rootfs {
        Rootfs::Spec if listed.iter().any(is_bind) => spec.root().as_ref().map(|root| root.path()),
        Rootfs::Spec | Rootfs::Detached(_) => None,
    };
    let fresh = dev_is_fresh(spec, attached)?;
    let mut making = Making {
        spec,
        root: root.map(|path| Root::open(path)).transpose()?,
        kernels: Vec::new(),
        cgroup,
        attached: attached.iter().collect(),
        devices: fresh.then(|| dev(spec, user)).transpose()?,
        devpts: devpts.flatten(),
        label: labels::of_mounts(spec.linux().as_ref())?,
        mounts: Vec::new(),
        fresh_devs: listed.iter().filter(|mount| is_dev(mount)).count().max(1),
        warnings,
    };
    if !listed.iter().any(is_dev) {
        // The image's own /dev is never written to: links in it have led elsewhere (CVE-2026-41579).
        making.fresh("/dev", "tmpfs", "tmpfs", &default_dev())?;
    }
    for mount in listed {
        making.add(mount)?;
    }
    let Making { label, mut mounts, .. } = making;
    if let (Some(terminal), true) = (terminal, fresh) {
        mounts.push(tree("console", "/dev/console", terminal)?);
    }
    if let Some(label) = label {
        mounts.iter_mut().for_each(|mount| give_label(mount, &label));
    }
    Ok(mounts)
}

/// The list in the making, and the inputs of its mounts.
struct Making<'a> {
    spec: &'a Spec,
    cgroup: &'a Cgroup,
    /// The root, if it is `root.path` and a bind needs it.
    root: Option<Root>,
    /// Where the kernel's own file systems are, which are masked at their place alone.
    kernels: Vec<String>,
    /// Each stands for one mount: a later one of this destination covers it.
    attached: Vec<&'a Attached<'a>>,
    /// For the last mount that makes a /dev, and how many are left.
    devices: Option<(Vec<Content>, Vec<Mount>)>,
    fresh_devs: usize,
    devpts: Option<(String, OwnedFd)>,
    label: Option<CString>,
    mounts: Vec<Mount>,
    warnings: &'a mut Vec<String>,
}

impl Making<'_> {
    fn warn(&mut self, destination: &str, text: std::fmt::Arguments<'_>) {
        self.warnings.push(format!("mount {destination}: {text}"));
    }

    /// Adds the steps of one mount of the spec.
    fn add(&mut self, mount: &SpecMount) -> Result<()> {
        let at = destination(mount)?;
        if !mount.destination().is_absolute() {
            self.warn(
                &at,
                format_args!("the destination {:?} is relative: taken from /", mount.destination()),
            );
        }
        check(&at)?;
        let mut options = options::parse(mount.options().as_deref().unwrap_or_default());
        let owners = idmap::of_mount(mount, &at, &options, self.spec)?;
        let kind = mount.typ().as_deref().unwrap_or("bind");
        let binds = options.bind.is_some() || kind == "bind";
        let data = if binds { options.take_data() } else { None };
        if binds && std::mem::take(&mut options.copy_up) {
            self.warn(&at, format_args!("`tmpcopyup` is for a tmpfs, not for a bind: left out"));
        }
        if ["proc", "sysfs"].contains(&kind) {
            self.kernels.push(at.trim_start_matches('/').to_owned());
        }
        if let Some(words) = data {
            self.warn(&at, format_args!("a bind mount has no options like `{words}`: left out"));
        }
        for word in &options.idle {
            self.warn(&at, format_args!("`{word}` changes nothing on this kernel: left out"));
        }
        if options.remount {
            let change = remount(&at, kind, &options)?;
            let changed = self.mounts.iter_mut().rfind(|earlier| earlier.place == change.place);
            changed.into_iter().for_each(|earlier| earlier.readonly_later = false);
            self.mounts.push(change);
            return Ok(());
        }
        let held =
            self.attached.iter().position(|held| normal(held.destination).is_ok_and(|path| path == at));
        let held = held.map(|index| self.attached.remove(index));
        let devpts = self.devpts.take_if(|(path, _)| kind == "devpts" && *path == at);
        match held {
            _ if let Some((_, made)) = devpts => self.mounts.push(tree(kind, &at, made)?),
            Some(held) => self.mounts.push(given(mount, &at, held, &options)?),
            None if binds => self.bind(mount, &at, &options, owners)?,
            None if kind == "cgroup" || kind == "cgroup2" => self.cgroups(&at, options)?,
            None => {
                let source = mount.source().as_ref().and_then(|source| source.to_str()).unwrap_or(kind);
                self.fresh(&at, kind, source, &options)?;
            }
        }
        Ok(())
    }

    /// A new file system; the /dev that is seen is filled.
    fn fresh(&mut self, at: &str, kind: &str, source: &str, options: &Options) -> Result<()> {
        self.fresh_devs -= usize::from(at == "/dev");
        let devices = if at == "/dev" && self.fresh_devs == 0 { self.devices.take() } else { None };
        let (content, nodes) = devices.unwrap_or_default();
        let made = new(at, kind, source, options, content)?;
        self.mounts.push(match is_of_the_host(kind, source) {
            true => make_before(made, self.label.as_deref())?,
            false => made,
        });
        self.mounts.extend(nodes);
        Ok(())
    }

    fn bind(
        &mut self,
        mount: &SpecMount,
        at: &str,
        options: &Options,
        owners: Option<idmap::Owners>,
    ) -> Result<()> {
        let Some(source) = mount.source().as_ref().and_then(|source| source.to_str()) else {
            return Err(usage(format!("mount {at}: a bind mount needs a source")));
        };
        let depth = options.bind.unwrap_or(Depth::One);
        let what = format!("mount {at}");
        let inner = match &mut self.root {
            Some(root) => root.find(source).map_err(|error| error.context(&what))?,
            None => None,
        };
        // The root itself, as it is without the mounts of this list.
        let clone = match (inner.filter(|inner| !inner.is_empty()), &self.root) {
            (Some(_), _) if at == "/proc" => {
                return Err(usage(format!("{what}: only a procfs may be mounted there")));
            }
            // The content of earlier mounts is visible to the child alone, which cannot map owners.
            (Some(inner), _) if owners.is_none() => return self.bind_inner(source, at, options, &inner),
            (Some(inner), Some(root)) => {
                let path = c_string(&what, &inner)?;
                root.clone_inside(&path, depth).map_err(|error| error.context(&what))?
            }
            _ => clone_path(&what, source, depth)?,
        };
        if self.root.is_some() && fs::is_kernels(clone.as_fd()).map_err(|errno| errno.during("fstatfs"))? {
            self.kernels.push(at.trim_start_matches('/').to_owned());
        }
        dress_by(clone.as_fd(), options, at)?;
        if let Some(owners) = owners {
            owners.give(clone.as_fd(), at)?;
        }
        self.mounts.push(tree(source, at, clone)?);
        Ok(())
    }

    /// A bind of a file in the root, as earlier mounts have made it.
    fn bind_inner(&mut self, source: &str, at: &str, options: &Options, inner: &str) -> Result<()> {
        let depth = options.bind.unwrap_or(Depth::One);
        let below = |place: &str| place.strip_prefix(inner).is_some_and(|rest| rest.starts_with('/'));
        let covered = self.kernels.iter().find(|place| depth == Depth::Recursive && below(place));
        if let Some(place) = covered {
            let error = format!("mount {at}: the source holds /{place}, which would be seen there unmasked");
            return Err(usage(error).hint("bind what lies beside it, or use `bind` for `rbind`"));
        }
        let path = place("mounts", &format!("/{inner}"))?;
        let mut mount =
            Mount::of(source, at, Source::Inside(InnerTree { path, depth, changes: options.changes() }))?;
        // A mount that becomes read-only later is not read-only yet when it is cloned.
        let within = |other: &Mount| {
            let rest = other.place.to_str().ok().and_then(|place| inner.strip_prefix(place));
            other.readonly_later && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        mount.readonly_later =
            options.attributes.clear & Attributes::RDONLY == 0 && self.mounts.iter().any(within);
        self.mounts.push(mount);
        Ok(())
    }

    /// The container's own cgroups: one tree on v2, a directory per hierarchy in a tmpfs elsewhere.
    fn cgroups(&mut self, at: &str, mut options: Options) -> Result<()> {
        self.check_cgroup_options(at, &mut options)?;
        let mut places = Vec::new();
        let mut content = Vec::new();
        for view in self.cgroup.views() {
            let source = view.directory.display().to_string();
            let clone = clone_path(&format!("mount {at}"), &source, Depth::One)?;
            dress_by(clone.as_fd(), &options, at)?;
            if view.name.is_empty() {
                self.mounts.push(tree("cgroup", at, clone)?);
                return Ok(());
            }
            content.push(Content::Directory { name: c_string("cgroup", &view.name)? });
            let place = format!("{}/{}", at.trim_end_matches('/'), view.name);
            places.push(tree(&format!("cgroup {}", view.name), &place, clone)?);
        }
        let Options { attributes, recursive, propagation, .. } = options;
        let mut over = Options { attributes, recursive, propagation, ..Options::default() };
        over.data.push(("mode".to_owned(), Some("755".to_owned())));
        self.mounts.push(new(at, "tmpfs", "tmpfs", &over, content)?);
        self.mounts.extend(places);
        Ok(())
    }

    /// The host has mounted the hierarchies with its own options: options that are the host's alone are left
    /// out, as the kernel does in a cgroup namespace; an option that no hierarchy takes is an error.
    fn check_cgroup_options(&mut self, at: &str, options: &mut Options) -> Result<()> {
        if options.copy_up {
            return Err(usage(format!("mount {at}: `tmpcopyup` is for a tmpfs, not for cgroups")));
        }
        let (hosts, unknown): (Vec<_>, Vec<_>) = std::mem::take(&mut options.data)
            .into_iter()
            .partition(|(key, value)| HOSTS_CGROUP_OPTIONS.contains(&key.as_str()) && value.is_none());
        for (key, _) in hosts {
            self.warn(at, format_args!("`{key}` is for the host's mount of the hierarchy: left out"));
        }
        options.data = unknown;
        match options.take_data() {
            Some(words) => Err(usage(format!("mount {at}: cgroups have no mount option like `{words}`"))),
            None => Ok(()),
        }
    }
}

/// The content of a fresh /dev, and the binds in it: nodes, where the container could make none.
fn dev(spec: &Spec, user: bool) -> Result<(Vec<Content>, Vec<Mount>)> {
    let content = devices::content(spec)?;
    if !user {
        return Ok((content, Vec::new()));
    }
    let (inside, outside) = devices::apart(content);
    // The file system from which they are bound is not needed after this.
    let mut held = HeldMounts::default();
    let nodes = Nodes::among(&mut held, spec.linux().as_ref()).mounts(&outside)?;
    let nodes = outside.iter().zip(nodes).map(|((path, _), node)| tree(path, path, node));
    Ok((inside, nodes.collect::<Result<_>>()?))
}

/// Whether the mount makes a new /dev; a `remount` changes the present one.
fn is_dev(mount: &SpecMount) -> bool {
    let remounts = mount.options().iter().flatten().any(|word| word == "remount");
    !remounts && destination(mount).is_ok_and(|path| path == "/dev")
}

/// Whether the mount shows existing files by a path.
pub fn is_bind(mount: &SpecMount) -> bool {
    let word = |word: &String| word == "bind" || word == "rbind";
    mount.typ().as_deref().is_none_or(|kind| kind == "bind") || mount.options().iter().flatten().any(word)
}

/// Whether the container's /dev is a file system that is made for it, rather than something that the spec puts there.
pub(super) fn dev_is_fresh(spec: &Spec, attached: &[Attached<'_>]) -> Result<bool> {
    let held = attached.iter().any(|held| normal(held.destination).is_ok_and(|path| path == "/dev"));
    for mount in spec.mounts().iter().flatten().filter(|mount| is_dev(mount)) {
        let options = options::parse(mount.options().as_deref().unwrap_or_default());
        let kind = mount.typ().as_deref().unwrap_or("bind");
        if options.bind.is_some() || ["bind", "devtmpfs", "overlay"].contains(&kind) || held {
            return Ok(false);
        }
    }
    Ok(true)
}

fn default_dev() -> Options {
    options::parse(&["nosuid", "strictatime", "mode=755", "size=65536k"].map(str::to_owned))
}

fn check(destination: &str) -> Result<()> {
    let parts = parts("mounts", destination)?;
    match parts.as_slice() {
        [] => Err(usage(format!("mount {destination}: nothing can be mounted over the root"))),
        ["proc", below @ ..] if !below.is_empty() && !PROC_FILES.contains(&below.join("/").as_str()) => {
            Err(usage(format!("mount {destination}: nothing may be mounted over this part of /proc")))
        }
        _ => Ok(()),
    }
}

/// Whether `source` may be mounted at `destination`, which its file system may be asked about.
pub fn check_source(destination: &str, source: BorrowedFd<'_>) -> Result<()> {
    let at_proc = parts("mounts", destination)? == ["proc"];
    if at_proc && !fs::is_procfs_root(source).map_err(|errno| errno.during("fstatfs(a mount's source)"))? {
        return Err(usage(format!("mount {destination}: only a procfs may be mounted there")));
    }
    Ok(())
}

/// A tree with its attributes set, for the child to move.
fn tree(text: &str, destination: &str, tree: OwnedFd) -> Result<Mount> {
    check_source(destination, tree.as_fd())?;
    Mount::of(text, destination, Source::Tree(tree))
}

impl Mount {
    fn of(text: &str, destination: &str, source: Source) -> Result<Self> {
        Ok(Self {
            text: text.to_owned(),
            source,
            place: place("mounts", destination)?,
            refuse_links: false,
            may_cover_proc: may_cover_proc(destination),
            readonly_later: false,
        })
    }
}

fn may_cover_proc(destination: &str) -> bool {
    destination.trim_start_matches('/').strip_prefix("proc/").is_some_and(|file| PROC_FILES.contains(&file))
}

/// A tree that the caller gives away.
fn given(mount: &SpecMount, destination: &str, held: &Attached<'_>, options: &Options) -> Result<Mount> {
    let whole = dup(held.tree)?;
    dress_by(whole.as_fd(), options, destination)?;
    if !held.checked {
        check_source(destination, whole.as_fd())?;
    }
    let source =
        mount.source().as_ref().and_then(|source| source.to_str()).filter(|source| !source.is_empty());
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let tree = Mount::of(source.unwrap_or("held by descriptor"), destination, Source::Tree(whole))?;
    Ok(Mount { refuse_links: refuses_links(kind), ..tree })
}

fn clone_path(what: &str, path: &str, depth: Depth) -> Result<OwnedFd> {
    let path = c_string(what, path)?;
    m::clone_host_tree(&path, depth).map_err(|errno| {
        let error = Error::from(errno.during(format!("open_tree({path:?}, OPEN_TREE_CLONE)")));
        error.context(what)
    })
}

/// Gives a detached tree its attributes.
fn dress_by(tree: BorrowedFd<'_>, options: &Options, destination: &str) -> Result<()> {
    options.changes().into_iter().try_for_each(|change| {
        dress(tree, change).map_err(|error| error.context(format!("mount {destination}")))
    })
}

/// A change of the mount at `destination`.
fn remount(destination: &str, kind: &str, options: &Options) -> Result<Mount> {
    if options.copy_up || options.idmap.is_some() {
        return Err(usage(format!("mount {destination}: `remount` takes neither `tmpcopyup` nor `idmap`")));
    }
    let change = Remount { changes: options.remount_changes(), parameters: parameters(None, options)? };
    Mount::of(&format!("remount of {kind}"), destination, Source::Remount(change))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_lxcfs_cover_parts_of_proc() {
        check("/proc").unwrap();
        check("/proc/meminfo").unwrap();
        check("/processes").unwrap();
        for refused in ["/", "/proc/self/attr", "/proc/sys", "/./proc//sys/kernel"] {
            assert!(check(refused).is_err(), "{refused}");
        }
    }
}
