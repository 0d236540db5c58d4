//! `podrun image inspect`: all that is known of images.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::image::{Details, ImageStore};

use crate::context::Context;
use crate::exit::Failures;
use crate::print::{self, ObjectFormat};
use crate::{completion, output};

/// Print all that is known of images
///
/// A list: ids, names, digests, the config, each layer with its ids, its size and how it came packed, and the history.
/// A jsonpath is asked of each image in turn.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image inspect busybox:1.36
  podrun image inspect 8f3c2a10 -o jsonpath='{.config.entrypoint}{\"\\n\"}'")]
pub(crate) struct Args {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    images: Vec<String>,
    /// json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT", default_value = "json", hide_default_value = true,
          add = completion::words(&["json", "yaml", "name", "jsonpath="]))]
    output: ObjectFormat,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let mut failures = Failures::default();
    let mut all: Vec<Details> = Vec::new();
    for image in &args.images {
        match store.details(image) {
            Ok(details) => all.push(details),
            Err(error) => failures.add(error),
        }
    }
    match &args.output {
        ObjectFormat::Name => {
            for details in &all {
                output::line(details.names.first().map_or_else(|| details.id.to_string(), Clone::clone))?;
            }
        }
        // As docker's --format: one template, however many images there are.
        format @ ObjectFormat::JsonPath(_) => {
            all.iter().try_for_each(|details| print::value(format, &print::plain(details)))?;
        }
        format => print::value(format, &print::plain(&all))?,
    }
    failures.result()
}
