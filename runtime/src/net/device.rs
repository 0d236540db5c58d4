//! Links of the host's that a container gets (runtime-spec, config-linux.md, "Network Devices").
//!
//! Invariant: a link keeps its settings and its permanent global addresses wherever it moves. A call moves all
//! of its links or none: after a failure the moved ones come back as they were.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use super::link::{
    IFF_UP, IFLA_EXT_MASK, IFLA_IFNAME, IFLA_NET_NS_FD, RTEXT_FILTER_SKIP_STATS, RTM_GETADDR, RTM_GETLINK,
    RTM_NEWADDR, RTM_NEWLINK, find, ifinfo,
};
use super::wire::{Batch, Refused};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::kernel::netlink::{CREATE, DUMP, EXCL, Family, Socket, attributes, messages, u32_at};
use crate::sys::process::ns;

const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// Address flags that the kernel sets and does not take back: secondary, duplicate, tentative.
const IFA_F_OF_KERNEL: u32 = 0x01 | 0x08 | 0x40;
const RT_SCOPE_UNIVERSE: u8 = 0;
/// The kernel's IFNAMSIZ, which counts the NUL.
const IFNAMSIZ: usize = 16;

/// A link to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name on the host.
    pub name: String,
    /// Its name in the container; with `%d` in it the kernel chooses the number.
    pub inside: String,
}

impl Device {
    /// A link called `name`, to be called `inside`. Refuses a name that no link can have.
    pub fn new(name: &str, inside: Option<&str>) -> Result<Self> {
        let inside = inside.filter(|inside| !inside.is_empty()).unwrap_or(name);
        let plain = |name: &str| {
            !name.is_empty()
                && name.len() < IFNAMSIZ
                && name != "."
                && name != ".."
                && !name.contains(|character: char| {
                    character == '/'
                        || character == ':'
                        || character.is_whitespace()
                        || character.is_control()
                })
        };
        let template = inside.replacen("%d", "", 1);
        if !plain(name) || !plain(inside) || name.contains('%') || template.contains('%') {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("linux.netDevices: `{name}`: `{inside}` is no name of a link"),
            )
            .hint("a name has 1 to 15 characters, without blanks, `/` and `:`; in the container's one `%d` may stand for a number"));
        }
        Ok(Self { name: name.to_owned(), inside: inside.to_owned() })
    }
}

/// Moved links, with their former names and settings.
#[derive(Debug)]
pub struct Moved {
    home: OwnedFd,
    namespace: OwnedFd,
    links: Vec<Was>,
}

/// A link as it was where it came from.
#[derive(Debug)]
struct Was {
    name: String,
    up: bool,
    addresses: Vec<Vec<u8>>,
    /// Its index where it is now.
    index: u32,
}

/// Moves `devices` into `namespace`, all of them or none. The caller is in the namespace that they come from, and has one
/// thread.
pub fn move_all(devices: &[Device], namespace: BorrowedFd<'_>) -> Result<Moved> {
    let mut here = Socket::open(Family::Route)?;
    let mut there = ns::visit_network(namespace, || Socket::open(Family::Route))??;
    let home = ns::current_network()?.into();
    let mut moved = Moved { home, namespace: namespace.try_clone_to_owned()?, links: Vec::new() };
    for device in devices {
        let gone = move_one(device, namespace, &mut here, &mut there, &mut moved.links);
        if let Err(error) = gone.context(|| format!("linux.netDevices: `{}`", device.name)) {
            return Err(match moved.back() {
                Ok(()) => error,
                Err(also) => error.hint(format!("and what was moved before is not back: {also}")),
            });
        }
    }
    Ok(moved)
}

fn move_one(
    device: &Device,
    namespace: BorrowedFd<'_>,
    here: &mut Socket,
    there: &mut Socket,
    links: &mut Vec<Was>,
) -> Result<()> {
    let Device { name, inside } = device;
    let Some(found) = find(here, name)? else {
        return Err(Error::new(ErrorKind::Usage, "the host has no such link")
            .hint("`ip link` lists those that there are"));
    };
    let before = indexes(there)?;
    if before.iter().any(|(taken, _)| taken == inside) {
        return Err(Error::new(ErrorKind::Exists, format!("the container has a link `{inside}` already")));
    }
    let addresses = addresses(here, found.index)?;
    send(here, &format!("move link `{name}`"), found.index, |message| {
        message.number(IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
        message.string(IFLA_IFNAME, inside);
    })?;
    let new = indexes(there)?.into_iter().find(|(_, index)| !before.iter().any(|(_, known)| known == index));
    let Some((_, index)) = new else {
        return Err(Error::failed("it is not where it was moved to"));
    };
    links.push(Was { name: name.clone(), up: found.up, addresses: addresses.clone(), index });
    settle(there, index, &addresses, true)
}

impl Moved {
    /// Moves them back, as they were: for a container that does not come to be.
    pub fn back(self) -> Result<()> {
        let Self { home, namespace, links } = self;
        if links.is_empty() {
            return Ok(());
        }
        let mut here = Socket::open(Family::Route)?;
        let mut there = ns::visit_network(namespace.as_fd(), || Socket::open(Family::Route))??;
        for was in links.into_iter().rev() {
            let name = was.name.as_str();
            send(&mut there, &format!("move link `{name}` back"), was.index, |message| {
                message.number(IFLA_NET_NS_FD, home.as_raw_fd().cast_unsigned());
                message.string(IFLA_IFNAME, name);
            })?;
            if let Some(found) = find(&mut here, name)? {
                settle(&mut here, found.index, &was.addresses, was.up)?;
            }
        }
        Ok(())
    }
}

/// Gives a link that has just come its addresses and sets it up. A link that moves is down, and has lost them.
fn settle(socket: &mut Socket, index: u32, addresses: &[Vec<u8>], up: bool) -> Result<()> {
    for address in addresses {
        let mut fixed = [0; 8];
        let (head, rest) = address.split_at_checked(fixed.len()).unwrap_or_default();
        fixed.copy_from_slice(head);
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        let mut batch = Batch::default();
        batch.message("add address", RTM_NEWADDR, CREATE | EXCL, &fixed, |message| {
            for (kind, value) in attributes(rest) {
                message.put(kind, value);
            }
        });
        batch.ask_for_answer();
        batch.send(socket)?;
    }
    if up {
        let mut batch = Batch::default();
        batch.message("set up", RTM_NEWLINK, 0, &info(index, IFF_UP, IFF_UP), |_| {});
        batch.ask_for_answer();
        batch.send(socket)?;
    }
    Ok(())
}

/// `struct ifinfomsg` of the link with `index`.
fn info(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = ifinfo(flags, change);
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes
}

fn send(
    socket: &mut Socket,
    act: &str,
    index: u32,
    attributes: impl FnOnce(&mut super::wire::Attributes<'_>),
) -> Result<(), Refused> {
    let mut batch = Batch::default();
    batch.message(act, RTM_NEWLINK, 0, &info(index, 0, 0), attributes);
    batch.ask_for_answer();
    batch.send(socket).map(drop)
}

/// Every link of the namespace: its name and index.
fn indexes(socket: &mut Socket) -> Result<Vec<(String, u32)>, Refused> {
    let mut batch = Batch::default();
    batch.message("list links", RTM_GETLINK, DUMP, &info(0, 0, 0), |message| {
        message.number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    });
    let answer = batch.send(socket)?;
    let parse = |payload: &[u8]| {
        let (_, rest) = payload.split_at_checked(16)?;
        let (_, name) = attributes(rest).find(|(kind, _)| *kind == IFLA_IFNAME)?;
        Some((String::from_utf8_lossy(name).trim_end_matches('\0').to_owned(), u32_at(payload, 4)?))
    };
    Ok(messages(&answer).filter_map(|message| parse(message.payload())).collect())
}

/// The permanent global addresses of a link, as messages that can be sent again.
fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<Vec<u8>>, Refused> {
    let mut batch = Batch::default();
    batch.message("list addresses", RTM_GETADDR, DUMP, &[0; 8], |_| {});
    let answer = batch.send(socket)?;
    Ok(messages(&answer)
        .filter(|message| message.kind == RTM_NEWADDR)
        .filter_map(|message| permanent(message.payload(), index))
        .collect())
}

/// The message that adds an address again, if it is a permanent one of `index`. Its label begins with the
/// link's name, which may change, and without lifetimes it is permanent.
fn permanent(payload: &[u8], index: u32) -> Option<Vec<u8>> {
    let (fixed, rest) = payload.split_at_checked(8)?;
    let of_attribute = attributes(rest).find(|(kind, _)| *kind == IFA_FLAGS);
    let flags = of_attribute.and_then(|(_, value)| u32_at(value, 0)).unwrap_or_else(|| u32::from(fixed[2]));
    if u32_at(fixed, 4)? != index || flags & IFA_F_PERMANENT == 0 || fixed[3] != RT_SCOPE_UNIVERSE {
        return None;
    }
    let mut batch = Batch::default();
    let flags = flags & !IFA_F_OF_KERNEL;
    let head = [fixed[0], fixed[1], 0, fixed[3], fixed[4], fixed[5], fixed[6], fixed[7]];
    batch.message("", RTM_NEWADDR, 0, &head, |message| {
        let kept = |kind: &u16| ![IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS].contains(kind);
        for (kind, value) in attributes(rest).filter(|(kind, _)| kept(kind)) {
            message.put(kind, value);
        }
        message.number(IFA_FLAGS, flags);
    });
    Some(batch.payload_of_last().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        let device = |name: &str, inside: Option<&str>| Device::new(name, inside).map(|device| device.inside);
        assert_eq!(device("eth0", None).unwrap(), "eth0");
        assert_eq!(device("eth0", Some("")).unwrap(), "eth0");
        assert_eq!(device("eth0", Some("net%d")).unwrap(), "net%d");
        for (name, inside) in [
            ("", None),
            ("eth0", Some("a/b")),
            ("eth0", Some("a b")),
            ("eth0", Some("..")),
            ("eth0", Some("a:b")),
            ("eth0", Some("sixteen-letters-")),
            ("eth0", Some("%d%d")),
            ("eth0", Some("%s")),
            ("eth%d", Some("eth0")),
        ] {
            assert!(device(name, inside).is_err(), "{name} {inside:?}");
        }
    }

    #[test]
    fn permanent_global_addresses_are_kept() {
        let payload = |flags: u32, scope: u8| {
            let mut batch = Batch::default();
            let fixed = [2, 24, u8::try_from(flags & 0xff).unwrap(), scope, 7, 0, 0, 0];
            batch.message("", RTM_NEWADDR, 0, &fixed, |message| {
                message.put(1, &[10, 0, 0, 1]);
                message.string(IFA_LABEL, "eth0");
                message.put(IFA_CACHEINFO, &[0xff; 16]);
                message.number(IFA_FLAGS, flags);
            });
            batch.payload_of_last().to_vec()
        };
        let kept = permanent(&payload(IFA_F_PERMANENT | 0x01, 0), 7).unwrap();
        let attributes: Vec<_> = attributes(&kept[8..]).collect();
        assert_eq!(attributes, [(1, &[10, 0, 0, 1][..]), (IFA_FLAGS, &IFA_F_PERMANENT.to_ne_bytes()[..])]);
        assert!(permanent(&payload(IFA_F_PERMANENT, 0), 8).is_none(), "of another link");
        assert!(permanent(&payload(IFA_F_PERMANENT, 253), 7).is_none(), "of the link's own scope");
        assert!(permanent(&payload(0, 0), 7).is_none(), "with a time to live");
    }
}
