//! `run`: create and start in one, and, unless detached, the end too.

use std::process::ExitCode;

use runtime::oci::{Foreground, Protected};
use runtime::{Error, Result};

use super::context::{self, Context, Named};
use super::create::{Making, stand_for};

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
    /// For callers of runc: podrun never becomes the parent of the container's orphans
    #[arg(long)]
    no_subreaper: bool,
    /// Do not delete it when it has ended
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(args: Args, protected: Protected, context: &Context) -> Result<ExitCode> {
    let Args { named, making, detach, keep, no_subreaper: _ } = args;
    let inherited = making.inherited()?;
    let foreground = (!detach).then(Foreground::open).transpose()?;
    let created = making.perform(&named, inherited, !detach, Protected::default(), context)?;
    let warn = |failed: Vec<Error>| failed.iter().for_each(|failed| context.log.warning(failed.message()));
    let made = created.container.made()?;
    let notify = match created.container.start(context::notify_socket().as_deref()) {
        Ok(notify) => notify,
        Err(error) => {
            // The user asked for a program that runs, or for nothing; a hook that failed has left nothing.
            return Err(match created.container.delete_made(made) {
                Ok(failed) => error.and(&failed),
                Err(also) => error.and(&[also]),
            });
        }
    };
    // While the program runs.
    drop(protected);
    let Some(foreground) = foreground else {
        if let Some(Err(error)) = notify.map(|notify| notify.hand_on(None)) {
            warn(vec![error]);
        }
        return Ok(ExitCode::SUCCESS);
    };
    // Beside the relay of its streams and signals; this process stands for the container.
    let own = std::process::id();
    let handing_on = notify.map(|notify| std::thread::spawn(move || notify.hand_on(Some(own))));
    let code = stand_for(&foreground, &created.init, created.terminal.as_ref())?;
    // One that still waits has nothing to wait for any more.
    let handed_on =
        handing_on.filter(std::thread::JoinHandle::is_finished).map(std::thread::JoinHandle::join);
    if let Some(Ok(Err(error))) = handed_on {
        warn(vec![error]);
    }
    if !keep {
        warn(created.container.delete_made(made)?);
    }
    Ok(code)
}
