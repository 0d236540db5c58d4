//! `pull`: an image from a registry into the store.

use std::path::PathBuf;

use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::{Image, ImageStore};
use crate::error::{Error, ErrorKind, Result};

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The platform wanted; nothing: the host's.
    pub platform: Option<Platform>,
    /// Files that may hold credentials, in Docker's form, the first match counts.
    pub auth_files: Vec<PathBuf>,
    /// User name and password given with the call, before any file.
    pub credentials: Option<(String, String)>,
    /// Registries (`host` or `host:port`) that may be spoken to in plain HTTP, beside the loopback's.
    pub insecure_registries: Vec<String>,
}

impl ImageStore {
    /// Pulls `reference`; what is here already is not fetched again.
    pub fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let _ = (options, progress);
        Err(Error::new(ErrorKind::Image, format!("{reference}: pull is not here yet")))
    }
}
