//! ctnetlink: the kernel's tracked flows, and the deletion of stale ones.
//!
//! NAT rules apply to a flow's first packet alone. A UDP client that keeps its source port therefore stays with
//! the former pod, or with no pod if it came before the pod, as long as it sends often enough to be tracked.
//! TCP needs none of this: a SYN to a closed port begins a new flow.
//!
//! Invariant: a flow is deleted by its whole tuple and its id, so that one which took its place meanwhile stays.

use std::net::IpAddr;

use super::link::{AF_INET, AF_INET6};
use super::nft;
use super::wire::{Batch, ENOENT, Refused};
use crate::sys::kernel::netlink::{DUMP, Socket, attributes, messages};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
/// The filter is about the transport (Linux 5.8).
const FILTER_PROTOCOL: u32 = 1 << 3;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;

/// A flow that the kernel remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// Where its first packet was sent to.
    pub(super) to: IpAddr,
    pub(super) port: u16,
    /// Where the answers come from: `to`, unless it is redirected.
    pub(super) answered_by: IpAddr,
}

/// The attributes by which a flow is deleted.
#[derive(Debug)]
struct Handle {
    family: u8,
    original: Vec<u8>,
    id: Vec<u8>,
}

/// Has the kernel forget the flows of a transport for which `is_wrong` holds. It looks through its whole table for each
/// family, which takes some milliseconds.
pub(super) fn forget(
    socket: &mut Socket,
    transport: u8,
    is_wrong: impl Fn(&Flow) -> bool,
) -> Result<(), Refused> {
    for family in [AF_INET, AF_INET6] {
        let mut wrong = Vec::new();
        list(family, transport).send_to(socket, |answer| {
            wrong.extend(messages(answer).filter_map(|message| {
                let (flow, handle) = parse(message.payload())?;
                is_wrong(&flow).then_some(handle)
            }));
        })?;
        for handle in wrong {
            match delete(&handle).send(socket) {
                // It has ended by itself.
                Err(refused) if refused.errno() == ENOENT => {}
                deleted => drop(deleted?),
            }
        }
    }
    Ok(())
}

fn list(family: u8, transport: u8) -> Batch {
    let mut batch = Batch::default();
    batch.message("list flows", SUBSYSTEM << 8 | GET, DUMP, &nft::generic(family, 0), |message| {
        message.nest(TUPLE_ORIGINAL, |tuple| {
            tuple.nest(TUPLE_PROTOCOL, |protocol| protocol.put(PROTOCOL_NUMBER, &[transport]));
        });
        message.nest(FILTER, |filter| filter.number(FILTER_ORIGINAL, FILTER_PROTOCOL));
    });
    batch
}

fn delete(handle: &Handle) -> Batch {
    let mut batch = Batch::default();
    let fixed = nft::generic(handle.family, 0);
    batch.message("forget a flow", SUBSYSTEM << 8 | DELETE, 0, &fixed, |message| {
        message.nest_after(TUPLE_ORIGINAL, &handle.original, |_| {});
        message.put(ID, &handle.id);
    });
    batch.ask_for_answer();
    batch
}

fn parse(payload: &[u8]) -> Option<(Flow, Handle)> {
    let (fixed, rest) = payload.split_at_checked(4)?;
    let original = find(rest, TUPLE_ORIGINAL)?;
    let (protocol, address) = (find(original, TUPLE_PROTOCOL)?, |tuple, v4, v6| {
        let ip = find(tuple, TUPLE_IP)?;
        match (find(ip, v4), find(ip, v6)) {
            (Some(bytes), _) => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            (None, bytes) => Some(IpAddr::from(<[u8; 16]>::try_from(bytes?).ok()?)),
        }
    });
    let port = find(protocol, PROTOCOL_DESTINATION_PORT)?;
    let flow = Flow {
        to: address(original, V4_DESTINATION, V6_DESTINATION)?,
        port: u16::from_be_bytes(port.try_into().ok()?),
        answered_by: address(find(rest, TUPLE_REPLY)?, V4_SOURCE, V6_SOURCE)?,
    };
    let handle = Handle { family: fixed[0], original: original.to_vec(), id: find(rest, ID)?.to_vec() };
    Some((flow, handle))
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirected_flow_is_read_and_deleted_by_its_tuple() {
        let mut batch = Batch::default();
        let tuple = |tuple: &mut super::super::wire::Attributes<'_>, from: [u8; 4], to: [u8; 4]| {
            tuple.nest(TUPLE_IP, |ip| {
                ip.put(V4_SOURCE, &from);
                ip.put(V4_DESTINATION, &to);
            });
            tuple.nest(TUPLE_PROTOCOL, |protocol| {
                protocol.put(PROTOCOL_NUMBER, &[17]);
                protocol.put(PROTOCOL_DESTINATION_PORT, &53_u16.to_be_bytes());
            });
        };
        batch.message("", SUBSYSTEM << 8, 0, &nft::generic(AF_INET, 0), |message| {
            message.nest(TUPLE_ORIGINAL, |original| tuple(original, [192, 0, 2, 9], [192, 0, 2, 1]));
            message.nest(TUPLE_REPLY, |reply| tuple(reply, [10, 87, 0, 2], [192, 0, 2, 9]));
            message.put(ID, &[1, 2, 3, 4]);
        });
        let (flow, handle) = parse(batch.payload_of_last()).unwrap();
        let to = [192, 0, 2, 1].into();
        assert_eq!(flow, Flow { to, port: 53, answered_by: [10, 87, 0, 2].into() });
        let deletion = delete(&handle);
        let sent = deletion.payload_of_last();
        assert_eq!(find(&sent[4..], TUPLE_ORIGINAL), Some(&handle.original[..]));
        assert_eq!(find(&sent[4..], ID), Some(&[1, 2, 3, 4][..]));
        assert!(parse(&sent[..20]).is_none(), "cut off");
    }
}
