//! Ports, host names and name servers.
//!
//! Invariant: as in [`super`]. Two ports of one pod never claim the same port of the host.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::path::Path;
use super::super::types::{ContainerPort, DnsPolicy, PodDnsConfig, PodSpec, Protocol};
use super::container::each;
use super::{Findings, names};
use crate::error::quoted;

/// The limits of the C library's resolver.
const MAX_NAMESERVERS: usize = 3;

/// The most search domains.
const MAX_SEARCHES: usize = 32;

/// The longest line of search domains.
const MAX_SEARCH_LINE: usize = 2048;

pub(super) fn network(spec: &PodSpec, findings: &mut Findings) {
    for (index, alias) in spec.host_aliases.iter().enumerate() {
        let path = Path::of("spec.hostAliases").index(index);
        findings.hold(path.field("ip"), names::ip_address(&alias.ip));
        for (index, name) in alias.hostnames.iter().enumerate() {
            findings.hold(path.field("hostnames").index(index), names::dns_subdomain(name));
        }
    }
    dns(spec, findings);
    let mut claimed_by_all = HashMap::new();
    for (path, container) in each(spec) {
        // An init container is gone when the next begins: as to Kubernetes, only its own ports can meet.
        let is_init = !container.restarts_always() && path.starts_with(&Path::of("spec.initContainers"));
        let claimed = if is_init { &mut HashMap::new() } else { &mut claimed_by_all };
        let mut named = HashSet::new();
        for (index, port) in container.ports.iter().enumerate() {
            let path = path.field("ports").index(index);
            self::port(port, &path, spec.host_network, findings);
            if !port.name.is_empty() && !named.insert(&port.name) {
                let message = format!("another port of the container is called {} too", quoted(&port.name));
                findings.add(path.field("name"), message);
            }
            claim(port, path, claimed, findings);
        }
    }
}

fn port(port: &ContainerPort, path: &Path, host_network: bool, findings: &mut Findings) {
    if port.container_port == 0 {
        findings.add(path.field("containerPort"), "required; a port from 1 to 65535");
    }
    findings.hold_unless_empty(path.field("name"), &port.name, names::port_name);
    // On the host's network, and where no port of the host's is meant, it says nothing.
    let is_mapped = port.host_port != 0 && !host_network;
    let check = if is_mapped { names::host_ip } else { names::ip_address };
    findings.hold_unless_empty(path.field("hostIP"), &port.host_ip, check);
    if host_network && port.host_port != port.container_port && path.starts_with(&Path::of("spec.containers"))
    {
        let message = format!("must be the containerPort, {}, with hostNetwork", port.container_port);
        findings.add(path.field("hostPort"), message);
    }
}

/// The claims on one port of the host.
#[derive(Default)]
struct Claims {
    /// On all of the host's addresses.
    everywhere: Option<Path>,
    v4: Family,
    v6: Family,
}

/// The claims on addresses of one family.
#[derive(Default)]
struct Family {
    first: Option<Path>,
    /// The claimant of each address; the claimant of all of the family's under the unspecified one.
    on: HashMap<IpAddr, Path>,
}

impl Family {
    /// The claim that conflicts with one on `ip`: on the same address, or if either is on all addresses.
    fn met(&self, ip: IpAddr) -> Option<&Path> {
        let all: IpAddr =
            if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if ip == all { self.first.as_ref() } else { self.on.get(&ip).or_else(|| self.on.get(&all)) }
    }
}

/// The claims of a pod's containers that run beside each other.
type Claimed = HashMap<(u16, Protocol), Claims>;

fn claim(port: &ContainerPort, path: Path, claimed: &mut Claimed, findings: &mut Findings) {
    if port.host_port == 0 {
        return;
    }
    let claims = claimed.entry((port.host_port, port.protocol)).or_default();
    // Compares addresses, not spellings. A text that is no address has its own problem, and claims all.
    let address = port.host_ip.parse::<IpAddr>().ok();
    let Claims { everywhere, v4, v6 } = claims;
    let met = match address {
        None => v4.first.as_ref().or(v6.first.as_ref()),
        Some(ip) if ip.is_ipv4() => v4.met(ip),
        Some(ip) => v6.met(ip),
    };
    if let Some(first) = everywhere.as_ref().or(met) {
        findings.add(path.field("hostPort"), format!("{first} claims port {} too", port.host_port));
        return;
    }
    let Some(ip) = address else {
        *everywhere = Some(path);
        return;
    };
    let family = if ip.is_ipv4() { v4 } else { v6 };
    family.first.get_or_insert_with(|| path.clone());
    family.on.insert(ip, path);
}

fn dns(spec: &PodSpec, findings: &mut Findings) {
    let path = Path::of("spec.dnsConfig");
    if let Some(config) = &spec.dns_config {
        dns_config(config, &path, findings);
    }
    let has_nameserver = spec.dns_config.as_ref().is_some_and(|config| !config.nameservers.is_empty());
    if spec.dns_policy == DnsPolicy::None && !has_nameserver {
        findings.add(path.field("nameservers"), "required; dnsPolicy None takes at least one");
    }
}

fn dns_config(config: &PodDnsConfig, path: &Path, findings: &mut Findings) {
    let at_most = |findings: &mut Findings, list: &str, found: usize, most: usize| {
        if found > most {
            findings.add(path.field(list), format!("{most} are the most, got {found}"));
        }
    };
    at_most(findings, "nameservers", config.nameservers.len(), MAX_NAMESERVERS);
    at_most(findings, "searches", config.searches.len(), MAX_SEARCHES);
    for (index, server) in config.nameservers.iter().enumerate() {
        findings.hold(path.field("nameservers").index(index), names::ip_address(server));
    }
    for (index, domain) in config.searches.iter().enumerate() {
        findings.hold(path.field("searches").index(index), names::search_domain(domain));
    }
    if config.searches.join(" ").len() > MAX_SEARCH_LINE {
        let message = format!("longer than {MAX_SEARCH_LINE} characters in all");
        findings.add(path.field("searches"), message);
    }
    for (index, option) in config.options.iter().enumerate() {
        if option.name.is_empty() {
            findings.add(path.field("options").index(index).field("name"), "required");
        }
    }
}
