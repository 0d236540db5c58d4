//! stdout and stderr: results on the one, everything said to a person on the other.
//!
//! Invariant: a reader that goes away (`podrun get pods | head -1`) never makes podrun panic or complain. The
//! first write to a closed stdout is remembered, and `exit::report` is silent about it. Lines steer no
//! terminal, whatever they quote; [`text`] alone prints its input unchanged.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::error::{harmless_lines, steers};
use runtime::pod::session;
use runtime::{Error, Result};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Writes `text` to stdout as it is, and flushes it.
pub(crate) fn text(text: impl fmt::Display) -> Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(failed)
}

/// Writes a line to stdout, or several.
pub(crate) fn line(line: impl fmt::Display) -> Result<()> {
    text(format_args!("{}\n", harmless_lines(&line.to_string())))
}

/// Writes JSON, and ends its line. Characters that would steer a terminal are written as JSON's own escapes: it
/// reads the same.
pub(crate) fn json(text: &str) -> Result<()> {
    self::text(format_args!("{}\n", escaped(text)))
}

fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings JSON has no other control character than the white space that was put there.
        if c == '\n' || !steers(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(escaped, "\\u{unit:04x}").expect("a string takes all");
        }
    }
    escaped
}

/// Writes a line to stderr, or several: progress, warnings, errors. A closed stderr is ignored.
pub(crate) fn note(line: impl fmt::Display) {
    let text = format!("{}\n", harmless_lines(&line.to_string()));
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The same on a line of its own, where a program's terminal has left the cursor anywhere.
pub(crate) fn note_below(line: impl fmt::Display) {
    prompt("\r\n");
    note(line);
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

/// Whether a write found stdout closed.
pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Whether a person looks at stderr, so that progress may be redrawn in place.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// How many columns the terminal has that a person reads `stream` on; `None` where it is none.
pub(crate) fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    session::window_of(stream).map(|(_, columns)| columns.into())
}

/// Whether a person may be asked something.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_steers_no_terminal_and_reads_the_same() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{1b}[31m\u{7f}", "\u{202e}grün"] });
        for text in [value.to_string(), format!("{value:#}")] {
            let written = escaped(&text);
            assert!(!written.contains(|c| c != '\n' && steers(c)), "{written:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
        }
    }
}
