//! podrun's library: an OCI container engine, an image store, a network, and the pods made of them.
//!
//! Modules depend in one direction only; `tests/layering.rs` holds the table of ARCHITECTURE.md to
//! the code. Nothing here reads the environment or argv, prints, or exits.

pub mod cgroup;
pub mod engine;
pub mod error;
pub mod host;
pub mod image;
pub mod net;
pub mod oci;
pub mod pod;
pub mod sys;
pub mod time;

pub use error::{Error, ErrorKind, Result};
