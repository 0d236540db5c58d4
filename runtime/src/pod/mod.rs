//! Pods: manifests, the policy of Kubernetes, the monitor, and the records on disk.
