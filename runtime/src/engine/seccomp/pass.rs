//! What a process still has to do after its filter, to go into a pid namespace: a filter lets that by for a number that
//! nobody else knows, whatever its author thinks of these calls in general.
//!
//! Invariant: a call without the pass gets the author's answer, and the answers to all other calls are as constant as they
//! were, so that the kernel goes on to remember them instead of running the program.

use super::{Filter, usage};
use crate::error::Result;
use crate::sys::libseccomp;
use crate::sys::seccomp::{Action, Half, Instruction, LastCall, Pass};

/// The sixth argument, which no [`LastCall`] has.
const SIXTH: u32 = 5;

impl Filter {
    /// Puts instructions before the program that let `calls` by for `pass`.
    pub(in crate::engine) fn admit(&mut self, pass: Pass, calls: &[LastCall]) -> Result<()> {
        let mut program = before(pass, calls);
        program.append(&mut self.program);
        if program.len() > Instruction::MAX {
            let (count, most) = (program.len(), Instruction::MAX);
            return Err(usage(format!(
                "linux.seccomp: the rules, and what lets podrun start a process by them, come to {count} instructions; \
                 the kernel takes {most}"
            )));
        }
        self.program = program;
        Ok(())
    }
}

fn before(pass: Pass, calls: &[LastCall]) -> Vec<Instruction> {
    let halves = [(Half::Lower, pass.number() & u64::from(u32::MAX)), (Half::Upper, pass.number() >> 32)];
    let check = halves.map(|(half, value)| (half, u32::try_from(value).unwrap_or(u32::MAX)));
    // From behind, since each jump is as long as what stands between: loads and comparisons, then the answer.
    let mut program = vec![Instruction::answer(Action::ALLOW)];
    for (half, value) in check.into_iter().rev() {
        let past_end = length(&program);
        program
            .splice(0..0, [Instruction::load_argument(SIXTH, half), Instruction::equal(value, 0, past_end)]);
    }
    let past_check = length(&program);
    program.insert(0, Instruction::skip(past_check.into()));
    for (at, call) in (1..).zip(calls) {
        // Past the comparisons that are there already, and the skip.
        program.insert(0, Instruction::equal(call.number(), at, 0));
    }
    program.insert(0, Instruction::load_number());
    let past_all = length(&program);
    program.splice(
        0..0,
        [Instruction::load_architecture(), Instruction::equal(libseccomp::native(), 0, past_all)],
    );
    program
}

fn length(program: &[Instruction]) -> u8 {
    u8::try_from(program.len()).expect("there are four calls and a handful of instructions")
}
