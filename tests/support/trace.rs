//! Killing podrun at its N-th system call, whichever of its threads makes it, by ptrace(2).
//!
//! Invariant: the count begins with the program's execve, and the call it ends at is not made. The tracer is a thread of its
//! own, which waits for what it traces and for no other child of the tests; if it ends, the kernel kills what it traces.

use std::io::Write;
use std::process::ChildStdin;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::host::{Host, binary_under_test};
use crate::run::{Outcome, Running};

/// Reads a line before it becomes the program: until then a tracer can come.
const GATE: &str = "read -r go; exec \"$@\" </dev/null";

/// What became of a program.
#[derive(Debug)]
pub enum End {
    /// It was killed at the call.
    Killed,
    /// It made fewer calls, this many, and did this.
    Completed(u64, Outcome),
}

/// Runs podrun on `host` and kills it at its system call number `at`, if it makes so many.
pub fn kill_at(host: &Host, arguments: &[&str], at: u64) -> Result<End> {
    let binary = binary_under_test()?;
    let binary = binary.to_string_lossy();
    let line = [&["-c", GATE, "gate", &binary], arguments].concat();
    let command = host.with_trees(host.command("bash", &line));
    let (running, gate) = Running::start_waiting(command, format!("podrun {}", arguments.join(" ")))?;
    let pid = Pid::from_raw(running.pid()?);
    let traced = std::thread::scope(|scope| scope.spawn(|| trace(pid, gate, at)).join());
    let calls = traced.map_err(|_| anyhow::anyhow!("the tracer panicked"))??;
    let outcome = running.wait()?;
    if calls < at {
        return Ok(End::Completed(calls, outcome));
    }
    ensure!(outcome.code() == 128 + Signal::SIGKILL as i32, "killed, it ended otherwise: {outcome}");
    Ok(End::Killed)
}

/// Lets `pid` go on, and counts its calls until it ends or is killed at the one with the number `at`.
fn trace(pid: Pid, mut gate: ChildStdin, at: u64) -> Result<u64> {
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).context("PTRACE_SEIZE")?;
    gate.write_all(b"\n")?;
    drop(gate);
    let (mut calls, mut has_begun) = (0, false);
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Ok(status) => status,
            Err(Errno::EINTR) => continue,
            Err(error) => bail!("waitpid: {error}"),
        };
        let resumed = match status {
            WaitStatus::Exited(ended, _) | WaitStatus::Signaled(ended, ..) if ended == pid => {
                return Ok(calls);
            }
            WaitStatus::PtraceEvent(thread, _, libc::PTRACE_EVENT_EXEC) => {
                has_begun = true;
                ptrace::syscall(thread, None)
            }
            WaitStatus::PtraceSyscall(thread) if has_begun && is_entry(thread) => {
                calls += 1;
                if calls == at {
                    kill(pid, Signal::SIGKILL)?;
                }
                ptrace::syscall(thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) | WaitStatus::PtraceSyscall(thread) => {
                ptrace::syscall(thread, None)
            }
            WaitStatus::Stopped(thread, signal) => ptrace::syscall(thread, signal),
            _ => Ok(()),
        };
        match resumed {
            // It was killed where it stood.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => bail!("PTRACE_SYSCALL: {error}"),
        }
    }
}

/// Whether a thread stands before a call, and not behind it. One that was killed meanwhile does neither.
fn is_entry(thread: Pid) -> bool {
    ptrace::syscall_info(thread).is_ok_and(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY)
}
