//! One command line, from its words to its exit code.
//!
//! Invariant: nothing of the host is touched before the caller is known to have the rights that the verb needs.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use runtime::host::Host;
use runtime::pod::recovery;
use runtime::policy;
use runtime::{Error, ErrorKind, Result};

use crate::args::{self, Cli};
use crate::context::Context;
use crate::{exit, output, usage};

/// A command line that makes sense.
#[derive(Debug)]
pub(crate) struct Parsed {
    verb: String,
    line: Vec<OsString>,
    cli: Cli,
}

/// Parses `words` (with the program's name in front). Answers of clap's own (help, version, a usage error) are
/// printed, and the exit code returned.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> std::result::Result<Parsed, ExitCode> {
    let line: Vec<OsString> = words.collect();
    let matches =
        args::command().try_get_matches_from(&line).map_err(|error| usage::answer(&error, &line))?;
    let verbs = std::iter::successors(matches.subcommand(), |(_, verb)| verb.subcommand());
    let verb = verbs.map(|(name, _)| name).collect::<Vec<_>>().join(" ");
    let cli = Cli::from_arg_matches(&matches).map_err(|error| usage::answer(&error, &line))?;
    Ok(Parsed { verb, line, cli })
}

impl Parsed {
    /// Runs the verb. Where a child's exit code is passed on, podrun's own failures have codes beside it.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let beside_a_child = self.cli.verb.passes_a_code_on();
        self.perform().or_else(|error| {
            if !beside_a_child || output::is_closed() {
                return Err(error);
            }
            exit::print(&error);
            Ok(ExitCode::from(exit::code_beside_a_child(error.kind())))
        })
    }

    fn perform(self) -> Result<ExitCode> {
        if self.cli.verb.needs_root() {
            self.check_rights()?;
            Host::raise_limit_of_descriptors();
        }
        let context = Context::load(self.cli.globals)?;
        if self.cli.verb.needs_root() {
            let mut troubles: Vec<_> = context.host.mend().err().into_iter().collect();
            if self.cli.verb.needs_recovery() {
                troubles.extend(recovery::reap(&context.host, policy::fronts));
            }
            troubles.iter().for_each(|trouble| output::note(format_args!("warning: {trouble}")));
        }
        self.cli.verb.run(&context)
    }

    /// Refuses a caller without the capabilities that pods take, before anything is touched.
    fn check_rights(&self) -> Result<()> {
        let Some(lacking) = Host::lacking_capability() else { return Ok(()) };
        let verb = &self.verb;
        if Host::is_root() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{verb} needs {lacking}, and this root does not have it"),
            )
            .hint("see `podrun doctor`; in a container, give it more privileges"));
        }
        let line: Vec<String> = self.line.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        Err(Error::failed(format!("{verb} needs root; run it with sudo"))
            .hint(format!("sudo {}", line.join(" "))))
    }
}

/// `word` as a shell would have to be given it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_would_split_them() {
        assert_eq!(quoted("pod.json"), "pod.json");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
