//! Cgroups that systemd makes: a container's is a scope, which `linux.cgroupsPath` names as `slice:prefix:name`.
//!
//! Invariant: systemd has a container's limits as its unit's properties, so that a `daemon-reload` resets none
//! of them; limits without a property are written to the cgroup's files, which the scope's delegation allows.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::dbus::{Connection, Method, Value, Writer};
use super::resources::{cpu_weight, pids_max};
use super::{Layout, block_io};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys;
use crate::sys::child::clone::{Cloned, Request, SingleThreaded, clone_child};
use crate::sys::child::{creds, descriptors};
use crate::sys::file::fs;
use crate::sys::process::ns::Namespaces;
use crate::sys::process::pidfd;

/// systemd's own socket, for root alone: there without a bus too.
const SOCKET: &str = "/run/systemd/private";

/// "No limit", as a number property.
const INFINITY: u64 = u64::MAX;

const CGROUPFS: &str = "podrun makes cgroups itself with --cgroup-manager cgroupfs, without --systemd-cgroup";

/// A container's scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    slice: String,
    unit: String,
}

impl Scope {
    /// The scope that `linux.cgroupsPath` names, or `podrun-<id>.scope` in system.slice.
    pub fn parse(cgroups_path: Option<&str>, id: &str) -> Result<Self> {
        let Some(text) = cgroups_path.filter(|text| !text.is_empty()) else {
            return Ok(Self { slice: "system.slice".into(), unit: format!("podrun-{id}.scope") });
        };
        let wrong = |what: String| Error::new(ErrorKind::Usage, format!("linux.cgroupsPath: {what}"));
        let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(wrong(format!("`{text}` is not `slice:prefix:name`, as systemd has it"))
                .hint("a path is for --cgroup-manager cgroupfs"));
        };
        let unit = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        // Unit names, "Units" in systemd.unit(5); `/` and `..` would lead to other cgroups.
        let is_plain = |text: &str| {
            text.len() < 256
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
        };
        if name.is_empty() || !is_plain(&unit) {
            return Err(wrong(format!("`{unit}` is no name of a unit")));
        }
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let stem = slice.strip_suffix(".slice").unwrap_or_default();
        let is_root = stem == "-";
        if !is_plain(slice)
            || !(is_root || stem.split('-').all(|part| !part.is_empty()))
            || stem.starts_with('.')
        {
            return Err(wrong(format!("`{slice}` is no name of a slice")));
        }
        Ok(Self { slice: slice.into(), unit })
    }

    /// A scope as a record keeps it.
    pub fn of_unit(unit: &str) -> Self {
        Self { slice: String::new(), unit: unit.to_owned() }
    }

    /// Its unit's name.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Its cgroup's path: a slice `a-b.slice` lies in `a.slice` ("Description" in systemd.slice(5)).
    pub fn path(&self) -> String {
        let stem = self.slice.strip_suffix(".slice").unwrap_or_default();
        let ends = stem.match_indices('-').map(|(end, _)| end).chain([stem.len()]);
        let above = ends.filter(|_| stem != "-").filter_map(|end| stem.get(..end));
        let above: String = above.map(|stem| format!("/{stem}.slice")).collect();
        format!("{above}/{}", self.unit)
    }

    /// Asks systemd for a scope with these limits. A scope lasts as long as it has a process: until the
    /// container's own joins, the returned one keeps it.
    pub fn start(
        &self,
        layout: &Layout,
        description: &str,
        resources: Option<&LinuxResources>,
    ) -> Result<Placeholder> {
        let mut systemd = connect()?;
        if !layout.is_unified_only() {
            // On v1 it would open the devices of a delegated unit at each reload.
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("systemd's cgroups are done on v2 alone, and this host's are {}", layout.describe()),
            )
            .hint(CGROUPFS));
        }
        let placeholder = Placeholder::new()?;
        let mut properties = vec![
            ("Description", Value::Text(description.to_owned())),
            ("Slice", Value::Text(self.slice.clone())),
            ("PIDs", Value::Processes(vec![placeholder.process.pid.cast_unsigned()])),
            // Delegation lets podrun write its files, and make cgroups below.
            ("Delegate", Value::Boolean(true)),
            // It neither waits for the boot's end nor keeps a shutdown waiting.
            ("DefaultDependencies", Value::Boolean(false)),
            // Collect the unit also if the kernel killed its process for want of memory.
            ("CollectMode", Value::Text("inactive-or-failed".into())),
        ];
        let limits = resources.map(limits).transpose()?.unwrap_or_default();
        if !limits.iter().any(|(name, _)| *name == "TasksMax") {
            // systemd has a limit of its own for units that name none.
            properties.push(("TasksMax", Value::Number(INFINITY)));
        }
        properties.extend(limits);
        let mut body = Writer::default();
        body.text(&self.unit);
        body.text("fail");
        body.properties(&properties);
        body.no_structures();
        let call = manager("StartTransientUnit", "ssa(sv)a(sa(sv))");
        let job = match systemd.call(call, &body) {
            Err(error) if error.kind() == ErrorKind::Exists => {
                // A failed unit of another runtime keeps the name; a running unit is not affected.
                let mut failed = Writer::default();
                failed.text(&self.unit);
                match systemd.call(manager("ResetFailedUnit", "s"), &failed) {
                    // It has gone since.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    other => drop(other?),
                }
                systemd.call(call, &body)?
            }
            other => other?,
        };
        self.finish(&mut systemd, &job)?;
        Ok(placeholder)
    }

    /// Tells systemd of changed limits.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        let mut body = Writer::default();
        body.text(&self.unit);
        // Until the next boot, which the unit does not live to see.
        body.boolean(true);
        body.properties(&limits(resources)?);
        connect()?.call(manager("SetUnitProperties", "sba(sv)"), &body).map(drop)
    }

    /// Has systemd end and forget it; no error when it has already.
    pub fn stop(&self) -> Result<()> {
        let mut systemd = connect()?;
        let mut body = Writer::default();
        body.text(&self.unit);
        body.text("replace");
        match systemd.call(manager("StopUnit", "ss"), &body) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => self.finish(&mut systemd, &other?),
        }
    }

    /// Waits until systemd says how a job ended: JobRemoved has its path, the unit and the result.
    fn finish(&self, systemd: &mut Connection, job: &[String]) -> Result<()> {
        let job = job.first().map(String::as_str).unwrap_or_default();
        let ended = systemd.wait_for("JobRemoved", |texts| texts.first().is_some_and(|path| path == job))?;
        match ended.get(2).map(String::as_str) {
            Some("done") => Ok(()),
            other => Err(Error::failed(format!(
                "systemd: the job for {} ended as `{}`",
                self.unit,
                other.unwrap_or_default()
            ))
            .hint("journalctl -b says why")),
        }
    }
}

fn manager<'a>(member: &'a str, signature: &'a str) -> Method<'a> {
    Method {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        signature,
    }
}

fn connect() -> Result<Connection> {
    // "systemd is this host's init", as sd_booted(3) asks.
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "systemd is not this host's init: there is no /run/systemd/system",
        )
        .hint(CGROUPFS));
    }
    Connection::open(Path::new(SOCKET)).context(|| "systemd").map_err(|error| match creds::effective_uid() {
        0 => error,
        _ => error.hint("systemd's own socket is root's alone: use --cgroup-manager cgroupfs"),
    })
}

/// The process with which a scope begins, since systemd makes none that is empty. It waits, and does nothing else; dropping
/// this ends it.
#[derive(Debug)]
pub struct Placeholder {
    process: Cloned,
    /// It ends when this does, so when this process is killed too.
    end: Option<OwnedFd>,
}

impl Placeholder {
    fn new() -> Result<Self> {
        let (waits, end) = sys::io::socket::pair()?;
        let alone = SingleThreaded::check().map_err(|errno| errno.during("stat(\"/proc/self/task\")"))?;
        let request = Request { namespaces: Namespaces::NONE, cgroup: None };
        let process = clone_child(&alone, &request, |half| {
            let wait = || -> sys::errno::Result<()> {
                let waits = descriptors::move_to(half, waits.as_fd(), 0)?;
                descriptors::close_from(half, 1)?;
                fs::read(waits, &mut [0]).map(drop)
            };
            wait().map_or_else(|errno| errno.0, |()| 0)
        });
        let process = process.map_err(|errno| errno.during("clone3(the scope's first process)"))?;
        Ok(Self { process, end: Some(end) })
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        drop(self.end.take());
        // There is nothing that it could do now but end, unless its slice is frozen.
        let _ = pidfd::reap_within(self.process.pidfd.as_fd(), pidfd::KILLED_WITHIN);
    }
}

/// Limits as properties (systemd.resource-control(5)). Each time that one of them changes systemd sets all of its
/// controller's files, so that each that it knows has to be told to it.
fn limits(resources: &LinuxResources) -> Result<Vec<(&'static str, Value)>> {
    let mut numbers = Vec::new();
    let mut lists = Vec::new();
    if let Some(memory) = resources.memory() {
        numbers.extend(memory_limits(memory));
    }
    if let Some(cpu) = resources.cpu() {
        numbers.extend(cpu_limits(cpu));
        lists.extend([("AllowedCPUs", cpu.cpus().as_deref()), ("AllowedMemoryNodes", cpu.mems().as_deref())]);
    }
    if let Some(pids) = resources.pids() {
        numbers.push(("TasksMax", size(&pids_max(pids.limit())).unwrap_or(INFINITY)));
    }
    if let Some(weight) = resources.block_io().as_ref().and_then(|block_io| block_io.weight()) {
        numbers.extend((weight != 0).then(|| ("IOWeight", block_io::weight_v2(weight).into())));
    }
    for (file, value) in resources.unified().iter().flatten() {
        match file.as_str() {
            "cpuset.cpus" => lists.push(("AllowedCPUs", Some(value.as_str()))),
            "cpuset.mems" => lists.push(("AllowedMemoryNodes", Some(value.as_str()))),
            // The kernel refuses a malformed value when the file is written.
            file => numbers.extend(unified(file, value).into_iter().flatten()),
        }
    }
    let mut properties: Vec<_> =
        numbers.into_iter().map(|(name, value)| (name, Value::Number(value))).collect();
    for (name, list) in lists {
        if let Some(list) = list.filter(|list| !list.trim().is_empty()) {
            properties.push((name, Value::Bytes(bits(list)?)));
        }
    }
    Ok(properties)
}

/// A file of `linux.resources.unified` that systemd has properties for.
fn unified(file: &str, value: &str) -> Option<Vec<(&'static str, u64)>> {
    let value = value.trim();
    let property = match file {
        "cpu.max" => {
            let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
            let quota = if quota == "max" { None } else { Some(quota.parse().ok()?) };
            return Some(quota_properties(quota, period.trim().parse().ok().filter(|period| *period != 0)?));
        }
        "cpu.weight" => ("CPUWeight", value.parse().ok()?),
        "io.weight" => ("IOWeight", value.trim_start_matches("default").trim().parse().ok()?),
        "memory.high" => ("MemoryHigh", size(value)?),
        "memory.low" => ("MemoryLow", size(value)?),
        "memory.max" => ("MemoryMax", size(value)?),
        "memory.min" => ("MemoryMin", size(value)?),
        "memory.swap.max" => ("MemorySwapMax", size(value)?),
        "pids.max" => ("TasksMax", size(value)?),
        _ => return None,
    };
    Some(vec![property])
}

/// A number as the kernel's files take it: `max`, or with a unit of 1024.
fn size(text: &str) -> Option<u64> {
    if text == "max" {
        return Some(INFINITY);
    }
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let exponent = match text.get(digits.len()..)?.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1024_u64.pow(exponent))
}

/// Nothing and less is no limit, in the spec and in its callers.
fn or_infinity(limit: i64) -> u64 {
    u64::try_from(limit).ok().filter(|limit| *limit != 0).unwrap_or(INFINITY)
}

fn memory_limits(memory: &LinuxMemory) -> Vec<(&'static str, u64)> {
    let mut limits = Vec::new();
    let limit = memory.limit().filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        limits.push(("MemoryMax", or_infinity(limit)));
    }
    if let Some(low) = memory.reservation().filter(|bytes| *bytes != 0) {
        limits.push(("MemoryLow", or_infinity(low)));
    }
    // The spec's swap counts memory and swap together. One that is less than memory alone is refused with the files.
    match (memory.swap().filter(|swap| *swap != 0), limit) {
        (Some(..0), _) => limits.push(("MemorySwapMax", INFINITY)),
        (Some(both), Some(limit)) if limit > 0 => {
            limits.push(("MemorySwapMax", u64::try_from(both - limit).unwrap_or(0)));
        }
        _ => {}
    }
    limits
}

fn cpu_limits(cpu: &LinuxCpu) -> Vec<(&'static str, u64)> {
    let mut limits = Vec::new();
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        limits.push(("CPUWeight", cpu_weight(shares)));
    }
    // As cpu.max is written: a period alone is one without a quota.
    let (quota, period) =
        (cpu.quota().filter(|quota| *quota != 0), cpu.period().filter(|period| *period != 0));
    if quota.is_some() || period.is_some() {
        let quota = quota.and_then(|quota| u64::try_from(quota).ok());
        limits.extend(quota_properties(quota, period.unwrap_or(100_000)));
    }
    limits
}

fn quota_properties(quota: Option<u64>, period: u64) -> Vec<(&'static str, u64)> {
    // systemd counts in hundredths of a processor: rounded up, since less than was asked for is a wrong limit.
    const HUNDREDTH: u64 = 10_000;
    let each_second = quota.and_then(|quota| {
        quota.saturating_mul(1_000_000).div_ceil(period).checked_next_multiple_of(HUNDREDTH)
    });
    vec![("CPUQuotaPerSecUSec", each_second.unwrap_or(INFINITY)), ("CPUQuotaPeriodUSec", period)]
}

/// A list such as `0-2,7` as systemd has it: a bit each, the lowest first.
fn bits(list: &str) -> Result<Vec<u8>> {
    /// More than any kernel has.
    const MOST: usize = 8192;
    let wrong =
        || Error::new(ErrorKind::Usage, format!("linux.resources.cpu: `{list}` is no list such as `0-2,7`"));
    let mut bytes = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number < MOST);
        let (first, last) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
        for bit in first..=last {
            if bytes.len() <= bit / 8 {
                bytes.resize(bit / 8 + 1, 0_u8);
            }
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(path: &str) -> Result<(String, String)> {
        Scope::parse(Some(path), "web").map(|scope| (scope.path(), scope.unit))
    }

    #[test]
    fn the_three_part_form_names_a_scope_in_its_slices() {
        for (path, expected) in [
            ("", "/system.slice/podrun-web.scope"),
            ("machine.slice:libpod:abc", "/machine.slice/libpod-abc.scope"),
            (":crio:abc", "/system.slice/crio-abc.scope"),
            ("-.slice:p:a", "/p-a.scope"),
            ("a-b-c.slice::x", "/a.slice/a-b.slice/a-b-c.slice/x.scope"),
        ] {
            let (path, unit) = scope(path).unwrap();
            assert_eq!(path, expected);
            assert!(path.ends_with(&unit));
        }
        assert_eq!(Scope::parse(None, "web").unwrap().unit(), "podrun-web.scope");
    }

    #[test]
    fn what_would_lead_elsewhere_is_refused() {
        for path in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "a.slice:../b:c",
            "a.slice:b:c/d",
            "../a.slice:b:c",
            "a--b.slice:c:d",
            "-a.slice:b:c",
            "..slice:b:c",
            "a:b:c",
            ".slice:a:b",
            "a.slice:b:c d",
        ] {
            assert!(scope(path).is_err(), "{path}");
        }
    }

    #[test]
    fn limits_are_properties() {
        let shown = |json: &str| {
            let properties = limits(&serde_json::from_str(json).unwrap()).unwrap();
            properties.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(
                r#"{"memory":{"limit":10,"swap":30,"reservation":5},"pids":{"limit":7},
                "cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1,9"}}"#
            ),
            [
                "MemoryMax=Number(10)",
                "MemoryLow=Number(5)",
                "MemorySwapMax=Number(20)",
                "CPUWeight=Number(100)",
                "CPUQuotaPerSecUSec=Number(500000)",
                "CPUQuotaPeriodUSec=Number(100000)",
                "TasksMax=Number(7)",
                "AllowedCPUs=Bytes([3, 2])",
            ]
        );
        let none = format!("Number({INFINITY})");
        assert_eq!(
            shown(r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1},"cpu":{"quota":-1}}"#),
            ["MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax"]
                .map(|name| format!("{name}={none}"))
                .into_iter()
                .enumerate()
                .flat_map(|(at, text)| if at == 2 {
                    vec![text, "CPUQuotaPeriodUSec=Number(100000)".into()]
                } else {
                    vec![text]
                })
                .collect::<Vec<_>>()
        );
        assert_eq!(
            shown(
                r#"{"cpu":{"period":50000},"blockIO":{"weight":500},"unified":{"memory.high":"2K","pids.max":"max",
                "cpu.max":"50000 200000","cpuset.cpus":"1","io.max":"8:0 rbps=1"}}"#
            )
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>(),
            [
                "AllowedCPUs=Bytes([2])".to_owned(),
                "CPUQuotaPeriodUSec=Number(200000)".into(),
                "CPUQuotaPeriodUSec=Number(50000)".into(),
                "CPUQuotaPerSecUSec=Number(250000)".into(),
                format!("CPUQuotaPerSecUSec={none}"),
                "IOWeight=Number(4950)".into(),
                "MemoryHigh=Number(2048)".into(),
                format!("TasksMax={none}"),
            ]
            .into_iter()
            .collect()
        );
        assert_eq!(
            ["max", "3", "2m", "1G", "x", "", "9999999T999"].map(size),
            [Some(INFINITY), Some(3), Some(2 << 20), Some(1 << 30), None, None, None]
        );
        // A third of a processor: rounded up to 34 hundredths.
        assert_eq!(shown(r#"{"cpu":{"quota":1,"period":3}}"#)[0], "CPUQuotaPerSecUSec=Number(340000)");
        assert!(limits(&serde_json::from_str(r#"{"cpu":{"cpus":"0-x"}}"#).unwrap()).is_err());
    }
}
