//! The port filter: a pod sends onto its bridge from its own addresses, or its frames are dropped.
//!
//! One nft table of family bridge for a network, with one base chain, since each hooks into every frame of the host. The
//! host's link of a pod is in a group of its own ([`Network::group`]), given by the message that makes the link and
//! puts it on the bridge. The sets, filled when a bridge is made, have for each address of a slice its group, its hardware
//! address and itself:
//!
//! ```text
//! what comes from a link of          is passed on if
//! no group of ours                   it does: it is somebody else's
//! the group of an opened pod         it does
//! any other                          IPv4, IPv6: `group . source MAC . source address` is in the set
//!                                    ARP: so are both of its sender's MACs with its sender's address
//!                                    neighbour discovery: so are its option's MAC, and who it announces
//! ```
//!
//! Dropped are router advertisements and redirects, VLAN tags, protocols other than IPv4, IPv6 and ARP, and
//! ICMPv6 whose type cannot be read (in fragments, behind truncated headers).
//!
//! Invariant: a pod's right to its addresses is its link's group, and goes with the link, `kill -9` or not.
//! Nothing is added for a pod and nothing is deleted: after a set element is deleted, the next close of any
//! nfnetlink socket waits 9 ms for a grace period, and so does every transaction beside it. The chain is made
//! last: where it stands, the whole filter does.

use super::HostSockets;
use super::nft::{self, Field, Keeper, KeyType, Ruleset, Table};
use super::subnet::{self, Network, Slice};
use super::wire::Refused;
use crate::error::{Error, ErrorKind, Result};

const PORTS: &str = "ports";
const NEIGHBOURS: &str = "icmpv6";
const V4: &str = "v4";
const V6: &str = "v6";

/// nft(8)'s numbers of `devgroup . ether_addr . ipv4_addr`, and the last one for IPv6. A part takes whole words.
const V4_KEY: KeyType = KeyType { types: [35, 9, 7], length: 4 + 8 + 4 };
const V6_KEY: KeyType = KeyType { types: [35, 9, 8], length: 4 + 8 + 16 };

const SOURCE_MAC: Field = Field::link(6, 6);
const ETHER_TYPE: Field = Field::link(12, 2);
const V4_SOURCE: Field = Field::network(12, 4);
const V6_SOURCE: Field = Field::network(8, 16);
/// RFC 826: the types of both addresses and their lengths, then the sender's.
const ARP_FORMAT: Field = Field::network(0, 6);
const ARP_OF_ETHERNET: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const ARP_MAC: Field = Field::network(8, 6);
const ARP_ADDRESS: Field = Field::network(14, 4);
/// RFC 4861: the message's type, its target, and its first option.
const ICMP_TYPE: Field = Field::transport(0, 1);
const ND_TARGET: Field = Field::transport(8, 16);
const ND_OPTION: Field = Field::transport(24, 2);
const ND_OPTION_MAC: Field = Field::transport(26, 6);

const ICMPV6: u8 = 58;
/// The first of neighbour discovery's messages, which are 133 to 137; below are errors, echoes and MLD's.
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const MLDV2_REPORT: u8 = 143;
/// IPv6's header and a solicitation or an advertisement.
const ND_LENGTH: u32 = 40 + 24;
const ND_OPTION_LENGTH: u32 = 8;

/// Whether the filter exists: not before the network's first bridge, nor after the host's rules were flushed.
pub(super) fn stands(sockets: &mut HostSockets, network: &Network) -> Result<bool> {
    Ok(Table::bridge(&network.filter_table()).has_chain(sockets.nft()?, PORTS)?)
}

/// Makes the filter for the network's `slices`, completing a partial one. The caller holds the network's lock.
pub(super) fn make(sockets: &mut HostSockets, network: &Network, slices: &[Slice]) -> Result<()> {
    let name = network.filter_table();
    Table::bridge(&name).delete(sockets.nft()?)?;
    let mut rules = Table::bridge(&name).create(Keeper::Nobody);
    rules.set(V4, V4_KEY);
    rules.set(V6, V6_KEY);
    rules.commit(sockets.nft()?).map_err(unsupported)?;
    for slice in slices {
        allow(sockets, network, *slice)?;
    }
    let mut rules = Table::bridge(&name).change();
    chains(&mut rules, network);
    rules.commit(sockets.nft()?).map_err(unsupported)?;
    Ok(())
}

/// Allows each pod that `slice` has room for its addresses, and no other.
pub(super) fn allow(sockets: &mut HostSockets, network: &Network, slice: Slice) -> Result<()> {
    let name = network.filter_table();
    let mut rules = Table::bridge(&name).change();
    rules.elements(V4, keys(network, slice, true));
    if network.subnets().len() > 1 {
        rules.elements(V6, keys(network, slice, false));
    }
    Ok(rules.commit(sockets.nft()?)?)
}

/// Removes the filter; none is fine.
pub(super) fn remove(sockets: &mut HostSockets, network: &Network) -> Result<()> {
    Ok(Table::bridge(&network.filter_table()).delete(sockets.nft()?)?)
}

fn unsupported(refused: Refused) -> Error {
    const EOPNOTSUPP: i32 = 95;
    const WHY: &str = "the kernel cannot filter what pods send to each other (CONFIG_NF_TABLES_BRIDGE)";
    const INSTEAD: &str = "`portFilter: false` in the config file's section `network` does without; \
        pods can then pass for each other";
    let is_lacking = refused.errno() == EOPNOTSUPP;
    let error = Error::from(refused);
    if is_lacking {
        Error::new(ErrorKind::Unsupported, format!("{}: {WHY}", error.message())).hint(INSTEAD)
    } else {
        error
    }
}

/// The keys of a slice's addresses of one family, link-local ones included.
fn keys(network: &Network, slice: Slice, v4: bool) -> impl Iterator<Item = Vec<u8>> {
    network.offsets().flat_map(move |offset| {
        let (group, addresses) = (network.group(slice, offset), network.addresses(slice, offset));
        let mac = subnet::mac(addresses[0].ip);
        let all = addresses.into_iter().chain(network.link_local(offset));
        let family = all.filter(move |address| address.ip.is_ipv4() == v4);
        family
            .map(move |address| [&group.to_ne_bytes()[..], &mac, &[0; 2], &nft::octets(address.ip)].concat())
    })
}

fn chains(rules: &mut Ruleset<'_>, network: &Network) {
    let (open, mask) = (network.open_group(), network.group_mask());
    rules.chain(NEIGHBOURS, None);
    neighbours(rules);
    rules.chain(PORTS, Some(nft::FILTER_PREROUTING));
    rules.rule(PORTS, |rule| {
        rule.group_outside(open, mask);
        rule.accept();
    });
    rules.rule(PORTS, |rule| {
        rule.group_in(open, u32::MAX);
        rule.accept();
    });
    rules.rule(PORTS, |rule| {
        rule.field(ETHER_TYPE, &[0x08, 0x00]);
        rule.group_with([SOURCE_MAC, V4_SOURCE], V4);
        rule.accept();
    });
    rules.rule(PORTS, |rule| {
        rule.field(ETHER_TYPE, &[0x86, 0xdd]);
        rule.group_with([SOURCE_MAC, V6_SOURCE], V6);
        rule.jump(NEIGHBOURS);
    });
    rules.rule(PORTS, |rule| {
        rule.field(ETHER_TYPE, &[0x08, 0x06]);
        rule.field(ARP_FORMAT, &ARP_OF_ETHERNET);
        rule.group_with([SOURCE_MAC, ARP_ADDRESS], V4);
        rule.group_with([ARP_MAC, ARP_ADDRESS], V4);
        rule.accept();
    });
    rules.rule(PORTS, |rule| rule.drop());
}

/// Neighbour messages that IPv6 may send from its own source address. The rule after the jump drops the rest.
///
/// A solicitation and an advertisement have no option, or only the sender's MAC, as Linux sends them: each
/// further option would have to be searched. The announced or asking address must belong to that MAC.
fn neighbours(rules: &mut Ruleset<'_>) {
    rules.rule(NEIGHBOURS, |rule| {
        rule.transport_other_than(ICMPV6);
        rule.accept();
    });
    // Of two options the second could contradict the first, and later ones cannot be read.
    rules.rule(NEIGHBOURS, |rule| {
        rule.fragment();
        rule.drop();
    });
    rules.rule(NEIGHBOURS, |rule| {
        rule.field_below(ICMP_TYPE, &[ROUTER_SOLICITATION]);
        rule.accept();
    });
    rules.rule(NEIGHBOURS, |rule| {
        rule.field(ICMP_TYPE, &[MLDV2_REPORT]);
        rule.accept();
    });
    rules.rule(NEIGHBOURS, |rule| {
        rule.field(ICMP_TYPE, &[NEIGHBOUR_SOLICITATION]);
        rule.length(ND_LENGTH);
        rule.accept();
    });
    rules.rule(NEIGHBOURS, |rule| {
        rule.field(ICMP_TYPE, &[NEIGHBOUR_ADVERTISEMENT]);
        rule.length(ND_LENGTH);
        rule.group_with([SOURCE_MAC, ND_TARGET], V6);
        rule.accept();
    });
    for (kind, option, whose) in
        [(NEIGHBOUR_SOLICITATION, 1, V6_SOURCE), (NEIGHBOUR_ADVERTISEMENT, 2, ND_TARGET)]
    {
        rules.rule(NEIGHBOURS, |rule| {
            rule.field(ICMP_TYPE, &[kind]);
            rule.length(ND_LENGTH + ND_OPTION_LENGTH);
            rule.field(ND_OPTION, &[option, 1]);
            rule.group_with([ND_OPTION_MAC, whose], V6);
            rule.accept();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::NetworkConfig;

    #[test]
    fn keys_are_as_long_as_their_types_say() {
        let network = Network::new(&NetworkConfig::default()).unwrap();
        let all = |v4| keys(&network, 3, v4).collect::<Vec<_>>();
        assert!(all(true).iter().all(|key| key.len() == V4_KEY.length as usize));
        assert!(all(false).iter().all(|key| key.len() == V6_KEY.length as usize));
        let group = 0x0a57_0605_u32.to_ne_bytes();
        let rest = [0x0a, 0x58, 10, 87, 6, 5, 0, 0, 10, 87, 6, 5];
        assert_eq!(all(true)[3], [&group[..], &rest].concat());
        assert_eq!((all(true).len(), all(false).len()), (509, 1018));
    }
}
