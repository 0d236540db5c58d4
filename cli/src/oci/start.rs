//! `start`: the program of a created container.

use std::process::ExitCode;

use runtime::Result;

use super::{Context, Named};

/// Start the program of a created container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    for failed in args.named.get(context)?.start()? {
        context.log.warning(failed.message());
    }
    Ok(ExitCode::SUCCESS)
}
