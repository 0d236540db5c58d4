//! The last calls of a process after its filter, to enter a pid namespace: a filter allows exactly these with a
//! number that only the process knows, whatever its author decides about these calls in general.
//!
//! Invariant: a call without the pass, or with other arguments than podrun's, gets the author's answer. The
//! answers to all other calls stay constant, so that the kernel can still cache them instead of running the
//! program.

use super::Filter;
use crate::engine::paths::usage;
use crate::error::Result;
use crate::sys::kernel::libseccomp;
use crate::sys::kernel::seccomp::{Action, Half, Instruction, LastCall, Pass};

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

/// Written from the end, since each jump is as long as the instructions after it.
fn before(pass: Pass, calls: &[LastCall]) -> Vec<Instruction> {
    let mut program = Vec::new();
    for call in calls.iter().rev() {
        let past_call = length(&program);
        let mut part = vec![Instruction::answer(Action::ALLOW)];
        let checks = call.arguments().iter().copied().chain([(SIXTH, pass.number())]);
        for (argument, value) in checks {
            for (half, value) in [(Half::Lower, value & u64::from(u32::MAX)), (Half::Upper, value >> 32)] {
                let past_all = past_call + length(&part);
                let value = u32::try_from(value).expect("half of 64 bits are 32");
                let check =
                    [Instruction::load_argument(argument, half), Instruction::equal(value, 0, past_all)];
                part.splice(0..0, check);
            }
        }
        let other = length(&part);
        part.insert(0, Instruction::equal(call.number(), 0, other));
        program.splice(0..0, part);
    }
    program.insert(0, Instruction::load_number());
    let past_all = length(&program);
    let native = Instruction::equal(libseccomp::native(), 0, past_all);
    program.splice(0..0, [Instruction::load_architecture(), native]);
    program
}

fn length(program: &[Instruction]) -> u8 {
    u8::try_from(program.len()).expect("there are four calls, of a dozen instructions each")
}
