//! A pod's host ports: claimed in the leases, held by sockets, redirected by an nft table of the pod's own.
//!
//! Invariant: a port that leads to a pod leads to one pod only and hides no service of the host; all
//! that makes it lead there, the table and the sockets, goes with the monitor, `kill -9` or not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use super::conntrack::{self, Flow};
use super::lease::Leases;
use super::nft::{self, Keeper, Ruleset, Side, Table};
use super::subnet::Network;
use super::{HostSockets, NAT_CHAINS_MAX, NetworkAttachment, PortMap, Protocol, link};
use crate::error::{Error, Result};
use crate::sys;
use crate::sys::io::port::{self, Transport};
use crate::sys::process::ns;

const E2BIG: i32 = 7;
const EINVAL: i32 = 22;

impl PortMap {
    /// The host's addresses that this names: the unspecified one stands for all of its family.
    fn host_addresses(&self) -> Vec<IpAddr> {
        match self.host_ip {
            Some(ip) => vec![ip],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        }
    }

    fn describe(&self) -> String {
        let protocol = self.protocol.to_string().to_lowercase();
        match self.host_ip {
            Some(ip) => format!("host port {}/{protocol}", SocketAddr::new(ip, self.host_port)),
            None => format!("host port {}/{protocol}", self.host_port),
        }
    }
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    fn transport(self) -> Transport {
        match self {
            Self::Tcp => Transport::Tcp,
            Self::Udp => Transport::Udp,
            Self::Sctp => Transport::Sctp,
        }
    }
}

/// Refuses a port of an address that has no counterpart in a network without IPv6.
pub(super) fn check(ports: &[PortMap], network: &Network) -> Result<()> {
    let has_v6 = network.subnets().len() > 1;
    match ports.iter().find(|map| map.host_ip.is_some_and(|ip| ip.is_ipv6()) && !has_v6) {
        None => Ok(()),
        Some(map) => Err(Error::failed(format!("{}: the pod has no IPv6 address", map.describe()))
            .hint("give the pods some in the config file: network.subnet6")),
    }
}

/// Takes `ports` for the pod with `link` in the leases.
pub(super) fn claim(leases: &mut Leases, ports: &[PortMap], link: &str, pod: &str) -> Result<()> {
    for map in ports {
        if map.host_ip == Some(Ipv6Addr::LOCALHOST.into()) {
            let why = "the kernel does not redirect IPv6's loopback to a pod";
            return Err(Error::failed(format!("{}: {why}", map.describe()))
                .hint("use hostIP 127.0.0.1, or an address of the host's"));
        }
        leases.take_port(map, link, pod).map_err(|other| {
            let who = if other == pod { "this pod itself".into() } else { format!("pod `{other}`") };
            Error::failed(format!("{} is taken by {who}", map.describe()))
        })?;
    }
    Ok(())
}

/// Binds `ports` on the host for as long as the descriptors live.
pub(super) fn hold(sockets: &HostSockets, ports: &[PortMap]) -> Result<Vec<OwnedFd>> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    ns::visit_network(sockets.netns.as_fd(), || {
        let mut held = Vec::new();
        for map in ports {
            for ip in map.host_addresses() {
                let address = SocketAddr::new(ip, map.host_port);
                let taken = port::hold(address, map.protocol.transport());
                held.extend(taken.map_err(|error| refused(map, error))?);
            }
        }
        Ok(held)
    })?
}

fn refused(map: &PortMap, error: sys::Error) -> Error {
    const EADDRINUSE: i32 = 98;
    const EADDRNOTAVAIL: i32 = 99;
    match error.errno {
        EADDRINUSE => Error::failed(format!("{} is taken by a program on the host", map.describe()))
            .hint(format!("`ss -lnp 'sport = :{}'` shows which", map.host_port)),
        EADDRNOTAVAIL => Error::failed(format!("{}: the host has no such address", map.describe())),
        _ => Error::from(error).context(map.describe()),
    }
}

/// The name of a pod's table.
fn table(attachment: &NetworkAttachment) -> String {
    format!("podrun-{}", attachment.interface)
}

/// Redirects the attachment's host ports to the pod.
pub(super) fn redirect(sockets: &mut HostSockets, attachment: &NetworkAttachment) -> Result<()> {
    if attachment.ports.is_empty() {
        return Ok(());
    }
    rules(&table(attachment), attachment).commit(sockets.nft()?).map_err(|refused| match refused.errno() {
        E2BIG => Error::failed(format!(
            "host ports: E2BIG: a hook has room for {NAT_CHAINS_MAX} NAT chains, of which each pod with hostPorts takes one"
        ))
        .hint("delete a pod that has hostPorts, or give this one hostNetwork; `podrun doctor` shows how many there are"),
        _ => refused.into(),
    })?;
    let local: Vec<IpAddr> = link::addresses(&mut sockets.route)?.into_iter().map(|(_, at)| at.ip).collect();
    let pod = attachment.ips();
    // A packet that this host only routes, to the same port of another host, is left alone.
    let is_here = |ip: IpAddr| ip.is_loopback() || local.contains(&ip);
    forget(sockets, &attachment.ports, |flow| is_here(flow.to) && !pod.contains(&flow.answered_by))
}

/// Has the kernel forget the flows to `ports` that were redirected, now that nothing redirects them.
pub(super) fn forget_redirected(sockets: &mut HostSockets, ports: &[PortMap]) -> Result<()> {
    forget(sockets, ports, |flow| flow.to != flow.answered_by)
}

fn forget(sockets: &mut HostSockets, ports: &[PortMap], is_wrong: impl Fn(&Flow) -> bool) -> Result<()> {
    for transport in [Protocol::Udp, Protocol::Sctp] {
        let ports: Vec<&PortMap> = ports.iter().filter(|map| map.protocol == transport).collect();
        if ports.is_empty() {
            continue;
        }
        let meets = |flow: &Flow| {
            let leads = |map: &&PortMap| {
                map.host_port == flow.port
                    && map.host_ip.is_none_or(|ip| ip.is_unspecified() || ip == flow.to)
            };
            ports.iter().any(leads) && is_wrong(flow)
        };
        match conntrack::forget(sockets.nft()?, transport.number(), meets) {
            // A kernel without ctnetlink: there a flow is forgotten when nothing has come for 30 s, or 2 minutes.
            Err(refused) if refused.errno() == EINVAL => return Ok(()),
            forgotten => forgotten?,
        }
    }
    Ok(())
}

fn rules<'a>(table: &'a str, attachment: &NetworkAttachment) -> Ruleset<'a> {
    const PORTS: &str = "ports";
    let mut rules = Table::inet(table).create(Keeper::Socket);
    rules.chain(PORTS, None);
    for map in &attachment.ports {
        for host_ip in map.host_addresses() {
            let same_family = |ip: &&super::Address| ip.ip.is_ipv4() == host_ip.is_ipv4();
            let Some(pod) = attachment.addresses.iter().find(same_family) else { continue };
            rules.rule(PORTS, |rule| {
                rule.family_of(pod.ip);
                match host_ip {
                    IpAddr::V4(ip) if ip.is_unspecified() => {}
                    // There is no route_localnet for IPv6: a connection would hang. It is refused now, so that
                    // a client falls back from `::1` to 127.0.0.1.
                    IpAddr::V6(ip) if ip.is_unspecified() => {
                        rule.outside(Side::Destination, Ipv6Addr::LOCALHOST.into(), 128);
                    }
                    IpAddr::V4(_) => rule.within(Side::Destination, host_ip, 32),
                    IpAddr::V6(_) => rule.within(Side::Destination, host_ip, 128),
                }
                rule.transport(map.protocol.number());
                rule.destination_port(map.host_port);
                // It costs most, and each new connection asks the rules of all pods: a third of it with this one last.
                rule.local_destination();
                rule.redirect(pod.ip, map.container_port);
            });
        }
    }
    rules.chain("output", Some(nft::NAT_OUTPUT));
    rules.rule("output", |rule| rule.jump(PORTS));
    // A hook has room for 1,024 chains of NAT.
    if attachment.ports.iter().all(|map| map.host_ip.is_some_and(|ip| ip.is_loopback())) {
        return rules;
    }
    rules.chain("prerouting", Some(nft::NAT_PREROUTING));
    // The kernel drops packets from elsewhere to 127.0.0.0/8 as martians, unless they are redirected before: a
    // neighbour that routes them here would reach the host's own services (CVE-2020-8558).
    let localhost = IpAddr::from(Ipv4Addr::new(127, 0, 0, 0));
    rules.rule("prerouting", |rule| {
        rule.family_of(localhost);
        rule.outside(Side::Destination, localhost, 8);
        rule.jump(PORTS);
    });
    rules.rule("prerouting", |rule| {
        rule.family_of(Ipv6Addr::UNSPECIFIED.into());
        rule.jump(PORTS);
    });
    rules
}

/// Frees the attachment's host ports, where this process is the one that holds them.
pub(super) fn release(sockets: &mut HostSockets, attachment: &NetworkAttachment) -> Result<()> {
    sockets.ports.clear();
    match &mut sockets.nft {
        Some(nft) if !attachment.ports.is_empty() => {
            Table::inet(&table(attachment)).delete(nft)?;
            forget_redirected(sockets, &attachment.ports)
        }
        _ => Ok(()),
    }
}
