//! The pod's network: bridge, addresses, host ports, and the files of /etc that name them.
//!
//! A pod is attached by its monitor, from inside the pod's fresh network namespace, over sockets
//! that were opened on the host's before. Invariant: whatever [`attach()`] does on the host is known
//! by the lease it wrote first, so that [`detach`] can undo it with no help from the monitor.
//!
//! ```text
//! <state-dir>/net/<bridge>/   lock      flock: leases, making and removing bridges
//!                             leases    who holds which address and host port
//!                             sysctls   what the host's were before the first bridge
//! ```

pub mod etc;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::Host;

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

/// A port of the host that leads to a port of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMap {
    /// The host's address that is mapped; none: all of them, IPv4 and IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The port on the host.
    pub host_port: u16,
    /// The port in the pod.
    pub container_port: u16,
    /// The transport.
    pub protocol: Protocol,
}

/// Who a lease belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The pod's id, 64 hex digits.
    pub id: &'a str,
    /// How people call the pod, `namespace/name`: what an error about a taken port says.
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

/// What [`attach()`] made, all that [`detach`] needs to undo it.
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
#[derive(Debug)]
pub struct HostSockets {}

impl HostSockets {
    /// Opens them; the caller is in the host's network namespace.
    pub fn open(_host: &Host) -> Result<Self> {
        Err(Error::failed("the bridge network is not built yet"))
    }
}

/// Attaches the network namespace that the caller is in, a new one, to the bridge network.
///
/// The caller has one thread. On an error nothing is left on the host.
pub fn attach(
    _sockets: &mut HostSockets,
    _host: &Host,
    _owner: Owner<'_>,
    _ports: &[PortMap],
) -> Result<NetworkAttachment> {
    Err(Error::failed("the bridge network is not built yet"))
}

/// Takes a pod off the network: its link's host end goes down, its ports and addresses are free again.
///
/// Idempotent. The monitor calls it from where it is; for a dead monitor anyone does from the
/// host's network namespace. The link itself goes with the pod's namespace.
pub fn detach(_sockets: &mut HostSockets, _host: &Host, _attachment: &NetworkAttachment) -> Result<()> {
    Err(Error::failed("the bridge network is not built yet"))
}

/// Removes the bridges that no pod is on, their nft tables, and with the last one gives the host its
/// sysctls back. Returns at once when a pod is there, else takes the 50 ms that the kernel does.
pub fn remove_idle_bridge(_sockets: &mut HostSockets, _host: &Host) -> Result<Idle> {
    Ok(Idle::Gone)
}
