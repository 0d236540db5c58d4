//! The processes behind a test's host: a first one that unshares, and its pid 1.
//!
//! The test program runs itself again with [`FIRST`] and then [`INIT`] as its only argument. Pid 1 ends
//! when its stdin does, and the kernel then ends all that is left in its namespaces: a killed test run
//! leaves nothing behind.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

/// The argument that makes the test program the process that unshares.
pub const FIRST: &str = "--test-host-first";
/// The argument that makes it pid 1 of a test's host.
pub const INIT: &str = "--test-host-init";

/// Takes over when the program was started as part of a host.
pub fn take_over(argument: Option<&str>) -> Option<ExitCode> {
    let result = match argument? {
        FIRST => first(),
        INIT => init(),
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test host: {error:#}");
            ExitCode::FAILURE
        }
    })
}

/// Unshares, starts pid 1, says its pid on stdout and stays until it is gone.
fn first() -> Result<()> {
    unshare(
        CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
    .context("unshare")?;
    let mut init = Command::new("/proc/self/exe").arg(INIT).stdout(Stdio::piped()).spawn()?;
    let mut ready = String::new();
    init.stdout.take().context("stdout was asked to be a pipe")?.read_to_string(&mut ready)?;
    ensure!(ready == "ready", "pid 1 did not come up");
    println!("{}", init.id());
    std::io::stdout().flush()?;
    init.wait()?;
    Ok(())
}

/// Pid 1: mounts what a host has, then reaps until stdin ends.
fn init() -> Result<()> {
    let no: Option<&str> = None;
    mount(no, "/", no, MsFlags::MS_REC | MsFlags::MS_PRIVATE, no).context("making mounts private")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, no).context("/proc")?;
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))
        .context("/run")?;
    let_all_through(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")))?;
    sethostname("test-host").context("sethostname")?;
    // A new network namespace takes it from the machine's.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").context("ip_forward")?;
    let lo = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip (iproute2)")?;
    ensure!(lo.success(), "`ip link set lo up`: {lo}");
    let mut child_signal = SigSet::empty();
    child_signal.add(Signal::SIGCHLD);
    child_signal.thread_block()?;
    std::thread::spawn(move || {
        while child_signal.wait().is_ok() {
            while !matches!(
                waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)),
                Ok(WaitStatus::StillAlive) | Err(_)
            ) {}
        }
    });
    std::io::stdout().write_all(b"ready")?;
    std::io::stdout().flush()?;
    // The reader waits for this stream to end.
    nix::unistd::dup2_stdout(std::fs::File::options().write(true).open("/dev/null")?)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Lets every user of this host come to the project, which may lie in a home that is closed to others (mode 700 is Debian's
/// default): the first closed folder above it is replaced by an open one that has nothing but the project.
fn let_all_through(project: &Path) -> Result<()> {
    let no: Option<&str> = None;
    let project = std::fs::canonicalize(project).context("the project's folder")?;
    let above: Vec<&Path> = project.ancestors().skip(1).collect();
    for folder in above.into_iter().rev() {
        if std::fs::metadata(folder)?.permissions().mode() & 0o001 == 0 {
            let aside = Path::new("/run/project");
            std::fs::create_dir(aside)?;
            mount(Some(&project), aside, no, MsFlags::MS_BIND | MsFlags::MS_REC, no)
                .context("the project")?;
            mount(Some("open"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
                .context("a home")?;
            std::fs::create_dir_all(&project)?;
            mount(Some(aside), &project, no, MsFlags::MS_MOVE, no).context("the project, back")?;
            std::fs::remove_dir(aside)?;
            break;
        }
    }
    Ok(())
}
