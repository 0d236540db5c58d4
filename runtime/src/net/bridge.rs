//! The bridge of a slice, with its addresses, its nft table and the host's settings for routing.
//!
//! Invariant: the leases record `making` before the first part of a bridge is made and `ready` after the last;
//! `making` found under the lock is the work of a dead process, and is begun anew.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;

use super::lease::{BridgeState, LeaseFolder, Leases, Locked, MARK};
use super::link::{self, Link};
use super::nft::{self, Keeper, Ruleset, Side, Table};
use super::subnet::{self, Network, Slice};
use super::wire::{Batch, ENODEV};
use super::{HostSockets, PortFilter, port_filter, sysctl};
use crate::error::{Error, Result};
use crate::sys::process::ns;

/// The chain that drops packets that reach the host past the bridge.
const GUARD: &str = "guard";

/// Makes the bridge of `slice` where it does not stand, and gives back its index.
pub(super) fn ensure(
    sockets: &mut HostSockets,
    folder: &LeaseFolder,
    network: &Network,
    slice: Slice,
) -> Result<u32> {
    let mut locked = folder.lock()?;
    let name = network.bridge(slice);
    if locked.leases.slices().is_empty() {
        remove_unknown(sockets, folder, network)?;
    }
    let found = link::find(&mut sockets.route, &name)?;
    match (locked.leases.bridge(slice), &found) {
        (BridgeState::Ready, Some(bridge)) => return Ok(bridge.index),
        (BridgeState::Absent, Some(found)) => return Err(foreign(folder, found)),
        _ => {}
    }
    refuse_overlap(sockets, network, &locked.leases)?;
    if locked.leases.bridge(slice) != BridgeState::Absent {
        remove_parts(sockets, network, slice)?;
    }
    locked.leases.set_bridge(slice, BridgeState::Making);
    locked.save()?;
    let made = make(sockets, folder, network, slice);
    match &made {
        Ok(_) => locked.leases.set_bridge(slice, BridgeState::Ready),
        Err(_) => {
            // Report the first error. Remains still belong to podrun, and the next removal.
            if remove_parts(sockets, network, slice).is_ok() {
                locked.leases.set_bridge(slice, BridgeState::Absent);
            }
            if locked.leases.slices().is_empty() {
                let _ = restore_sysctls(sockets, folder);
            }
        }
    }
    locked.save()?;
    made
}

/// Removes the network's bridges that `folder` knows nothing of, since it was lost with the state dir: they have its
/// mark. One that still has a pod's link stays.
fn remove_unknown(sockets: &mut HostSockets, folder: &LeaseFolder, network: &Network) -> Result<()> {
    let links = link::all(&mut sockets.route)?;
    let has_port = |bridge: &Link| links.iter().any(|link| link.master == bridge.index);
    for bridge in links.iter().filter(|link| link.alias == folder.mark() && !has_port(link)) {
        remove_bridge(sockets, &bridge.name)?;
        port_filter::remove(sockets, network)?;
    }
    Ok(())
}

/// The same after the state dir was emptied: no pod need have been on the network since.
pub(super) fn remove_forgotten(
    sockets: &mut HostSockets,
    folder: &LeaseFolder,
    network: &Network,
) -> Result<()> {
    let links = link::all(&mut sockets.route)?;
    if links.iter().all(|link| link.alias != folder.mark()) {
        return Ok(());
    }
    let locked = folder.lock()?;
    // A newcomer has leases by now, and has removed them.
    if folder.exists() {
        return Ok(());
    }
    remove_unknown(sockets, folder, network)?;
    locked.clear()
}

fn foreign(folder: &LeaseFolder, found: &Link) -> Error {
    const OTHER: &str = "name another in the config file: network.bridge and network.subnet";
    let name = &found.name;
    match found.alias.strip_prefix(MARK) {
        Some(_) if found.alias == folder.mark() => Error::failed(format!(
            "bridge `{name}`: pods are on it that the state dir knows nothing of, since it was emptied under them"
        ))
        .hint("`pkill -f '^podrun monitor'` ends all pods of this host that run"),
        Some(whose) => Error::failed(format!("bridge `{name}`: it is another state dir's, of {whose}")).hint(OTHER),
        None => {
            let kind = if found.kind.is_empty() { "interface" } else { &found.kind };
            Error::failed(format!(
                "bridge `{name}`: the host already has a {kind} of this name, which is not ours"
            ))
            .hint(format!("remove it, or {OTHER}"))
        }
    }
}

/// Two links with one subnet would each lose the other's packets.
fn refuse_overlap(sockets: &mut HostSockets, network: &Network, leases: &Leases) -> Result<()> {
    let ours: Vec<IpAddr> = leases
        .slices()
        .into_iter()
        .flat_map(|slice| network.gateways(slice))
        .map(|gateway| gateway.ip)
        .collect();
    for (_, address) in link::addresses(&mut sockets.route)? {
        match network.overlap(address) {
            Some(subnet) if !ours.contains(&address.ip) => {
                return Err(Error::failed(format!(
                    "the pods' subnet {}/{} overlaps the host's address {}/{}",
                    subnet.ip, subnet.prefix, address.ip, address.prefix
                ))
                .hint("give the pods another in the config file: network.subnet and network.subnet6"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn make(sockets: &mut HostSockets, folder: &LeaseFolder, network: &Network, slice: Slice) -> Result<u32> {
    let name = network.bridge(slice);
    let ipv6 = network.subnets().len() > 1;
    let alone = folder.lock_sysctls()?;
    ns::visit_network(sockets.netns.as_fd(), || sysctl::let_host_route(&folder.sysctls(), ipv6))??;
    drop(alone);

    let gateways = network.gateways(slice);
    let mut batch = Batch::default();
    batch.add_bridge(&name, subnet::mac(gateways[0].ip));
    batch.set_alias(&name, &folder.mark());
    if sysctl::has_ipv6() {
        batch.set_no_autoconf(&name);
    }
    batch.ask_for_answer();
    batch.send(&mut sockets.route)?;
    let bridge = link::find(&mut sockets.route, &name)?
        .ok_or_else(|| Error::failed(format!("bridge `{name}` was removed as soon as it was made")))?;
    // It comes up as all that it is to be.
    ns::visit_network(sockets.netns.as_fd(), || sysctl::set_for_bridge(&name, ipv6))??;
    make_rules(sockets, network, slice)?;
    if port_filter::stands(sockets, network)? {
        port_filter::allow(sockets, network, slice)?;
    }

    let mut batch = Batch::default();
    batch.set_up(&name);
    for gateway in gateways.into_iter().chain(network.link_local(subnet::GATEWAY)) {
        batch.add_address(bridge.index, gateway);
    }
    batch.ask_for_answer();
    batch.send(&mut sockets.route)?;
    Ok(bridge.index)
}

/// Makes the missing rules of `slice`'s bridge and, for a pod confined to its addresses, the port filter: the
/// filter comes with the first such pod, and the host's rules may be flushed at any time.
pub(super) fn ensure_rules(
    sockets: &mut HostSockets,
    folder: &LeaseFolder,
    network: &Network,
    slice: Slice,
    filter: PortFilter,
) -> Result<()> {
    let table = network.table(slice);
    let lacks = |sockets: &mut HostSockets| -> Result<(bool, bool)> {
        let guarded = Table::inet(&table).has_chain(sockets.nft()?, GUARD)?;
        Ok((!guarded, filter == PortFilter::On && !port_filter::stands(sockets, network)?))
    };
    if lacks(sockets)? == (false, false) {
        return Ok(());
    }
    let locked = folder.lock()?;
    let (lacks_rules, lacks_filter) = lacks(sockets)?;
    if lacks_rules {
        make_rules(sockets, network, slice)?;
    }
    if lacks_filter {
        port_filter::make(sockets, network, &locked.leases.slices())?;
    }
    Ok(())
}

fn make_rules(sockets: &mut HostSockets, network: &Network, slice: Slice) -> Result<()> {
    let name = network.table(slice);
    Table::inet(&name).delete(sockets.nft()?)?;
    Ok(rules(network, slice, &name).commit(sockets.nft()?)?)
}

/// The rules of a bridge; the rules of a pod's host ports are in a table of their own.
fn rules<'a>(network: &Network, slice: Slice, table: &'a str) -> Ruleset<'a> {
    let bridge = network.bridge(slice);
    let localhost = IpAddr::from(Ipv4Addr::new(127, 0, 0, 0));
    let mut rules = Table::inet(table).create(Keeper::Nobody);
    rules.chain(GUARD, Some(nft::FILTER_PREROUTING));
    // A frame to 01:80:c2:00:00:0e, which no bridge passes on, comes to the host by the port itself, past the port filter.
    rules.rule(GUARD, |rule| {
        rule.group_in(network.open_group(), network.group_mask());
        rule.drop();
    });
    // route_localnet lets packets to and from 127.0.0.0/8 pass the bridge; a pod's own are dropped.
    for side in [Side::Source, Side::Destination] {
        rules.rule(GUARD, |rule| {
            rule.link_in(&bridge);
            rule.family_of(localhost);
            rule.within(side, localhost, 8);
            rule.drop();
        });
    }
    rules.chain("postrouting", Some(nft::NAT_POSTROUTING));
    let own = network.gateways(slice);
    for (subnet, own) in network.subnets().into_iter().zip(own) {
        // Traffic beyond the pods' network leaves under the host's address.
        rules.rule("postrouting", |rule| {
            rule.family_of(subnet.ip);
            rule.within(Side::Source, own.network(), own.prefix);
            rule.outside(Side::Destination, subnet.ip, subnet.prefix);
            rule.masquerade();
        });
        // A pod that reaches a host port which leads to itself, or to its neighbour, must hear the
        // answer from the host.
        rules.rule("postrouting", |rule| {
            rule.family_of(subnet.ip);
            rule.link_out(&bridge);
            rule.within(Side::Source, subnet.ip, subnet.prefix);
            rule.redirected();
            rule.masquerade();
        });
    }
    // The host that reaches a host port by its loopback cannot be answered there.
    rules.rule("postrouting", |rule| {
        rule.family_of(localhost);
        rule.link_out(&bridge);
        rule.within(Side::Source, localhost, 8);
        rule.masquerade();
    });
    rules
}

/// Removes every bridge of the network and gives the host its sysctls back; the caller has seen that
/// no pod is left.
pub(super) fn remove_all(
    sockets: &mut HostSockets,
    folder: &LeaseFolder,
    network: &Network,
    locked: Locked,
) -> Result<()> {
    for slice in locked.leases.slices() {
        remove_parts(sockets, network, slice)?;
    }
    port_filter::remove(sockets, network)?;
    restore_sysctls(sockets, folder)?;
    locked.clear()
}

/// Where another network has a bridge the host still has to route.
fn restore_sysctls(sockets: &HostSockets, folder: &LeaseFolder) -> Result<()> {
    let _alone = folder.lock_sysctls()?;
    if folder.is_beside_others() {
        return Ok(());
    }
    // An older podrun has a record for each network.
    [folder.sysctls(), folder.path("sysctls")]
        .iter()
        .try_for_each(|record| ns::visit_network(sockets.netns.as_fd(), || sysctl::restore(record))?)
}

/// Removes the parts of a bridge; missing ones are fine.
fn remove_parts(sockets: &mut HostSockets, network: &Network, slice: Slice) -> Result<()> {
    remove_bridge(sockets, &network.bridge(slice))
}

fn remove_bridge(sockets: &mut HostSockets, bridge: &str) -> Result<()> {
    Table::inet(&subnet::table(bridge)).delete(sockets.nft()?)?;
    let mut batch = Batch::default();
    batch.delete_link(bridge);
    batch.ask_for_answer();
    match batch.send(&mut sockets.route) {
        Err(refused) if refused.errno() != ENODEV => Err(refused.into()),
        _ => Ok(()),
    }
}
