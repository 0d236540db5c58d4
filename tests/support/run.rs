//! Running a program inside a test's host, with a deadline, and saying clearly what it did.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::deadline::{patience, wait_for};

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    /// The command as it was given.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// Its exit code; a signal counts as 128 and its number, as a shell says it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Fails unless it exited with 0; gives its stdout.
    pub fn ok(self) -> Result<String> {
        ensure!(self.status.success(), "{self}");
        Ok(self.stdout)
    }

    /// Fails unless it exited with `code`; gives its stderr.
    pub fn fails_with(self, code: i32) -> Result<String> {
        ensure!(self.code() == code, "expected exit code {code}: {self}");
        Ok(self.stderr)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, status, stdout, stderr } = self;
        write!(f, "`{command}`: {status}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts `command` with its streams captured; `stdin` is written and then closed.
    pub(crate) fn start(mut command: Command, shown: String, stdin: Option<&[u8]>) -> Result<Self> {
        let Some(bytes) = stdin else {
            command.stdin(Stdio::null());
            return Self::spawn(command, shown);
        };
        let (running, mut pipe) = Self::start_waiting(command, shown)?;
        let bytes = bytes.to_owned();
        // A reader that goes early is its own affair: the test looks at what it said.
        std::thread::spawn(move || pipe.write_all(&bytes).ok());
        Ok(running)
    }

    /// The same with its stdin, which is to be written to by the caller.
    pub(crate) fn start_waiting(mut command: Command, shown: String) -> Result<(Self, ChildStdin)> {
        command.stdin(Stdio::piped());
        let mut running = Self::spawn(command, shown)?;
        let pipe = running.child.stdin.take().context("stdin was asked to be a pipe")?;
        Ok((running, pipe))
    }

    fn spawn(mut command: Command, shown: String) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("`{shown}`"))?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Ok(Self { command: shown, child, stdout, stderr })
    }

    /// The program's own pid, seen from the machine: `nsenter` stands in between.
    pub fn pid(&self) -> Result<i32> {
        let outer = self.child.id();
        let found = wait_for("the program behind nsenter", || {
            let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?;
            if let Some(pid) = children.split_whitespace().next() {
                return Ok(Some(pid.parse()?));
            }
            // One that has ended has no children, and never will.
            let stat = std::fs::read_to_string(format!("/proc/{outer}/stat"))?;
            ensure!(stat.contains(") Z "), "not started yet");
            Ok(None)
        })?;
        found.context("it has ended")
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()?), signal)?;
        Ok(())
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end; past the deadline it is killed and the test fails.
    pub fn wait(self) -> Result<Outcome> {
        self.wait_within(patience())
    }

    /// The same with a deadline of the test's own, for what is long work.
    pub fn wait_within(mut self, patience: Duration) -> Result<Outcome> {
        let end = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() >= end {
                let inner = self.pid().ok();
                if let Some(pid) = inner {
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).ok();
                }
                self.child.kill().ok();
                self.child.wait()?;
                bail!("`{}` did not end within {patience:?}", self.command);
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let text = |stream: Option<JoinHandle<Vec<u8>>>| {
            let bytes = stream.and_then(|thread| thread.join().ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        Ok(Outcome { command: self.command, status, stdout, stderr })
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok();
        bytes
    })
}
