//! The parent half: one clone3, and what the child tells over its wire.
//!
//! Invariants: the caller never leaves its namespaces: a supervisor left in a container's would act for the
//! container. No process is seen in a container with a descriptor that its plan does not name.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use super::init;
use super::plan::{Plan, Visit};
use super::seccomp::{Listener, Met, hand_over};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::clone::{Cloned, Request, SingleThreaded, clone_child, clone_sibling};
use crate::sys::ns::{Namespaces, setns};
use crate::sys::{Errno, exec, fs, pidfd, stream};

/// How long an usher may take: a few system calls, none of which waits for anybody.
const USHERED: Duration = Duration::from_secs(10);

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
        let wire = match &self.listener {
            None => exec::wire().map_err(|errno| errno.during("pipe2(O_CLOEXEC)")),
            Some(_) => exec::wire_with_answer().map_err(|errno| errno.during("socketpair(AF_UNIX)")),
        };
        let (wire, child_wire) = wire?;
        let mut keep = self.descriptors();
        let number = child_wire.as_raw_fd();
        keep.insert(keep.partition_point(|fd| *fd < number), number);
        let request = Request {
            namespaces: self.entry.namespaces,
            cgroup: self.entry.cgroup.as_ref().map(OwnedFd::as_fd),
        };
        let cloned = match &self.entry.visit {
            None => clone_child(&proof, &request, || init::run(self, child_wire.as_fd(), &keep)),
            Some(visit) => self.usher(&proof, &request, visit, child_wire.as_fd(), &keep),
        };
        let Cloned { pid, pidfd } = cloned.map_err(|errno| self.render_clone(errno))?;
        drop(child_wire);
        let child = Child { pid, pidfd, wire };
        if let Some(listener) = &self.listener {
            self.introduce(&child, listener)?;
        }
        Ok(child)
    }

    /// Takes the filter's descriptor to its agent; a child that got no agent is gone when this returns.
    fn introduce(&self, child: &Child, listener: &Listener) -> Result<()> {
        let error = match hand_over(listener, child.pidfd.as_fd(), &child.wire) {
            Ok(Met::Listener) => return Ok(()),
            Ok(Met::Failure(failure)) => self.render(failure),
            Err(error) => error,
        };
        // ESRCH: it has ended by itself, and is still there to be reaped.
        let _ = pidfd::pidfd_send_signal(child.pidfd.as_fd(), pidfd::SIGKILL);
        let _ = pidfd::reap(child.pidfd.as_fd(), pidfd::Wait::Block);
        Err(error)
    }

    /// Clones the child of a plan that joins namespaces of a container. It is seen there from its birth, and whoever has
    /// CAP_SYS_PTRACE there can reach what its descriptors lead to (CVE-2016-9962). So a first child, outside, closes what
    /// the plan does not name, goes in, and clones the real one beside itself. The caller goes nowhere.
    fn usher(
        &self,
        proof: &SingleThreaded,
        request: &Request<'_>,
        visit: &Visit,
        wire: BorrowedFd<'_>,
        keep: &[RawFd],
    ) -> Result<Cloned, Errno> {
        let (door, kinds) = match visit {
            Visit::PidNamespace(fd) => (fd, Namespaces::PID),
            Visit::Container(pidfd) => (pidfd, Namespaces::PID.with(Namespaces::MOUNT)),
        };
        let (report, told) = exec::wire()?;
        let with = |more: &[RawFd]| {
            let mut all = [keep, more].concat();
            all.sort_unstable();
            all
        };
        let inside = with(&[told.as_raw_fd()]);
        let outside = with(&[told.as_raw_fd(), door.as_raw_fd()]);
        // Born in the cgroup, so that the second clone needs no descriptor of it.
        let first = Request { namespaces: Namespaces::NONE, cgroup: request.cgroup };
        let namespaces = request.namespaces;
        let usher = clone_child(proof, &first, || {
            let cloned = init::close_others(&outside)
                .and_then(|()| setns(door.as_fd(), kinds))
                .and_then(|()| init::close_others(&inside))
                .and_then(|()| clone_sibling(namespaces, || init::run(self, wire, keep)));
            let word = match cloned {
                Ok(pid) => pid,
                Err(errno) => -errno.0,
            };
            // A caller that is gone will not read it.
            let _ = fs::write_whole(told.as_fd(), &word.to_ne_bytes());
            0
        })?;
        drop(told);
        let mut word = [0; 4];
        let told = pidfd::wait_readable(report.as_fd(), USHERED)
            && matches!(stream::read(report.as_fd(), &mut word), Ok(Some(4)));
        if !told {
            let _ = pidfd::pidfd_send_signal(usher.pidfd.as_fd(), pidfd::SIGKILL);
        }
        pidfd::reap(usher.pidfd.as_fd(), pidfd::Wait::Block)?;
        match i32::from_ne_bytes(word) {
            pid if told && pid > 0 => Ok(Cloned { pid, pidfd: pidfd::pidfd_of_child(pid)? }),
            errno if told => Err(Errno(-errno)),
            _ => Err(Errno::ESRCH),
        }
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
