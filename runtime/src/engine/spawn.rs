//! The parent half: one clone3, and the child's messages on its wire.
//!
//! Invariants: the caller never leaves its namespaces: a supervisor left in a container's would act for the
//! container. A process is seen in a pid namespace with others only once it has nothing more than they have.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use super::failure::{Failure, Moment, Word};
use super::hints::{NAMESPACE_LIMIT, NO_MEMORY, PROCESS_LIMIT};
use super::init::{self, Outfit};
use super::plan::{Plan, Step};
use crate::cgroup;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::Errno;
use crate::sys::child::clone::{Cloned, Request, SharedPid, SingleThreaded, clone_child};
use crate::sys::child::exec;
use crate::sys::file::fs;
use crate::sys::io::poll;
use crate::sys::io::stream;
use crate::sys::process::ns::Namespaces;
use crate::sys::process::pidfd;

/// How long a child may take from one word to the next, which may stand for the mounts of slow disks, and to its end where it is
/// not killed.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The reason why no process is inside, and no failure is on the wire either.
pub const KILLED: &str = "the process was killed on its way to its command";

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
    /// The place where the pid of the process inside shows, while this one is outside.
    inside: Option<SharedPid>,
    /// Whether a seccomp agent has still to be told of its filter.
    awaits_agent: bool,
}

impl Child {
    /// Follows the process that goes on inside, also a child of the caller, in place of the one outside;
    /// returns the pidfd of the latter, which ends by itself and is to be reaped by the caller. `None`: there
    /// is none, or none yet. Not for a reaped process.
    pub fn follow(&mut self) -> Result<Option<OwnedFd>> {
        let Some(pid) = self.inside.as_ref().and_then(SharedPid::get) else { return Ok(None) };
        let inside =
            pidfd::pidfd_of_child(pid).map_err(|errno| errno.during(format!("pidfd_open({pid})")))?;
        (self.pid, self.inside) = (pid, None);
        Ok(Some(std::mem::replace(&mut self.pidfd, inside)))
    }

    /// Whether `pid`, which the caller has just reaped, was the process on its way: it is over then.
    pub fn was(&mut self, pid: i32) -> bool {
        if self.inside.as_ref().and_then(SharedPid::get) == Some(pid) {
            // Before the process outside, whose pidfd stays: neither can be signalled by number.
            (self.pid, self.inside) = (pid, None);
        }
        self.pid == pid
    }

    /// Whether a process goes on inside.
    fn is_inside(&self) -> bool {
        self.inside.as_ref().is_some_and(|inside| inside.get().is_some())
    }

    /// Whether it stands for a process that is to go on inside.
    pub fn is_outside(&self) -> bool {
        self.inside.is_some()
    }

    /// Waits for the next word; `None`: the child has ended its wire.
    fn word(&self, patience: Duration) -> Result<Option<Word>> {
        if !poll::wait_readable(self.wire.as_fd(), patience) {
            let error = Error::new(ErrorKind::Timeout, "the container does not come to its command");
            return Err(cgroup::explain(error, self.pid));
        }
        self.read_word().map(Option::flatten)
    }

    /// The next word on the wire; `Some(None)`: the child has ended its wire, `None`: nothing is there yet.
    fn read_word(&self) -> Result<Option<Option<Word>>> {
        let mut bytes = [0; Failure::SIZE];
        match stream::read(self.wire.as_fd(), &mut bytes)? {
            None => Ok(None),
            Some(0) => Ok(Some(None)),
            Some(count) => match Word::parse(bytes.get(..count).unwrap_or_default()) {
                Some(word) => Ok(Some(Some(word))),
                None => Err(Error::failed("a child wrote bytes that are no record")),
            },
        }
    }

    /// Answers a child that waits.
    fn let_go_on(&self) -> Result<()> {
        Ok(fs::write_whole(self.wire.as_fd(), b"1").map_err(|errno| errno.during("write(a child's wire)"))?)
    }

    /// Sends SIGKILL to it, and follows and sends it to the process inside, if there is one; returns the pidfd of the process
    /// outside then. By pidfd alone: its number may be reused.
    pub fn kill(&mut self) -> Option<OwnedFd> {
        // ESRCH: it has ended by itself.
        let _ = pidfd::pidfd_send_signal(self.pidfd.as_fd(), pidfd::SIGKILL);
        let outside = self.follow().ok().flatten()?;
        let _ = pidfd::pidfd_send_signal(self.pidfd.as_fd(), pidfd::SIGKILL);
        Some(outside)
    }

    /// Ends and reaps it, and the process outside.
    fn end(&mut self) {
        let outside = self.kill();
        for process in outside.iter().chain([&self.pidfd]) {
            // One that is frozen ends when it is let go, and its parent has told of that.
            let _ = pidfd::reap_within(process.as_fd(), pidfd::KILLED_WITHIN);
        }
    }
}

impl Plan {
    /// Clones the child, which walks the plan to its execve. Once per plan: its mounts are moved, not
    /// copied. The caller's process has one thread.
    pub fn spawn(&self) -> Result<Child> {
        let proof = SingleThreaded::check().map_err(|errno| match errno {
            Errno::EBUSY => Error::failed("a process with threads cannot make containers"),
            errno => errno.during("stat(\"/proc/self/task\")").into(),
        })?;
        let wire = match self.is_answered() {
            false => exec::wire().map_err(|errno| errno.during("pipe2(O_CLOEXEC)")),
            true => exec::wire_with_answer().map_err(|errno| errno.during("socketpair(AF_UNIX)")),
        };
        let (wire, child_wire) = wire?;
        let keeps = self.descriptors(child_wire.as_raw_fd());
        let inside = match self.goes_inside() {
            true => Some(SharedPid::new().map_err(|errno| errno.during("mmap(MAP_SHARED|MAP_ANONYMOUS)"))?),
            false => None,
        };
        let outfit = Outfit { wire: child_wire.as_fd(), keeps: &keeps, inside: inside.as_ref() };
        let request = Request {
            namespaces: self.entry.namespaces,
            cgroup: self.entry.cgroup.as_ref().map(OwnedFd::as_fd),
        };
        let cloned = clone_child(&proof, &request, |half| init::run(half, self, outfit));
        let Cloned { pid, pidfd } = cloned.map_err(|errno| self.render_clone(errno))?;
        Ok(Child { pid, pidfd, wire, inside, awaits_agent: self.listener.is_some() })
    }

    /// Whether the child says a word on its way and waits for the answer.
    fn is_answered(&self) -> bool {
        self.listener.is_some()
            || self.steps.iter().any(|step| matches!(step, Step::Pause(_) | Step::GiveProc))
    }

    /// Brings a child to where it is complete: its execve, or its wait for a start. `paused` is called
    /// when it pauses at [`Moment::Mounted`]. A child that fails, or that cannot go on, is killed and reaped.
    pub fn complete(&self, child: &mut Child, mut paused: impl FnMut(&Child) -> Result<()>) -> Result<()> {
        let outcome = loop {
            match child.word(PATIENCE).and_then(|word| self.answer(child, word, &mut paused)) {
                Ok(true) => {}
                Ok(false) => break self.arrive(child),
                Err(error) => break Err(error),
            }
        };
        outcome.inspect_err(|_| child.end())
    }

    /// Follows a child inside, once its wire has ended without a failure.
    fn arrive(&self, child: &mut Child) -> Result<()> {
        match child.follow()? {
            Some(outside) => {
                let reaped = pidfd::reap_within(outside.as_fd(), PATIENCE);
                match reaped.map_err(|errno| errno.during("waitid(P_PIDFD)"))? {
                    Some(_) => Ok(()),
                    None => Err(Error::new(ErrorKind::Timeout, "the process that stood for it does not end")),
                }
            }
            None if child.is_outside() => Err(Error::failed(KILLED)),
            None => Ok(()),
        }
    }

    /// Takes the procfs that the init of a shared pid namespace gives, in at most `patience`. A child that gives none is
    /// killed and reaped.
    pub fn take_proc(&self, child: &mut Child, patience: Duration) -> Result<OwnedFd> {
        let taken = child.word(patience).and_then(|word| match word {
            Some(Word::Proc(number)) => {
                let proc = pidfd::pidfd_getfd(child.pidfd.as_fd(), number);
                let proc = proc.map_err(|errno| errno.during(format!("pidfd_getfd(child, {number})")))?;
                child.let_go_on().map(|()| proc)
            }
            Some(Word::Failed(failure)) => Err(self.render(failure)),
            _ => Err(Error::failed("the init of the pid namespace gives no procfs")),
        });
        taken.inspect_err(|_| child.end())
    }

    /// Reads the message for which the wire became readable, without waiting for the child. True: the seccomp
    /// agent has been informed of the filter, and the child goes on. False: the wire has ended. The agent is
    /// informed at most once. The caller kills and reaps a child that fails.
    /// `reaped`: the child has ended, so that a wire without a word has none to come, whoever still holds it.
    pub fn hear(&self, child: &mut Child, reaped: bool) -> Result<bool> {
        let word = match child.read_word()? {
            Some(word) => word,
            None if reaped => None,
            None => return Ok(true),
        };
        match word {
            Some(Word::Filtered(_)) if !child.awaits_agent => {
                return Err(Error::failed("a child asks for its seccomp agent twice"));
            }
            None | Some(Word::Failed(_) | Word::Filtered(_)) => {}
            Some(_) => return Err(Error::failed("a child asks for more than its plan has")),
        }
        match self.answer(child, word, &mut |_| Ok(()))? {
            true => child.awaits_agent = false,
            false if child.awaits_agent => {
                return Err(Error::failed("the container ended before its seccomp agent could be told")
                    .hint("does the profile allow write and read? the descriptor is handed over by them"));
            }
            false => return Ok(false),
        }
        Ok(true)
    }

    /// Performs the act that the child waits for and lets it go on; false when the child has no further
    /// message.
    fn answer(
        &self,
        child: &Child,
        word: Option<Word>,
        paused: &mut dyn FnMut(&Child) -> Result<()>,
    ) -> Result<bool> {
        match word {
            None => return Ok(false),
            Some(Word::Failed(failure)) => return Err(self.render(failure)),
            // A child waits for its parent outside; inside, a tracer would have its wire.
            Some(_) if child.is_inside() => {
                return Err(Error::failed("a child asks for more than it may inside"));
            }
            Some(Word::Reached(Moment::Born)) => self.give_identity(child)?,
            Some(Word::Reached(Moment::Mounted)) => paused(child)?,
            Some(Word::Filtered(number)) => {
                let Some(listener) = &self.listener else {
                    return Err(Error::failed("a child has a seccomp agent that is not in its plan"));
                };
                listener.tell(child.pidfd.as_fd(), number)?;
            }
            Some(Word::Proc(_)) => return Err(Error::failed("a child gives what nobody has asked for")),
        }
        child.let_go_on().map(|()| true)
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

    /// The namespaces and the errno of a clone3 that failed, in words that a user can act on.
    fn render_clone(&self, errno: Errno) -> Error {
        let error = Error::from(errno.during("clone3(CLONE_PIDFD|CLONE_INTO_CGROUP|…)"));
        match errno {
            Errno::ENOSPC => error.hint(NAMESPACE_LIMIT),
            Errno::EAGAIN => error.hint(PROCESS_LIMIT),
            Errno::ENOMEM => error.hint(NO_MEMORY),
            Errno::ENODEV => error.hint("the cgroup is being removed"),
            Errno::EBUSY => error.hint(
                "cgroups below the container's have its controllers: it can have no process of its own then",
            ),
            Errno::EOPNOTSUPP => {
                error.hint("the cgroup is threaded, or below one that is: see its cgroup.type")
            }
            Errno::EPERM if self.entry.namespaces.contains(Namespaces::USER) => {
                error.hint("user namespaces are not for everybody here: see user_namespaces(7)")
            }
            Errno::EINVAL => error.hint("the kernel lacks a kind of namespace that the config lists"),
            _ => error,
        }
    }
}
