//! Errands: work that a process must not wait for, done by a child that is a whole copy of it.
//!
//! Invariant: such a child has none of its maker's descriptors but the one for its answers, and ends with it.
//! If its maker cannot be traced, neither can it: that is a property of the copied memory. Nothing has to wait
//! for it: a child held by the kernel is reaped when it is released.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::ns::{Namespaces, setns};
use super::pidfd;
use crate::sys::child::clone::{ChildHalf, Cloned, Request, SingleThreaded, clone_child};
use crate::sys::child::{creds, descriptors};
use crate::sys::io::{poll, socket, stream};
use crate::sys::{Errno, Result};

/// The number of a child's one descriptor.
const ONLY: i32 = 0;

/// How long a child may take until it is where it works.
const AT_HOME: Duration = Duration::from_secs(10);

/// A child that is out for answers: bytes, and descriptors that it has opened.
#[derive(Debug)]
pub struct Errand {
    child: Cloned,
    answers: OwnedFd,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// The child's channel for answers.
#[derive(Debug)]
pub struct Answers(BorrowedFd<'static>);

impl Answers {
    /// Says `bytes`, at least one, with a descriptor beside them.
    pub fn give(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        let sent = socket::send(self.0, bytes, descriptor.as_slice())?;
        let mut left = bytes.get(sent.unwrap_or(0)..).unwrap_or_default();
        while !left.is_empty() {
            let sent = socket::send(self.0, left, &[])?;
            left = left.get(sent.unwrap_or(0)..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Errand {
    /// Sends a child out to do `work`, in the namespaces `home` beside its maker's. Its descriptors are closed by then.
    pub fn send_out(home: &[(Namespaces, OwnedFd)], work: impl FnOnce(&Answers)) -> Result<Self> {
        let (door, theirs) = socket::pair()?;
        let child = clone(|half| {
            creds::die_with_parent()?;
            let door = descriptors::move_to(half, theirs.as_fd(), ONLY)?;
            home.iter().try_for_each(|(kind, namespace)| setns(namespace.as_fd(), *kind))?;
            descriptors::close_from(half, ONLY + 1)?;
            let answers = Self::open_at_home(half, door).map_err(|error| Errno(error.errno))?;
            work(&Answers(answers));
            Ok(())
        })?;
        drop(theirs);
        let mut answers = Vec::new();
        // It has made a few system calls by then, none of which blocks.
        let at_home = poll::wait_readable(door.as_fd(), AT_HOME)
            && socket::receive(door.as_fd(), &mut [0], &mut answers)?.is_some();
        match answers.pop().filter(|_| at_home) {
            Some(answers) => {
                stream::set_nonblocking(answers.as_fd())?;
                Ok(Self { child, answers, bytes: Vec::new(), descriptors: Vec::new() })
            }
            None => {
                let _ = pidfd::pidfd_send_signal(child.pidfd.as_fd(), pidfd::SIGKILL);
                Err(Errno::ESRCH.during("recvmsg(a child's first word)"))
            }
        }
    }

    /// Makes the socket that the child answers by, and hands its other end over. One that the maker made would keep the
    /// network namespace that the maker is in, as long as the child does. A maker that died before its death was asked
    /// to be told is not there to take it.
    fn open_at_home(half: &ChildHalf, door: BorrowedFd<'_>) -> Result<BorrowedFd<'static>> {
        let (theirs, answers) = socket::pair()?;
        socket::send(door, b"+", &[theirs.as_fd()])?;
        drop(theirs);
        descriptors::move_to(half, answers.as_fd(), ONLY).map_err(|errno| errno.during("dup3(answers, 0)"))
    }

    /// Takes in the answers so far. True: that is all, and the child has ended or is about to.
    pub fn take_in(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            match socket::receive(self.answers.as_fd(), &mut buffer, &mut self.descriptors)? {
                Some(0) => return Ok(true),
                Some(count) => self.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                None => return Ok(false),
            }
        }
    }

    /// How many descriptors have come.
    pub fn opened(&self) -> usize {
        self.descriptors.len()
    }

    /// All that has come.
    pub fn into_answers(self) -> (Vec<u8>, Vec<OwnedFd>) {
        (self.bytes, self.descriptors)
    }

    /// Kills the child and releases its descriptors. A child in a call beyond SIGKILL stays until the kernel
    /// releases it.
    pub fn call_off(self) -> CalledOff {
        // ESRCH: it has ended by itself.
        let _ = pidfd::pidfd_send_signal(self.child.pidfd.as_fd(), pidfd::SIGKILL);
        CalledOff(self.child.pidfd)
    }

    /// Reaps the child once [`Errand::take_in`] has reported its end; for a process that does not reap all
    /// children.
    pub fn reap(&self) -> Result<()> {
        let reaped = pidfd::reap(self.child.pidfd.as_fd(), pidfd::Wait::Block);
        reaped.map(drop).map_err(|errno| errno.during("waitid(P_PIDFD)"))
    }
}

impl AsFd for Errand {
    /// Readable when there is something to be taken in.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answers.as_fd()
    }
}

/// A killed child.
#[derive(Debug)]
pub struct CalledOff(OwnedFd);

impl CalledOff {
    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        poll::wait_readable(self.0.as_fd(), Duration::ZERO)
    }

    /// Waits until it has ended, however long that takes.
    pub fn await_end(&self) {
        // It was reaped before, or is now: either way it has ended.
        let _ = pidfd::reap(self.0.as_fd(), pidfd::Wait::Block);
    }
}

/// Does `work` in a child, which keeps no descriptor of this process's and is reaped like any other.
pub fn run_apart(work: impl FnOnce()) -> Result<()> {
    // Descriptors opened by an abandoned child are closed with it.
    clone(|half| descriptors::close_from(half, 0).map(|()| work())).map(drop)
}

/// A copy of this process that ends after `work`, without drops: it owns no descriptor any more.
fn clone(work: impl FnOnce(&ChildHalf) -> std::result::Result<(), Errno>) -> Result<Cloned> {
    let proof = SingleThreaded::check().map_err(|errno| errno.during("stat(\"/proc/self/task\")"))?;
    let request = Request { namespaces: Namespaces::NONE, cgroup: None };
    let child = |half: &ChildHalf| work(half).err().map_or(0, |errno| errno.0);
    clone_child(&proof, &request, child).map_err(|errno| errno.during("clone3()"))
}
