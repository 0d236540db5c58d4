//! Why a child half gave up: 16 bytes on the wire, and the kernel's own words after them where it had some.
//!
//! The record: magic (u32), step (u16), call (u16), index (u32), errno (i32), in the machine's order, then
//! words. A child that waits for its parent writes as many bytes: another magic, the reason (u32), a descriptor
//! (u32), 0. Invariant: writing a record allocates nothing; reading one trusts nothing.

use std::os::fd::BorrowedFd;

use crate::sys::Errno;
use crate::sys::file::fs;

/// The record of a child that did not reach execve; [`super::Plan::render`] gives it words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub(super) step: u16,
    pub(super) call: Call,
    pub(super) index: u32,
    pub(super) errno: i32,
    pub(super) said: Said,
}

/// The first word of each record.
const MAGIC: u32 = 0x706f_6472;

/// How long a record is without the kernel's words.
const HEAD: usize = 16;

/// Set in a failure's index when a program is there and its interpreter is not.
pub(super) const INTERPRETER: u32 = 1 << 31;

/// The index of a fault where a file's mount meets a directory.
pub(super) const OTHER_TYPE: u32 = 1;

/// The kernel's message about a file system that it refused, as much as fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    bytes: [u8; Self::MAX],
    length: usize,
}

impl Said {
    /// How much fits: a record is written at once, and read at once.
    const MAX: usize = 160;

    pub(super) const NOTHING: Self = Self { bytes: [0; Self::MAX], length: 0 };

    /// Takes the kernel's last message from a file system context: a line that begins with `e `, `w ` or `i `.
    pub(super) fn hear(&mut self, context: BorrowedFd<'_>) {
        // A line that is longer is EMSGSIZE, and the end of them ENODATA.
        while let Ok(length @ 1..) = fs::read(context, &mut self.bytes) {
            self.length = length;
        }
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let mut said = Self { length: bytes.len(), ..Self::NOTHING };
        said.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(said)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The words in one line; `None`: there are none.
    pub(super) fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.bytes());
        let words = ["e ", "w ", "i "].iter().find_map(|level| text.strip_prefix(level)).unwrap_or(&text);
        let plain: String = words.trim().chars().filter(|char| !char.is_control()).collect();
        (!plain.is_empty()).then_some(plain)
    }
}

impl Failure {
    /// Its greatest size on the wire.
    pub const SIZE: usize = HEAD + Said::MAX;

    /// Reads the wire's bytes; `None` when they are no record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (bytes, said) = bytes.split_first_chunk::<HEAD>()?;
        let [m0, m1, m2, m3, s0, s1, c0, c1, i0, i1, i2, i3, e0, e1, e2, e3] = *bytes;
        if u32::from_ne_bytes([m0, m1, m2, m3]) != MAGIC {
            return None;
        }
        Some(Self {
            step: u16::from_ne_bytes([s0, s1]),
            call: Call::from_number(u16::from_ne_bytes([c0, c1]))?,
            index: u32::from_ne_bytes([i0, i1, i2, i3]),
            errno: i32::from_ne_bytes([e0, e1, e2, e3]),
            said: Said::of(said)?,
        })
    }

    /// Writes the record into `room`, and returns the bytes to send.
    pub(super) fn write(self, room: &mut [u8; Self::SIZE]) -> &[u8] {
        let words = self.said.bytes();
        for (place, byte) in room.iter_mut().zip(self.head().iter().chain(words)) {
            *place = *byte;
        }
        room.get(..HEAD + words.len()).unwrap_or_default()
    }

    /// The record without the kernel's words.
    fn head(self) -> [u8; HEAD] {
        let [m0, m1, m2, m3] = MAGIC.to_ne_bytes();
        let [s0, s1] = self.step.to_ne_bytes();
        let [c0, c1] = (self.call as u16).to_ne_bytes();
        let [i0, i1, i2, i3] = self.index.to_ne_bytes();
        let [e0, e1, e2, e3] = self.errno.to_ne_bytes();
        [m0, m1, m2, m3, s0, s1, c0, c1, i0, i1, i2, i3, e0, e1, e2, e3]
    }
}

/// Where a child waits for its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It is born in a user namespace without mappings: the parent writes its mappings.
    Born,
    /// All namespaces and mounts are made, and the host's tree is still in sight.
    Mounted,
}

/// A message on a child's wire; its end without one means a complete or a killed child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It waits for the parent.
    Reached(Moment),
    /// It waits for the seccomp agent, which is to get this descriptor of its.
    Filtered(i32),
    /// It waits for the parent to take the procfs of its pid namespace, which is this descriptor of its.
    Proc(i32),
    /// It gave up.
    Failed(Failure),
}

/// The first word of the record of a child that waits.
const PAUSED: u32 = 0x706f_6470;

impl Word {
    /// Reads the wire's bytes; `None` when they are not one whole record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, more) = bytes.split_first_chunk::<HEAD>()?;
        let [m0, m1, m2, m3, k0, k1, k2, k3, n0, n1, n2, n3, rest @ ..] = *head;
        if u32::from_ne_bytes([m0, m1, m2, m3]) != PAUSED {
            return Failure::parse(bytes).map(Self::Failed);
        }
        let number = i32::from_ne_bytes([n0, n1, n2, n3]);
        let word = match (u32::from_ne_bytes([k0, k1, k2, k3]), number) {
            (0, 0) => Self::Reached(Moment::Born),
            (1, 0) => Self::Reached(Moment::Mounted),
            (2, 0..) => Self::Filtered(number),
            (3, 0..) => Self::Proc(number),
            _ => return None,
        };
        (rest == [0; 4] && more.is_empty()).then_some(word)
    }

    /// The record's bytes; a failure's without the kernel's words.
    pub(super) fn to_bytes(self) -> [u8; HEAD] {
        let (kind, number): (u32, i32) = match self {
            Self::Reached(Moment::Born) => (0, 0),
            Self::Reached(Moment::Mounted) => (1, 0),
            Self::Filtered(number) => (2, number),
            Self::Proc(number) => (3, number),
            Self::Failed(failure) => return failure.head(),
        };
        let [m0, m1, m2, m3] = PAUSED.to_ne_bytes();
        let [k0, k1, k2, k3] = kind.to_ne_bytes();
        let [n0, n1, n2, n3] = number.to_ne_bytes();
        [m0, m1, m2, m3, k0, k1, k2, k3, n0, n1, n2, n3, 0, 0, 0, 0]
    }
}

/// A failed call within a step: the call, its index, and the errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) call: Call,
    pub(super) index: u32,
    pub(super) errno: Errno,
}

/// Names the call of a bare errno.
pub(super) trait During<T> {
    /// The fault of `call`.
    fn during(self, call: Call) -> Result<T, Fault>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, call: Call) -> Result<T, Fault> {
        self.map_err(|errno| Fault { call, index: 0, errno })
    }
}

macro_rules! calls {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A call that a child half makes, by strace's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Call { $(#[doc = $name] $variant),+ }

        impl Call {
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// strace's name.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            fn from_number(number: u16) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

calls! {
    Accept = "accept4",
    Access = "faccessat2",
    Capset = "capset",
    Chdir = "fchdir",
    Chmod = "fchmod",
    Chown = "fchownat",
    Chroot = "chroot",
    Clone = "clone",
    CloseRange = "close_range",
    Close = "close",
    Copy = "copy of an entry",
    Dup = "dup3",
    Execve = "execve",
    Fchown = "fchown",
    Fsconfig = "fsconfig",
    Fsmount = "fsmount",
    Fsopen = "fsopen",
    Fspick = "fspick",
    Fstat = "fstat",
    Getcwd = "getcwd",
    Getdents = "getdents64",
    Ioctl = "ioctl(TIOCSCTTY)",
    IfFlags = "ioctl(SIOCSIFFLAGS)",
    IoprioSet = "ioprio_set",
    Mkdirat = "mkdirat",
    Mknodat = "mknodat",
    Mount = "mount(MS_SLAVE|MS_REC)",
    MountSetattr = "mount_setattr",
    MoveMount = "move_mount",
    OpenTree = "open_tree",
    Openat = "openat2",
    ParentGone = "poll",
    Personality = "personality",
    PivotRoot = "pivot_root",
    Prctl = "prctl",
    Prlimit = "prlimit64",
    Procfs = "fstatfs",
    Read = "read",
    Readlink = "readlinkat",
    SchedSetaffinity = "sched_setaffinity",
    SchedSetattr = "sched_setattr",
    Seccomp = "seccomp",
    SetMempolicy = "set_mempolicy",
    Setdomainname = "setdomainname",
    Setgroups = "setgroups",
    Sethostname = "sethostname",
    Setns = "setns",
    Setresgid = "setresgid",
    Setresuid = "setresuid",
    Setsid = "setsid",
    Sigaction = "rt_sigaction",
    Statx = "statx",
    Symlinkat = "symlinkat",
    Unshare = "unshare",
    Write = "write",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_wire() {
        let failure = Failure { step: 7, call: Call::MoveMount, index: 3, errno: 1, said: Said::NOTHING };
        let mut room = [0; Failure::SIZE];
        assert_eq!(Failure::parse(failure.write(&mut room)), Some(failure));
        assert_eq!(failure.said.text(), None);
        let said = Said::of(b"e tmpfs: Unknown parameter 'x'\n").unwrap();
        let failure = Failure { said, ..failure };
        assert_eq!(Failure::parse(failure.write(&mut room)), Some(failure));
        assert_eq!(said.text().as_deref(), Some("tmpfs: Unknown parameter 'x'"));
        assert_eq!(Said::of(&[0; Said::MAX + 1]), None);
    }

    #[test]
    fn a_word_survives_the_wire() {
        let failure = Failure { step: 7, call: Call::Write, index: 3, errno: 1, said: Said::NOTHING };
        let (born, mounted) = (Word::Reached(Moment::Born), Word::Reached(Moment::Mounted));
        for word in
            [born, mounted, Word::Filtered(0), Word::Filtered(5), Word::Proc(5), Word::Failed(failure)]
        {
            assert_eq!(Word::parse(&word.to_bytes()), Some(word));
        }
        assert_eq!(Word::parse(&Word::Filtered(-1).to_bytes()), None);
        assert_eq!(Word::parse(&[0; 16]), None);
    }

    #[test]
    fn what_is_no_record_is_none() {
        let bytes = Failure { step: 7, call: Call::Write, index: 3, errno: 1, said: Said::NOTHING }.head();
        assert_eq!(Failure::parse(bytes.get(..15).unwrap()), None);
        assert_eq!(Failure::parse(&[0; 16]), None);
        let mut wrong_call = bytes;
        wrong_call[6..8].copy_from_slice(&9999_u16.to_ne_bytes());
        assert_eq!(Failure::parse(&wrong_call), None);
    }

    #[test]
    fn every_call_has_its_number() {
        for (number, call) in Call::ALL.iter().enumerate() {
            assert_eq!(usize::from(*call as u16), number);
        }
    }
}
