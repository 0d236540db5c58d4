//! `podrun logout`: credentials are forgotten.

use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::{Error, ErrorKind, Result};

use super::registries;
use crate::context::Context;
use crate::{completion, output};

/// Log out of a registry
///
/// Takes the credentials out of the file in which `podrun login` keeps them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun logout registry.lan:5000
  podrun logout --all")]
pub(crate) struct Args {
    /// The registry, or the part of it, as it was given to `podrun login`
    #[arg(value_name = "REGISTRY[/PATH]", required_unless_present = "all", conflicts_with = "all",
          add = ArgValueCompleter::new(completion::logins))]
    registry: Option<String>,
    /// Forget every login in the file
    #[arg(short, long)]
    all: bool,
    /// The file that keeps logins
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    authfile: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, _: &Context) -> Result<ExitCode> {
    let file = args.authfile.clone().unwrap_or_else(registries::login_file);
    let Some(registry) = &args.registry else {
        for name in runtime::image::forget_all(&file)? {
            output::line(format_args!("logged out of {name}"))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    if !runtime::image::forget(&file, registry)? {
        let others: Vec<String> = registries::auth_files()
            .into_iter()
            .filter(|other| *other != file && other.exists())
            .map(|other| other.display().to_string())
            .collect();
        let error = Error::new(ErrorKind::NotFound, format!("{}: no login for {registry}", file.display()));
        return Err(if others.is_empty() {
            error
        } else {
            error.hint(format!("pulls also look in {}; --authfile names another file", others.join(", ")))
        });
    }
    output::line(format_args!("logged out of {registry}"))?;
    Ok(ExitCode::SUCCESS)
}
