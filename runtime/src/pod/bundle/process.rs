//! What a container runs: its arguments, its environment and where it starts.
//!
//! Invariant: Kubernetes' rules, by the letter. The image's variables are not seen by `$(NAME)`, a
//! later variable replaces an earlier one in its place, and no shell is involved anywhere.

use crate::error::{Error, Result};
use crate::image::ImageConfig;
use crate::pod::manifest::{Container, expand_container};

/// PATH where neither image nor manifest has one.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program and its arguments.
pub(super) fn args(container: &Container, image: &ImageConfig) -> Result<Vec<String>> {
    let expanded = expand_container(container);
    let mut args = match (container.command.is_empty(), container.args.is_empty()) {
        (true, true) => [&image.entrypoint[..], &image.cmd].concat(),
        (true, false) => image.entrypoint.clone(),
        (false, _) => expanded.command,
    };
    args.extend(expanded.args);
    if args.is_empty() {
        return Err(Error::failed("no command specified: neither the manifest nor the image names one"));
    }
    Ok(args)
}

/// The environment as `NAME=value`.
pub(super) fn env(
    container: &Container,
    image: &ImageConfig,
    hostname: &str,
    home: Option<&str>,
) -> Vec<String> {
    let mut env = Vec::with_capacity(image.env.len() + container.env.len() + 4);
    set(&mut env, DEFAULT_PATH.to_owned());
    set(&mut env, format!("HOSTNAME={hostname}"));
    if container.tty {
        set(&mut env, "TERM=xterm".to_owned());
    }
    for variable in &image.env {
        if variable.contains('=') && !variable.contains('\0') {
            set(&mut env, variable.clone());
        }
    }
    for (name, value) in expand_container(container).env {
        set(&mut env, format!("{name}={value}"));
    }
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={}", home.unwrap_or("/")));
    }
    env
}

/// Where the program starts.
pub(super) fn cwd<'a>(container: &'a Container, image: &'a ImageConfig) -> &'a str {
    let cwd = if container.working_dir.is_empty() { &image.working_dir } else { &container.working_dir };
    if cwd.is_empty() { "/" } else { cwd }
}

fn set(env: &mut Vec<String>, variable: String) {
    let name = variable.split_inclusive('=').next().unwrap_or_default();
    match env.iter_mut().find(|earlier| earlier.starts_with(name)) {
        Some(earlier) => *earlier = variable,
        None => env.push(variable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(value: serde_json::Value) -> Container {
        serde_json::from_value(value).unwrap()
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
        let of = |value| args(&container(value), &image()).unwrap();
        assert_eq!(of(json!({})), ["/entry", "default"]);
        assert_eq!(of(json!({"args": ["x"]})), ["/entry", "x"]);
        assert_eq!(of(json!({"command": ["c"]})), ["c"]);
        assert_eq!(of(json!({"command": ["c"], "args": ["x"]})), ["c", "x"]);
        assert!(args(&container(json!({})), &ImageConfig::default()).is_err());
    }

    #[test]
    fn variables_expand_from_the_manifest_only() {
        use serde_json::json;
        let env_ = json!([{"name": "B", "value": "$(A)$(LATE)"}, {"name": "A", "value": "1"}, {"name": "C", "value": "$(A)2"},
                          {"name": "LATE", "value": "l"}]);
        let container = container(json!({"env": env_, "command": ["$(C)", "$$(C)", "$(PATH)", "a$(A)"]}));
        assert_eq!(args(&container, &image()).unwrap(), ["12", "$(C)", "$(PATH)", "a1"]);
        let env = env(&container, &image(), "web", Some("/root"));
        assert_eq!(
            env,
            ["PATH=/image", "HOSTNAME=web", "A=1", "B=$(A)$(LATE)", "C=12", "LATE=l", "HOME=/root"]
        );
    }

    #[test]
    fn a_terminal_has_a_type_and_the_working_directory_is_the_images_unless_given() {
        use serde_json::json;
        let tty = container(json!({"tty": true, "workingDir": "/w"}));
        assert!(env(&tty, &ImageConfig::default(), "h", None).contains(&"TERM=xterm".to_owned()));
        assert_eq!(cwd(&tty, &image()), "/w");
        assert_eq!(cwd(&container(json!({})), &image()), "/srv");
        assert_eq!(cwd(&container(json!({})), &ImageConfig::default()), "/");
    }
}
