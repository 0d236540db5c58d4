//! A program of the host's that is given a document on stdin and a time to end in.
//!
//! Invariant: nothing of it is left when the call returns; it is killed and reaped when its time is over.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::pidfd;
use crate::sys::{Error, Result};

/// A file in memory that holds `bytes`, read from its beginning.
pub fn document(bytes: &[u8]) -> Result<std::fs::File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let made = rustix::fs::memfd_create(c"podrun-document", flags)
        .map_err(|errno| Error::new("memfd_create(MFD_CLOEXEC)", errno.raw_os_error()))?;
    let mut file = std::fs::File::from(made);
    file.write_all(bytes).and_then(|()| file.rewind()).map_err(failed("write(memfd)"))?;
    Ok(file)
}

/// All that was written into such a file, at most 4 KiB of it.
pub fn written(mut file: std::fs::File) -> String {
    let mut text = Vec::new();
    // What cannot be read was not worth a second error.
    let _ = file.rewind().and_then(|()| file.take(4096).read_to_end(&mut text));
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

fn failed(call: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::new(call, error.raw_os_error().unwrap_or(0))
}

/// How a program came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this status, as a person reads it, unless it was 0, and what it said on stderr.
    Status(Option<String>, String),
    /// It was killed because its time was over.
    TimedOut,
}

/// Runs the program at `path` in `folder` with `args` (its own name first; absent: the path) and exactly `env` (absent: the
/// caller's), `input` on stdin.
pub fn run(
    path: &Path,
    folder: &Path,
    args: Option<&[String]>,
    env: Option<&[String]>,
    input: &[u8],
    time: Option<Duration>,
) -> Result<Ended> {
    let call = || format!("execve({path:?})");
    let said = document(b"")?;
    let mut command = Command::new(path);
    if let Some((name, rest)) = args.and_then(<[String]>::split_first) {
        command.arg0(name).args(rest);
    }
    command.current_dir(folder);
    if let Some(env) = env {
        command.env_clear().envs(env.iter().filter_map(|entry| entry.split_once('=')));
    }
    command.stdin(Stdio::from(document(input)?)).stdout(Stdio::null());
    command.stderr(Stdio::from(OwnedFd::from(said.try_clone().map_err(failed("dup"))?)));
    let mut child = command.spawn().map_err(failed(call()))?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    if let Some(time) = time {
        let process = pidfd::pidfd_open(pid).map_err(|errno| errno.during("pidfd_open(hook)"))?;
        if !pidfd::wait_readable(process.as_fd(), time) {
            // It may have ended this moment. One that stands still in the kernel is not waited for.
            let _ = child.kill();
            if pidfd::wait_readable(process.as_fd(), pidfd::KILLED_WITHIN) {
                child.wait().map_err(failed("wait4(hook)"))?;
            }
            return Ok(Ended::TimedOut);
        }
    }
    let status = child.wait().map_err(failed("wait4(hook)"))?;
    Ok(Ended::Status((!status.success()).then(|| status.to_string()), written(said)))
}
