//! Credentials: where podman and Docker keep them, and how they are found, kept and forgotten.
//!
//! Invariant: credentials are found by the registry's name and never by a part of it; they never stand in an error; a
//! file that holds them is replaced whole, readable by its owner alone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::auth::{decode, encode};
use super::helper;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::lock;
use crate::sys::file::own;

/// The key under which Docker keeps the credentials of its own registry.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// An auth file larger than this is none.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// A client's identity to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password, for basic authentication or for a token server.
    Password {
        /// The user's name, without a colon.
        user: String,
        /// The password, or a token that stands for it.
        password: String,
    },
    /// A refresh token, which the token server changes into tokens for one use (`identitytoken`).
    Identity(String),
    /// A token that the registry itself takes (`registrytoken`).
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::Identity(_) => "Identity(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

impl Credentials {
    /// A name and a password as basic authentication can carry them (RFC 7617, section 2).
    pub fn password(user: &str, password: &str) -> Result<Self> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Usage, format!("credentials: {what}")));
        if user.is_empty() || user.contains(':') {
            return wrong("a user name is not empty and has no colon");
        }
        if password.is_empty() {
            return wrong("the password is empty");
        }
        if user.chars().chain(password.chars()).any(char::is_control) {
            return wrong("control characters cannot stand in a user name or a password");
        }
        Ok(Self::Password { user: user.to_owned(), password: password.to_owned() })
    }

    /// The answer of a helper: Docker's marks an identity token by this name.
    fn from_helper(user: String, secret: String) -> Self {
        if user == "<token>" { Self::Identity(secret) } else { Self::Password { user, password: secret } }
    }
}

/// The credentials for `name` (a registry, or a repository in it) in the first of `files` that has them; a file that is
/// not there is none.
pub(super) fn find(files: &[PathBuf], name: &str) -> Result<Option<Credentials>> {
    for path in files {
        let Some(file) = read(path)? else { continue };
        if let Some(found) = find_in(&file, path, name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_in(file: &Map<String, Value>, path: &Path, name: &str) -> Result<Option<Credentials>> {
    for key in keys(name) {
        if let Some(helper) = helper_of(file, &key) {
            let found = helper::get(helper, &server_url(&key))?;
            if let Some((user, secret)) = found {
                return Ok(Some(Credentials::from_helper(user, secret)));
            }
        }
        if let Some(entry) = entry(file, &key).filter(|entry| !is_empty(entry)) {
            return read_entry(entry).map(Some).ok_or_else(|| {
                Error::new(ErrorKind::Image, format!("{}: the entry of {key} is broken", path.display()))
            });
        }
    }
    let Some(store) = file.get("credsStore").and_then(Value::as_str).filter(|store| !store.is_empty()) else {
        return Ok(None);
    };
    let found = helper::get(store, &server_url(host_of(name)))?;
    Ok(found.map(|(user, secret)| Credentials::from_helper(user, secret)))
}

/// The keys under which the credentials for `name` may stand, the nearest first: the repository, its parents,
/// the registry.
fn keys(name: &str) -> Vec<String> {
    let mut keys = vec![name.to_owned()];
    let mut rest = name;
    while let Some((above, _)) = rest.rsplit_once('/') {
        keys.push(above.to_owned());
        rest = above;
    }
    if HUB_HOSTS.contains(&rest) {
        keys.extend(HUB_HOSTS.iter().filter(|host| **host != rest).map(|host| (*host).to_owned()));
    }
    keys
}

fn host_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// The server's name for Docker's helpers, of `key`.
fn server_url(key: &str) -> String {
    if HUB_HOSTS.contains(&key) { DOCKER_HUB_KEY.to_owned() } else { key.to_owned() }
}

fn helper_of<'a>(file: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let helpers = file.get("credHelpers")?.as_object()?;
    let found = helpers
        .get(key)
        .or_else(|| helpers.iter().find(|(other, _)| plain_key(other) == key).map(|(_, v)| v));
    found?.as_str().filter(|helper| !helper.is_empty())
}

fn entry<'a>(file: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let auths = file.get("auths")?.as_object()?;
    auths.get(key).or_else(|| auths.iter().find(|(other, _)| plain_key(other) == key).map(|(_, value)| value))
}

/// A key as Docker once wrote it, with a scheme and a version of the API, without them.
fn plain_key(key: &str) -> &str {
    let Some((_, rest)) = key.split_once("://") else { return key };
    host_of(rest)
}

/// Docker leaves an empty entry for credentials in a helper.
fn is_empty(entry: &Value) -> bool {
    entry.as_object().is_none_or(|entry| {
        entry.values().all(|value| value.is_null() || value.as_str().is_some_and(str::is_empty))
    })
}

fn read_entry(entry: &Value) -> Option<Credentials> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Credentials::Identity(token.to_owned()));
    }
    if let Some(token) = text("registrytoken") {
        return Some(Credentials::Bearer(token.to_owned()));
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() });
    }
    let plain = String::from_utf8(decode(text("auth")?)?).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some(Credentials::Password {
        user: user.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    })
}

fn read(path: &Path) -> Result<Option<Map<String, Value>>> {
    let text = match fs::metadata(path) {
        Ok(about) if about.len() > FILE_MAX => Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    match text {
        Ok(text) if text.trim_ascii().is_empty() => Ok(None),
        // The parser's own words could quote the file.
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|_| Error::new(ErrorKind::Image, format!("{}: is no auth file", path.display()))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(Error::from(error).context(path.display())),
    }
}

/// Keeps a name and a password for `key` in the auth file `path`, or in the helper that it names.
pub(super) fn keep(path: &Path, key: &str, user: &str, password: &str) -> Result<()> {
    change(path, |file| {
        if let Some(helper) = helper_of(file, key).or_else(|| file.get("credsStore").and_then(Value::as_str))
        {
            return helper::store(helper, &server_url(key), user, password).map(|()| false);
        }
        let auths = file.entry("auths").or_insert(Value::Null);
        if auths.is_null() {
            *auths = json!({});
        }
        let Some(auths) = auths.as_object_mut() else {
            return Err(Error::new(ErrorKind::Failed, "its `auths` is no object"));
        };
        auths.insert(key.to_owned(), json!({ "auth": encode(format!("{user}:{password}").as_bytes()) }));
        Ok(true)
    })
}

/// Removes the credentials for `key` from the auth file `path`, or from its helpers; returns whether there were
/// any.
pub(super) fn forget(path: &Path, key: &str) -> Result<bool> {
    let mut found = false;
    change(path, |file| {
        if let Some(helper) = helper_of(file, key).or_else(|| file.get("credsStore").and_then(Value::as_str))
        {
            found |= helper::erase(helper, &server_url(key))?;
        }
        let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) else { return Ok(false) };
        let before = auths.len();
        auths.retain(|other, _| other != key && !(other.contains("://") && plain_key(other) == key));
        found |= auths.len() < before;
        Ok(auths.len() < before)
    })?;
    Ok(found)
}

/// Forgets everything that the auth file `path` and the helpers it names hold; the registries that were there.
pub(super) fn forget_all(path: &Path) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    change(path, |file| {
        let helpers = file.get("credHelpers").and_then(Value::as_object).cloned().unwrap_or_default();
        for (key, helper) in &helpers {
            if let Some(helper) = helper.as_str()
                && helper::erase(helper, &server_url(key))?
            {
                gone.push(key.clone());
            }
        }
        if let Some(store) = file.get("credsStore").and_then(Value::as_str) {
            for server in helper::list(store)? {
                helper::erase(store, &server)?;
                gone.push(server);
            }
        }
        let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) else { return Ok(false) };
        gone.extend(auths.keys().cloned());
        let changed = !auths.is_empty();
        auths.clear();
        Ok(changed)
    })?;
    gone.sort();
    gone.dedup();
    Ok(gone)
}

/// The registries that the auth file at `path` names, itself or as a helper's; none where it cannot be read.
pub(super) fn known(path: &Path) -> Vec<String> {
    let file: Value =
        fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let named = ["auths", "credHelpers"].into_iter().filter_map(|field| file.get(field)?.as_object());
    named.flat_map(Map::keys).cloned().collect()
}

/// Reads the auth file, lets `edit` change it, and replaces it if asked to. Foreign members stay; concurrent
/// changes come one after the other.
fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>) -> Result<bool>) -> Result<()> {
    // A link to the file stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .context(|| format!("mkdir {}", dir.display()))?;
    let lock = File::open(dir).context(|| dir.display())?;
    lock::take(&lock, dir, lock::BRIEF)?;
    let mut file = read(&path)?.unwrap_or_default();
    if !edit(&mut file).map_err(|error| error.context(path.display()))? {
        return Ok(());
    }
    let mut text = serde_json::to_vec_pretty(&file).expect("JSON that was read can be written");
    text.push(b'\n');
    let temp = dir.join(format!(".auth-{}", std::process::id()));
    own::replace_by(&temp, &path, &text, own::SECRET, own::Outlives::Power)
        .context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn shown(found: Option<Credentials>) -> Option<String> {
        found.map(|found| match found {
            Credentials::Password { user, password } => format!("{user} {password}"),
            Credentials::Identity(token) => format!("identity {token}"),
            Credentials::Bearer(token) => format!("bearer {token}"),
        })
    }

    #[test]
    fn the_nearest_entry_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let auth = |pair: &str| json!({ "auth": encode(pair.as_bytes()) });
        let text = json!({ "auths": {
            "r.example": auth("a:1"), "r.example/team": auth("b:2:3"), DOCKER_HUB_KEY: auth("c:4"),
            "https://old.example/v2/": auth("d:5"), "i.example": { "auth": "", "identitytoken": "t" },
            "b.example": { "registrytoken": "u" }, "empty.example": {}, "null.example": { "auth": null }, "broken.example": { "auth": "!!" },
        }});
        fs::write(&path, text.to_string()).unwrap();
        let files = [dir.path().join("none"), path.clone()];
        let find = |name: &str| shown(find(&files, name).unwrap());
        assert_eq!(find("r.example/x").as_deref(), Some("a 1"));
        assert_eq!(find("r.example/team/x").as_deref(), Some("b 2:3"));
        assert_eq!(find("docker.io/library/busybox").as_deref(), Some("c 4"));
        assert_eq!(find("old.example/x").as_deref(), Some("d 5"));
        assert_eq!(find("i.example/x").as_deref(), Some("identity t"));
        assert_eq!(find("b.example").as_deref(), Some("bearer u"));
        for none in [
            "r.example.org/x",
            "example/x",
            "empty.example/x",
            "null.example/x",
            "r.example:5000/x",
            "team/x",
        ] {
            assert_eq!(find(none), None, "{none}");
        }
        let broken = super::find(&files, "broken.example/x").unwrap_err();
        assert!(broken.message().contains("broken.example") && !broken.message().contains("!!"), "{broken}");
    }

    #[test]
    fn keeping_and_forgetting_leave_the_rest_of_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/auth.json");
        keep(&path, "r.example", "u", "p:w").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        file["HttpHeaders"] = json!({ "X": "y" });
        fs::write(&path, file.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        keep(&path, "r.example/team", "v", "q").unwrap();
        assert_eq!(mode(&path), 0o600);
        let files = [path.clone()];
        assert_eq!(shown(find(&files, "r.example/team/x").unwrap()).as_deref(), Some("v q"));
        assert!(forget(&path, "r.example/team").unwrap());
        assert!(!forget(&path, "r.example/team").unwrap());
        assert_eq!(shown(find(&files, "r.example/team/x").unwrap()).as_deref(), Some("u p:w"));
        assert_eq!(forget_all(&path).unwrap(), ["r.example"]);
        let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(file, json!({ "auths": {}, "HttpHeaders": { "X": "y" } }));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn credentials_go_into_a_file_that_has_null_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        fs::write(&path, r#"{"auths":null,"credHelpers":null,"credsStore":null}"#).unwrap();
        assert_eq!(shown(find(std::slice::from_ref(&path), "r.example").unwrap()), None);
        keep(&path, "r.example", "u", "p").unwrap();
        assert_eq!(shown(find(&[path], "r.example").unwrap()).as_deref(), Some("u p"));
    }

    #[test]
    fn what_basic_authentication_cannot_carry_is_refused() {
        assert!(Credentials::password("user", "pass:word ä").is_ok());
        for (user, password) in [("", "p"), ("u", ""), ("a:b", "p"), ("u", "p\n"), ("u\u{1b}", "p")] {
            assert!(Credentials::password(user, password).is_err(), "{user:?} {password:?}");
        }
        let shown = format!("{:?}", Credentials::password("user", "secret").unwrap());
        assert!(!shown.contains("secret") && !shown.contains("user"), "{shown}");
    }
}
