//! `podrun rmi`: images and names of images go.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::image::{ImageStore, Removal};
use runtime::{Error, ErrorKind, Result};

use super::shown;
use crate::context::Context;
use crate::exit::Failures;
use crate::{completion, output};

/// Remove images, or names of images
///
/// A name goes; the last one takes its image along, and what no other image and no pod needs of it. An image that a pod
/// runs is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun rmi busybox:1.36 localhost/app:v1
  podrun rmi 8f3c2a10
  podrun rmi --all")]
pub(crate) struct Args {
    /// Names (with a tag, a digest or both), ids, or beginnings of ids
    #[arg(required_unless_present = "all", value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    images: Vec<String>,
    /// Remove every image
    #[arg(short, long, conflicts_with = "images")]
    all: bool,
    /// Remove the image though a pod runs it (which keeps its layers), or though it has other names
    #[arg(short, long)]
    force: bool,
    /// No error for an image that is not here
    #[arg(short, long)]
    ignore: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let mut failures = Failures::default();
    for image in wanted(args, &store)? {
        match remove(args, context, &store, &image) {
            Ok(removal) => print(&removal, DONE)?,
            Err(error) if args.ignore && error.kind() == ErrorKind::NotFound => {}
            // The others still go.
            Err(error) => failures.add(error),
        }
    }
    failures.result()
}

/// The images to remove, each by a text that names it: with `--all`, every name, so that no image is refused
/// for having several.
fn wanted(args: &Args, store: &ImageStore) -> Result<Vec<String>> {
    if !args.all {
        return Ok(args.images.clone());
    }
    let each = |image: runtime::image::Image| match image.names.is_empty() {
        true => vec![image.id.to_string()],
        false => image.names,
    };
    Ok(store.list()?.into_iter().flat_map(each).collect())
}

fn remove(args: &Args, context: &Context, store: &ImageStore, image: &str) -> Result<Removal> {
    store.remove(image, args.force).map_err(|error| {
        // The store knows leases alone: their pods are named here.
        let holders = match (error.kind(), store.find(image)) {
            (ErrorKind::Failed, Ok(Some(found))) => store.holders(&found.id).unwrap_or_default(),
            _ => Vec::new(),
        };
        let pods = shown::pods(&context.host, &holders);
        if pods.is_empty() || !error.message().contains("in use") {
            return error;
        }
        let users = pods.iter().map(|user| match user.starts_with("process ") {
            true => user.clone(),
            false => format!("pod {user}"),
        });
        let (users, hint) = (users.collect::<Vec<_>>().join(", "), error.hint_text().unwrap_or_default());
        Error::failed(format!("image {image:?} is in use by {users}")).hint(hint)
    })
}

/// The messages about removed names and images: docker's words, which scripts read.
pub(crate) const DONE: [&str; 2] = ["Untagged", "Deleted"];

/// Prints the result of a removal, in these words.
pub(crate) fn print(removal: &Removal, [untagged, deleted]: [&str; 2]) -> Result<()> {
    for name in &removal.untagged {
        output::line(format_args!("{untagged}: {name}"))?;
    }
    match &removal.deleted {
        Some(id) => output::line(format_args!("{deleted}: {id}")),
        None => Ok(()),
    }
}
