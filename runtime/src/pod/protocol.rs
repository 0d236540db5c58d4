//! The monitor's protocol, version 1: requests, replies and events.
//!
//! ```text
//! frame    = length (u32, little endian) · JSON of that length; a frame's descriptors travel with its first byte
//! client   -> Request { id, op }                      ids are the client's own, replies come in any order
//! monitor  -> Message::Reply  { id, result }          one for each request
//!          -> Message::Event  { sequence, change }    after a `watch`; sent once the change is on disk
//!          -> Message::Exited { id, .. }              the process of this connection's `exec` number `id` ended
//! ```
//!
//! Invariant: the connection that spawned the monitor owns the pod until it says `commit`; if it
//! closes before, everything is undone. A closed connection cancels nothing after that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::record::{ContainerStatusRecord, SandboxStatus};
use crate::cgroup::Layout;
use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::image::Image;
use crate::net::{PortFilter, PortMap};

/// The version this build speaks. A monitor outlives the binary that started it, so both sides say theirs.
pub const VERSION: u32 = 1;

/// The longest frame either side accepts: whole manifests pass, nothing that fills memory does.
pub const FRAME_MAX: usize = 4 << 20;

/// The most descriptors one frame carries.
pub const DESCRIPTORS_MAX: usize = 4;

/// A client's frame.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Drawn by the client, echoed in the reply.
    pub id: u64,
    /// The request.
    pub op: Op,
}

/// The requests. `container` is always a container id (64 hex digits).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// The first request of a connection. The one that spawns the monitor says where the host's trees are.
    Hello {
        /// The client's [`VERSION`].
        version: u32,
        /// Set by the spawning client only.
        maker: Option<Box<Maker>>,
    },
    /// A snapshot now, then each later change as an event. `from` is the last sequence number seen: changes up
    /// to it are left out (0: none seen).
    Watch {
        /// The last sequence number seen.
        from: u64,
    },
    /// Makes the namespaces, the network, the cgroup, the shared mounts and the /etc files.
    CreateSandbox(Box<SandboxSpec>),
    /// Hands the pod to its front's rules, which run its containers from here on.
    HandOver(Box<HandOver>),
    /// The pod is to stay when this connection closes.
    Commit,
    /// Takes in a container whose `config.json` (the runtime spec) lies in the pod's records; starts no
    /// process.
    Create(Box<ContainerSpec>),
    /// Starts a created container; answered when its program is executed.
    Start {
        /// The container.
        container: String,
    },
    /// Sends the stop signal, and SIGKILL when the grace is over; answered when it has ended. A second one may only
    /// shorten the grace.
    Stop {
        /// The container.
        container: String,
        /// Milliseconds until SIGKILL.
        grace: u64,
    },
    /// Sends a signal to the container's first process, or to all of them.
    Kill {
        /// The container.
        container: String,
        /// The signal's number.
        signal: i32,
        /// Every process of the container; only SIGKILL is possible here.
        all: bool,
    },
    /// Kills the container's processes and forgets it. The client deletes its records and its snapshot.
    Remove {
        /// The container.
        container: String,
    },
    /// Changes a running container's limits.
    Update {
        /// The container.
        container: String,
        /// The limits to write; absent fields stay.
        resources: Box<LinuxResources>,
    },
    /// Runs another process in a container. The reply carries the client's ends, see [`Streams`];
    /// [`Message::Exited`] follows. The process is hung up when the connection closes.
    Exec(Box<Exec>),
    /// Joins a running container's streams. The reply carries the client's ends, see [`Streams`].
    Attach {
        /// The container.
        container: String,
        /// Whether the client will write to its standard input.
        stdin: bool,
    },
    /// Sets the window of a container's terminal.
    Resize {
        /// The container.
        container: String,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Closes a container's standard input.
    CloseStdin {
        /// The container.
        container: String,
    },
    /// Reopens the container's log file, after another program has renamed it.
    ReopenLog {
        /// The container.
        container: String,
    },
    /// An unconnected stream socket of the pod's network; the reply carries it.
    Socket {
        /// IPv6 instead of IPv4.
        ipv6: bool,
    },
    /// Ends the pod: its containers with `grace` (absent: each its own), then its network and cgroups. Answered when
    /// that is done; the records stay and the monitor exits. A second one may only shorten the grace.
    StopSandbox {
        /// Milliseconds until SIGKILL; absent: as the pod says.
        grace: Option<u64>,
    },
    /// Ends the pod at once, deletes its records, and exits.
    RemoveSandbox,
}

/// The arguments of a new monitor, from the process that starts it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Maker {
    /// Where the host's trees are.
    pub host: Host,
    /// Its cgroups: the table of mounts is long to read.
    pub layout: Layout,
}

/// A monitor's frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// The request's id.
        id: u64,
        /// The result.
        result: Result<Reply, Failure>,
    },
    /// Something changed, and its record is on disk.
    Event(Event),
    /// The process of an `exec` ended, and its output has been written whole.
    Exited {
        /// The id of the `exec` request.
        id: u64,
        /// How it ended.
        exit: Exit,
    },
}

/// A request's result when it went well.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// Answers `hello`.
    Hello {
        /// The monitor's [`VERSION`].
        version: u32,
        /// The monitor's process id as the host sees it.
        pid: i32,
    },
    /// Answers `watch`.
    Snapshot(Box<Snapshot>),
    /// Answers `exec`, `attach` and `socket`: which descriptors came with the frame, in this order.
    Streams(Streams),
}

/// The descriptors beside an `exec` or `attach` reply, in the order of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// A terminal's master: reads are its output, writes its input, TIOCSWINSZ its window. Then nothing else is set.
    pub terminal: bool,
    /// A pipe's write end: standard input.
    pub stdin: bool,
    /// A pipe's read end: standard output.
    pub stdout: bool,
    /// A pipe's read end: standard error.
    pub stderr: bool,
}

/// An error as it crosses the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind, for programs.
    pub kind: ErrorKind,
    /// The sentence.
    pub message: String,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.message().into(), hint: error.hint_text().map(Into::into) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = Self::new(failure.kind, failure.message);
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Which of a kind of namespace a pod or container gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceMode {
    /// One of its own.
    #[default]
    Own,
    /// One that the pod's containers share (process ids only; the others always are).
    Pod,
    /// The host's.
    Host,
}

/// The pod's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The host's own.
    Host,
    /// A namespace with nothing but `lo`.
    None,
    /// The bridge network.
    Bridge {
        /// Ports of the host that lead to the pod.
        ports: Vec<PortMap>,
        /// Whether the pod is held to its own addresses.
        filter: PortFilter,
    },
}

/// The parts of a sandbox, in no front's own words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The UTS namespace's host name.
    pub hostname: String,
    /// The network; `Host` keeps the host's host name too.
    pub network: Network,
    /// System V IPC and POSIX queues: `Own` is the pod's own, `Host` the host's.
    pub ipc: NamespaceMode,
    /// Process ids.
    pub pid: NamespaceMode,
    /// Sysctls of the pod's namespaces, in Kubernetes' dotted form.
    pub sysctls: BTreeMap<String, String>,
    /// The cgroup below which the containers' are made.
    pub cgroup: String,
    /// Whether it is ours: then it is made, limited and removed. Another's has to be there.
    pub cgroup_owned: bool,
    /// Limits of the pod's cgroup, if that is ours.
    pub resources: Option<LinuxResources>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// emptyDirs of medium Memory: volume name to size limit in bytes (absent: half the memory, the kernel's own default).
    pub memory_volumes: BTreeMap<String, Option<u64>>,
    /// The pod's namespace and its subdomain, which make its full name in /etc/hosts.
    pub namespace: String,
    /// See `namespace`.
    pub subdomain: Option<String>,
    /// hostAliases: lines of /etc/hosts.
    pub host_aliases: Vec<HostAlias>,
    /// The text of /etc/resolv.conf.
    pub resolv_conf: String,
    /// The link `/run/netns/<name>` that is made when the state dir is the default one.
    pub netns_link: Option<String>,
    /// Milliseconds that `stop-sandbox` gives when neither it nor a policy says more.
    pub grace: u64,
}

/// A line of /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAlias {
    /// The address.
    pub ip: IpAddr,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// One attempt of one container, as far as the monitor needs to know it beside its runtime spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// 64 hex digits that its maker drew.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// 0 for the first, one more for each restart.
    pub attempt: u32,
    /// The image's layers by chain id, the lowest first; they become the root, below an upper layer of its own.
    /// Empty: the root is the spec's `root.path`.
    pub layers: Vec<String>,
    /// Mounts of the spec whose trees the monitor holds.
    pub held_mounts: Vec<HeldMount>,
    /// The log file; absent: the output is read and dropped.
    pub log: Option<LogSpec>,
    /// Whether standard input stays open for attachers.
    pub stdin: bool,
    /// Whether standard input is closed when the first attacher closes it.
    pub stdin_once: bool,
    /// The signal that asks it to end; 0: SIGTERM.
    pub stop_signal: i32,
    /// The process ids it sees.
    pub pid: NamespaceMode,
    /// Where its termination message comes from.
    pub termination_message: Option<TerminationMessage>,
}

/// A mount of a container's spec whose tree the monitor holds: /dev/shm, a memory volume, or a file of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldMount {
    /// The `destination` of the spec's mount.
    pub destination: String,
    /// Which tree: a name of [`SandboxSpec::memory_volumes`], [`HeldMount::SHM`] or [`HeldMount::FILES`].
    pub tree: String,
    /// A file in it, or a folder, which is made when it is missing; absent: the whole.
    pub sub_path: Option<String>,
}

impl HeldMount {
    /// The tree that all containers have at /dev/shm; no volume can be called so.
    pub const SHM: &'static str = "/dev/shm";
    /// The tree of the pod's hosts, hostname and resolv.conf, and of a termination log for each attempt.
    pub const FILES: &'static str = "/etc";
}

/// A container's log file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Another's folder for logs, which has to be there; absent: the host's log dir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Its path below that folder; folders are made. No part of it is `..` or a symbolic link.
    pub path: String,
    /// The size in bytes at which it is rotated; 0: another program rotates it and sends `reopen-log`.
    pub max_size: u64,
    /// How many files there are at the most, the current one included. The older ones end in the time of
    /// their rotation.
    pub max_files: u32,
}

impl LogSpec {
    /// The log file's whole path; `log_dir` is the host's.
    pub fn file(&self, log_dir: &Path) -> PathBuf {
        self.folder.as_deref().unwrap_or(log_dir).join(&self.path)
    }
}

/// Where a container's termination message comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminationMessage {
    /// Its name in [`HeldMount::FILES`]: made at the start, read and removed at the end.
    pub file: String,
    /// Whether the log's end serves when that is empty and the container failed.
    pub fallback_to_logs: bool,
}

/// The part of a pod that is handed to its front's rules beside the record.
#[derive(Debug, Serialize, Deserialize)]
pub struct HandOver {
    /// The rules' own data, in the front's own form.
    pub rules: Box<RawValue>,
    /// The image of each container, by its name.
    pub images: BTreeMap<String, Image>,
    /// The rows and columns of its containers' terminals, until an attacher sets others.
    #[serde(default)]
    pub window: Option<(u16, u16)>,
    /// The id of each container's first attempt, for which the maker has made the directories while the monitor made
    /// the sandbox.
    pub first_attempts: BTreeMap<String, String>,
}

/// A process to run in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The container.
    pub container: String,
    /// The command; looked up in the container's PATH.
    pub args: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it gets standard input.
    pub stdin: bool,
    /// Variables beside the container's own, as `NAME=value`.
    pub env: Vec<String>,
    /// The terminal's rows and columns.
    pub size: Option<(u16, u16)>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
}

/// All that is known of the pod at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The sequence number of the last change in it.
    pub sequence: u64,
    /// The sandbox, and with it the pod front's status.
    pub sandbox: Box<SandboxStatus>,
    /// The containers that are not removed, oldest first, and only those changed after `from`.
    pub containers: Vec<ContainerStatus>,
    /// The ids of all that are not removed.
    pub present: Vec<String>,
}

/// One change, whole: a reader needs no earlier one to understand it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Event {
    /// Grows with each change of this pod.
    pub sequence: u64,
    /// The new state.
    pub change: Change,
}

/// The changed record, as it lies on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The sandbox, or the pod front's status in it.
    Sandbox(Box<SandboxStatus>),
    /// A container.
    Container(Box<ContainerStatus>),
    /// A container is forgotten.
    Removed {
        /// The container.
        container: String,
    },
}

/// A container as it is now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// The container's id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// Its attempt, from 0.
    pub attempt: u32,
    /// Its `status.json`.
    pub record: ContainerStatusRecord,
    /// The reason why it could not be started, for callers that pass on exit codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_crosses_the_socket_and_one_that_is_not_known_reads_as_failed() {
        let kinds = [
            (ErrorKind::Failed, "failed"),
            (ErrorKind::State, "state"),
            (ErrorKind::Usage, "usage"),
            (ErrorKind::Manifest, "manifest"),
            (ErrorKind::NotFound, "not-found"),
            (ErrorKind::Exists, "exists"),
            (ErrorKind::Image, "image"),
            (ErrorKind::Unsupported, "unsupported"),
            (ErrorKind::Timeout, "timeout"),
            (ErrorKind::Interrupted, "interrupted"),
            (ErrorKind::CommandNotFound, "command-not-found"),
            (ErrorKind::CommandNotExecutable, "command-not-executable"),
        ];
        for (kind, name) in kinds {
            let failure = Failure::from(&Error::new(kind, "why").hint("what"));
            let text = serde_json::to_string(&failure).unwrap();
            assert_eq!(text, format!(r#"{{"kind":"{name}","message":"why","hint":"what"}}"#));
            let error = Error::from(serde_json::from_str::<Failure>(&text).unwrap());
            assert_eq!((error.kind(), error.message(), error.hint_text()), (kind, "why", Some("what")));
        }
        let newer: Failure = serde_json::from_str(r#"{"kind":"of-tomorrow","message":"why"}"#).unwrap();
        assert_eq!(Error::from(newer).kind(), ErrorKind::Failed);
    }
}
