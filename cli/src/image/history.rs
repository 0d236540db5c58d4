//! `podrun image history`: how an image was built, the last step first.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::image::{ImageStore, Step};

use super::shown::{self, NONE};
use crate::context::Context;
use crate::print::{self, Format, ObjectFormat};
use crate::table::Table;
use crate::{completion, output};

/// How much of a step's command the table shows.
const COMMAND_MAX: usize = 60;

/// Show how an image was built, the last step first
///
/// A step with a layer has its chain id; one that only changed the config has none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image history busybox:1.36
  podrun image history --no-trunc 8f3c2a10
  podrun image history app:v1 -o json")]
pub(crate) struct Args {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    image: String,
    /// Show whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Leave the table's header out
    #[arg(long)]
    no_headers: bool,
    /// wide (whole ids and commands), json, yaml, name (chain ids), jsonpath=TEMPLATE or custom-columns=HEAD:PATH,...
    #[arg(short, long, value_name = "FORMAT",
          add = completion::words(&["wide", "json", "yaml", "name", "jsonpath=", "custom-columns="]))]
    output: Option<Format>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut steps = ImageStore::open(&context.host)?.details(&args.image)?.history;
    steps.reverse();
    match &args.output {
        Some(Format::Object(ObjectFormat::Name)) => {
            steps.iter().filter_map(|step| step.layer.as_ref()).try_for_each(output::line)?;
        }
        Some(Format::Object(format)) => print::value(format, &print::plain(&steps))?,
        Some(Format::Columns(columns)) => {
            let objects: Vec<_> = steps.iter().map(print::plain).collect();
            print::columns(columns, &objects, !args.no_headers)?;
        }
        shape @ (Some(Format::Wide) | None) => {
            let whole = args.no_trunc || *shape == Some(Format::Wide);
            let mut table = Table::new(["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
            steps.iter().for_each(|step| table.row(row(step, whole)));
            output::text(table.render(!args.no_headers))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(step: &Step, whole: bool) -> Vec<String> {
    let layer =
        step.layer.as_ref().map_or(NONE, |layer| if whole { layer.directory() } else { layer.short() });
    let command = step.created_by.as_str();
    let command = match command.char_indices().nth(COMMAND_MAX) {
        Some((end, _)) if !whole => format!("{}…", &command[..end]),
        _ => command.to_owned(),
    };
    let age = shown::age(step.created.as_deref());
    vec![layer.to_owned(), age, command, shown::size(step.size), step.comment.clone()]
}
