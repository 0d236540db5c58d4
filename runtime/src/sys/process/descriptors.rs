//! How many descriptors this process may have open, and the programs that it starts.
//!
//! Invariant: foreign programs get the limit of podrun's caller; only podrun's own is raised.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit};

/// The limit before it was raised.
static CALLERS: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process's own limit as far as it may: a shell's 1,024 are soon used up by many pods.
pub fn raise_limit() {
    let found = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    // Where it is refused things are as before.
    if found.current != found.maximum && rustix::process::setrlimit(Resource::Nofile, raised).is_ok() {
        let _ = CALLERS.set(found);
    }
}

/// Has `command` begin with the limit that this process's caller has.
pub fn with_callers_limit(command: &mut Command) -> &mut Command {
    let Some(callers) = CALLERS.get().copied() else { return command };
    let lower = move || Ok(rustix::process::setrlimit(Resource::Nofile, callers)?);
    // SAFETY: between fork and exec `lower` makes one system call with its own copy of the limit; an errno becomes an
    // io::Error without an allocation.
    unsafe { command.pre_exec(lower) }
}
