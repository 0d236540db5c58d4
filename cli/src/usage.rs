//! Answers to a command line that cannot be run: requested help, and complaints in podrun's words.
//!
//! Invariant: no wording of clap's reaches a person. A complaint is one line that names the flag as it was
//! typed and the expected value, and a hint beside it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use runtime::error::{quoted, shown};
use runtime::manifest::nearest;
use runtime::{Error, ErrorKind, Result};

use crate::args::Cli;
use crate::{exit, help, missing, output};

/// A quoted value of a reason may be cut after this many characters.
const QUOTED_MIN: usize = 100;

/// Prints clap's answer to `line` in podrun's form, and returns the exit code.
pub(crate) fn answer(error: &clap::Error, line: &[OsString]) -> ExitCode {
    match error.kind() {
        ClapKind::DisplayVersion => return printed(output::text(error.render())),
        ClapKind::DisplayHelp => return printed(output::text(help_for(line))),
        // kubectl shows the same page, and fails as podrun does.
        ClapKind::DisplayHelpOnMissingArgumentOrSubcommand | ClapKind::MissingSubcommand => {
            let verb = verb_of(line);
            let page =
                ["podrun"].into_iter().chain(verb.iter().flat_map(|verb| verb.split(' '))).chain(["--help"]);
            output::note(help_for(&page.map(OsString::from).collect::<Vec<_>>()).trim_end());
            return ExitCode::from(exit::code(ErrorKind::Usage));
        }
        _ => {}
    }
    let verb = verb_of(line);
    let mut complaint = complaint(error, verb.as_deref());
    if let (None, Some(verb)) = (complaint.hint_text(), verb)
        && error.kind() != ClapKind::InvalidSubcommand
    {
        complaint = complaint.hint(format!("`podrun {verb} --help` has examples"));
    }
    exit::report(&complaint)
}

fn printed(result: Result<()>) -> ExitCode {
    result.map_or_else(|error| exit::report(&error), |()| ExitCode::SUCCESS)
}

/// The page that `line` asks for.
fn help_for(line: &[OsString]) -> String {
    match help::arranged(Cli::command()).try_get_matches_from(line) {
        Err(error) => error.render().to_string(),
        Ok(_) => String::new(),
    }
}

/// The verb in `line`, if it has one that exists; one of a group has both words. It is the first word that is no flag, nor
/// a flag's value.
fn verb_of(line: &[OsString]) -> Option<String> {
    let command = Cli::command();
    let mut words = line.iter().skip(1);
    let verb = command.find_subcommand(first_word(&command, &mut words)?)?;
    let below = first_word(&command, &mut words).and_then(|word| verb.find_subcommand(word));
    let names = [Some(verb), below].into_iter().flatten().map(clap::Command::get_name);
    Some(names.collect::<Vec<_>>().join(" "))
}

/// The first of `words` that is no flag and no value of one of `command`'s own flags.
fn first_word<'w>(
    command: &clap::Command,
    words: &mut impl Iterator<Item = &'w OsString>,
) -> Option<&'w OsString> {
    let takes_value = |word: &str| {
        command.get_arguments().any(|arg| {
            let is_it = match word.strip_prefix("--") {
                Some(long) => arg.get_long() == Some(long),
                None => word
                    .strip_prefix('-')
                    .is_some_and(|short| arg.get_short().is_some_and(|own| short == own.to_string())),
            };
            is_it && arg.get_action().takes_values()
        })
    };
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if !text.starts_with('-') {
            return Some(word);
        }
        if takes_value(&text) {
            words.next();
        }
    }
    None
}

/// The error of a command line.
fn complaint(error: &clap::Error, verb: Option<&str>) -> Error {
    let told = |kind: ContextKind| texts(error, kind);
    let first = |kind: ContextKind| told(kind).into_iter().next().unwrap_or_default();
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    match error.kind() {
        ClapKind::InvalidSubcommand => no_such_verb(verb, &first(ContextKind::InvalidSubcommand)),
        ClapKind::MissingRequiredArgument => {
            let wanted: Vec<String> = told(ContextKind::InvalidArg).iter().map(|arg| plain(arg)).collect();
            usage(format!("missing: {}", wanted.join(", ")))
        }
        ClapKind::UnknownArgument => unknown(error, verb),
        ClapKind::InvalidValue | ClapKind::ValueValidation => invalid(error),
        ClapKind::ArgumentConflict => {
            let one = name(&first(ContextKind::InvalidArg));
            let others: Vec<String> = told(ContextKind::PriorArg).iter().map(|arg| name(arg)).collect();
            usage(format!("{one} and {} exclude each other", others.join(", ")))
        }
        ClapKind::TooManyValues => usage(format!("{} takes no value", name(&first(ContextKind::InvalidArg)))),
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            usage(line.strip_prefix("error: ").unwrap_or(line).to_owned())
        }
    }
}

/// A word that is no verb: of podrun, or of the `group` that stands before it.
fn no_such_verb(group: Option<&str>, word: &str) -> Error {
    let before = group.map(|group| format!("{group} ")).unwrap_or_default();
    let message = format!("there is no command \"{before}{}\"", shown(word));
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    let instead = missing::verb(word);
    // Within a group a verb of podrun's own is meant first; outside, a word of another tool's is.
    let elsewhere = match group {
        Some(_) => Cli::command().find_subcommand(word).map(|_| word.to_owned()),
        None if instead.is_some() => None,
        None => {
            let groups: Vec<clap::Command> = Cli::command().get_subcommands().cloned().collect();
            let found = groups.iter().find(|group| group.find_subcommand(word).is_some());
            found.map(|group| format!("{} {word}", group.get_name()))
        }
    };
    if let Some(verb) = elsewhere {
        return usage(message).hint(format!("it is `podrun {verb}`"));
    }
    if let Some(instead) = instead {
        return usage(format!("{message}: {instead}"));
    }
    let command = Cli::command();
    let verbs = group.and_then(|group| command.find_subcommand(group)).unwrap_or(&command).get_subcommands();
    usage(message).hint(nearest(word, verbs.map(clap::Command::get_name)).map_or_else(
        || format!("`podrun {before}--help` lists the commands"),
        |verb| format!("did you mean `podrun {before}{verb}`?"),
    ))
}

/// A word that no argument takes, or a flag that the verb does not have.
fn unknown(error: &clap::Error, verb: Option<&str>) -> Error {
    let word = texts(error, ContextKind::InvalidArg).into_iter().next().unwrap_or_default();
    if word.starts_with('-') {
        let hint = missing::flag(verb.unwrap_or_default(), &word).map(str::to_owned);
        let near = near_flag(verb, &word);
        let is_misplaced = near.as_deref().is_some_and(|flag| word.split('=').next() == Some(flag));
        if let (Some(flag), Some(verb), true) = (&near, verb, is_misplaced) {
            let hint = format!("a flag of a verb follows it: podrun {verb} {flag}");
            return Error::new(ErrorKind::Usage, format!("{flag} stands before its verb")).hint(hint);
        }
        let hint = hint.or_else(|| near.map(|flag| format!("did you mean {flag}?")));
        let error = Error::new(ErrorKind::Usage, format!("there is no flag {}", shown(&word)));
        return hint.into_iter().fold(error, Error::hint);
    }
    let error = Error::new(ErrorKind::Usage, format!("{} is one argument too many", quoted(&word)));
    match verb {
        Some("exec") => error.hint("podrun exec POD -- PROGRAM; a pod is written NAME or pod/NAME"),
        Some("attach") => error.hint("podrun attach POD; a pod is written NAME or pod/NAME"),
        Some("run") => error.hint("arguments follow --: podrun run NAME --image=IMAGE -- ARGUMENT"),
        Some("image mount") => {
            error.hint("a program and its arguments follow --: podrun image mount IMAGE -- PROGRAM")
        }
        _ => error,
    }
}

/// The flag of `verb` that is nearest to `word`.
fn near_flag(verb: Option<&str>, word: &str) -> Option<String> {
    let written = word.strip_prefix("--")?.split('=').next()?;
    let command = Cli::command();
    let verb =
        verb.unwrap_or_default().split(' ').try_fold(&command, |command, word| command.find_subcommand(word));
    let flags = verb.into_iter().chain([&command]).flat_map(clap::Command::get_arguments);
    let names: Vec<&str> = flags.filter_map(clap::Arg::get_long).collect();
    nearest(written, names.into_iter()).map(|flag| format!("--{flag}"))
}

/// A value that its flag or argument does not take.
fn invalid(error: &clap::Error) -> Error {
    let flag = texts(error, ContextKind::InvalidArg).into_iter().next().unwrap_or_default();
    let value = texts(error, ContextKind::InvalidValue).into_iter().next().unwrap_or_default();
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    let name = name(&flag);
    if value.is_empty() {
        return usage(format!("{name}: a value is wanted"));
    }
    let valid = texts(error, ContextKind::ValidValue);
    let (why, has_value) = match std::error::Error::source(error) {
        Some(source) if source.is::<std::num::ParseIntError>() => {
            ("a whole number is wanted".to_owned(), false)
        }
        // A long value may be quoted in part.
        Some(source) => {
            let beginning: String = value.chars().take(QUOTED_MIN).collect();
            (source.to_string(), source.to_string().contains(&beginning))
        }
        None => (format!("one of {} is wanted", valid.join(", ")), false),
    };
    if has_value {
        usage(format!("{name}: {why}"))
    } else {
        usage(format!("{name} {}: {why}", quoted(&value)))
    }
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// A flag or an argument without clap's brackets: `--image <IMAGE>` is `--image IMAGE`. Brackets within its own
/// name stay.
fn plain(arg: &str) -> String {
    let arg = arg.trim_end_matches("...");
    let arg = arg.strip_prefix('[').and_then(|arg| arg.strip_suffix(']')).unwrap_or(arg);
    arg.replace(['<', '>'], "")
}

/// The name alone, without its value: `--output`.
fn name(arg: &str) -> String {
    let plain = plain(arg).replace("[=", "=");
    plain.split([' ', '=']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn complaint_about(line: &str) -> Error {
        let line: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let error = args::command().try_get_matches_from(&line).unwrap_err();
        complaint(&error, verb_of(&line).as_deref())
    }

    fn said(line: &str) -> String {
        complaint_about(line).message().to_owned()
    }

    #[test]
    fn a_word_that_is_no_verb_is_told_where_to_go() {
        for (line, wanted) in [
            ("podrun history x", "it is `podrun image history`"),
            ("podrun image login x", "it is `podrun login`"),
            ("podrun image frob", "`podrun image --help` lists the commands"),
            ("podrun image inspekt x", "did you mean `podrun image inspect`?"),
            ("podrun frob", "`podrun --help` lists the commands"),
            (
                "podrun image mount x ls",
                "a program and its arguments follow --: podrun image mount IMAGE -- PROGRAM",
            ),
            ("podrun gte pods", "did you mean `podrun get`?"),
            ("podrun log web", "did you mean `podrun logs`?"),
            ("podrun pul x", "did you mean `podrun pull`?"),
            ("podrun get --watc", "did you mean --watch?"),
            (
                "podrun exec --user 0 web -- id",
                "a command runs as the container's user, securityContext.runAsUser in its manifest; su or setpriv changes it inside",
            ),
            (
                "podrun create configmap x --from-literal=a=b",
                "there are no ConfigMaps and Secrets yet: write values out under env, or put files in a hostPath volume",
            ),
            ("podrun pull x --arch arm64", "--platform OS/ARCH[/VARIANT] chooses one"),
        ] {
            assert_eq!(complaint_about(line).hint_text(), Some(wanted), "{line}");
        }
        assert!(said("podrun system df").contains("podrun image df"));
        assert!(
            said("podrun auth can-i create pods")
                .starts_with("there is no command \"auth\": there is no server to ask")
        );
        assert!(said("podrun -n get --root run frob").starts_with("there is no command \"frob\""));
        assert!(said("podrun unshare").contains("nsenter"));
        assert!(said("podrun rm web").contains("`podrun delete NAME` removes a pod"));
    }

    #[test]
    fn complaints_are_in_podruns_words() {
        for (line, wanted) in [
            ("podrun create", "missing: FILE"),
            ("podrun run x", "missing: --image IMAGE"),
            ("podrun exec", "missing: POD, COMMAND"),
            ("podrun logs web --tail=x", "--tail \"x\": a whole number is wanted"),
            ("podrun delete web --wait=maybe", "--wait \"maybe\": one of true, false is wanted"),
            ("podrun delete web --all=no", "--all \"no\": one of true, false is wanted"),
            ("podrun create x --wait=ever", "--wait \"ever\": one of none, started, ready is wanted"),
            ("podrun create x --dry-run=server", "--dry-run \"server\": one of client, none is wanted"),
            ("podrun ns web -o yaml", "--output \"yaml\": one of json is wanted"),
            ("podrun run x --image=y --port=0", "--port: 0 is not in 1..=65535"),
            (
                "podrun wait x --for=delete --timeout=5",
                "--timeout: \"5\" is no duration; write it as 30s, 5m or 1h30m",
            ),
            ("podrun get --sort-by={.a", "--sort-by \"{.a\": jsonpath, character 4: expected `}`"),
            (
                "podrun run x --image=y --restart=no",
                "--restart \"no\": one of Always, OnFailure, Never is wanted",
            ),
            ("podrun --root= get pods", "--root: a value is wanted"),
            ("podrun delete web --now --grace-period=2", "--now and --grace-period exclude each other"),
            ("podrun delete -f x web", "--filename and POD exclude each other"),
            ("podrun logs web -c a b", "--container and CONTAINER exclude each other"),
            ("podrun get pods --nope", "there is no flag --nope"),
            ("podrun ps", "there is no command \"ps\": `podrun get pods` lists pods"),
            ("podrun login", "missing: REGISTRY[/PATH]"),
            ("podrun logout x --all", "REGISTRY[/PATH] and --all exclude each other"),
            ("podrun pull x --tls-verify=maybe", "--tls-verify \"maybe\": one of true, false is wanted"),
            (
                "podrun save x --format docker",
                "--format \"docker\": one of oci-archive, docker-archive is wanted",
            ),
            ("podrun image frob x", "there is no command \"image frob\""),
        ] {
            assert_eq!(said(line), wanted, "{line}");
        }
    }
}
