//! `podrun pull`: an image from a registry.

use std::process::ExitCode;

use runtime::Result;
use runtime::image::{ImageStore, Platform, PullOptions, Reference};

use super::progress::Shown;
use super::registries;
use crate::args::Context;
use crate::output;

/// Pull images from a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun pull busybox:1.36
  podrun pull quay.io/org/app@sha256:…
  podrun pull localhost:5000/app:v1 --platform linux/arm64")]
pub(crate) struct Args {
    /// The images' names; without a registry, docker.io's
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<Reference>,
    /// The platform to take from an image for several [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: registries::RegistryArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let options = PullOptions { platform: args.platform.clone(), access: args.registry.access(context)? };
    for reference in &args.images {
        let shown = Shown::new(args.quiet);
        if !args.quiet {
            output::note(format_args!("pulling {reference}"));
        }
        let image = store.pull(reference, &options, &shown)?;
        shown.finish();
        if !args.quiet {
            output::note(format_args!("pulled {}", image.digests.first().unwrap_or(&image.display_name())));
        }
        output::line(&image.id)?;
    }
    Ok(ExitCode::SUCCESS)
}
