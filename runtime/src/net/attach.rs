//! Attaching a pod's network namespace to the bridge network, and taking it off again.
//!
//! Invariant: the lease is written before anything else is made and given back after all else is
//! undone, so that nothing on the host lacks an owner in the leases.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use super::lease::{BridgeState, LeaseFolder, Taken};
use super::link::{self, Pair};
use super::subnet::{self, Network, Slice};
use super::wire::{Batch, ENODEV};
use super::{
    Address, HostSockets, Idle, NetworkAttachment, Owner, PortFilter, PortMap, bridge, portmap, sysctl,
};
use crate::error::{Context as _, Error, Result};
use crate::host::Host;
use crate::sys::kernel::netlink::{Family, Socket};
use crate::sys::process::ns;

/// The pod's end of the pair.
const POD_LINK: &str = "eth0";
const LOOPBACK: &str = "lo";
/// How long to wait for an address whose last holder's link still exists: 200 at once take 1 s.
const LINK_GOES: Duration = Duration::from_secs(3);
/// How long to wait for a link whose other end is up. Before Linux 6.8 asking for its state does not settle it.
const LINK_RUNS: Duration = Duration::from_secs(2);

/// Attaches the network namespace that the caller is in, a new one, to the bridge network.
///
/// The caller has one thread. On an error nothing is left on the host.
pub fn attach(
    sockets: &mut HostSockets,
    host: &Host,
    owner: Owner<'_>,
    ports: &[PortMap],
    filter: PortFilter,
) -> Result<NetworkAttachment> {
    attach_pod(sockets, host, owner, ports, filter).context(|| "network")
}

fn attach_pod(
    sockets: &mut HostSockets,
    host: &Host,
    owner: Owner<'_>,
    ports: &[PortMap],
    filter: PortFilter,
) -> Result<NetworkAttachment> {
    let network = Network::new(&host.network)?;
    let network = if sysctl::has_ipv6() { network } else { network.without_v6() };
    portmap::check(ports, &network)?;
    let folder = LeaseFolder::new(&host.state_dir, &network.name);
    let interface = link_name(owner.id);
    let lease = take_lease(sockets, &folder, &network, &interface, owner, ports)?;
    let addresses = network.addresses(lease.slice, lease.offset);
    let mac = subnet::mac(addresses[0].ip);
    let attachment = NetworkAttachment {
        bridge: network.bridge(lease.slice),
        network: network.name.clone(),
        interface,
        mac: mac.map(|byte| format!("{byte:02x}")).join(":"),
        addresses,
        gateways: network.gateways(lease.slice).iter().map(|gateway| gateway.ip).collect(),
        ports: ports.to_vec(),
    };
    let filter = if host.network.port_filter { filter } else { PortFilter::Off };
    let connected = connect(sockets, &folder, &network, &lease, &attachment, filter);
    if connected.is_err() {
        // The first error is the one to report; a link that was made goes with the pod's namespace.
        let _ = detach(sockets, host, &attachment);
    }
    connected.map(|()| attachment)
}

/// The host's end of a pod's pair: 48 of the id's bits, in the 15 bytes that a name may have.
pub(super) fn link_name(pod_id: &str) -> String {
    let short: String = pod_id.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("pr{short}")
}

/// A result of the leases.
#[derive(Debug)]
struct Lease {
    slice: Slice,
    offset: u32,
    bridge: BridgeState,
}

fn take_lease(
    sockets: &mut HostSockets,
    folder: &LeaseFolder,
    network: &Network,
    link: &str,
    owner: Owner<'_>,
    ports: &[PortMap],
) -> Result<Lease> {
    let deadline = Instant::now() + LINK_GOES;
    loop {
        let mut locked = folder.lock()?;
        locked.collect()?;
        if locked.leases.holds(link) {
            return Err(Error::failed(format!("pod `{}` is attached already", owner.name)));
        }
        portmap::claim(&mut locked.leases, ports, link, owner.name)?;
        let gone = |earlier: &str| matches!(link::find(&mut sockets.route, earlier), Ok(None));
        match locked.leases.take(network, link, owner.name, gone) {
            Taken::Address(slice, offset) => {
                locked.save()?;
                return Ok(Lease { slice, offset, bridge: locked.leases.bridge(slice) });
            }
            Taken::Soon if Instant::now() < deadline => {}
            Taken::Soon | Taken::Exhausted => return Err(exhausted(network)),
        }
        drop(locked);
        thread::sleep(Duration::from_millis(10));
    }
}

fn exhausted(network: &Network) -> Error {
    let subnet = network.subnets()[0];
    Error::failed(format!("no address is free in the pods' subnet {}/{}", subnet.ip, subnet.prefix))
        .hint("delete a pod, or give the pods a bigger subnet in the config file: network.subnet")
}

fn connect(
    sockets: &mut HostSockets,
    folder: &LeaseFolder,
    network: &Network,
    lease: &Lease,
    attachment: &NetworkAttachment,
    filter: PortFilter,
) -> Result<()> {
    sockets.ports = portmap::hold(sockets, &attachment.ports)?;
    let ready = match lease.bridge {
        BridgeState::Ready => link::find(&mut sockets.route, &attachment.bridge)?.map(|link| link.index),
        BridgeState::Making | BridgeState::Absent => None,
    };
    let bridge = match ready {
        Some(index) => index,
        None => bridge::ensure(sockets, folder, network, lease.slice)?,
    };
    bridge::ensure_rules(sockets, folder, network, lease.slice, filter)?;
    let group = match filter {
        PortFilter::On => network.group(lease.slice, lease.offset),
        PortFilter::Off => network.open_group(),
    };
    sysctl::learn_nothing()?;
    add_pair(sockets, attachment, bridge, group)?;
    configure_pod(attachment, network.link_local(lease.offset))?;
    wait_until_running(&mut sockets.route, attachment)?;
    portmap::redirect(sockets, attachment)
}

/// Makes the pair from the host's side: then one message puts the host's end on the bridge and up.
fn add_pair(
    sockets: &mut HostSockets,
    attachment: &NetworkAttachment,
    bridge: u32,
    group: u32,
) -> Result<()> {
    let namespace = ns::current_network()?;
    let (host, mac) = (&attachment.interface, subnet::mac(attachment.addresses[0].ip));
    let mut batch = Batch::default();
    batch.add_pair(&Pair { host, bridge, group, pod: POD_LINK, mac, namespace: namespace.as_fd() });
    if sysctl::has_ipv6() {
        batch.set_no_autoconf(host);
    }
    // Netfilter on bridges redirects below routing, and then sends a packet back where it came from.
    if !attachment.ports.is_empty() {
        batch.set_hairpin(host);
    }
    batch.ask_for_answer();
    batch.send(&mut sockets.route)?;
    Ok(())
}

/// Sets the pod's own side: links up, addresses, default routes, in one request.
fn configure_pod(attachment: &NetworkAttachment, link_local: Option<Address>) -> Result<()> {
    let mut socket = Socket::open(Family::Route)?;
    let link = link::find(&mut socket, POD_LINK)?
        .ok_or_else(|| Error::failed(format!("link `{POD_LINK}` is not in the pod's network namespace")))?;
    let mut batch = Batch::default();
    batch.set_up(LOOPBACK);
    if sysctl::has_ipv6() {
        batch.set_no_autoconf(POD_LINK);
    }
    batch.set_up(POD_LINK);
    for address in attachment.addresses.iter().copied().chain(link_local) {
        batch.add_address(link.index, address);
    }
    for gateway in &attachment.gateways {
        batch.add_default_route(*gateway);
    }
    batch.ask_for_answer();
    batch.send(&mut socket)?;
    Ok(())
}

/// The end that came up first drops its packets until the kernel's link watch has run, and so does a bridge
/// with its first port; a pod that connects at once then waits a second. Asking for a link runs the watch
/// (Linux 6.8): ask for the port first, since the bridge's state follows it.
fn wait_until_running(socket: &mut Socket, attachment: &NetworkAttachment) -> Result<()> {
    let deadline = Instant::now() + LINK_RUNS;
    loop {
        let links = link::find_all(socket, &[&attachment.interface, &attachment.bridge])?;
        if links.iter().all(|link| link.running) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::failed(format!("link `{}` does not come up", attachment.interface)));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Takes a pod off the network: its link's host end goes down, its ports and addresses are free again.
///
/// Idempotent. The monitor calls it from where it is; for a dead monitor anyone does, with sockets
/// opened in the host's network namespace. The link itself goes with the pod's namespace:
/// deleting it would wait 13 to 47 ms for a grace period.
pub fn detach(sockets: &mut HostSockets, host: &Host, attachment: &NetworkAttachment) -> Result<()> {
    let ports = portmap::release(sockets, attachment);
    let down = set_down(sockets, &attachment.interface);
    let folder = LeaseFolder::new(&host.state_dir, &attachment.network);
    if folder.exists() {
        folder.give_back(&attachment.interface);
    }
    ports.and(down).context(|| "network")
}

/// Takes a pod off the network of which nothing is known but its id, since its monitor is dead. The caller is in the
/// host's network namespace. Idempotent; a pod without a lease costs a look.
pub fn detach_lost(host: &Host, pod_id: &str) -> Result<()> {
    let interface = link_name(pod_id);
    for folder in LeaseFolder::all(&host.state_dir)? {
        let leases = folder.read();
        // Leases that cannot be read say nothing against it.
        if leases.as_ref().map_or(true, |leases| leases.holds(&interface)) {
            let mut sockets = HostSockets::open(host)?;
            set_down(&mut sockets, &interface).context(|| "network")?;
            let ports = leases.map(|leases| leases.ports(&interface)).unwrap_or_default();
            portmap::forget_redirected(&mut sockets, &ports).context(|| "network")?;
        }
        folder.give_back(&interface);
    }
    Ok(())
}

fn set_down(sockets: &mut HostSockets, interface: &str) -> Result<()> {
    let mut batch = Batch::default();
    batch.set_down(interface);
    batch.ask_for_answer();
    match batch.send(&mut sockets.route) {
        Err(refused) if refused.errno() != ENODEV => Err(refused.into()),
        _ => Ok(()),
    }
}

/// The same where no monitor is left to do it: without waiting, and at once if `now` says so, however recently
/// the last pod left. The caller is in the host's network namespace.
pub fn remove_abandoned_bridge(host: &Host, now: bool) -> Result<()> {
    let network = Network::new(&host.network)?;
    let folder = LeaseFolder::new(&host.state_dir, &network.name);
    if !folder.exists() {
        folder.finish_clearing()?;
        return match now {
            true => bridge::remove_forgotten(&mut HostSockets::open(host)?, &folder, &network),
            false => Ok(()),
        };
    }
    let idle = if now { Duration::ZERO } else { Duration::from_secs(host.network.idle_seconds) };
    remove_idle(&mut HostSockets::open(host)?, host, idle).map(drop).context(|| "network")
}

/// Removes the network's bridges and nft tables and gives the host its sysctls back, when no pod has
/// been on it for the configured time. Returns at once when a pod is there; the removal takes the
/// 50 ms that the kernel does, under the network's lock.
pub fn remove_idle_bridge(sockets: &mut HostSockets, host: &Host) -> Result<Idle> {
    remove_idle(sockets, host, Duration::from_secs(host.network.idle_seconds)).context(|| "network")
}

fn remove_idle(sockets: &mut HostSockets, host: &Host, idle: Duration) -> Result<Idle> {
    let network = Network::new(&host.network)?;
    let folder = LeaseFolder::new(&host.state_dir, &network.name);
    let Some(mut locked) = folder.lock_if_there()? else { return Ok(Idle::Gone) };
    locked.collect()?;
    if locked.leases.used(None) {
        return Ok(Idle::Used);
    }
    match idle.checked_sub(locked.age()) {
        Some(rest) if !rest.is_zero() => Ok(Idle::Wait(rest)),
        _ => bridge::remove_all(sockets, &folder, &network, locked).map(|()| Idle::Gone),
    }
}
