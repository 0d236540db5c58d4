//! Device rules: the runtime-spec's list as v1's lines, or as a small eBPF program for v2.
//!
//! Invariant: pure. Both answer every request alike: the program asks the default and the
//! exceptions that v1's kernel would have made of the same lines.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::error::{Error, ErrorKind, Result};

/// One line for devices.allow or devices.deny.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: &'static str,
    pub(super) rule: String,
}

/// The access bits as eBPF numbers them, and their letters.
const ACCESS: [(char, u32); 3] = [('r', 2), ('w', 4), ('m', 1)];

/// A parsed rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// `None`: every device there is.
    devices: Option<Devices>,
    access: u32,
}

/// Some devices of one type; `None` is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Devices {
    block: bool,
    major: Option<u32>,
    minor: Option<u32>,
}

fn parse(rule: &LinuxDeviceCgroup) -> Result<Rule> {
    let (major, minor) = (number(rule.major())?, number(rule.minor())?);
    let access = access(rule.access().as_deref().unwrap_or("rwm"))?;
    let devices = match rule.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A if major.is_none() && minor.is_none() => None,
        LinuxDeviceType::B => Some(Devices { block: true, major, minor }),
        LinuxDeviceType::C | LinuxDeviceType::U => Some(Devices { block: false, major, minor }),
        other => return Err(wrong(format!("a rule of type `{}` has no numbers", other.as_str()))),
    };
    Ok(Rule { allow: rule.allow(), devices, access })
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::Usage, format!("linux.resources.devices: {what}"))
}

fn number(number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => {
            u32::try_from(number).map(Some).map_err(|_| wrong(format!("{number} is not a device number")))
        }
    }
}

fn access(letters: &str) -> Result<u32> {
    letters.chars().try_fold(0, |bits, letter| match ACCESS.iter().find(|(known, _)| *known == letter) {
        Some((_, bit)) => Ok(bits | bit),
        None => Err(wrong(format!("access `{letter}` is none of r, w and m"))),
    })
}

/// The lines for v1, in the spec's order.
pub(super) fn v1(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Line>> {
    rules.iter().map(|rule| Ok(line(&parse(rule)?))).collect()
}

fn line(rule: &Rule) -> Line {
    let file = if rule.allow { "devices.allow" } else { "devices.deny" };
    let Some(devices) = rule.devices else {
        return Line { file, rule: "a".to_owned() };
    };
    let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let access: String =
        ACCESS.iter().filter(|(_, bit)| rule.access & bit != 0).map(|(letter, _)| letter).collect();
    let kind = if devices.block { 'b' } else { 'c' };
    let (major, minor) = (number(devices.major), number(devices.minor));
    Line { file, rule: format!("{kind} {major}:{minor} {access}") }
}

/// The result of a list of rules: the default, and the exceptions.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    allow: bool,
    exceptions: Vec<(Devices, u32)>,
}

/// Plays the rules as the v1 controller does: a rule for all devices starts anew, a rule like the
/// default takes an exception back, another one adds to it.
fn play(rules: &[Rule]) -> Verdict {
    let mut verdict = Verdict { allow: true, exceptions: Vec::new() };
    for rule in rules {
        let Some(devices) = rule.devices else {
            verdict = Verdict { allow: rule.allow, exceptions: Vec::new() };
            continue;
        };
        let known = verdict.exceptions.iter_mut().find(|(known, _)| *known == devices);
        match known {
            Some((_, access)) if rule.allow == verdict.allow => *access &= !rule.access,
            Some((_, access)) => *access |= rule.access,
            None if rule.allow == verdict.allow => {}
            None => verdict.exceptions.push((devices, rule.access)),
        }
    }
    verdict.exceptions.retain(|(_, access)| *access != 0);
    verdict
}

/// The program for v2: eBPF instructions in the kernel's encoding.
pub(super) fn program(rules: &[LinuxDeviceCgroup]) -> Result<Vec<u64>> {
    let rules: Vec<Rule> = rules.iter().map(parse).collect::<Result<_>>()?;
    Ok(encode(&play(&rules)))
}

// The instructions used: class and operation in one byte, as linux/bpf.h puts them together.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE_REGISTER: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const MOVE_IMMEDIATE: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const AND_IMMEDIATE: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const JUMP_EQUAL: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// One instruction: opcode, registers, jump offset, immediate.
fn instruction(code: u8, destination: u8, source: u8, offset: u16, immediate: u32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset) << 16
        | u64::from(immediate) << 32
}

/// r1 is the context {access << 16 | type, major, minor}; r2 = type, r3 = access, r4 = major, r5 = minor.
fn encode(verdict: &Verdict) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOVE_REGISTER, 3, 2, 0, 0),
        instruction(AND_IMMEDIATE, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for (devices, access) in &verdict.exceptions {
        let kind = if devices.block { 1 } else { 2 };
        // Each test is (opcode that leaves the rule, register, immediate).
        let mut tests = vec![(JUMP_NOT_EQUAL, 2, kind)];
        tests.extend(devices.major.map(|major| (JUMP_NOT_EQUAL, 4, major)));
        tests.extend(devices.minor.map(|minor| (JUMP_NOT_EQUAL, 5, minor)));
        // An allowing exception must cover all that is asked, a denying one any of it.
        let (outside, mask) =
            if verdict.allow { (JUMP_EQUAL, *access) } else { (JUMP_NOT_EQUAL, !access & 7) };
        // From a test to the next rule: the later tests, then the mask's two, its jump, and the answer's two.
        let mut left = u16::try_from(tests.len()).unwrap_or(u16::MAX) + 4;
        for (code, register, immediate) in tests {
            program.push(instruction(code, register, 0, left, immediate));
            left -= 1;
        }
        program.push(instruction(MOVE_REGISTER, 1, 3, 0, 0));
        program.push(instruction(AND_IMMEDIATE, 1, 0, 0, mask));
        program.push(instruction(outside, 1, 0, 2, 0));
        program.push(instruction(MOVE_IMMEDIATE, 0, 0, 0, u32::from(!verdict.allow)));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program.push(instruction(MOVE_IMMEDIATE, 0, 0, 0, verdict.allow.into()));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    const USUAL: &str = r#"[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":3,"access":"r"},
        {"allow":true,"type":"c","major":1,"minor":3,"access":"w"},
        {"allow":true,"type":"c","major":136,"access":"rwm"},
        {"allow":true,"type":"b","access":"m"}]"#;

    /// Interprets a program as the kernel would, and returns its answer.
    fn ask(program: &[u64], block: bool, major: u32, minor: u32, letters: &str) -> bool {
        let kind = if block { 1 } else { 2 };
        let context = [access(letters).unwrap() << 16 | kind, major, minor];
        let mut registers = [0_u32; 6];
        let mut at = 0;
        loop {
            let instruction = program[at];
            let byte = |n: u64| u8::try_from(instruction >> (8 * n) & 0xff).unwrap();
            let (to, from) = (usize::from(byte(1) & 15), usize::from(byte(1) >> 4));
            let offset = usize::from(byte(2)) + (usize::from(byte(3)) << 8);
            let immediate = u32::try_from(instruction >> 32).unwrap();
            at += 1;
            match byte(0) {
                LOAD_WORD => registers[to] = context[offset / 4],
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE_IMMEDIATE => registers[to] = immediate,
                AND_IMMEDIATE => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_NOT_EQUAL if registers[to] != immediate => at += offset,
                JUMP_EQUAL if registers[to] == immediate => at += offset,
                JUMP_NOT_EQUAL | JUMP_EQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    #[test]
    fn v1_lines_keep_the_order_and_say_star_for_every_number() {
        let lines = v1(&rules(USUAL)).unwrap();
        let lines: Vec<_> = lines.iter().map(|line| format!("{} {}", line.file, line.rule)).collect();
        assert_eq!(
            lines,
            [
                "devices.deny a",
                "devices.allow c 1:3 r",
                "devices.allow c 1:3 w",
                "devices.allow c 136:* rwm",
                "devices.allow b *:* m",
            ]
        );
    }

    #[test]
    fn the_program_allows_what_exceptions_cover_together() {
        let program = program(&rules(USUAL)).unwrap();
        for (block, major, minor, letters, answer) in [
            (false, 1, 3, "rw", true),
            (false, 1, 3, "rwm", false),
            (false, 1, 5, "r", false),
            (false, 136, 77, "rwm", true),
            (true, 136, 77, "r", false),
            (true, 8, 0, "m", true),
        ] {
            assert_eq!(ask(&program, block, major, minor, letters), answer, "{major}:{minor} {letters}");
        }
    }

    #[test]
    fn the_program_denies_what_an_open_default_excepts() {
        let list = r#"[{"allow":true},{"allow":false,"type":"c","major":1,"minor":11,"access":"w"}]"#;
        let program = program(&rules(list)).unwrap();
        assert!(ask(&program, false, 1, 11, "r"));
        assert!(!ask(&program, false, 1, 11, "rw"));
        assert!(ask(&program, true, 1, 11, "rw"));
    }

    #[test]
    fn an_exception_can_be_taken_back() {
        let list = r#"[{"allow":false},{"allow":true,"type":"c","major":1,"access":"rw"},
            {"allow":false,"type":"c","major":1,"access":"w"}]"#;
        let program = program(&rules(list)).unwrap();
        assert!(ask(&program, false, 1, 1, "r"));
        assert!(!ask(&program, false, 1, 1, "w"));
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for list in [
            r#"[{"allow":true,"access":"x"}]"#,
            r#"[{"allow":true,"type":"a","major":1}]"#,
            r#"[{"allow":true,"type":"c","major":-2}]"#,
        ] {
            assert!(v1(&rules(list)).is_err(), "{list}");
        }
    }
}
