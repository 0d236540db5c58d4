//! `podrun man`: the manual, a page for each verb and one for podrun, out of the command line itself.
//!
//! Invariant: every text of a page has another source (a verb's own text, `exit::MEANINGS`, the groups of
//! `help`), so that it cannot become stale.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;
use runtime::Result;
use runtime::error::Context as _;

use crate::{exit, help};

/// Write the man pages into a folder, one for each verb
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  podrun man /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// The folder, which must exist
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
}

/// Writes the pages of `podrun`, as it is declared.
pub(crate) fn run(args: &Args, podrun: Command) -> Result<ExitCode> {
    for (name, page) in pages(podrun)? {
        let path = args.directory.join(name);
        std::fs::write(&path, page).context(|| path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each page with its file's name.
fn pages(podrun: Command) -> Result<Vec<(String, Vec<u8>)>> {
    let first = podrun.disable_help_subcommand(true);
    let mut command = help::without_host_options(first.clone());
    command.build();
    let mut pages = vec![("podrun.1".to_owned(), overview(first)?)];
    for verb in command.get_subcommands() {
        let about_pods = !help::NOT_ABOUT_PODS.contains(&verb.get_name());
        pages.push((format!("podrun-{}.1", verb.get_name()), page(verb.clone(), about_pods)?));
        for below in verb.get_subcommands().filter(|below| below.get_name() != "help") {
            let name = format!("podrun-{}-{}.1", verb.get_name(), below.get_name());
            pages.push((name, page(below.clone(), about_pods)?));
        }
    }
    Ok(pages)
}

/// A verb's page.
fn page(verb: Command, about_pods: bool) -> Result<Vec<u8>> {
    // clap's own words for it speak of a summary, which the same page is.
    let mut verb = verb.mut_arg("help", |help| help.help("Print help").long_help(None));
    if !about_pods {
        verb = verb.mut_arg("namespace", |namespace| namespace.hide(true));
    }
    let usage = verb.render_usage().to_string();
    let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
    let commands = help::commands(&verb);
    let mut page = Vec::new();
    let man = begin(verb.override_usage(usage.trim_start_matches("Usage: ").to_owned()), &mut page)?;
    man.render_options_section(&mut page)?;
    if !commands.is_empty() {
        page.extend(section("COMMANDS", &literal(&commands)).into_bytes());
    }
    let (title, examples) = examples.split_once('\n').unwrap_or_default();
    page.extend(section(title.trim_end_matches(':'), &literal(examples)).into_bytes());
    page.extend(section("SEE ALSO", "\\fBpodrun\\fR(1)\n").into_bytes());
    Ok(page)
}

/// podrun's own page.
fn overview(command: Command) -> Result<Vec<u8>> {
    // As in a verb's page; here nothing is built that could be changed.
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Print help");
    let mut command = command.disable_help_flag(true).arg(help);
    command.build();
    let mut page = Vec::new();
    let man = begin(command.clone().override_usage("podrun VERB [OPTIONS]"), &mut page)?;
    let mut text = String::from(".SH VERBS\n");
    for (title, verbs) in help::GROUPS {
        let _ = writeln!(text, ".SS {title}");
        for verb in verbs {
            let about = command.find_subcommand(verb).and_then(Command::get_about).cloned();
            item(&mut text, &format!("\\fBpodrun\\-{verb}\\fR(1)"), &about.unwrap_or_default().to_string());
        }
    }
    page.extend(text.into_bytes());
    man.render_options_section(&mut page)?;
    let mut text = String::from(".SH ENVIRONMENT\n");
    for arg in command.get_arguments() {
        let (Some(variable), Some(flag)) = (arg.get_env(), arg.get_long()) else { continue };
        item(&mut text, &variable.to_string_lossy(), &format!("as --{flag}, which stands above it"));
    }
    text.push_str(".SH FILES\n");
    item(&mut text, "/etc/podrun/config.yaml", "the config file: what a host fixes once");
    item(&mut text, "/var/lib/podrun, /run/podrun, /var/log/pods", "images and records, sockets, logs");
    item(
        &mut text,
        "PREFIX/share/doc/podrun/docs",
        "what messages call docs/; PREFIX is /usr/local, unless make was told another",
    );
    text.push_str(".SH EXIT STATUS\n");
    for (code, meaning) in exit::MEANINGS {
        item(&mut text, &code.to_string(), meaning);
    }
    page.extend(text.into_bytes());
    Ok(page)
}

/// The page's title and its beginning.
fn begin(command: Command, page: &mut Vec<u8>) -> Result<Man> {
    let man = Man::new(command).source(concat!("podrun ", env!("CARGO_PKG_VERSION"))).manual("podrun");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    Ok(man)
}

fn section(title: &str, text: &str) -> String {
    format!(".SH {}\n{text}", title.to_uppercase())
}

/// A term and its meaning; `term` is roff already.
fn item(text: &mut String, term: &str, meaning: &str) {
    let _ = write!(text, ".TP\n{term}\n{}", escaped(meaning));
}

/// Lines that stay as they are.
fn literal(text: &str) -> String {
    format!(".nf\n{}.fi\n", escaped(text))
}

/// Text that roff takes for text: no line of it is a request, and a dash is one.
fn escaped(text: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        let _ = writeln!(out, "{guard}{line}");
        out
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_verb_has_a_page_with_examples() {
        let pages = pages(Cli::command()).unwrap();
        for verb in help::GROUPS.iter().flat_map(|(_, verbs)| *verbs) {
            let (_, page) = pages.iter().find(|(name, _)| *name == format!("podrun-{verb}.1")).expect(verb);
            let page = String::from_utf8_lossy(page);
            for part in [".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLE", ".SH SEE ALSO"] {
                assert!(page.contains(part), "{verb}: {part} in {page}");
            }
            assert!(!page.contains("EXTRA") && !page.contains("cgroup"), "{verb}: {page}");
            assert!(!page.contains("see a summary"), "{verb}: {page}");
            let about_pods = !help::NOT_ABOUT_PODS.contains(verb);
            assert_eq!(page.contains("\\-\\-namespace"), about_pods, "{verb}: {page}");
        }
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped(".metadata\n--a \\n"), "\\&.metadata\n\\-\\-a \\en\n");
    }
}
