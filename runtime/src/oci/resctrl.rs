//! `linux.intelRdt` (config-linux.md, "IntelRdt"): a container's class of service and its monitoring group, which are
//! directories of the kernel's resctrl.
//!
//! Invariants: a directory is recorded before it is made, and only recorded ones are removed. No file is made
//! here: they are the kernel's. A look at a group and the change after it are made under the lock that
//! resctrl's users have agreed on (resctrl.rst, "Locking between applications"): flock of the root.

mod schemata;
mod stats;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind as Io, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIntelRdt, Spec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ContainerId;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::lock;
use crate::sys::file::{fs, own};

/// resctrl's own names in a group: no group's name.
const OWNED: [&str; 11] = [
    "info",
    "mon_groups",
    "mon_data",
    "tasks",
    "cpus",
    "cpus_list",
    "schemata",
    "size",
    "mode",
    "ctrl_hw_id",
    "mon_hw_id",
];

/// The longest name that a directory may have.
const LONGEST: usize = 255;

/// Where a container is in resctrl, as its record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    /// The directory of its class below resctrl's root; empty: that root, the default class.
    name: String,
    /// The part of it that create made.
    made: Made,
    /// Whether create has made a monitoring group in it, named by the container's id.
    monitored: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Made {
    /// It was there.
    Nothing,
    /// A class that `closID` names: it outlives the container, but not a create that fails.
    Class,
    /// A class of the container's own: it goes with it.
    Own,
}

/// The part of a config about resctrl.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    name: &'a str,
    own: bool,
    /// The lines that a class that is there must have already, each with its field.
    compared: Vec<(&'static str, &'a str)>,
    /// All lines, in the order in which they are written.
    lines: Vec<&'a str>,
    monitored: bool,
}

fn usage(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

fn asked(spec: &Spec) -> Option<&LinuxIntelRdt> {
    spec.linux().as_ref()?.intel_rdt().as_ref()
}

impl<'a> Wanted<'a> {
    fn parse(asked: &'a LinuxIntelRdt, id: &'a ContainerId) -> Result<Self> {
        let given = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        let (l3, bandwidth) = (given(asked.l3_cache_schema()), given(asked.mem_bw_schema()));
        let compared = compared("linux.intelRdt.", l3, bandwidth)?;
        let schemata = asked.schemata().as_deref().unwrap_or_default();
        if let Some(line) = schemata.iter().find(|line| line.contains('\n')) {
            return Err(usage(format!(
                "linux.intelRdt.schemata: {line:?}: each line is an element of its own"
            )));
        }
        let (name, own) = match given(asked.clos_id()) {
            None => (checked("the container's id", id.as_str())?, true),
            Some("/") => ("", false),
            Some(name) => (checked("linux.intelRdt.closID", name)?, false),
        };
        let lines = compared.iter().map(|(_, line)| *line).chain(schemata.iter().map(String::as_str));
        let lines = lines.collect();
        Ok(Self { name, own, compared, lines, monitored: asked.enable_monitoring() == &Some(true) })
    }
}

/// The lines of the two fields that have one resource each, first the cache's.
fn compared<'a>(
    fields: &str,
    l3: Option<&'a str>,
    bandwidth: Option<&'a str>,
) -> Result<Vec<(&'static str, &'a str)>> {
    let mut lines: Vec<_> = l3.into_iter().flat_map(str::lines).map(|line| ("l3CacheSchema", line)).collect();
    if let Some(line) = bandwidth {
        if !line.starts_with("MB:") || line.contains('\n') {
            return Err(usage(format!(
                "{fields}memBwSchema: {line:?} is not one line that begins with `MB:`"
            )));
        }
        lines.push(("memBwSchema", line));
    }
    Ok(lines)
}

/// A name that can be a group's: one component of a path, which resctrl does not have already.
fn checked<'a>(whose: &str, name: &'a str) -> Result<&'a str> {
    let wrong = if OWNED.contains(&name) {
        "is the name of something of resctrl's own"
    } else if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        "is no name of a directory"
    } else if name.len() > LONGEST {
        "is longer than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(name);
    };
    let error = usage(format!("{whose}: {name:?} {wrong}, and can be no group's in resctrl"));
    Err(error.hint("linux.intelRdt.closID names the class; `/` is the default one"))
}

/// Refuses an impossible request before anything is made.
pub(super) fn check(spec: &Spec, id: &ContainerId) -> Result<()> {
    let Some(asked) = asked(spec) else { return Ok(()) };
    Wanted::parse(asked, id)?;
    Resctrl::mounted().map(drop)
}

/// Makes the groups that the spec asks for, and returns the files by which the container's processes join, in
/// order. `record` stores the group before it is made, and drops it if it could not be.
pub(super) fn make(
    spec: &Spec,
    id: &ContainerId,
    record: impl FnMut(Option<Group>) -> Result<()>,
) -> Result<Vec<OwnedFd>> {
    let Some(asked) = asked(spec) else { return Ok(Vec::new()) };
    Resctrl::mounted()?.make(&Wanted::parse(asked, id)?, id, record).context(|| "linux.intelRdt")
}

/// The files by which a further process of a container joins. Files of a group that was removed meanwhile are
/// left out: the kernel has moved the container's other processes to the parent group.
pub(super) fn join(group: Option<&Group>, id: &ContainerId) -> Result<Vec<OwnedFd>> {
    let (Some(group), Some(resctrl)) = (group, Resctrl::find()?) else { return Ok(Vec::new()) };
    let there = resctrl.groups(group, id).into_iter().take_while(|directory| directory.is_dir());
    there.map(|directory| tasks(&directory)).collect::<Result<_>>().context(|| "linux.intelRdt")
}

/// The limits of its class and the usage of its processes, as runc's `events` shows them.
pub(super) fn usage_of(group: Option<&Group>, id: &ContainerId) -> Result<Value> {
    let (Some(group), Some(resctrl)) = (group, Resctrl::find()?) else { return Ok(json!({})) };
    let class = resctrl.root.join(&group.name);
    let counted = if group.monitored { monitor(&class, id) } else { class.clone() };
    Ok(stats::document(&resctrl.root, &class, &counted))
}

/// Writes other schemas into a container's class, of which other containers may be too.
pub(super) fn update(group: &Group, l3: Option<&str>, bandwidth: Option<&str>) -> Result<()> {
    let lines: Vec<&str> = compared("", l3, bandwidth)?.into_iter().map(|(_, line)| line).collect();
    let resctrl = Resctrl::mounted()?;
    let _lock = resctrl.lock()?;
    let directory = resctrl.root.join(&group.name);
    let before = read_schemata(&directory)?;
    resctrl.write(&directory, &lines, Some(&before)).context(|| "linux.intelRdt")
}

/// Undoes the part that create made: of a container that was completed, its own group; else also the class that
/// it was to join, if no other container is in it. Nothing is left to undo where resctrl is no longer mounted:
/// its groups ended with it.
pub(super) fn remove(group: &Group, id: &ContainerId, complete: bool) -> Result<()> {
    match Resctrl::find()? {
        Some(resctrl) => resctrl.remove(group, id, complete).context(|| "linux.intelRdt"),
        None => Ok(()),
    }
}

/// A mounted resctrl.
#[derive(Debug)]
struct Resctrl {
    root: PathBuf,
    /// Whether bandwidths are MiB per second (the mount option `mba_MBps`), which are not rounded.
    megabytes: bool,
    /// The kernel fills a directory that is made, and removes a full one; in tests, where it does not, these stand in.
    mkdir: fn(&Path) -> io::Result<()>,
    rmdir: fn(&Path) -> io::Result<()>,
}

impl Resctrl {
    fn find() -> Result<Option<Self>> {
        let table = fs::read_kernel_file("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
        Ok(Self::parse(&table))
    }

    /// The first whole resctrl of a mountinfo table: a bind of a subdirectory shows one of its groups.
    fn parse(table: &str) -> Option<Self> {
        table.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let mut place = place.split(' ').skip(3);
            let (root, mount) = (place.next()?, place.next()?);
            (kind.next() == Some("resctrl") && root == "/").then(|| Self {
                root: fs::unescape_mount_point(mount),
                megabytes: kind.nth(1).is_some_and(|options| options.split(',').any(|one| one == "mba_MBps")),
                mkdir: |path| own::new_directory(path, own::LISTED),
                rmdir: |path| std::fs::remove_dir(path),
            })
        })
    }

    /// The one that is mounted, or why there is none.
    fn mounted() -> Result<Self> {
        if let Some(found) = Self::find()? {
            return Ok(found);
        }
        let known = std::fs::read_to_string("/proc/filesystems")
            .is_ok_and(|known| known.split_whitespace().any(|name| name == "resctrl"));
        Err(Error::new(ErrorKind::Unsupported, "linux.intelRdt: no resctrl is mounted").hint(match known {
            true => "mount it: mount -t resctrl resctrl /sys/fs/resctrl",
            false => {
                "this processor, or this kernel, cannot divide its caches: /proc/filesystems has no resctrl"
            }
        }))
    }

    fn lock(&self) -> Result<File> {
        let root = File::open(&self.root).context(|| format!("open({:?})", self.root))?;
        // Everybody may open it, and hold its lock: that is how resctrl's users agree.
        lock::take(&root, &self.root, lock::BRIEF)?;
        Ok(root)
    }

    fn make(
        &self,
        wanted: &Wanted<'_>,
        id: &ContainerId,
        mut record: impl FnMut(Option<Group>) -> Result<()>,
    ) -> Result<Vec<OwnedFd>> {
        let _lock = self.lock()?;
        let group = self.plan(wanted, id)?;
        record(Some(group.clone()))?;
        let mut made = Vec::new();
        let filled = self.fill(wanted, &group, id, &mut made);
        if filled.is_err() && made.iter().rev().all(|directory| (self.rmdir)(directory).is_ok()) {
            // The record leads to the rest.
            record(None)?;
        }
        filled
    }

    /// The rules about existing groups.
    fn plan(&self, wanted: &Wanted<'_>, id: &ContainerId) -> Result<Group> {
        let directory = self.root.join(wanted.name);
        let made = match (wanted.own, directory.is_dir()) {
            (true, true) => {
                return Err(Error::new(ErrorKind::Exists, format!("{directory:?} exists already"))
                    .hint("without closID the class is named by the container's id, and is its own: use another id, or closID"));
            }
            (true, false) => Made::Own,
            (false, true) => Made::Nothing,
            (false, false) if wanted.lines.is_empty() => {
                return Err(Error::failed(format!("closID: there is no class {directory:?}"))
                    .hint("make it first, or say in linux.intelRdt.schemata what it is to have"));
            }
            (false, false) => Made::Class,
        };
        let monitor = monitor(&directory, id);
        if wanted.monitored && monitor.is_dir() {
            return Err(Error::new(
                ErrorKind::Exists,
                format!("enableMonitoring: {monitor:?} exists already"),
            )
            .hint("another container of the class has this id: use another one"));
        }
        Ok(Group { name: wanted.name.to_owned(), made, monitored: wanted.monitored })
    }

    fn fill(
        &self,
        wanted: &Wanted<'_>,
        group: &Group,
        id: &ContainerId,
        made: &mut Vec<PathBuf>,
    ) -> Result<Vec<OwnedFd>> {
        let directory = self.root.join(wanted.name);
        let mut before = None;
        if group.made == Made::Nothing {
            if !wanted.lines.is_empty() {
                before = Some(read_schemata(&directory)?);
            }
            self.compare(wanted, &directory, before.as_deref().unwrap_or_default())?;
        } else {
            self.make_directory(&directory, made)?;
        }
        self.write(&directory, &wanted.lines, before.as_deref())?;
        if group.monitored {
            let monitored = self.make_directory(&monitor(&directory, id), made);
            monitored.map_err(|error| {
                self.put_back(&directory, before.as_deref(), error.context("enableMonitoring"))
            })?;
        }
        self.groups(group, id).iter().map(|directory| tasks(directory)).collect()
    }

    /// "Runtimes MUST compare l3CacheSchema and/or memBwSchema value with schemata file, and generate an error
    /// if doesn't match"; `schemata` is written over the existing one.
    fn compare(&self, wanted: &Wanted<'_>, directory: &Path, schemata: &str) -> Result<()> {
        let step = std::fs::read_to_string(self.root.join("info/MB/bandwidth_gran")).ok();
        let step = step.and_then(|step| step.trim().parse().ok()).filter(|_| !self.megabytes);
        match wanted.compared.iter().find(|(_, line)| !schemata::holds(schemata, line, step)) {
            None => Ok(()),
            Some((field, line)) => {
                let has = schemata::same_resource(schemata, line).unwrap_or("nothing of it");
                Err(Error::failed(format!("{field}: {line:?} is not what {directory:?} has: {has}"))
                    .hint("other processes may be of that class: change it by hand, or name another closID"))
            }
        }
    }

    fn make_directory(&self, directory: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
        (self.mkdir)(directory).map_err(|error| self.explain(error, format!("mkdir({directory:?})")))?;
        made.push(directory.to_owned());
        Ok(())
    }

    /// Writes the lines, one write(2) each: of two lines for one resource the last counts. If one is refused, a
    /// class that existed before gets back its former schemata, `before`.
    fn write(&self, directory: &Path, lines: &[&str], before: Option<&str>) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut file = open_schemata(directory)?;
        for line in lines {
            if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
                let error = self.explain(error, format!("write({:?}, {line:?})", directory.join("schemata")));
                return Err(self.put_back(directory, before, error));
            }
        }
        Ok(())
    }

    /// The error of the failed write, after a class that existed before has got back its schemata.
    fn put_back(&self, directory: &Path, before: Option<&str>, error: Error) -> Error {
        if let (Some(before), Ok(mut file)) = (before, open_schemata(directory)) {
            for line in before.lines() {
                // The kernel has written it; one that it does not take back it has not changed either.
                let _ = file.write_all(format!("{}\n", line.trim()).as_bytes());
            }
        }
        error
    }

    fn remove(&self, group: &Group, id: &ContainerId, complete: bool) -> Result<()> {
        let _lock = self.lock()?;
        let directory = self.root.join(&group.name);
        if group.made == Made::Own {
            // Its monitoring group goes with it.
            return self.remove_directory(&directory);
        }
        if group.monitored {
            self.remove_directory(&monitor(&directory, id))?;
        }
        // A process that joined it meanwhile would end up in the default class.
        if group.made == Made::Class && !complete && is_unused(&directory) {
            return self.remove_directory(&directory);
        }
        Ok(())
    }

    fn remove_directory(&self, directory: &Path) -> Result<()> {
        match (self.rmdir)(directory) {
            Err(error) if error.kind() == Io::NotFound => Ok(()),
            Err(error) => Err(self.explain(error, format!("rmdir({directory:?})"))),
            Ok(()) => Ok(()),
        }
    }

    /// Its groups: one becomes a monitoring group's only out of the class that it belongs to.
    fn groups(&self, group: &Group, id: &ContainerId) -> Vec<PathBuf> {
        let class = self.root.join(&group.name);
        let monitor = group.monitored.then(|| monitor(&class, id));
        [class].into_iter().chain(monitor).collect()
    }

    /// A failed call, with the kernel's explanation.
    fn explain(&self, error: io::Error, call: String) -> Error {
        let denied = error.kind() == Io::PermissionDenied;
        let error = Error::from(error).context(call);
        let said = std::fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
        match said.trim() {
            "" | "ok" if denied => {
                error.hint("resctrl is root's: a plain user's container can have nothing of it")
            }
            "" | "ok" => error,
            said => error.hint(format!("resctrl says: {said}")),
        }
    }
}

fn monitor(class: &Path, id: &ContainerId) -> PathBuf {
    class.join("mon_groups").join(id.as_str())
}

fn is_unused(class: &Path) -> bool {
    let none =
        |file: &str| std::fs::read_to_string(class.join(file)).is_ok_and(|tasks| tasks.trim().is_empty());
    let monitored =
        std::fs::read_dir(class.join("mon_groups")).is_ok_and(|mut groups| groups.next().is_some());
    none("tasks") && !monitored
}

fn read_schemata(directory: &Path) -> Result<String> {
    let file = directory.join("schemata");
    std::fs::read_to_string(&file).context(|| format!("read({file:?})"))
}

fn open_schemata(directory: &Path) -> Result<File> {
    let file = directory.join("schemata");
    std::fs::OpenOptions::new().write(true).open(&file).context(|| format!("open({file:?}, O_WRONLY)"))
}

/// The file by which a process joins the group.
fn tasks(directory: &Path) -> Result<OwnedFd> {
    let file = directory.join("tasks");
    let path =
        CString::new(file.as_os_str().as_bytes()).map_err(|error| usage(format!("{file:?}: {error}")))?;
    Ok(fs::open_host_for_writing(&path).map_err(|errno| errno.during(format!("open({file:?}, O_WRONLY)")))?)
}

#[cfg(test)]
mod tests;
