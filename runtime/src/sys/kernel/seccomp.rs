//! seccomp(2): the instructions of a filter's program, and its installation.
//!
//! Invariant: [`install`] allocates nothing and makes one syscall, so that a child half may call it
//! between clone and execve.

use std::os::fd::{FromRawFd as _, OwnedFd};

use crate::sys::errno::{Errno, Result};

/// A number with which a filter allows some of podrun's own last calls: a sixth argument, which none of them
/// uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass(u64);

impl Pass {
    /// No pass.
    pub const NONE: Self = Self(0);

    /// A pass that cannot be guessed.
    pub fn draw() -> Result<Self> {
        let mut bytes = [0; 8];
        // A filled buffer or an error: of so few bytes the kernel gives all, even to an interrupted caller (getrandom(2)).
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(u64::from_ne_bytes(bytes)))
    }

    /// The argument.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A filter's answer to a syscall: `SECCOMP_RET_*` with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action(pub u32);

impl Action {
    /// The call fails with ENOSYS, as on a kernel that does not have it.
    pub const ENOSYS: Self = Self(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned());
    /// The call is made.
    pub const ALLOW: Self = Self(libc::SECCOMP_RET_ALLOW);
    /// The call fails with EPERM.
    pub const EPERM: Self = Self(libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned());
}

/// One instruction of the kernel's classic BPF: `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u16,
    when_true: u8,
    when_false: u8,
    value: u32,
}

impl Instruction {
    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Self>();
    /// The most that one program may have: BPF_MAXINSNS.
    pub const MAX: usize = 4096;

    const fn new(code: u32, when_true: u8, when_false: u8, value: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "opcodes are a byte")]
        Self { code: code as u16, when_true, when_false, value }
    }

    /// Loads the syscall's number.
    pub const fn load_number() -> Self {
        Self::new(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)
    }

    /// Loads the architecture's AUDIT_ARCH_* number.
    pub const fn load_architecture() -> Self {
        Self::new(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 4)
    }

    /// Loads one half of an argument (`seccomp_data.args`).
    pub const fn load_argument(number: u32, half: Half) -> Self {
        let upper_first = cfg!(target_endian = "big");
        let second = matches!(half, Half::Upper) != upper_first;
        Self::new(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            0,
            0,
            16 + 8 * number + if second { 4 } else { 0 },
        )
    }

    /// Skips `when_true` instructions if the loaded value equals `value`, else `when_false`.
    pub const fn equal(value: u32, when_true: u8, when_false: u8) -> Self {
        Self::new(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, when_true, when_false, value)
    }

    /// As [`Self::equal`], if it is greater.
    pub const fn greater(value: u32, when_true: u8, when_false: u8) -> Self {
        Self::new(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, when_true, when_false, value)
    }

    /// As [`Self::equal`], if it is greater or equal.
    pub const fn at_least(value: u32, when_true: u8, when_false: u8) -> Self {
        Self::new(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, when_true, when_false, value)
    }

    /// Skips `count` instructions.
    pub const fn skip(count: u32) -> Self {
        Self::new(libc::BPF_JMP | libc::BPF_JA, 0, 0, count)
    }

    /// Ends with `action`.
    pub const fn answer(action: Action) -> Self {
        Self::new(libc::BPF_RET | libc::BPF_K, 0, 0, action.0)
    }

    /// The code, the two jumps and the value, for interpreters.
    pub const fn parts(self) -> (u16, u8, u8, u32) {
        (self.code, self.when_true, self.when_false, self.value)
    }

    /// Its bytes, as the kernel lays them out.
    pub const fn encode(self) -> [u8; Self::SIZE] {
        let ([c0, c1], [v0, v1, v2, v3]) = (self.code.to_ne_bytes(), self.value.to_ne_bytes());
        [c0, c1, self.when_true, self.when_false, v0, v1, v2, v3]
    }

    /// A program from its bytes; `None` when they are not whole instructions.
    pub fn decode(bytes: &[u8]) -> Option<Vec<Self>> {
        let (whole, []) = bytes.as_chunks::<{ Self::SIZE }>() else { return None };
        let one = |[c0, c1, when_true, when_false, v0, v1, v2, v3]: &[u8; Self::SIZE]| Self {
            code: u16::from_ne_bytes([*c0, *c1]),
            when_true: *when_true,
            when_false: *when_false,
            value: u32::from_ne_bytes([*v0, *v1, *v2, *v3]),
        };
        Some(whole.iter().map(one).collect())
    }
}

/// A call that a process on its way into a pid namespace makes after its filter is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastCall {
    /// [`crate::sys::child::descriptors::close_listener`].
    Close,
    /// [`crate::sys::child::clone::clone_beside`].
    Clone,
    /// [`crate::sys::child::exec::setsid`].
    Setsid,
    /// [`crate::sys::child::exec::take_terminal`].
    Ioctl,
}

impl LastCall {
    /// Its arguments that are always the same, by their places.
    pub const fn arguments(self) -> &'static [(u32, u64)] {
        const BESIDE: u64 = crate::sys::child::clone::BESIDE.cast_unsigned() as u64;
        match self {
            Self::Close | Self::Setsid => &[],
            Self::Clone => &[(0, BESIDE), (1, 0)],
            Self::Ioctl => &[(0, 0), (1, libc::TIOCSCTTY)],
        }
    }

    /// Its number on this architecture.
    pub const fn number(self) -> u32 {
        number(match self {
            Self::Close => libc::SYS_close,
            Self::Clone => libc::SYS_clone,
            Self::Setsid => libc::SYS_setsid,
            Self::Ioctl => libc::SYS_ioctl,
        })
    }
}

/// The calls of [`crate::sys::child::exec::reap_until_sigterm`] and on the way to it, by their numbers on this
/// architecture.
pub const REAPERS: [u32; 6] = [
    number(libc::SYS_rt_sigprocmask),
    number(libc::SYS_close_range),
    number(libc::SYS_write),
    number(libc::SYS_rt_sigtimedwait),
    number(libc::SYS_wait4),
    number(libc::SYS_exit_group),
];

const fn number(number: libc::c_long) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a syscall's number is small"
    )]
    let number = number as u32;
    number
}

/// A half of a syscall's argument, of which a program loads one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The 32 bits of lower value.
    Lower,
    /// The 32 bits of higher value.
    Upper,
}

/// Flags of a filter: `SECCOMP_FILTER_FLAG_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(libc::c_ulong);

impl Flags {
    /// All threads of the process get the filter.
    pub const TSYNC: Self = Self(libc::SECCOMP_FILTER_FLAG_TSYNC);
    /// Calls that are not allowed are logged.
    pub const LOG: Self = Self(libc::SECCOMP_FILTER_FLAG_LOG);
    /// No mitigation of speculative store bypass comes with the filter.
    pub const SPEC_ALLOW: Self = Self(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    /// There is a descriptor on which an agent is asked (Linux 5.0).
    pub const NEW_LISTENER: Self = Self(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    /// With the two above, a thread that cannot be synchronized is ESRCH (Linux 5.7).
    pub const TSYNC_ESRCH: Self = Self(libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
    /// Once an agent has taken a question up, only a fatal signal ends the waiting (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Whether the kernel knows these flags: it checks them before the program, which is absent.
pub fn knows(flags: Flags) -> bool {
    let none = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: no program is passed, so the call can only fail: EINVAL for the flags, or EFAULT after them.
    let returned = Errno::result(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags.0, none)
    });
    returned == Err(Errno::EFAULT)
}

/// Installs a filter for the rest of the calling process's life and its children's. With
/// [`Flags::NEW_LISTENER`] returns the agent's descriptor, CLOEXEC. EACCES: the caller has neither
/// no_new_privs nor CAP_SYS_ADMIN.
pub fn install(program: &[Instruction], flags: Flags) -> Result<Option<OwnedFd>> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Instruction` has sock_filter's layout, pointer and length are of one living slice, and
    // the kernel only reads it.
    let returned = Errno::result(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags.0, &raw const program)
    })?;
    if !flags.contains(Flags::NEW_LISTENER) {
        return Ok(None);
    }
    let fd = i32::try_from(returned).map_err(|_| Errno::EINVAL)?;
    // SAFETY: with NEW_LISTENER the kernel returns a new descriptor, owned by nothing else.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}
