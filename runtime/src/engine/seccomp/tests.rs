//! Programs are run here by an interpreter of the kernel's classic BPF, after the kernel's own filter.txt.

use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0;

const X86_64: u32 = Arch::ScmpArchX86_64 as u32;
const X86: u32 = Arch::ScmpArchX86 as u32;

fn profile(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

/// The program's answer to a syscall.
fn run(program: &[Instruction], architecture: u32, number: u32, args: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        16.. => {
            let half = (offset - 16) / 4;
            let bytes = args[half as usize / 2].to_le_bytes();
            let at = (half as usize % 2) * 4;
            u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
        }
        other => panic!("loads {other}"),
    };
    let (mut at, mut loaded) = (0, 0_u32);
    loop {
        let (code, when_true, when_false, value) = program[at].parts();
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { when_true } else { when_false });
        match code {
            0x20 => loaded = word(value),
            0x54 => loaded &= value,
            0x05 => at += value as usize,
            0x15 => jump(loaded == value),
            0x25 => jump(loaded > value),
            0x35 => jump(loaded >= value),
            0x45 => jump(loaded & value != 0),
            0x06 => return value,
            other => panic!("the opcode {other:#x}"),
        }
    }
}

fn says(profile: &Value, architecture: u32, name: &str, args: [u64; 6]) -> u32 {
    let program = compile(&super::tests::profile(profile.clone())).unwrap();
    let number = libseccomp::resolve(architecture, &CString::new(name).unwrap()).unwrap();
    run(&program, architecture, number.cast_unsigned(), args)
}

fn refusal(value: Value) -> String {
    check(&profile(value)).unwrap_err().message().to_owned()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_action_is_the_kernels_number() {
    for (action, errno, number) in [
        ("KILL", None, 0),
        ("KILL_THREAD", None, 0),
        ("KILL_PROCESS", None, 0x8000_0000_u32),
        ("TRAP", None, 0x0003_0000),
        ("ERRNO", None, EPERM),
        ("ERRNO", Some(38), ENOSYS),
        ("NOTIFY", None, 0x7fc0_0000),
        ("TRACE", Some(7), 0x7ff0_0007),
        ("LOG", None, 0x7ffc_0000),
    ] {
        let mut rule = json!({"names": ["mkdir"], "action": format!("SCMP_ACT_{action}")});
        if let Some(errno) = errno {
            rule["errnoRet"] = json!(errno);
        }
        let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "syscalls": [rule]});
        assert_eq!(says(&value, X86_64, "mkdir", [0; 6]), number, "{action}");
        assert_eq!(says(&value, X86_64, "rmdir", [0; 6]), ALLOW, "{action}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_operator_compares_64_bits() {
    const BIG: u64 = 1 << 40 | 5;
    for (operator, below, equal, above) in [
        ("NE", true, false, true),
        ("LT", true, false, false),
        ("LE", true, true, false),
        ("EQ", false, true, false),
        ("GE", false, true, true),
        ("GT", false, false, true),
    ] {
        let arg = json!({"index": 2, "op": format!("SCMP_CMP_{operator}"), "value": BIG});
        let rule = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [arg]});
        let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        for (third, holds) in [(BIG - 1, below), (BIG, equal), (BIG + 1, above), (5, below)] {
            let said = says(&value, X86_64, "read", [0, 0, third, 0, 0, 0]);
            assert_eq!(said, if holds { EPERM } else { ALLOW }, "{operator} {third:#x}");
        }
    }
    let arg = json!({"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xf0, "valueTwo": 0x10});
    let rule = json!({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [arg]});
    let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    assert_eq!(says(&value, X86_64, "clone", [0x1f, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(says(&value, X86_64, "clone", [0x30, 0, 0, 0, 0, 0]), ALLOW);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn conditions_are_joined_and_those_on_one_argument_are_alternatives() {
    let on = |one: u32, other: u32| {
        let args = json!([{"index": one, "op": "SCMP_CMP_EQ", "value": 1}, {"index": other, "op": "SCMP_CMP_EQ", "value": 2}]);
        let rule = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args});
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    };
    assert_eq!(says(&on(0, 1), X86_64, "read", [1, 2, 0, 0, 0, 0]), EPERM);
    assert_eq!(says(&on(0, 1), X86_64, "read", [1, 3, 0, 0, 0, 0]), ALLOW);
    assert_eq!(says(&on(0, 0), X86_64, "read", [2, 0, 0, 0, 0, 0]), EPERM);
    assert!(check(&profile(on(0, 1))).unwrap().is_empty());
    assert!(check(&profile(on(0, 0))).unwrap()[0].contains("alternatives"));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn each_architecture_has_its_own_numbers_and_foreign_ones_are_left_out() {
    let names =
        ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS", "SCMP_ARCH_LOONGARCH64"];
    let rule = json!({"names": ["mkdir", "waitpid"], "action": "SCMP_ACT_ERRNO"});
    let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": names, "syscalls": [rule]});
    assert_eq!(says(&value, X86, "mkdir", [0; 6]), EPERM);
    assert_eq!(says(&value, X86, "waitpid", [0; 6]), EPERM, "a syscall that the native one lacks");
    assert_eq!(says(&value, X86_64, "mkdir", [0; 6]), EPERM);
    let program = compile(&profile(value.clone())).unwrap();
    let x32 = libseccomp::resolve(X32, c"mkdir").unwrap().cast_unsigned();
    assert_eq!(x32 & X32_BIT, X32_BIT);
    assert_eq!(run(&program, X86_64, x32, [0; 6]), EPERM);
    assert_eq!(run(&program, Arch::ScmpArchAarch64 as u32, 34, [0; 6]), KILL, "it cannot come");
    // Without them in the list their syscalls are a foreign architecture's.
    let mut alone = value;
    alone["architectures"] = json!([]);
    let program = compile(&profile(alone)).unwrap();
    assert_eq!(run(&program, X86, 39, [0; 6]), KILL);
    assert_eq!(run(&program, X86_64, x32, [0; 6]), KILL);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_is_newer_than_the_profile_is_enosys() {
    let rule = json!({"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"});
    let of = |architectures: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": [rule]});
    let all = of(json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
    for (architecture, name, said) in [
        (X86_64, "openat2", ALLOW),     // 437
        (X86_64, "faccessat2", ENOSYS), // 439
        (X86_64, "clone3", EPERM),      // 435: its author knew it
        (X86_64, "mkdir", EPERM),
        (X86, "openat2", ALLOW),
        (X86, "faccessat2", ENOSYS),
        (X86, "mkdir", EPERM),
    ] {
        assert_eq!(says(&all, architecture, name, [0; 6]), said, "{name}");
    }
    let program = compile(&profile(all)).unwrap();
    assert_eq!(run(&program, X86_64, 9999, [0; 6]), ENOSYS);
    assert_eq!(run(&program, X86_64, X32_BIT | 437, [0; 6]), ALLOW);
    assert_eq!(run(&program, X86_64, X32_BIT | 439, [0; 6]), ENOSYS);
    assert_eq!(run(&program, X86_64, X32_BIT | 83, [0; 6]), EPERM);
    let native = compile(&profile(of(json!([])))).unwrap();
    assert_eq!(run(&native, X86_64, X32_BIT | 9999, [0; 6]), KILL, "x32 is foreign here");
    assert_eq!(run(&native, X86, 9999, [0; 6]), KILL);
    // The author of a short profile knows long-standing syscalls.
    let short = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]});
    assert_eq!(says(&short, X86_64, "rseq", [0; 6]), EPERM);
    assert_eq!(says(&short, X86_64, "pidfd_open", [0; 6]), ENOSYS);
    // Where all else is allowed or deadly, nothing is added.
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS"] {
        let program = compile(&profile(json!({"defaultAction": action}))).unwrap();
        assert_ne!(run(&program, X86_64, 9999, [0; 6]), ENOSYS);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_name_that_libseccomp_does_not_know_is_filtered_by_its_number() {
    assert_eq!(
        libseccomp::resolve(libseccomp::native(), c"file_setattr"),
        None,
        "then this test needs a newer name"
    );
    let value = |default: &str, action: &str, name: &str| {
        json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": [name], "action": action}]})
    };
    let allowing = value("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "file_setattr");
    let program = compile(&profile(allowing.clone())).unwrap();
    assert_eq!(run(&program, X86_64, 469, [0; 6]), ALLOW);
    assert_eq!(run(&program, X86_64, 468, [0; 6]), EPERM);
    assert_eq!(run(&program, X86_64, 470, [0; 6]), ENOSYS);
    assert!(check(&profile(allowing)).unwrap().is_empty());
    let denying = profile(value("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "file_setattr"));
    assert_eq!(run(&compile(&denying).unwrap(), X86_64, 469, [0; 6]), EPERM);
    // An unknown name is left out, and reported where that leaves it open.
    let unknown = profile(value("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "fly_to_moon"));
    assert!(check(&unknown).unwrap()[0].contains("fly_to_moon is unknown to libseccomp"));
    assert!(compile(&unknown).is_ok());
    assert!(check(&profile(value("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "fly_to_moon"))).unwrap().is_empty());
}

#[test]
fn numbers_that_libseccomp_knows_too_are_the_same() {
    for (name, number) in NUMBERED_ALIKE.iter().chain(NUMBERED_HERE) {
        let known = libseccomp::resolve(libseccomp::native(), &CString::new(*name).unwrap());
        assert!(known.is_none_or(|known| known == *number), "{name}: {known:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let rule =
        |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "syscalls": [rule]});
    for (value, name) in [
        (json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/a"}), "linux.seccomp.defaultAction"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}), "linux.seccomp.defaultErrnoRet"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "linux.seccomp.listenerMetadata",
        ),
        (
            rule(json!({"names": [], "action": "SCMP_ACT_LOG"})),
            "linux.seccomp.syscalls: a rule names no syscall",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1})),
            "linux.seccomp.syscalls: read: errnoRet",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096})),
            "linux.seccomp.syscalls: read: errnoRet",
        ),
        (
            rule(json!({"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"})),
            "linux.seccomp.syscalls: write",
        ),
        (
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}]}),
            ),
            "linux.seccomp.syscalls: read: args",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}),
            "linux.seccomp.listenerPath: required",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "a", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}),
            "linux.seccomp.listenerPath: `a` is not",
        ),
    ] {
        let message = refusal(value);
        assert!(message.starts_with(name), "{name}: {message}");
    }
}

#[test]
fn a_program_that_is_too_long_for_the_kernel_is_refused() {
    let rules: Vec<Value> = (0..4200)
        .map(|value| json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": value}]}))
        .collect();
    let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let error = compile(&profile(value)).expect_err("the kernel takes fewer");
    assert!(error.message().contains("the kernel takes 4096"), "{error}");
}

#[test]
fn flags_are_those_that_the_kernel_takes_together() {
    let of = |flags: Value, action: &str| {
        let rule = json!({"names": ["mkdir"], "action": action});
        flags_of(
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "flags": flags, "syscalls": [rule]}),
        )
    };
    fn flags_of(value: Value) -> Flags {
        flags(&profile(value))
    }
    let all = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    ]);
    let plain = Flags::TSYNC.with(Flags::LOG).with(Flags::SPEC_ALLOW);
    assert_eq!(of(all.clone(), "SCMP_ACT_ERRNO"), plain);
    let listening = plain.with(Flags::TSYNC_ESRCH).with(Flags::NEW_LISTENER).with(Flags::WAIT_KILLABLE_RECV);
    assert_eq!(of(all, "SCMP_ACT_NOTIFY"), listening);
}

#[test]
fn a_pass_lets_its_calls_by_and_nothing_else() {
    use crate::sys::kernel::seccomp::{LastCall, Pass};
    let all = [LastCall::Close, LastCall::Clone, LastCall::Setsid, LastCall::Ioctl];
    let pass = Pass::draw().unwrap();
    // The arguments that the call is made for, with `value` as the pass.
    let of = |call: LastCall, value: u64| {
        let mut args = [9, 9, 9, 9, 9, value];
        for (at, fixed) in call.arguments() {
            args[*at as usize] = *fixed;
        }
        args
    };
    for calls in [&all[1..3], &all[..]] {
        let program = vec![Instruction::answer(Action(KILL))];
        let mut filter = Filter { program, flags: Flags::default() };
        filter.admit(pass, calls).unwrap();
        for call in all {
            let says = |args| run(&filter.program, libseccomp::native(), call.number(), args);
            let expected = if calls.contains(&call) { ALLOW } else { KILL };
            assert_eq!(says(of(call, pass.number())), expected, "{call:?} of {calls:?}");
            for wrong in [0, pass.number() ^ 1, pass.number() ^ (1 << 63)] {
                assert_eq!(says(of(call, wrong)), KILL, "{call:?} with {wrong:x}");
            }
            // A new user namespace, say, which takes another flag; another request.
            for (at, fixed) in call.arguments() {
                for bit in [0, 28, 32] {
                    let mut args = of(call, pass.number());
                    args[*at as usize] = fixed ^ 1 << bit;
                    assert_eq!(says(args), KILL, "{call:?} with {args:x?}");
                }
            }
            let args = of(call, pass.number());
            assert_eq!(run(&filter.program, X86, call.number(), args), KILL, "of 32 bits");
        }
        let args = of(LastCall::Setsid, pass.number());
        assert_eq!(run(&filter.program, libseccomp::native(), 0, args), KILL, "another call");
    }
}

#[test]
fn a_filter_without_room_for_the_pass_is_refused() {
    use crate::sys::kernel::seccomp::{LastCall, Pass};
    let program = vec![Instruction::answer(Action(KILL)); Instruction::MAX];
    let mut filter = Filter { program, flags: Flags::default() };
    let error = filter.admit(Pass::draw().unwrap(), &[LastCall::Clone]).unwrap_err();
    assert!(error.message().contains("4096"), "{error}");
}
