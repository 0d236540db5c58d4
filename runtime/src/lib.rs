//! podrun's library: an OCI container engine, an image store, a network, and the pods made of them.
//!
//! Modules depend in one direction only; `tests/layering.rs` holds the table of ARCHITECTURE.md to
//! the code. Nothing here reads the environment or argv, prints, or exits.
//!
//! A build for fuzzing (`--cfg fuzzing`, which `cargo fuzz` sets) has `image` and what that uses alone: the rest would take
//! its compiler ten minutes more.

#[cfg(not(fuzzing))]
pub mod cgroup;
#[cfg(not(fuzzing))]
pub mod engine;
pub mod error;
pub mod host;
pub mod image;
mod lock;
#[cfg(not(fuzzing))]
pub mod manifest;
#[cfg(not(fuzzing))]
pub mod net;
#[cfg(not(fuzzing))]
pub mod oci;
mod parallel;
#[cfg(not(fuzzing))]
pub mod pod;
#[cfg(not(fuzzing))]
pub mod policy;
pub mod sys;
pub mod time;

pub use error::{Error, ErrorKind, Result};
