//! Files, directories and mounts, by descriptor.
//!
//! When: at any time, by any thread, but [`overlay`], which may change the working directory, and [`flock`], which
//! waits. A child half calls what returns a bare [`crate::sys::Errno`] (`fs`, `mount`), which allocates
//! nothing; what returns a [`crate::sys::Error`] allocates.
//! Kept: nothing but the descriptors that are given back, each CLOEXEC.

pub mod confined;
pub mod dir;
pub mod flock;
pub mod fs;
pub mod memory;
pub mod mount;
pub mod overlay;
pub mod own;
pub mod watch;
pub mod xattr;
