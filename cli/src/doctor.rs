//! `podrun doctor`: checks of this host, with remedies.

use std::process::ExitCode;

use runtime::pod::doctor::{self, Verdict};
use runtime::{ErrorKind, Result};

use crate::context::Context;
use crate::table::Table;
use crate::{exit, output};

/// Tell what this host gives pods and what it lacks
///
/// Everything is tried, and nothing is left behind. The exit code is 7 when pods cannot run here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  podrun doctor")]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Result<ExitCode> {
    let findings = doctor::examine(&context.host);
    let mut table = Table::new(["", "SUBJECT", "SEEN"]);
    for finding in &findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok",
            Verdict::Limited => "limited",
            Verdict::Lacking => "LACKING",
        };
        table.row([mark, finding.subject, &finding.seen]);
    }
    output::text(table.render(false))?;
    for finding in findings.iter().filter(|finding| !finding.advice.is_empty()) {
        output::line(format_args!("\n{}: {}", finding.subject, finding.advice))?;
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Lacking) {
        return Ok(ExitCode::from(exit::code(ErrorKind::Unsupported)));
    }
    Ok(ExitCode::SUCCESS)
}
