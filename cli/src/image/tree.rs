//! `podrun image tree`: an image's layers, and the other images that have them.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::image::{Image, ImageStore, Layer};

use super::shown;
use crate::context::Context;
use crate::{completion, output};

/// Show an image's layers, the lowest first, and which images share them
///
/// A layer that several images have is on the disk once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  podrun image tree nginx:1.27")]
pub(crate) struct Args {
    /// A name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    image: String,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let details = store.details(&args.image)?;
    let sharing = store.sharing(&details.id)?;
    let id = if args.no_trunc { details.id.to_string() } else { details.id.short().to_owned() };
    let own: u64 = layers(&details.layers, &sharing)
        .filter(|(_, others)| others.is_empty())
        .map(|(layer, _)| layer.size.unwrap_or(0))
        .sum();
    let names = if details.names.is_empty() { shown::NONE.to_owned() } else { details.names.join(", ") };
    output::line(format_args!("{names} ({id})"))?;
    output::line(format_args!(
        "{}, {} of it shared with no other image",
        shown::size(details.size),
        shown::size(own)
    ))?;
    let last = details.layers.len().saturating_sub(1);
    for (number, (layer, others)) in layers(&details.layers, &sharing).enumerate() {
        let branch = if number == last { "└─" } else { "├─" };
        let id = if args.no_trunc { layer.chain_id.directory() } else { layer.chain_id.short() };
        let size = layer.size.map_or_else(|| "missing".to_owned(), shown::size);
        let line = format!("{branch} {id}  {size:>7}  {}", shared(others));
        output::line(line.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn layers<'a>(
    layers: &'a [Layer],
    sharing: &'a [Vec<Image>],
) -> impl Iterator<Item = (&'a Layer, &'a [Image])> {
    layers.iter().zip(sharing.iter().map(Vec::as_slice))
}

fn shared(others: &[Image]) -> String {
    match others {
        [] => String::new(),
        others => {
            let names: Vec<String> = others.iter().map(Image::display_name).collect();
            format!("also in {}", names.join(", "))
        }
    }
}
