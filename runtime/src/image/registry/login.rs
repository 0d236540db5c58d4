//! Logging in to a registry, and out again.
//!
//! Invariant: credentials are kept only when the registry has accepted them, or asks for none.

use std::path::Path;

use tokio::runtime::Builder;

use super::credentials::{self, Credentials};
use super::endpoint::{Ask, Endpoint};
use super::settings::{Access, split_mirror};
use super::transport::Transport;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::progress::Progress;

const ANSWER_MAX: u64 = 1024 * 1024;

/// The result of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The name under which the credentials are kept.
    pub name: String,
    /// Whether the registry checked them; an open one did not.
    pub checked: bool,
}

/// Shows `user` and `password` to the registry `name` (`host[:port][/path]`), and keeps them in the auth file `file`, or
/// in the helper that it names.
pub fn login(
    access: &Access,
    file: &Path,
    name: &str,
    user: &str,
    password: &str,
    progress: &dyn Progress,
) -> Result<Login> {
    let name = key(name)?;
    let given = Credentials::password(user, password)?;
    let runtime = Builder::new_current_thread().enable_all().build().context(|| "start the HTTP client")?;
    let transport = Transport::new(access, progress);
    let host = name.split('/').next().unwrap_or(&name);
    let checked = runtime
        .block_on(async {
            let registry = Endpoint::new(&transport, host, String::new(), Vec::new(), Some(given))?;
            let answer = registry.ask("", Ask::get("application/json")).await?;
            registry.read_small(answer, ANSWER_MAX).await?;
            Ok(registry.was_asked())
        })
        .map_err(|error: Error| error.with_kind(ErrorKind::Failed))?;
    credentials::keep(file, &name, user, password).map_err(|error| error.with_kind(ErrorKind::Failed))?;
    Ok(Login { name, checked })
}

/// Forgets the credentials for `name` in the auth file `file` and the helpers it names; whether there were any.
pub fn forget(file: &Path, name: &str) -> Result<bool> {
    credentials::forget(file, &key(name)?).map_err(|error| error.with_kind(ErrorKind::Failed))
}

/// Forgets all credentials in the auth file `file` and the helpers it names; the registries they were for.
pub fn forget_all(file: &Path) -> Result<Vec<String>> {
    credentials::forget_all(file).map_err(|error| error.with_kind(ErrorKind::Failed))
}

/// The registries that the auth file `file` has credentials for, as far as it says so itself; none if it cannot be read.
pub fn logins(file: &Path) -> Vec<String> {
    credentials::known(file)
}

/// The key of the credentials for the registry `name`.
fn key(name: &str) -> Result<String> {
    let plain = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let plain = plain.trim_end_matches('/');
    let Some((host, path)) = split_mirror(plain) else {
        let message = format!("registry {name:?}: is not host[:port][/path]");
        return Err(Error::new(ErrorKind::Usage, message));
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    // Docker's name for its registry is no path in it.
    let path = if host == "docker.io" && path == "v1" { "" } else { path };
    Ok(if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_one_name_however_it_is_called() {
        for (given, name) in [
            ("r.example", "r.example"),
            ("https://r.example/", "r.example"),
            ("r.example:5000/team", "r.example:5000/team"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(key(given).unwrap(), name);
        }
        for wrong in ["", "user@r.example", "r.example/../x", "ftp://r.example", "r.example?x", "r example"] {
            assert_eq!(key(wrong).unwrap_err().kind(), ErrorKind::Usage, "{wrong}");
        }
    }
}
