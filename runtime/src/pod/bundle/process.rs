//! A container's program: its arguments, its environment and its working directory.
//!
//! Invariant: a later variable replaces an earlier one in its place, and no shell is involved. Arguments that
//! execve(2) would refuse are refused here, by name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::{Error, ErrorKind, Result, quoted};
use crate::image::ImageConfig;
use crate::pod::config::ProcessConfig;
use crate::sys::child::arguments::{Excess, Room, total_max};

/// PATH where neither image nor manifest has one.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The arguments of execve(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// The program and its arguments.
    pub(super) args: Vec<String>,
    /// The environment as `NAME=value`.
    pub(super) env: Vec<String>,
}

/// A container's program; `stack` is its stack limit. The engine finds an absent HOME, in the container's own
/// passwd.
pub(super) fn program(
    process: &ProcessConfig,
    image: &ImageConfig,
    hostname: &str,
    stack: u64,
) -> Result<Program> {
    let mut args = match (process.command.is_empty(), process.args.is_empty()) {
        (true, true) => [&image.entrypoint[..], &image.cmd].concat(),
        (true, false) => image.entrypoint.clone(),
        (false, _) => process.command.clone(),
    };
    args.extend_from_slice(&process.args);
    if args.is_empty() {
        return Err(Error::failed("no command specified: neither the manifest nor the image names one"));
    }
    let program = Program { args, env: env(process, image, hostname) };
    fits(&program, total_max(stack))?;
    Ok(program)
}

fn env(process: &ProcessConfig, image: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut env = Environment::default();
    env.set(DEFAULT_PATH.to_owned());
    env.set(format!("HOSTNAME={hostname}"));
    if process.terminal {
        env.set("TERM=xterm".to_owned());
    }
    for variable in &image.env {
        if variable.contains('=') && !variable.contains('\0') {
            env.set(variable.clone());
        }
    }
    for (name, value) in &process.env {
        env.set(format!("{name}={value}"));
    }
    env.variables
}

/// Variables in the order in which each was set first.
#[derive(Debug, Default)]
struct Environment {
    variables: Vec<String>,
    places: HashMap<String, usize>,
}

impl Environment {
    /// Sets `variable`, which is `NAME=value`.
    fn set(&mut self, variable: String) {
        match self.places.entry(name(&variable).to_owned()) {
            Entry::Occupied(place) => self.variables[*place.get()] = variable,
            Entry::Vacant(free) => {
                free.insert(self.variables.len());
                self.variables.push(variable);
            }
        }
    }
}

/// The name of a `NAME=value`.
fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

/// Refuses a program that execve(2) would refuse.
fn fits(program: &Program, most: usize) -> Result<()> {
    let mut room = Room::new(most);
    let mut take = |what: &dyn Fn() -> String, text: &str| {
        room.take(text.len()).map_err(|why| match why {
            Excess::String => refused(format!("{}: {why}", what())),
            Excess::Total(_) => refused(format!("{}: {why}", what())).hint(
                "it is a quarter of the stack's limit, and at most 6 MiB: `ulimit -s` of whoever creates the pod",
            ),
        })
    };
    for (index, text) in program.args.iter().enumerate() {
        take(&|| format!("argument {index} of the program"), text)?;
    }
    for text in &program.env {
        take(&|| format!("variable {}", quoted(name(text))), text)?;
    }
    Ok(())
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Manifest, message)
}

/// Where the program starts.
pub(super) fn cwd<'a>(process: &'a ProcessConfig, image: &'a ImageConfig) -> &'a str {
    let cwd = if process.cwd.is_empty() { &image.working_dir } else { &process.cwd };
    if cwd.is_empty() { "/" } else { cwd }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Container, Pod, container_config};

    fn container(value: serde_json::Value) -> Container {
        serde_json::from_value(value).unwrap()
    }

    fn process(container: &Container) -> Result<ProcessConfig> {
        let facts = crate::pod::Facts::default();
        container_config(&Pod::default(), container, 0, &facts).map(|config| config.process)
    }

    const STACK: u64 = 8 << 20;

    fn of(container: &Container, image: &ImageConfig) -> Result<Program> {
        program(&process(container)?, image, "web", STACK)
    }

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["default".into()],
            env: vec!["PATH=/image".into(), "A=image".into(), "noequals".into()],
            working_dir: "/srv".into(),
            ..ImageConfig::default()
        }
    }

    #[test]
    fn command_and_args_replace_entrypoint_and_cmd() {
        use serde_json::json;
        let of = |value| of(&container(value), &image()).unwrap().args;
        assert_eq!(of(json!({})), ["/entry", "default"]);
        assert_eq!(of(json!({"args": ["x"]})), ["/entry", "x"]);
        assert_eq!(of(json!({"command": ["c"]})), ["c"]);
        assert_eq!(of(json!({"command": ["c"], "args": ["x"]})), ["c", "x"]);
        assert!(super::program(&ProcessConfig::default(), &ImageConfig::default(), "web", STACK).is_err());
    }

    #[test]
    fn variables_expand_from_the_manifest_only() {
        use serde_json::json;
        let env_ = json!([{"name": "B", "value": "$(A)$(LATE)"}, {"name": "A", "value": "1"}, {"name": "C", "value": "$(A)2"},
                          {"name": "LATE", "value": "l"}]);
        let container = container(json!({"env": env_, "command": ["$(C)", "$$(C)", "$(PATH)", "a$(A)"]}));
        let program = of(&container, &image()).unwrap();
        assert_eq!(program.args, ["12", "$(C)", "$(PATH)", "a1"]);
        assert_eq!(program.env, ["PATH=/image", "HOSTNAME=web", "A=1", "B=$(A)$(LATE)", "C=12", "LATE=l"]);
    }

    #[test]
    fn a_terminal_has_a_type_and_the_working_directory_is_the_images_unless_given() {
        use serde_json::json;
        let tty = container(json!({"tty": true, "workingDir": "/w"}));
        assert!(of(&tty, &image()).unwrap().env.contains(&"TERM=xterm".to_owned()));
        assert_eq!(cwd(&process(&tty).unwrap(), &image()), "/w");
        assert_eq!(cwd(&ProcessConfig::default(), &image()), "/srv");
        assert_eq!(cwd(&ProcessConfig::default(), &ImageConfig::default()), "/");
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused_by_name() {
        use serde_json::json;
        let said = |own: serde_json::Value, image: &ImageConfig| {
            let error = of(&container(own), image).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Manifest);
            error.message().to_owned()
        };
        // The manifest's part alone is too long, at its tenth level.
        let nested: Vec<_> = (0..7)
            .map(|level| match level {
                0 => json!({"name": "E0", "value": "x".repeat(36)}),
                _ => json!({"name": format!("E{level}"), "value": format!("$(E{})", level - 1).repeat(10)}),
            })
            .collect();
        let long = said(json!({ "env": nested }), &image());
        assert!(long.starts_with("env[4] (\"E4\"): longer than the 131071 bytes"), "{long}");
        let long = said(json!({"args": ["x".repeat(131_072)]}), &image());
        assert!(long.starts_with("args[0]: longer than the 131071 bytes"), "{long}");
        // Neither of both is too much, both are: 2 MiB is a quarter of a stack of 8.
        let half =
            |letter: &'static str| (0..10).map(move |at| format!("{letter}{at}={}", "x".repeat(120_000)));
        let image = ImageConfig { env: half("I").collect(), ..image() };
        let own: Vec<_> = half("M")
            .map(|text| json!({"name": name(&text), "value": text.split_once('=').unwrap().1}))
            .collect();
        of(&container(json!({})), &image).unwrap();
        of(&container(json!({ "env": own.clone() })), &self::image()).unwrap();
        let long = said(json!({ "env": own }), &image);
        assert!(long.starts_with("variable \"M7\"") && long.contains("2097152"), "{long}");
    }

    #[test]
    fn of_many_variables_each_is_found() {
        let env = (0..100_000).map(|number| format!("V{}={number}", number % 50_000)).collect();
        let image = ImageConfig { env, ..image() };
        let program = super::program(&ProcessConfig::default(), &image, "web", u64::MAX).unwrap();
        assert_eq!(program.env.len(), 50_002);
        assert_eq!(program.env[2], "V0=50000");
    }
}
