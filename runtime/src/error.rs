//! The library's one error: a kind for programs, a sentence for people, a hint with the remedy.
//!
//! Invariant: an error is rendered once, where it is handled. Context is added in front as the error travels
//! up, so that the message reads from the object to the cause: ``pod `web`: container `main`: mount 3 of 9:
//! move_mount("/proc" -> "proc"): EPERM``.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys;

mod text;

pub use text::{Foreign, SHOWN_MAX, harmless, harmless_lines, quoted, shown, steers};

/// `Result` with podrun's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure, as far as a caller can act on it. The command line maps each to an exit code. The
/// monitor's protocol and records use its name in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The call itself is invalid (exit 2).
    Usage,
    /// The manifest is wrong (exit 3).
    Manifest,
    /// The pod, container or image does not exist (exit 4).
    NotFound,
    /// The name is taken (exit 5).
    Exists,
    /// The image cannot be pulled or loaded, or is corrupt (exit 6).
    Image,
    /// The host lacks a kernel option or a capability (exit 7).
    Unsupported,
    /// The deadline passed (exit 8).
    Timeout,
    /// The user gave up (exit 130).
    Interrupted,
    /// The program named does not exist in the container (exit 127 where a child's code is passed on).
    CommandNotFound,
    /// The program exists and cannot be executed (exit 126 where a child's code is passed on).
    CommandNotExecutable,
    /// The object is there, and not in a state that allows this: it is not running, or is ending, or has that already (exit 1).
    State,
    /// The work was tried and failed (exit 1). A kind that this podrun does not know reads as this one.
    #[serde(other)]
    Failed,
}

/// An error of podrun's library.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is lower case, without a full stop, and names its object.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, cause: None }))
    }

    /// An error of kind [`ErrorKind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// An error of kind [`ErrorKind::State`].
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::State, message)
    }

    /// Keeps the cause, for [`source`](std::error::Error::source).
    fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Box::new(cause));
        self
    }

    /// Puts `what` in front of the message: `what: message`.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Appends failures of the undoing to the message.
    #[must_use]
    pub fn and(mut self, also: &[Self]) -> Self {
        for also in also {
            self.0.message = format!("{}; and {}", self.0.message, also.0.message);
        }
        self
    }

    /// Adds the remedy; an earlier hint stays.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The same error under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The kind, for programs.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence, without the hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The remedy, if any.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// The hint for a missing system call.
pub(crate) const KERNEL_LACKS: &str = "this kernel lacks the call, or a seccomp filter around podrun refuses it: podrun needs Linux 5.14 or newer (docs/kernel.md)";

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        if error.errno == sys::Errno::ENOSYS.0 {
            let lacks = Self::new(ErrorKind::Unsupported, error.to_string()).hint(KERNEL_LACKS);
            return lacks.caused_by(error);
        }
        Self::failed(error.to_string()).caused_by(error)
    }
}

/// Context on the way up.
pub trait Context<T> {
    /// Puts `what()` in front of the error's message.
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.into().context(what()))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let message = match error.raw_os_error() {
            Some(errno) => sys::errno_name(errno).to_string(),
            None => error.to_string(),
        };
        Self::failed(message).caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_cause_stays_with_the_error_whatever_is_put_in_front() {
        let error = std::fs::File::open("/nowhere").context(|| "open /nowhere").unwrap_err();
        let error = error.context("pod `web`").with_kind(ErrorKind::Image);
        assert_eq!(error.message(), "pod `web`: open /nowhere: ENOENT (no such file or directory)");
        let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
        let cause = sys::Errno::EPERM.during("mount(proc)");
        let error = Error::from(cause);
        assert_eq!(error.source().unwrap().to_string(), error.message());
        assert!(Error::failed("alone").source().is_none());
    }
}
