//! Host paths opened by a child: a file system of the host may hang, such as a dead NFS or a FUSE without its
//! server, and a lookup there hangs with it.
//!
//! Invariants: the result is descriptors of checked files; from then on no server of those file systems is
//! involved. The child is out of the pod's reach: in the host's namespaces, with none of the pod's descriptors
//! open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use super::{Source, destination, host_path, part, shown};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::pod::config::{HostPathSource, MountConfig, VolumeSource};
use crate::pod::protocol::Failure;
use crate::sys::process::errand::{Answers, CalledOff, Errand};
use crate::sys::process::ns::Namespaces;

/// How long the file systems of one container's host paths have to answer: as long as its child may take to its execve, in
/// which it waits for the same ones. A kubelet gives a pod's volumes two minutes; here the pod's other containers wait for
/// their start meanwhile, and a try that fails is made again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The prefix of the child's failure message; each opened descriptor comes with one, too.
const OPENED: &[u8] = b"+";

/// A child that opens host paths.
#[derive(Debug)]
pub(crate) struct Opening {
    errand: Errand,
    /// The paths to open, in order.
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    volume: String,
    /// The host's path; readers of `config.json` see it.
    path: PathBuf,
    destination: String,
}

/// A host path, and the part of it that a container mounts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostPath<'a> {
    volume: &'a str,
    source: &'a HostPathSource,
    mount: Option<&'a MountConfig>,
}

impl<'a> HostPath<'a> {
    /// All that a container mounts.
    pub(crate) fn of_container(mounts: &'a [MountConfig]) -> Vec<Self> {
        mounts.iter().filter_map(|mount| Self::new(&mount.volume, &mount.source, Some(mount))).collect()
    }

    /// All that a pod names, each as a whole.
    pub(crate) fn of_pod(volumes: &'a [(String, VolumeSource)]) -> Vec<Self> {
        volumes.iter().filter_map(|(name, source)| Self::new(name, source, None)).collect()
    }

    fn new(volume: &'a str, source: &'a VolumeSource, mount: Option<&'a MountConfig>) -> Option<Self> {
        match source {
            VolumeSource::HostPath(source) => Some(Self { volume, source, mount }),
            VolumeSource::Disk | VolumeSource::Memory { .. } => None,
        }
    }

    fn open(&self) -> Result<OwnedFd> {
        let root = host_path::open(self.source).context(|| format!("volume {:?}", self.volume))?;
        match self.mount {
            Some(mount) => part(root, mount),
            None => Ok(root),
        }
    }

    fn wanted(&self) -> Result<Wanted> {
        let path = PathBuf::from(&self.source.path);
        Ok(Wanted {
            volume: self.volume.to_owned(),
            destination: self.mount.map_or_else(|| Ok(String::new()), destination)?,
            path: self.mount.map_or(path.clone(), |mount| shown(path, mount)),
        })
    }
}

impl Opening {
    /// Sends a child out that opens `host_paths`. `home` are the host's namespaces, for a caller that is in others.
    pub(crate) fn begin(host_paths: &[HostPath<'_>], home: &[(Namespaces, OwnedFd)]) -> Result<Self> {
        let wanted = host_paths.iter().map(HostPath::wanted).collect::<Result<_>>()?;
        Ok(Self { errand: Errand::send_out(home, |answers| open_all(host_paths, answers))?, wanted })
    }

    /// Whether everything is answered; then [`Opening::outcome`] returns the result.
    pub(crate) fn is_answered(&mut self) -> Result<bool> {
        Ok(self.errand.take_in()?)
    }

    /// The result.
    pub(crate) fn outcome(self) -> Result<Vec<Source>> {
        let (said, descriptors) = self.errand.into_answers();
        if descriptors.len() == self.wanted.len() {
            let named = self.wanted.into_iter().zip(descriptors);
            let source = |(wanted, tree): (Wanted, _)| Source {
                destination: wanted.destination,
                path: wanted.path,
                tree,
            };
            return Ok(named.map(source).collect());
        }
        let failure = said.get(descriptors.len() * OPENED.len()..).unwrap_or_default();
        Err(match serde_json::from_slice::<Failure>(failure) {
            Ok(failure) => failure.into(),
            Err(_) => Error::failed("hostPath: the child that opens it ended without a word"),
        })
    }

    /// Waits for the end of a child that has answered, for a caller that does not reap all children.
    pub(crate) fn reap(&self) -> Result<()> {
        Ok(self.errand.reap()?)
    }

    /// Gives up on it. The error names the path that it hangs on.
    pub(crate) fn call_off(self) -> (CalledOff, Error) {
        let hangs = self.wanted.get(self.errand.opened());
        let message = hangs.map_or_else(String::new, |wanted| {
            format!("volume {:?}: hostPath {}: does not answer", wanted.volume, wanted.path.display())
        });
        let error = Error::new(ErrorKind::Timeout, message)
            .hint("its file system hangs: is the server of that NFS or FUSE up?");
        (self.errand.call_off(), error)
    }
}

impl AsFd for Opening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.errand.as_fd()
    }
}

/// The child's part: opens one after the other, up to the first that fails.
fn open_all(host_paths: &[HostPath<'_>], answers: &Answers) {
    for host_path in host_paths {
        let given = match host_path.open() {
            Ok(tree) => answers.give(OPENED, Some(tree.as_fd())),
            Err(error) => {
                let failure = serde_json::to_vec(&Failure::from(&error));
                // A parent that no longer listens does not need the answer.
                drop(answers.give(&failure.unwrap_or_default(), None));
                return;
            }
        };
        if given.is_err() {
            return;
        }
    }
}
