//! `podrun image fsck`: checks the store.

use std::process::ExitCode;

use runtime::image::{Finding, ImageStore, Outcome};
use runtime::{Error, ErrorKind, Result};

use super::shown;
use crate::context::Context;
use crate::output;

/// Check every blob's digest, every layer and every image's record
///
/// Reads every blob and takes its digest, and looks whether each layer has its record and its tree, and each image what it
/// names. What is in the files of a layer's tree it does not read: no digest is kept of them. Each damaged object is a line on
/// standard output. With --repair, what a pull or a load brings again is dropped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image fsck
  podrun image fsck --repair")]
pub(crate) struct Args {
    /// Drop what is damaged, so that the next pull or load brings it anew; what a pod runs on stays
    #[arg(long)]
    repair: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = ImageStore::open(&context.host)?;
    let (mut found, mut left) = (0, 0);
    let mut printed = Ok(());
    let checked = store.check(args.repair, &mut |finding| {
        found += 1;
        left += usize::from(!matches!(finding.outcome, Outcome::Dropped | Outcome::Lacking));
        if printed.is_ok() {
            printed = output::line(told(finding));
        }
    })?;
    printed?;
    output::line(format_args!(
        "checked {}, {} and {} ({}): {found} damaged",
        shown::count(checked.images, "image"),
        shown::count(checked.layers, "layer"),
        shown::count(checked.blobs, "blob"),
        shown::size(checked.bytes)
    ))?;
    if left == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let error =
        Error::new(ErrorKind::Image, format!("the image store is damaged: {}", shown::count(left, "object")));
    Err(match args.repair {
        true => error,
        false => error.hint("--repair drops what can be had again; then pull or load those images"),
    })
}

fn told(finding: &Finding) -> String {
    let done = match &finding.outcome {
        Outcome::Left => String::new(),
        Outcome::Dropped => " (dropped)".to_owned(),
        Outcome::Lacking => " (pull or load it again)".to_owned(),
        Outcome::Kept(why) => format!(" (kept: {why})"),
    };
    format!("{}: {}{done}", finding.object, finding.what)
}
