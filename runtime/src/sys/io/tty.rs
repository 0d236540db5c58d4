//! The caller's own terminal: raw mode, window size. See termios(3) and ioctl_tty(2).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, Winsize};

use crate::sys::{Error, Result};

/// A terminal in raw mode; it has its former settings again when this is dropped.
#[derive(Debug)]
pub struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    former: Termios,
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    rustix::termios::isatty(fd)
}

/// Puts the terminal into raw mode (cfmakeraw(3)).
pub fn make_raw(terminal: BorrowedFd<'_>) -> Result<Raw<'_>> {
    let former = rustix::termios::tcgetattr(terminal).map_err(|e| failed("tcgetattr(terminal)", e))?;
    let mut raw = former.clone();
    raw.make_raw();
    rustix::termios::tcsetattr(terminal, OptionalActions::Drain, &raw)
        .map_err(|e| failed("tcsetattr(terminal, TCSADRAIN, raw)", e))?;
    Ok(Raw { terminal, former })
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &self.former);
    }
}

/// Whether the terminal is read line by line, by either of its ends: there VEOF is an end, elsewhere a byte as any other.
pub fn is_canonical(terminal: BorrowedFd<'_>) -> bool {
    rustix::termios::tcgetattr(terminal)
        .is_ok_and(|settings| settings.local_modes.contains(LocalModes::ICANON))
}

/// The terminal's rows and columns; `None` where it is no terminal or has no size (a serial line).
pub fn window(terminal: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Sets the rows and columns of a terminal, by either of its ends; its foreground gets SIGWINCH.
pub fn set_window(terminal: impl AsFd, (rows, columns): (u16, u16)) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).map_err(|e| failed("ioctl(terminal, TIOCSWINSZ)", e))
}

fn failed(call: &str, errno: Errno) -> Error {
    Error::new(call, errno.raw_os_error())
}
