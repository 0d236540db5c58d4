//! Processes, signals and namespaces.
//!
//! When: what clones, unshares or joins a namespace ([`daemon`], [`errand`], [`userns`], [`ns`]) is called by a process
//! with one thread; the rest at any time. A child half calls `ns::unshare` and `ns::setns` alone.
//! Kept: descriptors, and a mask of signals as long as its value lives ([`interrupt`]) or the process ([`signal`]).

pub mod daemon;
pub mod descriptors;
pub mod errand;
pub mod interrupt;
pub mod ns;
pub mod pidfd;
pub mod proc;
pub mod signal;
pub mod userns;
