//! `linux.netDevices`: links of the host's that the container gets (config-linux.md, "Network Devices").
//!
//! Invariant: a name that cannot be a container's link is refused before anything is made. A link moves after
//! the container's network exists and before its hooks run, and comes back if the create fails.

use std::os::fd::AsFd as _;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::config;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::net::{self, Device, Moved};
use crate::sys::child::creds;
use crate::sys::process::ns::{self, Namespaces};

/// Whether the container gets any.
pub(super) fn has_some(spec: &Spec) -> bool {
    let devices = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    devices.is_some_and(|devices| !devices.is_empty())
}

/// The links, by their names.
fn devices(spec: &Spec) -> Result<Vec<Device>> {
    let devices = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let mut listed: Vec<_> = devices.into_iter().flatten().collect();
    listed.sort_by_key(|(name, _)| *name);
    listed.into_iter().map(|(name, device)| Device::new(name, device.name().as_deref())).collect()
}

/// Refuses links for a container that cannot have them.
pub(super) fn check(spec: &Spec) -> Result<()> {
    if devices(spec)?.is_empty() {
        return Ok(());
    }
    let mut kinds = config::namespaces(spec).iter().map(|namespace| namespace.typ());
    if !kinds.any(|kind| kind == LinuxNamespaceType::Network) {
        return Err(no_network());
    }
    if creds::effective_uid() != 0 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "linux.netDevices: a plain user has no right to the host's links",
        ));
    }
    Ok(())
}

fn no_network() -> Error {
    Error::new(ErrorKind::Usage, "linux.netDevices: the container has no network namespace of its own")
}

/// Moves the links into the network namespace of process `pid`.
pub(super) fn give(spec: &Spec, pid: i32) -> Result<Option<Moved>> {
    let devices = devices(spec)?;
    if devices.is_empty() {
        return Ok(None);
    }
    let path = format!("/proc/{pid}/ns/net");
    let namespace = std::fs::File::open(&path).context(|| format!("open({path:?})"))?;
    if ns::is_callers(namespace.as_fd(), Namespaces::NET)? {
        return Err(no_network());
    }
    net::move_all(&devices, namespace.as_fd()).map(Some)
}

/// The error of a create that has given links away, which come back.
pub(super) fn take_back(links: Option<Moved>, error: Error) -> Error {
    match links.map(Moved::back) {
        Some(Err(also)) => error.hint(format!("and its links are not back: {also}")),
        _ => error,
    }
}
