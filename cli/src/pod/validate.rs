//! `podrun validate`: whether manifests would be accepted, without making a pod.
//!
//! Invariant: needs no root and changes nothing; says of every file whether it is well, and shows
//! every problem of those that are not.

use std::path::PathBuf;
use std::process::ExitCode;

use runtime::pod::manifest::Pod;
use runtime::{Error, ErrorKind, Result};

use super::source;
use crate::args::Context;
use crate::{exit, output};

/// Check manifests without making a pod
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun validate pod.json
  podrun validate manifests/          every .json, .yaml and .yml file of a folder
  kubectl get pod web -o yaml | podrun validate -

Ends with 0 when every manifest is well, and with 3 when one is not.")]
pub(crate) struct Args {
    /// Manifests: JSON or YAML files, folders of them, or - for standard input
    #[arg(value_name = "FILE", required_unless_present = "filename", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    /// The same, as kubectl spells it
    #[arg(short = 'f', long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    filename: Vec<PathBuf>,
}

/// Checks every manifest.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let paths = [&args.filename[..], &args.files].concat();
    let mut worst: Option<Error> = None;
    for source in source::read(&paths)? {
        match source.documents(context.given_namespace.as_deref()) {
            Ok(documents) => {
                for warning in documents.iter().flat_map(|document| &document.warnings) {
                    output::note(format_args!("warning: {warning}"));
                }
                let pods: Vec<_> = documents.iter().map(|document| called(&document.pod)).collect();
                output::line(format_args!("{}: ok, {}", source.name, pods.join(", ")))?;
            }
            Err(error) => {
                output::note(error.message());
                worst = worst.filter(|worst| worst.kind() == ErrorKind::Manifest).or(Some(error));
            }
        }
    }
    Ok(worst.map_or(ExitCode::SUCCESS, |error| ExitCode::from(exit::code(error.kind()))))
}

fn called(pod: &Pod) -> String {
    match pod.metadata.name.as_str() {
        "" => format!("pod/{}*", pod.metadata.generate_name),
        name => format!("pod/{name}"),
    }
}
