//! A pod sandbox and its containers, whoever asks for them: the monitor, its protocol and client, and the records on disk.
//!
//! A front asks by a [`config::SandboxConfig`] and [`config::ContainerConfig`]s, and brings what it decides by itself as
//! [`driver::Rules`].
//!
//! Invariant: nothing here names a v1 Pod or what a kubelet would decide; whose a pod is, is a field of its record.

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
