//! Docker's credential helpers: programs `docker-credential-<name>` that keep credentials elsewhere.
//!
//! Invariant: a helper is a program on the search path, never a path; a secret goes to it by its standard
//! input, and its output is not repeated unless it reports a failure.

use std::io::{ErrorKind as IoErrorKind, Write};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use crate::error::{Context, Error, ErrorKind, Result, shown};
use crate::sys::process::descriptors;

/// A helper's message when it has no credentials (docker-credential-helpers,
/// `credentials.errCredentialsNotFound`).
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// The user name and the secret that the helper `name` has for `server`.
pub(super) fn get(name: &str, server: &str) -> Result<Option<(String, String)>> {
    let Some(output) = run(name, "get", server.as_bytes())? else { return Ok(None) };
    // The parser's own words could quote the secret.
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| {
        Error::new(ErrorKind::Image, format!("docker-credential-{name} get: its answer cannot be read"))
    })?;
    Ok(Some((answer.username, answer.secret)))
}

/// Gives a user name and a secret to the helper.
pub(super) fn store(name: &str, server: &str, user: &str, secret: &str) -> Result<()> {
    let entry = json!({ "ServerURL": server, "Username": user, "Secret": secret });
    run(name, "store", entry.to_string().as_bytes()).map(drop)
}

/// Lets the helper forget `server`; whether it knew it.
pub(super) fn erase(name: &str, server: &str) -> Result<bool> {
    // Some helpers are silent about unknown credentials.
    let known = run(name, "get", server.as_bytes())?.is_some();
    Ok(known && run(name, "erase", server.as_bytes())?.is_some())
}

/// The servers that the helper knows.
pub(super) fn list(name: &str) -> Result<Vec<String>> {
    let Some(output) = run(name, "list", b"")? else { return Ok(Vec::new()) };
    let known: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&output).map_err(|_| {
            Error::new(ErrorKind::Failed, format!("docker-credential-{name} list: its answer cannot be read"))
        })?;
    Ok(known.into_iter().map(|(server, _)| server).collect())
}

/// Runs the helper to its end; nothing where it has none.
fn run(name: &str, verb: &str, input: &[u8]) -> Result<Option<Vec<u8>>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Error::new(
            ErrorKind::Image,
            format!("credential helper {name:?}: is no program's name"),
        ));
    }
    let program = format!("docker-credential-{name}");
    let mut command = Command::new(&program);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = descriptors::with_callers_limit(&mut command).spawn();
    let mut child = match child {
        Err(error) if error.kind() == IoErrorKind::NotFound => {
            return Err(Error::new(ErrorKind::Image, format!("{program}: no such program")).hint(
                "an auth file names it in credHelpers or credsStore; install it, or take it out there",
            ));
        }
        child => child.context(|| &program)?,
    };
    let mut stdin = child.stdin.take().expect("stdin was asked to be a pipe");
    // One that ends without reading says why on its own.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().context(|| &program)?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    if out == NOT_FOUND || err == NOT_FOUND {
        return Ok(None);
    }
    let why =
        [out, err].into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| output.status.to_string());
    Err(Error::new(ErrorKind::Image, format!("{program} {verb}: {}", shown(&why))))
}
