//! Where and when a process runs: `process.scheduler`, `ioPriority`, `execCPUAffinity`, and of the container
//! `linux.memoryPolicy` and `linux.personality`.
//!
//! Invariant: pure; values that the kernel would misread are refused here.

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonality,
    LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType,
    MemoryPolicyModeType, Process, Scheduler,
};

use super::paths::usage;
use super::plan::Step;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::child::sched::{self, Scheduling};

/// The most CPUs and memory nodes that a list may name.
const MOST: usize = 8192;

/// The steps of a process's own fields; the CPUs of an exec's stand apart, see [`affinity`]. `forks`: it is a copy of the
/// process that walks them.
pub(super) fn of_process(process: &Process, forks: bool) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(scheduler) = process.scheduler() {
        let wanted = scheduling(scheduler)?;
        if forks && !sched::is_inherited(wanted) {
            let message = "process.scheduler: a process that joins a pid namespace is a copy, which SCHED_DEADLINE and \
                           SCHED_FLAG_RESET_ON_FORK are not for";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        steps.push(Step::Scheduling(wanted));
    }
    if let Some(priority) = process.io_priority() {
        steps.push(Step::IoPriority(io_priority(priority)?));
    }
    Ok(steps)
}

/// The steps for the process settings of a container.
pub(super) fn of_container(linux: Option<&Linux>) -> Result<Vec<Step>> {
    let policy = linux.and_then(|linux| linux.memory_policy().as_ref());
    let domain = linux.and_then(|linux| linux.personality().as_ref());
    let steps = [policy.map(memory_policy), domain.map(personality)];
    steps.into_iter().flatten().collect()
}

/// The CPUs of a process that joins a container: before it is in the container's cgroup, and after.
pub(super) fn affinity(wanted: Option<&ExecCPUAffinity>) -> Result<[Option<Step>; 2]> {
    let step = |field: &str, list: Option<&String>| {
        let list = list.filter(|list| !list.is_empty());
        list.map(|list| mask(&format!("process.execCPUAffinity.{field}"), list).map(Step::Affinity))
            .transpose()
    };
    let initial = wanted.and_then(|wanted| wanted.initial().as_ref());
    let after = wanted.and_then(|wanted| wanted.cpu_affinity_final().as_ref());
    Ok([step("initial", initial)?, step("final", after)?])
}

fn scheduling(wanted: &Scheduler) -> Result<Scheduling> {
    use LinuxSchedulerPolicy as Policy;
    let policy = *wanted.policy();
    let number = match policy {
        Policy::SchedOther => sched::SCHED_OTHER,
        Policy::SchedFifo => sched::SCHED_FIFO,
        Policy::SchedRr => sched::SCHED_RR,
        Policy::SchedBatch => sched::SCHED_BATCH,
        Policy::SchedIdle => sched::SCHED_IDLE,
        Policy::SchedDeadline => sched::SCHED_DEADLINE,
        Policy::SchedIso => {
            return Err(usage("process.scheduler.policy: SCHED_ISO is in no kernel".into()));
        }
    };
    let nice = wanted.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(usage(format!("process.scheduler.nice: {nice} is not from -20 to 19")));
    }
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    let priority = wanted.priority().unwrap_or(0);
    if real_time != (1..=99).contains(&priority) || (!real_time && priority != 0) {
        return Err(usage(format!(
            "process.scheduler.priority: {priority}: SCHED_FIFO and SCHED_RR need one from 1 to 99, and no other has one"
        )));
    }
    let times = [*wanted.runtime(), *wanted.deadline(), *wanted.period()];
    if policy != Policy::SchedDeadline && times.iter().flatten().any(|time| *time != 0) {
        return Err(usage("process.scheduler: runtime, deadline and period are for SCHED_DEADLINE".into()));
    }
    let flags = wanted.flags().iter().flatten().map(|flag| flag_bits(*flag)).collect::<Result<Vec<u64>>>()?;
    let [runtime, deadline, period] = times.map(|time| time.unwrap_or(0));
    Ok(Scheduling {
        policy: number.cast_unsigned(),
        flags: flags.into_iter().fold(0, |all, one| all | one),
        nice,
        priority: priority.unsigned_abs(),
        runtime,
        deadline,
        period,
    })
}

fn flag_bits(flag: LinuxSchedulerFlag) -> Result<u64> {
    use LinuxSchedulerFlag as Flag;
    match flag {
        Flag::SchedResetOnFork => Ok(0x01),
        Flag::SchedFlagReclaim => Ok(0x02),
        Flag::SchedFlagDLOverrun => Ok(0x04),
        Flag::SchedFlagKeepPolicy => Ok(0x08),
        Flag::SchedFlagKeepParams => Ok(0x10),
        // The specification has no field for their values.
        Flag::SchedFlagUtilClampMin | Flag::SchedFlagUtilClampMax => Err(Error::new(
            ErrorKind::Unsupported,
            format!("process.scheduler.flags: {flag} has no value here"),
        )),
    }
}

fn io_priority(wanted: &LinuxIOPriority) -> Result<i32> {
    const CLASS_SHIFT: u32 = 13;
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(wanted.priority()) {
        Ok(level @ 0..=7) => Ok(class << CLASS_SHIFT | level),
        _ => Err(usage(format!("process.ioPriority.priority: {} is not from 0 to 7", wanted.priority()))),
    }
}

/// `linux.memoryPolicy` (set_mempolicy(2)).
fn memory_policy(wanted: &LinuxMemoryPolicy) -> Result<Step> {
    use MemoryPolicyModeType as Mode;
    let mode = match wanted.mode() {
        Mode::MpolDefault => sched::MPOL_DEFAULT,
        Mode::MpolPreferred => sched::MPOL_PREFERRED,
        Mode::MpolBind => sched::MPOL_BIND,
        Mode::MpolInterleave => sched::MPOL_INTERLEAVE,
        Mode::MpolLocal => sched::MPOL_LOCAL,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    let flags = wanted.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
            MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        }
    });
    let list = wanted.nodes().as_deref().filter(|list| !list.is_empty());
    let (takes, needs) = match wanted.mode() {
        Mode::MpolDefault | Mode::MpolLocal => (false, false),
        Mode::MpolPreferred => (true, false),
        _ => (true, true),
    };
    if list.is_some() && !takes {
        return Err(usage(format!("linux.memoryPolicy.nodes: {} has none", wanted.mode())));
    }
    if list.is_none() && needs {
        return Err(usage(format!("linux.memoryPolicy.nodes: {} needs some", wanted.mode())));
    }
    let nodes = list.map(|list| mask("linux.memoryPolicy.nodes", list)).transpose()?.unwrap_or_default();
    Ok(Step::MemoryPolicy { mode: mode | flags, nodes })
}

/// `linux.personality` (personality(2)).
fn personality(wanted: &LinuxPersonality) -> Result<Step> {
    if let Some(flag) = wanted.flags().iter().flatten().next() {
        return Err(usage(format!("linux.personality.flags: `{flag}`: the specification has none yet")));
    }
    Ok(Step::Personality(match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}

/// A list as cpuset(7) has it, `0-3,7`, as bits.
fn mask(field: &str, list: &str) -> Result<Vec<u64>> {
    let wrong = || usage(format!("{field}: `{list}` is no list of numbers below {MOST}, like `0-3,7`"));
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number < MOST);
        let (Some(first), Some(last)) = (number(first), number(last)) else { return Err(wrong()) };
        if first > last {
            return Err(wrong());
        }
        bits.resize(bits.len().max(last / 64 + 1), 0_u64);
        for bit in first..=last {
            if let Some(word) = bits.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduled(json: &str) -> Result<Scheduling> {
        scheduling(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn lists_become_bits() {
        assert_eq!(mask("x", "0-3,7").unwrap(), [0b1000_1111]);
        assert_eq!(mask("x", "64").unwrap(), [0, 1]);
        for wrong in ["", "a", "3-1", "1,,2", "-1", "8192", "0-99999999999"] {
            assert!(mask("x", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_priority_is_for_real_time_alone() {
        let fifo =
            scheduled(r#"{"policy":"SCHED_FIFO","priority":10,"flags":["SCHED_RESET_ON_FORK"]}"#).unwrap();
        assert_eq!((fifo.policy, fifo.priority, fifo.flags), (1, 10, 1));
        for wrong in [
            r#"{"policy":"SCHED_FIFO"}"#,
            r#"{"policy":"SCHED_RR","priority":100}"#,
            r#"{"policy":"SCHED_OTHER","priority":1}"#,
            r#"{"policy":"SCHED_OTHER","nice":20}"#,
            r#"{"policy":"SCHED_BATCH","runtime":5}"#,
            r#"{"policy":"SCHED_ISO"}"#,
        ] {
            assert!(scheduled(wrong).is_err(), "{wrong}");
        }
        assert_eq!(scheduled(r#"{"policy":"SCHED_BATCH","nice":-5}"#).unwrap().nice, -5);
    }

    #[test]
    fn a_memory_policy_has_the_nodes_that_its_mode_is_for() {
        let modes =
            ["DEFAULT", "LOCAL", "PREFERRED", "PREFERRED_MANY", "BIND", "INTERLEAVE", "WEIGHTED_INTERLEAVE"];
        let taken = |mode: &str, nodes: &str| {
            let policy = serde_json::json!({"mode": format!("MPOL_{mode}"), "nodes": nodes});
            memory_policy(&serde_json::from_value(policy).unwrap()).is_ok()
        };
        assert_eq!(modes.map(|mode| taken(mode, "")), [true, true, true, false, false, false, false]);
        assert_eq!(modes.map(|mode| taken(mode, "0")), [false, false, true, true, true, true, true]);
    }

    #[test]
    fn an_io_priority_is_packed() {
        let packed = |json: &str| io_priority(&serde_json::from_str(json).unwrap());
        assert_eq!(packed(r#"{"class":"IOPRIO_CLASS_IDLE","priority":0}"#).unwrap(), 3 << 13);
        assert_eq!(packed(r#"{"class":"IOPRIO_CLASS_BE","priority":4}"#).unwrap(), 2 << 13 | 4);
        assert!(packed(r#"{"class":"IOPRIO_CLASS_BE","priority":8}"#).is_err());
    }
}
