//! `podrun rmi`: images and names of images go.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::image::ImageStore;

use crate::args::Context;
use crate::{completion, exit, output};

/// Remove images, or names of images
///
/// A name goes; the last one takes its image along. An image that a pod runs is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun rmi busybox:1.36
  podrun rmi 8f3c2a10")]
pub(crate) struct Args {
    /// A name, an id, or the beginning of an id
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    images: Vec<String>,
    /// Remove the image though a pod runs it, or though it has other names
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let mut code = ExitCode::SUCCESS;
    for image in &args.images {
        match store.remove(image, args.force) {
            Ok(removal) => {
                for name in &removal.untagged {
                    output::line(format_args!("untagged {name}"))?;
                }
                if let Some(id) = &removal.deleted {
                    output::line(format_args!("deleted {id}"))?;
                }
            }
            // The others still go.
            Err(error) => code = exit::report(&error),
        }
    }
    Ok(code)
}
