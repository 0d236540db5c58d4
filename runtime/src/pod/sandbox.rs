//! From a front's configuration to the sandbox's records, and to the monitor's request.
//!
//! Invariant: pure except for the host's own files, which are passed in; no front is treated differently.

use super::config::{SandboxConfig, VolumeSource};
use super::protocol::{NamespaceMode, Network, SandboxSpec};
use super::record::{Front, Sandbox, Sharing, Version};
use super::{shared, store};
use crate::error::Result;
use crate::host::Host;
use crate::net::etc::{self, HostFiles};

/// The longest name of a file.
const FILE_NAME_MAX: usize = 255;

/// Where `ip netns` looks for named networks.
pub(super) const NETNS_DIR: &str = "/run/netns";

/// The record of the sandbox `id`.
pub(super) fn record(host: &Host, id: &str, config: &SandboxConfig) -> Result<Sandbox> {
    Ok(Sandbox {
        version: Version,
        id: id.to_owned(),
        front: config.front,
        name: config.name.clone(),
        namespace: config.namespace.clone(),
        uid: config.uid.clone(),
        attempt: config.attempt,
        labels: config.labels.clone(),
        created_at: config.created_at,
        boot_id: store::boot_id()?,
        hostname: config.hostname.clone(),
        sharing: Sharing {
            host_network: config.network == Network::Host,
            host_pid: config.pid == NamespaceMode::Host,
            host_ipc: config.ipc == NamespaceMode::Host,
            share_process_namespace: config.pid == NamespaceMode::Pod,
        },
        cgroup: config.cgroup.clone().unwrap_or_else(|| shared::pod_cgroup(host, id)),
        cgroup_owned: config.cgroup.is_none(),
        log_dir: config.log_dir.clone(),
        log_dir_owned: config.log_dir_owned,
        asked: config.asked.clone(),
    })
}

/// The monitor's request, and warnings.
pub(super) fn spec(
    sandbox: &Sandbox,
    config: &SandboxConfig,
    files: &HostFiles,
) -> (SandboxSpec, Vec<String>) {
    let has_host_network = sandbox.sharing.host_network;
    let place = if has_host_network { etc::HostNetwork::Shared } else { etc::HostNetwork::Own };
    let resolv_conf = etc::resolv_conf(config.dns.policy, &config.dns.config, files, place);
    let memory = config.volumes.iter().filter_map(|(name, source)| match source {
        VolumeSource::Memory { size } => Some((name.clone(), *size)),
        VolumeSource::Disk | VolumeSource::HostPath(_) => None,
    });
    let spec = SandboxSpec {
        hostname: config.hostname.as_ref().unwrap_or(&files.hostname).clone(),
        network: config.network.clone(),
        ipc: config.ipc,
        pid: config.pid,
        sysctls: config.sysctls.clone(),
        cgroup: sandbox.cgroup.clone(),
        cgroup_owned: sandbox.cgroup_owned,
        resources: sandbox.cgroup_owned.then(|| config.resources.clone()),
        shm_size: config.shm_size,
        memory_volumes: memory.collect(),
        namespace: config.namespace.clone(),
        subdomain: config.subdomain.clone(),
        host_aliases: config.host_aliases.clone(),
        resolv_conf: resolv_conf.text,
        netns_link: netns_link(sandbox),
        grace: config.grace,
    };
    (spec, resolv_conf.warnings)
}

/// The name of the link to the sandbox's network namespace in [`NETNS_DIR`], if it has one of its own. A kubelet has several
/// sandboxes of one name.
pub(super) fn netns_link(sandbox: &Sandbox) -> Option<String> {
    let link = match sandbox.front {
        Front::Pod => format!("{}_{}", sandbox.namespace, sandbox.name),
        Front::Cri => format!("podrun-{}", sandbox.id.get(..12).unwrap_or(&sandbox.id)),
    };
    (!sandbox.sharing.host_network && link.len() <= FILE_NAME_MAX).then_some(link)
}
