//! Manifests: the v1 Pod, how it is read, checked and completed.
//!
//! Invariant: a [`Pod`](types::Pod) that left this module by `parse` is one that Kubernetes would
//! accept and that podrun can run as it says: no field of it was ignored in silence.

pub mod quantity;
pub mod time;
pub mod types;

pub use quantity::Quantity;
pub use time::Time;
pub use types::*;
