//! `podrun exec`: another process in a running container.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::pod::client::Client;
use runtime::pod::protocol::Exec;
use runtime::pod::session::{self, Ended, Options};

use super::streams::terminal_or_warn;
use super::target;
use crate::completion;
use crate::context::Context;
use crate::{exit, output};

/// Run a command in a container
///
/// The command's own exit code is passed on; 127 says that it was not found in the container, 126 that
/// it cannot be executed, 125 that podrun itself failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun exec web -- cat /etc/hosts
  podrun exec -it web -c sidecar -- sh
  podrun exec web -- tar c /srv | tar t")]
pub(crate) struct Args {
    /// The pod
    #[arg(value_name = "POD", add = ArgValueCompleter::new(completion::pods))]
    pod: String,
    /// The container [default: the pod's default or first one]
    #[arg(short, long, value_name = "NAME", add = ArgValueCompleter::new(completion::containers))]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let entry = target::find(context, &args.pod)?;
    let container = target::container(&entry.pod, args.container.as_deref())?;
    let id = target::running_id(&entry.pod, &container.name)?;
    if args.tty && !args.stdin {
        output::note("Unable to use a TTY - standard input is not passed on; give -it");
    }
    let tty = args.tty && args.stdin && terminal_or_warn();
    let mut monitor = Client::connect(&context.host, &entry.id, None)?;
    let started = monitor.exec(Exec {
        container: id.into(),
        args: args.command.clone(),
        tty,
        stdin: args.stdin,
        env: Vec::new(),
        size: session::window().filter(|_| tty),
    })?;
    let options = Options { stdin: args.stdin, tty, exec: Some(started.id), ..Options::default() };
    match session::run(&mut monitor, started.streams, options)? {
        Ended::Exited(exit) => Ok(exit::of_child(exit.code)),
        Ended::Closed | Ended::Detached => Ok(ExitCode::SUCCESS),
    }
}
