//! Images on their way: into the store from a registry or an archive, and out of it.

pub(in crate::image) mod change;
pub(in crate::image) mod import;
pub(in crate::image) mod ingest;
pub(in crate::image) mod layout;
pub(in crate::image) mod load;
pub mod progress;
pub(in crate::image) mod pull;
pub(in crate::image) mod push;
pub(in crate::image) mod save;
pub(in crate::image) mod search;
pub(in crate::image) mod stored;
