//! rtnetlink: the links, addresses and routes of a pod and of its bridge. See rtnetlink(7).
//!
//! Invariant: a function on [`Batch`] is one message and decides nothing; links are named, so that no
//! message waits for the answer of another.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Address;
use super::wire::{Attributes, Batch, ENODEV, Refused};
use crate::sys::kernel::netlink::{CREATE, DUMP, EXCL, Socket, attributes, messages};

pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;

const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
pub(super) const IFLA_NET_NS_FD: u16 = 28;
pub(super) const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BR_MULTI_BOOLOPT: u16 = 46;
const BR_BOOLOPT_NO_LL_LEARN: u32 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const VETH_INFO_PEER: u16 = 1;
pub(super) const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_F_NODAD: u8 = 0x02;

const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;
pub(super) const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
const IFF_NOARP: u32 = 0x80;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Its alias, set by its maker.
    pub(super) alias: String,
    /// The index of the bridge that it is a port of; 0: of none.
    pub(super) master: u32,
    /// Its kind: `bridge`, `veth`; empty for hardware.
    pub(super) kind: String,
    /// It was set up.
    pub(super) up: bool,
    /// Its queue works: packets sent now are not lost.
    pub(super) running: bool,
}

/// `struct ifinfomsg` of a link that is named by an attribute; `up` and `change` are of its flags.
pub(super) fn ifinfo(up: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[8..12].copy_from_slice(&up.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// The link called `name`.
pub(super) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Refused> {
    match find_all(socket, &[name]) {
        Ok(links) => Ok(links.into_iter().next()),
        Err(refused) if refused.errno() == ENODEV => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// The links called `names`, in this order. The kernel settles the state of each before it answers
/// for it, and then asks for the next (Linux 6.8).
pub(super) fn find_all(socket: &mut Socket, names: &[&str]) -> Result<Vec<Link>, Refused> {
    let mut batch = Batch::default();
    for name in names {
        batch.message(format!("get link `{name}`"), RTM_GETLINK, 0, &ifinfo(0, 0), |message| {
            message.string(IFLA_IFNAME, name);
            message.number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        });
    }
    Ok(parse_links(&batch.send(socket)?))
}

/// Every link of the host.
pub(super) fn all(socket: &mut Socket) -> Result<Vec<Link>, Refused> {
    let mut batch = Batch::default();
    batch.message("list links", RTM_GETLINK, DUMP, &ifinfo(0, 0), |message| {
        message.number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    });
    Ok(parse_links(&batch.send(socket)?))
}

fn parse_links(answer: &[u8]) -> Vec<Link> {
    let links = messages(answer).filter(|message| message.kind == RTM_NEWLINK);
    links.filter_map(|message| parse_link(message.payload())).collect()
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let (fixed, rest) = payload.split_at_checked(16)?;
    let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let find = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let text = |bytes: Option<&[u8]>| {
        String::from_utf8_lossy(bytes.unwrap_or_default()).trim_end_matches('\0').to_string()
    };
    let info = find(rest, IFLA_LINKINFO).unwrap_or_default();
    let master = find(rest, IFLA_MASTER).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    let flags = word(8);
    Some(Link {
        index: word(4),
        name: text(find(rest, IFLA_IFNAME)),
        alias: text(find(rest, IFLA_IFALIAS)),
        master: master.unwrap_or_default(),
        kind: text(find(info, IFLA_INFO_KIND)),
        up: flags & IFF_UP != 0,
        running: flags & IFF_RUNNING != 0,
    })
}

/// Every address of the host, as interface index and address.
pub(super) fn addresses(socket: &mut Socket) -> Result<Vec<(u32, Address)>, Refused> {
    let mut batch = Batch::default();
    batch.message("list addresses", RTM_GETADDR, DUMP, &[0; 8], |_| {});
    let answer = batch.send(socket)?;
    Ok(messages(&answer).filter_map(|message| parse_address(message.payload())).collect())
}

fn parse_address(payload: &[u8]) -> Option<(u32, Address)> {
    let (fixed, rest) = payload.split_at_checked(8)?;
    let index = u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let (_, bytes) = attributes(rest).find(|(kind, _)| *kind == IFA_ADDRESS)?;
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some((index, Address { ip, prefix: fixed[1] }))
}

/// A veth pair to be made.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    /// The end that stays with the socket's namespace.
    pub(super) host: &'a str,
    /// The bridge that it joins.
    pub(super) bridge: u32,
    /// The group that it is in.
    pub(super) group: u32,
    /// The other end.
    pub(super) pod: &'a str,
    /// Its hardware address.
    pub(super) mac: Mac,
    /// Where it goes.
    pub(super) namespace: BorrowedFd<'a>,
}

/// The queues that a veth has anyway. Where they are not asked for the kernel makes one for each processor and takes all but
/// one away again, which waits for a grace period at each end.
fn one_queue(message: &mut Attributes<'_>) {
    message.number(IFLA_NUM_TX_QUEUES, 1);
    message.number(IFLA_NUM_RX_QUEUES, 1);
}

impl Batch {
    /// Makes a veth pair: the host's end on its bridge and up, the pod's end in its namespace. The host's end
    /// is a port of the bridge and nothing else: it sends no ARP or neighbour messages of its own.
    pub(super) fn add_pair(&mut self, pair: &Pair<'_>) {
        let act = format!("add link `{}`", pair.host);
        let flags = IFF_UP | IFF_NOARP;
        self.message(act, RTM_NEWLINK, CREATE | EXCL, &ifinfo(flags, flags), |message| {
            message.string(IFLA_IFNAME, pair.host);
            message.number(IFLA_MASTER, pair.bridge);
            message.number(IFLA_GROUP, pair.group);
            one_queue(message);
            message.nest(IFLA_LINKINFO, |info| {
                info.string(IFLA_INFO_KIND, "veth");
                info.nest(IFLA_INFO_DATA, |data| {
                    data.nest_after(VETH_INFO_PEER, &ifinfo(0, 0), |peer| {
                        peer.string(IFLA_IFNAME, pair.pod);
                        peer.put(IFLA_ADDRESS, &pair.mac);
                        peer.number(IFLA_NET_NS_FD, pair.namespace.as_raw_fd().cast_unsigned());
                        one_queue(peer);
                    });
                });
            });
        });
    }

    /// Lets a bridge send a packet back through the port that it came from.
    pub(super) fn set_hairpin(&mut self, name: &str) {
        let act = format!("set hairpin mode of `{name}`");
        self.message(act, RTM_NEWLINK, 0, &ifinfo(0, 0), |message| {
            message.string(IFLA_IFNAME, name);
            message.nest(IFLA_LINKINFO, |info| {
                info.string(IFLA_INFO_SLAVE_KIND, "bridge");
                info.nest(IFLA_INFO_SLAVE_DATA, |port| port.put(IFLA_BRPORT_MODE, &[1]));
            });
        });
    }

    /// Makes a bridge whose hardware address does not follow its ports'. It learns nothing from frames that no
    /// filter sees: frames to a bridge's own group addresses (01:80:c2:00:00:0e passes every hook; Linux 5.0),
    /// and multicast queries, by which a port would be sent other ports' traffic.
    pub(super) fn add_bridge(&mut self, name: &str, mac: Mac) {
        let act = format!("add bridge `{name}`");
        self.message(act, RTM_NEWLINK, CREATE | EXCL, &ifinfo(0, 0), |message| {
            message.string(IFLA_IFNAME, name);
            message.put(IFLA_ADDRESS, &mac);
            message.nest(IFLA_LINKINFO, |info| {
                info.string(IFLA_INFO_KIND, "bridge");
                info.nest(IFLA_INFO_DATA, |data| {
                    data.put(IFLA_BR_MCAST_SNOOPING, &[0]);
                    // `struct br_boolopt_multi`: values, then which of them are meant.
                    let option = BR_BOOLOPT_NO_LL_LEARN.to_ne_bytes();
                    data.put(IFLA_BR_MULTI_BOOLOPT, &[option, option].concat());
                });
            });
        });
    }

    /// Keeps the kernel from giving the link an IPv6 address by itself, and from the multicast
    /// that goes with it: 1,000 pods come up in 2.6 s instead of 4.7.
    pub(super) fn set_no_autoconf(&mut self, name: &str) {
        let act = format!("set addrgenmode of `{name}`");
        self.message(act, RTM_NEWLINK, 0, &ifinfo(0, 0), |message| {
            message.string(IFLA_IFNAME, name);
            message.nest(IFLA_AF_SPEC, |families| {
                families.nest(u16::from(AF_INET6), |inet6| {
                    inet6.put(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
                });
            });
        });
    }

    /// Sets a link's alias, which `ip link` shows.
    pub(super) fn set_alias(&mut self, name: &str, alias: &str) {
        let act = format!("set alias of `{name}`");
        self.message(act, RTM_NEWLINK, 0, &ifinfo(0, 0), |message| {
            message.string(IFLA_IFNAME, name);
            message.put(IFLA_IFALIAS, alias.as_bytes());
        });
    }

    /// Sets a link up.
    pub(super) fn set_up(&mut self, name: &str) {
        let act = format!("set `{name}` up");
        self.message(act, RTM_NEWLINK, 0, &ifinfo(IFF_UP, IFF_UP), |message| {
            message.string(IFLA_IFNAME, name);
        });
    }

    /// Sets a link down.
    pub(super) fn set_down(&mut self, name: &str) {
        let act = format!("set `{name}` down");
        self.message(act, RTM_NEWLINK, 0, &ifinfo(0, IFF_UP), |message| {
            message.string(IFLA_IFNAME, name);
        });
    }

    /// Deletes a link, which waits for a grace period.
    pub(super) fn delete_link(&mut self, name: &str) {
        let act = format!("delete link `{name}`");
        self.message(act, RTM_DELLINK, 0, &ifinfo(0, 0), |message| {
            message.string(IFLA_IFNAME, name);
        });
    }

    /// Gives a link an address; an IPv6 one without the second that detecting duplicates takes.
    pub(super) fn add_address(&mut self, index: u32, address: Address) {
        let act = format!("add address {}/{}", address.ip, address.prefix);
        let (family, flag) = match address.ip {
            IpAddr::V4(_) => (AF_INET, 0),
            IpAddr::V6(_) => (AF_INET6, IFA_F_NODAD),
        };
        let mut fixed = [family, address.prefix, flag, 0, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        self.message(act, RTM_NEWADDR, CREATE | EXCL, &fixed, |message| {
            put_ip(message, IFA_LOCAL, address.ip);
            put_ip(message, IFA_ADDRESS, address.ip);
            if let IpAddr::V4(ip) = address.ip {
                let host_bits = u32::MAX.checked_shr(u32::from(address.prefix)).unwrap_or(0);
                message.big_endian(IFA_BROADCAST, u32::from(ip) | host_bits);
            }
        });
    }

    /// Adds the default route, by `gateway`.
    pub(super) fn add_default_route(&mut self, gateway: IpAddr) {
        let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
        let fixed = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0];
        let act = format!("add default route via {gateway}");
        self.message(act, RTM_NEWROUTE, CREATE | EXCL, &fixed, |message| {
            put_ip(message, RTA_GATEWAY, gateway);
        });
    }
}

fn put_ip(message: &mut Attributes<'_>, kind: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => message.put(kind, &ip.octets()),
        IpAddr::V6(ip) => message.put(kind, &ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_message_is_byte_for_byte_what_ip_sends() {
        let mut batch = Batch::default();
        batch.add_address(2, Address { ip: "10.87.0.5".parse().unwrap(), prefix: 23 });
        batch.ask_for_answer();
        #[rustfmt::skip]
        let golden = [
            48, 0, 0, 0, 20, 0, 0x05, 0x06, 0, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
            2, 23, 0, 0, 2, 0, 0, 0,                                // ifaddrmsg
            8, 0, 2, 0, 10, 87, 0, 5,                               // IFA_LOCAL
            8, 0, 1, 0, 10, 87, 0, 5,                               // IFA_ADDRESS
            8, 0, 4, 0, 10, 87, 1, 255,                             // IFA_BROADCAST
        ];
        assert_eq!(batch.bytes(), golden);
    }

    #[test]
    fn nested_attributes_carry_their_lengths() {
        let mut batch = Batch::default();
        batch.add_bridge("br0", [2, 0, 0, 0, 0, 1]);
        batch.ask_for_answer();
        #[rustfmt::skip]
        let golden = [
            92, 0, 0, 0, 16, 0, 0x05, 0x06, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 3, 0, b'b', b'r', b'0', 0,
            10, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 0,
            40, 0, 18, 0x80, 11, 0, 1, 0, b'b', b'r', b'i', b'd', b'g', b'e', 0, 0,
            24, 0, 2, 0x80, 5, 0, 23, 0, 0, 0, 0, 0, 12, 0, 46, 0, 1, 0, 0, 0, 1, 0, 0, 0,
        ];
        assert_eq!(batch.bytes(), golden);
    }

    #[test]
    fn link_answer_is_read() {
        let mut batch = Batch::default();
        let mut fixed = ifinfo(IFF_UP | IFF_RUNNING, 0);
        fixed[4..8].copy_from_slice(&7u32.to_ne_bytes());
        batch.message("", RTM_NEWLINK, 0, &fixed, |message| {
            message.string(IFLA_IFNAME, "podrun0");
            message.string(IFLA_IFALIAS, "mine");
            message.nest(IFLA_LINKINFO, |info| info.string(IFLA_INFO_KIND, "bridge"));
        });
        let (name, kind, alias) = ("podrun0".into(), "bridge".into(), "mine".into());
        let link = Link { index: 7, name, alias, master: 0, kind, up: true, running: true };
        assert_eq!(parse_links(batch.bytes()), [link]);
    }
}
