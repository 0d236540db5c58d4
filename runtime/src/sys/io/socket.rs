//! Local stream sockets that carry descriptors: pairs, listeners in long directories, peers' credentials.
//!
//! Every descriptor made or received here is close-on-exec.

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::sys::{Error, Result};

/// The most descriptors one message may carry; more are dropped by the kernel.
pub const DESCRIPTORS_MAX: usize = 4;

fn error(call: impl Into<String>) -> impl FnOnce(Errno) -> Error {
    let call = call.into();
    move |errno| Error::new(call, errno.raw_os_error())
}

/// A connected pair of stream sockets.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(error("socketpair(AF_UNIX, SOCK_STREAM)"))
}

/// The address of `name` in `directory`, through the directory's descriptor: `sun_path` holds 108 bytes, a state
/// dir may be longer.
fn address(directory: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    SocketAddrUnix::new(path.as_str()).map_err(error(format!("sockaddr({path:?})")))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(error(format!("open({path:?}, O_PATH|O_DIRECTORY)")))
}

/// A listening, non-blocking stream socket `name` in `directory`, mode 0600. A dead listener's is replaced: the
/// caller holds the lock that excludes a live one.
pub fn listen(directory: &Path, name: &str) -> Result<OwnedFd> {
    let at = open_directory(directory)?;
    let address = address(at.as_fd(), name)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(error("socket(AF_UNIX, SOCK_STREAM)"))?;
    // The mode of the socket's inode is the descriptor's, less the umask.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600)).map_err(error("fchmod(socket, 0600)"))?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            rustix::fs::unlinkat(&at, name, rustix::fs::AtFlags::empty())
                .map_err(error(format!("unlinkat({directory:?}, {name:?})")))?;
            rustix::net::bind(&socket, &address)
        }
        other => other,
    }
    .map_err(error(format!("bind({:?})", directory.join(name))))?;
    rustix::net::listen(&socket, 64).map_err(error("listen(socket)"))?;
    Ok(socket)
}

/// A datagram socket `name` in `directory`, to which `mode` decides who may send. A dead listener's is
/// replaced.
pub fn bind_datagram(directory: &Path, name: &str, mode: u32) -> Result<OwnedFd> {
    let at = open_directory(directory)?;
    let address = address(at.as_fd(), name)?;
    let socket = datagram()?;
    match rustix::fs::unlinkat(&at, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(error(format!("unlinkat({directory:?}, {name:?})"))(errno)),
    }
    rustix::net::bind(&socket, &address).map_err(error(format!("bind({:?})", directory.join(name))))?;
    // No other process writes to the directory: the name is the bound socket's.
    rustix::fs::chmodat(&at, name, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())
        .map_err(error(format!("fchmodat({name:?}, {mode:o})")))?;
    Ok(socket)
}

/// A datagram socket connected to `path`, or, with a leading `@`, to an abstract name. A send waits for room at
/// most `patience`, and then returns `None`.
pub fn datagram_to(path: &OsStr, patience: Duration) -> Result<OwnedFd> {
    let bytes = path.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(bytes),
    };
    let address = address.map_err(error(format!("sockaddr({path:?})")))?;
    let socket = datagram()?;
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, Some(patience))
        .map_err(error("setsockopt(SO_SNDTIMEO)"))?;
    rustix::net::connect(&socket, &address).map_err(error(format!("connect({path:?})")))?;
    Ok(socket)
}

fn datagram() -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(error("socket(AF_UNIX, SOCK_DGRAM)"))
}

/// A stream connected to the socket `name` in `directory`. Waits at most `patience` for room in the backlog,
/// and in a later send for the reader: that may then return `None`, as if it would block.
pub fn connect_within(directory: &Path, name: &str, patience: Duration) -> Result<OwnedFd> {
    let (socket, connected) = try_to_connect_within(directory, name, patience)?;
    connected.map(|()| socket).map_err(error(format!("connect({:?})", directory.join(name))))
}

/// The same, if a process listens there.
pub fn connect_if_listening(directory: &Path, name: &str, patience: Duration) -> Result<Option<OwnedFd>> {
    let (socket, connected) = try_to_connect_within(directory, name, patience)?;
    match connected {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
        Err(errno) => Err(error(format!("connect({:?})", directory.join(name)))(errno)),
    }
}

fn try_to_connect_within(
    directory: &Path,
    name: &str,
    patience: Duration,
) -> Result<(OwnedFd, std::result::Result<(), Errno>)> {
    let (socket, (_at, address)) = stream_to(directory, name, SocketFlags::CLOEXEC)?;
    // A time of zero would be none.
    let patience = patience.max(Duration::from_millis(1));
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, Some(patience))
        .map_err(error("setsockopt(SO_SNDTIMEO)"))?;
    let connected = rustix::net::connect(&socket, &address);
    Ok((socket, connected))
}

/// Whether a process listens at the socket `name` in `directory`; never waits.
pub fn is_listening(directory: &Path, name: &str) -> Result<bool> {
    let (socket, (_at, address)) = stream_to(directory, name, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    match rustix::net::connect(&socket, &address) {
        // A full queue belongs to a listener.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(errno) => Err(error(format!("connect({:?})", directory.join(name)))(errno)),
    }
}

/// A socket and the address to connect it to, which leads through the descriptor beside it.
fn stream_to(
    directory: &Path,
    name: &str,
    flags: SocketFlags,
) -> Result<(OwnedFd, (OwnedFd, SocketAddrUnix))> {
    let at = open_directory(directory)?;
    let address = address(at.as_fd(), name)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(error("socket(AF_UNIX, SOCK_STREAM)"))?;
    Ok((socket, (at, address)))
}

/// The next connection, non-blocking, if one waits.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(errno) => Err(error("accept4(listener)")(errno)),
    }
}

/// The user id of the process at the other end, as it was when it connected. (`rustix` cannot read the credentials
/// of a peer outside the caller's pid namespace: its pid is 0 here.)
pub fn peer_uid(socket: BorrowedFd<'_>) -> Result<u32> {
    nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)
        .map(|credentials| credentials.uid())
        .map_err(|errno| Error::new("getsockopt(SO_PEERCRED)", errno as i32))
}

/// An unconnected stream socket of the network namespace this process is in.
pub fn inet_stream(ipv6: bool) -> Result<OwnedFd> {
    let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(error(format!("socket({family:?}, SOCK_STREAM)")))
}

/// Brings `lo` of the caller's network namespace up. Allocates nothing.
pub fn loopback_up() -> crate::sys::errno::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an ifreq is made of integers and pointers that are not read here: zeroes are a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).expect("the flag is 1");
    // SAFETY: SIOCSIFFLAGS reads one ifreq, name and flags of it; `request` is one and lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    crate::sys::Errno::result(result.into()).map(drop)
}

/// The process that listens at the other end of a connected socket, by descriptor (SO_PEERPIDFD, Linux 6.5; before, by
/// its pid, which is another's if it has died and the numbers have come round). `None`: it is dead and reaped.
pub fn peer_process(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let mut pidfd: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of_val(&pidfd)).expect("four bytes");
    // SAFETY: the kernel writes one int and the length, which both live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut pidfd).cast(),
            &raw mut length,
        )
    };
    match (result, crate::sys::Errno::last()) {
        // SAFETY: getsockopt has said that it wrote a new descriptor there, CLOEXEC, so nothing else owns it.
        (0, _) => Ok(Some(unsafe { OwnedFd::from_raw_fd(pidfd) })),
        (_, crate::sys::Errno::ESRCH | crate::sys::Errno(libc::ENODATA)) => Ok(None),
        (_, crate::sys::Errno(libc::ENOPROTOOPT)) => process_of_peer(socket),
        (_, errno) => Err(errno.during("getsockopt(SO_PEERPIDFD)")),
    }
}

fn process_of_peer(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let credentials = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)
        .map_err(|errno| Error::new("getsockopt(SO_PEERCRED)", errno as i32))?;
    match crate::sys::process::pidfd::pidfd_open(credentials.pid()) {
        Ok(process) => Ok(Some(process)),
        // The number is free, or by now another process's thread's.
        Err(crate::sys::Errno::ESRCH | crate::sys::Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno.during("pidfd_open(a peer)")),
    }
}

/// Sends as much of `bytes` as fits, with `descriptors` beside the first of them. `None`: it would block.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<Option<usize>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(error(format!("sendmsg({} descriptors)", descriptors.len()))(Errno::TOOMANYREFS));
    }
    loop {
        let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL);
        return match sent {
            Ok(count) => Ok(Some(count)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(error("sendmsg(socket)")(errno)),
        };
    }
}

/// Receives into `bytes` and appends received descriptors to `descriptors`. `None`: it would block; 0: the peer
/// has closed.
pub fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<Option<usize>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    loop {
        let received = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        match received {
            Ok(message) => {
                for part in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = part {
                        descriptors.extend(rights);
                    }
                }
                return Ok(Some(message.bytes));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNRESET) => return Ok(Some(0)),
            Err(errno) => return Err(error("recvmsg(socket)")(errno)),
        }
    }
}
