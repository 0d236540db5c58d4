//! One dash where clap wants two: Go's package flag, by which runc reads its command line, takes `-force` for `--force`.
//!
//! Invariant: nothing but a known flag's dash is changed, and nothing behind the program of `exec` or a `--`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::{Arg, Command};

/// The words of `line`, the program's name first, with two dashes before each long flag that `command` knows.
pub(super) fn with_two_dashes(command: &Command, line: &[OsString]) -> Vec<OsString> {
    let (mut level, mut positionals) = (command, 0);
    let mut done: Vec<OsString> = line.iter().take(1).cloned().collect();
    let mut words = line.iter().skip(1);
    while let Some(word) = words.next() {
        let Some(flag) = Flag::parse(word).filter(|_| word != "--") else {
            if word == "--" || is_trailing(level, positionals) {
                done.push(word.clone());
                break;
            }
            match level.find_subcommand(word) {
                Some(verb) => level = verb,
                None => positionals += 1,
            }
            done.push(word.clone());
            continue;
        };
        let known = level.get_arguments().find(|argument| flag.names(argument));
        done.push(match known {
            Some(_) if flag.lacks_a_dash => dashed(word),
            _ => word.clone(),
        });
        if known.is_some_and(takes_next_word) && !flag.has_value {
            done.extend(words.next().cloned());
        }
    }
    done.extend(words.cloned());
    done
}

/// Whether its value may be a word of its own; a switch's has to be `=true` or `=false`.
fn takes_next_word(argument: &Arg) -> bool {
    argument.get_action().takes_values() && !argument.is_require_equals_set()
}

fn dashed(word: &OsStr) -> OsString {
    let mut dashed = OsString::from("-");
    dashed.push(word);
    dashed
}

/// Whether the next word begins the part that is passed on.
fn is_trailing(command: &Command, positionals: usize) -> bool {
    command.get_positionals().nth(positionals).is_some_and(Arg::is_trailing_var_arg_set)
}

/// A word that begins with a dash or two.
struct Flag<'a> {
    name: &'a str,
    has_value: bool,
    /// It has one, and a name that wants two.
    lacks_a_dash: bool,
}

impl<'a> Flag<'a> {
    fn parse(word: &'a OsStr) -> Option<Self> {
        let text = word.as_bytes().strip_prefix(b"-")?;
        let dashed = text.strip_prefix(b"-");
        let text = dashed.unwrap_or(text);
        let end = text.iter().position(|byte| *byte == b'=');
        let name = text.get(..end.unwrap_or(text.len())).and_then(|name| std::str::from_utf8(name).ok())?;
        let lacks_a_dash = dashed.is_none() && name.chars().count() > 1;
        Some(Self { name, has_value: end.is_some(), lacks_a_dash })
    }

    fn names(&self, argument: &Arg) -> bool {
        let aliases = argument.get_all_aliases().unwrap_or_default();
        argument.get_long() == Some(self.name)
            || aliases.contains(&self.name)
            || argument.get_short().is_some_and(|letter| self.name.chars().eq([letter]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_flags_of_one_dash_get_another() {
        for (line, expected) in [
            ("p -root /a -debug state web", "p --root /a --debug state web"),
            ("p delete web -force=true", "p delete web --force=true"),
            ("p create -bundle=/b -b /c web", "p create --bundle=/b -b /c web"),
            ("p update --memory -1 -cpu-shares=2 web", "p update --memory -1 --cpu-shares=2 web"),
            ("p exec -tty -env -tty web sh -tty", "p exec --tty --env -tty web sh -tty"),
            ("p exec web -- -tty", "p exec web -- -tty"),
            ("p exec -td -cwd / web sh", "p exec -td --cwd / web sh"),
            ("p frobnicate -xyz -", "p frobnicate -xyz -"),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let done = with_two_dashes(&super::super::command(), &words);
            let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(done, expected, "{line}");
        }
    }
}
