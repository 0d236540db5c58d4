//! A container's terminal as one of its own devpts, which is made ahead for it: there its name means what it says.
//!
//! Invariant: what cannot be made so is left to the caller, who has the host's devpts.

use std::os::fd::{AsFd as _, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};

use super::mounts;
use super::plan::Source;
use crate::error::Result;
use crate::sys::mount::{self as m, Depth};
use crate::sys::{Errno, pty};

/// A terminal, and the mount of a container's that it is in.
#[derive(Debug)]
pub struct Terminal {
    /// The mount's `destination` in the spec.
    pub destination: String,
    /// The devpts, detached: to be moved there.
    pub devpts: OwnedFd,
    /// The terminal's master and its peer.
    pub pair: (OwnedFd, OwnedFd),
}

/// Makes the terminal of a container that has one. `None`: it has none or no devpts; a user namespace is to own that; or
/// the kernel, before 6.15, cannot bind what is in a mount that stands nowhere yet.
pub fn terminal(spec: &Spec) -> Result<Option<Terminal>> {
    let namespaces =
        spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let user = namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let asked = spec.process().as_ref().and_then(Process::terminal) == Some(true);
    if user || !asked {
        return Ok(None);
    }
    let listed = spec.mounts().as_deref().unwrap_or_default();
    let is_pts = |path: &str| path.trim_end_matches('/') == "/dev/pts";
    let first = listed.iter().find(|mount| mount.destination().to_str().is_some_and(is_pts));
    let Some(found) = first.filter(|mount| mount.typ().as_deref() == Some("devpts")) else { return Ok(None) };
    let Source::New(new) = mounts::devpts(found, spec)?.source else { return Ok(None) };
    let made = || -> Result<OwnedFd, Errno> {
        let context = m::fsopen(&new.kind)?;
        for (key, value) in &new.parameters {
            m::fsconfig(context.as_fd(), key, value.as_deref())?;
        }
        m::fsconfig_create(context.as_fd())?;
        m::fsmount(context.as_fd(), new.attributes.set)
    };
    // Why it cannot be made is told by the child that makes it then.
    let Ok(devpts) = made() else { return Ok(None) };
    let pair = pty::open_of(devpts.as_fd())?;
    if m::clone_tree(pair.1.as_fd(), Depth::One).is_err() {
        return Ok(None);
    }
    let destination = found.destination().to_string_lossy().into_owned();
    Ok(Some(Terminal { destination, devpts, pair }))
}
