//! What an image is: its names, digests, documents and platforms, as the specifications write them.

pub mod config;
pub mod digest;
pub(in crate::image) mod document;
pub(in crate::image) mod manifest;
pub mod platform;
pub mod reference;
