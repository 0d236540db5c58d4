//! The pod's network: bridge, addresses, host ports, and the files of /etc that name them.
//!
//! A pod is attached by its monitor, from inside the pod's fresh network namespace, over sockets that were
//! opened in the host's before. Invariant: [`attach()`] writes a lease before any change on the host, so that
//! [`detach`] can undo all of them with no help from the monitor.
//!
//! ```text
//! <state-dir>/net/            sysctls   what the host's were before the first bridge of any network
//! <state-dir>/net/<bridge>/   lock      flock: leases, making and removing bridges
//!                             leases    who holds which address and host port
//! ```

mod attach;
mod bridge;
mod conntrack;
mod device;
pub mod etc;
mod lease;
mod link;
mod nft;
mod port_filter;
mod portmap;
mod subnet;
mod sysctl;
mod wire;

use std::fmt;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, OwnedFd};

use serde::{Deserialize, Serialize};

pub use self::attach::{attach, detach, detach_lost, remove_abandoned_bridge, remove_idle_bridge};
pub use self::device::{Device, Moved, move_all};
use self::subnet::Network;
use crate::error::Result;
use crate::host::{Host, NetworkConfig};
use crate::sys::kernel::netlink::{Family, Socket};
use crate::sys::process::ns;

/// The transport of a host port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn parse(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|protocol| protocol.to_string() == name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A port of the host that leads to a port of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMap {
    /// The host's address that is mapped, the unspecified one for all of its family; none: all of both families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The port on the host.
    pub host_port: u16,
    /// The port in the pod.
    pub container_port: u16,
    /// The transport.
    pub protocol: Protocol,
}

/// The frames that a pod may send onto its bridge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortFilter {
    /// Frames from its own addresses that name them truly.
    #[default]
    On,
    /// Any frame, as to a switch: for labs.
    Off,
}

/// The owner of a lease.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The pod's id, 64 hex digits.
    pub id: &'a str,
    /// The pod's name for people, `namespace/name`: for the error about a taken port.
    pub name: &'a str,
}

/// An address of a pod with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The prefix length of the network it is on.
    pub prefix: u8,
}

impl Address {
    /// The first address of its network.
    fn network(self) -> IpAddr {
        let prefix = u32::from(self.prefix);
        match self.ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                Ipv4Addr::from(u32::from(ip) & mask).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                Ipv6Addr::from(u128::from(ip) & mask).into()
            }
        }
    }
}

/// The parts that [`attach()`] made: all that [`detach`] needs to undo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkAttachment {
    /// The network's name: its first bridge, and its folder below `<state-dir>/net`.
    pub network: String,
    /// The bridge that the pod is on.
    pub bridge: String,
    /// The host's end of the pair; the pod's is `eth0`.
    pub interface: String,
    /// The hardware address of `eth0`.
    pub mac: String,
    /// The pod's addresses, IPv4 first.
    pub addresses: Vec<Address>,
    /// The bridge's addresses, the pod's way out, IPv4 first.
    pub gateways: Vec<IpAddr>,
    /// The host ports that lead here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMap>,
}

impl NetworkAttachment {
    /// The pod's addresses without their prefixes, IPv4 first: `status.podIPs`.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(|address| address.ip).collect()
    }
}

/// How idle the network is, as [`remove_idle_bridge`] found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Pods are on it.
    Used,
    /// No pod is on it, but the last one left a moment ago: ask again after this time.
    Wait(std::time::Duration),
    /// Nothing of it is left on the host.
    Gone,
}

/// Sockets that act on the host's network, opened before the monitor moves into the pod's.
///
/// They also keep the pod's host ports: dropped, the ports lead nowhere.
#[derive(Debug)]
pub struct HostSockets {
    route: Socket,
    nft: Option<Socket>,
    netns: File,
    ports: Vec<OwnedFd>,
}

impl HostSockets {
    /// Opens them, if the network's configuration makes sense; the caller is in the host's network
    /// namespace.
    pub fn open(host: &Host) -> Result<Self> {
        check(&host.network)?;
        let (route, netns) = (Socket::open(Family::Route)?, ns::current_network()?);
        Ok(Self { route, nft: None, netns, ports: Vec::new() })
    }

    /// The nfnetlink socket, which only a pod with host ports and the maker of a bridge need. A pod's
    /// table lives exactly as long as it.
    fn nft(&mut self) -> Result<&mut Socket> {
        let socket = match self.nft.take() {
            Some(socket) => socket,
            None => ns::visit_network(self.netns.as_fd(), || Socket::open(Family::Netfilter))??,
        };
        Ok(self.nft.insert(socket))
    }
}

/// The source addresses of this network namespace's default routes, IPv4 first; none without a default route.
/// Nothing is sent: connecting a datagram socket only looks the route up.
pub fn own_addresses() -> Vec<IpAddr> {
    let towards = |local: &str, far: &str| {
        let socket = std::net::UdpSocket::bind(local).ok()?;
        socket.connect(far).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    // Addresses that are set aside for documentation: everybody's default route leads there.
    let found = [towards("0.0.0.0:0", "192.0.2.1:9"), towards("[::]:0", "[2001:db8::1]:9")];
    found.into_iter().flatten().filter(|address| !address.is_loopback()).collect()
}

/// How many NAT chains a hook of a network namespace has room for: the kernel's MAX_HOOK_COUNT.
pub const NAT_CHAINS_MAX: usize = 1024;

/// The number of NAT chains in this network namespace at the hook that has most, whoever made them.
pub fn nat_chains() -> Result<usize> {
    let chains = nft::nat_chains(&mut Socket::open(Family::Netfilter)?)?;
    let at = |hook: u32| chains.iter().filter(|number| **number == hook).count();
    Ok(chains.iter().map(|hook| at(*hook)).max().unwrap_or_default())
}

/// Checks the configuration of the bridge network, without touching anything.
pub fn check(config: &NetworkConfig) -> Result<()> {
    Network::new(config).map(drop)
}
