//! `podrun push`: an image to a registry.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::image::{Image, ImageStore, PushOptions, Reference};
use runtime::{Error, ErrorKind, Result};

use super::progress::Shown;
use super::registries;
use crate::context::Context;
use crate::{completion, output};

/// Push an image to a registry
///
/// The image goes as it is kept here: with the manifest and the layers with which it came, so that its digest stays. What
/// the registry has is not sent again. Of an image for several platforms podrun keeps one, and pushes that one: an index is
/// never pushed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun push registry.lan:5000/team/app:v1
  podrun push app:v1 registry.lan:5000/team/app:v1
  podrun push --all-tags registry.lan:5000/team/app")]
pub(crate) struct Args {
    /// A name, an id, or the beginning of an id; with --all-tags a name without a tag
    #[arg(value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    image: String,
    /// The name to push it as [default: its name here]
    #[arg(value_name = "DESTINATION", conflicts_with = "all_tags", add = ArgValueCompleter::new(completion::images))]
    destination: Option<Reference>,
    /// Push every tag that the repository has here
    #[arg(short, long)]
    all_tags: bool,
    /// Print the digest and nothing else
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: registries::RegistryArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let options = PushOptions { access: args.registry.access(context)? };
    for (image, to) in chosen(args, &store)? {
        if let Some(why) = &image.damage {
            return Err(Error::new(ErrorKind::Image, format!("image {}: {why}", image.id.short())));
        }
        let shown = Shown::new(args.quiet);
        if !args.quiet {
            output::note(format_args!("pushing {} as {to}", image.id.short()));
        }
        let digest = store.push(&image, &to, &options, &shown)?;
        shown.finish();
        if !args.quiet {
            output::note(format_args!("pushed {}", to.with_digest(digest.clone())));
        }
        output::line(&digest)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The images that are meant, each with the name it is to have.
fn chosen(args: &Args, store: &ImageStore) -> Result<Vec<(Image, Reference)>> {
    if args.all_tags {
        let given = registries::repository("push", &args.image)?;
        let mut all = Vec::new();
        for image in store.list()? {
            let names = image.names.iter().filter_map(|name| name.parse::<Reference>().ok());
            let own = names.filter(|name| name.repository() == given.repository());
            all.extend(own.map(|name| (image.clone(), name)));
        }
        if all.is_empty() {
            let repository = given.familiar_repository();
            return Err(Error::new(ErrorKind::NotFound, format!("no image here has a tag of {repository}"))
                .hint(format!("`podrun tag IMAGE {repository}:TAG` gives it one")));
        }
        return Ok(all);
    }
    let image = store.known(&args.image)?;
    let to = match &args.destination {
        Some(to) => to.clone(),
        // An id is no name to push under.
        None => {
            args.image.parse::<Reference>().ok().filter(|name| is_named(&image, name)).ok_or_else(|| {
                Error::new(ErrorKind::Usage, format!("{:?} is an id: where to?", args.image))
                    .hint(format!("podrun push {} REGISTRY/REPOSITORY:TAG", args.image))
            })?
        }
    };
    Ok(vec![(image, to)])
}

fn is_named(image: &Image, name: &Reference) -> bool {
    image.names.contains(&name.to_string()) || name.digest().is_some()
}
