//! Pods: manifests, the policy of Kubernetes, the monitor, and the records on disk.

pub mod client;
pub mod logs;
pub mod monitor;
pub mod protocol;
pub mod session;

pub mod manifest;
pub mod policy;
pub mod record;
