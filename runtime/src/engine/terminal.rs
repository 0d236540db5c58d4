//! A container's terminal, made in advance: one of its own devpts, where its name is valid, or of an otherwise
//! empty devpts if the container has none, or one that only its user namespace can own.
//!
//! Invariant: it is never one of the host's, whose mode, owner and neighbours the container could see and
//! change.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};

use super::held_mounts::HeldMounts;
use super::inputs::{Console, dup};
use super::paths::destination;
use super::plan::{NewMount, Source};
use super::{filesystems, idmap};
use crate::error::Result;
use crate::sys::Errno;
use crate::sys::file::fs;
use crate::sys::file::mount::{self as m, Depth};
use crate::sys::io::pty;

/// A terminal, and the container's mounts of it.
#[derive(Debug)]
pub struct Terminal {
    /// The terminal's master and its peer.
    pub pair: (OwnedFd, OwnedFd),
    /// The mounts.
    pub console: Console,
}

/// Makes the terminal of a container that has one.
pub fn terminal(spec: &Spec) -> Result<Option<Terminal>> {
    let Some(process) = spec.process().as_ref().filter(|process| process.terminal() == Some(true)) else {
        return Ok(None);
    };
    let namespaces =
        spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let user = namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let own = if user { None } else { own_devpts(spec)? };
    let devpts = match &own {
        Some((_, new)) => filesystems::make(new)?,
        None => pty::alone()?,
    };
    let pair = pty::open_of(devpts.as_fd())?;
    if user {
        give(pair.1.as_fd(), spec, process)?;
    }
    let destination = own.map(|(destination, _)| destination);
    let (terminal, devpts) = clones(devpts, pair.1.as_fd())?;
    let console = Console { terminal, devpts: destination.map(|destination| (destination, devpts)) };
    Ok(Some(Terminal { pair, console }))
}

/// Where they are looked for.
const PTS: &str = "/dev/pts";

/// The devpts that the spec mounts where terminals are looked for.
fn own_devpts(spec: &Spec) -> Result<Option<(String, NewMount)>> {
    let listed = spec.mounts().as_deref().unwrap_or_default();
    let first = listed.iter().find(|mount| destination(mount).is_ok_and(|path| path == PTS));
    let Some(found) = first.filter(|mount| mount.typ().as_deref() == Some("devpts")) else { return Ok(None) };
    let Source::New(new) = filesystems::devpts(found, spec)?.source else { return Ok(None) };
    Ok(Some((PTS.to_owned(), new)))
}

/// A clone of the terminal, and the devpts as a mount that can be attached. Before Linux 6.15 a detached mount
/// cannot be cloned: then both are clones of a mount in a temporary namespace.
fn clones(devpts: OwnedFd, peer: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    const NAME: &str = "devpts";
    match m::clone_tree(peer, Depth::One) {
        Ok(terminal) => Ok((terminal, devpts)),
        Err(Errno::EINVAL) => {
            let root = dup(devpts.as_fd())?;
            let mut held = HeldMounts::default();
            held.insert(NAME, devpts);
            let terminal = held.copy_from_room(NAME, peer, Depth::One)?;
            Ok((terminal, held.copy_from_room(NAME, root.as_fd(), Depth::One)?))
        }
        Err(errno) => Err(errno.during("open_tree(pty, OPEN_TREE_CLONE)").into()),
    }
}

/// Gives the terminal to the process's user, whose ids differ on the host.
fn give(peer: BorrowedFd<'_>, spec: &Spec, process: &Process) -> Result<()> {
    let linux = spec.linux().as_ref();
    let uids = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
    let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
    let (uid, gid) = (process.user().uid(), process.user().gid());
    // In a namespace that is joined they are not known: the process has the terminal by its descriptors then.
    let (Some(uid), Some(gid)) = (idmap::on_host(uids, uid), idmap::on_host(gids, gid)) else {
        return Ok(());
    };
    Ok(fs::fchown(peer, uid, gid).map_err(|errno| errno.during(format!("fchown(pty, {uid}, {gid})")))?)
}
