//! `events`: a container's usage, and its OOM kills.

use std::process::ExitCode;
use std::time::Duration;

use runtime::oci::Event;
use runtime::{Error, ErrorKind, Result};
use serde_json::json;

use super::context::{Context, Named};
use crate::{duration, output};

/// Show what a container uses, a JSON document a line, until it ends
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    /// Once, and end
    #[arg(long)]
    stats: bool,
    /// How often
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    interval: Duration,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let container = args.named.get(context)?;
    if args.stats {
        output::line(container.stats()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.interval.is_zero() {
        return Err(Error::new(ErrorKind::Usage, "--interval: it must be longer than nothing"));
    }
    let mut watch = container.watch()?;
    loop {
        match watch.next(args.interval)? {
            Event::Ended => return Ok(ExitCode::SUCCESS),
            Event::OutOfMemory => output::line(json!({"type": "oom", "id": container.id().as_str()}))?,
            Event::Time => match container.stats() {
                Ok(stats) => output::line(stats)?,
                // It has ended in between, which the next look tells.
                Err(_) if container.status().is_ok_and(|status| status == runtime::oci::Status::Stopped) => {}
                Err(error) => return Err(error),
            },
        }
    }
}
