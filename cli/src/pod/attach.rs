//! `podrun attach`: the streams of a container that runs already.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::pod::client::Client;
use runtime::pod::session::Options;

use super::{streams, target};
use crate::completion;
use crate::context::Context;
use crate::output;

/// Join a running container's output, and its input with -i
///
/// With a terminal (-it), Ctrl-P Ctrl-Q leaves without ending the container.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun attach web
  podrun attach -it shell -c main")]
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
    /// Standard input is a terminal, and the container has one
    #[arg(short, long)]
    tty: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let entry = target::find(context, &args.pod)?;
    let container = target::container(&entry.pod, args.container.as_deref())?;
    let id = target::running_id(&entry.pod, &container.name)?;
    if args.stdin && !container.stdin {
        output::note(format_args!(
            "container {:?} takes no input, since its manifest has no stdin: true; attaching to its output",
            container.name
        ));
    }
    let stdin = args.stdin && container.stdin;
    if args.tty && !container.tty {
        output::note(format_args!("Unable to use a TTY - container {} did not allocate one", container.name));
    }
    let mut monitor = Client::connect(&context.host, &entry.id, None)?;
    let ends = monitor.attach(id, stdin)?;
    if stdin && ends.stdin.is_none() {
        output::note(format_args!(
            "container {:?} takes no more input, since its manifest has stdinOnce: true; attaching to its output",
            container.name
        ));
    }
    let stdin = ends.stdin.is_some();
    // A terminal that nothing is typed into keeps its own Ctrl-C.
    let tty = args.tty && stdin && container.tty && streams::terminal_or_warn();
    let options =
        Options { stdin, tty, detach: true, container: container.tty.then_some(id), ..Options::default() };
    streams::join(&mut monitor, ends, options, &entry.pod.metadata.name)?;
    Ok(ExitCode::SUCCESS)
}
