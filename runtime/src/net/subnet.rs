//! The network as the config file gives it, parsed once: bridges, addresses, names.
//!
//! Pure. A bridge slows down with each port, so that a big subnet is cut into slices of 512
//! addresses with a bridge each (`podrun0`, `podrun0-1`, …); the host routes between them. An
//! address is a slice and an offset, and its IPv4 and IPv6 forms say the same two numbers:
//!
//! ```text
//! 10.87.0.0/16, fd10:87::/64      slice 3, offset 5:   10.87.6.5/23   fd10:87::3:5/112
//! ```
//!
//! Invariant: every address made here lies in the configured subnet, and two different pairs of
//! slice and offset never give the same one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Address;
use super::link::Mac;
use crate::error::{Error, ErrorKind, Result};
use crate::host::NetworkConfig;

/// Most pods on one bridge: a port costs 0.13 ms at first, 0.25 at 200 and 1.1 at 1,000.
pub(super) const PORTS: usize = 256;
/// Prefix length of a slice: twice as many addresses as ports, so that they rotate.
const SLICE_PREFIX: u8 = 23;
const SLICE6_PREFIX: u8 = 112;
/// The bridge's own offset in its slice.
pub(super) const GATEWAY: u32 = 1;
/// The longest name of an interface.
const IFNAMSIZ: usize = 15;

/// A slice of the network's subnet: the addresses of one bridge.
pub(super) type Slice = u32;

/// The bridge network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    /// Its name, which is its first bridge's.
    pub(super) name: String,
    v4: Ipv4Addr,
    prefix: u8,
    v6: Option<(Ipv6Addr, u8)>,
}

impl Network {
    /// Parses and checks the configuration.
    pub(super) fn new(config: &NetworkConfig) -> Result<Self> {
        let (v4, prefix) = match parse("network.subnet", &config.subnet)? {
            (IpAddr::V4(ip), prefix) => (ip, prefix),
            (IpAddr::V6(_), _) => return Err(wrong("network.subnet", &config.subnet, "is not IPv4")),
        };
        if !(8..=30).contains(&prefix) {
            let why = "must have a prefix from /8 to /30, room for a bridge and a pod";
            return Err(wrong("network.subnet", &config.subnet, why));
        }
        if v4.is_loopback() || v4.is_multicast() || v4.is_unspecified() || v4.is_link_local() {
            return Err(wrong("network.subnet", &config.subnet, "is no subnet that hosts can use"));
        }
        let v6 = match config.subnet6.as_str() {
            "" => None,
            text => Some(parse_v6(text)?),
        };
        let network = Self { name: config.bridge.clone(), v4, prefix, v6 };
        network.check_name()?;
        Ok(network)
    }

    fn check_name(&self) -> Result<()> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &self.name;
        if name.is_empty() || name == "." || name == ".." || !name.chars().all(legal) {
            return Err(wrong("network.bridge", name, "is no name of an interface"));
        }
        let longest = self.bridge(self.slices() - 1).len();
        if longest > IFNAMSIZ {
            let room = IFNAMSIZ - (longest - name.len());
            let why = format!("is longer than {room} bytes, which this subnet's last bridge leaves to it");
            return Err(wrong("network.bridge", name, &why));
        }
        Ok(())
    }

    /// The network on a host whose kernel has no IPv6.
    pub(super) fn without_v6(self) -> Self {
        Self { v6: None, ..self }
    }

    /// How many bridges the subnet has room for.
    pub(super) fn slices(&self) -> Slice {
        1 << SLICE_PREFIX.saturating_sub(self.prefix)
    }

    /// The offsets of a slice that pods may have: all but the network's, the bridge's and the broadcast's.
    pub(super) fn offsets(&self) -> std::ops::Range<u32> {
        let size = 1 << (32 - u32::from(self.slice_prefix()));
        GATEWAY + 1..size - 1
    }

    fn slice_prefix(&self) -> u8 {
        self.prefix.max(SLICE_PREFIX)
    }

    /// The name of a slice's bridge.
    pub(super) fn bridge(&self, slice: Slice) -> String {
        match slice {
            0 => self.name.clone(),
            n => format!("{}-{n}", self.name),
        }
    }

    /// The name of a slice's nft table.
    pub(super) fn table(&self, slice: Slice) -> String {
        table(&self.bridge(slice))
    }

    /// The name of the nft table of the port filter, one for all slices.
    pub(super) fn filter_table(&self) -> String {
        format!("podrun-{}", self.name)
    }

    /// The group of the host's link of a pod: its IPv4 address. It stands for the lease in the port filter, and no
    /// two networks of a host have one in common, since their subnets never meet.
    pub(super) fn group(&self, slice: Slice, offset: u32) -> u32 {
        u32::from(self.v4) + slice * (1 << (32 - u32::from(self.slice_prefix()))) + offset
    }

    /// The group of a link whose pod may send anything: the subnet's own address, which no pod has.
    pub(super) fn open_group(&self) -> u32 {
        u32::from(self.v4)
    }

    /// The mask of the bits that all groups of the network share with [`Self::open_group`].
    pub(super) fn group_mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }

    /// The addresses at an offset of a slice, IPv4 first.
    pub(super) fn addresses(&self, slice: Slice, offset: u32) -> Vec<Address> {
        let v4 = Ipv4Addr::from(self.group(slice, offset));
        let mut addresses = vec![Address { ip: v4.into(), prefix: self.slice_prefix() }];
        if let Some((base, _)) = self.v6 {
            let v6 = Ipv6Addr::from(u128::from(base) | u128::from(slice) << 16 | u128::from(offset));
            addresses.push(Address { ip: v6.into(), prefix: SLICE6_PREFIX });
        }
        addresses
    }

    /// The IPv6 address that holds on one link only, without which a host cannot ask for its
    /// neighbours on behalf of others. It ends as the pod's other one does: they share a multicast group.
    pub(super) fn link_local(&self, offset: u32) -> Option<Address> {
        let ip = Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(offset));
        self.v6.map(|_| Address { ip: ip.into(), prefix: 64 })
    }

    /// The addresses of a slice's bridge, which are its pods' gateways.
    pub(super) fn gateways(&self, slice: Slice) -> Vec<Address> {
        self.addresses(slice, GATEWAY)
    }

    /// The whole subnets, IPv4 first.
    pub(super) fn subnets(&self) -> Vec<Address> {
        let mut subnets = vec![Address { ip: self.v4.into(), prefix: self.prefix }];
        subnets.extend(self.v6.map(|(ip, prefix)| Address { ip: ip.into(), prefix }));
        subnets
    }

    /// Whether a pod's packets stay here: the first of [`Self::subnets`] that shares an address with `other`.
    pub(super) fn overlap(&self, other: Address) -> Option<Address> {
        self.subnets().into_iter().find(|own| match (own.ip, other.ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(own.prefix.min(other.prefix));
                u64::from(u32::from(a)) >> shift == u64::from(u32::from(b)) >> shift
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128 - u32::from(own.prefix.min(other.prefix));
                shift < 128 && u128::from(a) >> shift == u128::from(b) >> shift
            }
            _ => false,
        })
    }
}

/// The name of a bridge's nft table.
pub(super) fn table(bridge: &str) -> String {
    format!("podrun-{bridge}")
}

/// The hardware address that goes with an IPv4 address, so that a neighbour's cache stays right
/// when an address has a new holder.
pub(super) fn mac(ip: IpAddr) -> Mac {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [0x0a, 0x58, a, b, c, d]
        }
        IpAddr::V6(_) => [0x0a, 0x58, 0, 0, 0, 0],
    }
}

fn parse_v6(text: &str) -> Result<(Ipv6Addr, u8)> {
    const FIELD: &str = "network.subnet6";
    let (IpAddr::V6(ip), prefix) = parse(FIELD, text)? else {
        return Err(wrong(FIELD, text, "is not IPv6"));
    };
    if !(16..=96).contains(&prefix) {
        return Err(wrong(FIELD, text, "must have a prefix from /16 to /96"));
    }
    if ip.is_loopback() || ip.is_multicast() || ip.is_unicast_link_local() {
        return Err(wrong(FIELD, text, "is no subnet that hosts can use"));
    }
    Ok((ip, prefix))
}

/// An address with its prefix length; bits beyond the prefix are refused, since they are a typo of one of the two.
fn parse(field: &str, text: &str) -> Result<(IpAddr, u8)> {
    let parsed = text
        .split_once('/')
        .and_then(|(ip, prefix)| Some((ip.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?)));
    let Some((ip, prefix)) = parsed else {
        return Err(wrong(field, text, "is no subnet in CIDR notation, as 10.87.0.0/16 is"));
    };
    let (width, bits) = match ip {
        IpAddr::V4(ip) => (32, u128::from(u32::from(ip))),
        IpAddr::V6(ip) => (128, u128::from(ip)),
    };
    let host_bits = width - u32::from(prefix).min(width);
    if u32::from(prefix) > width {
        return Err(wrong(field, text, &format!("has a prefix longer than /{width}")));
    }
    if bits & !(u128::MAX.checked_shl(host_bits).unwrap_or(0)) != 0 {
        let base = bits & u128::MAX.checked_shl(host_bits).unwrap_or(0);
        let meant = match ip {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from(u32::try_from(base).unwrap_or(0))),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::from(base)),
        };
        return Err(wrong(
            field,
            text,
            &format!("has bits beyond its prefix; did you mean {meant}/{prefix}?"),
        ));
    }
    Ok((ip, prefix))
}

fn wrong(field: &str, value: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{field}: `{value}` {why}"))
        .hint("the bridge network is set in the config file's section `network`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(bridge: &str, subnet: &str, subnet6: &str) -> Result<Network> {
        Network::new(&NetworkConfig {
            bridge: bridge.into(),
            subnet: subnet.into(),
            subnet6: subnet6.into(),
            idle_seconds: 0,
            ..NetworkConfig::default()
        })
    }

    fn refusal(bridge: &str, subnet: &str, subnet6: &str) -> String {
        network(bridge, subnet, subnet6).unwrap_err().message().to_string()
    }

    #[test]
    fn slices_never_meet() {
        let network = network("podrun0", "10.87.0.0/16", "fd10:87::/64").unwrap();
        assert_eq!(network.slices(), 128);
        assert_eq!(network.bridge(3), "podrun0-3");
        assert_eq!(network.offsets(), 2..511);
        let show = |list: Vec<Address>| {
            list.iter().map(|a| format!("{}/{}", a.ip, a.prefix)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(show(network.addresses(3, 5)), "10.87.6.5/23 fd10:87::3:5/112");
        assert_eq!(show(network.gateways(127)), "10.87.254.1/23 fd10:87::7f:1/112");
    }

    #[test]
    fn small_subnet_is_one_bridge() {
        let network = network("podrun0", "10.1.2.8/29", "").unwrap();
        assert_eq!((network.slices(), network.offsets()), (1, 2..7));
        assert_eq!(network.addresses(0, 6)[0], Address { ip: "10.1.2.14".parse().unwrap(), prefix: 29 });
    }

    #[test]
    fn wrong_configuration_is_named() {
        assert!(refusal("podrun0", "10.87.0.0", "").contains("is no subnet in CIDR notation"));
        assert!(refusal("podrun0", "10.87.1.2/16", "").ends_with("did you mean 10.87.0.0/16?"));
        assert!(refusal("podrun0", "10.87.0.0/31", "").contains("from /8 to /30"));
        assert!(refusal("podrun0", "127.0.0.0/8", "").contains("no subnet that hosts can use"));
        assert!(refusal("podrun0", "fd10::/64", "").contains("is not IPv4"));
        assert!(refusal("podrun0", "10.87.0.0/16", "fd10::/120").contains("from /16 to /96"));
        assert!(refusal("podrun0", "10.87.0.0/16", "fd10::1/64").ends_with("did you mean fd10::/64?"));
        assert!(refusal("", "10.87.0.0/16", "").contains("no name of an interface"));
        assert!(refusal("a/b", "10.87.0.0/16", "").contains("no name of an interface"));
        assert!(refusal("twelve-bytes", "10.87.0.0/16", "").contains("longer than 11 bytes"));
        assert!(network("fifteen-bytes-x", "10.87.0.0/24", "").is_ok());
    }

    #[test]
    fn overlap_is_seen_from_both_sides() {
        let network = network("podrun0", "10.87.0.0/16", "fd10:87::/64").unwrap();
        let overlaps =
            |ip: &str, prefix| network.overlap(Address { ip: ip.parse().unwrap(), prefix }).is_some();
        assert!(overlaps("10.87.7.1", 24) && overlaps("10.0.0.1", 8) && overlaps("fd10:87::9", 128));
        assert!(!overlaps("10.89.0.1", 16) && !overlaps("fd10:89::1", 64));
    }
}
