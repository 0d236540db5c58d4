//! Images: references, registries, the content store, unpacking and snapshots.
//!
//! Invariant: what a registry or an archive sends is checked before it is believed (its size, its
//! digest, its type), and is on disk under its final name only when all of it is there. This module
//! knows no pods: whoever runs a container holds a lease on its image.

pub mod config;
pub mod digest;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod snapshot;

mod archive;
mod behind;
mod change;
mod check;
mod collect;
mod content;
mod decompress;
mod details;
mod document;
mod import;
mod ingest;
mod layers;
mod layout;
mod lease;
mod load;
mod manifest;
mod mounted;
mod partial;
mod pull;
mod push;
mod record;
mod registry;
mod save;
mod search;
mod space;
mod store;
mod stored;
mod unpack;
mod usage;
mod version;

pub use change::Change;
pub use check::{Checked, Finding, Outcome};
pub use collect::Pruned;
pub use config::ImageConfig;
pub use details::{Details, Layer, Step};
pub use digest::{ChainId, Digest};
pub use import::ImportOptions;
pub use lease::Hold;
pub use load::{LoadOptions, LoadedImage, Loads};
pub use platform::Platform;
pub use progress::{Event, Phase, Progress, Silent};
pub use pull::PullOptions;
pub use push::PushOptions;
pub use record::{Image, Packed};
pub use reference::Reference;
pub use registry::{
    Access, Credentials, Login, Proxies, RegistrySettings, forget, forget_all, login, logins, tags,
};
pub use save::ArchiveFormat;
pub use store::{ImageStore, Removal};
pub use usage::{ImageUsage, Part, Usage};
