//! `podrun save`: images into an archive.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::image::{ArchiveFormat, ImageStore};
use runtime::{Error, ErrorKind, Result};

use crate::context::Context;
use crate::{completion, output};

/// Save images to an archive
///
/// The archive goes to a file, or to standard output where that is no terminal. `podrun load` brings the same images
/// back, and skopeo, podman, docker and containerd read it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun save busybox:1.36 -o busybox.tar
  podrun save nginx:1.27 redis:7 | ssh host podrun load -
  podrun save app:v1 --format docker-archive -o app.tar")]
pub(crate) struct Args {
    /// Names, ids, or beginnings of ids; one that is saved by its id has no name in the archive
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCompleter::new(completion::images))]
    images: Vec<String>,
    /// The archive; - is standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// oci-archive (layers as they came) or docker-archive (layers decompressed) [default: oci-archive]
    #[arg(long, value_name = "FORMAT", value_parser = ["oci-archive", "docker-archive"], hide_possible_values = true)]
    format: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let format = match args.format.as_deref() {
        Some("docker-archive") => ArchiveFormat::Docker,
        _ => ArchiveFormat::Oci,
    };
    let store = ImageStore::open(&context.host)?;
    match args.output.as_deref().filter(|path| path.as_os_str() != "-") {
        Some(path) => store.save_file(&args.images, format, path)?,
        None if stdout().is_terminal() => {
            return Err(Error::new(ErrorKind::Usage, "an archive is not for a terminal")
                .hint("-o FILE writes it to a file; or redirect standard output"));
        }
        None => store.save(&args.images, format, &mut Stdout)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Standard output, whose reader may go away.
struct Stdout;

impl std::io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        stdout().lock().write(bytes).inspect_err(output::remember)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        stdout().lock().flush().inspect_err(output::remember)
    }
}
