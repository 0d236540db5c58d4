//! Images: references, registries, the content store, unpacking and snapshots.
//!
//! Invariant: what a registry or an archive sends is checked before it is believed (its size, its
//! digest, its type), and is on disk under its final name only when all of it is there. This module
//! knows no pods: whoever runs a container holds a lease on its image.

pub mod config;
pub mod digest;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod snapshot;

mod archive;
mod content;
mod decompress;
mod ingest;
mod layers;
mod layout;
mod load;
mod manifest;
mod pull;
mod push;
mod record;
mod registry;
mod space;
mod store;
mod stored;
mod unpack;

pub use config::ImageConfig;
pub use digest::{ChainId, Digest};
pub use platform::Platform;
pub use progress::{Event, Phase, Progress, Silent};
pub use pull::PullOptions;
pub use push::PushOptions;
pub use record::Image;
pub use reference::Reference;
pub use registry::{Access, Credentials, Login, Proxies, RegistrySettings, forget, forget_all, login, tags};
pub use store::{ImageStore, Removal};
