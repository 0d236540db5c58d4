//! The limits of execve(2) on arguments and variables, beyond which it fails with E2BIG.
//!
//! Invariant: a refusal here implies one by the kernel. The kernel's limit is a few bytes lower: the program's
//! path, and the words of a `#!` line, count too (fs/exec.c, `bprm_stack_limits` and `copy_strings`).

use std::fmt;

use rustix::process::{Resource, getrlimit};

/// The bytes of one string, `NAME=value` of a variable: MAX_ARG_STRLEN, 32 pages of 4 KiB, less the NUL.
pub const STRING_MAX: usize = 131_071;
/// The bytes of all strings together, however large the stack's limit: 3/4 of `_STK_LIM`.
pub const TOTAL_MAX: usize = 6 << 20;
/// So much the kernel takes however small the stack may be: ARG_MAX.
const TOTAL_MIN: usize = 128 << 10;
/// The kernel's overhead for a string: its pointer (since 4.13), and its NUL.
const EACH: usize = size_of::<usize>() + 1;

/// The bytes of all together under a soft RLIMIT_STACK of `stack` bytes.
pub fn total_max(stack: u64) -> usize {
    usize::try_from(stack / 4).unwrap_or(usize::MAX).clamp(TOTAL_MIN, TOTAL_MAX)
}

/// The caller's soft RLIMIT_STACK, which its children inherit.
pub fn stack_limit() -> u64 {
    getrlimit(Resource::Stack).current.unwrap_or(u64::MAX)
}

/// The room for the strings of one execve.
#[derive(Debug, Clone)]
pub struct Room {
    most: usize,
    left: usize,
}

/// The limit that a string exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Any string.
    String,
    /// The rest of this many bytes for all.
    Total(usize),
}

impl Room {
    /// Room for `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { most, left: most }
    }

    /// The limit of the next string, and its kind.
    pub fn next(&self) -> (usize, Excess) {
        match self.left.saturating_sub(EACH) {
            left if left < STRING_MAX => (left, Excess::Total(self.most)),
            _ => (STRING_MAX, Excess::String),
        }
    }

    /// Takes the room of a string of `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<(), Excess> {
        // No room for a pointer and a NUL is none for an empty string either.
        if len > STRING_MAX {
            return Err(Excess::String);
        }
        self.left = self.left.checked_sub(len + EACH).ok_or(Excess::Total(self.most))?;
        Ok(())
    }
}

/// The message about the string.
impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => write!(f, "longer than the {STRING_MAX} bytes that the kernel takes of one"),
            Self::Total(most) => write!(
                f,
                "with it arguments and variables are more than the {most} bytes that the kernel takes of all"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether the kernel starts a program with `count` arguments of `len` bytes, and no variables.
    fn starts(count: usize, len: usize) -> bool {
        let mut command = Command::new("/bin/true");
        command.env_clear().args(std::iter::repeat_n("x".repeat(len), count));
        match command.status() {
            Ok(status) => status.success(),
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_kernel_takes_what_there_is_room_for_and_no_more() {
        let name = "/bin/true".len();
        assert!(starts(1, STRING_MAX) && !starts(1, STRING_MAX + 1));
        for len in [1, 1000, STRING_MAX] {
            let mut room = Room::new(total_max(stack_limit()));
            // The program's name, as a path and as the first argument.
            room.take(name).unwrap();
            let slack = name + 1 + EACH;
            let mut count = 0;
            while room.left >= slack + len + EACH {
                room.take(len).unwrap();
                count += 1;
            }
            assert!(starts(count, len), "{count} of {len}");
            while room.take(len).is_ok() {
                count += 1;
            }
            assert!(!starts(count + 1, len), "{count} of {len}, and one more");
        }
    }

    #[test]
    fn room_is_for_a_quarter_of_the_stack_between_two_bounds() {
        for (stack, most) in [(0, 128 << 10), (8 << 20, 2 << 20), (1 << 30, 6 << 20), (u64::MAX, 6 << 20)] {
            assert_eq!(total_max(stack), most);
        }
        let mut room = Room::new(20);
        assert_eq!(room.next(), (11, Excess::Total(20)));
        assert_eq!(room.take(12), Err(Excess::Total(20)));
        assert_eq!(room.take(STRING_MAX + 1), Err(Excess::String));
        room.take(2).unwrap();
        assert_eq!((room.next(), room.take(1)), ((0, Excess::Total(20)), Err(Excess::Total(20))));
        room.take(0).unwrap();
        assert_eq!(room.take(0), Err(Excess::Total(20)));
    }
}
