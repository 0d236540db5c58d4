//! Holding a port of the host: bound, never listening.
//!
//! Invariant: while the descriptor lives no other process listens on the port, so that a mapping that catches
//! its packets hides no service.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::sys::{Error, Result};

/// A transport with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Binds `address` in the caller's network namespace. None: this kernel has no such socket, so no process can
/// listen there.
pub fn hold(address: SocketAddr, transport: Transport) -> Result<Option<OwnedFd>> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match transport {
        Transport::Tcp => (SocketType::STREAM, ipproto::TCP),
        Transport::Udp => (SocketType::DGRAM, ipproto::UDP),
        Transport::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let failed = |errno: Errno| Error::new(format!("bind({address})"), errno.raw_os_error());
    let fd = match net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)) {
        Ok(fd) => fd,
        Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true).map_err(failed)?;
    }
    // Connections of an earlier server that linger in TIME_WAIT are no reason to refuse; once bound
    // the flag goes, so that no later server shares the port.
    let tolerant = transport == Transport::Tcp;
    if tolerant {
        sockopt::set_socket_reuseaddr(&fd, true).map_err(failed)?;
    }
    net::bind(&fd, &address).map_err(failed)?;
    if tolerant {
        sockopt::set_socket_reuseaddr(&fd, false).map_err(failed)?;
    }
    Ok(Some(fd))
}
