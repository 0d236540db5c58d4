//! From a v1 Pod to the sandbox that the monitor makes for it.
//!
//! Invariant: pure but for the host's resolv.conf, which is handed in; the monitor sees no manifest.

use std::collections::BTreeMap;

use super::protocol::{HostAlias, NamespaceMode, Network, SandboxSpec};
use super::record::{Front, Sandbox, Sharing};
use super::resources::{self, Missing};
use crate::engine::sysctl::Setting;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{self, DnsPolicy, Pod, PodSpec, Protocol, StorageMedium, VolumeSource};
use crate::net::etc::{self, HostFiles};
use crate::net::{self, PortFilter};

/// Bytes of /dev/shm, as every engine gives it.
const SHM_SIZE: u64 = 64 << 20;

/// The longest hostname the kernel and DNS take.
const HOSTNAME_MAX: usize = 63;

/// The longest name of a file.
const FILE_NAME_MAX: usize = 255;

/// What the monitor makes for `pod`, and what its user should know about it.
pub fn spec(
    sandbox: &Sandbox,
    pod: &Pod,
    files: &HostFiles,
    missing: Missing,
) -> Result<(SandboxSpec, Vec<String>)> {
    let spec = &pod.spec;
    let resolv_conf = resolv_conf(spec, files)?;
    let mode = |host: bool| if host { NamespaceMode::Host } else { NamespaceMode::Own };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (true, _) => NamespaceMode::Host,
        (false, Some(true)) => NamespaceMode::Pod,
        (false, _) => NamespaceMode::Own,
    };
    let host_aliases = spec.host_aliases.iter().map(host_alias).collect::<Result<_>>()?;
    let grace = u64::try_from(spec.termination_grace_period_seconds).unwrap_or_default();
    let sandbox_spec = SandboxSpec {
        hostname: hostname(pod, &files.hostname).to_owned(),
        network: network(pod)?,
        ipc: mode(spec.host_ipc),
        pid,
        sysctls: sysctls(spec),
        cgroup: sandbox.cgroup.clone(),
        cgroup_owned: sandbox.cgroup_owned,
        resources: sandbox.cgroup_owned.then(|| resources::pod(pod, missing)),
        shm_size: SHM_SIZE,
        memory_volumes: memory_volumes(spec),
        namespace: sandbox.namespace.clone(),
        subdomain: Some(spec.subdomain.clone()).filter(|subdomain| !subdomain.is_empty()),
        host_aliases,
        resolv_conf: resolv_conf.text,
        netns_link: netns_link(sandbox),
        grace: grace.saturating_mul(1000),
    };
    Ok((sandbox_spec, resolv_conf.warnings))
}

/// The hostname inside: the manifest's, or the pod's name, cut to what a hostname may be. A pod on the host's network
/// has the `host`'s, whatever its manifest says.
pub fn hostname<'a>(pod: &'a Pod, host: &'a str) -> &'a str {
    if pod.spec.host_network {
        return host;
    }
    let full = if pod.spec.hostname.is_empty() { &pod.metadata.name } else { &pod.spec.hostname };
    let cut = full.get(..HOSTNAME_MAX).unwrap_or(full);
    cut.trim_end_matches(['-', '.'])
}

/// Which of the host's namespaces the pod uses.
pub fn sharing(spec: &PodSpec) -> Sharing {
    Sharing {
        host_network: spec.host_network,
        host_pid: spec.host_pid,
        host_ipc: spec.host_ipc,
        share_process_namespace: spec.share_process_namespace == Some(true),
    }
}

/// The folder of a pod's logs below the host's log dir, as a kubelet names it; a name that is too
/// long for a file is cut, since the uid alone tells pods apart.
pub fn log_folder(namespace: &str, name: &str, uid: &str) -> String {
    let room = FILE_NAME_MAX.saturating_sub(namespace.len() + uid.len() + 2);
    format!("{namespace}_{}_{uid}", name.get(..room).unwrap_or(name))
}

/// Where `ip netns` looks for named networks.
pub(super) const NETNS_DIR: &str = "/run/netns";

/// The name of the link to the sandbox's network namespace there, if it has one of its own. A kubelet has several sandboxes
/// of one name.
pub(super) fn netns_link(sandbox: &Sandbox) -> Option<String> {
    let link = match sandbox.front {
        Front::Pod => format!("{}_{}", sandbox.namespace, sandbox.name),
        Front::Cri => format!("podrun-{}", sandbox.id.get(..12).unwrap_or(&sandbox.id)),
    };
    (!sandbox.sharing.host_network && link.len() <= FILE_NAME_MAX).then_some(link)
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
            Protocol::Tcp => net::Protocol::Tcp,
            Protocol::Udp => net::Protocol::Udp,
            Protocol::Sctp => net::Protocol::Sctp,
        };
        let (host_port, container_port) = (port.host_port, port.container_port);
        ports.push(net::PortMap { host_ip, host_port, container_port, protocol });
    }
    let is_filtered = manifest::has_port_filter(&pod.metadata.annotations);
    let filter = if is_filtered { PortFilter::On } else { PortFilter::Off };
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

fn memory_volumes(spec: &PodSpec) -> BTreeMap<String, Option<u64>> {
    let in_memory = spec.volumes.iter().filter_map(|volume| match &volume.source {
        VolumeSource::EmptyDir(source) if source.medium == StorageMedium::Memory => {
            let limit = source.size_limit.as_ref().map(crate::manifest::Quantity::value);
            Some((volume.name.clone(), resources::memory_volume_size(spec, limit)))
        }
        _ => None,
    });
    in_memory.collect()
}

fn host_alias(alias: &crate::manifest::HostAlias) -> Result<HostAlias> {
    Ok(HostAlias { ip: address(&alias.ip, "hostAliases")?, hostnames: alias.hostnames.clone() })
}

fn address(text: &str, field: &str) -> Result<std::net::IpAddr> {
    let wrong = |_| Error::new(ErrorKind::Manifest, format!("{field} {text:?}: not an IP address"));
    text.parse().map_err(wrong)
}

fn resolv_conf(spec: &PodSpec, files: &HostFiles) -> Result<etc::ResolvConf> {
    let policy = match spec.dns_policy {
        DnsPolicy::ClusterFirst => etc::DnsPolicy::ClusterFirst,
        DnsPolicy::ClusterFirstWithHostNet => etc::DnsPolicy::ClusterFirstWithHostNet,
        DnsPolicy::Default => etc::DnsPolicy::Default,
        DnsPolicy::None => etc::DnsPolicy::None,
    };
    let config = spec.dns_config.as_ref().map(|config| etc::DnsConfig {
        nameservers: config.nameservers.clone(),
        searches: config.searches.clone(),
        options: config.options.iter().map(|option| (option.name.clone(), option.value.clone())).collect(),
    });
    let place = if spec.host_network { etc::HostNetwork::Shared } else { etc::HostNetwork::Own };
    Ok(etc::resolv_conf(policy, &config.unwrap_or_default(), files, place))
}
