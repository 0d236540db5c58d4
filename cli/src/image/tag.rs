//! `podrun tag`: another name for an image.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::image::{ImageStore, Reference};

use crate::completion;
use crate::context::Context;

/// Give an image more names
///
/// A name that another image has leaves it; an image that loses its last name stays until it is removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun tag busybox:1.36 localhost:5000/busybox:v1
  podrun tag 8f3c2a10 app:v2 app:latest")]
pub(crate) struct Args {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    image: String,
    /// The names it gets; without a tag, latest
    #[arg(required = true, value_name = "NAME", add = ArgValueCompleter::new(completion::images))]
    names: Vec<Reference>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    ImageStore::open(&context.host)?.tag(&args.image, &args.names)?;
    Ok(ExitCode::SUCCESS)
}
