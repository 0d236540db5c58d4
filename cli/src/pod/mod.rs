//! The verbs about pods, one module each: kubectl's words without a server.

pub(crate) mod attach;
pub(crate) mod describe;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod logs;
pub(crate) mod namespaces;
pub(crate) mod print;
pub(crate) mod source;
pub(crate) mod target;
pub(crate) mod validate;
pub(crate) mod wait;
