//! `podrun load`: images from an archive or a directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use runtime::image::{ImageStore, LoadedImage, Platform};
use runtime::{Error, ErrorKind, Result};

use super::progress::Shown;
use crate::args::Context;
use crate::exit::Failures;
use crate::output;

/// Load images from an archive or an OCI layout
///
/// Takes an OCI layout (a directory), an oci-archive or an archive of `docker save`, plain or compressed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun load app.tar
  podrun load ./layout/
  docker save app:v1 | podrun load
  podrun load -i app.tar")]
pub(crate) struct Args {
    /// The archive or directory; - is standard input [default: standard input, where it is no terminal]
    #[arg(value_name = "FILE|DIR|-", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// An archive, as docker and podman take it
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    input: Vec<PathBuf>,
    /// The platform to take from an image for several [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Print the images' names (ids, where they have none) and nothing else
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut paths: Vec<&Path> = args.paths.iter().chain(&args.input).map(PathBuf::as_path).collect();
    if paths.is_empty() {
        // Nobody types an archive.
        if output::stdin_is_terminal() {
            return Err(
                Error::new(ErrorKind::Usage, "missing: FILE").hint("`podrun load --help` has examples")
            );
        }
        paths.push(Path::new("-"));
    }
    let store = ImageStore::open(&context.host)?;
    let mut failures = Failures::default();
    for path in paths {
        let shown = Shown::new(args.quiet);
        match store.load(path, args.platform.as_ref(), &shown) {
            Ok(images) => {
                shown.finish();
                images.iter().try_for_each(|loaded| print(loaded, args.quiet))?;
            }
            // The other archives are still loaded.
            Err(error) if error.kind() == ErrorKind::Image => failures.add(error),
            Err(error) => return Err(error),
        }
    }
    failures.result()
}

/// The names under which the image came, each on a line; of one without a name the id.
fn print(loaded: &LoadedImage, quiet: bool) -> Result<()> {
    let what = if quiet { "" } else { "loaded " };
    if loaded.names.is_empty() {
        return output::line(format_args!("{what}{}", loaded.image.id));
    }
    loaded.names.iter().try_for_each(|name| output::line(format_args!("{what}{name}")))
}
