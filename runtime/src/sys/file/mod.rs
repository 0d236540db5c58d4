//! Files, directories and mounts, by descriptor.

pub mod append;
pub mod attached;
pub mod detached;
pub mod dir;
pub mod flock;
pub mod fs;
pub mod held;
pub mod inside;
pub mod mount;
pub mod overlay;
pub mod own;
pub mod watch;
pub mod writeback;
pub mod xattr;
