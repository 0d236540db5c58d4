//! Which syscalls a container may make: [`Seccomp`] becomes `linux.seccomp` of its spec.
//!
//! A profile is a JSON file in the form that the runtime-spec has, or in docker's, which adds conditions:
//! rules for some capabilities, architectures or kernels only. The default one is such a file too.
//!
//! Invariant: a field of a profile is applied or refused, never skipped.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::Path;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompFilterFlag,
    LinuxSyscall,
};
use serde::Deserialize;

use super::{Inputs, rights};
use crate::engine::check_seccomp;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::pod::config::{Rights, Seccomp};
use crate::sys::file::confined;

/// The profile of [`Seccomp::RuntimeDefault`]; docs/seccomp.md explains it.
const DEFAULT: &str = include_str!("seccomp/default.json");

/// No profile is longer; the default one is 16 kB.
const LONGEST: u64 = 1 << 20;

/// A profile's file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<Arch>,
    /// The compatible architectures of each native one.
    #[serde(default)]
    arch_map: Vec<Architectures>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Architectures {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    /// One name, as docker's form had it first.
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<Arg>>,
    #[serde(rename = "comment")]
    _comment: Option<serde::de::IgnoredAny>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arg {
    index: usize,
    value: u64,
    value_two: Option<u64>,
    op: oci_spec::runtime::LinuxSeccompOperator,
}

/// Where a rule holds: each list that is there has to be met.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    /// All of these are the container's.
    caps: Option<Vec<String>>,
    /// One of these is the machine's, by Go's names.
    arches: Option<Vec<String>>,
    /// The kernel is at least this one: `4.8`.
    min_kernel: Option<String>,
}

/// The subjects of conditions.
struct Surroundings<'a> {
    capabilities: &'a HashSet<Capability>,
    kernel: (u32, u32),
}

/// The machine's architecture by the runtime-spec's name and by Go's.
const NATIVE: (Arch, &str) = if cfg!(target_arch = "x86_64") {
    (Arch::ScmpArchX86_64, "amd64")
} else if cfg!(target_arch = "aarch64") {
    (Arch::ScmpArchAarch64, "arm64")
} else if cfg!(target_arch = "riscv64") {
    (Arch::ScmpArchRiscv64, "riscv64")
} else if cfg!(target_arch = "s390x") {
    (Arch::ScmpArchS390x, "s390x")
} else {
    (Arch::ScmpArchPpc64le, "ppc64le")
};

/// The text of the file that a container's `localhostProfile` names, below [`Host::seccomp_profiles`].
/// `None`: it needs none.
pub(crate) fn localhost_profile(host: &Host, rights: &Rights) -> Result<Option<String>> {
    let Some(Seccomp::Localhost(name)) = filter(rights) else { return Ok(None) };
    let folder = host.seccomp_profiles();
    let path = folder.join(name);
    let wrong = |why: String| {
        let message = format!("localhostProfile {name:?}: {}: {why}", path.display());
        Error::new(ErrorKind::Manifest, message).hint(format!("profiles lie below {}", folder.display()))
    };
    let missing = |error: crate::sys::Error| wrong(crate::sys::errno_name(error.errno));
    let folder = confined::open_host(&folder).map_err(missing)?;
    let file = confined::open_regular(&folder, Path::new(name)).map_err(missing)?;
    let file = file.ok_or_else(|| wrong("not a regular file".into()))?;
    let mut text = String::new();
    std::fs::File::from(file)
        .take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > LONGEST {
        return Err(wrong(format!("a profile has at most {LONGEST} bytes")));
    }
    Ok(Some(text))
}

/// The requested filter. A privileged container has none, whatever its profile.
fn filter(rights: &Rights) -> Option<&Seccomp> {
    Some(&rights.seccomp).filter(|seccomp| !rights.privileged && **seccomp != Seccomp::Unconfined)
}

/// The container's `linux.seccomp`: `None` without a filter.
pub(super) fn seccomp(inputs: &Inputs<'_>) -> Result<Option<LinuxSeccomp>> {
    let Inputs { config, facts, .. } = inputs;
    let (name, text) = match filter(&config.rights) {
        None | Some(Seccomp::Unconfined) => return Ok(None),
        Some(Seccomp::RuntimeDefault) => (None, DEFAULT),
        Some(Seccomp::Localhost(name)) => (Some(name), inputs.seccomp_profile.unwrap_or_default()),
    };
    let profile = serde_json::from_str::<Profile>(text).map_err(|error| error.to_string());
    let rights = rights::capabilities(&config.rights, facts)?;
    let capabilities = rights.bounding().clone().unwrap_or_default();
    let surroundings = Surroundings { capabilities: &capabilities, kernel: facts.kernel };
    let resolved = profile.map_err(Error::failed).and_then(|profile| {
        let resolved = resolve(profile, &surroundings)?;
        check_seccomp(&resolved)?;
        Ok(resolved)
    });
    resolved.map(Some).map_err(|error| match name {
        Some(name) => error.context(format!("localhostProfile {name:?}")).with_kind(ErrorKind::Manifest),
        None => error.context("the default seccomp profile"),
    })
}

/// The profile with its conditions evaluated for this container.
fn resolve(profile: Profile, surroundings: &Surroundings<'_>) -> Result<LinuxSeccomp> {
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(Error::failed("architectures and archMap cannot both be given"));
    }
    let mut architectures = profile.architectures;
    if let Some(own) = profile.arch_map.into_iter().find(|listed| listed.architecture == NATIVE.0) {
        architectures.push(own.architecture);
        architectures.extend(own.sub_architectures.unwrap_or_default());
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls {
        let included = rule.includes.as_ref().map_or(Ok(true), |includes| includes.all_hold(surroundings))?;
        let excluded =
            rule.excludes.as_ref().map_or(Ok(false), |excludes| excludes.any_holds(surroundings))?;
        if included && !excluded {
            syscalls.push(plain(rule)?);
        }
    }
    let mut resolved = LinuxSeccomp::default();
    resolved
        .set_default_action(profile.default_action)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_architectures(Some(architectures).filter(|listed| !listed.is_empty()))
        .set_flags(profile.flags)
        .set_listener_path(profile.listener_path)
        .set_listener_metadata(profile.listener_metadata)
        .set_syscalls(Some(syscalls));
    Ok(resolved)
}

fn plain(rule: Rule) -> Result<LinuxSyscall> {
    let mut names = rule.names;
    match rule.name {
        Some(name) if names.is_empty() => names.push(name),
        Some(name) => {
            return Err(Error::failed(format!("syscalls: {name}: name and names cannot both be given")));
        }
        None => {}
    }
    let arg = |arg: Arg| {
        let plain = LinuxSeccompArgBuilder::default().index(arg.index).value(arg.value).op(arg.op);
        let plain = match arg.value_two {
            Some(value) => plain.value_two(value),
            None => plain,
        };
        plain.build().expect("every field has a default")
    };
    let args: Vec<_> = rule.args.into_iter().flatten().map(arg).collect();
    let mut plain = LinuxSyscall::default();
    plain
        .set_names(names)
        .set_action(rule.action)
        .set_errno_ret(rule.errno_ret)
        .set_args(Some(args).filter(|args| !args.is_empty()));
    Ok(plain)
}

impl Condition {
    /// As `includes` means it: all that is said has to hold.
    fn all_hold(&self, surroundings: &Surroundings<'_>) -> Result<bool> {
        let has = |name: &String| Ok::<_, Error>(surroundings.capabilities.contains(&rights::parse(name)?));
        let mut holds = true;
        for name in self.caps.iter().flatten() {
            holds &= has(name)?;
        }
        if let Some(arches) = self.arches.as_ref().filter(|arches| !arches.is_empty()) {
            holds &= arches.iter().any(|arch| arch == NATIVE.1);
        }
        if let Some(least) = &self.min_kernel {
            holds &= surroundings.kernel >= kernel(least)?;
        }
        Ok(holds)
    }

    /// As `excludes` means it: one thing that holds is enough.
    fn any_holds(&self, surroundings: &Surroundings<'_>) -> Result<bool> {
        let mut holds = self.arches.iter().flatten().any(|arch| arch == NATIVE.1);
        for name in self.caps.iter().flatten() {
            holds |= surroundings.capabilities.contains(&rights::parse(name)?);
        }
        if let Some(least) = &self.min_kernel {
            holds |= surroundings.kernel >= kernel(least)?;
        }
        Ok(holds)
    }
}

/// `4.8` as two numbers.
fn kernel(text: &str) -> Result<(u32, u32)> {
    let parsed =
        text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.ok_or_else(|| Error::failed(format!("minKernel: {text:?} is not like 4.8")))
}

#[cfg(test)]
mod tests;
