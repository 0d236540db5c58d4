//! `kill`: a signal to the container's first process, or to all of them.

use std::process::ExitCode;

use runtime::Result;
use runtime::oci::signal_number;

use super::context::{Context, Named};

/// Send a signal to a container's first process
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    /// The signal's name or number
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    signal: String,
    /// Send it to all processes of the container
    #[arg(short, long)]
    all: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let signal = signal_number(&args.signal)?;
    let container = args.named.get(context)?;
    if args.all { container.kill_all(signal) } else { container.kill(signal) }?;
    Ok(ExitCode::SUCCESS)
}
