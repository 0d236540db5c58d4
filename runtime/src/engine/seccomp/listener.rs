//! The agent of a filter that asks one: it gets the filter's descriptor and the container's state.
//!
//! The child cannot send its descriptor, since the filter is in force by then: it says the number in one
//! write and waits in one read, and the parent takes the descriptor by pidfd_getfd.
//!
//! Invariant: a container whose filter asks an agent goes on only once the agent has the filter's descriptor.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use oci_spec::runtime::{ContainerProcessStateBuilder, ContainerState, LinuxSeccomp, SECCOMP_FD_NAME, State};

use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::io::{poll, socket, stream};
use crate::sys::process::pidfd;

/// How long the agent may take to read its message.
const PATIENCE: Duration = Duration::from_secs(60);

/// The agent to inform of a filter's descriptor, and the message.
#[derive(Debug)]
pub(in crate::engine) struct Listener {
    path: PathBuf,
    metadata: Option<String>,
    state: State,
}

impl Listener {
    /// The listener of a filter that has one. `state` is the container's.
    pub(in crate::engine) fn new(seccomp: &LinuxSeccomp, state: Option<&State>) -> Result<Option<Self>> {
        let Some(path) = seccomp.listener_path().clone().filter(|_| super::notifies(seccomp)) else {
            return Ok(None);
        };
        let Some(state) = state.cloned() else {
            let message = "linux.seccomp: SCMP_ACT_NOTIFY needs a container with a state to tell of";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        Ok(Some(Self { path, metadata: seccomp.listener_metadata().clone(), state }))
    }

    /// Sends descriptor `number` of the process that has the filter, with the runtime-spec's container process
    /// state.
    pub(in crate::engine) fn tell(&self, process: BorrowedFd<'_>, number: i32) -> Result<()> {
        let descriptor = pidfd::pidfd_getfd(process, number)
            .map_err(|errno| errno.during(format!("pidfd_getfd(child, {number})")))?;
        let pid = pidfd::pid_in_proc(process).ok_or_else(|| Error::failed("the container ended"))?;
        let mut state = self.state.clone();
        if *state.status() == ContainerState::Creating {
            state.set_pid(Some(pid));
        }
        let mut message = ContainerProcessStateBuilder::default()
            .version(state.version().clone())
            .fds(vec![SECCOMP_FD_NAME.to_owned()])
            .pid(pid)
            .state(state);
        if let Some(metadata) = &self.metadata {
            message = message.metadata(metadata.clone());
        }
        let message = message.build().map_err(|error| Error::failed(error.to_string()))?;
        let bytes = serde_json::to_vec(&message).map_err(|error| Error::failed(error.to_string()))?;
        self.send(&bytes, descriptor.as_fd()).context(|| format!("seccomp agent {}", self.path.display()))
    }

    fn send(&self, bytes: &[u8], descriptor: BorrowedFd<'_>) -> Result<()> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(Error::failed("the path names no socket"));
        };
        let agent = socket::connect_within(folder, &name.to_string_lossy(), PATIENCE)
            .map_err(|error| Error::from(error).hint("the agent must listen before the container is made"))?;
        stream::set_nonblocking(agent.as_fd())?;
        let until = Instant::now() + PATIENCE;
        let first = [descriptor];
        let (mut rest, mut descriptors) = (bytes, first.as_slice());
        while !rest.is_empty() {
            match socket::send(agent.as_fd(), rest, descriptors)? {
                Some(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    descriptors = &[];
                }
                None if poll::wait_writable(
                    agent.as_fd(),
                    until.saturating_duration_since(Instant::now()),
                ) => {}
                None => return Err(Error::new(ErrorKind::Timeout, "it does not read")),
            }
        }
        Ok(())
    }
}
