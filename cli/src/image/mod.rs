//! The verbs about images: `pull`, `load`, `images`, `rmi`.

pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod progress;
pub(crate) mod pull;
pub(crate) mod remove;
