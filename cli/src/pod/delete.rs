//! `podrun delete`: the end of pods.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use runtime::pod::launch::{self, Grace};
use runtime::policy::store::PodEntry;
use runtime::{Error, ErrorKind, Result};

use super::target::{self, Choice, Wanted};
use crate::context::Context;
use crate::exit::Failures;
use crate::{duration, output};

/// Delete pods
///
/// Each pod gets its grace period; a second delete may only shorten it. Returns when nothing of the
/// pods is left.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun delete pod web
  podrun delete web job --now
  podrun delete -f pod.json
  podrun delete pods -l app=web --grace-period=5
  podrun delete --all --force")]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// All pods of the namespace
    #[arg(long, conflicts_with_all = ["selector", "filename"])]
    all: bool,
    /// Seconds that the containers have to end by themselves; -1 is as the manifest says
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// As --grace-period=1
    #[arg(long, conflicts_with = "grace_period")]
    now: bool,
    /// Kill at once; with --grace-period=0 or alone
    #[arg(long)]
    force: bool,
    /// Wait until nothing of the pods is left
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    wait: bool,
    /// No error for a pod that does not exist
    #[arg(long)]
    ignore_not_found: bool,
    /// Give up waiting after this time; the deletion goes on [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let grace = grace(args)?;
    let (entries, missing) = chosen(args, context)?;
    let mut failures = Failures::default();
    missing.into_iter().for_each(|error| failures.add(error));
    if entries.is_empty() && (args.all || args.choice.selects()) {
        output::note("No resources found");
    }
    let forced = if grace.force { "force " } else { "" };
    if grace.force && !entries.is_empty() {
        output::note("warning: killed at once; the containers have no time to end by themselves");
    }
    let deadline = args.timeout.filter(|timeout| !timeout.is_zero()).map(|timeout| Instant::now() + timeout);
    // All are asked first, so that their graces pass side by side.
    let mut going = Vec::with_capacity(entries.len());
    for entry in entries {
        let asked = if grace.force { Ok(()) } else { named(&entry, ask(context, &entry, grace, deadline)) };
        match asked {
            Ok(()) => going.push(entry),
            Err(error) => failures.add(error),
        }
    }
    for entry in &going {
        // Printed only for removed pods: an error names remains.
        let down = match runtime::pod::store::is_alive(&context.host, &entry.id) {
            Ok(true) if !args.wait && !grace.force => Ok(()),
            Ok(_) => launch::down(&context.host, &entry.id, grace, deadline),
            Err(error) => Err(error),
        };
        if let Err(error) = named(entry, down) {
            failures.add(error);
            continue;
        }
        failures.hold(output::line(format_args!("pod \"{}\" {forced}deleted", entry.name)));
    }
    if let Err(error) = launch::tidy(&context.host) {
        failures.add(error);
    }
    failures.result()
}

fn ask(context: &Context, entry: &PodEntry, grace: Grace, deadline: Option<Instant>) -> Result<()> {
    launch::ask_down(&context.host, &entry.id, grace.period, deadline).map(drop)
}

fn named(entry: &PodEntry, result: Result<()>) -> Result<()> {
    result.map_err(|error| error.context(format_args!("pod/{}", entry.name)))
}

fn grace(args: &Args) -> Result<Grace> {
    if args.now {
        return Ok(Grace { period: Some(Duration::from_secs(1)), force: false });
    }
    match args.grace_period {
        0 => Ok(Grace { period: Some(Duration::ZERO), force: args.force }),
        -1 => Ok(Grace { period: None, force: args.force }),
        seconds if args.force => {
            let message = format!("--force kills at once, and --grace-period={seconds} does not");
            Err(Error::new(ErrorKind::Usage, message).hint("leave one of them out"))
        }
        seconds => match u64::try_from(seconds) {
            Ok(seconds) => Ok(Grace { period: Some(Duration::from_secs(seconds)), force: false }),
            Err(_) => {
                let message = format!("--grace-period={seconds}: must be -1, 0 or a number of seconds");
                Err(Error::new(ErrorKind::Usage, message))
            }
        },
    }
}

/// The pods meant, and an error for each that is not there.
fn chosen(args: &Args, context: &Context) -> Result<(Vec<PodEntry>, Vec<Error>)> {
    let wanted = args.choice.wanted(context)?;
    match &wanted {
        Wanted::Named(names) => target::refuse_names_beside(names, args.all, "--all")?,
        Wanted::Selected if args.all || args.choice.selects() => {}
        Wanted::Selected => {
            let message = "no pod is named";
            return Err(Error::new(ErrorKind::Usage, message).hint("name pods, or give -f, -l or --all"));
        }
    }
    let (entries, mut missing) = args.choice.find(context, &wanted)?;
    missing.retain(|error| error.kind() != ErrorKind::NotFound || !args.ignore_not_found);
    Ok((entries, missing))
}
