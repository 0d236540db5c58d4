//! Layers: from packed bytes to a directory, and from directories to a container's root.
//!
//! Invariant: nothing of a layer leaves its directory, and a directory is a layer only once all of it was unpacked and checked.

pub(super) mod archive;
pub(super) mod decompress;
pub(super) mod layers;
pub mod snapshot;
pub(super) mod unpack;
