//! stdout and stderr: results on the one, everything said to a person on the other.
//!
//! Invariant: a reader that goes away (`podrun get pods | head -1`) never makes podrun panic or
//! complain. The first write that finds stdout closed is remembered, and `exit::report` is silent
//! about it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::{Error, Result};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Writes `text` to stdout as it is, and flushes it.
pub(crate) fn text(text: impl fmt::Display) -> Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(failed)
}

/// Writes one line to stdout.
pub(crate) fn line(line: impl fmt::Display) -> Result<()> {
    text(format_args!("{line}\n"))
}

/// Writes one line to stderr: progress, warnings, errors. A closed stderr is nobody's concern.
pub(crate) fn note(line: impl fmt::Display) {
    let text = format!("{line}\n");
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes the beginning of a line that a person is to end.
pub(crate) fn prompt(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Remembers a reader that went away.
pub(crate) fn remember(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

/// Turns the error of a write to stdout into podrun's, remembering a reader that went away.
pub(crate) fn failed(error: io::Error) -> Error {
    remember(&error);
    Error::from(error).context("standard output")
}

/// Whether a write found that nobody reads stdout any more.
pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Whether a person looks at stderr, so that progress may be redrawn in place.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether a person may be asked something.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}
