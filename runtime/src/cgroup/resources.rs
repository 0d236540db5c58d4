//! A runtime-spec `LinuxResources` as the list of files to write, for v1 and for v2.
//!
//! Invariant: pure. A limit that cannot be set is refused by name, never dropped; the writes are in an order
//! that the kernel takes.

use std::collections::BTreeSet;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::block_io;
use super::layout::Controller;
use crate::error::{Error, ErrorKind, Result};

/// One value for one file of one controller's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) controller: Controller,
    pub(super) file: String,
    pub(super) value: String,
    /// The file and value of a kernel that has no `file`.
    pub(super) or: Option<(String, String)>,
}

impl Write {
    /// The same on a kernel that has no such file, but another one.
    pub(super) fn or(mut self, file: &str, value: impl ToString) -> Self {
        self.or = Some((file.to_owned(), value.to_string()));
        self
    }
}

/// Whether a file limits swap: on a kernel that does not count swap it is not there, and neither is the limit.
pub(super) fn is_of_swap(file: &str) -> bool {
    ["memory.memsw.limit_in_bytes", "memory.swap.max"].contains(&file)
}

/// Whether a share of realtime scheduling is asked for.
pub(super) fn has_realtime(resources: &LinuxResources) -> bool {
    resources.cpu().as_ref().is_some_and(|cpu| cpu.realtime_runtime().is_some())
}

pub(super) fn write(controller: Controller, file: &str, value: impl ToString) -> Write {
    Write { controller, file: file.to_owned(), value: value.to_string(), or: None }
}

/// Refuses limits for which no supported kernel has a file, and meaningless ones.
pub(super) fn check(resources: &LinuxResources) -> Result<()> {
    if let Some(memory) = resources.memory() {
        // Writes are refused since Linux 5.16 (memory.kmem.limit_in_bytes), and v2 never had it.
        if memory.kernel().is_some_and(|bytes| bytes > 0) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "linux.resources.memory.kernel: Linux has no limit for kernel memory alone",
            )
            .hint("memory.limit counts it too"));
        }
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        let digits = size.trim_end_matches(['K', 'M', 'G', 'B']);
        let unit = size.get(digits.len()..).unwrap_or_default();
        let number: u64 = digits.parse().unwrap_or(0);
        if !number.is_power_of_two() || !["KB", "MB", "GB"].contains(&unit) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("linux.resources.hugepageLimits: `{size}` is no page size, as `2MB` is"),
            ));
        }
    }
    for file in resources.unified().iter().flat_map(|files| files.keys()) {
        // A file name, not a path: `../` here has reached other cgroups elsewhere (GHSA-5g49-rx9x-qfc6).
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !file.contains('.') || file.starts_with('.') || !file.bytes().all(plain) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("linux.resources.unified: `{file}` is not the name of a cgroup file"),
            ));
        }
    }
    Ok(())
}

/// The controllers that a cgroup with these resources must have.
pub(super) fn controllers(resources: Option<&LinuxResources>) -> BTreeSet<&'static str> {
    // The memory controller is read at each exit: was it the kernel's OOM killer?
    let mut names = BTreeSet::from([Controller::Memory.name()]);
    if let Some(resources) = resources {
        names.extend(v1(resources).iter().map(|write| write.controller.name()));
        if resources.devices().as_ref().is_some_and(|rules| !rules.is_empty()) {
            names.insert(Controller::Devices.name());
        }
        let files = resources.unified().iter().flatten().filter_map(|(file, _)| file.split('.').next());
        names.extend(files.filter_map(Controller::parse).map(Controller::name));
    }
    names
}

/// The writes for v1.
pub(super) fn v1(resources: &LinuxResources) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(cpu) = resources.cpu() {
        writes.extend(cpuset(cpu));
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            writes.push(write(Controller::Cpu, "cpu.shares", shares));
        }
        if let Some(period) = cpu.period().filter(|period| *period != 0) {
            writes.push(write(Controller::Cpu, "cpu.cfs_period_us", period));
        }
        if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
            writes.push(write(Controller::Cpu, "cpu.cfs_quota_us", quota));
        }
        if let Some(burst) = cpu.burst() {
            writes.push(write(Controller::Cpu, "cpu.cfs_burst_us", burst));
        }
        if let Some(idle) = cpu.idle() {
            writes.push(write(Controller::Cpu, "cpu.idle", idle));
        }
        writes.extend(realtime(cpu));
    }
    if let Some(memory) = resources.memory() {
        writes.extend(memory_v1(memory));
    }
    if let Some(pids) = resources.pids() {
        writes.push(write(Controller::Pids, "pids.max", pids_max(pids.limit())));
    }
    if let Some(block_io) = resources.block_io() {
        writes.extend(block_io::v1(block_io));
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size());
        writes.push(write(Controller::Hugetlb, &file, limit.limit()));
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id() {
            writes.push(write(Controller::NetCls, "net_cls.classid", class));
        }
        for priority in network.priorities().iter().flatten() {
            let value = format!("{} {}", priority.name(), priority.priority());
            writes.push(write(Controller::NetPrio, "net_prio.ifpriomap", value));
        }
    }
    writes.extend(rdma(resources));
    writes
}

/// The same file on v1 and on v2.
fn rdma(resources: &LinuxResources) -> Vec<Write> {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by(|one, other| one.0.cmp(other.0));
    let limit =
        |name: &str, limit: Option<u32>| limit.map(|limit| format!(" {name}={limit}")).unwrap_or_default();
    let line = |(device, limits): (&String, &oci_spec::runtime::LinuxRdma)| {
        let handles = limit("hca_handle", limits.hca_handles());
        let objects = limit("hca_object", limits.hca_objects());
        write(Controller::Rdma, "rdma.max", format!("{device}{handles}{objects}"))
    };
    devices.into_iter().map(line).collect()
}

/// The two files of realtime scheduling, the period first: the runtime must fit into it.
fn realtime(cpu: &LinuxCpu) -> Vec<Write> {
    let period = cpu.realtime_period().map(|period| write(Controller::Cpu, "cpu.rt_period_us", period));
    let runtime = cpu.realtime_runtime().map(|runtime| write(Controller::Cpu, "cpu.rt_runtime_us", runtime));
    period.into_iter().chain(runtime).collect()
}

/// Refuses limits for which the unified hierarchy has no file.
pub(super) fn refuse_on_v2(resources: &LinuxResources) -> Result<()> {
    let refused = |field: &str| {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("linux.resources.{field}: cgroup v2 has no such setting"),
        ))
    };
    if resources.network().as_ref().is_some_and(|network| {
        network.class_id().is_some() || network.priorities().as_ref().is_some_and(|list| !list.is_empty())
    }) {
        return refused("network");
    }
    if let Some(memory) = resources.memory() {
        if memory.kernel_tcp().is_some() {
            return refused("memory.kernelTCP");
        }
        if memory.swappiness().is_some() {
            return refused("memory.swappiness");
        }
        if memory.disable_oom_killer() == Some(true) {
            return refused("memory.disableOOMKiller");
        }
    }
    match resources.cpu() {
        Some(cpu) if cpu.realtime_runtime().is_some() || cpu.realtime_period().is_some() => {
            refused("cpu.realtimeRuntime")
        }
        _ => Ok(()),
    }
}

fn cpuset(cpu: &LinuxCpu) -> Vec<Write> {
    let set = |file, value: &Option<String>| {
        let value = value.as_ref().filter(|list| !list.is_empty())?;
        Some(write(Controller::Cpuset, file, value))
    };
    set("cpuset.cpus", cpu.cpus()).into_iter().chain(set("cpuset.mems", cpu.mems())).collect()
}

fn memory_v1(memory: &LinuxMemory) -> Vec<Write> {
    let bytes = |file, bytes: Option<i64>| {
        bytes.filter(|bytes| *bytes != 0).map(|bytes| write(Controller::Memory, file, bytes))
    };
    let mut both: Vec<Write> = bytes("memory.limit_in_bytes", memory.limit()).into_iter().collect();
    both.extend(bytes("memory.memsw.limit_in_bytes", memory.swap()));
    if let Some(reservation) = memory.reservation().filter(|bytes| *bytes != 0) {
        both.push(write(Controller::Memory, "memory.soft_limit_in_bytes", reservation));
    }
    if let Some(swappiness) = memory.swappiness() {
        both.push(write(Controller::Memory, "memory.swappiness", swappiness));
    }
    if let Some(bytes) = memory.kernel_tcp() {
        both.push(write(Controller::Memory, "memory.kmem.tcp.limit_in_bytes", bytes));
    }
    if memory.disable_oom_killer() == Some(true) {
        both.push(write(Controller::Memory, "memory.oom_control", 1));
    }
    both
}

/// The writes for v2.
pub(super) fn v2(resources: &LinuxResources) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if let Some(cpu) = resources.cpu() {
        writes.extend(cpuset(cpu));
        if let Some(idle) = cpu.idle() {
            writes.push(write(Controller::Cpu, "cpu.idle", idle));
        }
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            writes.push(write(Controller::Cpu, "cpu.weight", cpu_weight(shares)));
        }
        let (quota, period) =
            (cpu.quota().filter(|quota| *quota != 0), cpu.period().filter(|period| *period != 0));
        if quota.is_some() || period.is_some() {
            let quota = quota.filter(|quota| *quota > 0);
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            writes.push(write(Controller::Cpu, "cpu.max", format!("{quota} {}", period.unwrap_or(100_000))));
        }
        if let Some(burst) = cpu.burst() {
            writes.push(write(Controller::Cpu, "cpu.max.burst", burst));
        }
    }
    if let Some(memory) = resources.memory() {
        writes.extend(memory_v2(memory));
    }
    if let Some(pids) = resources.pids() {
        writes.push(write(Controller::Pids, "pids.max", pids_max(pids.limit())));
    }
    if let Some(block_io) = resources.block_io() {
        writes.extend(block_io::v2(block_io)?);
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.max", limit.page_size());
        writes.push(write(Controller::Hugetlb, &file, limit.limit()));
    }
    writes.extend(rdma(resources));
    Ok(writes)
}

/// The files of `unified`, as given, in the order of their names.
pub(super) fn unified(resources: &LinuxResources) -> Vec<(String, String)> {
    let mut files: Vec<_> =
        resources.unified().iter().flatten().map(|(file, value)| (file.clone(), value.clone())).collect();
    files.sort();
    files
}

fn memory_v2(memory: &LinuxMemory) -> Vec<Write> {
    let bytes = |bytes: i64| if bytes < 0 { "max".to_owned() } else { bytes.to_string() };
    let mut writes = Vec::new();
    let limit = memory.limit().filter(|limit| *limit != 0);
    // The spec's swap counts memory and swap together; v2 counts swap alone.
    let swap = match (memory.swap().filter(|swap| *swap != 0), limit) {
        (Some(..0), _) => Some(-1),
        (Some(both), Some(limit @ 1..)) => Some(both.saturating_sub(limit)),
        _ => None,
    };
    if let Some(swap) = swap {
        writes.push(write(Controller::Memory, "memory.swap.max", bytes(swap)));
    }
    if let Some(limit) = limit {
        writes.push(write(Controller::Memory, "memory.max", bytes(limit)));
    }
    if let Some(reservation) = memory.reservation().filter(|bytes| *bytes != 0) {
        writes.push(write(Controller::Memory, "memory.low", bytes(reservation)));
    }
    writes
}

/// 0 is a limit (config-linux.md, "PIDs"), a negative number is none. A process that joins is not counted
/// against 0, but no child could be born: 1 means the same for a container, whose first process joins.
pub(super) fn pids_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.max(1).to_string() }
}

/// v1 shares (2 to 262144, 1024 is usual) as a v2 weight (1 to 10000, 100 is usual): the curve through
/// those three points that runc and crun use, 10^((l^2 + 125 l) / 612 - 7/34) with l = log2(shares).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "shares are at most 262144 here and the result lies between 1 and 10000"
)]
pub(super) fn cpu_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10_f64.powf(exponent).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    fn lines(writes: &[Write]) -> Vec<String> {
        writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    const FULL: &str = r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":4096},
        "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0-1"},"pids":{"limit":7}}"#;

    #[test]
    fn v1_writes_are_in_an_order_the_kernel_takes() {
        assert_eq!(
            lines(&v1(&resources(FULL))),
            [
                "cpuset.cpus=0-1",
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=2097152",
                "memory.soft_limit_in_bytes=4096",
                "pids.max=7",
            ]
        );
    }

    #[test]
    fn v2_writes_count_swap_alone_and_weigh_shares() {
        assert_eq!(
            lines(&v2(&resources(FULL)).unwrap()),
            [
                "cpuset.cpus=0-1",
                "cpu.weight=59",
                "cpu.max=50000 100000",
                "memory.swap.max=1048576",
                "memory.max=1048576",
                "memory.low=4096",
                "pids.max=7",
            ]
        );
    }

    #[test]
    fn weights_meet_the_three_points() {
        assert_eq!([2, 1024, 262_144].map(cpu_weight), [1, 100, 10_000]);
    }

    #[test]
    fn only_needed_controllers_are_named() {
        let names = |json| controllers(Some(&resources(json))).into_iter().collect::<Vec<_>>();
        assert_eq!(names("{}"), ["memory"]);
        assert_eq!(names(r#"{"pids":{"limit":1},"cpu":{"shares":2}}"#), ["cpu", "memory", "pids"]);
        assert_eq!(names(r#"{"devices":[{"allow":false}]}"#), ["devices", "memory"]);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (json, name) in [
            (r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#, "hugepageLimits"),
            (r#"{"hugepageLimits":[{"pageSize":"2M/x","limit":1}]}"#, "hugepageLimits"),
            (r#"{"memory":{"kernel":1}}"#, "memory.kernel"),
            (r#"{"unified":{"../memory.max":"1"}}"#, "unified"),
            (r#"{"unified":{"..":"1"}}"#, "unified"),
        ] {
            let error = check(&resources(json)).unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
        check(&resources(r#"{"unified":{"memory.high":"1"}}"#)).unwrap();
    }

    #[test]
    fn no_process_is_a_limit_and_less_is_none() {
        assert_eq!([-1, 0, 1, 7].map(pids_max), ["max", "1", "1", "7"]);
    }

    #[test]
    fn nothing_is_written_of_what_is_0() {
        let zeros = resources(r#"{"cpu":{"quota":0,"period":0,"shares":0},"memory":{"limit":0,"swap":0}}"#);
        assert_eq!((lines(&v1(&zeros)), lines(&v2(&zeros).unwrap())), (vec![], vec![]));
    }
}
