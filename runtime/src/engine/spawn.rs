//! The parent half: one clone3, and what the child tells over its wire.
//!
//! Invariant: the caller's namespaces are the same before and after, or the process ends: a
//! supervisor left in a container's namespaces would act for the container.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use super::init;
use super::plan::{Plan, Visit};
use crate::cgroup::Cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::clone::{Cloned, Request, SingleThreaded, clone_child};
use crate::sys::ns::{Home, Namespaces, setns};
use crate::sys::{Errno, clone, exec};

/// A process that was cloned and is on its way to execve.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Readable once it is known: one read gives EOF when execve succeeded (or the child was killed on
    /// the way: its pidfd tells), else one whole [`super::Failure`] of [`super::Failure::SIZE`] bytes.
    /// Does not block.
    pub wire: OwnedFd,
}

impl Plan {
    /// Clones the child, which walks the plan to its execve. Once per plan: its mounts are moved, not
    /// copied. The caller's process has one thread.
    pub fn spawn(&self) -> Result<Child> {
        let proof = SingleThreaded::check().map_err(|errno| self.render_clone(errno))?;
        let (wire, child_wire) = exec::wire().map_err(|errno| errno.during("pipe2(O_CLOEXEC)"))?;
        let mut keep = self.descriptors();
        let number = child_wire.as_raw_fd();
        keep.insert(keep.partition_point(|fd| *fd < number), number);
        let request = Request {
            namespaces: self.entry.namespaces,
            cgroup: self.entry.cgroup.as_ref().map(OwnedFd::as_fd),
        };
        let clone = || clone_child(&proof, &request, || init::run(self, child_wire.as_fd(), &keep));
        let cloned = match &self.entry.visit {
            None => clone(),
            Some(Visit::PidNamespace(fd)) => {
                let home = Home::remember(Namespaces::PID)?;
                let there = setns(fd.as_fd(), Namespaces::PID);
                visit(&home, there, clone)
            }
            Some(Visit::Container(pidfd)) => {
                let kinds = Namespaces::PID.with(Namespaces::MOUNT);
                let home = Home::remember(kinds)?;
                let there = setns(pidfd.as_fd(), kinds);
                visit(&home, there, clone)
            }
        };
        let Cloned { pid, pidfd } = cloned.map_err(|errno| self.render_clone(errno))?;
        Ok(Child { pid, pidfd, wire })
    }

    /// The namespaces and the errno of a clone3 that failed, in words that a user can act on.
    fn render_clone(&self, errno: Errno) -> Error {
        let error = Error::from(errno.during("clone3(CLONE_PIDFD|CLONE_INTO_CGROUP|…)"));
        let joins = self.entry.visit.is_some();
        match errno {
            // fork into a dying pid namespace is ENOMEM, setns to a dead process ESRCH.
            Errno::ENOMEM | Errno::ESRCH | Errno::EINVAL if joins => {
                error.context("the container is not running").with_kind(ErrorKind::NotFound)
            }
            Errno::ENOSPC => {
                error.hint("a limit of namespaces is reached: see /proc/sys/user/max_*_namespaces")
            }
            Errno::EAGAIN => {
                error.hint("a limit of processes is reached: the cgroup's pids.max, or RLIMIT_NPROC")
            }
            Errno::ENODEV => error.hint("the cgroup is being removed"),
            Errno::EBUSY => error.context("a process with threads cannot make containers"),
            Errno::ENOSYS => error
                .with_kind(ErrorKind::Unsupported)
                .hint("podrun needs Linux 5.12 or later, and an outer seccomp filter that allows clone3"),
            _ => error,
        }
    }
}

/// Clones where [`Visit`] says, and comes back whatever happened.
fn visit(
    home: &Home,
    there: Result<(), Errno>,
    clone: impl FnOnce() -> Result<Cloned, Errno>,
) -> Result<Cloned, Errno> {
    let cloned = there.and_then(|()| clone());
    if home.go_back().is_err() {
        // In a container's mount namespace nothing this process does is safe any more.
        clone::exit_now(125);
    }
    cloned
}

/// Compiles and spawns the init of a shared pid namespace in one go: see [`super::compile_pod_init`].
pub fn spawn_pod_init(cgroup: &Cgroup) -> Result<Child> {
    super::compile_pod_init(cgroup)?.spawn()
}
