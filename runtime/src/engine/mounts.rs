//! The spec's root and mounts compiled: sources opened and given their attributes here, on the host;
//! targets taken apart, to be resolved by the child inside the root.
//!
//! Invariant: a mount has all its attributes and its propagation before anyone can reach it, and no
//! destination is ever joined to a path of the host's.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::{Mount as SpecMount, Spec};

use super::content::Content;
use super::options::{self, Options};
use super::plan::{Mount, NewMount, Source, Target};
use super::process::c_string;
use super::{Attached, Console, Nodes, Rootfs, devices, idmap, labels};
use crate::cgroup::Cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::held::HeldMounts;
use crate::sys::mount::{self as m, Attributes, Depth, Propagation};
use crate::sys::{Errno, fs};

/// What lxcfs provides: the only parts of a procfs that may be covered.
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

fn usage(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

/// A path inside the root as its parts; `.` and `..` are resolved by their words, as the spec's are absolute.
fn parts<'a>(what: &str, path: &'a str) -> Result<Vec<&'a str>> {
    /// The kernel's PATH_MAX, which counts the NUL.
    const PATH_MAX: usize = 4096;
    if path.len() >= PATH_MAX {
        return Err(usage(format!("{what}: a path of {} bytes is longer than the kernel takes", path.len())));
    }
    if !path.starts_with('/') {
        return Err(usage(format!("{what}: `{path}` is not an absolute path")));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(parts)
}

/// A place inside the root, to be found or made by the child.
pub(super) fn target(what: &str, path: &str, directory: bool) -> Result<Target> {
    let parts = parts(what, path)?;
    let named = |count: usize| -> Result<(CString, CString)> {
        let path = parts.get(..count).unwrap_or_default().join("/");
        let name = parts.get(count - 1).copied().unwrap_or_default();
        Ok((c_string(what, &path)?, c_string(what, name)?))
    };
    let parts: Vec<_> = (1..=parts.len()).map(named).collect::<Result<_>>()?;
    let path = parts.last().map_or_else(|| c".".to_owned(), |(path, _)| path.clone());
    Ok(Target { path, parts, directory })
}

/// The path of a mask or a read-only path, relative to the root.
pub(super) fn relative(what: &str, path: &str) -> Result<CString> {
    match parts(what, path)?.join("/") {
        empty if empty.is_empty() => Err(usage(format!("{what}: `{path}` is the whole root"))),
        path => c_string(what, &path),
    }
}

/// The detached tree that becomes the root.
pub(super) fn root(rootfs: Rootfs<'_>, spec: &Spec) -> Result<OwnedFd> {
    let tree = match rootfs {
        Rootfs::Detached(fd) => {
            fs::dup_above(fd, 3).map_err(|errno| errno.during("fcntl(F_DUPFD_CLOEXEC)"))?
        }
        Rootfs::Spec => {
            let path = root_path(spec)?;
            clone_path("root.path", path.to_str().unwrap_or_default(), Depth::Recursive)?
        }
    };
    if !fs::is_directory(tree.as_fd()).map_err(|errno| errno.during("statx(root)"))? {
        return Err(usage("root.path: not a directory".into()));
    }
    dress(tree.as_fd(), Depth::Recursive, Attributes::default(), Some(Propagation::Private))?;
    Ok(tree)
}

/// The path of `root.path` on the host, for what runs before the host's tree is gone.
pub(super) fn root_path(spec: &Spec) -> Result<CString> {
    match spec.root().as_ref().and_then(|root| root.path().to_str()) {
        Some(path) => c_string("root.path", path),
        None => Err(usage("root.path: there is none, or it is not UTF-8".into())),
    }
}

/// All mounts of a container, in the order in which they are made.
pub(super) fn all(
    spec: &Spec,
    attached: &[Attached<'_>],
    cgroup: &Cgroup,
    console: Option<Console>,
    user: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>> {
    let listed = spec.mounts().as_deref().unwrap_or_default();
    let label = labels::of_mounts(spec.linux().as_ref())?;
    let mut attached: Vec<&Attached<'_>> = attached.iter().collect();
    let mut mounts = Vec::new();
    let mut devices = Some(dev(spec, user)?);
    let (terminal, devpts) = console.map(|console| (console.terminal, console.devpts)).unzip();
    let mut devpts = devpts.flatten();
    let has_dev = listed.iter().any(|mount| mount.destination().to_str().is_some_and(|path| path == "/dev"));
    if !has_dev {
        // The image's own /dev is never written to: links in it have led elsewhere (CVE-2026-41579).
        let (content, nodes) = devices.take().unwrap_or_default();
        mounts.push(new("/dev", "tmpfs", "tmpfs", &default_dev()?, content)?);
        mounts.extend(nodes);
    }
    for mount in listed {
        let Some(destination) = mount.destination().to_str() else {
            return Err(usage(format!("mount {:?}: not UTF-8", mount.destination())));
        };
        check(destination)?;
        let mut options = options::parse(destination, mount.options().as_deref().unwrap_or_default())?;
        let owners = idmap::of_mount(mount, destination, &options, spec)?;
        if let Some(bind) = options.take_data_of_bind() {
            warnings
                .push(format!("mount {destination}: a bind mount has no options like `{bind}`: left out"));
        }
        // Each stands for one mount: a later one of this destination covers it.
        let held =
            attached.iter().position(|held| parts("", held.destination).ok() == parts("", destination).ok());
        let held = held.map(|at| attached.remove(at));
        let kind = mount.typ().as_deref().unwrap_or("bind");
        let made =
            devpts.take_if(|(at, _)| kind == "devpts" && parts("", at).ok() == parts("", destination).ok());
        match held {
            _ if let Some((at, made)) = made => mounts.push(tree(kind, &at, made)?),
            Some(held) => mounts.push(given(mount, destination, held, &options)?),
            None if options.bind.is_some() || kind == "bind" => {
                mounts.push(bind(mount, destination, &options, owners)?);
            }
            None if kind == "cgroup" || kind == "cgroup2" => {
                mounts.extend(cgroups(destination, cgroup, &options)?);
            }
            None => {
                let source = mount.source().as_ref().and_then(|source| source.to_str()).unwrap_or(kind);
                let (content, nodes) =
                    if destination == "/dev" { devices.take().unwrap_or_default() } else { <_>::default() };
                mounts.push(new(destination, kind, source, &options, content)?);
                mounts.extend(nodes);
            }
        }
    }
    let ours = devices.is_none();
    if !ours
        && spec
            .linux()
            .as_ref()
            .is_some_and(|linux| linux.devices().as_ref().is_some_and(|list| !list.is_empty()))
    {
        return Err(usage("linux.devices: /dev is a mount of the spec's, nothing is made in it".into()));
    }
    if let (Some(terminal), true) = (terminal, ours) {
        mounts.push(tree("console", "/dev/console", terminal)?);
    }
    if let Some(label) = label {
        mounts.iter_mut().for_each(|mount| give_label(mount, &label));
    }
    Ok(mounts)
}

/// A new file system's files get the label as it is mounted. The kernel labels what it makes up itself (proc, sysfs) and
/// takes none for message queues.
fn give_label(mount: &mut Mount, label: &CStr) {
    const WITHOUT: [&CStr; 3] = [c"proc", c"sysfs", c"mqueue"];
    if let Source::New(new) = &mut mount.source
        && !WITHOUT.contains(&new.kind.as_c_str())
        && !new.parameters.iter().any(|(key, _)| key.as_c_str() == c"context")
    {
        new.parameters.push((c"context".to_owned(), Some(label.to_owned())));
    }
}

/// What a fresh /dev is filled with, and what is bound in it: nodes, where the container could make none.
fn dev(spec: &Spec, user: bool) -> Result<(Vec<Content>, Vec<Mount>)> {
    let content = devices::content(spec)?;
    if !user {
        return Ok((content, Vec::new()));
    }
    let (inside, outside) = devices::apart(content, spec);
    // Whoever holds the file system from which they are bound is done with it then.
    let mut held = HeldMounts::default();
    let nodes = Nodes::among(&mut held, spec.linux().as_ref()).mounts(&outside)?;
    let nodes = nodes.into_iter().map(|(path, node)| tree(&path, &path, node));
    Ok((inside, nodes.collect::<Result<_>>()?))
}

fn default_dev() -> Result<Options> {
    let words = ["nosuid", "strictatime", "mode=755", "size=65536k"].map(str::to_owned);
    options::parse("/dev", &words)
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

/// A tree whose attributes are set, for the child to move.
fn tree(text: &str, destination: &str, tree: OwnedFd) -> Result<Mount> {
    check_source(destination, tree.as_fd())?;
    checked_tree(text, destination, tree)
}

/// The same of a tree that was checked: nothing here waits for its file system.
fn checked_tree(text: &str, destination: &str, tree: OwnedFd) -> Result<Mount> {
    let statx = || format!("statx({text:?})");
    let directory = fs::is_directory(tree.as_fd()).map_err(|errno| errno.during(statx()))?;
    Ok(Mount {
        text: text.to_owned(),
        source: Source::Tree(tree),
        target: target("mounts", destination, directory)?,
        refuse_links: false,
        may_cover_proc: may_cover_proc(destination),
        readonly_later: false,
    })
}

fn may_cover_proc(destination: &str) -> bool {
    destination.trim_start_matches('/').strip_prefix("proc/").is_some_and(|file| PROC_FILES.contains(&file))
}

fn bind(
    mount: &SpecMount,
    destination: &str,
    options: &Options,
    owners: Option<idmap::Owners>,
) -> Result<Mount> {
    let Some(source) = mount.source().as_ref().and_then(|source| source.to_str()) else {
        return Err(usage(format!("mount {destination}: a bind mount needs a source")));
    };
    let clone = clone_path(&format!("mount {destination}"), source, options.bind.unwrap_or(Depth::One))?;
    dress_by(clone.as_fd(), options)?;
    if let Some(owners) = owners {
        owners.give(clone.as_fd(), destination)?;
    }
    tree(source, destination, clone)
}

/// A tree that the caller gives away.
fn given(mount: &SpecMount, destination: &str, held: &Attached<'_>, options: &Options) -> Result<Mount> {
    let whole = fs::dup_above(held.tree, 3).map_err(|errno| errno.during("fcntl(F_DUPFD_CLOEXEC)"))?;
    dress_by(whole.as_fd(), options)?;
    if !held.checked {
        check_source(destination, whole.as_fd())?;
    }
    let source =
        mount.source().as_ref().and_then(|source| source.to_str()).filter(|source| !source.is_empty());
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let tree = checked_tree(source.unwrap_or("held by descriptor"), destination, whole)?;
    Ok(Mount { refuse_links: refuses_links(kind), ..tree })
}

/// The kinds that go onto a real directory or nowhere.
fn refuses_links(kind: &str) -> bool {
    kind == "proc" || kind == "sysfs"
}

/// A procfs that the spec asks for.
#[derive(Debug)]
pub(super) struct NewProcfs(Vec<(CString, Option<CString>)>);

impl NewProcfs {
    /// Makes it, detached, for the pid namespace `pid` (nsfs), since Linux 6.17. EINVAL: the kernel cannot.
    pub(super) fn of_namespace(&self, pid: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let context = m::fsopen(c"proc")?;
        m::fsconfig_fd(context.as_fd(), c"pidns", pid)?;
        for (key, value) in &self.0 {
            m::fsconfig(context.as_fd(), key, value.as_deref())?;
        }
        m::fsconfig_create(context.as_fd())?;
        m::fsmount(context.as_fd(), 0)
    }
}

/// Each procfs that the spec asks for and nobody holds, with its destination.
pub(super) fn new_procfs(spec: &Spec, attached: &[Attached<'_>]) -> Result<Vec<(String, NewProcfs)>> {
    let mut found = Vec::new();
    for mount in spec.mounts().iter().flatten().filter(|mount| mount.typ().as_deref() == Some("proc")) {
        let destination = mount.destination().to_str().unwrap_or_default();
        let options = options::parse(destination, mount.options().as_deref().unwrap_or_default())?;
        let held =
            attached.iter().any(|held| parts("", held.destination).ok() == parts("", destination).ok());
        if !held && options.bind.is_none() {
            let source = mount.source().as_ref().and_then(|source| source.to_str()).unwrap_or("proc");
            found.push((destination.to_owned(), NewProcfs(parameters(source, &options)?)));
        }
    }
    Ok(found)
}

/// What a new file system is told as it is made.
fn parameters(source: &str, options: &Options) -> Result<Vec<(CString, Option<CString>)>> {
    let parameter = |(key, value): &(String, Option<String>)| -> Result<(CString, Option<CString>)> {
        let value = value.as_ref().map(|value| c_string("mounts", value)).transpose()?;
        Ok((c_string("mounts", key)?, value))
    };
    let first = Ok((c"source".to_owned(), Some(c_string("mounts", source)?)));
    std::iter::once(first).chain(options.data.iter().map(parameter)).collect()
}

fn clone_path(what: &str, path: &str, depth: Depth) -> Result<OwnedFd> {
    let path = c_string(what, path)?;
    m::clone_host_tree(&path, depth).map_err(|errno| {
        let error = Error::from(errno.during(format!("open_tree({path:?}, OPEN_TREE_CLONE)")));
        error.context(what)
    })
}

/// Gives a detached tree its attributes; without a word on propagation it keeps to itself.
fn dress_by(tree: BorrowedFd<'_>, options: &Options) -> Result<()> {
    let (propagation, depth) = options.propagation.unwrap_or((Propagation::Private, Depth::Recursive));
    dress(tree, depth, Attributes::default(), Some(propagation))?;
    if !options.recursive.is_empty() {
        dress(tree, Depth::Recursive, options.recursive, None)?;
    }
    if !options.attributes.is_empty() {
        dress(tree, Depth::One, options.attributes, None)?;
    }
    Ok(())
}

fn dress(
    tree: BorrowedFd<'_>,
    depth: Depth,
    attributes: Attributes,
    propagation: Option<Propagation>,
) -> Result<()> {
    m::mount_setattr(tree, depth, attributes, propagation).map_err(|errno| {
        errno
            .during(format!(
                "mount_setattr(set {:#x}, clear {:#x}, {propagation:?})",
                attributes.set, attributes.clear
            ))
            .into()
    })
}

/// The devpts that `mount` asks for.
pub(super) fn devpts(mount: &SpecMount, spec: &Spec) -> Result<Mount> {
    let options = options::parse("/dev/pts", mount.options().as_deref().unwrap_or_default())?;
    let mut new = new("/dev/pts", "devpts", "devpts", &options, Vec::new())?;
    if let Some(label) = labels::of_mounts(spec.linux().as_ref())? {
        give_label(&mut new, &label);
    }
    Ok(new)
}

/// A file system that the child makes.
fn new(
    destination: &str,
    kind: &str,
    source: &str,
    options: &Options,
    content: Vec<Content>,
) -> Result<Mount> {
    if options.copy_up && kind != "tmpfs" {
        return Err(usage(format!("mount {destination}: `tmpcopyup` is for a tmpfs, not for {kind}")));
    }
    let set = options.attributes.set | options.recursive.set;
    let readonly_later = kind == "tmpfs" && set & Attributes::RDONLY != 0;
    let set = if readonly_later { set & !Attributes::RDONLY } else { set };
    Ok(Mount {
        text: kind.to_owned(),
        source: Source::New(NewMount {
            kind: c_string("mounts", kind)?,
            parameters: parameters(source, options)?,
            attributes: Attributes { set, clear: 0 },
            copy_up: options.copy_up,
            // As runc and crun have it: the image says who may write to its /tmp.
            takes_mode: kind == "tmpfs" && !options.data.iter().any(|(key, _)| key == "mode"),
            // It has no master, so that a slave is a private one.
            propagation: options
                .propagation
                .map(|(propagation, _)| propagation)
                .filter(|propagation| ![Propagation::Private, Propagation::Slave].contains(propagation)),
            content,
        }),
        target: target("mounts", destination, true)?,
        refuse_links: refuses_links(kind),
        may_cover_proc: false,
        readonly_later,
    })
}

/// The container's own cgroups: one tree on v2, a directory per hierarchy in a tmpfs elsewhere.
fn cgroups(destination: &str, cgroup: &Cgroup, options: &Options) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    let mut content = Vec::new();
    for view in cgroup.views() {
        let source = view.directory.display().to_string();
        let clone = clone_path(&format!("mount {destination}"), &source, Depth::One)?;
        dress_by(clone.as_fd(), options)?;
        if view.name.is_empty() {
            return Ok(vec![tree("cgroup", destination, clone)?]);
        }
        content.push(Content::Directory { name: c_string("cgroup", &view.name)? });
        let place = format!("{}/{}", destination.trim_end_matches('/'), view.name);
        mounts.push(tree(&format!("cgroup {}", view.name), &place, clone)?);
    }
    let mut over = Options { attributes: options.attributes, ..Options::default() };
    over.data.push(("mode".to_owned(), Some("755".to_owned())));
    mounts.insert(0, new(destination, "tmpfs", "tmpfs", &over, content)?);
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_knows_every_directory_on_its_way() {
        let target = target("x", "/a//b/./c/../d/", true).unwrap();
        let parts: Vec<_> = target
            .parts
            .iter()
            .map(|(path, name)| (path.to_str().unwrap(), name.to_str().unwrap()))
            .collect();
        assert_eq!(parts, [("a", "a"), ("a/b", "b"), ("a/b/d", "d")]);
        assert_eq!(target.path.as_c_str(), c"a/b/d");
    }

    #[test]
    fn the_root_is_a_target_and_cannot_be_left() {
        assert_eq!(target("x", "/../..", true).unwrap().path.as_c_str(), c".");
        assert!(target("x", "relative", true).is_err());
        assert!(relative("x", "/a/..").is_err());
    }

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
