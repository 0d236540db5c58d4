//! The bytes of netlink requests: messages of type-length-value attributes, as netlink(7) draws them.
//!
//! Pure. Invariant: every message and attribute is padded to four bytes and carries its own length, so that a
//! [`Batch`] is always well formed; each message has words for the kernel's error.

use crate::error::{Error, ErrorKind, Result};
use crate::sys;
use crate::sys::kernel::netlink::{ACK, HEADER, REQUEST, Refusal, Socket};

const NESTED: u16 = 0x8000;

/// Messages that are sent in one go.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    acts: Vec<String>,
    last: usize,
}

impl Batch {
    /// Appends a message: its type, its flags beyond `NLM_F_REQUEST`, its fixed part and its attributes. `act`
    /// names the act, as in `add address 10.87.0.2 to eth0`.
    pub(super) fn message(
        &mut self,
        act: impl Into<String>,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        attributes(&mut Attributes { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - start).expect("a message is shorter than 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.acts.push(act.into());
        self.last = start;
    }

    /// Asks for an answer to the message appended last, whether it succeeds or not.
    pub(super) fn ask_for_answer(&mut self) {
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let with_ack = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
            flags.copy_from_slice(&with_ack.to_ne_bytes());
        }
    }

    /// Sends the messages and gives back the answers.
    pub(super) fn send(self, socket: &mut Socket) -> Result<Vec<u8>, Refused> {
        let mut answers = Vec::new();
        self.send_to(socket, |answer| {
            answers.extend_from_slice(answer);
            pad(&mut answers);
        })?;
        Ok(answers)
    }

    /// Sends the messages and passes each answer to `take`: for answers too many to keep.
    pub(super) fn send_to(mut self, socket: &mut Socket, take: impl FnMut(&[u8])) -> Result<(), Refused> {
        socket.transact(&mut self.bytes, take).map_err(|refusal| Refused {
            act: self.acts.get(refusal.message).cloned().unwrap_or_default(),
            refusal,
        })
    }

    /// The message appended last without its header: its fixed part and its attributes.
    pub(super) fn payload_of_last(&self) -> &[u8] {
        self.bytes.get(self.last + HEADER..).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The refused act, and the kernel's reason.
#[derive(Debug)]
pub(super) struct Refused {
    act: String,
    refusal: Refusal,
}

impl Refused {
    pub(super) fn errno(&self) -> i32 {
        self.refusal.errno
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let Refused { act, refusal } = refused;
        let mut message = format!("{act}: {}", sys::errno_name(refusal.errno));
        if let Some(reason) = refusal.reason {
            message.push_str(&format!(": {reason}"));
        }
        match refusal.errno {
            EOPNOTSUPP | EAFNOSUPPORT => Self::new(ErrorKind::Unsupported, message)
                .hint("`podrun doctor` lists what podrun needs of this kernel"),
            _ => Self::failed(message),
        }
    }
}

pub(super) const ENOENT: i32 = 2;
pub(super) const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;
const EAFNOSUPPORT: i32 = 97;

/// Where a message's attributes are written.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// An attribute of raw bytes.
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
    }

    /// A 32-bit number in the host's byte order, as rtnetlink takes them.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// A 32-bit number in network byte order, as nf_tables takes them.
    pub(super) fn big_endian(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A string with its terminating zero.
    pub(super) fn string(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    /// An attribute of attributes.
    pub(super) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        self.nest_after(kind, &[], inner);
    }

    /// An attribute of a fixed part and attributes.
    pub(super) fn nest_after(&mut self, kind: u16, fixed: &[u8], inner: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.open(kind | NESTED);
        self.bytes.extend_from_slice(fixed);
        inner(self);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.bytes.len() - start).expect("an attribute is shorter than 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(self.bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
