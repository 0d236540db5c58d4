//! Pods: manifests, the policy of Kubernetes, the monitor, and the records on disk.

pub mod changes;
pub mod client;
pub mod doctor;
pub mod launch;
pub mod logs;
pub mod monitor;
pub mod protocol;
pub mod session;
pub mod store;

pub mod attempt;
pub mod bundle;
pub mod names;
pub mod namespaces;
pub mod record;
pub mod recovery;
pub mod resources;
pub mod sandbox;
pub mod volume;

mod shared;
