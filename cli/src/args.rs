//! The command line's shape: the flags that every verb shares, and the list of verbs.
//!
//! Invariant: a verb is named here and in its own module and nowhere else. To add one: a module
//! with `Args` and `run`, a variant of [`Command`], an arm in [`Parsed::run`], and, if a plain user
//! may call it, an arm in [`Command::needs_root`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use runtime::host::Host;
use runtime::manifest::{DEFAULT_NAMESPACE, names};
use runtime::pod::recovery;
use runtime::{Error, ErrorKind, Result};

use crate::config::{self, Config, Overrides};
use crate::{completion, doctor, exit, image, man, output, pod, usage, version};

/// Run Kubernetes pods on this host, without a server
///
/// A manifest is a Kubernetes v1 Pod, as `kubectl create -f` takes it; a field that podrun does not do is refused by name.
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
    #[arg(short, long, global = true, value_name = "NAME", env = "PODRUN_NAMESPACE", hide_env = true,
          add = ArgValueCompleter::new(completion::namespaces))]
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
            Self::Image(args) => args.passes_a_code_on(),
            Self::Run(args) => args.attaches() && !args.is_dry_run(),
            _ => false,
        }
    }

    /// Whether the verb is about pods, so that what a killed monitor or client left is cleaned up before it.
    fn needs_recovery(&self) -> bool {
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
}

/// What a verb is given beside its own arguments: where it works.
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
    /// What `matches` of the command line say, above the environment, above the config file.
    pub(crate) fn of(matches: &ArgMatches) -> Result<Self> {
        let globals = Globals::from_arg_matches(matches)
            .map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))?;
        Self::load(globals)
    }

    fn load(globals: Globals) -> Result<Self> {
        let given_namespace = namespace(globals.namespace)?;
        let (host, config) = config::load(Overrides {
            config: globals.config,
            root: globals.root,
            state_dir: globals.state_dir,
            log_dir: globals.log_dir,
            cgroup_parent: globals.cgroup_parent,
        })?;
        Ok(Self { host, config, given_namespace })
    }

    /// The namespace that the verb looks in.
    pub(crate) fn namespace(&self) -> &str {
        self.given_namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
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
    let matches = command().try_get_matches_from(&line).map_err(|error| usage::answer(&error, &line))?;
    let verbs = std::iter::successors(matches.subcommand(), |(_, verb)| verb.subcommand());
    let verb = verbs.map(|(name, _)| name).collect::<Vec<_>>().join(" ");
    let cli = Cli::from_arg_matches(&matches).map_err(|error| usage::answer(&error, &line))?;
    Ok(Parsed { verb, line, cli })
}

/// The command line as kubectl's is read. Help and completion show it as it is declared.
pub(crate) fn command() -> clap::Command {
    with_gos_habits(Cli::command())
}

/// What kubectl and runc have of Go's packages: of a flag that is given twice the last one counts, and a switch takes
/// `=true` and `=false`.
pub(crate) fn with_gos_habits(command: clap::Command) -> clap::Command {
    command.args_override_self(true).mut_args(switch).mut_subcommands(with_switches)
}

fn with_switches(verb: clap::Command) -> clap::Command {
    verb.mut_args(switch).mut_subcommands(with_switches)
}

fn switch(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(boolean())
}

/// The words of Go's strconv.ParseBool.
fn boolean() -> impl TypedValueParser<Value = bool> {
    let yes = PossibleValue::new("true").aliases(["1", "t", "T", "TRUE", "True"]);
    let no = PossibleValue::new("false").aliases(["0", "f", "F", "FALSE", "False"]);
    PossibleValuesParser::new([yes, no]).map(|word| word.starts_with(['1', 't', 'T']))
}

/// The namespace that is given: a name as Kubernetes wants it, and no other word ever becomes a path.
fn namespace(given: Option<String>) -> Result<Option<String>> {
    // To kubectl an empty one is none.
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(None) };
    match names::dns_label(&given) {
        Ok(()) => Ok(Some(given)),
        Err(why) => Err(Error::new(ErrorKind::Usage, format!("--namespace: {why}"))),
    }
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
            Host::raise_limit_of_descriptors();
        }
        let context = Context::load(self.cli.globals)?;
        if self.cli.command.needs_root() {
            let mut troubles: Vec<_> = context.host.mend().err().into_iter().collect();
            if self.cli.command.needs_recovery() {
                troubles.extend(recovery::reap(&context.host));
            }
            troubles.iter().for_each(|trouble| output::note(format_args!("warning: {trouble}")));
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
            Command::Man(args) => man::run(&args),
            Command::Pull(args) => image::pull::run(&args, &context),
            Command::Push(args) => image::push::run(&args, &context),
            Command::Load(args) => image::load::run(&args, &context),
            Command::Save(args) => image::save::run(&args, &context),
            Command::Images(args) => image::list::run(&args, &context),
            Command::Tag(args) => image::tag::run(&args, &context),
            Command::Rmi(args) => image::remove::run(&args, &context),
            Command::Login(args) => image::login::run(&args, &context),
            Command::Logout(args) => image::logout::run(&args, &context),
            Command::Image(args) => image::run(&args, &context),
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

#[cfg(test)]
mod tests {
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
        let exec = |line: &str| match read(line).command {
            Command::Exec(args) => format!("{args:?}"),
            other => panic!("{other:?}"),
        };
        let both = exec("podrun exec -it web -- sh -c x");
        assert!(both.contains("stdin: true") && both.contains("tty: true"), "{both}");
        let one = exec("podrun exec -i --tty=false web -c a --container b -- sh");
        assert!(one.contains("stdin: true") && one.contains("tty: false"), "{one}");
        assert!(one.contains("\"b\"") && !one.contains("\"a\""), "{one}");
        let again = read("podrun -n one get pods -n two --watch=false").globals.namespace;
        assert_eq!(again.as_deref(), Some("two"));
    }

    #[test]
    fn a_namespace_is_a_label_or_none() {
        assert_eq!(namespace(Some(String::new())).unwrap(), None);
        assert_eq!(namespace(Some("blue".into())).unwrap().as_deref(), Some("blue"));
        for bad in ["../x", "Blue", "a/b", "."] {
            assert_eq!(namespace(Some(bad.into())).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_would_split_them() {
        assert_eq!(quoted("pod.json"), "pod.json");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
