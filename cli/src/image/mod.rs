//! The verbs about images and registries: `pull`, `push`, `load`, `images`, `rmi`, `login`, `logout`.

pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod progress;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registries;
pub(crate) mod remove;
