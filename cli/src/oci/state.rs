//! `state`: the document that runtime.md, "State", describes.

use std::process::ExitCode;

use runtime::{Error, Result};

use super::context::{Context, Named};
use crate::output;

/// Print a container's state
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let state = args.named.get(context)?.state()?;
    let text = serde_json::to_string_pretty(&state).map_err(|error| Error::failed(error.to_string()))?;
    output::json(&text)?;
    Ok(ExitCode::SUCCESS)
}
