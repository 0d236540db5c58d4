//! Pipes, sockets and terminals, and waiting for them.

pub mod epoll;
pub mod poll;
pub mod port;
pub mod pty;
pub mod socket;
pub mod stream;
pub mod tty;
