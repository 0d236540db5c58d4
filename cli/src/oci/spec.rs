//! `spec`: a config.json to start from.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime::{Error, ErrorKind, Result, oci};

/// Write a config.json to start from
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory to write it into
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a container of yours, without being root
    #[arg(long)]
    rootless: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let path = args.bundle.join("config.json");
    let spec = if args.rootless { oci::rootless_spec() } else { oci::default_spec() };
    let text = serde_json::to_string_pretty(&spec).map_err(|error| Error::failed(error.to_string()))?;
    let made = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::Exists, format!("{} is there already", path.display()))
                .hint("move it away first")
        }
        _ => Error::from(error).context(path.display()),
    })?;
    file.write_all(format!("{text}\n").as_bytes())
        .map_err(|error| Error::from(error).context(path.display()))?;
    Ok(ExitCode::SUCCESS)
}
