//! `podrun validate`: whether manifests would be accepted, without making a pod.
//!
//! Invariant: needs no root and changes nothing; says of every file whether it is well, and shows
//! every problem of those that are not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use runtime::{Error, ErrorKind, Result, manifest};

use super::manifests;
use crate::context::Context;
use crate::print::called;
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
    for file in manifests::files(&paths)? {
        let name = manifests::name(&file);
        match check(&file, &name, context.given_namespace.as_deref()) {
            Ok(pods) => output::line(format_args!("{name}: ok, {}", pods.join(", ")))?,
            Err(error) => {
                output::note(error.message());
                if let Some(hint) = error.hint_text() {
                    output::note(format_args!("hint: {hint}"));
                }
                worst = worst.filter(|worst| worst.kind() == ErrorKind::Manifest).or(Some(error));
            }
        }
    }
    Ok(worst.map_or(ExitCode::SUCCESS, |error| ExitCode::from(exit::code(error.kind()))))
}

/// What the pods of one file are called, if all is well with them.
fn check(file: &Path, name: &str, namespace: Option<&str>) -> Result<Vec<String>> {
    let mut documents = manifests::documents(file)?;
    for document in &mut documents {
        manifest::place(&mut document.pod, namespace).map_err(|error| error.context(name))?;
        document.warnings.iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
    }
    Ok(documents.iter().map(|document| called(&document.pod)).collect())
}
