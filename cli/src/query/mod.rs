//! Questions about records: kubectl's jsonpath, label selectors and sort keys, over plain JSON.
//!
//! Invariant: pure. Nothing here knows what a pod is or prints anything.

pub(crate) mod columns;
pub(crate) mod fields;
pub(crate) mod jsonpath;
pub(crate) mod selector;
pub(crate) mod sort;
