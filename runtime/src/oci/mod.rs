//! The OCI runtime: the engine behind the command line that podman, containerd and CRI-O call (runtime-spec,
//! runtime.md). A [`Store`] holds containers by id; a [`Container`] is one state directory, with the verbs on
//! it.
//!
//! Invariant: podrun leaves no process of its own behind. A command is outlived only by the container's init,
//! its cgroup, and `<root>/<id>/`:
//!
//! ```text
//! lock         flock: held while the container is made, started or deleted
//! config.json  what was read of the bundle's at create; later changes have no effect (runtime.md, lifecycle 2)
//! state.json   what was made: replaced by rename, by the holder of the lock
//! notify/      for a service of systemd's: the socket in it is bound while its start waits
//! start.sock   the init listens here until it is started; nobody listens once it runs
//! ```

mod activation;
mod config;
mod container;
mod create;
mod default_spec;
mod delete;
mod devices;
mod events;
mod exec;
mod features;
mod foreground;
mod hooks;
mod id;
mod links;
mod record;
mod relay;
mod resctrl;
mod rootless;
mod schema;
mod start;
mod stdio;
mod store;

pub use activation::{Listened, Notify};
pub use container::{Container, Status, signal_number};
pub use create::{CgroupManager, Create, Created};
pub use default_spec::default_spec;
pub use delete::Made;
pub use events::{Event, Watch};
pub use exec::{Asked, Exec, Executed, Override};
pub use features::features;
pub use foreground::{Foreground, Protected, protect_binary};
pub use id::ContainerId;
pub use record::State;
pub use rootless::{default_root, enter_new, is_plain_user, rootless_spec};
pub use schema::resources;
pub use stdio::{Console, Streams, inherited};
pub use store::Store;

pub use crate::cgroup::Below;
pub use oci_spec::runtime::LinuxResources as Resources;

/// Where root's containers are kept unless `--root` says otherwise; a tmpfs, so that a reboot ends them.
const DEFAULT_ROOT: &str = "/run/podrun/oci";
