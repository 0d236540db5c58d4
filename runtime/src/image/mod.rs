//! Images: references, registries, the content store, unpacking and snapshots.
//!
//! Invariant: data of a registry or an archive is checked before it is used (its size, its digest, its type),
//! and gets its final name on disk only when it is complete. This module knows no pods: the runner of a
//! container holds a lease on its image.

#[cfg(fuzzing)]
pub mod fuzz;

// Which of these may use which is held by tests/layering.rs.
mod content;
mod disk;
mod layer;
mod model;
mod progress;
mod registry;
mod store;
mod transfer;

pub use layer::snapshot;
pub use model::config::{self, ImageConfig};
pub use model::digest::{self, ChainId, Digest};
pub use model::manifest::Packed;
pub use model::platform::{self, Platform};
pub use model::reference::{self, Reference};
pub use progress::{Event, Phase, Progress, Silent};
pub use registry::{
    Access, Credentials, Login, Proxies, RegistrySettings, forget, forget_all, login, logins, tags,
};
pub use store::Image;
pub use store::check::{Checked, Finding, Outcome};
pub use store::collect::Pruned;
pub use store::inspect::{Details, Layer, Step};
pub use store::lease::Hold;
pub use store::usage::{ImageUsage, Part, Usage};
pub use store::{ImageStore, Removal};
pub use transfer::change::Change;
pub use transfer::import::ImportOptions;
pub use transfer::load::{LoadOptions, LoadedImage, Loads};
pub use transfer::policy::{Brought, Present, PullPolicy, Reason, Unavailable};
pub use transfer::pull::PullOptions;
pub use transfer::push::PushOptions;
pub use transfer::save::ArchiveFormat;
