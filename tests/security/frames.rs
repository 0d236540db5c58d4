//! Frames as an attacker writes them: Ethernet, and what it carries.
//!
//! Invariant: lengths and checksums are right, so that nothing but what a frame says can be why it does not arrive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub(super) type Mac = [u8; 6];

pub(super) const BROADCAST: Mac = [0xff; 6];
/// IPv6's group of all nodes.
pub(super) const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// The bridge group address of 802.1AB, which a bridge takes for itself without asking any filter.
pub(super) const LLDP: Mac = [0x01, 0x80, 0xc2, 0, 0, 0x0e];

pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;

const ICMPV6: u8 = 58;
const UDP: u8 = 17;

/// A frame; `tags` are VLAN tags, the outer one first, each a type and an id.
pub(super) fn tagged(to: Mac, from: Mac, tags: &[(u16, u16)], kind: u16, payload: &[u8]) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(kind, id)| [kind.to_be_bytes(), id.to_be_bytes()].concat());
    to.into_iter().chain(from).chain(tags).chain(kind.to_be_bytes()).chain(payload.iter().copied()).collect()
}

pub(super) fn frame(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    tagged(to, from, &[], kind, payload)
}

/// Says that `who` is at `at`: RFC 826's reply, with the sender's addresses in it.
pub(super) fn arp_reply(at: Mac, who: Ipv4Addr, to: (Mac, Ipv4Addr)) -> Vec<u8> {
    let head = [0, 1, 0x08, 0, 6, 4, 0, 2];
    [&head[..], &at, &who.octets(), &to.0, &to.1.octets()].concat()
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0))).sum()
}

fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

/// Of `bytes` in which it is zero (RFC 1071).
pub(super) fn internet_checksum(bytes: &[u8]) -> [u8; 2] {
    checksum(sum(bytes))
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(0).to_be_bytes()
}

pub(super) fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header =
        [&[0x45, 0][..], &length(20 + payload.len()), &[0, 0, 0, 0, 64, protocol, 0, 0]].concat();
    header.extend([from.octets(), to.octets()].concat());
    let own = checksum(sum(&header));
    header[10..12].copy_from_slice(&own);
    [&header, payload].concat()
}

/// IPv6 with `headers` between its own and the payload, each with its own number.
pub(super) fn ipv6(
    from: Ipv6Addr,
    to: Ipv6Addr,
    headers: &[(u8, Vec<u8>)],
    last: u8,
    payload: &[u8],
) -> Vec<u8> {
    let numbers: Vec<u8> = headers.iter().map(|(number, _)| *number).chain([last]).collect();
    let chain: Vec<u8> = headers
        .iter()
        .zip(&numbers[1..])
        .flat_map(|((_, rest), next)| [&[*next][..], rest].concat())
        .collect();
    let size = length(chain.len() + payload.len());
    [&[0x60, 0, 0, 0][..], &size, &[numbers[0], 255], &from.octets(), &to.octets(), &chain, payload].concat()
}

/// A header of options that say nothing, eight bytes long, but for the number of what follows.
pub(super) fn no_options() -> Vec<u8> {
    vec![0, 1, 4, 0, 0, 0, 0]
}

/// A fragment's header: where in the whole it is, in bytes, and whether more come.
pub(super) fn fragment(offset: u16, more: bool) -> Vec<u8> {
    let place = (offset | u16::from(more)).to_be_bytes();
    vec![0, place[0], place[1], 0, 0, 0, 7]
}

/// A message of ICMPv6, with its type and code before `rest`.
pub(super) fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0][..], rest].concat();
    let pseudo = sum(&from.octets()) + sum(&to.octets()) + u32::from(ICMPV6);
    let own = checksum(pseudo + sum(&length(message.len())) + sum(&message));
    message[2..4].copy_from_slice(&own);
    message
}

/// A packet of ICMPv6 alone.
pub(super) fn icmpv6_packet(from: Ipv6Addr, to: Ipv6Addr, kind: u8, rest: &[u8]) -> Vec<u8> {
    ipv6(from, to, &[], ICMPV6, &icmpv6(from, to, kind, rest))
}

/// A router that everybody should take: for half an hour, with a prefix to have an address in, and an MTU.
pub(super) fn router_advertisement(from: Ipv6Addr) -> (Ipv6Addr, Vec<u8>) {
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let (life, hour) = ([0x07, 0x08], [0, 0, 0x0e, 0x10]);
    let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0).octets();
    let rest = [
        &[64, 0][..],
        &life,
        &[0; 8],
        &[3, 4, 64, 0xc0],
        &hour,
        &hour,
        &[0; 4],
        &prefix,
        &[5, 1, 0, 0, 0, 0, 0x05, 0x14],
    ];
    (to, icmpv6(from, to, 134, &rest.concat()))
}

/// An answer in neighbour discovery that overrides: `who` is at `at`.
pub(super) fn advertisement(who: Ipv6Addr, at: Option<Mac>) -> Vec<u8> {
    let option = at.map(|at| [&[2, 1][..], &at].concat()).unwrap_or_default();
    [&[0x60, 0, 0, 0][..], &who.octets(), &option].concat()
}

/// A question in neighbour discovery: where is `who`? I am at `at`.
pub(super) fn solicitation(who: Ipv6Addr, at: Option<Mac>) -> Vec<u8> {
    let option = at.map(|at| [&[1, 1][..], &at].concat()).unwrap_or_default();
    [&[0; 4][..], &who.octets(), &option].concat()
}

/// A datagram to a port where nobody listens.
pub(super) fn datagram(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let udp = [&[0x9c, 0x40, 0, 9][..], &length(8), &[0, 0]].concat();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, UDP, &udp),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let pseudo = sum(&from.octets()) + sum(&to.octets()) + u32::from(UDP) + sum(&length(8));
            ipv6(from, to, &[], UDP, &[&udp[..6], &checksum(pseudo + sum(&udp))].concat())
        }
        _ => Vec::new(),
    }
}

pub(super) fn hexadecimal(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}
