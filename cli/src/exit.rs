//! How podrun ends: the error printed once, on stderr, and the exit code that its kind stands for.
//!
//! Invariant: the codes are part of the interface (docs and tests hold them); one kind, one code.

use std::process::ExitCode;

use runtime::{Error, ErrorKind};

use crate::output;

/// The exit code of a podrun that fails where a child's own code is passed on (`exec`, `run -it`).
pub(crate) const PODRUN_FAILED: u8 = 125;

/// What a shell reports for a process that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// The exit code of an error of `kind`.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Failed => 1,
        ErrorKind::Usage => 2,
        ErrorKind::Manifest => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::Exists => 5,
        ErrorKind::Image => 6,
        ErrorKind::Unsupported => 7,
        ErrorKind::Timeout => 8,
        ErrorKind::CommandNotExecutable => 126,
        ErrorKind::CommandNotFound => 127,
        ErrorKind::Interrupted => 130,
    }
}

/// The exit code of an error where a child's own code is passed on: what the child could not have
/// answered itself is 125.
pub(crate) fn code_beside_a_child(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::CommandNotExecutable | ErrorKind::CommandNotFound | ErrorKind::Interrupted => code(kind),
        _ => PODRUN_FAILED,
    }
}

/// The exit code that passes on a child's own.
pub(crate) fn of_child(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(PODRUN_FAILED))
}

/// Prints `error` and gives its exit code.
pub(crate) fn report(error: &Error) -> ExitCode {
    if output::is_closed() {
        return ExitCode::from(BROKEN_PIPE);
    }
    print(error);
    ExitCode::from(code(error.kind()))
}

/// Prints `error` as every verb does: `podrun: message`, and `hint: …` when there is one.
pub(crate) fn print(error: &Error) {
    output::note(format_args!("podrun: {}", error.message()));
    if let Some(hint) = error.hint_text() {
        output::note(format_args!("hint: {hint}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_documented_code() {
        let codes = [
            (ErrorKind::Failed, 1, 125),
            (ErrorKind::Usage, 2, 125),
            (ErrorKind::Manifest, 3, 125),
            (ErrorKind::NotFound, 4, 125),
            (ErrorKind::Exists, 5, 125),
            (ErrorKind::Image, 6, 125),
            (ErrorKind::Unsupported, 7, 125),
            (ErrorKind::Timeout, 8, 125),
            (ErrorKind::Interrupted, 130, 130),
            (ErrorKind::CommandNotExecutable, 126, 126),
            (ErrorKind::CommandNotFound, 127, 127),
        ];
        for (kind, plain, beside) in codes {
            assert_eq!(code(kind), plain, "{kind:?}");
            assert_eq!(code_beside_a_child(kind), beside, "{kind:?}");
        }
    }
}
