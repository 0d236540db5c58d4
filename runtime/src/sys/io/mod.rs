//! Pipes, sockets and terminals, and waiting for them.
//!
//! When: at any time, by any thread. A child half calls `poll::wait` and `socket::loopback_up` alone, which
//! allocate nothing; an errand, a whole copy of its maker, may call all. A waiting function states its limit in its name or arguments. [`epoll`] is the monitor's,
//! [`poll`] is for all others. Kept: descriptors, and a terminal's former settings as long as it is raw
//! ([`tty::Raw`]).

pub mod epoll;
pub mod poll;
pub mod port;
pub mod pty;
pub mod socket;
pub mod stream;
pub mod tty;
