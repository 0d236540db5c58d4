//! `podrun image mount`: an image's files for one program.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::image::ImageStore;

use crate::context::Context;
use crate::{completion, exit};

/// Run a program of this host with an image mounted, read only
///
/// The program begins in the image's root; the path of that is in $PODRUN_MOUNT, and in the place of each {} in the
/// arguments. Only it sees the mount, which is gone when it ends. Its exit code is passed on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image mount nginx:1.27 -- find . -perm -4000
  podrun image mount nginx:1.27 -- diff -r {}/etc /etc
  podrun image mount busybox:1.36 -- sh -c 'du -sh $PODRUN_MOUNT'")]
pub(crate) struct Args {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    image: String,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    ImageStore::open(&context.host)?.run_mounted(&args.image, &args.command).map(exit::of_child)
}
