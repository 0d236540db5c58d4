//! `checkpoint` and `restore`, which podrun does not do: refused by name.

use std::process::ExitCode;

use runtime::{Error, ErrorKind, Result};

/// Not supported
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whatever is given
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<String>,
}

/// Not supported
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// Whatever is given
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<String>,
}

pub(super) fn run(verb: &str) -> Result<ExitCode> {
    Err(Error::new(ErrorKind::Unsupported, format!("{verb}: not supported"))
        .hint("podrun keeps no images of running processes: create a new container instead"))
}
