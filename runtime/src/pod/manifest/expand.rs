//! `$(NAME)` in env, command and args.
//!
//! Invariant: as Kubernetes: `$(NAME)` becomes the variable's value and `$$` a dollar; a reference to
//! nothing, an unclosed one and every other `$` stay as they are. A variable sees only those before it.

use super::types::Container;

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

/// Replaces every reference in a container's env, command and args.
pub fn expand_container(container: &Container) -> Expanded {
    let mut env: Vec<(String, String)> = Vec::new();
    for variable in &container.env {
        let value = expand(&variable.value, |name| lookup(&env, name));
        match env.iter_mut().find(|(name, _)| *name == variable.name) {
            Some(known) => known.1 = value,
            None => env.push((variable.name.clone(), value)),
        }
    }
    let all = |texts: &[String]| texts.iter().map(|text| expand(text, |name| lookup(&env, name))).collect();
    Expanded { command: all(&container.command), args: all(&container.args), env }
}

fn lookup<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Replaces every reference in `text` by what `lookup` says.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => expanded.push_str(value),
                None => {
                    expanded.push_str("$(");
                    expanded.push_str(name);
                    expanded.push(')');
                }
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::types::EnvVar;
    use super::*;

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
        let variable = |name: &str, value: &str| EnvVar { name: name.into(), value: value.into() };
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
        let expanded = expand_container(&container);
        let env = [("A", "1+"), ("B", "1$(C)"), ("C", "3")];
        assert_eq!(expanded.env, env.map(|(name, value)| (name.to_string(), value.to_string())));
        assert_eq!(expanded.command, ["echo", "1$(C)"]);
        assert_eq!(expanded.args, ["1+", "$(A)"]);
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
