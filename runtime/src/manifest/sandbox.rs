//! From a v1 Pod to the sandbox that is asked for.
//!
//! Invariant: pure, and complete: what makes the sandbox sees no manifest.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::value::RawValue;

use super::{DnsPolicy, Pod, PodSpec, Protocol, Quantity, StorageMedium, Volume, has_port_filter, resources};
use crate::error::{Error, ErrorKind, Result};
use crate::pod::Missing;
use crate::pod::config::sysctl::Setting;
use crate::pod::config::{self, Dns, HostPathSource, SandboxConfig, VolumeSource};
use crate::pod::protocol::{HostAlias, NamespaceMode, Network};
use crate::pod::record::Front;

/// Bytes of /dev/shm, as every engine gives it.
const SHM_SIZE: u64 = 64 << 20;

/// The longest hostname the kernel and DNS take.
const HOSTNAME_MAX: usize = 63;

/// The longest name of a file.
const FILE_NAME_MAX: usize = 255;

/// What `pod`, which has its name and its uid, asks for; `log_dir` is the folder of all pods' logs.
pub fn sandbox_config(pod: &Pod, created_at: u64, log_dir: &Path, missing: Missing) -> Result<SandboxConfig> {
    let (spec, meta) = (&pod.spec, &pod.metadata);
    let asked = serde_json::to_string(pod).and_then(RawValue::from_string);
    let grace = u64::try_from(spec.termination_grace_period_seconds).unwrap_or_default();
    Ok(SandboxConfig {
        front: Front::Pod,
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        attempt: 0,
        labels: meta.labels.clone(),
        created_at,
        hostname: (!spec.host_network).then(|| hostname(pod).to_owned()),
        subdomain: Some(spec.subdomain.clone()).filter(|subdomain| !subdomain.is_empty()),
        host_aliases: spec.host_aliases.iter().map(host_alias).collect::<Result<_>>()?,
        dns: dns(spec),
        network: network(pod)?,
        ipc: if spec.host_ipc { NamespaceMode::Host } else { NamespaceMode::Own },
        pid: pid_mode(spec),
        sysctls: sysctls(spec),
        resources: resources::pod(pod, missing),
        cgroup: None,
        shm_size: SHM_SIZE,
        volumes: volumes(spec),
        log_dir: log_dir.join(log_folder(pod)),
        log_dir_owned: true,
        grace: grace.saturating_mul(1000),
        asked: asked.map_err(|error| Error::failed(format!("the pod as JSON: {error}")))?,
    })
}

/// The process ids that the pod's containers see.
pub(super) fn pid_mode(spec: &PodSpec) -> NamespaceMode {
    match (spec.host_pid, spec.share_process_namespace) {
        (true, _) => NamespaceMode::Host,
        (false, Some(true)) => NamespaceMode::Pod,
        (false, _) => NamespaceMode::Own,
    }
}

/// The hostname inside: the manifest's, or the pod's name, cut to what a hostname may be.
fn hostname(pod: &Pod) -> &str {
    let full = if pod.spec.hostname.is_empty() { &pod.metadata.name } else { &pod.spec.hostname };
    let cut = full.get(..HOSTNAME_MAX).unwrap_or(full);
    cut.trim_end_matches(['-', '.'])
}

/// The folder of a pod's logs below the host's log dir, as a kubelet names it; a name that is too
/// long for a file is cut, since the uid alone tells pods apart.
pub(super) fn log_folder(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let room = FILE_NAME_MAX.saturating_sub(meta.namespace.len() + meta.uid.len() + 2);
    format!("{}_{}_{}", meta.namespace, meta.name.get(..room).unwrap_or(&meta.name), meta.uid)
}

fn network(pod: &Pod) -> Result<Network> {
    let spec = &pod.spec;
    if spec.host_network {
        return Ok(Network::Host);
    }
    let mut ports = Vec::new();
    // As a kubelet: an init container is gone before anybody could ask it.
    let sidecars = spec.init_containers.iter().filter(|init| init.restarts_always());
    for port in sidecars.chain(&spec.containers).flat_map(|container| &container.ports) {
        if port.host_port == 0 {
            continue;
        }
        let host_ip = match port.host_ip.as_str() {
            "" => None,
            ip => Some(address(ip, "hostIP")?),
        };
        let protocol = match port.protocol {
            Protocol::Tcp => config::Protocol::Tcp,
            Protocol::Udp => config::Protocol::Udp,
            Protocol::Sctp => config::Protocol::Sctp,
        };
        let (host_port, container_port) = (port.host_port, port.container_port);
        ports.push(config::PortMap { host_ip, host_port, container_port, protocol });
    }
    let is_filtered = has_port_filter(&pod.metadata.annotations);
    let filter = if is_filtered { config::PortFilter::On } else { config::PortFilter::Off };
    Ok(Network::Bridge { ports, filter })
}

/// In a network of its own a pod may ping and listen on any port without a capability, as under containerd.
const OPEN_NETWORK: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

fn sysctls(spec: &PodSpec) -> BTreeMap<String, String> {
    let open = OPEN_NETWORK.iter().filter(|_| !spec.host_network);
    let open = open.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let given = spec.security_context.sysctls.iter();
    // What the manifest says comes later, and stands.
    let name =
        |given: &str| Setting::parse(given).map_or_else(|| given.to_owned(), |setting| setting.dotted());
    open.chain(given.map(|sysctl| (name(&sysctl.name), sysctl.value.clone()))).collect()
}

fn volumes(spec: &PodSpec) -> Vec<(String, VolumeSource)> {
    spec.volumes.iter().map(|volume| (volume.name.clone(), volume_source(spec, volume))).collect()
}

pub(super) fn volume_source(spec: &PodSpec, volume: &Volume) -> VolumeSource {
    match &volume.source {
        super::VolumeSource::EmptyDir(source) if source.medium == StorageMedium::Memory => {
            let limit = source.size_limit.as_ref().map(Quantity::value);
            VolumeSource::Memory { size: resources::memory_volume_size(spec, limit) }
        }
        super::VolumeSource::EmptyDir(_) => VolumeSource::Disk,
        super::VolumeSource::HostPath(source) => {
            VolumeSource::HostPath(HostPathSource { path: source.path.clone(), kind: source.kind })
        }
    }
}

fn host_alias(alias: &super::HostAlias) -> Result<HostAlias> {
    Ok(HostAlias { ip: address(&alias.ip, "hostAliases")?, hostnames: alias.hostnames.clone() })
}

fn address(text: &str, field: &str) -> Result<std::net::IpAddr> {
    let wrong = |_| Error::new(ErrorKind::Manifest, format!("{field} {text:?}: not an IP address"));
    text.parse().map_err(wrong)
}

fn dns(spec: &PodSpec) -> Dns {
    let policy = match spec.dns_policy {
        DnsPolicy::ClusterFirst => config::DnsPolicy::ClusterFirst,
        DnsPolicy::ClusterFirstWithHostNet => config::DnsPolicy::ClusterFirstWithHostNet,
        DnsPolicy::Default => config::DnsPolicy::Default,
        DnsPolicy::None => config::DnsPolicy::None,
    };
    let config = spec.dns_config.as_ref().map(|config| config::DnsConfig {
        nameservers: config.nameservers.clone(),
        searches: config.searches.clone(),
        options: config.options.iter().map(|option| (option.name.clone(), option.value.clone())).collect(),
    });
    Dns { policy, config: config.unwrap_or_default() }
}
