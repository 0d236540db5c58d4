//! `pause` and `resume`: all processes of a container at once.

use std::process::ExitCode;

use runtime::Result;

use super::context::{Context, Named};

/// Freeze all processes of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
}

/// Let the processes of a paused container go on
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    named: Named,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    args.named.get(context)?.pause()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(args: &ResumeArgs, context: &Context) -> Result<ExitCode> {
    args.named.get(context)?.resume()?;
    Ok(ExitCode::SUCCESS)
}
