//! `podrun oci VERB`, also as `podrun-oci VERB`: the command line that podman, containerd and CRI-O call.
//! Flags, outputs and exit codes are runc's, since callers parse them.
//!
//! Invariant: this front parses its own command line, because its `--root` and podrun's are two things; a
//! flag or verb that is not done is refused by name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use runtime::oci::{self, CgroupManager, Protected, Store};
use runtime::{Error, ErrorKind, Result};

mod context;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod log;
mod pause;
mod ps;
mod refused;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod words;

use context::{Context, go_on_protected};
use log::{Format, Log};

use crate::{exit, flags, output};

/// Run OCI containers, as runc does: for podman, containerd and other callers
#[derive(Debug, Parser)]
#[command(name = "podrun-oci", version = VERSION, arg_required_else_help = true, max_term_width = 100)]
#[command(disable_version_flag = true)]
struct Cli {
    /// Print version
    #[arg(short = 'v', long, short_alias = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// The output of `--version`; callers read the lines.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

#[derive(Debug, clap::Args)]
struct Globals {
    /// Where the containers' state is kept, on a tmpfs [default: /run/podrun/oci; of a plain user
    /// $XDG_RUNTIME_DIR/podrun]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// A file to which errors and warnings go
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The form of the log's lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,
    /// Log every step of a container's making
    #[arg(long)]
    debug: bool,
    /// Let systemd make the cgroups: the same as --cgroup-manager systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes the cgroups: podrun itself (`cgroupfs`), or `systemd`, as scopes
    #[arg(long, value_name = "NAME", default_value = "cgroupfs")]
    cgroup_manager: String,
    /// Whether a container may go without a cgroup where there is no right to one: true, false, or auto for all
    /// but root
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    rootless: String,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Args),
    Start(start::Args),
    State(state::Args),
    Kill(kill::Args),
    Delete(delete::Args),
    Run(run::Args),
    Exec(Box<exec::Args>),
    List(list::Args),
    Ps(ps::Args),
    Pause(pause::Args),
    Resume(pause::ResumeArgs),
    Update(Box<update::Args>),
    Events(events::Args),
    Spec(spec::Args),
    Features(features::Args),
    Checkpoint(refused::Args),
    Restore(refused::RestoreArgs),
}

/// The arguments for this front, if it is asked for: by the program's name, or by the first argument.
pub(crate) fn asked(arguments: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut arguments = arguments.peekable();
    let name = arguments.next()?;
    let is_ours = Path::new(&name).file_name().is_some_and(|name| name == "podrun-oci");
    if !is_ours && arguments.next_if(|first| first == "oci").is_none() {
        return None;
    }
    Some(std::iter::once(OsString::from("podrun-oci")).chain(arguments).collect())
}

/// The command line as it is read; help shows it as it is declared.
fn command() -> clap::Command {
    flags::as_go_reads(Cli::command())
}

/// clap's own answers: help and version to stdout, complaints, which quote the input, to stderr. A closed
/// stream is ignored.
fn answer(error: &clap::Error, line: &[OsString]) -> ExitCode {
    if error.use_stderr() {
        output::note(error.render().to_string().trim_end());
        return ExitCode::FAILURE;
    }
    // The same line asks for the same page there.
    let _ = Cli::command().try_get_matches_from(line).err().as_ref().unwrap_or(error).print();
    ExitCode::SUCCESS
}

/// Runs a verb: 0, its program's code, 1 (`exec`: 255), or 141 when stdout is closed.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    // First, where it may be wanted, since all that comes before is done twice. Why it cannot be is told by [`protect`]; a
    // plain user has a user namespace to enter before.
    let makes = |word: &OsString| ["create", "run", "exec"].iter().any(|verb| word == verb);
    let early = arguments.iter().any(makes) && !oci::is_plain_user();
    let protected = early.then(go_on_protected).and_then(Result::ok);
    let command = command();
    let line = words::with_two_dashes(&command, arguments);
    let cli = match command.try_get_matches_from(&line).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return answer(&error, &line),
    };
    let Globals { root, log, log_format, debug, .. } = &cli.globals;
    let failed = if matches!(cli.verb, Verb::Exec(_)) { ExitCode::from(255) } else { ExitCode::FAILURE };
    let log = match Log::open(log.as_deref(), *log_format, *debug) {
        Ok(log) => log,
        Err(error) => {
            Log::of_stderr().error(&error);
            return failed;
        }
    };
    let root = root.clone().unwrap_or_else(|| {
        oci::default_root(
            std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()).map(PathBuf::from),
        )
    });
    let mut context =
        Context { store: Store::new(root), log, rootless: None, cgroups: cli.globals.cgroups() };
    let ran = cli.globals.check().and_then(|rootless| {
        context.rootless = rootless;
        let protected = protect(&cli.verb, &context, protected)?;
        cli.verb.run(protected, &context)
    });
    ran.unwrap_or_else(|error| {
        if output::is_closed() {
            return ExitCode::from(exit::BROKEN_PIPE);
        }
        context.log.error(&error);
        failed
    })
}

/// Before a process of this binary can be seen in a container; and, for a plain user, to where containers can be made.
fn protect(verb: &Verb, context: &Context, protected: Option<Protected>) -> Result<Protected> {
    match verb {
        Verb::Create(args) => oci::enter_new(&args.making.bundle)?,
        Verb::Run(args) => oci::enter_new(&args.making.bundle)?,
        Verb::Exec(args) if oci::is_plain_user() => args.named.get(context)?.enter_user_namespace()?,
        Verb::Exec(_) => {}
        _ => return Ok(Protected::default()),
    }
    protected.map_or_else(go_on_protected, Ok)
}

impl Globals {
    fn cgroups(&self) -> CgroupManager {
        match self.systemd_cgroup || self.cgroup_manager == "systemd" {
            true => CgroupManager::Systemd,
            false => CgroupManager::Cgroupfs,
        }
    }

    /// The value of `--rootless`, after unsupported options are refused.
    fn check(&self) -> Result<Option<bool>> {
        let refused = |what: &str, hint: &str| {
            Err(Error::new(ErrorKind::Unsupported, format!("{what}: not supported yet")).hint(hint))
        };
        if !["cgroupfs", "systemd"].contains(&self.cgroup_manager.as_str()) {
            return refused(&format!("--cgroup-manager {}", self.cgroup_manager), "use cgroupfs or systemd");
        }
        match self.rootless.as_str() {
            "auto" => Ok(None),
            "false" => Ok(Some(false)),
            "true" => Ok(Some(true)),
            other => Err(Error::new(
                ErrorKind::Usage,
                format!("--rootless: `{other}` is none of true, false and auto"),
            )),
        }
    }
}

impl Verb {
    fn run(self, protected: Protected, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Create(args) => create::run(args, protected, context),
            Self::Start(args) => start::run(&args, context),
            Self::State(args) => state::run(&args, context),
            Self::Kill(args) => kill::run(&args, context),
            Self::Delete(args) => delete::run(&args, context),
            Self::Run(args) => run::run(args, protected, context),
            Self::Exec(args) => exec::run(*args, protected, context),
            Self::List(args) => list::run(&args, context),
            Self::Ps(args) => ps::run(&args, context),
            Self::Pause(args) => pause::run(&args, context),
            Self::Resume(args) => pause::resume(&args, context),
            Self::Update(args) => update::run(&args, context),
            Self::Events(args) => events::run(&args, context),
            Self::Spec(args) => spec::run(&args),
            Self::Features(_) => features::run(),
            Self::Checkpoint(_) => refused::run("checkpoint"),
            Self::Restore(_) => refused::run("restore"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn the_front_is_asked_for_by_name_or_by_argument() {
        let asked = |line| asked(words(line)).map(|words| words.len());
        assert_eq!(asked("/usr/bin/podrun-oci state x"), Some(3));
        assert_eq!(asked("podrun oci state x"), Some(3));
        assert_eq!(asked("podrun get pods"), None);
    }
}
