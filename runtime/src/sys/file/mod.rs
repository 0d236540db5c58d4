//! Files, directories and mounts, by descriptor.

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
