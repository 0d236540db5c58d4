//! `events`: a container's use of resources (not done yet).

use std::process::ExitCode;

use runtime::{Error, ErrorKind, Result};

use super::{Context, Named};

/// Show what a container uses (not supported yet)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    /// Once, and end
    #[arg(long)]
    stats: bool,
    /// How often, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5s")]
    interval: String,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    args.named.get(context)?;
    let asked = if args.stats { "events --stats" } else { "events" };
    Err(Error::new(ErrorKind::Unsupported, format!("{asked}: not supported yet"))
        .hint("read the files of the container's cgroup"))
}
