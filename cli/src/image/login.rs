//! `podrun login`: credentials for a registry, checked and kept.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgAction;
use runtime::host::Host;
use runtime::{Error, ErrorKind, Result};

use super::progress::Shown;
use super::registries;
use crate::context::Context;
use crate::output;

/// The longest line that can be a password.
const LINE_MAX: u64 = 64 * 1024;

/// Log in to a registry
///
/// Shows a user name and a password to the registry, and keeps them where podman, skopeo and buildah look, too: in
/// $REGISTRY_AUTH_FILE, else $XDG_RUNTIME_DIR/containers/auth.json, else /run/containers/0/auth.json. What Docker keeps in
/// ~/.docker/config.json is read when pulling, and not changed. Without -p and --password-stdin the password is
/// asked for on the terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  podrun login registry.lan:5000 -u me
  podrun login quay.io/org -u me --password-stdin <token
  podrun login docker.io")]
pub(crate) struct Args {
    /// The registry, or a part of it: credentials for the longest match count
    #[arg(value_name = "REGISTRY[/PATH]")]
    registry: String,
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password. Others on this host can see it while podrun runs, and the shell remembers it
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The file that keeps logins
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    authfile: Option<PathBuf>,
    /// false: do not check the registry's certificate, and take plain HTTP where there is no TLS
    #[arg(long, value_name = "true|false", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", hide_default_value = true, hide_possible_values = true)]
    tls_verify: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let user = match &args.username {
        Some(user) => user.clone(),
        None if args.password_stdin => {
            return Err(usage("--password-stdin needs a user name").hint("give it by --username"));
        }
        None => asked_user()?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => piped()?,
        None => asked_password()?,
    };
    let access =
        runtime::image::Access { skip_verify: !args.tls_verify, ..registries::access(&context.config) };
    let file = args.authfile.clone().unwrap_or_else(registries::login_file);
    let shown = Shown::new(false);
    let login = runtime::image::login(&access, &file, &args.registry, &user, &password, &shown)?;
    if !login.checked {
        output::note(format_args!(
            "warning: registry {} asks nobody for credentials: they were not checked",
            login.name
        ));
    }
    output::note(format_args!("the login is kept in {}", file.display()));
    output::line(format_args!("logged in to {}", login.name))?;
    Ok(ExitCode::SUCCESS)
}

fn usage(what: &str) -> Error {
    Error::new(ErrorKind::Usage, what)
}

fn asked_user() -> Result<String> {
    if !output::stdin_is_terminal() {
        return Err(
            usage("standard input is no terminal to ask for a user name").hint("give it by --username")
        );
    }
    output::prompt("Username: ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(Error::from)?;
    Ok(line.trim().to_owned())
}

fn asked_password() -> Result<String> {
    if output::stdin_is_terminal() {
        output::prompt("Password: ");
    }
    let line = Host::read_unseen_line();
    let no_terminal = matches!(line, Ok(None));
    if !no_terminal {
        output::note("");
    }
    line?.ok_or_else(|| {
        usage("standard input is no terminal to ask for a password").hint("give it by --password-stdin")
    })
}

/// The one line on standard input, without its end.
fn piped() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(LINE_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Error::from(error).context("standard input"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
