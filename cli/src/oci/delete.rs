//! `delete`: all that create has made.

use std::process::ExitCode;

use runtime::Result;

use super::context::{Context, Named};

/// Delete a container that has ended
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    /// Kill it first if it lives; no error when there is none
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    for failed in context.store.delete(&args.named.id, args.force)? {
        context.log.warning(failed.message());
    }
    Ok(ExitCode::SUCCESS)
}
