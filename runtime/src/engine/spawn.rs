//! The parent half: one clone3, and what the child tells over its wire.
//!
//! Invariants: the caller never leaves its namespaces: a supervisor left in a container's would act for the
//! container. No process is seen in a container with a descriptor that its plan does not name.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use super::failure::{Failure, Word};
use super::init;
use super::plan::{JOIN_RESCTRL, Moment, Plan, Step, Visit};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::clone::{Cloned, Request, SingleThreaded, clone_child, clone_sibling};
use crate::sys::ns::{Namespaces, setns};
use crate::sys::{Errno, exec, fs, pidfd, stream};

/// How long an usher may take: a few system calls, none of which waits for anybody.
const USHERED: Duration = Duration::from_secs(10);

/// Set in the errno of an usher that could not join a cgroup.
const OF_CGROUP: i32 = 1 << 16;

/// The same, a group of resctrl.
const OF_RESCTRL: i32 = 1 << 17;

/// Writes the caller into each of `tasks`; `of` says what it could not join.
fn join(tasks: &[OwnedFd], of: i32) -> Result<(), Errno> {
    let joined = tasks.iter().try_for_each(|tasks| fs::write_whole(tasks.as_fd(), b"0"));
    joined.map_err(|errno| Errno(errno.0 | of))
}

/// A process that was cloned and is on its way to execve.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Readable once it is known: one read gives EOF when execve succeeded (or the child was killed on
    /// the way: its pidfd tells), else one whole [`Word`] of [`Failure::SIZE`] bytes. Does not block.
    pub wire: OwnedFd,
}

impl Child {
    /// Waits for the next word; `None`: the child has ended its wire.
    fn word(&self, patience: Duration) -> Result<Option<Word>> {
        if !pidfd::wait_readable(self.wire.as_fd(), patience) {
            return Err(Error::new(ErrorKind::Timeout, "the container does not come to its command"));
        }
        let mut bytes = [0; Failure::SIZE];
        let read = fs::read(self.wire.as_fd(), &mut bytes);
        match read.map_err(|errno| errno.during("read(a child's wire)"))? {
            0 => Ok(None),
            count => match Word::parse(bytes.get(..count).unwrap_or_default()) {
                Some(word) => Ok(Some(word)),
                None => Err(Error::failed("a child said what is no record")),
            },
        }
    }

    /// Ends and reaps it.
    fn end(&self) {
        // ESRCH: it has ended by itself; either way it is there to be reaped.
        let _ = pidfd::pidfd_send_signal(self.pidfd.as_fd(), pidfd::SIGKILL);
        let _ = pidfd::reap(self.pidfd.as_fd(), pidfd::Wait::Block);
    }
}

impl Plan {
    /// Clones the child, which walks the plan to its execve. Once per plan: its mounts are moved, not
    /// copied. The caller's process has one thread.
    pub fn spawn(&self) -> Result<Child> {
        let proof = SingleThreaded::check().map_err(|errno| self.render_clone(errno))?;
        let wire = match self.is_answered() {
            false => exec::wire().map_err(|errno| errno.during("pipe2(O_CLOEXEC)")),
            true => exec::wire_with_answer().map_err(|errno| errno.during("socketpair(AF_UNIX)")),
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
        Ok(Child { pid, pidfd, wire })
    }

    /// Whether the child says a word on its way and waits for the answer.
    fn is_answered(&self) -> bool {
        self.listener.is_some() || self.steps.iter().any(|step| matches!(step, Step::Pause(_)))
    }

    /// Brings a child to where it is complete: its execve, or its wait for a start. `paused` is called
    /// when it pauses at [`Moment::Mounted`]. A child that fails, or that cannot go on, is killed and reaped.
    pub fn complete(&self, child: &Child, mut paused: impl FnMut() -> Result<()>) -> Result<()> {
        let outcome = loop {
            match child.word(Duration::MAX).and_then(|word| self.answer(child, word, &mut paused)) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        outcome.inspect_err(|_| child.end())
    }

    /// Waits until the agent of the plan's seccomp filter has what it asks by: for a caller that hears by the
    /// wire what becomes of the child. A child that fails before is killed and reaped.
    pub fn meet_agent(&self, child: &Child) -> Result<()> {
        /// How long the child may take to its filter.
        const PATIENCE: Duration = Duration::from_secs(60);
        if self.listener.is_none() {
            return Ok(());
        }
        let met = child.word(PATIENCE).and_then(|word| self.answer(child, word, &mut || Ok(())));
        let outcome = met.and_then(|met| match met {
            true => Ok(()),
            false => Err(Error::failed("the container ended before its seccomp agent could be told")
                .hint("does the profile allow write and read? the descriptor is handed over by them")),
        });
        outcome.inspect_err(|_| child.end())
    }

    /// Does what the child waits for and lets it go on; false when it has nothing more to say.
    fn answer(
        &self,
        child: &Child,
        word: Option<Word>,
        paused: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        match word {
            None => return Ok(false),
            Some(Word::Failed(failure)) => return Err(self.render(failure)),
            Some(Word::Reached(Moment::Born)) => self.give_identity(child)?,
            Some(Word::Reached(Moment::Mounted)) => paused()?,
            Some(Word::Filtered(number)) => {
                let Some(listener) = &self.listener else {
                    return Err(Error::failed("a child has a seccomp agent that is not in its plan"));
                };
                listener.tell(child.pidfd.as_fd(), number)?;
            }
        }
        fs::write_whole(child.wire.as_fd(), b"1").map_err(|errno| errno.during("write(a child's wire)"))?;
        Ok(true)
    }

    /// Maps the ids of a child that was born in a user namespace.
    fn give_identity(&self, child: &Child) -> Result<()> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let write = |file: &str, text: &[u8]| {
            let path = format!("/proc/{}/{file}", child.pid);
            std::fs::write(&path, text).context(|| format!("write({path:?})"))
        };
        if let Some(score) = &identity.oom_score {
            write("oom_score_adj", score.to_bytes())?;
        }
        write("uid_map", identity.uid_map.as_bytes())?;
        write("gid_map", identity.gid_map.as_bytes())
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
        let (doors, root): (Vec<(&OwnedFd, Namespaces)>, Option<&OwnedFd>) = match visit {
            Visit::Namespaces(listed) => (listed.iter().map(|(fd, kind)| (fd, *kind)).collect(), None),
            Visit::Container { init, root } => (vec![(init, Visit::OF_CONTAINER)], root.as_ref()),
        };
        let (report, told) = exec::wire()?;
        let with = |more: &[RawFd]| {
            let mut all = [keep, more].concat();
            all.sort_unstable();
            all
        };
        let inside = with(&[told.as_raw_fd()]);
        let tasks = &self.entry.tasks;
        let joined = tasks.cgroups.iter().chain(&tasks.resctrl);
        let numbers = doors.iter().map(|(fd, _)| *fd).chain(joined).chain(root).map(|fd| fd.as_raw_fd());
        let outside = with(&numbers.chain([told.as_raw_fd()]).collect::<Vec<_>>());
        // Born in the cgroup, or in it before it goes in, so that the second clone needs no descriptor of it.
        let first = Request { namespaces: Namespaces::NONE, cgroup: request.cgroup };
        let namespaces = request.namespaces;
        let usher = clone_child(proof, &first, || {
            let cloned = init::close_others(&outside)
                .and_then(|()| join(&tasks.cgroups, OF_CGROUP))
                .and_then(|()| join(&tasks.resctrl, OF_RESCTRL))
                .and_then(|()| doors.iter().try_for_each(|(door, kinds)| setns(door.as_fd(), *kinds)))
                .and_then(|()| root.map_or(Ok(()), |root| fs::chroot(root.as_fd())))
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
        if errno.0 & OF_CGROUP != 0 {
            return Errno(errno.0 & !OF_CGROUP).during("join cgroup: write(tasks, \"0\")").into();
        }
        if errno.0 & OF_RESCTRL != 0 {
            let errno = Errno(errno.0 & !OF_RESCTRL);
            return Error::from(errno.during("join resctrl: write(tasks, \"0\")")).hint(JOIN_RESCTRL);
        }
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
            _ => error,
        }
    }
}
