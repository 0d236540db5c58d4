//! `podrun completion`: the script by which a shell asks podrun itself for completions, and the answers.
//!
//! Pod names come from the root's names/, which any user may list. Container and image names are in records that root
//! alone may read: another user is offered none. A flag is offered where one is begun, or where nothing else fits.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use runtime::Result;
use runtime::image::{Image, ImageStore, Reference};
use runtime::pod::names;
use runtime::policy::store;

use crate::context::Context;
use crate::image::registries;
use crate::output;

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(podrun completion bash)
  podrun completion zsh > ~/.zfunc/_podrun
  podrun completion fish > ~/.config/fish/completions/podrun.fish")]
pub(crate) struct Args {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.shell == Shell::Bash {
        output::text(BASH)?;
        return Ok(ExitCode::SUCCESS);
    }
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

/// bash's script is podrun's own: words with = and : in them, and lines that begin with sudo.
const BASH: &str = include_str!("completion.bash");

/// The variable by which the shell's script asks for candidates.
const VARIABLE: &str = "PODRUN_COMPLETE";

/// The line to complete, for the functions that clap calls with a word alone.
static LINE: OnceLock<ArgMatches> = OnceLock::new();

/// Answers a shell that asks for candidates of the command line `podrun` declares, if this is one.
pub(crate) fn answer(podrun: fn() -> Command) -> bool {
    clap_complete::CompleteEnv::with_factory(|| offered(podrun()))
        .var(VARIABLE)
        .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref())
        .unwrap_or(false)
}

/// The command line as it is offered: its flags only where one is begun, or where nothing else fits.
fn offered(podrun: Command) -> Command {
    let line = Line::typed();
    let begins_a_flag = line.current.to_string_lossy().starts_with('-');
    if let Some(matches) = line.read(podrun.clone()) {
        LINE.get_or_init(|| matches);
    }
    let command = podrun
        .disable_help_subcommand(true)
        .mut_arg("namespace", |arg| arg.add(ArgValueCompleter::new(namespaces)));
    if begins_a_flag {
        return command;
    }
    let hide = |arg: Arg| if arg.is_positional() { arg } else { arg.hide(true) };
    command.disable_help_flag(true).disable_version_flag(true).mut_args(hide).mut_subcommands(|verb| {
        verb.disable_help_subcommand(true).mut_args(hide).mut_subcommands(|below| below.mut_args(hide))
    })
}

/// The line that the shell wants completed.
struct Line {
    /// The words but for the one that is being typed, the program's name in front.
    words: Vec<OsString>,
    current: OsString,
}

impl Line {
    /// The line as the shell's script gives it: its words behind `--`, and which of them is being typed.
    fn typed() -> Self {
        let mut words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
        let index = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse().ok());
        let index = index.unwrap_or(words.len().saturating_sub(1));
        let current = if index < words.len() { words.remove(index) } else { OsString::new() };
        Self { words, current }
    }

    /// The parts of the line, as far as they can be read.
    fn read(mut self, podrun: Command) -> Option<ArgMatches> {
        // A flag that waits for the value being typed would make the rest unreadable.
        if self.words.last().is_some_and(|word| word.to_string_lossy().starts_with('-')) {
            self.words.pop();
        }
        podrun.ignore_errors(true).try_get_matches_from(self.words).ok()
    }
}

/// The host and the namespace that the line means.
fn context() -> Option<Context> {
    Context::of(LINE.get()?).ok()
}

/// The pod that the line names already.
fn pod() -> Option<String> {
    let (_, verb) = LINE.get()?.subcommand()?;
    verb.try_get_one::<String>("pod").ok()?.cloned()
}

/// The `names` that begin with `typed`, each once.
fn beginning(typed: &str, names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let mut names: Vec<String> = names.into_iter().filter(|name| name.starts_with(typed)).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// Pods of the namespace whose name begins with `typed`.
pub(crate) fn pods(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(context) = context() else { return Vec::new() };
    let typed = typed.to_string_lossy();
    let prefix = typed.split_once('/').map_or(String::new(), |(resource, _)| format!("{resource}/"));
    let here = names::all(&context.host)
        .unwrap_or_default()
        .into_iter()
        .filter(|(namespace, ..)| namespace == context.namespace());
    beginning(&typed, here.map(|(_, name, _)| format!("{prefix}{name}")))
}

/// Containers of the pod that the line names, or of all in its namespace.
pub(crate) fn containers(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(context) = context() else { return Vec::new() };
    let pod = pod().map(|pod| pod.rsplit('/').next().unwrap_or_default().to_owned());
    let mut entries = store::list(&context.host).unwrap_or_default();
    entries.retain(|entry| {
        entry.namespace == context.namespace() && pod.as_ref().is_none_or(|pod| *pod == entry.name)
    });
    let names = entries.iter().flat_map(|entry| entry.pod.spec.all_containers());
    beginning(&typed.to_string_lossy(), names.map(|container| container.name.clone()))
}

/// Namespaces that have pods.
fn namespaces(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(context) = context() else { return Vec::new() };
    let names = names::all(&context.host).unwrap_or_default().into_iter().map(|(namespace, ..)| namespace);
    beginning(&typed.to_string_lossy(), names)
}

/// Images in the store.
pub(crate) fn images(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(context) = context() else { return Vec::new() };
    if !ImageStore::is_there(&context.host) {
        return Vec::new();
    }
    let images = ImageStore::open(&context.host).and_then(|store| store.list()).unwrap_or_default();
    let typed = typed.to_string_lossy();
    beginning(&typed, images.iter().flat_map(|image| image_words(image, &typed)))
}

/// Registries that the file of `podrun login` has credentials for.
pub(crate) fn logins(typed: &OsStr) -> Vec<CompletionCandidate> {
    beginning(&typed.to_string_lossy(), runtime::image::logins(&registries::login_file()))
}

/// The words for an image after `typed`: its names as `podrun images` shows them, whole ones where one is
/// begun, and its id.
fn image_words(image: &Image, typed: &str) -> Vec<String> {
    let familiar =
        |name: &String| name.parse::<Reference>().map_or_else(|_| name.clone(), |name| name.familiar());
    let mut words: Vec<String> = image.names.iter().map(familiar).collect();
    words.extend(image.names.iter().filter(|name| !typed.is_empty() && name.starts_with(typed)).cloned());
    if image.names.is_empty() || !typed.is_empty() {
        words.push(image.id.short().to_owned());
    }
    words
}

/// Words that a flag takes.
pub(crate) fn words(words: &'static [&'static str]) -> ArgValueCandidates {
    ArgValueCandidates::new(move || words.iter().copied().map(CompletionCandidate::new).collect())
}
