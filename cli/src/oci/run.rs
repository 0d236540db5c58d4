//! `run`: create and start in one, and, unless detached, the end too.

use std::process::ExitCode;

use runtime::oci::{Foreground, Protected};
use runtime::{Error, Result};

use super::create::{Making, stand_for};
use super::{Context, Named};

/// Create and start a container, wait for its end, and delete it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    pub(super) making: Making,
    /// Return when it runs
    #[arg(short, long)]
    detach: bool,
    /// Do not delete it when it has ended
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(args: Args, protected: Protected, context: &Context) -> Result<ExitCode> {
    let Args { named, making, detach, keep } = args;
    let preserve = making.inherited()?;
    let foreground = (!detach).then(Foreground::open).transpose()?;
    let created = making.perform(&named, preserve, !detach, Protected::default(), context)?;
    let warn = |failed: Vec<Error>| failed.iter().for_each(|failed| context.log.warning(failed.message()));
    match created.container.start() {
        Ok(failed) => warn(failed),
        Err(error) => {
            // The user asked for a program that runs, or for nothing.
            warn(created.container.delete(true)?);
            return Err(error);
        }
    }
    // While the program runs.
    drop(protected);
    let Some(foreground) = foreground else { return Ok(ExitCode::SUCCESS) };
    let code = stand_for(&foreground, &created.init, created.terminal.as_ref())?;
    if !keep {
        warn(created.container.delete(true)?);
    }
    Ok(code)
}
