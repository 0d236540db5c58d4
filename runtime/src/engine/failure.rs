//! Why a child half gave up: 16 bytes on the wire, and the sentence that the parent makes of them.
//!
//! The record: magic (u32), step (u16), call (u16), index (u32), errno (i32), in the machine's order.
//! A child that waits for its parent writes as many bytes: another magic, what for (u32), a descriptor (u32), 0.
//! Invariant: writing one allocates nothing; reading one trusts nothing.

use super::plan::{INTERPRETER, Moment, NO_INTERPRETER, TOO_BIG};
use crate::error::{Error, ErrorKind};
use crate::sys::{Errno, errno_name};

/// The record of a child that did not reach execve; [`super::Plan::render`] gives it words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub(super) step: u16,
    pub(super) call: Call,
    pub(super) index: u32,
    pub(super) errno: i32,
}

/// The first word of each record.
const MAGIC: u32 = 0x706f_6472;

impl Failure {
    /// Its size on the wire.
    pub const SIZE: usize = 16;

    /// Reads the wire's bytes; `None` when they are not one whole record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().ok()?;
        let [m0, m1, m2, m3, s0, s1, c0, c1, i0, i1, i2, i3, e0, e1, e2, e3] = *bytes;
        if u32::from_ne_bytes([m0, m1, m2, m3]) != MAGIC {
            return None;
        }
        Some(Self {
            step: u16::from_ne_bytes([s0, s1]),
            call: Call::from_number(u16::from_ne_bytes([c0, c1]))?,
            index: u32::from_ne_bytes([i0, i1, i2, i3]),
            errno: i32::from_ne_bytes([e0, e1, e2, e3]),
        })
    }

    /// The record's bytes.
    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        let [m0, m1, m2, m3] = MAGIC.to_ne_bytes();
        let [s0, s1] = self.step.to_ne_bytes();
        let [c0, c1] = (self.call as u16).to_ne_bytes();
        let [i0, i1, i2, i3] = self.index.to_ne_bytes();
        let [e0, e1, e2, e3] = self.errno.to_ne_bytes();
        [m0, m1, m2, m3, s0, s1, c0, c1, i0, i1, i2, i3, e0, e1, e2, e3]
    }
}

impl Failure {
    /// What the failure of an execve means to whoever asked for the program.
    pub(super) fn program_kind(self) -> ErrorKind {
        match Errno(self.errno) {
            Errno::ENOENT | Errno::ENOTDIR => ErrorKind::CommandNotFound,
            _ => ErrorKind::CommandNotExecutable,
        }
    }

    /// A failure after [`super::Tie::UntilStart`]'s wait, told to who starts the program and has no plan.
    pub fn render_start(self, program: &str) -> Error {
        let cause = errno_name(self.errno);
        match self.call {
            Call::Execve => {
                let error = Error::new(self.program_kind(), format!("execve({program:?}): {cause}"));
                match self.index & INTERPRETER {
                    0 if Errno(self.errno) == Errno::E2BIG => error.hint(TOO_BIG),
                    0 => error,
                    _ => error.hint(NO_INTERPRETER),
                }
            }
            call => Error::failed(format!("{}: {cause}", call.name())),
        }
    }
}

/// What a child's wire says; an end without a word is a child that is complete, or killed.
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
        let bytes: &[u8; Failure::SIZE] = bytes.try_into().ok()?;
        let [m0, m1, m2, m3, k0, k1, k2, k3, n0, n1, n2, n3, rest @ ..] = *bytes;
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
        (rest == [0; 4]).then_some(word)
    }

    /// The record's bytes.
    pub(super) fn to_bytes(self) -> [u8; Failure::SIZE] {
        let (kind, number): (u32, i32) = match self {
            Self::Reached(Moment::Born) => (0, 0),
            Self::Reached(Moment::Mounted) => (1, 0),
            Self::Filtered(number) => (2, number),
            Self::Proc(number) => (3, number),
            Self::Failed(failure) => return failure.to_bytes(),
        };
        let [m0, m1, m2, m3] = PAUSED.to_ne_bytes();
        let [k0, k1, k2, k3] = kind.to_ne_bytes();
        let [n0, n1, n2, n3] = number.to_ne_bytes();
        [m0, m1, m2, m3, k0, k1, k2, k3, n0, n1, n2, n3, 0, 0, 0, 0]
    }
}

/// A failed call within a step: which one, the how-manieth, and why.
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
    Access = "faccessat",
    Capset = "capset",
    Chdir = "fchdir",
    Chmod = "fchmod",
    Chown = "fchownat",
    Chroot = "chroot",
    Clone = "clone",
    CloseRange = "close_range",
    Copy = "copy of an entry",
    Dup = "dup3",
    Execve = "execve",
    Fchown = "fchown",
    Fsconfig = "fsconfig",
    Fsmount = "fsmount",
    Fsopen = "fsopen",
    Fstat = "fstat",
    Getcwd = "getcwd",
    Getdents = "getdents64",
    Ioctl = "ioctl(TIOCSCTTY)",
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
        let failure = Failure { step: 7, call: Call::MoveMount, index: 3, errno: 1 };
        assert_eq!(Failure::parse(&failure.to_bytes()), Some(failure));
    }

    #[test]
    fn a_word_survives_the_wire() {
        let failure = Failure { step: 7, call: Call::Write, index: 3, errno: 1 };
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
        let bytes = Failure { step: 7, call: Call::Write, index: 3, errno: 1 }.to_bytes();
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
