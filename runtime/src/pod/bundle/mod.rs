//! From one container, as its front asks for it, to the OCI spec that Kubernetes and containerd would run it by.
//!
//! Invariant: [`spec`] is pure. Its only facts of the host are in [`Facts`], its only facts of the image's
//! files in [`User`]; the spec describes the container completely.

use std::path::Path;

use oci_spec::runtime::{
    LinuxBuilder, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResources, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::config::ContainerConfig;
use super::protocol::NamespaceMode;
use crate::engine;
use crate::error::{Error, Result};
use crate::image::ImageConfig;

mod facts;
mod mounts;
mod process;
mod rights;
mod seccomp;
mod signal;
mod user;

pub use facts::{Facts, Missing};
pub(crate) use mounts::mount_point;
pub(crate) use seccomp::localhost_profile;
pub(crate) use signal::stop_signal;
pub(crate) use user::{User, resolve};

/// Where the pod's shared memory is mounted; its tree is the monitor's, or the host's own.
pub(crate) const SHM: &str = "/dev/shm";

/// The pod's own files in /etc, which the monitor holds.
pub(crate) const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// The limits of open files: the soft one that programs expect, and the hard one.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// All that a spec is made of.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    /// The container.
    pub config: &'a ContainerConfig,
    /// The image's config.
    pub image: &'a ImageConfig,
    /// The user, see [`resolve`].
    pub user: &'a User,
    /// The pod's hostname, for the variable.
    pub hostname: &'a str,
    /// The container's cgroup: `<the pod's>/<container id>`.
    pub cgroup: &'a str,
    /// Where each of the container's mounts comes from, in their order.
    pub volume_sources: &'a [&'a Path],
    /// The text of its [`localhost_profile`], if it has one.
    pub seccomp_profile: Option<&'a str>,
    /// The host.
    pub facts: &'a Facts,
}

/// The spec of one attempt of a container.
pub(crate) fn spec(inputs: &Inputs<'_>) -> Result<Spec> {
    let config = inputs.config;
    let (masked, read_only) = rights::hidden(&config.rights, inputs.facts);
    let privileged = config.rights.privileged;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(config))
        .cgroups_path(inputs.cgroup)
        .resources(limits(config))
        .masked_paths(masked)
        .readonly_paths(read_only);
    let has_dev = config
        .mounts
        .iter()
        .any(|mount| mounts::mount_point(&mount.destination).is_ok_and(|at| at == Path::new("/dev")));
    // In the /dev of a volume nothing is made, and the host's devices are the current ones.
    if privileged && !has_dev {
        linux = linux.devices(inputs.facts.devices());
    }
    if let Some(seccomp) = seccomp::seccomp(inputs)? {
        linux = linux.seccomp(seccomp);
    }
    let root =
        RootBuilder::default().path("rootfs").readonly(config.read_only_root).build().map_err(unbuilt)?;
    let mut spec = SpecBuilder::default()
        .root(root)
        .mounts(mounts::mounts(inputs)?)
        .process(process(inputs)?)
        .linux(linux.build().map_err(unbuilt)?)
        .build()
        .map_err(unbuilt)?;
    // The namespace of the hostname is the monitor's: a spec without one may not set it.
    spec.set_hostname(None);
    Ok(spec)
}

fn process(inputs: &Inputs<'_>) -> Result<Process> {
    let Inputs { config, image, user, .. } = inputs;
    let oci_user = UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .additional_gids(user.groups.clone())
        .build()
        .map_err(unbuilt)?;
    let open_files = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(OPEN_FILES.0)
        .hard(OPEN_FILES.1)
        .build()
        .map_err(unbuilt)?;
    let process::Program { args, env } =
        process::program(&config.process, image, inputs.hostname, inputs.facts.stack)?;
    ProcessBuilder::default()
        .terminal(config.process.terminal)
        .user(oci_user)
        .args(args)
        .env(env)
        .cwd(process::cwd(&config.process, image))
        .capabilities(rights::capabilities(&config.rights, inputs.facts)?)
        .no_new_privileges(config.rights.no_new_privileges)
        .oom_score_adj(config.oom_score_adj)
        .rlimits(vec![open_files])
        .build()
        .map_err(unbuilt)
}

/// The container's own namespaces. Network, IPC and hostname are the monitor's, and inherited; a shared PID
/// namespace is joined by the monitor's descriptor.
fn namespaces(config: &ContainerConfig) -> Vec<LinuxNamespace> {
    let mut kinds = vec![LinuxNamespaceType::Mount];
    if config.pid != NamespaceMode::Host {
        kinds.push(LinuxNamespaceType::Pid);
    }
    if !config.rights.privileged {
        kinds.push(LinuxNamespaceType::Cgroup);
    }
    let named = |kind| LinuxNamespaceBuilder::default().typ(kind).build().expect("the type is given");
    kinds.into_iter().map(named).collect()
}

/// The cgroup's limits with its device rules: every device, or only the default ones. Nodes of other devices
/// can be made, as under every engine, but not opened.
fn limits(config: &ContainerConfig) -> LinuxResources {
    let privileged = config.rights.privileged;
    let rule = |allow, kind, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(allow).set_typ(Some(kind)).set_access(Some(access.to_owned()));
        rule
    };
    let mut rules = vec![rule(privileged, LinuxDeviceType::A, "rwm")];
    if !privileged {
        rules.extend([rule(true, LinuxDeviceType::C, "m"), rule(true, LinuxDeviceType::B, "m")]);
        rules.extend(engine::default_device_rules());
    }
    let mut limits = config.resources.clone();
    limits.set_devices(Some(rules));
    limits
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unbuilt(error: oci_spec::OciSpecError) -> Error {
    Error::failed(format!("OCI spec: {error}"))
}

#[cfg(test)]
mod tests;
