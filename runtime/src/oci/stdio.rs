//! A process's standard streams: the caller's own, or a terminal whose master goes to a console socket.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::Process;

use super::store;
use crate::engine::{Child, Nodes, Stdio};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::io::{socket, tty};

/// The streams that the caller gives a process.
#[derive(Debug)]
pub struct Streams {
    /// The streams that it has where it has no terminal.
    pub own: [OwnedFd; 3],
    /// The receiver of the terminal's master.
    pub console: Console,
}

/// The keeper of a process's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    /// None: a process with a terminal is refused.
    Nobody,
    /// The listener at this socket (`--console-socket`).
    Socket(PathBuf),
    /// The caller: it relays the terminal as long as the process runs.
    Caller,
}

/// The process's streams, and the terminal's master, still to be handed over.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) stdio: Stdio,
    master: Option<OwnedFd>,
    console: Console,
}

impl Streams {
    /// The streams of `process`: the `terminal` made for it, or the caller's own, with `nodes` in place of the
    /// host's devices. Refuses a terminal without a keeper, and a socket without a terminal.
    pub(super) fn prepare(
        self,
        process: Option<&Process>,
        terminal: Option<(OwnedFd, OwnedFd)>,
        nodes: &mut Nodes<'_>,
    ) -> Result<Prepared> {
        let usage = |message: &str| Error::new(ErrorKind::Usage, message);
        match (terminal, self.console) {
            (None, Console::Socket(_)) => Err(usage("--console-socket: the process has no terminal")),
            (None, console) => {
                let [stdin, stdout, stderr] = self.own;
                let (stdin, stdout, stderr) =
                    (nodes.stream(stdin)?, nodes.stream(stdout)?, nodes.stream(stderr)?);
                Ok(Prepared { stdio: Stdio { stdin, stdout, stderr }, master: None, console })
            }
            (Some(_), Console::Nobody) => {
                Err(usage("process.terminal: whoever keeps the terminal is to be named")
                    .hint("give --console-socket PATH, or set process.terminal to false"))
            }
            (Some((master, peer)), console) => {
                let cells = |cells: u64| u16::try_from(cells).unwrap_or(u16::MAX);
                let size = process.and_then(Process::console_size);
                let size = size.map(|size| (cells(size.height()), cells(size.width())));
                // The caller's terminal is followed as long as the program runs, from its first look on.
                let [own, ..] = &self.own;
                let followed = (console == Console::Caller).then(|| tty::window(own)).flatten();
                if let Some((rows, columns)) = followed.or(size) {
                    tty::set_window(&master, (rows, columns))?;
                }
                let stdio = Stdio { stdin: peer.try_clone()?, stdout: peer.try_clone()?, stderr: peer };
                Ok(Prepared { stdio, master: Some(master), console })
            }
        }
    }
}

impl Prepared {
    /// The streams, and the terminal's master with its way.
    pub(super) fn split(self) -> (Stdio, Master) {
        (self.stdio, Master { master: self.master, console: self.console })
    }
}

/// A terminal's master on its way to its keeper.
#[derive(Debug)]
pub(super) struct Master {
    master: Option<OwnedFd>,
    console: Console,
}

/// How long the reader of a socket may take to accept a descriptor.
const PATIENCE: Duration = Duration::from_secs(10);

impl Master {
    /// Sends it to the socket, as one message that holds the descriptor and a name, or gives it to the caller.
    fn deliver(self) -> Result<Option<OwnedFd>> {
        let (Some(master), Console::Socket(path)) = (&self.master, &self.console) else {
            return Ok(self.master);
        };
        send(master, b"/dev/pts/console", path).context(|| format!("console socket {}", path.display()))?;
        Ok(None)
    }
}

/// Announces a process to its caller: hands over its terminal's master, sends its pidfd (`--pidfd-socket`) under `name`, and
/// writes its pid (`--pid-file`). Returns the master that the caller keeps.
pub(super) fn announce(
    master: Master,
    process: &Child,
    name: &str,
    pidfd_socket: Option<&Path>,
    pid_file: Option<&Path>,
) -> Result<Option<OwnedFd>> {
    let terminal = master.deliver()?;
    deliver_pidfd(&process.pidfd, name, pidfd_socket)?;
    if let Some(file) = pid_file {
        // conmon reads it as it is: no newline.
        store::replace_callers(file, process.pid.to_string().as_bytes())?;
    }
    Ok(terminal)
}

/// Sends the pidfd of a process to the listener at `socket` (`--pidfd-socket`), as runc does: `name` is its
/// word for the process.
fn deliver_pidfd(pidfd: &OwnedFd, name: &str, socket: Option<&Path>) -> Result<()> {
    socket.map_or(Ok(()), |path| {
        send(pidfd, name.as_bytes(), path).context(|| format!("--pidfd-socket {}", path.display()))
    })
}

fn send(descriptor: &OwnedFd, message: &[u8], path: &Path) -> Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(Error::new(ErrorKind::Usage, "the path is not that of a socket"));
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let socket = socket::connect_within(directory.unwrap_or(Path::new(".")), name, PATIENCE)?;
    match socket::send(socket.as_fd(), message, &[descriptor.as_fd()])? {
        Some(_) => Ok(()),
        None => Err(Error::new(ErrorKind::Timeout, "nobody reads there")),
    }
}

/// Copies of the `count` descriptors that the caller was given from number 3 on. To be called before
/// anything else is opened.
pub fn inherited(count: u32) -> Result<Vec<OwnedFd>> {
    // Above them all, lest the copy of one pass for another.
    let end = i32::try_from(count).unwrap_or(i32::MAX).saturating_add(3);
    let copy = |number| {
        crate::sys::file::fs::copy_of_inherited(number, end).map_err(|errno| {
            let error = Error::from(errno.during(format!("fcntl({number}, F_DUPFD_CLOEXEC)")));
            error
                .with_kind(ErrorKind::Usage)
                .hint("LISTEN_FDS=M, --preserve-fds N: the descriptors 3 to M+N+2 must be open")
        })
    };
    (3..end).map(copy).collect()
}
