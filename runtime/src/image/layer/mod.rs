//! Layers: from packed bytes to a directory, and from directories to a container's root.

pub(in crate::image) mod archive;
pub(in crate::image) mod decompress;
pub(in crate::image) mod layers;
pub(in crate::image) mod mounted;
pub mod snapshot;
pub(in crate::image) mod unpack;
