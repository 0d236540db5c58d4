//! `podrun load`: images from an archive or a directory.

use std::path::PathBuf;
use std::process::ExitCode;

use runtime::Result;
use runtime::image::{ImageStore, Platform};

use super::progress::Shown;
use crate::args::Context;
use crate::output;

/// Load images from an archive or an OCI layout
///
/// Takes an OCI layout (a directory), an oci-archive or an archive of `docker save`, plain or compressed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun load app.tar
  podrun load ./layout/
  docker save app:v1 | podrun load -")]
pub(crate) struct Args {
    /// The archive or directory; - is standard input
    #[arg(required = true, value_name = "FILE|DIR|-", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// The platform to take from an image for several [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Print the images' names and nothing else
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    for path in &args.paths {
        let shown = Shown::new(args.quiet);
        let images = store.load(path, args.platform.as_ref(), &shown)?;
        shown.finish();
        for image in images {
            if args.quiet {
                output::line(image.display_name())?;
            } else {
                output::line(format_args!("loaded {}", image.display_name()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
