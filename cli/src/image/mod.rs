//! The verbs about images and registries: `pull`, `push`, `load`, `save`, `images`, `tag`, `rmi`, `login`,
//! `logout`, and the group `image`, which has those about images too.
//!
//! Invariant: a verb of the group that is a verb of podrun's too is that verb, under the name that docker gives it there.

use std::process::ExitCode;

use runtime::Result;

use crate::context::Context;

mod filter;
mod fsck;
mod history;
mod import;
mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logout;
mod mount;
pub(crate) mod progress;
mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registries;
pub(crate) mod remove;
pub(crate) mod save;
mod shown;
pub(crate) mod tag;
mod tree;
mod usage;

/// Look into images, check them, and clear up
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun image inspect busybox:1.36
  podrun image tree nginx:1.27
  podrun image df
  podrun image prune")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(alias = "list")]
    Ls(list::Args),
    Pull(pull::Args),
    Push(push::Args),
    Load(load::Args),
    Save(save::Args),
    Import(import::Args),
    Mount(mount::Args),
    Tag(tag::Args),
    #[command(alias = "remove")]
    Rm(remove::Args),
    Inspect(inspect::Args),
    History(history::Args),
    Tree(tree::Args),
    Df(usage::Args),
    Prune(prune::Args),
    Fsck(fsck::Args),
}

impl Args {
    /// Whether the exit code may be that of a program run by the verb.
    pub(crate) fn passes_a_code_on(&self) -> bool {
        matches!(self.verb, Verb::Mount(_))
    }

    /// Whether the verb needs to know the pods' leases, so that killed pods are cleaned up before it.
    pub(crate) fn needs_recovery(&self) -> bool {
        matches!(self.verb, Verb::Df(_) | Verb::Prune(_) | Verb::Fsck(_))
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    match &args.verb {
        Verb::Ls(args) => list::run(args, context),
        Verb::Pull(args) => pull::run(args, context),
        Verb::Push(args) => push::run(args, context),
        Verb::Load(args) => load::run(args, context),
        Verb::Save(args) => save::run(args, context),
        Verb::Import(args) => import::run(args, context),
        Verb::Mount(args) => mount::run(args, context),
        Verb::Tag(args) => tag::run(args, context),
        Verb::Rm(args) => remove::run(args, context),
        Verb::Inspect(args) => inspect::run(args, context),
        Verb::History(args) => history::run(args, context),
        Verb::Tree(args) => tree::run(args, context),
        Verb::Df(args) => usage::run(args, context),
        Verb::Prune(args) => prune::run(args, context),
        Verb::Fsck(args) => fsck::run(args, context),
    }
}
