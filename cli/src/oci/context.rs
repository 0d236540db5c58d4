//! The context of every verb of this front, beside its own arguments.
//!
//! Invariant: no verb is known here.

use std::ffi::OsString;

use runtime::Result;
use runtime::oci::{self, CgroupManager, ContainerId, Protected, Store};

use super::log::Log;

/// A verb's context, beside its own arguments.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) store: Store,
    pub(super) log: Log,
    /// `--rootless`; absent: auto.
    pub(super) rootless: Option<bool>,
    pub(super) cgroups: CgroupManager,
}

/// A container's own hooks and processes are born as copies of this process.
pub(super) fn go_on_protected() -> Result<Protected> {
    if oci::is_plain_user() {
        // There is nothing to enter, of which the verb tells.
        return Ok(Protected::default());
    }
    oci::protect_binary(std::env::args_os(), std::env::vars_os())
}

/// Where a service says that it is ready, if podrun stands for one.
pub(super) fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// The container that a verb is about.
#[derive(Debug, clap::Args)]
pub(super) struct Named {
    /// The container's id
    #[arg(value_name = "ID")]
    pub(super) id: ContainerId,
}

impl Named {
    pub(super) fn get(&self, context: &Context) -> Result<oci::Container> {
        context.store.get(&self.id)
    }
}
