//! `podrun completion` and `podrun man`: what is generated from the command line itself.
//!
//! Pod names are completed from the state dir's names/, which any user may list; container names need
//! the pod's record, so that root alone is offered them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::engine::CompletionCandidate;
use runtime::Result;
use runtime::error::Context as _;
use runtime::host::Host;
use runtime::pod::{names, store};

use crate::args::Cli;
use crate::output;

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(podrun completion bash)
  podrun completion zsh > ~/.zfunc/_podrun")]
pub(crate) struct Args {
    /// bash, zsh, fish or elvish
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let completers = clap_complete::env::Shells::builtins();
    let name = args.shell.to_string();
    let shell = completers
        .completer(&name)
        .ok_or_else(|| runtime::Error::new(runtime::ErrorKind::Usage, format!("no completion for {name}")))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "podrun", "podrun", "podrun", &mut script)?;
    output::text(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// The variable by which the shell's script asks for candidates.
const VARIABLE: &str = "PODRUN_COMPLETE";

/// Answers a shell that asks for candidates, if this is one.
pub(crate) fn answer() -> bool {
    clap_complete::CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref())
        .unwrap_or(false)
}

/// The host as far as a completion knows it: the defaults and the environment.
fn host() -> Host {
    let dir = |name: &str, default: PathBuf| std::env::var_os(name).map_or(default, PathBuf::from);
    let defaults = Host::default();
    Host {
        root: dir("PODRUN_ROOT", defaults.root),
        state_dir: dir("PODRUN_STATE_DIR", defaults.state_dir),
        ..Host::default()
    }
}

/// Pods whose name begins with `typed`.
pub(crate) fn pods(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let (prefix, start) = match typed.split_once('/') {
        Some((resource, start)) => (format!("{resource}/"), start.to_owned()),
        None => (String::new(), typed.into_owned()),
    };
    let names = names::all(&host()).into_iter().map(|(_, name, _)| name);
    names
        .filter(|name| name.starts_with(&start))
        .map(|name| CompletionCandidate::new(format!("{prefix}{name}")))
        .collect()
}

/// Containers of any pod whose name begins with `typed`; only root can read them.
pub(crate) fn containers(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let entries = store::list(&host()).unwrap_or_default();
    let mut names: Vec<String> = entries
        .iter()
        .flat_map(|entry| entry.pod.spec.all_containers().map(|container| container.name.clone()))
        .filter(|name| name.starts_with(typed.as_ref()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// Write the man pages into a folder, one for each verb
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  podrun man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The folder, which must exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn man(args: &ManArgs) -> Result<ExitCode> {
    let pages = clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &args.directory);
    pages.context(|| format!("man pages in {}", args.directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
