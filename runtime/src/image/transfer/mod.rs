//! Images on their way: into the store from a registry or an archive, and out of it.
//!
//! Invariant: an image becomes visible whole and in one way, by `ingest`, wherever it comes from.

pub(super) mod change;
pub(super) mod import;
pub(super) mod ingest;
pub(super) mod layout;
pub(super) mod load;
pub(super) mod outgoing;
pub(super) mod policy;
pub(super) mod pull;
pub(super) mod push;
pub(super) mod save;
pub(super) mod search;
