//! `podrun image df`: the disk space of the store, by user.

use std::process::ExitCode;

use runtime::Result;
use runtime::host::Host;
use runtime::image::{ImageStore, Part, Usage};
use serde_json::{Value, json};

use super::shown::{self, NONE};
use crate::context::Context;
use crate::print::{self, ObjectFormat};
use crate::table::Table;
use crate::{completion, output};

/// Show what images take of the disk, and who needs it
///
/// Reclaimable is what `podrun image prune --all` frees: what no pod needs. Partial is what has come of blobs whose pull goes
/// on or was interrupted. Sizes are those of the files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image df
  podrun image df --verbose
  podrun image df -o json")]
pub(crate) struct Args {
    /// Show each image, with what it shares and the pods that run it, and each container's changes
    #[arg(short, long)]
    verbose: bool,
    /// json, yaml or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "verbose", value_parser = format,
          add = completion::words(&["json", "yaml", "jsonpath="]))]
    output: Option<ObjectFormat>,
}

/// A format other than a list of names: the counted parts have none.
fn format(text: &str) -> std::result::Result<ObjectFormat, String> {
    match text.parse()? {
        ObjectFormat::Name => Err("one of json, yaml, jsonpath=TEMPLATE is wanted".into()),
        format => Ok(format),
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let usage = ImageStore::open(&context.host)?.usage()?;
    match &args.output {
        Some(format) => print::value(format, &as_json(&context.host, &usage))?,
        None => {
            output::text(summary(&usage).render(true))?;
            if args.verbose {
                output::text(format_args!("\n{}", images(&context.host, &usage).render(true)))?;
                output::text(format_args!("\n{}", snapshots(&usage).render(true)))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Images as a part: their bytes are those of their layers and blobs, which are counted there.
fn images_part(usage: &Usage) -> (usize, usize) {
    let active = usage.images.iter().filter(|image| !image.holders.is_empty()).count();
    (usage.images.len(), active)
}

fn snapshot_bytes(usage: &Usage) -> u64 {
    usage.snapshots.iter().map(|(_, bytes)| bytes).sum()
}

fn summary(usage: &Usage) -> Table {
    let mut table = Table::new(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    let (total, active) = images_part(usage);
    let both = |bytes: fn(&Part) -> u64| bytes(&usage.layers) + bytes(&usage.blobs);
    let row = |what: &str, total: usize, active: usize, bytes: u64, free: u64| {
        let share = (u128::from(free) * 100).checked_div(u128::from(bytes)).unwrap_or(0);
        let free = format!("{} ({share}%)", shown::size(free));
        vec![what.to_owned(), total.to_string(), active.to_string(), shown::size(bytes), free]
    };
    table.row(row("Images", total, active, both(|part| part.bytes), both(|part| part.reclaimable)));
    for (what, part) in [("  Layers", usage.layers), ("  Blobs", usage.blobs), ("Partial", usage.partial)] {
        table.row(row(what, part.total, part.active, part.bytes, part.reclaimable));
    }
    let containers = usage.snapshots.len();
    table.row(row("Containers", containers, containers, snapshot_bytes(usage), 0));
    table
}

fn images(host: &Host, usage: &Usage) -> Table {
    let mut table = Table::new(["IMAGE", "IMAGE ID", "SIZE", "SHARED", "UNIQUE", "BLOBS", "PODS"]);
    for one in &usage.images {
        let pods = shown::pods(host, &one.holders);
        let name = one.image.names.first().map_or(NONE, String::as_str).to_owned();
        let pods = if pods.is_empty() { NONE.to_owned() } else { pods.join(",") };
        let [size, shared, unique, blobs] =
            [one.image.size, one.shared, one.unique, one.blobs].map(shown::size);
        table.row([name, shown::id(&one.image, false), size, shared, unique, blobs, pods]);
    }
    table
}

fn snapshots(usage: &Usage) -> Table {
    let mut table = Table::new(["CONTAINER", "SIZE"]);
    for (container, bytes) in &usage.snapshots {
        table.row([container.get(..12).unwrap_or(container).to_owned(), shown::size(*bytes)]);
    }
    table
}

fn as_json(host: &Host, usage: &Usage) -> Value {
    let part = |part: &Part| json!({ "total": part.total, "active": part.active, "size": part.bytes, "reclaimable": part.reclaimable });
    let images: Vec<Value> = usage
        .images
        .iter()
        .map(|one| {
            json!({
                "id": one.image.id, "names": one.image.names, "size": one.image.size, "shared": one.shared,
                "unique": one.unique, "blobs": one.blobs, "pods": shown::pods(host, &one.holders),
            })
        })
        .collect();
    let containers: Vec<Value> =
        usage.snapshots.iter().map(|(id, bytes)| json!({ "id": id, "size": bytes })).collect();
    json!({ "images": images, "layers": part(&usage.layers), "blobs": part(&usage.blobs),
            "partial": part(&usage.partial), "containers": containers })
}
