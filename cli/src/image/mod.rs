//! The verbs about images: `pull`, `load`, `images`, `tag`, `rmi`, and the group `image`, which has them too.
//!
//! Invariant: a verb of the group that is a verb of podrun's too is that verb, under the name that docker gives it there.

use std::process::ExitCode;

use runtime::Result;

use crate::args::Context;

mod filter;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod progress;
pub(crate) mod pull;
pub(crate) mod remove;
mod shown;
pub(crate) mod tag;

/// Look into images, check them, and clear up
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image ls
  podrun image rm busybox:1.36")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(alias = "list")]
    Ls(list::Args),
    Pull(pull::Args),
    Load(load::Args),
    Tag(tag::Args),
    #[command(alias = "remove")]
    Rm(remove::Args),
}

impl Args {
    /// Whether the verb asks which pods need what, so that what killed ones left is cleaned up before it.
    pub(crate) fn needs_recovery(&self) -> bool {
        match self.verb {
            Verb::Ls(_) | Verb::Pull(_) | Verb::Load(_) | Verb::Tag(_) | Verb::Rm(_) => false,
        }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    match &args.verb {
        Verb::Ls(args) => list::run(args, context),
        Verb::Pull(args) => pull::run(args, context),
        Verb::Load(args) => load::run(args, context),
        Verb::Tag(args) => tag::run(args, context),
        Verb::Rm(args) => remove::run(args, context),
    }
}
