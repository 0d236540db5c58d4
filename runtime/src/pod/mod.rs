//! Pod sandboxes and their containers, for every front: the monitor, its protocol and client, and the records
//! on disk.
//!
//! A front fills a [`config::SandboxConfig`] and [`config::ContainerConfig`]s, and may bring its own decisions
//! as [`driver::Rules`].
//!
//! Invariant: nothing here names a v1 Pod or a kubelet's decision; the owner of a pod is a field of its record.

mod attempt;
mod bundle;
pub mod changes;
pub mod client;
pub mod config;
pub mod doctor;
pub mod driver;
pub mod launch;
pub mod logs;
pub mod monitor;
pub mod names;
pub mod namespaces;
pub mod protocol;
pub mod record;
pub mod recovery;
mod sandbox;
pub mod session;
mod shared;
pub mod store;
mod volume;

pub use attempt::{create_container, draw_id, draw_suffix, draw_uid, lease_owner};
pub use bundle::{Facts, Missing};
