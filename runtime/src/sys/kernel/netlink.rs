//! Netlink sockets, for rtnetlink and nfnetlink: one request of several messages, one answer.
//!
//! Invariant: when [`Socket::transact`] returns, every answer to its request has been read, so the
//! next one starts clean; and it never blocks, because the kernel queues the answers of these two
//! families before `send` returns. See netlink(7).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::sys::{Error, Result};

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer this message even when it succeeds.
pub const ACK: u16 = 0x4;
/// `NLM_F_EXCL`, of a message that makes something.
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`, of a message that makes something.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`, of a message that makes something.
pub const APPEND: u16 = 0x800;
/// `NLM_F_DUMP`: answer with every object.
pub const DUMP: u16 = 0x300;

const MULTI: u16 = 0x2;
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
const ATTRIBUTE_MESSAGE: u16 = 1;
/// More than any answer here; the kernel sizes a dump's parts by the reader's buffer. On the stack, since a
/// monitor keeps every page of heap that it ever touched.
const RECEIVE: usize = 8 * 1024;

/// The protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// rtnetlink(7): links, addresses, routes.
    Route,
    /// nfnetlink: nf_tables.
    Netfilter,
}

/// A netlink socket. It acts on the network namespace that it was opened in, wherever its holder goes.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// The kernel's no to one message of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the request's messages it was, from 0.
    pub message: usize,
    /// The errno.
    pub errno: i32,
    /// The kernel's explanation, if any.
    pub reason: Option<String>,
}

impl Socket {
    /// Opens a socket in the caller's network namespace.
    pub fn open(family: Family) -> Result<Self> {
        let (protocol, name) = match family {
            Family::Route => (None, "NETLINK_ROUTE"),
            Family::Netfilter => (Some(net::netlink::NETFILTER), "NETLINK_NETFILTER"),
        };
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol);
        let fd = fd.map_err(|errno| {
            Error::new(format!("socket(AF_NETLINK, SOCK_RAW, {name})"), errno.raw_os_error())
        })?;
        // An error says why in words, and does not echo the request. Kernels before 4.12 lack the
        // first and 4.3 the second: then errors are terse, which is no reason to fail.
        set_option(&fd, libc::NETLINK_EXT_ACK);
        set_option(&fd, libc::NETLINK_CAP_ACK);
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends the messages in `request` at once, numbers them, and reads until the last that asks for an
    /// answer has it. Gives the answers other than acknowledgements to `take`, headers included.
    ///
    /// The kernel goes on after a message that it refuses; the first refusal is returned.
    pub fn transact(
        &mut self,
        request: &mut [u8],
        mut take: impl FnMut(&[u8]),
    ) -> std::result::Result<(), Refusal> {
        let first = self.sequence.wrapping_add(1);
        let (count, last) = number(request, first);
        self.sequence = self.sequence.wrapping_add(count);
        let refused = |errno: i32| Refusal { message: 0, errno, reason: None };
        let sent = retry(|| net::send(&self.fd, &*request, SendFlags::empty()))
            .map_err(|errno| refused(errno.raw_os_error()))?;
        if sent != request.len() {
            return Err(refused(Errno::MSGSIZE.raw_os_error()));
        }
        let mut refusal = None;
        let mut datagram = [0; RECEIVE];
        loop {
            let (_, length) = match retry(|| net::recv(&self.fd, &mut datagram[..], RecvFlags::DONTWAIT)) {
                Ok(received) => received,
                // After a refusal of a whole batch nothing more comes.
                Err(errno) => return Err(refusal.unwrap_or_else(|| refused(errno.raw_os_error()))),
            };
            for message in messages(&datagram[..length]) {
                let index = message.sequence.wrapping_sub(first);
                if index >= count {
                    continue;
                }
                let is_last = index == last;
                match message.kind {
                    TYPE_ERROR => {
                        refusal = refusal.or_else(|| parse_error(&message, index as usize));
                        if is_last {
                            return refusal.map_or(Ok(()), Err);
                        }
                    }
                    TYPE_DONE if is_last => return refusal.map_or(Ok(()), Err),
                    _ => {
                        take(message.bytes);
                        if is_last && message.flags & MULTI == 0 {
                            return refusal.map_or(Ok(()), Err);
                        }
                    }
                }
            }
        }
    }
}

fn set_option(fd: &OwnedFd, option: libc::c_int) {
    const LENGTH: libc::socklen_t = 4;
    let on: libc::c_int = 1;
    // SAFETY: setsockopt(2) reads LENGTH bytes of `on`, which is an int of that size and lives until the call returns.
    unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), LENGTH);
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// One message of a datagram or of a request.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    sequence: u32,
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// The bytes after the header.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }
}

/// The messages in `bytes`; stops at the first that is cut off.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        if length < HEADER || length > bytes.len() {
            return None;
        }
        let (message, rest) = (&bytes[..length], bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]));
        bytes = rest;
        Some(Message {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            bytes: message,
        })
    })
}

/// The attributes in `bytes`, as type and value; stops at the first that is cut off.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The 32-bit number at `at`, in the host's byte order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Numbers the messages of a request from `first`; how many there are, and the index of the last
/// that is answered: by an acknowledgement or a dump where one asks for it, else the last of all.
fn number(request: &mut [u8], first: u32) -> (u32, u32) {
    let (mut at, mut count, mut asked) = (0, 0, None);
    while let (Some(length), Some(flags)) = (u32_at(request, at), u16_at(request, at + 6)) {
        request[at + 8..at + 12].copy_from_slice(&first.wrapping_add(count).to_ne_bytes());
        if flags & (ACK | DUMP) != 0 && flags & CREATE == 0 || flags & ACK != 0 {
            asked = Some(count);
        }
        count += 1;
        at += (length as usize).max(HEADER).next_multiple_of(4);
    }
    (count, asked.unwrap_or(count.saturating_sub(1)))
}

fn parse_error(message: &Message<'_>, index: usize) -> Option<Refusal> {
    let payload = message.payload();
    let code = u32_at(payload, 0)?.cast_signed();
    if code == 0 {
        return None;
    }
    let reason = (message.flags & ACK_TLVS != 0).then(|| {
        let echoed = match message.flags & CAPPED {
            0 => u32_at(payload, 4).map_or(HEADER, |length| length as usize),
            _ => HEADER,
        };
        let tlvs = payload.get(4 + echoed.next_multiple_of(4)..)?;
        let (_, text) = attributes(tlvs).find(|(kind, _)| *kind == ATTRIBUTE_MESSAGE)?;
        Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_string())
    });
    Some(Refusal { message: index, errno: code.saturating_neg(), reason: reason.flatten() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn last_acknowledged_message_ends_the_answer() {
        let mut request = message(16, REQUEST | ACK, 0, &[1, 2, 3]);
        request.extend(message(17, REQUEST, 0, &[]));
        assert_eq!(number(&mut request, 7), (2, 0));
        let numbers: Vec<u32> = messages(&request).map(|message| message.sequence).collect();
        assert_eq!(numbers, [7, 8]);
    }

    #[test]
    fn creating_message_is_not_taken_for_a_dump() {
        let mut request = message(16, REQUEST | CREATE | EXCL, 0, &[]);
        request.extend(message(17, REQUEST, 0, &[]));
        assert_eq!(number(&mut request, 1), (2, 1));
        let mut request = message(22, REQUEST | DUMP, 0, &[]);
        request.extend(message(17, REQUEST, 0, &[]));
        assert_eq!(number(&mut request, 1), (2, 0));
    }

    #[test]
    fn refusal_carries_the_kernels_words() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend(message(16, 0, 3, &[]));
        payload.extend(9u16.to_ne_bytes());
        payload.extend(ATTRIBUTE_MESSAGE.to_ne_bytes());
        payload.extend(b"busy\0\0\0\0");
        let bytes = message(TYPE_ERROR, CAPPED | ACK_TLVS, 3, &payload);
        let parsed = messages(&bytes).next().unwrap();
        let refusal = parse_error(&parsed, 2).unwrap();
        assert_eq!(refusal, Refusal { message: 2, errno: 17, reason: Some("busy".into()) });
    }

    #[test]
    fn cut_off_bytes_end_the_walk() {
        let bytes = message(16, 0, 1, &[0; 8]);
        assert_eq!(messages(&bytes[..20]).count(), 0);
        assert_eq!(attributes(&[8, 0, 1, 0, 1]).count(), 0);
    }
}
