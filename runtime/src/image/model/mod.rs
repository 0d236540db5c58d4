//! The model of an image: its names, digests, documents and platforms, in the specifications' terms.
//!
//! Invariant: pure. It reads bytes that it is given, and touches neither a file nor a registry.

pub mod config;
pub mod digest;
pub(super) mod json;
pub(super) mod manifest;
pub mod platform;
pub mod reference;
