//! Processes, their namespaces, and the signals between them.

pub mod daemon;
pub mod descriptors;
pub mod errand;
pub mod interrupt;
pub mod ns;
pub mod pidfd;
pub mod proc;
pub mod signal;
pub mod userns;
