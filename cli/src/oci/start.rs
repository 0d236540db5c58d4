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
    let container = args.named.get(context)?;
    let _protected = match container.has_hooks_of_its_own() {
        true => {
            container.enter_user_namespace()?;
            Some(super::go_on_protected()?)
        }
        false => None,
    };
    for failed in container.start()? {
        context.log.warning(failed.message());
    }
    Ok(ExitCode::SUCCESS)
}
