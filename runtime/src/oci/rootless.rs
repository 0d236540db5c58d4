//! A plain user's containers. podrun goes on in a user namespace in which the user's ids map to themselves and
//! it has every capability; from there a container is made as root makes one, in a user namespace of its own.
//!
//! Invariant: only the lack of a cgroup is forgiven, and only where none is needed: a limit without effect, or
//! a container that could not be ended, is refused.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use serde_json::{Value, json};

use super::{Container, config, store};
use crate::cgroup::Cgroup;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::child::creds;
use crate::sys::process::userns;

/// Whether the caller is a user without root's rights, or root of a user namespace of its own.
pub fn is_plain_user() -> bool {
    creds::is_plain_user()
}

/// Where the caller's containers are kept unless `--root` says otherwise; `runtime_dir` is XDG_RUNTIME_DIR.
pub fn default_root(runtime_dir: Option<PathBuf>) -> PathBuf {
    match creds::effective_uid() {
        0 => PathBuf::from(super::DEFAULT_ROOT),
        uid => runtime_dir.unwrap_or_else(|| PathBuf::from(format!("/run/user/{uid}"))).join("podrun"),
    }
}

/// Goes on in a user namespace for the container that `bundle` describes, if the caller is a plain user. The
/// caller's process has one thread.
pub fn enter_new(bundle: &Path) -> Result<()> {
    if !creds::is_plain_user() {
        return Ok(());
    }
    let spec = config::load(bundle)?.spec;
    if !config::has_own(&spec, LinuxNamespaceType::User) {
        return Err(Error::new(
            ErrorKind::Usage,
            "linux.namespaces: a plain user's container needs a user namespace of its own",
        )
        .hint("`podrun oci spec --rootless` writes a config that has one"));
    }
    let linux = spec.linux().as_ref();
    let uids = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
    let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
    let uids = Ids::of(creds::effective_uid(), uids);
    let gids = Ids::of(creds::effective_gid(), gids);
    let space = userns::made(|pid| {
        if gids.others.is_empty() {
            // Without it a user cannot map their own group (user_namespaces(7)).
            write(pid, "setgroups", "deny")?;
        }
        uids.map(pid, "uid_map", "newuidmap")?;
        gids.map(pid, "gid_map", "newgidmap")
    })?;
    Ok(userns::enter(space.as_fd())?)
}

impl Container {
    /// Goes on in the user namespace in which the container was made, if the caller is a plain user. The verb
    /// reports a container that does not run.
    pub fn enter_user_namespace(&self) -> Result<()> {
        if !creds::is_plain_user() {
            return Ok(());
        }
        let Some(init) = store::read(self)?.and_then(|record| record.init) else { return Ok(()) };
        let own = userns::of_process(init.pid);
        if !init.is_same() {
            return Ok(());
        }
        let outer = userns::parent_of(own?.as_fd())?;
        userns::enter(outer.as_fd()).context(|| format!("the user namespace of container `{}`", self.id()))
    }
}

/// The ids that a plain user's namespace maps to themselves.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    own: u32,
    /// First and count of each range beside it, which are the user's by /etc/subuid or /etc/subgid.
    others: Vec<(u32, u32)>,
}

impl Ids {
    /// The ids in a container's `mappings`, and the user's own.
    fn of(own: u32, mappings: &[LinuxIdMapping]) -> Self {
        let ranges = mappings.iter().map(|one| (one.host_id(), one.size()));
        Self { own, others: ranges.filter(|range| *range != (own, 1) && range.1 > 0).collect() }
    }

    fn map(&self, pid: i32, file: &str, program: &str) -> Result<()> {
        let own = self.own.to_string();
        if self.others.is_empty() {
            return write(pid, file, &format!("{own} {own} 1"));
        }
        let mut arguments = vec![pid.to_string(), own.clone(), own, "1".to_owned()];
        for (first, count) in &self.others {
            arguments.extend([first.to_string(), first.to_string(), count.to_string()]);
        }
        let said = Command::new(program).args(&arguments).output().map_err(|error| {
            Error::from(error)
                .context(program)
                .with_kind(ErrorKind::Unsupported)
                .hint("ids beside the user's own are mapped by it: install the package uidmap")
        })?;
        match said.status.success() {
            true => Ok(()),
            false => {
                let why = String::from_utf8_lossy(&said.stderr).trim().replace('\n', "; ");
                Err(Error::failed(why)
                    .hint("the ids that linux.uidMappings and linux.gidMappings name on the host are the user's own, and those that /etc/subuid and /etc/subgid give the user"))
            }
        }
    }
}

fn write(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::write(&path, text).context(|| format!("write({path:?}, {text:?})"))
}

/// Decides about a container whose cgroup could not be made because of `error`: it goes without one where that
/// is forgiven. `rootless` is the value of `--rootless`; absent: forgiven to every user but the machine's root.
pub(super) fn without_cgroup(
    spec: &Spec,
    wanted: &Cgroup,
    rootless: Option<bool>,
    error: Error,
    warnings: &mut Vec<String>,
) -> Result<Cgroup> {
    let forgiven = rootless.unwrap_or_else(|| creds::effective_uid() != 0 || !userns::is_initial());
    if !forgiven || wanted.may_be_made() {
        return Err(error);
    }
    let linux = spec.linux().as_ref();
    if linux.is_some_and(|linux| linux.cgroups_path().is_some()) {
        return Err(error
            .context("linux.cgroupsPath")
            .hint("leave it out, or name one below a cgroup that is yours"));
    }
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let resources = serde_json::to_value(resources).map_err(|error| Error::failed(error.to_string()))?;
    let asked = resources.as_object().into_iter().flatten().filter(|(_, value)| is_something(value));
    for (field, _) in asked {
        if field == "devices" {
            warnings.push(
                "linux.resources.devices: the container has no cgroup; in its user namespace no device can be made"
                    .to_owned(),
            );
            continue;
        }
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("linux.resources.{field}: a limit needs a cgroup, and you have no right to one"),
        )
        .hint("name one that is yours in linux.cgroupsPath, or leave the limit out"));
    }
    if !config::has_own(spec, LinuxNamespaceType::Pid) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "linux.namespaces: without a cgroup a container needs a pid namespace of its own, by which it is ended",
        ));
    }
    Ok(Cgroup::none())
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => fields.values().any(is_something),
        _ => true,
    }
}

/// [`super::default_spec`] for a plain user's container, in which the user is root and no other id is mapped:
/// without a network of its own, since nothing would connect it, and without limits.
pub fn rootless_spec() -> Value {
    let mut spec = super::default_spec();
    let (uid, gid) = (creds::effective_uid(), creds::effective_gid());
    for mount in spec["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            // In the host's network namespace the kernel makes no sysfs for a container. Mounts in the host's
            // own sysfs, cgroups among them, must not be writable either (CVE-2023-25809).
            *mount = json!({
                "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "rnosuid", "rnoexec", "rnodev", "rro"],
            });
        }
        if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            options.retain(|option| !option.as_str().is_some_and(|option| option.starts_with("gid=")));
        }
    }
    if let Some(linux) = spec["linux"].as_object_mut() {
        linux.remove("resources");
        linux.insert("uidMappings".into(), json!([{"containerID": 0, "hostID": uid, "size": 1}]));
        linux.insert("gidMappings".into(), json!([{"containerID": 0, "hostID": gid, "size": 1}]));
        if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
            namespaces.retain(|namespace| namespace["type"] != "network");
            namespaces.push(json!({"type": "user"}));
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings(text: &str) -> Vec<LinuxIdMapping> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_namespace_has_the_users_id_and_those_of_the_container() {
        let own = mappings(r#"[{"containerID":0,"hostID":1000,"size":1}]"#);
        assert_eq!(Ids::of(1000, &own), Ids { own: 1000, others: Vec::new() });
        let more = mappings(
            r#"[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":100000,"size":65536}]"#,
        );
        assert_eq!(Ids::of(1000, &more), Ids { own: 1000, others: vec![(100_000, 65_536)] });
        assert_eq!(Ids::of(7, &own).others, [(1000, 1)]);
    }

    #[test]
    fn the_config_for_a_plain_user_asks_for_nothing_that_one_lacks() {
        let spec: Spec = serde_json::from_value(rootless_spec()).unwrap();
        assert!(config::has_own(&spec, LinuxNamespaceType::User));
        assert!(!config::has_own(&spec, LinuxNamespaceType::Network));
        let options = spec.mounts().iter().flatten().flat_map(|mount| mount.options().iter().flatten());
        assert!(options.into_iter().all(|option| !option.starts_with("gid=")));
        assert!(spec.linux().as_ref().unwrap().resources().is_none());
    }

    #[test]
    fn a_limit_is_something_and_an_empty_list_is_not() {
        assert!(!is_something(&json!({"memory": {}, "devices": [], "unified": null})));
        assert!(is_something(&json!({"memory": {"limit": 1}})));
    }
}
