//! The terminal of whoever types, at a container's streams: for `attach`, `exec` and `run` alike.
//!
//! Invariant: all that is said beside a program's own output goes to stderr.

use std::io::IsTerminal;

use runtime::Result;
use runtime::pod::client::{Client, Ends};
use runtime::pod::session::{self, Ended, Options};

use crate::output;

/// Whether standard input is a terminal; where it is none, that is said, and the command goes on without.
pub(super) fn terminal_or_warn() -> bool {
    let is_terminal = std::io::stdin().is_terminal();
    if !is_terminal {
        output::note("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    is_terminal
}

/// Joins the streams of a container of pod `pod`, until they end or are left, which is said.
pub(super) fn join(monitor: &mut Client, ends: Ends, options: Options<'_>, pod: &str) -> Result<Ended> {
    if options.tty {
        output::note("If you don't see a command prompt, try pressing enter.");
    }
    let ended = session::run(monitor, ends, options)?;
    if ended == Ended::Detached {
        output::note_below(format_args!("detached from pod/{pod}; it goes on"));
    }
    Ok(ended)
}
