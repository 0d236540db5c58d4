//! The command line's shape: the flags that every verb shares, and the list of verbs.
//!
//! Invariant: a verb is named here and in its own module and nowhere else. To add one: a module
//! with `Args` and `run`, a variant of [`Command`], an arm in [`Parsed::run`], and, if a plain user
//! may call it, an arm in [`Command::needs_root`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use runtime::host::Host;
use runtime::pod::recovery;
use runtime::{Error, ErrorKind, Result};

use crate::config::{self, Config, Overrides};
use crate::{completion, doctor, exit, help, image, missing, output, pod, version};

/// Run Kubernetes pods on this host, without a server
///
/// A manifest is a Kubernetes v1 Pod: the file that `kubectl create -f` takes works here too.
#[derive(Debug, Parser)]
#[command(name = "podrun", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Globals {
    /// The pods' Kubernetes namespace (not a Linux namespace)
    #[arg(short, long, global = true, value_name = "NAME", env = "PODRUN_NAMESPACE", hide_env = true)]
    namespace: Option<String>,
    /// The config file [default: /etc/podrun/config.yaml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "PODRUN_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    /// Where images, snapshots and pod records live [default: /var/lib/podrun]
    #[arg(long, global = true, value_name = "DIR", env = "PODRUN_ROOT", hide_env = true)]
    root: Option<PathBuf>,
    /// Where sockets and locks live, on a tmpfs [default: /run/podrun]
    #[arg(long, global = true, value_name = "DIR", env = "PODRUN_STATE_DIR", hide_env = true)]
    state_dir: Option<PathBuf>,
    /// Where the containers' logs go [default: /var/log/pods]
    #[arg(long, global = true, value_name = "DIR", env = "PODRUN_LOG_DIR", hide_env = true)]
    log_dir: Option<PathBuf>,
    /// The cgroup below which each pod gets its own [default: /podrun]
    #[arg(long, global = true, value_name = "PATH", env = "PODRUN_CGROUP_PARENT", hide_env = true)]
    cgroup_parent: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    Man(completion::ManArgs),
    Pull(image::pull::Args),
    Load(image::load::Args),
    Images(image::list::Args),
    Rmi(image::remove::Args),
    Version(version::Args),
}

impl Command {
    /// Whether the verb touches what only root may: all do, but those listed.
    fn needs_root(&self) -> bool {
        match self {
            Self::Completion(_) | Self::Man(_) | Self::Validate(_) | Self::Version(_) => false,
            Self::Create(args) => !args.is_dry_run(),
            Self::Run(args) => !args.is_dry_run(),
            _ => true,
        }
    }

    /// Whether the exit code may be that of a program in a container.
    fn passes_a_code_on(&self) -> bool {
        match self {
            Self::Exec(_) => true,
            Self::Run(args) => args.attaches() && !args.is_dry_run(),
            _ => false,
        }
    }

    /// Whether the verb is about pods, so that what a killed monitor or client left is cleaned up before it.
    fn needs_recovery(&self) -> bool {
        let about_images =
            matches!(self, Self::Pull(_) | Self::Load(_) | Self::Images(_) | Self::Rmi(_) | Self::Doctor(_));
        self.needs_root() && !about_images
    }
}

/// What a verb is given beside its own arguments.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where podrun's state is.
    pub(crate) host: Host,
    /// The config file's other settings.
    pub(crate) config: Config,
    /// The value of `-n`, if given: verbs that read a manifest must find the same there.
    pub(crate) given_namespace: Option<String>,
}

impl Context {
    /// The namespace that the verb looks in.
    pub(crate) fn namespace(&self) -> &str {
        self.given_namespace.as_deref().unwrap_or("default")
    }
}

/// A command line that makes sense.
#[derive(Debug)]
pub(crate) struct Parsed {
    verb: String,
    line: Vec<OsString>,
    cli: Cli,
}

/// Parses `args` (with the program's name in front). What clap answers itself (help, version, a
/// usage error) is printed, and the exit code given.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> std::result::Result<Parsed, ExitCode> {
    let line: Vec<OsString> = args.collect();
    let matches = Cli::command().try_get_matches_from(&line).map_err(|error| answer(&error, &line))?;
    let verb = matches.subcommand_name().unwrap_or_default().to_owned();
    let cli = Cli::from_arg_matches(&matches).map_err(|error| answer(&error, &line))?;
    Ok(Parsed { verb, line, cli })
}

impl Parsed {
    /// Runs the verb. Where a child's exit code is passed on, podrun's own failures have codes beside it.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let beside_a_child = self.cli.command.passes_a_code_on();
        self.perform().or_else(|error| {
            if !beside_a_child || output::is_closed() {
                return Err(error);
            }
            exit::print(&error);
            Ok(ExitCode::from(exit::code_beside_a_child(error.kind())))
        })
    }

    fn perform(self) -> Result<ExitCode> {
        if self.cli.command.needs_root() {
            self.check_rights()?;
        }
        let globals = self.cli.globals;
        let (host, config) = config::load(Overrides {
            config: globals.config,
            root: globals.root,
            state_dir: globals.state_dir,
            log_dir: globals.log_dir,
            cgroup_parent: globals.cgroup_parent,
        })?;
        let context = Context { host, config, given_namespace: globals.namespace };
        if self.cli.command.needs_recovery() {
            for trouble in recovery::reap(&context.host) {
                output::note(format_args!("warning: {trouble}"));
            }
        }
        match self.cli.command {
            Command::Create(args) => pod::create::run(&args, &context),
            Command::Run(args) => pod::run::run(&args, &context),
            Command::Delete(args) => pod::delete::run(&args, &context),
            Command::Get(args) => pod::get::run(&args, &context),
            Command::Describe(args) => pod::describe::run(&args, &context),
            Command::Logs(args) => pod::logs::run(&args, &context),
            Command::Exec(args) => pod::exec::run(&args, &context),
            Command::Attach(args) => pod::attach::run(&args, &context),
            Command::Wait(args) => pod::wait::run(&args, &context),
            Command::Ns(args) => pod::namespaces::run(&args, &context),
            Command::Doctor(args) => doctor::run(&args, &context),
            Command::Validate(args) => pod::validate::run(&args, &context),
            Command::Completion(args) => completion::run(&args),
            Command::Man(args) => completion::man(&args),
            Command::Pull(args) => image::pull::run(&args, &context),
            Command::Load(args) => image::load::run(&args, &context),
            Command::Images(args) => image::list::run(&args, &context),
            Command::Rmi(args) => image::remove::run(&args, &context),
            Command::Version(args) => version::run(&args),
        }
    }

    /// Refuses a caller without the capabilities that pods take, before anything is touched.
    fn check_rights(&self) -> Result<()> {
        let Some(lacking) = Host::lacking_capability() else { return Ok(()) };
        let verb = &self.verb;
        if Host::is_root() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{verb} needs {lacking}, and this root does not have it"),
            )
            .hint("see `podrun doctor`; in a container, give it more privileges"));
        }
        let line: Vec<String> = self.line.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        Err(Error::failed(format!("{verb} needs root; run it with sudo"))
            .hint(format!("sudo {}", line.join(" "))))
    }
}

/// `word` as a shell would have to be given it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Prints what clap has to say about `line` in podrun's form, and gives the exit code.
fn answer(error: &clap::Error, line: &[OsString]) -> ExitCode {
    let usage = ExitCode::from(exit::code(ErrorKind::Usage));
    match error.kind() {
        ClapKind::DisplayVersion => return shown(output::text(error.render())),
        ClapKind::DisplayHelp => return shown(output::text(help_for(line))),
        // kubectl shows the same page, and fails as podrun does.
        ClapKind::DisplayHelpOnMissingArgumentOrSubcommand | ClapKind::MissingSubcommand => {
            output::note(help_for(&[OsString::from("podrun"), OsString::from("--help")]).trim_end());
            return usage;
        }
        _ => {}
    }
    let verb = verb_of(line);
    let mut error = complaint(error, verb.as_deref());
    if let (None, Some(verb)) = (error.hint_text(), verb) {
        error = error.hint(format!("`podrun {verb} --help` has examples"));
    }
    exit::report(&error)
}

fn shown(result: Result<()>) -> ExitCode {
    result.map_or_else(|error| exit::report(&error), |()| ExitCode::SUCCESS)
}

/// The page that `line` asks for.
fn help_for(line: &[OsString]) -> String {
    match help::arranged(Cli::command()).try_get_matches_from(line) {
        Err(error) => error.render().to_string(),
        Ok(_) => String::new(),
    }
}

/// The verb in `line`, if it has one that exists.
fn verb_of(line: &[OsString]) -> Option<String> {
    let command = Cli::command();
    let known = |word: &&OsString| command.get_subcommands().any(|verb| verb.get_name() == word.as_os_str());
    line.iter().skip(1).find(known).map(|verb| verb.to_string_lossy().into_owned())
}

/// What is wrong with a command line, without the usage that clap adds: it repeats the environment.
fn complaint(error: &clap::Error, verb: Option<&str>) -> Error {
    let told = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(" ")),
        _ => None,
    };
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    match error.kind() {
        ClapKind::InvalidSubcommand => {
            let verb = told(ContextKind::InvalidSubcommand).unwrap_or_default();
            let hint = missing::verb(&verb).map(str::to_owned);
            let similar =
                told(ContextKind::SuggestedSubcommand).map(|verb| format!("did you mean `podrun {verb}`?"));
            let hint = hint.or(similar).unwrap_or_else(|| "`podrun --help` lists the commands".into());
            usage(format!("there is no command {verb:?}")).hint(hint)
        }
        ClapKind::MissingRequiredArgument => {
            usage(format!("missing: {}", told(ContextKind::InvalidArg).unwrap_or_default()))
        }
        ClapKind::UnknownArgument => {
            let flag = told(ContextKind::InvalidArg).unwrap_or_default();
            let similar = told(ContextKind::SuggestedArg).map(|flag| format!("did you mean {flag}?"));
            match (missing::flag(&flag).map(str::to_owned).or(similar), flag.starts_with('-')) {
                (Some(hint), _) => usage(format!("there is no flag {flag}")).hint(hint),
                (None, true) => usage(format!("there is no flag {flag}")),
                (None, false) if matches!(verb, Some("exec" | "run")) => {
                    usage(format!("{flag:?} is one argument too many"))
                        .hint("a program and its arguments follow --, as in podrun exec POD -- PROGRAM")
                }
                (None, false) => usage(format!("{flag:?} is one argument too many")),
            }
        }
        _ => {
            let text = error.render().to_string();
            let told = text.split("\n\n").filter(|part| !part.starts_with("Usage:"));
            let told: Vec<&str> =
                told.filter(|part| !part.starts_with("For more")).map(str::trim_end).collect();
            let text = told.join("\n");
            usage(text.strip_prefix("error: ").unwrap_or(&text).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_would_split_them() {
        assert_eq!(quoted("pod.json"), "pod.json");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
