//! How podrun ends: the error printed once, on stderr, and the exit code that its kind stands for.
//!
//! Invariant: the codes are part of the interface (docs and tests hold them); one kind, one code.

use std::process::ExitCode;

use runtime::{Error, ErrorKind, Result};

use crate::output;

/// The exit code of a podrun that fails where a child's own code is passed on (`exec`, `run -it`).
pub(crate) const PODRUN_FAILED: u8 = 125;

/// A shell's code for a process that SIGPIPE ended.
pub(crate) const BROKEN_PIPE: u8 = 141;

/// The meaning of each code, for the manual; docs/cli.md has the same words.
pub(crate) const MEANINGS: [(u8, &str); 14] = [
    (0, "done"),
    (1, "tried, and failed"),
    (2, "the command line is invalid"),
    (3, "the manifest is invalid"),
    (4, "no such pod, container or image"),
    (5, "it already exists"),
    (6, "the image cannot be pulled or loaded, or is corrupt"),
    (7, "the host lacks a feature, which the message names"),
    (8, "the deadline passed"),
    (125, "exec, run -it, image mount: podrun itself failed; any other code is the program's own"),
    (126, "exec, run -it, image mount: the program cannot be executed"),
    (127, "exec, run -it, image mount: the program does not exist in the container"),
    (130, "ended by Ctrl-C"),
    (141, "the reader of its output is gone, as in `podrun logs web | head -n 1`"),
];

/// The exit code of an error of `kind`.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Failed | ErrorKind::State => 1,
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

/// The exit code of an error where a child's own code is passed on: podrun's own failures are 125.
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

/// The failures among several attempts: every error is printed, the last one by `main`, whose exit code it
/// gives.
#[derive(Debug, Default)]
pub(crate) struct Failures(Option<Error>);

impl Failures {
    pub(crate) fn add(&mut self, error: Error) {
        if let Some(earlier) = self.0.replace(error) {
            print(&earlier);
        }
    }

    /// Adds the error of `result`, if it is one.
    pub(crate) fn hold(&mut self, result: Result<()>) {
        result.unwrap_or_else(|error| self.add(error));
    }

    pub(crate) fn result(self) -> Result<ExitCode> {
        self.0.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_list_each_code() {
        let page = include_str!("../../docs/cli.md");
        for (code, meaning) in MEANINGS {
            // A bar would end the table's cell.
            let row = format!("\n| {code} | {} |\n", meaning.replace('|', "\\|"));
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn each_kind_has_the_documented_code() {
        let codes = [
            (ErrorKind::Failed, 1, 125),
            (ErrorKind::Usage, 2, 125),
            (ErrorKind::Manifest, 3, 125),
            (ErrorKind::NotFound, 4, 125),
            (ErrorKind::Exists, 5, 125),
            (ErrorKind::State, 1, 125),
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
            assert!(MEANINGS.iter().any(|(code, _)| *code == plain), "{kind:?}");
        }
    }
}
