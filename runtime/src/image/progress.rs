//! The progress of a pull or a load, for its watcher.

use crate::image::model::digest::Digest;
use crate::image::model::reference::Reference;

/// A watcher. Events come from several threads.
pub trait Progress: Sync {
    /// Takes one event; returns soon.
    fn event(&self, event: &Event<'_>);
}

/// Something that happened to one layer, or to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The registry is asked for this image.
    Pulling(&'a Reference),
    /// The image's manifest is known: it has these layers, with their sizes as they are stored.
    Layers(&'a [(Digest, u64)]),
    /// The layer is in this phase, of which so many bytes are done.
    Layer {
        /// The layer's blob.
        digest: &'a Digest,
        /// The current phase.
        phase: Phase,
        /// How many bytes of the blob are through.
        done: u64,
        /// How many there are.
        total: u64,
    },
    /// Everything is being written to the disk.
    Syncing,
    /// A warning for the caller: a skipped check, a mirror that does not answer.
    Warning(&'a str),
}

/// A phase of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is coming from the registry.
    Downloading,
    /// It is here, and waits to be unpacked.
    Downloaded,
    /// It is on its way to the registry.
    Uploading,
    /// Its files are being made.
    Unpacking,
    /// It is done.
    Complete,
    /// It was here before.
    Exists,
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}
