//! The list of verbs.
//!
//! Invariant: a verb is named here and in its own module and nowhere else. To add one: a module
//! with `Args` and `run`, a variant of [`Verb`], an arm in [`Verb::run`], and, if a plain user
//! may call it, an arm in [`Verb::needs_root`].

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use runtime::Result;

use crate::context::{Context, Globals};
use crate::{completion, doctor, flags, image, man, pod, version};

/// Run Kubernetes pods on this host, without a server
///
/// A manifest is a Kubernetes v1 Pod, as `kubectl create -f` takes it; a field that podrun does not do is refused by name.
#[derive(Debug, Parser)]
#[command(name = "podrun", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Create(pod::create::Args),
    Run(Box<pod::run::Args>),
    Delete(pod::delete::Args),
    Get(pod::get::Args),
    Describe(pod::describe::Args),
    Logs(pod::logs::Args),
    Exec(pod::exec::Args),
    Attach(pod::attach::Args),
    Wait(pod::wait::Args),
    Ns(pod::namespaces::Args),
    Doctor(doctor::Args),
    Validate(pod::validate::Args),
    Completion(completion::Args),
    Man(man::Args),
    Pull(image::pull::Args),
    Push(image::push::Args),
    Load(image::load::Args),
    Save(image::save::Args),
    Images(image::list::Args),
    Tag(image::tag::Args),
    Rmi(image::remove::Args),
    Login(image::login::Args),
    Logout(image::logout::Args),
    Image(image::Args),
    Version(version::Args),
}

impl Verb {
    /// Whether the verb touches what only root may: all do, but those listed.
    pub(crate) fn needs_root(&self) -> bool {
        match self {
            Self::Completion(_) | Self::Man(_) | Self::Validate(_) | Self::Version(_) => false,
            Self::Create(args) => !args.is_dry_run(),
            Self::Run(args) => !args.is_dry_run(),
            _ => true,
        }
    }

    /// Whether the exit code may be that of a program in a container.
    pub(crate) fn passes_a_code_on(&self) -> bool {
        match self {
            Self::Exec(_) => true,
            Self::Image(args) => args.passes_a_code_on(),
            Self::Run(args) => args.attaches() && !args.is_dry_run(),
            _ => false,
        }
    }

    /// Whether the verb is about pods, so that what a killed monitor or client left is cleaned up before it.
    pub(crate) fn needs_recovery(&self) -> bool {
        let about_images = match self {
            Self::Pull(_)
            | Self::Push(_)
            | Self::Load(_)
            | Self::Save(_)
            | Self::Images(_)
            | Self::Tag(_)
            | Self::Rmi(_)
            | Self::Login(_)
            | Self::Logout(_)
            | Self::Doctor(_) => true,
            Self::Image(args) => !args.needs_recovery(),
            _ => false,
        };
        self.needs_root() && !about_images
    }

    pub(crate) fn run(&self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Create(args) => pod::create::run(args, context),
            Self::Run(args) => pod::run::run(args, context),
            Self::Delete(args) => pod::delete::run(args, context),
            Self::Get(args) => pod::get::run(args, context),
            Self::Describe(args) => pod::describe::run(args, context),
            Self::Logs(args) => pod::logs::run(args, context),
            Self::Exec(args) => pod::exec::run(args, context),
            Self::Attach(args) => pod::attach::run(args, context),
            Self::Wait(args) => pod::wait::run(args, context),
            Self::Ns(args) => pod::namespaces::run(args, context),
            Self::Doctor(args) => doctor::run(args, context),
            Self::Validate(args) => pod::validate::run(args, context),
            Self::Completion(args) => completion::run(args),
            Self::Man(args) => man::run(args, Cli::command()),
            Self::Pull(args) => image::pull::run(args, context),
            Self::Push(args) => image::push::run(args, context),
            Self::Load(args) => image::load::run(args, context),
            Self::Save(args) => image::save::run(args, context),
            Self::Images(args) => image::list::run(args, context),
            Self::Tag(args) => image::tag::run(args, context),
            Self::Rmi(args) => image::remove::run(args, context),
            Self::Login(args) => image::login::run(args, context),
            Self::Logout(args) => image::logout::run(args, context),
            Self::Image(args) => image::run(args, context),
            Self::Version(args) => version::run(args),
        }
    }
}

/// The command line as kubectl's is read. Help and completion show it as it is declared.
pub(crate) fn command() -> clap::Command {
    flags::as_go_reads(Cli::command())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn switches_and_repeated_flags_are_read_as_kubectl_reads_them() {
        let read = |line: &str| {
            let matches = command().try_get_matches_from(line.split(' ')).unwrap();
            Cli::from_arg_matches(&matches).unwrap()
        };
        let exec = |line: &str| match read(line).verb {
            Verb::Exec(args) => format!("{args:?}"),
            other => panic!("{other:?}"),
        };
        let both = exec("podrun exec -it web -- sh -c x");
        assert!(both.contains("stdin: true") && both.contains("tty: true"), "{both}");
        let one = exec("podrun exec -i --tty=false web -c a --container b -- sh");
        assert!(one.contains("stdin: true") && one.contains("tty: false"), "{one}");
        assert!(one.contains("\"b\"") && !one.contains("\"a\""), "{one}");
        let again = format!("{:?}", read("podrun -n one get pods -n two --watch=false").globals);
        assert!(again.contains("namespace: Some(\"two\")"), "{again}");
    }
}
