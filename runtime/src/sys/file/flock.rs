//! flock(2) with an end to the wait.
//!
//! flock has no timed form, and no event tells that a lock is free (inotify reports a close before the unlock).
//! Repeated trying would lose its place in the kernel's queue, in which no waiter starves behind later ones. So
//! the call blocks in that queue, and a timer of the waiting thread's own (timer_create(2), SIGEV_THREAD_ID)
//! interrupts it.

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::sys::errno::{Errno, Result};

/// How the lock is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Held alone.
    Exclusive,
    /// Held together with other shared holders.
    Shared,
}

/// How soon a timer strikes again: its first stroke may come between two calls.
const AGAIN: Duration = Duration::from_millis(50);

/// Takes the lock of an open file, waiting at most `patience`; false: another holder still has it.
pub fn lock_within(file: impl AsFd, share: Share, patience: Duration) -> Result<bool> {
    let (at_once, waiting) = match share {
        Share::Exclusive => (FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive),
        Share::Shared => (FlockOperation::NonBlockingLockShared, FlockOperation::LockShared),
    };
    match rustix::fs::flock(&file, at_once) {
        Err(rustix::io::Errno::WOULDBLOCK) if !patience.is_zero() => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
        other => return other.map(|()| true).map_err(Errno::from),
    }
    let over = Instant::now() + patience;
    let _timer = Timer::after(patience)?;
    loop {
        match rustix::fs::flock(&file, waiting) {
            Err(rustix::io::Errno::INTR) if Instant::now() >= over => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|()| true).map_err(Errno::from),
        }
    }
}

/// A timer that interrupts the calling thread's wait, from a moment on and repeatedly.
struct Timer {
    id: libc::timer_t,
    former_mask: libc::sigset_t,
}

extern "C" fn wake(_signal: libc::c_int) {}

impl Timer {
    fn after(first: Duration) -> Result<Self> {
        catch_alarm()?;
        // SAFETY: a sigevent is made of integers and a pointer that is read with SIGEV_THREAD alone: zeroes are a valid one.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut id: libc::timer_t = std::ptr::null_mut();
        // SAFETY: the kernel reads `event` and writes `id`, which both live until the call returns. The thread that it names is
        // this one, which drops the timer before it ends: the value is no `Send`, by the pointer in it.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id) };
        Errno::result(made.into())?;
        // SAFETY: a signal set is made of integers: zeroes are a valid one.
        let (mut mask, mut former_mask): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
        // SAFETY: both sets live until the calls return. SIGALRM does nothing once it is unblocked:
        // `catch_alarm` came before.
        unsafe {
            libc::sigemptyset(&raw mut mask);
            libc::sigaddset(&raw mut mask, libc::SIGALRM);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const mask, &raw mut former_mask);
        }
        let timer = Self { id, former_mask };
        let when = libc::itimerspec { it_value: timespec(first), it_interval: timespec(AGAIN) };
        // SAFETY: `timer` owns the id, and `when` lives until the call returns; no place for the former time is given.
        let set = unsafe { libc::timer_settime(timer.id, 0, &raw const when, std::ptr::null_mut()) };
        Errno::result(set.into())?;
        Ok(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: this value alone owns the timer, and `former_mask` was written by the kernel. A stroke that is on its way is
        // delivered while the signal is let through still.
        unsafe {
            libc::timer_delete(self.id);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.former_mask, std::ptr::null_mut());
        }
    }
}

/// Has SIGALRM interrupt and do nothing else, in this process until it ends: another thread may wait as this one does.
fn catch_alarm() -> Result<()> {
    static CAUGHT: OnceLock<Result<()>> = OnceLock::new();
    *CAUGHT.get_or_init(|| {
        // SAFETY: a sigaction is made of integers and an optional function: zeroes are a valid one. No flags: calls are not
        // restarted.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = wake as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: `wake` does nothing, so it may run at any moment and in any thread; `action` lives until the call returns.
        let set = unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
        Errno::result(set.into()).map(drop)
    })
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_wait_has_an_end_and_the_lock_comes_when_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let mine = File::open(&path).unwrap();
        let before = Instant::now();
        assert!(!lock_within(&mine, Share::Exclusive, Duration::ZERO).unwrap());
        assert!(!lock_within(&mine, Share::Shared, Duration::from_millis(80)).unwrap());
        assert!(before.elapsed() >= Duration::from_millis(80));
        // Each waits in a thread of its own, and each is woken.
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..4)
                .map(|_| {
                    let path = path.clone();
                    scope.spawn(move || {
                        let file = File::open(path).unwrap();
                        let soon = Duration::from_millis(60);
                        assert!(!lock_within(&file, Share::Exclusive, soon).unwrap());
                        lock_within(&file, Share::Exclusive, Duration::from_secs(60)).unwrap()
                    })
                })
                .collect();
            // Until the first wait of all is over.
            while waiters.len() > waiting_on(&path) || before.elapsed() < Duration::from_millis(250) {
                std::thread::yield_now();
            }
            held.unlock().unwrap();
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        });
    }

    /// How many wait for the lock: /proc/locks shows them below it, each with an arrow.
    fn waiting_on(path: &std::path::Path) -> usize {
        use std::os::unix::fs::MetadataExt;
        let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().filter(|line| line.contains("-> FLOCK") && line.contains(&inode)).count()
    }
}
