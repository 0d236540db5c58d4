//! `start`: the program of a created container.

use std::process::ExitCode;

use runtime::Result;

use super::context::{self, Context, Named};

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
            Some(context::go_on_protected()?)
        }
        false => None,
    };
    if let Some(notify) = container.start(context::notify_socket().as_deref())? {
        notify.hand_on(None)?;
    }
    Ok(ExitCode::SUCCESS)
}
