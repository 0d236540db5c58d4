//! What a child runs between clone3(2) and execve(2), and the clone itself.
//!
//! Invariant: nothing here that a child half calls allocates, locks, logs or panics.

pub mod arguments;
pub mod clone;
pub mod copy;
pub mod creds;
pub mod descriptors;
pub mod exec;
pub mod sched;
