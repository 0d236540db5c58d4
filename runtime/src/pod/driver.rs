//! The rules that a front may bring for its pods: facts go in, acts come out.
//!
//! Invariant: the monitor and recovery know rules by these types alone, and get them as an argument
//! ([`Fronts`]). Without rules nothing restarts, and the sandbox stays until a client ends it.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bundle::Facts;
use super::config::ContainerConfig;
use super::record::{ContainerStatusRecord, Front, Sandbox};
use crate::error::{ErrorKind, Result};

/// The rules of each front that is linked; none for one that has none, or is not.
pub type Fronts = fn(Front) -> Option<Rules>;

/// A front's rules.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Begins to drive the pod of this record; the text is handed over by the pod's maker.
    pub drive: fn(&Sandbox, &RawValue) -> Result<Box<dyn Driver>>,
    /// The pod's status after its monitor was lost; `None`: unchanged.
    pub lose: fn(&Sandbox, &RawValue, Loss) -> Option<Box<RawValue>>,
}

/// The reason why no monitor saw the pod's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its monitor was killed, and the kernel ended the containers with it.
    MonitorLost,
    /// The host was started anew.
    HostRebooted,
}

/// The rules at work on one pod.
pub trait Driver: Debug {
    /// Takes a fact, and returns the acts that follow, in order.
    fn tell(&mut self, fact: Fact) -> Vec<Act>;

    /// How long from now until it wants [`Fact::Tick`].
    fn wake_in(&self) -> Option<Duration>;

    /// The configuration of an attempt of the container `name`.
    ///
    /// # Errors
    /// The container does not exist, or its request is invalid.
    fn container(&self, name: &str, attempt: u32, host: &Facts) -> Result<ContainerConfig>;

    /// Whether the pod is ending: nothing that still waits for its start gets it.
    fn is_stopping(&self) -> bool;

    /// The status to record.
    fn status(&self) -> DriverStatus;
}

/// The recorded status of a pod.
#[derive(Debug)]
pub struct DriverStatus {
    /// In the front's own form.
    pub text: Option<Box<RawValue>>,
    /// When its end is due, in nanoseconds since 1970, and the grace in seconds, if that was asked for.
    pub deletion: Option<(u64, u64)>,
}

/// Something that happened to the pod.
#[derive(Debug, Clone)]
pub enum Fact {
    /// The sandbox is there: the host's addresses as the pod sees them, and the pod's own.
    SandboxReady {
        /// The host's, the main one first.
        host_ips: Vec<IpAddr>,
        /// The pod's; none with the host's network.
        pod_ips: Vec<IpAddr>,
    },
    /// An attempt's program was executed.
    Started {
        /// The container's name.
        container: String,
        /// The attempt.
        attempt: u32,
        /// The attempt's container id.
        id: String,
    },
    /// An attempt came to nothing; no process of it is left.
    StartFailed {
        /// The container's name.
        container: String,
        /// The attempt.
        attempt: u32,
        /// The attempt's container id, where it came that far.
        id: Option<String>,
        /// The kind of the error.
        kind: ErrorKind,
        /// Its sentence.
        message: String,
    },
    /// An attempt that was started has ended, and nothing of it runs any more.
    Exited {
        /// The container's name.
        container: String,
        /// The attempt.
        attempt: u32,
        /// How it ended.
        record: ContainerStatusRecord,
    },
    /// The time has come that [`Driver::wake_in`] gave.
    Tick,
    /// The pod is to be ended for good, with so many milliseconds of grace.
    EndAsked {
        /// `None`: as the pod says.
        grace: Option<u64>,
    },
    /// The host goes down: the pod is to be ended, and stays to be seen.
    HostStops,
    /// [`Act::StopSandbox`] is done.
    SandboxStopped,
}

/// Work for the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Act {
    /// Make and start this attempt; answered by [`Fact::Started`] or [`Fact::StartFailed`].
    /// At most one start is unanswered at any moment.
    Start {
        /// The container's name.
        container: String,
        /// 0 for the first; names the log file too.
        attempt: u32,
    },
    /// Send the container's stop signal (the image's STOPSIGNAL, else SIGTERM) to its first process.
    Stop {
        /// The container's name.
        container: String,
        /// The attempt meant.
        attempt: u32,
    },
    /// SIGKILL every process in the container's cgroup. May name an attempt whose start is not answered yet.
    Kill {
        /// The container's name.
        container: String,
        /// The attempt meant.
        attempt: u32,
    },
    /// [`Driver::status`] changed: write it down, then tell the watchers.
    WriteStatus,
    /// Take network and cgroups down; answered by [`Fact::SandboxStopped`]. Nothing runs any more.
    StopSandbox,
    /// Nothing will happen any more: the monitor ends. Always the last act of a pod's life.
    Finish {
        /// The pod was deleted: its records, volumes and name go too.
        remove: bool,
    },
}
