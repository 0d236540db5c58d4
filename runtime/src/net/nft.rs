//! nfnetlink: nf_tables rulesets as one transaction, in the order nft(8) would give them.
//!
//! Invariant: a [`Ruleset`] is applied whole or not at all, and a rule's expressions are in its
//! source in the order in which the kernel evaluates them.

use std::net::IpAddr;

use super::wire::{Attributes, Batch, ENOENT, Refused};
use crate::sys::kernel::netlink::{APPEND, CREATE, DUMP, EXCL, Socket, attributes, messages};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u8 = 10;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const FAMILY_UNSPEC: u8 = 0;
const TABLE_OWNER: u32 = 2;
const JUMP: i32 = -3;
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const REGISTER_VERDICT: u32 = 0;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
/// The first of the sixteen registers of four bytes, which lie where the others do.
const REGISTER_32: u32 = 8;

/// Where a base chain hooks in, as hook number, priority and chain type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    number: u32,
    priority: i32,
    kind: &'static str,
}

/// `type filter hook prerouting priority raw`, which is the first of all in the family bridge too.
pub(super) const FILTER_PREROUTING: Hook = Hook { number: 0, priority: -300, kind: "filter" };
/// `type nat hook prerouting priority dstnat`.
pub(super) const NAT_PREROUTING: Hook = Hook { number: 0, priority: -100, kind: "nat" };
/// `type nat hook output priority dstnat`.
pub(super) const NAT_OUTPUT: Hook = Hook { number: 3, priority: -100, kind: "nat" };
/// `type nat hook postrouting priority srcnat`.
pub(super) const NAT_POSTROUTING: Hook = Hook { number: 4, priority: 100, kind: "nat" };

/// The lifetime of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    /// It stays until it is deleted.
    Nobody,
    /// It goes with the socket that makes it, `kill -9` or not (Linux 5.12).
    Socket,
}

/// The packets that a table's chains see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Inet = 1,
    Bridge = 7,
}

/// A table, which need not be there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    family: Family,
    name: &'a str,
}

impl<'a> Table<'a> {
    /// Of the host's own IPv4 and IPv6 packets.
    pub(super) fn inet(name: &'a str) -> Self {
        Self { family: Family::Inet, name }
    }

    /// Of the frames of its bridges.
    pub(super) fn bridge(name: &'a str) -> Self {
        Self { family: Family::Bridge, name }
    }

    /// Begins with making the table.
    pub(super) fn create(self, keeper: Keeper) -> Ruleset<'a> {
        let mut rules = self.change();
        rules.message("add table", NEWTABLE, CREATE | EXCL, |message| {
            message.string(1, self.name);
            message.big_endian(2, if keeper == Keeper::Socket { TABLE_OWNER } else { 0 });
        });
        rules
    }

    /// Begins with a table that is there.
    pub(super) fn change(self) -> Ruleset<'a> {
        let mut rules = Ruleset { table: self, batch: Batch::default() };
        rules.batch.message("begin", BATCH_BEGIN, 0, &generic(FAMILY_UNSPEC, SUBSYSTEM), |_| {});
        rules
    }

    /// Deletes the table with all that is in it; none is fine. The rules stop at once, their memory is
    /// waited for when the socket closes.
    pub(super) fn delete(self, socket: &mut Socket) -> Result<(), Refused> {
        let mut rules = self.change();
        rules.message("delete table", DELTABLE, 0, |message| message.string(1, self.name));
        match rules.commit(socket) {
            Err(refused) if refused.errno() != ENOENT => Err(refused),
            _ => Ok(()),
        }
    }

    /// Whether the table is there and has the chain `name`.
    pub(super) fn has_chain(self, socket: &mut Socket, name: &str) -> Result<bool, Refused> {
        // A request that only reads is no transaction, and takes no lock.
        let mut question = Ruleset { table: self, batch: Batch::default() };
        question.message(&format!("get chain `{name}` of"), GETCHAIN, 0, |message| {
            message.string(1, self.name);
            message.string(3, name);
        });
        match question.batch.send(socket) {
            Ok(_) => Ok(true),
            Err(refused) if refused.errno() == ENOENT => Ok(false),
            Err(refused) => Err(refused),
        }
    }
}

/// The hook's number of every NAT chain.
pub(super) fn nat_chains(socket: &mut Socket) -> Result<Vec<u32>, Refused> {
    const HOOK: u16 = 4;
    const KIND: u16 = 7;
    let mut question = Batch::default();
    let kind = u16::from(SUBSYSTEM) << 8 | GETCHAIN;
    question.message("nftables: list chains", kind, DUMP, &generic(FAMILY_UNSPEC, 0), |_| {});
    let mut hooks = Vec::new();
    question.send_to(socket, |answer| {
        for message in messages(answer) {
            let find =
                |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let chain = message.payload().get(4..).unwrap_or_default();
            let number = find(chain, HOOK).and_then(|hook| find(hook, 1)?.try_into().ok());
            if find(chain, KIND) == Some(b"nat\0") {
                hooks.extend(number.map(u32::from_be_bytes));
            }
        }
    })?;
    Ok(hooks)
}

/// Changes to one table.
#[derive(Debug)]
pub(super) struct Ruleset<'a> {
    table: Table<'a>,
    batch: Batch,
}

/// A set's key: nft(8)'s types, of which one after the other makes a concatenation, and its length in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyType {
    pub(super) types: [u32; 3],
    pub(super) length: u32,
}

impl Ruleset<'_> {
    fn message(&mut self, act: &str, kind: u16, flags: u16, attributes: impl FnOnce(&mut Attributes<'_>)) {
        let act = format!("nftables: {act} `{}`", self.table.name);
        let kind = u16::from(SUBSYSTEM) << 8 | kind;
        self.batch.message(act, kind, flags, &generic(self.table.family as u8, 0), attributes);
    }

    /// Adds an empty set. nft(8) needs its `key`'s types to show it; to the kernel it is bytes.
    pub(super) fn set(&mut self, name: &str, key: KeyType) {
        const TYPE_BITS: u32 = 6;
        let (table, number) = (self.table.name, key.length);
        self.message(&format!("add set `{name}` of"), NEWSET, CREATE, |message| {
            message.string(1, table);
            message.string(2, name);
            message.big_endian(3, 0);
            message.big_endian(4, key.types.into_iter().fold(0, |types, one| types << TYPE_BITS | one));
            message.big_endian(5, key.length);
            // A handle for the rest of the transaction; names serve here.
            message.big_endian(10, number);
        });
    }

    /// Adds keys to a set, some of which may be there: as many as 64 KiB hold.
    pub(super) fn elements(&mut self, set: &str, keys: impl Iterator<Item = Vec<u8>>) {
        let table = self.table.name;
        self.message(&format!("add elements to set `{set}` of"), NEWSETELEM, CREATE, |message| {
            message.string(1, table);
            message.string(2, set);
            message.nest(3, |list| {
                for key in keys {
                    list.nest(1, |element| element.nest(1, |data| data.put(1, &key)));
                }
            });
        });
    }

    /// Adds a chain; a hook makes it a base chain.
    pub(super) fn chain(&mut self, name: &str, hook: Option<Hook>) {
        let table = self.table.name;
        self.message(&format!("add chain `{name}` of"), NEWCHAIN, CREATE, |message| {
            message.string(1, table);
            message.string(3, name);
            if let Some(hook) = hook {
                message.nest(4, |at| {
                    at.big_endian(1, hook.number);
                    at.big_endian(2, hook.priority.cast_unsigned());
                });
                message.string(7, hook.kind);
            }
        });
    }

    /// Appends a rule to a chain.
    pub(super) fn rule(&mut self, chain: &str, expressions: impl FnOnce(&mut Expressions<'_, '_>)) {
        let table = self.table.name;
        self.message(&format!("add rule to chain `{chain}` of"), NEWRULE, CREATE | APPEND, |message| {
            message.string(1, table);
            message.string(2, chain);
            message.nest(4, |list| expressions(&mut Expressions { list }));
        });
    }

    /// Commits: all of it, or nothing.
    pub(super) fn commit(mut self, socket: &mut Socket) -> Result<(), Refused> {
        self.batch.ask_for_answer();
        self.end().send(socket).map(drop)
    }

    fn end(mut self) -> Batch {
        self.batch.message("nftables: end", BATCH_END, 0, &generic(FAMILY_UNSPEC, SUBSYSTEM), |_| {});
        self.batch
    }
}

/// `struct nfgenmsg`.
pub(super) fn generic(family: u8, resource: u8) -> [u8; 4] {
    [family, 0, 0, resource]
}

/// The expressions of one rule.
#[derive(Debug)]
pub(super) struct Expressions<'a, 'b> {
    list: &'a mut Attributes<'b>,
}

/// Bytes of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    header: u32,
    offset: u32,
    length: usize,
}

impl Field {
    /// Of the Ethernet header. A VLAN tag that the kernel has taken off counts as being there.
    pub(super) const fn link(offset: u32, length: usize) -> Self {
        Self { header: 0, offset, length }
    }

    /// Of the header of IPv4, IPv6 or ARP.
    pub(super) const fn network(offset: u32, length: usize) -> Self {
        Self { header: 1, offset, length }
    }

    /// A field of the transport header, behind IPv6's extension headers; a rule with it does not match a packet
    /// that ends before. In a fragment other than the first it may hold anything: Linux 6.18 reads IPv6's own
    /// header there.
    pub(super) const fn transport(offset: u32, length: usize) -> Self {
        Self { header: 2, offset, length }
    }
}

/// A source or a destination.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    /// `saddr`.
    Source,
    /// `daddr`.
    Destination,
}

impl Expressions<'_, '_> {
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
        self.list.nest(1, |element| {
            element.string(1, name);
            element.nest(2, data);
        });
    }

    fn compare(&mut self, operation: u32, value: &[u8]) {
        self.expression("cmp", |data| {
            data.big_endian(1, REGISTER_1);
            data.big_endian(2, operation);
            data.nest(3, |data| data.put(1, value));
        });
    }

    fn meta(&mut self, key: u32) {
        self.expression("meta", |data| {
            data.big_endian(1, REGISTER_1);
            data.big_endian(2, key);
        });
    }

    fn payload(&mut self, register: u32, field: Field) {
        self.expression("payload", |data| {
            data.big_endian(1, register);
            data.big_endian(2, field.header);
            data.big_endian(3, field.offset);
            data.big_endian(4, u32::try_from(field.length).unwrap_or(16));
        });
    }

    fn mask(&mut self, mask: &[u8]) {
        self.expression("bitwise", |data| {
            data.big_endian(1, REGISTER_1);
            data.big_endian(2, REGISTER_1);
            data.big_endian(3, u32::try_from(mask.len()).unwrap_or(16));
            data.nest(4, |value| value.put(1, mask));
            data.nest(5, |value| value.put(1, &[0; 16][..mask.len()]));
        });
    }

    fn load(&mut self, register: u32, value: &[u8]) {
        self.expression("immediate", |data| {
            data.big_endian(1, register);
            data.nest(2, |data| data.put(1, value));
        });
    }

    fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |data| {
            data.big_endian(1, REGISTER_VERDICT);
            data.nest(2, |data| {
                data.nest(2, |verdict| {
                    verdict.big_endian(1, code.cast_unsigned());
                    if let Some(chain) = chain {
                        verdict.string(2, chain);
                    }
                });
            });
        });
    }

    /// `meta nfproto ipv4` or `ipv6`.
    pub(super) fn family_of(&mut self, ip: IpAddr) {
        const META_NFPROTO: u32 = 15;
        self.meta(META_NFPROTO);
        self.compare(EQUAL, &[family(ip)]);
    }

    /// `meta l4proto NUMBER`.
    pub(super) fn transport(&mut self, number: u8) {
        self.meta(META_L4PROTO);
        self.compare(EQUAL, &[number]);
    }

    /// `meta l4proto != NUMBER`; does not match where the protocol is unknown, as behind a truncated header.
    pub(super) fn transport_other_than(&mut self, number: u8) {
        self.meta(META_L4PROTO);
        self.compare(NOT_EQUAL, &[number]);
    }

    /// `meta length NUMBER`: from the network header on.
    pub(super) fn length(&mut self, number: u32) {
        const META_LEN: u32 = 0;
        self.meta(META_LEN);
        self.compare(EQUAL, &number.to_ne_bytes());
    }

    /// `iifname NAME`.
    pub(super) fn link_in(&mut self, name: &str) {
        const META_IIFNAME: u32 = 6;
        self.meta(META_IIFNAME);
        self.compare(EQUAL, &interface(name));
    }

    /// `oifname NAME`.
    pub(super) fn link_out(&mut self, name: &str) {
        const META_OIFNAME: u32 = 7;
        self.meta(META_OIFNAME);
        self.compare(EQUAL, &interface(name));
    }

    /// `iifgroup & MASK == GROUP`.
    pub(super) fn group_in(&mut self, group: u32, mask: u32) {
        self.group(EQUAL, group, mask);
    }

    /// `iifgroup & MASK != GROUP`.
    pub(super) fn group_outside(&mut self, group: u32, mask: u32) {
        self.group(NOT_EQUAL, group, mask);
    }

    fn group(&mut self, operation: u32, group: u32, mask: u32) {
        self.meta(META_IIFGROUP);
        self.mask(&mask.to_ne_bytes());
        self.compare(operation, &group.to_ne_bytes());
    }

    /// `iifgroup . FIELD . FIELD @SET`.
    pub(super) fn group_with(&mut self, fields: [Field; 2], set: &str) {
        self.meta(META_IIFGROUP);
        let mut register = REGISTER_32 + 1;
        for field in fields {
            self.payload(register, field);
            register += u32::try_from(field.length.div_ceil(4)).unwrap_or(4);
        }
        self.expression("lookup", |data| {
            data.string(1, set);
            data.big_endian(2, REGISTER_1);
        });
    }

    /// `exthdr frag exists`, of IPv6.
    pub(super) fn fragment(&mut self) {
        const FRAGMENT: u8 = 44;
        const PRESENT: u32 = 1;
        self.expression("exthdr", |data| {
            data.big_endian(1, REGISTER_1);
            data.put(2, &[FRAGMENT]);
            data.big_endian(3, 0);
            data.big_endian(4, 1);
            data.big_endian(5, PRESENT);
        });
        self.compare(EQUAL, &[1]);
    }

    /// The field is `value`.
    pub(super) fn field(&mut self, field: Field, value: &[u8]) {
        self.payload(REGISTER_1, field);
        self.compare(EQUAL, value);
    }

    /// The field, a number, is less than `value`.
    pub(super) fn field_below(&mut self, field: Field, value: &[u8]) {
        self.payload(REGISTER_1, field);
        self.compare(LESS, value);
    }

    /// `ip saddr NETWORK/PREFIX` and its kin; `inside` false turns it round.
    pub(super) fn within(&mut self, side: Side, network: IpAddr, prefix: u8) {
        self.address(side, network, prefix, EQUAL);
    }

    /// `ip saddr != NETWORK/PREFIX` and its kin.
    pub(super) fn outside(&mut self, side: Side, network: IpAddr, prefix: u8) {
        self.address(side, network, prefix, NOT_EQUAL);
    }

    fn address(&mut self, side: Side, network: IpAddr, prefix: u8, operation: u32) {
        let bytes = octets(network);
        let offset = match (network, side) {
            (IpAddr::V4(_), Side::Source) => 12,
            (IpAddr::V4(_), Side::Destination) => 16,
            (IpAddr::V6(_), Side::Source) => 8,
            (IpAddr::V6(_), Side::Destination) => 24,
        };
        self.payload(REGISTER_1, Field::network(offset, bytes.len()));
        let mask = prefix_mask(prefix);
        if usize::from(prefix) < bytes.len() * 8 {
            self.mask(&mask[..bytes.len()]);
        }
        self.compare(operation, &bytes);
    }

    /// `th dport PORT`.
    pub(super) fn destination_port(&mut self, port: u16) {
        self.field(Field::transport(2, 2), &port.to_be_bytes());
    }

    /// `fib daddr type local`.
    pub(super) fn local_destination(&mut self) {
        const RESULT_ADDRTYPE: u32 = 3;
        const DESTINATION: u32 = 2;
        const RTN_LOCAL: u32 = 2;
        self.expression("fib", |data| {
            data.big_endian(1, REGISTER_1);
            data.big_endian(2, RESULT_ADDRTYPE);
            data.big_endian(3, DESTINATION);
        });
        self.compare(EQUAL, &RTN_LOCAL.to_ne_bytes());
    }

    /// `ct status dnat`.
    pub(super) fn redirected(&mut self) {
        const CT_STATUS: u32 = 2;
        const IPS_DST_NAT: u32 = 1 << 5;
        self.expression("ct", |data| {
            data.big_endian(1, REGISTER_1);
            data.big_endian(2, CT_STATUS);
        });
        self.mask(&IPS_DST_NAT.to_ne_bytes());
        self.compare(NOT_EQUAL, &[0; 4]);
    }

    /// `drop`.
    pub(super) fn drop(&mut self) {
        self.verdict(DROP, None);
    }

    /// `accept`.
    pub(super) fn accept(&mut self) {
        self.verdict(ACCEPT, None);
    }

    /// `jump CHAIN`.
    pub(super) fn jump(&mut self, chain: &str) {
        self.verdict(JUMP, Some(chain));
    }

    /// `masquerade`.
    pub(super) fn masquerade(&mut self) {
        self.expression("masq", |_| {});
    }

    /// `dnat to IP:PORT`.
    pub(super) fn redirect(&mut self, ip: IpAddr, port: u16) {
        const DNAT: u32 = 1;
        self.load(REGISTER_1, &octets(ip));
        self.load(REGISTER_2, &port.to_be_bytes());
        self.expression("nat", |data| {
            data.big_endian(1, DNAT);
            data.big_endian(2, u32::from(family(ip)));
            data.big_endian(3, REGISTER_1);
            data.big_endian(5, REGISTER_2);
        });
    }
}

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const LESS: u32 = 2;
const META_L4PROTO: u32 = 16;
const META_IIFGROUP: u32 = 21;

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 2 } else { 10 }
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn prefix_mask(prefix: u8) -> [u8; 16] {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0).to_be_bytes()
}

/// An interface's name as the kernel compares it: IFNAMSIZ bytes.
fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruleset_is_framed_as_one_transaction() {
        let mut rules = Table::inet("t").create(Keeper::Socket);
        rules.rule("c", |rule| rule.drop());
        let batch = rules.end();
        #[rustfmt::skip]
        let golden = [
            20, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, // begin, nf_tables
            36, 0, 0, 0, 0, 10, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,    // NFT_MSG_NEWTABLE, inet
            6, 0, 1, 0, b't', 0, 0, 0,
            8, 0, 2, 0, 0, 0, 0, 2,                                          // NFT_TABLE_F_OWNER
            88, 0, 0, 0, 6, 10, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,   // NFT_MSG_NEWRULE
            6, 0, 1, 0, b't', 0, 0, 0,
            6, 0, 2, 0, b'c', 0, 0, 0,
            52, 0, 4, 0x80, 48, 0, 1, 0x80,
            14, 0, 1, 0, b'i', b'm', b'm', b'e', b'd', b'i', b'a', b't', b'e', 0, 0, 0,
            28, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 0,
            16, 0, 2, 0x80, 12, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 0,
            20, 0, 0, 0, 0x11, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10,
        ];
        assert_eq!(batch.bytes(), golden);
    }

    #[test]
    fn masks_cover_the_prefix() {
        assert_eq!(prefix_mask(23)[..4], [255, 255, 254, 0]);
        assert_eq!(prefix_mask(0)[..4], [0; 4]);
    }
}
