//! `podrun image import`: an image out of a root file system.

use std::path::PathBuf;
use std::process::ExitCode;

use runtime::Result;
use runtime::image::{Change, ImageStore, ImportOptions, Platform, Reference};

use super::progress::Shown;
use crate::context::Context;
use crate::output;

/// Make an image of a root file system's tar
///
/// The tar, plain or compressed, becomes the image's only layer. What it runs is said by --change, in a Dockerfile's words.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image import rootfs.tar.gz app:v1 --change 'CMD [\"/bin/app\"]' --change 'USER 1000'
  debootstrap stable root && tar -C root -c . | podrun image import - debian:stable -c 'CMD bash'")]
pub(crate) struct Args {
    /// The tar; - is standard input
    #[arg(value_name = "TAR|-", value_hint = clap::ValueHint::FilePath)]
    tar: PathBuf,
    /// The image's name; without a tag, latest
    #[arg(value_name = "NAME")]
    name: Option<Reference>,
    /// CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR, with its value
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<Change>,
    /// A comment for the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What the image is for [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let options = ImportOptions {
        name: args.name.clone(),
        platform: args.platform.clone(),
        changes: args.changes.clone(),
        message: args.message.clone(),
    };
    let shown = Shown::new(args.quiet);
    let image = ImageStore::open(&context.host)?.import(&args.tar, &options, &shown)?;
    shown.finish();
    output::line(&image.id)?;
    Ok(ExitCode::SUCCESS)
}
