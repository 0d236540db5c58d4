//! `$(NAME)` in env, command and args.
//!
//! Invariant: as Kubernetes: `$(NAME)` becomes the variable's value and `$$` a dollar; an undefined reference,
//! an unclosed one and every other `$` stay as they are. A variable sees only the variables before it. Ten
//! references of ten bytes can expand to a hundred times as much, and each further level multiplies again by
//! ten: no string, and no sum of strings, grows beyond the limits of execve(2).

use std::collections::HashMap;

use super::types::Container;
use crate::pod::config::arguments::{Excess, Room, TOTAL_MAX};

/// A container's variables, program and arguments with every reference replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// Each variable once, in the order of first appearance, with the value that was given last.
    pub env: Vec<(String, String)>,
    /// The program, if the manifest has one.
    pub command: Vec<String>,
    /// The arguments, if the manifest has any.
    pub args: Vec<String>,
}

/// The text of a container that no program can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch {
    /// Its list: `env`, `command` or `args`.
    pub list: &'static str,
    /// Its place there.
    pub index: usize,
    /// The limit that it exceeds.
    pub why: Excess,
}

/// Expands every reference in a container's env, command and args. An intermediate value counts towards the
/// limits even if a later variable replaces it: it was allocated.
pub fn expand_container(container: &Container) -> Result<Expanded, TooMuch> {
    let mut room = Room::new(TOTAL_MAX);
    let mut env: Vec<(String, String)> = Vec::new();
    let mut places = HashMap::new();
    for (index, variable) in container.env.iter().enumerate() {
        // The kernel is given `NAME=value`.
        let beside = variable.name.len() + 1;
        let value = expand(&variable.value, beside, &mut room, |name| value_of(&env, &places, name))
            .map_err(|why| TooMuch { list: "env", index, why })?;
        match places.get(variable.name.as_str()) {
            Some(place) => env[*place].1 = value,
            None => {
                places.insert(variable.name.as_str(), env.len());
                env.push((variable.name.clone(), value));
            }
        }
    }
    let mut all = |list, texts: &[String]| {
        let expanded = texts.iter().enumerate().map(|(index, text)| {
            expand(text, 0, &mut room, |name| value_of(&env, &places, name)).map_err(|why| TooMuch {
                list,
                index,
                why,
            })
        });
        expanded.collect::<Result<_, _>>()
    };
    let (command, args) = (all("command", &container.command)?, all("args", &container.args)?);
    Ok(Expanded { command, args, env })
}

fn value_of<'a>(env: &'a [(String, String)], places: &HashMap<&str, usize>, name: &str) -> Option<&'a str> {
    places.get(name).map(|place| env[*place].1.as_str())
}

/// Expands every reference in `text` by `lookup`. The resulting string has room for execve(2)'s limit, less
/// `beside` bytes.
fn expand<'a>(
    text: &str,
    beside: usize,
    room: &mut Room,
    lookup: impl Fn(&str) -> Option<&'a str>,
) -> Result<String, Excess> {
    let (most, excess) = room.next();
    let mut expanded = String::new();
    let mut push = |piece: &str| match beside + expanded.len() + piece.len() <= most {
        true => {
            expanded.push_str(piece);
            Ok(())
        }
        false => Err(excess),
    };
    // Behind the last one no reference can close: looking for it again and again would take the square of the length.
    let last = text.rfind(')').unwrap_or(0);
    let mut at = 0;
    while let Some(before) = text[at..].find('$') {
        push(&text[at..at + before])?;
        at += before;
        let rest = &text[at + 1..];
        let closed =
            if at < last { rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) } else { None };
        at += match (rest.starts_with('$'), closed) {
            (true, _) => {
                push("$")?;
                "$$".len()
            }
            (false, Some((name, _))) => {
                let whole = "$()".len() + name.len();
                push(lookup(name).unwrap_or(&text[at..at + whole]))?;
                whole
            }
            (false, None) => {
                push("$")?;
                "$".len()
            }
        };
    }
    push(&text[at..])?;
    room.take(beside + expanded.len())?;
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::types::EnvVar;
    use super::*;
    use crate::pod::config::arguments::STRING_MAX;

    fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
        super::expand(text, 0, &mut Room::new(TOTAL_MAX), lookup).unwrap()
    }

    fn variable(name: &str, value: impl Into<String>) -> EnvVar {
        EnvVar { name: name.into(), value: value.into() }
    }

    #[test]
    fn follows_kubernetes_own_cases() {
        let lookup = |name: &str| match name {
            "VAR_A" => Some("A"),
            "VAR_B" => Some("B"),
            "VAR_REF" => Some("$(VAR_A)"),
            "VAR_EMPTY" => Some(""),
            _ => None,
        };
        for (text, expected) in [
            ("$(VAR_A)", "A"),
            ("___$(VAR_B)___", "___B___"),
            ("___$(VAR_A)", "___A"),
            ("$(VAR_A)___", "A___"),
            ("$(VAR_A)_$(VAR_A)", "A_A"),
            ("$$(VAR_B)_$(VAR_A)", "$(VAR_B)_A"),
            ("$$(VAR_A)_$$(VAR_B)", "$(VAR_A)_$(VAR_B)"),
            ("f000-$$VAR_A", "f000-$VAR_A"),
            ("foo\\$(VAR_C)bar", "foo\\$(VAR_C)bar"),
            ("foo\\\\$(VAR_B)bar", "foo\\\\Bbar"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("%%$(VAR_REF)--$(VAR_REF)%%", "%%$(VAR_A)--$(VAR_A)%%"),
            ("foo$(VAR_EMPTY)bar", "foobar"),
            ("foo$(VAR_Awhoops!", "foo$(VAR_Awhoops!"),
            ("f00__(VAR_A)__", "f00__(VAR_A)__"),
            ("$?_boo_$!", "$?_boo_$!"),
            ("$VAR_A", "$VAR_A"),
            ("${VAR_A}", "${VAR_A}"),
            ("$(VAR_C)", "$(VAR_C)"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$$$(BIG_MONEY)", "$$$(BIG_MONEY)"),
            ("$", "$"),
            ("$$", "$"),
            ("$()", "$()"),
            ("$($(VAR_A))", "$($(VAR_A))"),
            ("", ""),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }

    #[test]
    fn variables_see_earlier_ones_only() {
        let container = Container {
            env: vec![
                variable("A", "1"),
                variable("B", "$(A)$(C)"),
                variable("C", "3"),
                variable("A", "$(A)+"),
            ],
            command: vec!["echo".into(), "$(B)".into()],
            args: vec!["$(A)".into(), "$$(A)".into()],
            ..Container::default()
        };
        let expanded = expand_container(&container).unwrap();
        let env = [("A", "1+"), ("B", "1$(C)"), ("C", "3")];
        assert_eq!(expanded.env, env.map(|(name, value)| (name.to_string(), value.to_string())));
        assert_eq!(expanded.command, ["echo", "1$(C)"]);
        assert_eq!(expanded.args, ["1+", "$(A)"]);
    }

    fn excess(env: Vec<EnvVar>, args: Vec<String>) -> TooMuch {
        expand_container(&Container { env, args, ..Container::default() }).unwrap_err()
    }

    #[test]
    fn no_string_is_made_that_the_kernel_would_not_take() {
        // Ten times ten times ten: 762 bytes of it once were 360 MB.
        let mut env = vec![variable("E0", "x".repeat(36))];
        env.extend(
            (1..8).map(|level| variable(&format!("E{level}"), format!("$(E{})", level - 1).repeat(10))),
        );
        assert_eq!(excess(env, Vec::new()), TooMuch { list: "env", index: 4, why: Excess::String });
        let full = "x".repeat(STRING_MAX - "A=".len());
        let env = vec![variable("A", full.clone())];
        let container = Container { env: env.clone(), args: vec!["$(A)xx".into()], ..Container::default() };
        assert_eq!(expand_container(&container).unwrap().args[0].len(), STRING_MAX);
        assert_eq!(
            excess(env, vec!["$(A)xxx".into()]),
            TooMuch { list: "args", index: 0, why: Excess::String }
        );
        let why = Excess::String;
        assert_eq!(
            excess(vec![variable("A", full + "x")], Vec::new()),
            TooMuch { list: "env", index: 0, why }
        );
        let name = "N".repeat(STRING_MAX);
        assert_eq!(excess(vec![variable(&name, "")], Vec::new()), TooMuch { list: "env", index: 0, why });
    }

    #[test]
    fn not_more_is_made_in_all_than_the_kernel_would_take() {
        let big = || variable("A", "x".repeat(100_000));
        let total = Excess::Total(TOTAL_MAX);
        let more = excess(vec![big()], vec!["$(A)".into(); 100]);
        assert_eq!(more, TooMuch { list: "args", index: 61, why: total });
        // A value counts once it was built, even if it is replaced later.
        let replaced =
            std::iter::once(big()).chain(std::iter::repeat_n(variable("B", "$(A)"), 100)).collect();
        assert_eq!(excess(replaced, Vec::new()), TooMuch { list: "env", index: 62, why: total });
        // Nothing has a pointer, too.
        assert_eq!(excess(Vec::new(), vec![String::new(); 700_000]).why, total);
    }

    proptest! {
        #[test]
        fn doubled_dollars_come_out_as_they_went_in(text in "[a-z$(){}]{0,40}") {
            prop_assert_eq!(expand(&text.replace('$', "$$"), |_| Some("x")), text);
        }

        #[test]
        fn without_variables_only_doubled_dollars_change(text in "[a-z(){}]{0,20}[$]?[a-z(){}]{0,20}") {
            prop_assert_eq!(expand(&text, |_| None), text);
        }
    }
}
