//! `linux.seccomp`: checked, compiled by libseccomp, and kept as a program of the kernel's.
//!
//! Invariant: a call that a filter would have to leave open is refused or reported in a warning. A name that
//! libseccomp does not know, but every architecture numbers alike, is filtered by its number; an architecture
//! that this machine cannot execute filters nothing and is left out.

mod cache;
mod listener;
mod pass;
#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};

use super::paths::{c_string, usage};
use crate::error::Result;
use crate::sys::kernel::libseccomp::{self, Condition, Rules};
use crate::sys::kernel::seccomp::{self, Action, Flags, Instruction};
pub(super) use listener::Listener;

/// A filter, ready to be installed.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) program: Vec<Instruction>,
    pub(super) flags: Flags,
}

impl Filter {
    /// The filter of a process that only reaps: a tracer gets no call out of it beyond its own rights.
    pub(super) fn of_reaper() -> Self {
        let refuse = Instruction::answer(Action::EPERM);
        let mut program = vec![
            Instruction::load_architecture(),
            Instruction::equal(libseccomp::native(), 1, 0),
            refuse,
            Instruction::load_number(),
        ];
        for call in seccomp::REAPERS {
            program.extend([Instruction::equal(call, 0, 1), Instruction::answer(Action::ALLOW)]);
        }
        program.push(refuse);
        Self { program, flags: Flags::default() }
    }

    /// Whether some calls wait for an agent's answer.
    pub(super) fn asks(&self) -> bool {
        self.flags.contains(Flags::NEW_LISTENER)
    }
}

/// x32's own token in libseccomp, and the bit that distinguishes it from x86_64 in a syscall's number: the
/// kernel's architecture is the same.
const X32: u32 = Arch::ScmpArchX32 as u32;
const X32_BIT: u32 = 0x4000_0000;

/// The architectures that one kernel executes side by side.
const FAMILIES: [&[Arch]; 8] = [
    &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
    &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
    &[Arch::ScmpArchMips64, Arch::ScmpArchMips, Arch::ScmpArchMips64n32],
    &[Arch::ScmpArchMipsel64, Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64n32],
    &[Arch::ScmpArchPpc64, Arch::ScmpArchPpc],
    &[Arch::ScmpArchS390x, Arch::ScmpArchS390],
    &[Arch::ScmpArchParisc64, Arch::ScmpArchParisc],
    &[Arch::ScmpArchSh, Arch::ScmpArchSheb],
];

/// Syscalls that a libseccomp may be older than. Since 403 every architecture that podrun is built
/// for gives a new one the same number (the kernel's scripts/syscall.tbl).
const NUMBERED_ALIKE: [(&str, i32); 20] = [
    ("set_mempolicy_home_node", 450),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

/// The same of syscalls that this architecture alone has.
const NUMBERED_HERE: &[(&str, i32)] = if cfg!(target_arch = "x86_64") {
    &[("uretprobe", 335)]
} else if cfg!(target_arch = "riscv64") {
    &[("riscv_hwprobe", 258)]
} else {
    &[]
};

/// The last syscall (Linux 4.18) before new ones got one number everywhere: every author of a profile knows the
/// older ones, however short the profile.
const KNOWN_TO_ALL: &str = "rseq";

/// The elements of a filter, by the spec's names.
#[derive(Debug)]
pub struct Features {
    /// `SCMP_ACT_*`.
    pub actions: Vec<String>,
    /// `SCMP_CMP_*`.
    pub operators: Vec<String>,
    /// `SCMP_ARCH_*`; ones that this machine cannot execute filter nothing.
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: Vec<String>,
    /// The ones that this kernel knows.
    pub kernel_flags: Vec<String>,
}

/// The elements that podrun accepts in `linux.seccomp`.
pub fn features() -> Features {
    use LinuxSeccompAction as Act;
    use LinuxSeccompFilterFlag as Flag;
    use LinuxSeccompOperator as Cmp;
    let actions = [
        Act::ScmpActAllow,
        Act::ScmpActErrno,
        Act::ScmpActKill,
        Act::ScmpActKillProcess,
        Act::ScmpActKillThread,
        Act::ScmpActLog,
        Act::ScmpActNotify,
        Act::ScmpActTrace,
        Act::ScmpActTrap,
    ];
    let operators = [
        Cmp::ScmpCmpEq,
        Cmp::ScmpCmpGe,
        Cmp::ScmpCmpGt,
        Cmp::ScmpCmpLe,
        Cmp::ScmpCmpLt,
        Cmp::ScmpCmpMaskedEq,
        Cmp::ScmpCmpNe,
    ];
    let flags = [
        (Flag::SeccompFilterFlagLog, Flags::LOG),
        (Flag::SeccompFilterFlagSpecAllow, Flags::SPEC_ALLOW),
        (Flag::SeccompFilterFlagTsync, Flags::TSYNC),
        // The kernel takes it with a listener alone.
        (Flag::SeccompFilterFlagWaitKillableRecv, Flags::NEW_LISTENER.with(Flags::WAIT_KILLABLE_RECV)),
    ];
    let kernels = flags.iter().filter(|(_, flags)| seccomp::knows(*flags));
    Features {
        actions: actions.iter().map(ToString::to_string).collect(),
        operators: operators.iter().map(ToString::to_string).collect(),
        architectures: FAMILIES.iter().flat_map(|family| family.iter()).map(ToString::to_string).collect(),
        flags: flags.iter().map(|(flag, _)| flag.to_string()).collect(),
        kernel_flags: kernels.map(|(flag, _)| flag.to_string()).collect(),
    }
}

/// Compiles a filter, or takes the program that was kept in `programs` from an earlier time.
pub(super) fn filter(
    seccomp: &LinuxSeccomp,
    programs: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<Filter> {
    warnings.extend(check(seccomp)?);
    let program = match programs {
        Some(folder) => cache::program(seccomp, folder)?,
        None => compile(seccomp)?,
    };
    Ok(Filter { program, flags: flags(seccomp) })
}

/// Whether an agent is asked about some syscall.
pub(super) fn notifies(seccomp: &LinuxSeccomp) -> bool {
    rules(seccomp).iter().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

fn rules(seccomp: &LinuxSeccomp) -> &[LinuxSyscall] {
    seccomp.syscalls().as_deref().unwrap_or_default()
}

/// Checks beyond the schema: refuses contradictions and unenforceable rules by name; returns warnings about
/// rules that differ from their author's likely intent.
pub fn check(seccomp: &LinuxSeccomp) -> Result<Vec<String>> {
    if seccomp.default_action() == LinuxSeccompAction::ScmpActNotify {
        let message = "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default";
        return Err(usage(message.into()).hint(
            "every syscall would wait for the agent, the one by which the agent gets its descriptor too",
        ));
    }
    action("linux.seccomp.defaultErrnoRet", seccomp.default_action(), seccomp.default_errno_ret())?;
    match (notifies(seccomp), seccomp.listener_path(), seccomp.listener_metadata()) {
        (true, None, _) => {
            return Err(usage("linux.seccomp.listenerPath: required by SCMP_ACT_NOTIFY".into()));
        }
        (_, None, Some(_)) => {
            return Err(usage("linux.seccomp.listenerMetadata: has no meaning without listenerPath".into()));
        }
        (true, Some(path), _) if !path.is_absolute() => {
            let path = path.display();
            return Err(usage(format!("linux.seccomp.listenerPath: `{path}` is not an absolute path")));
        }
        _ => {}
    }
    let mut warnings = Vec::new();
    for rule in rules(seccomp) {
        check_rule(rule, seccomp, &mut warnings)?;
    }
    Ok(warnings)
}

fn check_rule(rule: &LinuxSyscall, seccomp: &LinuxSeccomp, warnings: &mut Vec<String>) -> Result<()> {
    let Some(first) = rule.names().first() else {
        return Err(usage("linux.seccomp.syscalls: a rule names no syscall".into()));
    };
    action(&format!("linux.seccomp.syscalls: {first}: errnoRet"), rule.action(), rule.errno_ret())?;
    if rule.action() == LinuxSeccompAction::ScmpActNotify && rule.names().iter().any(|name| name == "write") {
        let message = "linux.seccomp.syscalls: write cannot have SCMP_ACT_NOTIFY";
        return Err(usage(message.into()).hint("by a write the agent gets its descriptor"));
    }
    let args = rule.args().as_deref().unwrap_or_default();
    if let Some(arg) = args.iter().find(|arg| arg.index() > 5) {
        let index = arg.index();
        return Err(usage(format!("linux.seccomp.syscalls: {first}: args: {index} is not from 0 to 5")));
    }
    if are_alternatives(args) {
        warnings.push(format!(
            "seccomp: {first}: two conditions on one argument are alternatives, of which any one is enough"
        ));
    }
    // Where all else is allowed, a rule that is left out leaves its syscall open.
    let open = |action| matches!(action, LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog);
    if open(seccomp.default_action()) && !open(rule.action()) {
        for name in rule.names() {
            if number(libseccomp::native(), &c_string("linux.seccomp.syscalls", name)?).is_none() {
                let (major, minor, micro) = libseccomp::version();
                warnings.push(format!(
                    "seccomp: {name} is unknown to libseccomp {major}.{minor}.{micro} and is not filtered"
                ));
            }
        }
    }
    Ok(())
}

/// Conditions on one argument cannot be joined by `and` in libseccomp: as in other runtimes, each
/// condition of such a rule is then a rule of its own.
fn are_alternatives(args: &[LinuxSeccompArg]) -> bool {
    args.iter()
        .enumerate()
        .any(|(at, arg)| args.iter().skip(at + 1).any(|other| other.index() == arg.index()))
}

/// The kernel's number for an action; `field` is where its errno stands.
fn action(field: &str, action: LinuxSeccompAction, errno: Option<u32>) -> Result<Action> {
    let largest = match action {
        LinuxSeccompAction::ScmpActErrno => 4095, // the kernel's MAX_ERRNO
        LinuxSeccompAction::ScmpActTrace => 0xffff,
        other => {
            return match errno {
                Some(_) => Err(usage(format!("{field}: {other} takes none"))),
                None => Ok(Action(other.as_u32(None))),
            };
        }
    };
    if let Some(errno) = errno.filter(|errno| *errno > largest) {
        return Err(usage(format!("{field}: {errno} is above {largest}")));
    }
    Ok(Action(action.as_u32(errno)))
}

fn flags(seccomp: &LinuxSeccomp) -> Flags {
    let listens = notifies(seccomp);
    let mut flags = if listens { Flags::NEW_LISTENER } else { Flags::default() };
    for flag in seccomp.flags().iter().flatten() {
        flags = flags.with(match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => Flags::LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Flags::SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync if listens => {
                Flags::TSYNC.with(Flags::TSYNC_ESRCH)
            }
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Flags::TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if listens => Flags::WAIT_KILLABLE_RECV,
            // It is about waiting for an agent.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => Flags::default(),
        });
    }
    flags
}

/// The architectures to filter, the native one first: it always is.
fn architectures(listed: &[Arch]) -> Vec<u32> {
    let native = libseccomp::native();
    let family = FAMILIES.iter().find(|family| family.iter().any(|arch| *arch as u32 == native));
    let mut tokens = vec![native];
    for arch in listed {
        let token = *arch as u32;
        if family.is_some_and(|family| family.contains(arch)) && !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    tokens
}

/// A name's number for rules, which use native numbers; `None`: it is unknown.
fn number(native: u32, name: &CString) -> Option<i32> {
    libseccomp::resolve(native, name).or_else(|| {
        let mut numbered = NUMBERED_ALIKE.iter().chain(NUMBERED_HERE);
        numbered.find(|(known, _)| known.as_bytes() == name.to_bytes()).map(|(_, number)| *number)
    })
}

/// Compiles the rules for each architecture apart, and joins them: the library translates a number by its
/// name, so one that it has no name for can be a rule of the native architecture alone.
fn compile(seccomp: &LinuxSeccomp) -> Result<Vec<Instruction>> {
    let default =
        action("linux.seccomp.defaultErrnoRet", seccomp.default_action(), seccomp.default_errno_ret())?;
    let mut whole: Option<Rules> = None;
    let mut newest = Vec::new();
    for architecture in architectures(seccomp.architectures().as_deref().unwrap_or_default()) {
        let (rules, last) = rules_of(architecture, default, seccomp)?;
        newest.push((architecture, last));
        match &mut whole {
            None => whole = Some(rules),
            Some(whole) => whole.merge(rules).map_err(|errno| errno.during("seccomp_merge"))?,
        }
    }
    let whole = whole.map(Rules::export).transpose().map_err(|errno| errno.during("seccomp_export_bpf"))?;
    let mut program = Vec::new();
    if seccomp.default_action() == LinuxSeccompAction::ScmpActErrno && default != Action::ENOSYS {
        program = newer_is_enosys(&newest);
    }
    program.extend(whole.unwrap_or_default());
    if program.len() > Instruction::MAX {
        let (count, most) = (program.len(), Instruction::MAX);
        let message =
            format!("linux.seccomp: the rules come to {count} instructions; the kernel takes {most}");
        return Err(usage(message));
    }
    Ok(program)
}

/// One architecture's rules, and the number of its newest syscall that its author can have known of.
fn rules_of(architecture: u32, default: Action, seccomp: &LinuxSeccomp) -> Result<(Rules, u32)> {
    let native = libseccomp::native();
    let mut compiled = Rules::new(default, architecture).map_err(|errno| errno.during("seccomp_arch_add"))?;
    let positive = |number: i32| u32::try_from(number).ok();
    let known_to_all = c_string("seccomp", KNOWN_TO_ALL)?;
    let mut newest = libseccomp::resolve(architecture, &known_to_all).and_then(positive).unwrap_or(0);
    for rule in rules(seccomp) {
        let action = action("linux.seccomp.syscalls: errnoRet", rule.action(), rule.errno_ret())?;
        let conditions: Vec<Condition> = rule.args().iter().flatten().map(condition).collect();
        for name in rule.names() {
            let c_name = c_string("linux.seccomp.syscalls", name)?;
            let here = match libseccomp::resolve(architecture, &c_name) {
                // The library translates the native number, so it must know the name.
                None if architecture != native => continue,
                None => number(native, &c_name),
                known => known,
            };
            newest = newest.max(here.and_then(positive).unwrap_or(0));
            // A rule that equals the default is redundant.
            let (Some(syscall), true) = (number(native, &c_name), action != default) else { continue };
            let mut add = |conditions: &[Condition]| {
                let added = compiled.add(action, syscall, conditions);
                added.map_err(|errno| errno.during(format!("seccomp_rule_add_array({name:?})")))
            };
            if are_alternatives(rule.args().as_deref().unwrap_or_default()) {
                conditions.iter().try_for_each(|one| add(std::slice::from_ref(one)))?;
            } else {
                add(&conditions)?;
            }
        }
    }
    Ok((compiled, newest))
}

fn condition(arg: &LinuxSeccompArg) -> Condition {
    Condition {
        argument: u32::try_from(arg.index()).unwrap_or(u32::MAX),
        operator: arg.op() as u32,
        value: arg.value(),
        value_two: arg.value_two().unwrap_or(0),
    }
}

/// Instructions before a program whose default is an errno. A C library that tries a new syscall falls back at
/// ENOSYS alone; so syscalls newer than the newest one in the profile get ENOSYS, as on its author's kernel.
fn newer_is_enosys(newest: &[(u32, u32)]) -> Vec<Instruction> {
    let x32 = newest.iter().find(|(architecture, _)| *architecture == X32).map(|(_, last)| *last);
    let kernels: Vec<&(u32, u32)> = newest.iter().filter(|(architecture, _)| *architecture != X32).collect();
    let mut program = vec![Instruction::load_architecture()];
    for (at, (architecture, last)) in kernels.iter().enumerate() {
        let mut part = vec![Instruction::load_number()];
        if *architecture == Arch::ScmpArchX86_64 as u32 {
            // Without x32 in the profile its syscalls are a foreign architecture's: not for here to say.
            part.push(Instruction::at_least(X32_BIT, 1, 0));
            part.push(Instruction::greater(*last, 1, 2));
            part.push(Instruction::greater(x32.unwrap_or(u32::MAX), 0, 1));
        } else {
            part.push(Instruction::greater(*last, 0, 1));
        }
        part.push(Instruction::answer(Action::ENOSYS));
        // The other architectures' parts: at most six instructions each.
        let rest = kernels.len() - at - 1;
        if rest > 0 {
            part.push(Instruction::skip(0));
        }
        let length = u8::try_from(part.len()).expect("a part has at most six instructions");
        program.push(Instruction::equal(*architecture, 0, length));
        program.extend(part);
    }
    // Each skip leads to the end, which is known now.
    let end = program.len();
    for (at, instruction) in program.iter_mut().enumerate() {
        if *instruction == Instruction::skip(0) {
            *instruction = Instruction::skip(u32::try_from(end - at - 1).expect("programs are short"));
        }
    }
    program
}
