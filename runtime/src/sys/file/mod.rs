//! Files, directories and mounts, by descriptor.
//!
//! When: at any time, by any thread, except [`overlay`], which may change the working directory, and [`flock`],
//! which waits. A child half calls functions that return a bare [`crate::sys::Errno`] (`fs`, `mount`), which
//! allocate nothing; functions that return a [`crate::sys::Error`] allocate. Kept: only the returned
//! descriptors, each CLOEXEC.

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
