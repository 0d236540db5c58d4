//! The part of a systemd service's environment that is handed on to its container: the sockets it is activated
//! by (sd_listen_fds(3)), and the socket to notify of its readiness (sd_notify(3)).
//!
//! Invariant: of a container's messages the host gets only its readiness and its main process. A process that
//! waits for them holds no lock.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::{MountBuilder, Spec};

use super::Container;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::file::own;
use crate::sys::io::{poll, pty, socket};

/// The directory of the notify socket in the container's own, and where the container sees it.
const FOLDER: &str = "notify";
const FOLDER_INSIDE: &str = "/run/notify";
/// The socket in it.
const SOCKET: &str = "notify.sock";

/// The descriptors from 3 on that this process was activated with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listened {
    /// How many they are (`LISTEN_FDS`).
    pub count: u32,
    /// Their names (`LISTEN_FDNAMES`).
    pub names: Option<String>,
}

impl Listened {
    /// The sockets of the environment, if they are meant for `pid`, this process.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Result<Self> {
        let is_ours = variable("LISTEN_PID").is_some_and(|meant| meant == pid.to_string());
        let Some(count) = variable("LISTEN_FDS").filter(|count| is_ours && !count.is_empty()) else {
            return Ok(Self::default());
        };
        let count = count.parse().map_err(|_| {
            Error::new(ErrorKind::Usage, format!("LISTEN_FDS: `{count}` is no number of descriptors"))
        })?;
        Ok(Self { count, names: variable("LISTEN_FDNAMES") })
    }

    /// Tells the container's program of them.
    pub(super) fn tell(&self, spec: &mut Spec) {
        if self.count > 0 {
            let names = self.names.iter().map(|names| format!("LISTEN_FDNAMES={names}"));
            let own = [format!("LISTEN_FDS={}", self.count), "LISTEN_PID=1".to_owned()];
            add_variables(spec, own.into_iter().chain(names));
        }
    }
}

fn add_variables(spec: &mut Spec, variables: impl Iterator<Item = String>) {
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(variables);
        process.set_env(Some(env));
    }
}

/// Gives the container the place of a notify socket, which is there from its start on.
pub(super) fn prepare_notify(container: &Container, spec: &mut Spec) -> Result<()> {
    let folder = container.file(FOLDER);
    own::new_directory(&folder, 0o755).context(|| format!("mkdir({folder:?})"))?;
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    let mount =
        MountBuilder::default().destination(FOLDER_INSIDE).typ("bind").source(folder).options(options);
    let mount = mount.build().map_err(|error| Error::failed(error.to_string()))?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    add_variables(spec, std::iter::once(format!("NOTIFY_SOCKET={FOLDER_INSIDE}/{SOCKET}")));
    Ok(())
}

/// A container that is to say when it is ready.
#[derive(Debug)]
pub struct Notify {
    socket: OwnedFd,
    host: OsString,
    /// The container's init, and its pid.
    init: OwnedFd,
    pid: i32,
}

impl Notify {
    /// Listens for `container`, which was made for it, in the name of the socket `host` (`NOTIFY_SOCKET`).
    pub(super) fn listen(
        container: &Container,
        host: &OsStr,
        init: BorrowedFd<'_>,
        pid: i32,
    ) -> Result<Option<Self>> {
        let folder: PathBuf = container.file(FOLDER);
        if !folder.is_dir() {
            return Ok(None);
        }
        let init = init.try_clone_to_owned()?;
        Ok(Some(Self {
            socket: socket::bind_datagram(&folder, SOCKET, 0o777)?,
            host: host.to_owned(),
            init,
            pid,
        }))
    }

    /// Waits until the container says that it is ready, or ends, and tells the host so: `main` is the process that stands for
    /// it there (absent: its init).
    pub fn hand_on(self, main: Option<u32>) -> Result<()> {
        let what = || format!("NOTIFY_SOCKET {}", self.host.display());
        let Some(ready) = self.ready()? else { return Ok(()) };
        let host = socket::datagram_to(&self.host, PATIENCE).context(what)?;
        let main = main.map_or(self.pid.to_string(), |main| main.to_string());
        for line in [ready, format!("MAINPID={main}\n").into_bytes()] {
            if socket::send(host.as_fd(), &line, &[]).context(what)?.is_none() {
                return Err(Error::new(ErrorKind::Timeout, "nobody reads there").context(what()));
            }
        }
        barrier(host.as_fd()).context(what)
    }

    /// The line by which the container says that it is ready; `None`: it has ended.
    fn ready(&self) -> Result<Option<Vec<u8>>> {
        loop {
            let polled =
                [(self.socket.as_fd(), poll::Interest::Read), (self.init.as_fd(), poll::Interest::Read)];
            let ready = poll::poll(&polled, None)?;
            if ready.first().is_some_and(|socket| socket.readable) {
                let mut bytes = [0; 4096];
                // Descriptors that come along are closed.
                let count = socket::receive(self.socket.as_fd(), &mut bytes, &mut Vec::new())?.unwrap_or(0);
                let mut lines = bytes.get(..count).unwrap_or_default().split(|byte| *byte == b'\n');
                if let Some(line) = lines.find(|line| line.starts_with(b"READY=")) {
                    return Ok(Some([line, b"\n"].concat()));
                }
            } else if poll::wait_readable(self.init.as_fd(), Duration::ZERO) {
                return Ok(None);
            }
        }
    }
}

/// How long the host may take to read the message: systemd's own timeout.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the host has read the messages (sd_notify_barrier(3)). A host without barriers closes nothing,
/// and the wait times out.
fn barrier(host: BorrowedFd<'_>) -> Result<()> {
    let (ours, theirs) = pty::pipe()?;
    socket::send(host, b"BARRIER=1", &[theirs.as_fd()])?;
    drop(theirs);
    // The barrier ends with a hangup of the pipe; the outcome changes nothing here.
    let _ = poll::wait_readable(ours.as_fd(), PATIENCE);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_that_are_meant_for_this_process() {
        let of = |pid: &str, count: &str| {
            let variable = |name: &str| match name {
                "LISTEN_PID" => Some(pid.to_owned()),
                "LISTEN_FDS" => Some(count.to_owned()),
                _ => Some("a:b".to_owned()),
            };
            Listened::of_environment(variable, 7)
        };
        assert_eq!(of("7", "2").unwrap(), Listened { count: 2, names: Some("a:b".to_owned()) });
        assert_eq!(of("8", "2").unwrap(), Listened::default());
        assert_eq!(of("7", "").unwrap(), Listened::default());
        assert!(of("7", "two").is_err());
        assert_eq!(Listened::of_environment(|_| None, 7).unwrap(), Listened::default());
    }
}
