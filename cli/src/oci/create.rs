//! `create`: a container whose program waits for `start`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime::oci::{self, Console, Create, Created, Foreground, Listened, Protected, Streams};
use runtime::{Error, ErrorKind, Result};

use super::context::{self, Context, Named};
use crate::exit;

/// Make a container; its program waits for `start`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) named: Named,
    #[command(flatten)]
    pub(super) making: Making,
}

/// The flags of `create` that `run` has too.
#[derive(Debug, clap::Args)]
pub(super) struct Making {
    /// The directory with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(super) bundle: PathBuf,
    /// The socket to which the terminal's master is sent
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// The file for the pid of the container's first process
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The socket to which the pidfd of the container's first process is sent
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Do not pivot_root (not supported: podrun pivots from any root)
    #[arg(long)]
    no_pivot: bool,
    /// Leave the container in the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Give the descriptors 3 to N+2 on to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
}

/// The descriptors that this process was given for the container.
pub(super) struct Inherited {
    listened: Listened,
    preserve: Vec<OwnedFd>,
}

impl Making {
    /// The descriptors to pass on: those of a service's activation first. Call it before anything else opens
    /// their numbers.
    pub(super) fn inherited(&self) -> Result<Inherited> {
        let listened = Listened::of_environment(|name| std::env::var(name).ok(), std::process::id())?;
        let preserve = oci::inherited(listened.count.saturating_add(self.preserve_fds))?;
        Ok(Inherited { listened, preserve })
    }

    /// Makes the container, and reports clamped values.
    pub(super) fn perform(
        self,
        named: &Named,
        inherited: Inherited,
        foreground: bool,
        protected: Protected,
        context: &Context,
    ) -> Result<Created> {
        if self.no_pivot {
            return Err(Error::new(ErrorKind::Unsupported, "--no-pivot: not supported")
                .hint("podrun attaches the root over the old one, which works without it"));
        }
        let create = Create {
            bundle: self.bundle,
            streams: streams(self.console_socket, foreground)?,
            pid_file: self.pid_file,
            pidfd_socket: self.pidfd_socket,
            keyring: !self.no_new_keyring,
            preserve: inherited.preserve,
            listened: inherited.listened,
            notifies: context::notify_socket().is_some(),
            protected,
            rootless: context.rootless,
            cgroups: context.cgroups,
        };
        let created = create.perform(&context.store, &named.id)?;
        created.warnings.iter().for_each(|warning| context.log.warning(warning));
        created.steps.lines().for_each(|step| context.log.debug(&format!("step: {step}")));
        Ok(created)
    }
}

/// This process's own streams, and the keeper of a terminal: the socket, or this process while it is in the
/// foreground.
pub(super) fn streams(console_socket: Option<PathBuf>, foreground: bool) -> Result<Streams> {
    use std::os::fd::AsFd as _;
    let own = [
        std::io::stdin().as_fd().try_clone_to_owned()?,
        std::io::stdout().as_fd().try_clone_to_owned()?,
        std::io::stderr().as_fd().try_clone_to_owned()?,
    ];
    let console = match console_socket {
        Some(socket) => Console::Socket(socket),
        None if foreground => Console::Caller,
        None => Console::Nobody,
    };
    Ok(Streams { own, console })
}

/// Stands for a program in a container until it ends: its exit code.
pub(super) fn stand_for(
    foreground: &Foreground,
    process: &OwnedFd,
    terminal: Option<&OwnedFd>,
) -> Result<ExitCode> {
    use std::os::fd::AsFd as _;
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    Ok(exit::of_child(foreground.wait(process, terminal, [stdin.as_fd(), stdout.as_fd()])?))
}

pub(super) fn run(args: Args, protected: Protected, context: &Context) -> Result<ExitCode> {
    let inherited = args.making.inherited()?;
    args.making.perform(&args.named, inherited, false, protected, context)?;
    Ok(ExitCode::SUCCESS)
}
