//! An older kernel, played by a seccomp filter: calls that it does not have fail with ENOSYS, in the process that
//! installs the filter and in all that it starts.

use std::ffi::CString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use runtime::sys::kernel::libseccomp;
use runtime::sys::kernel::seccomp::{self, Action, Flags, Instruction};

/// The argument by which the test program lacks some calls (named after it, with commas between) and then becomes the
/// program that follows.
pub const WITHOUT: &str = "--without-calls";

/// The calls that no program of this run has, with spaces between.
const VARIABLE: &str = "PODRUN_TESTS_WITHOUT";

/// `SECCOMP_RET_ALLOW`.
const ALLOW: Action = Action(0x7fff_0000);

/// Takes over when the program was started to lack calls; else installs what the environment asks for.
pub fn take_over() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == WITHOUT) {
        let calls = arguments.next().unwrap_or_default();
        let program = arguments.next().unwrap_or_default();
        let lacked = lack(calls.to_string_lossy().split(','));
        // It returns only if it fails.
        let error = lacked.err().unwrap_or_else(|| Command::new(&program).args(arguments).exec().into());
        return Some(said(&error));
    }
    let calls = std::env::var(VARIABLE).unwrap_or_default();
    lack(calls.split(' ').filter(|call| !call.is_empty())).err().map(|error| said(&error))
}

fn said(error: &anyhow::Error) -> ExitCode {
    eprintln!("an older kernel: {error:#}");
    ExitCode::FAILURE
}

/// Lacks `calls` from now on.
fn lack<'a>(calls: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut program = vec![Instruction::load_number()];
    for call in calls {
        let name = CString::new(call)?;
        let number = libseccomp::resolve(libseccomp::native(), &name);
        let number = number.with_context(|| format!("libseccomp does not know `{call}`"))?;
        ensure!(number >= 0, "this machine has no call `{call}`");
        program
            .extend([Instruction::equal(number.cast_unsigned(), 0, 1), Instruction::answer(Action::ENOSYS)]);
    }
    if program.len() > 1 {
        program.push(Instruction::answer(ALLOW));
        seccomp::install(&program, Flags::default()).map_err(|errno| errno.during("seccomp"))?;
    }
    Ok(())
}
