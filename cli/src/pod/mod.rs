//! The verbs about pods, one module each: kubectl's words without a server.

pub(crate) mod attach;
mod bring;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod logs;
mod manifests;
pub(crate) mod namespaces;
pub(crate) mod resource;
pub(crate) mod run;
mod streams;
pub(crate) mod target;
pub(crate) mod validate;
pub(crate) mod wait;
