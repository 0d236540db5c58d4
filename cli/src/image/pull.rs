//! `podrun pull`: an image from a registry.

use std::path::PathBuf;
use std::process::ExitCode;

use runtime::Result;
use runtime::image::{ImageStore, Platform, PullOptions, Reference};

use super::progress::Shown;
use crate::args::Context;
use crate::config::Config;
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
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let options = PullOptions { platform: args.platform.clone(), ..options(&context.config) };
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

/// How every verb pulls: with the caller's credentials and the config file's registries.
pub(crate) fn options(config: &Config) -> PullOptions {
    PullOptions {
        auth_files: auth_files(),
        insecure_registries: config
            .registries
            .iter()
            .filter(|(_, registry)| registry.insecure)
            .map(|(name, _)| name.clone())
            .collect(),
        ..PullOptions::default()
    }
}

/// Where podman's and docker's logins are kept, in the order in which podman looks.
fn auth_files() -> Vec<PathBuf> {
    let dir = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = dir("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = dir("HOME");
    let under_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let docker = dir("DOCKER_CONFIG").map(|dir| dir.join("config.json"));
    [
        dir("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
        Some("/run/containers/0/auth.json".into()),
        dir("XDG_CONFIG_HOME")
            .map(|dir| dir.join("containers/auth.json"))
            .or_else(|| under_home(".config/containers/auth.json")),
        docker.or_else(|| under_home(".docker/config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
