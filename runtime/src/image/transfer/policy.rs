//! The pull policy: whether an image is the one here, or comes from its registry.
//!
//! Invariant: no registry is asked where the policy forbids it, and a refusal has a type, with a kubelet's name
//! for it.

use std::time::{Duration, Instant};

use super::pull::PullOptions;
use crate::error::{Error, ErrorKind};
use crate::image::model::reference::Reference;
use crate::image::progress::{Event, Progress};
use crate::image::store::{Image, ImageStore};

/// When the registry is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// When it is not here.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// Which image of the store is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// An image of that name, for any platform: it can be run.
    Named,
    /// One that a pull would leave as it is: for the platform that is wanted, with its layers as they came, too.
    Whole,
}

/// An image that can be used.
#[derive(Debug, Clone)]
pub struct Brought {
    /// The image.
    pub image: Image,
    /// How long the pull took; nothing where the image was here.
    pub pulled: Option<Duration>,
}

/// Why there is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The reference makes no sense.
    InvalidName,
    /// It is not here, and the policy is [`PullPolicy::Never`].
    NeverPull,
    /// The store, or its record of the image, cannot be read.
    Inspect,
    /// The registry has no such image.
    NotFound,
    /// It cannot be pulled for another reason.
    Pull,
}

impl Reason {
    /// The reason that a kubelet gives for a container that waits.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidName => "InvalidImageName",
            Self::NeverPull => "ErrImageNeverPull",
            Self::Inspect => "ImageInspectError",
            Self::NotFound | Self::Pull => "ErrImagePull",
        }
    }
}

/// An image that cannot be had.
#[derive(Debug)]
pub struct Unavailable {
    /// Why.
    pub reason: Reason,
    /// The error.
    pub error: Error,
}

impl Unavailable {
    fn new(reason: Reason, error: Error) -> Self {
        Self { reason, error }
    }
}

impl From<Unavailable> for Error {
    fn from(unavailable: Unavailable) -> Self {
        unavailable.error
    }
}

impl ImageStore {
    /// The image `name` as `policy` wants it.
    ///
    /// # Errors
    /// By their [`Reason`]; the error has [`ErrorKind::Image`], except where the name is invalid or the store
    /// cannot be read.
    pub fn bring(
        &self,
        name: &str,
        (policy, present): (PullPolicy, Present),
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Brought, Unavailable> {
        let reference: Reference =
            name.parse().map_err(|error| Unavailable::new(Reason::InvalidName, error))?;
        if policy != PullPolicy::Always {
            let here = match present {
                Present::Named => self.get(&reference),
                Present::Whole => self.whole(&reference, options.platform.as_ref()),
            };
            match here.map_err(|error| Unavailable::new(Reason::Inspect, error))? {
                Some(Image { damage: Some(why), .. }) => {
                    let error = Error::new(ErrorKind::Image, format!("image {reference}: {why}"));
                    return Err(Unavailable::new(Reason::Inspect, error));
                }
                Some(image) => return Ok(Brought { image, pulled: None }),
                None if policy == PullPolicy::Never => {
                    let message = format!("image {name:?} is not present with pull policy of Never");
                    let error = Error::new(ErrorKind::Image, message).hint("load it by `podrun load FILE`");
                    return Err(Unavailable::new(Reason::NeverPull, error));
                }
                None => {}
            }
        }
        progress.event(&Event::Pulling(&reference));
        let begun = Instant::now();
        match self.pull_now(&reference, options, progress) {
            Ok(image) => Ok(Brought { image, pulled: Some(begun.elapsed()) }),
            Err(error) => {
                let is_missing = error.kind() == ErrorKind::NotFound;
                let reason = if is_missing { Reason::NotFound } else { Reason::Pull };
                Err(Unavailable::new(reason, super::pull::failed(&reference, error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::image::progress::Silent;

    #[test]
    fn a_refusal_says_by_its_type_what_failed() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&Host { root: dir.path().join("root"), ..Host::default() }).unwrap();
        // No process listens at port 1: a request to a registry fails as a pull.
        let cases = [
            ("127.0.0.1:1/a:b", PullPolicy::Never, Reason::NeverPull, "ErrImageNeverPull"),
            ("127.0.0.1:1/a:b", PullPolicy::IfNotPresent, Reason::Pull, "ErrImagePull"),
            ("127.0.0.1:1/a:b", PullPolicy::Always, Reason::Pull, "ErrImagePull"),
            ("A:b", PullPolicy::Never, Reason::InvalidName, "InvalidImageName"),
        ];
        for (name, policy, reason, called) in cases {
            for present in [Present::Named, Present::Whole] {
                let options = PullOptions::default();
                let refused = store.bring(name, (policy, present), &options, &Silent).unwrap_err();
                assert_eq!((refused.reason, refused.reason.name()), (reason, called), "{name}: {refused:?}");
            }
        }
    }
}
