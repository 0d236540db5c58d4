//! `features`: the features of this binary (features.md).

use std::process::ExitCode;

use runtime::{Error, Result, oci};

use crate::output;

/// Print what this runtime supports
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run() -> Result<ExitCode> {
    let document = oci::features(env!("CARGO_PKG_VERSION"));
    let text = serde_json::to_string_pretty(&document).map_err(|error| Error::failed(error.to_string()))?;
    output::line(text)?;
    Ok(ExitCode::SUCCESS)
}
