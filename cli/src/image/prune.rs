//! `podrun image prune`: removes unused content.

use std::process::ExitCode;

use runtime::image::{Image, ImageStore, Pruned};
use runtime::{Error, ErrorKind, Result};

use super::filter::{Filter, Filters};
use super::{remove, shown};
use crate::context::Context;
use crate::{completion, output};

/// Remove what nobody needs: images without a name, and layers and blobs of no image
///
/// What a pod runs stays, and so does what a pull, a load or a create is making just now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image prune
  podrun image prune --all --filter until=240h
  podrun image prune --all --dry-run")]
pub(crate) struct Args {
    /// Also images that have names, if no pod runs them
    #[arg(short, long)]
    all: bool,
    /// Of the images only some: until=24h, label=KEY[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE
    #[arg(long = "filter", value_name = "KEY=VALUE",
          add = completion::words(&["until=", "label=", "reference=", "before=", "since="]))]
    filters: Vec<Filter>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let filters = Filters::new(&args.filters, &store)?;
    let chosen = |image: &Image| (args.all || image.names.is_empty()) && filters.hold(image);
    let pruned = store.prune(args.dry_run, chosen)?;
    let words = if args.dry_run { ["Would untag", "Would delete"] } else { remove::DONE };
    pruned.images.iter().try_for_each(|removal| remove::print(removal, words))?;
    output::line(told(&pruned, args.dry_run))?;
    match &pruned.damaged {
        None => Ok(ExitCode::SUCCESS),
        Some(id) => Err(Error::new(
            ErrorKind::Image,
            format!("image {id}: its record cannot be read, so that every layer and blob might be its own"),
        )
        .hint("`podrun image fsck --repair` drops it")),
    }
}

fn told(pruned: &Pruned, pretended: bool) -> String {
    let what = if pretended { "Would reclaim" } else { "Reclaimed" };
    let (layers, blobs) = (shown::count(pruned.layers, "layer"), shown::count(pruned.blobs, "blob"));
    format!("{what} {} in {layers} and {blobs}", shown::size(pruned.bytes))
}
