//! The layout of `--help`: verbs by purpose, and a page per verb that is short enough to read.
//!
//! Invariant: texts are where the verbs are, and are only arranged here; each visible verb is in one group
//! (a test holds it), and each has an example (another does).

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The verbs by purpose, in the order of `podrun --help`.
pub(crate) const GROUPS: [(&str, &[&str]); 7] = [
    ("Start and end pods", &["create", "run", "delete"]),
    ("Look at pods", &["get", "describe", "logs", "wait", "ns"]),
    ("Go inside", &["exec", "attach"]),
    ("Images", &["pull", "load", "save", "images", "tag", "rmi", "image"]),
    ("Registries", &["push", "login", "logout"]),
    ("Check", &["validate", "doctor"]),
    ("podrun itself", &["completion", "man", "version"]),
];

/// The flags that every verb takes and only the first page lists.
const OF_THE_HOST: [&str; 5] = ["config", "root", "state_dir", "log_dir", "cgroup_parent"];

/// Verbs that are not about pods, to which `-n` means nothing.
pub(crate) const NOT_ABOUT_PODS: [&str; 14] = [
    "pull",
    "push",
    "load",
    "save",
    "images",
    "tag",
    "rmi",
    "image",
    "login",
    "logout",
    "doctor",
    "completion",
    "man",
    "version",
];

/// `command` as `--help` shows it.
pub(crate) fn arranged(command: Command) -> Command {
    let overview = overview(&command);
    let mut command = without_host_options(command);
    for verb in GROUPS.iter().flat_map(|(_, verbs)| *verbs) {
        let about_pods = !NOT_ABOUT_PODS.contains(verb);
        command = command.mut_subcommand(verb, |verb| page(verb, about_pods));
    }
    command.help_template(overview)
}

/// `command` with verb pages that leave out the settings of a host: where podrun's state is.
pub(crate) fn without_host_options(command: Command) -> Command {
    command.mut_args(|arg| {
        let is_hosts = OF_THE_HOST.contains(&arg.get_id().as_str());
        if is_hosts { arg.hide(true) } else { arg }
    })
}

/// A verb's page: description, usage, arguments, options, examples; and those of its subverbs.
fn page(verb: Command, about_pods: bool) -> Command {
    // One text: with a long one beside a short one clap spreads the options over the screen.
    let text = verb.get_long_about().or(verb.get_about()).cloned().unwrap_or_default();
    let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
    let more = format!("{examples}\n\n`podrun --help` lists the options that every verb takes.");
    let verb = if about_pods { verb } else { without_namespace(verb) };
    let commands = commands(&verb);
    let verb = verb.disable_help_subcommand(true).mut_subcommands(|below| page(below, about_pods));
    let verb = match commands.is_empty() {
        true => verb,
        // clap would list the verbs below with all of their text.
        false => verb.help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\nCommands:\n{commands}\nOptions:\n{{options}}{{after-help}}"
        )),
    };
    verb.about(text).long_about(None).after_help(more.trim_start().to_owned())
}

/// The verbs below `verb`, a line each.
pub(crate) fn commands(verb: &Command) -> String {
    let mut text = String::new();
    for below in verb.get_subcommands().filter(|below| below.get_name() != "help") {
        let _ = writeln!(text, "  {:<9}{}", below.get_name(), below.get_about().cloned().unwrap_or_default());
    }
    text
}

/// `verb` with the global `-n` as a hidden flag of its own.
fn without_namespace(verb: Command) -> Command {
    let namespace = Arg::new("namespace").short('n').long("namespace").value_name("NAME").hide(true);
    verb.arg(namespace)
}

/// The first page: the verbs in their groups and the global options.
fn overview(command: &Command) -> String {
    let mut text = format!(
        "{}\n\nUsage: podrun VERB [OPTIONS]\n",
        command.get_long_about().or(command.get_about()).cloned().unwrap_or_default()
    );
    for (title, verbs) in GROUPS {
        let _ = writeln!(text, "\n{title}:");
        for verb in verbs {
            let about = command.find_subcommand(verb).and_then(Command::get_about);
            let _ = writeln!(text, "  {verb:<12}{}", about.cloned().unwrap_or_default());
        }
    }
    text.push_str("\nOptions that every verb takes:\n");
    for arg in command.get_arguments() {
        let (Some(long), Some(about)) = (arg.get_long(), arg.get_help()) else { continue };
        let short = arg.get_short().map_or_else(|| "    ".into(), |short| format!("-{short}, "));
        let value = arg.get_value_names().and_then(|names| names.first());
        let flag = value.map_or_else(|| format!("--{long}"), |value| format!("--{long} {value}"));
        let _ = writeln!(text, "  {short}{flag:<24}{about}");
    }
    text.push_str(
        "  -h, --help                  A verb's own options, with examples: podrun create --help

Each of them but --help may be given by the environment too (PODRUN_NAMESPACE, PODRUN_ROOT …), and those
that say where things are by the config file. `podrun doctor` tells whether pods can run on this host.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    fn verbs() -> impl Iterator<Item = Command> {
        let mut command = arranged(Cli::command());
        command.build();
        let visible = |verb: &Command| verb.get_name() != "help";
        command.get_subcommands().filter(|verb| visible(verb)).cloned().collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn every_verb_is_in_one_group() {
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| *verbs).copied().collect();
        let known: BTreeSet<String> = verbs().map(|verb| verb.get_name().to_owned()).collect();
        assert_eq!(grouped.len(), known.len());
        assert!(grouped.iter().all(|verb| known.contains(*verb)));
    }

    #[test]
    fn every_page_has_an_example_that_parses_and_no_line_wraps() {
        for mut verb in verbs() {
            let page = verb.render_help().to_string();
            let name = verb.get_name().to_owned();
            assert!(page.contains("Example"), "{name}");
            assert!(page.contains(&format!("  podrun {name}")), "{name}: {page}");
            assert!(page.lines().all(|line| line.chars().count() <= 100), "{name}: {page}");
        }
    }
}
