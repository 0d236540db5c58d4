//! `podrun version`: the version of this binary.

use std::process::ExitCode;

use runtime::Result;

use crate::output;

/// Print podrun's version
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  podrun version")]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    output::line(format_args!("podrun {}", env!("CARGO_PKG_VERSION")))?;
    Ok(ExitCode::SUCCESS)
}
