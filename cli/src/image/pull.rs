//! `podrun pull`: an image from a registry.

use std::process::ExitCode;
use std::str::FromStr;

use clap_complete::engine::ArgValueCompleter;
use runtime::image::{Brought, Image, ImageStore, Platform, Present, PullOptions, PullPolicy, Reason};
use runtime::image::{Reference, Unavailable, tags};
use runtime::{Error, ErrorKind, Result};

use super::progress::Shown;
use super::registries;
use crate::context::Context;
use crate::exit::Failures;
use crate::{completion, output};

/// Pull images from a registry
///
/// What is here already is not fetched again: of an image that is whole the registry is asked only whether its tag is still the
/// same image. A pull that is interrupted leaves nothing half done, and the next goes on where it stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun pull busybox:1.36
  podrun pull quay.io/org/app@sha256:…
  podrun pull busybox:1.36 --policy missing
  podrun pull localhost:5000/app:v1 --platform linux/arm64
  podrun pull --all-tags registry.lan/team/app")]
pub(crate) struct Args {
    /// The images' names; without a registry, docker.io's
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    images: Vec<Named>,
    /// The platform to take from an image for several [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Pull every tag that the repositories have; the names are then without a tag
    #[arg(short, long)]
    all_tags: bool,
    /// When to ask the registry: always, missing (if the image is not here) or never [default: always]
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "always",
        hide_default_value = true,
        hide_possible_values = true
    )]
    policy: Policy,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: registries::RegistryArgs,
}

/// A name, and how it was written.
#[derive(Debug, Clone)]
struct Named {
    text: String,
    reference: Reference,
}

impl FromStr for Named {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self { text: text.to_owned(), reference: text.parse()? })
    }
}

/// When the registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Policy {
    // Ordinary comments, since clap would spread documented values over the screen.
    Always,
    Missing,
    Never,
}

impl From<Policy> for PullPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Always => Self::Always,
            Policy::Missing => Self::IfNotPresent,
            Policy::Never => Self::Never,
        }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let options = PullOptions { platform: args.platform.clone(), access: args.registry.access(context)? };
    let references = references(args, &options)?;
    let mut failures = Failures::default();
    for reference in &references {
        match pull(args, &store, reference, &options) {
            Ok(image) => output::line(&image.id)?,
            // The others still come.
            Err(error) if error.kind() == ErrorKind::Image => failures.add(error),
            Err(error) => return Err(error),
        }
    }
    failures.result()
}

fn references(args: &Args, options: &PullOptions) -> Result<Vec<Reference>> {
    if !args.all_tags {
        return Ok(args.images.iter().map(|named| named.reference.clone()).collect());
    }
    if args.policy == Policy::Never {
        return Err(Error::new(ErrorKind::Usage, "--all-tags asks the registry, --policy=never does not"));
    }
    let mut references = Vec::new();
    for named in &args.images {
        let repository = registries::repository("pull", &named.text)?;
        references.extend(tags(&repository, &options.access, &Shown::new(args.quiet))?);
    }
    Ok(references)
}

fn pull(args: &Args, store: &ImageStore, reference: &Reference, options: &PullOptions) -> Result<Image> {
    let shown = Shown::new(args.quiet);
    let wanted = (args.policy.into(), Present::Whole);
    let brought = store.bring(&reference.to_string(), wanted, options, &shown);
    let Brought { image, pulled } = brought.map_err(|Unavailable { reason, error }| match reason {
        Reason::NeverPull => {
            let message =
                format!("image {}: is not here, and --policy=never asks no registry", reference.familiar());
            Error::new(ErrorKind::Image, message).hint("an image in a file is loaded by `podrun load FILE`")
        }
        _ => error,
    })?;
    if pulled.is_none() {
        return Ok(image);
    }
    shown.finish();
    if !args.quiet {
        output::note(format_args!("pulled {}", known_as(&image, reference)));
    }
    Ok(image)
}

/// The image as the registry that it came from knows it: others may know it, too.
fn known_as(image: &Image, reference: &Reference) -> String {
    if let Some(digest) = reference.digest() {
        return reference.with_digest(digest.clone()).to_string();
    }
    let repository = format!("{}@", reference.repository());
    let own = image.digests.iter().find(|digest| digest.starts_with(&repository));
    own.cloned().unwrap_or_else(|| reference.to_string())
}
