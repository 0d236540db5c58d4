//! Pods: manifests, the policy of Kubernetes, the monitor, and the records on disk.

pub mod client;
pub mod monitor;
pub mod protocol;

pub mod policy;
pub mod record;
pub mod manifest;
