//! `podrun images`: the images in the store.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::Result;
use runtime::host::Host;
use runtime::image::{Image, ImageStore, Reference};

use super::filter::{Filter, Filters};
use super::shown::{self, NONE};
use crate::context::Context;
use crate::print::{self, Format, ObjectFormat};
use crate::table::Table;
use crate::{completion, output};

/// List images
///
/// Sizes are those of the files in an image's layers; layers that images share count in each.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun images
  podrun images localhost/app
  podrun images --digests --no-trunc
  podrun images --filter reference='localhost/*/*' --filter label=stage=test
  podrun images --filter dangling=true -q
  podrun images -o json")]
pub(crate) struct Args {
    /// Only images of that name, with its tag or with any; as --filter reference=NAME
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::images))]
    name: Option<String>,
    /// Show all images; podrun hides none, since it makes no intermediate ones
    #[arg(short, long)]
    all: bool,
    /// Show the digests under which registries know the images
    #[arg(long)]
    digests: bool,
    /// Only some: dangling=true, reference=PATTERN, before=IMAGE, since=IMAGE, until=24h, label=KEY[=VALUE]
    #[arg(short, long = "filter", value_name = "KEY=VALUE",
          add = completion::words(&["dangling=", "reference=", "before=", "since=", "until=", "label="]))]
    filters: Vec<Filter>,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Leave the table's header out
    #[arg(long)]
    no_headers: bool,
    /// Print ids and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// wide, json, yaml, name, jsonpath=TEMPLATE or custom-columns=HEAD:PATH,...
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "quiet",
          add = completion::words(&["wide", "json", "yaml", "name", "jsonpath=", "custom-columns="]))]
    output: Option<Format>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let named = args.name.iter().cloned().map(Filter::Reference);
    let all: Vec<Filter> = args.filters.iter().cloned().chain(named).collect();
    let filters = Filters::new(&all, &store)?;
    let mut images = store.list()?;
    images.retain(|image| filters.hold(image));
    match &args.output {
        Some(Format::Object(ObjectFormat::Name)) => {
            images.iter().try_for_each(|image| output::line(image.display_name()))?;
        }
        Some(Format::Object(format)) => print::value(format, &print::plain(&images))?,
        Some(Format::Columns(columns)) => {
            let objects: Vec<_> = images.iter().map(print::plain).collect();
            print::columns(columns, &objects, !args.no_headers)?;
        }
        None if args.quiet => {
            images.iter().try_for_each(|image| output::line(shown::id(image, args.no_trunc)))?;
        }
        Some(Format::Wide) | None => {
            let table = table(args, &context.host, &store, &filters, &images)?;
            output::text(table.render(!args.no_headers))?;
        }
    }
    // The process ends: a thousand images need not be given back piece by piece.
    std::mem::forget(images);
    Ok(ExitCode::SUCCESS)
}

fn table(
    args: &Args,
    host: &Host,
    store: &ImageStore,
    filters: &Filters<'_>,
    images: &[Image],
) -> Result<Table> {
    let wide = args.output == Some(Format::Wide);
    let mut columns = vec!["REPOSITORY", "TAG"];
    if args.digests {
        columns.push("DIGEST");
    }
    columns.extend(["IMAGE ID", "CREATED", "SIZE"]);
    if wide {
        columns.extend(["PLATFORM", "LAYERS", "PODS"]);
    }
    let mut table = Table::new(columns);
    for image in images {
        let more = if wide { wide_cells(host, store, image)? } else { Vec::new() };
        for (repository, tag, digest) in names(image, filters, args.digests) {
            let mut row = vec![repository, tag];
            row.extend(digest);
            row.extend([shown::id(image, args.no_trunc), created(image), shown::size(image.size)]);
            row.extend(more.iter().cloned());
            table.row(row);
        }
    }
    Ok(table)
}

fn wide_cells(host: &Host, store: &ImageStore, image: &Image) -> Result<Vec<String>> {
    let pods = shown::pods(host, &store.holders(&image.id)?);
    let pods = if pods.is_empty() { NONE.to_owned() } else { pods.join(",") };
    let said = |word: &str| if word.is_empty() { "<unknown>" } else { word }.to_owned();
    let platform = format!("{}/{}", said(&image.config.os), said(&image.config.architecture));
    Ok(vec![platform, image.layers.len().to_string(), pods])
}

/// A row for each name of the image that is asked for, if wanted `with_digest`; one without a name has a row, too.
fn names(image: &Image, filters: &Filters<'_>, with_digest: bool) -> Vec<(String, String, Option<String>)> {
    let digest_of = |reference: &Reference| {
        let repository = reference.repository();
        let prefix = format!("{repository}@");
        let found = image.digests.iter().find_map(|digest| digest.strip_prefix(&prefix));
        found.unwrap_or(NONE).to_owned()
    };
    let rows: Vec<_> = image
        .names
        .iter()
        .filter(|name| filters.shows(name))
        .filter_map(|name| name.parse::<Reference>().ok())
        .map(|name| {
            let digest = with_digest.then(|| digest_of(&name));
            (name.familiar_repository(), name.tag().unwrap_or(NONE).to_owned(), digest)
        })
        .collect();
    if !rows.is_empty() {
        return rows;
    }
    let first = image.digests.first().and_then(|digest| digest.parse::<Reference>().ok());
    let repository = first.as_ref().map_or(NONE.to_owned(), Reference::familiar_repository);
    let digest = with_digest.then(|| first.as_ref().map_or(NONE.to_owned(), digest_of));
    vec![(repository, NONE.to_owned(), digest)]
}

fn created(image: &Image) -> String {
    match &image.damage {
        Some(why) => format!("<damaged: {why}>"),
        None => shown::age(image.created.as_deref()),
    }
}
