//! libseccomp, the C library: names to numbers, rules to a program of the kernel's.
//!
//! Invariant: a [`Rules`] owns its context and frees it once; nothing here touches the calling
//! process's own filters. Linked statically. The declarations are our own, eleven functions of
//! seccomp.h 2.5: the crate that has them all brings a build script which asks pkg-config, and would
//! still leave each call unsafe.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;

use super::seccomp::{Action, Instruction};
use crate::sys::errno::{Errno, Result};
use crate::sys::file::memory;

/// `struct scmp_arg_cmp`: how one argument of a syscall compares.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument: 0 to 5.
    pub argument: c_uint,
    /// `enum scmp_compare`: 1 to 7 are NE, LT, LE, EQ, GE, GT, MASKED_EQ.
    pub operator: c_uint,
    /// The value to compare with; for MASKED_EQ the mask.
    pub value: u64,
    /// For MASKED_EQ the value to compare with.
    pub value_two: u64,
}

/// `struct scmp_version`.
#[repr(C)]
struct Version {
    major: c_uint,
    minor: c_uint,
    micro: c_uint,
}

/// `SCMP_FLTATR_CTL_OPTIMIZE`; 2 is a binary tree by syscall number.
const OPTIMIZE: c_uint = 8;
const BINARY_TREE: u32 = 2;

#[link(name = "seccomp", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {
    fn seccomp_version() -> *const Version;
    fn seccomp_arch_native() -> u32;
    fn seccomp_syscall_resolve_name_arch(architecture: u32, name: *const c_char) -> c_int;
    fn seccomp_init(default_action: u32) -> *mut c_void;
    fn seccomp_release(context: *mut c_void);
    fn seccomp_arch_add(context: *mut c_void, architecture: u32) -> c_int;
    fn seccomp_arch_remove(context: *mut c_void, architecture: u32) -> c_int;
    fn seccomp_rule_add_array(
        context: *mut c_void,
        action: u32,
        syscall: c_int,
        count: c_uint,
        conditions: *const Condition,
    ) -> c_int;
    fn seccomp_merge(destination: *mut c_void, source: *mut c_void) -> c_int;
    fn seccomp_attr_set(context: *mut c_void, attribute: c_uint, value: u32) -> c_int;
    fn seccomp_export_bpf(context: *mut c_void, file: c_int) -> c_int;
}

/// The library's version: major, minor, micro.
pub fn version() -> (u32, u32, u32) {
    // SAFETY: it takes nothing, and gives the address of a static of the library's, which is never null and never written.
    let version = unsafe { &*seccomp_version() };
    (version.major, version.minor, version.micro)
}

/// The token of the architecture that this program was built for.
pub fn native() -> u32 {
    // SAFETY: it takes nothing and reads a constant.
    unsafe { seccomp_arch_native() }
}

/// A syscall's number on an architecture: negative where it has one of the library's own instead,
/// since the architecture lacks the syscall or wraps it into another. `None`: the library does not
/// know the name.
pub fn resolve(architecture: u32, name: &CStr) -> Option<i32> {
    const UNKNOWN: c_int = -1;
    // SAFETY: `name` ends with a null byte and lives until the call returns.
    let number = unsafe { seccomp_syscall_resolve_name_arch(architecture, name.as_ptr()) };
    (number != UNKNOWN).then_some(number)
}

/// The rules of one or more architectures.
#[derive(Debug)]
pub struct Rules(NonNull<c_void>);

impl Rules {
    /// No rules yet: every syscall of `architecture` gets `default`. EINVAL: the library lacks the
    /// architecture.
    pub fn new(default: Action, architecture: u32) -> Result<Self> {
        // SAFETY: it takes an integer; it returns null when it fails.
        let context = unsafe { seccomp_init(default.0) };
        let rules = Self(NonNull::new(context).ok_or(Errno::EINVAL)?);
        if architecture != native() {
            // SAFETY: the context is alive: `rules` owns it.
            returned(unsafe { seccomp_arch_add(rules.0.as_ptr(), architecture) })?;
            // SAFETY: the context is alive: `rules` owns it, and the call only takes an architecture out of it.
            returned(unsafe { seccomp_arch_remove(rules.0.as_ptr(), native()) })?;
        }
        Ok(rules)
    }

    /// Adds a rule, whose conditions must all hold and name an argument once at most. `syscall` is the native
    /// number, whatever the rules' architecture.
    pub fn add(&mut self, action: Action, syscall: i32, conditions: &[Condition]) -> Result<()> {
        let count = c_uint::try_from(conditions.len()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the context is alive, and pointer and count are of one slice that outlives the call.
        returned(unsafe {
            seccomp_rule_add_array(self.0.as_ptr(), action.0, syscall, count, conditions.as_ptr())
        })
    }

    /// Takes in the rules of another architecture, which have the same default.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        // SAFETY: both contexts are alive, and they are two: each `Rules` owns its own.
        returned(unsafe { seccomp_merge(self.0.as_ptr(), other.0.as_ptr()) })?;
        // The library has freed it.
        std::mem::forget(other);
        Ok(())
    }

    /// The program, as a binary tree by syscall number.
    pub fn export(self) -> Result<Vec<Instruction>> {
        // SAFETY: the context is alive; the rest are integers.
        returned(unsafe { seccomp_attr_set(self.0.as_ptr(), OPTIMIZE, BINARY_TREE) })?;
        let mut file = File::from(memory::empty("seccomp").map_err(|error| Errno(error.errno))?);
        // SAFETY: the context and the descriptor are alive.
        returned(unsafe { seccomp_export_bpf(self.0.as_ptr(), file.as_raw_fd()) })?;
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|_| Errno::EIO)?;
        Instruction::decode(&bytes).ok_or(Errno::EIO)
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        // SAFETY: the context is alive, and unused after its owner.
        unsafe { seccomp_release(self.0.as_ptr()) }
    }
}

/// The library returns a negative errno.
fn returned(code: c_int) -> Result<()> {
    if code < 0 { Err(Errno(-code)) } else { Ok(()) }
}
