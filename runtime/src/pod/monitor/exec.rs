//! Processes that clients run in containers.
//!
//! Invariants: the streams of a process are its client's: the monitor makes them, hands over the client's ends
//! and keeps none, so that a client that dies takes a terminal with it. Every ended process is reaped at once,
//! even if its client still waits for its code. A process whose client is gone is hung up, then killed if it
//! does not end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::{Mount, Process, Spec};

use super::container::oci_state;
use super::deadlines::Due;
use super::serve::Waiter;
use super::{Monitor, Token, start, streams};
use crate::engine::{self, Child, ExecInputs, Plan, Tie};
use crate::error::{Error, ErrorKind, Result};
use crate::pod::protocol::{Exec, Exit, Message, Reply, Streams as Sent};
use crate::pod::record;
use crate::sys::io::epoll::Interest;
use crate::sys::io::{pty, socket, tty};
use crate::sys::process::signal;

/// How long it may take to its execve.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// The time between SIGHUP and SIGKILL for a process whose client is gone.
const HANG_UP: Duration = Duration::from_secs(5);

/// A process that a client runs in a container.
#[derive(Debug)]
pub(super) struct ExecProcess {
    child: Child,
    client: Waiter,
    /// Set until it is known whether the program runs.
    launch: Option<Launch>,
    /// The client knows that it came to nothing: its end is not told.
    failed: bool,
}

/// An exec on its way, with the reply to its client.
#[derive(Debug)]
struct Launch {
    number: u32,
    plan: Plan,
    sent: Sent,
    theirs: Vec<OwnedFd>,
}

impl ExecProcess {
    fn is_launch(&self, number: u32) -> bool {
        self.launch.as_ref().is_some_and(|launch| launch.number == number)
    }

    /// Follows the process that goes on inside, once the one outside has ended or is about to. False: no
    /// process goes on inside.
    fn follow(&mut self) -> bool {
        matches!(self.child.follow(), Ok(Some(_))) || !self.child.is_outside()
    }

    /// Signals it, with its process group if it leads one, and the process outside until it is inside.
    fn signal(&mut self, number: i32) {
        let _ = signal::send(&self.child.pidfd, number);
        if self.follow() {
            let _ = signal::send(&self.child.pidfd, number);
            signal::send_to_group(self.child.pid, number);
        }
    }
}

impl Monitor {
    /// Answers `exec` when it is known whether the program runs.
    pub(super) fn exec_for(&mut self, exec: Exec, waiter: Waiter) {
        if let Err(error) = self.launch_exec(&exec, waiter) {
            self.answer(waiter, Err(error));
        }
    }

    fn launch_exec(&mut self, exec: &Exec, client: Waiter) -> Result<()> {
        let slot = self.slot_of(&exec.container)?;
        let config = self.container_dir(&exec.container).join("config.json");
        let Some(container) = self.containers.iter().find(|container| container.slot == slot) else {
            return Err(Error::failed("the container is gone"));
        };
        let (Some(init), Some(cgroup)) = (container.init(), &container.cgroup) else {
            return Err(Error::state(format!("container {:?} is not running", container.spec.name)));
        };
        let spec = match &container.records {
            Some(records) => records.spec()?,
            None => record::load_spec(&config)?,
        };
        let process = process(&spec, exec)?;
        let terminal = exec.tty.then(|| terminal_of(init, &spec)).transpose()?;
        let sandbox = self.sandbox.as_mut().ok_or_else(|| Error::state("the pod has no sandbox"))?;
        let (stdio, [stdin, stdout, stderr]) = streams::make(terminal, exec.stdin, &mut sandbox.nodes())?;
        if let (true, Some(master), Some((rows, columns))) = (exec.tty, &stdout, exec.size) {
            tty::set_window(master, (rows, columns))?;
        }
        let sent = Sent {
            terminal: exec.tty,
            stdin: stdin.is_some(),
            stdout: stdout.is_some() && !exec.tty,
            stderr: stderr.is_some(),
        };
        let theirs = [stdin, stdout, stderr].into_iter().flatten().collect();
        let bundle = self.container_dir(&exec.container);
        let pid = container.host_process().map(|process| process.pid);
        let linux = spec.linux().as_ref();
        let plan = engine::compile_exec(ExecInputs {
            process: &process,
            program: None,
            namespaces: linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default(),
            init: init.as_fd(),
            cgroup,
            resctrl: Vec::new(),
            stdio,
            linux,
            programs: Some(&self.host.seccomp_programs()),
            state: Some(&oci_state(&spec, &container.spec.id, bundle, pid)),
            tie: Tie::Always,
            preserve: &[],
        })?;
        let child = plan.spawn()?;
        let number = self.next_launch;
        self.next_launch += 1;
        self.epoll.add(&child.wire, Token::Wire(number).pack(), Interest::Read)?;
        self.deadlines.set_after(Due::Handshake(number), HANDSHAKE);
        self.execs.push(ExecProcess {
            child,
            client,
            launch: Some(Launch { number, plan, sent, theirs }),
            failed: false,
        });
        Ok(())
    }

    /// The wire of an exec'd child has its word.
    pub(super) fn exec_launched(&mut self, launch: u32, reaped: bool) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.is_launch(launch)) else { return };
        let Some(Launch { number, plan, sent, theirs }) = exec.launch.take() else { return };
        let client = exec.client;
        let started = match plan.hear(&mut exec.child, reaped) {
            Ok(true) => {
                exec.launch = Some(Launch { number, plan, sent, theirs });
                // The agent has had its time; from here on the child has its own.
                return self.deadlines.set_after(Due::Handshake(number), HANDSHAKE);
            }
            Err(error) => Err(error),
            Ok(false) if !exec.follow() => Err(Error::failed(engine::KILLED)),
            Ok(false) => Ok(Reply::Streams(sent)),
        };
        exec.failed = started.is_err();
        if exec.failed {
            // It may still wait, if its agent could not be informed; its remains are reaped without further notice.
            drop(exec.child.kill());
        }
        self.epoll.remove(&exec.child.wire);
        self.deadlines.cancel(Due::Handshake(launch));
        match started {
            Ok(reply) => self.answer_with(client, Ok(reply), theirs),
            Err(error) => self.answer(client, Err(error)),
        }
    }

    /// An exec'd child did not come to its execve in time.
    pub(super) fn exec_overdue(&mut self, launch: u32) {
        let Some(exec) = self.execs.iter_mut().find(|exec| exec.is_launch(launch)) else { return };
        let client = exec.client;
        self.epoll.remove(&exec.child.wire);
        (exec.launch, exec.failed) = (None, true);
        exec.signal(signal::KILL);
        self.answer(client, Err(Error::new(ErrorKind::Timeout, "the process did not come to its execve")));
    }

    /// A child ended that is no container's first process.
    pub(super) fn exec_ended(&mut self, ended: signal::Ended) {
        let Some(index) = self.execs.iter_mut().position(|exec| exec.child.was(ended.pid)) else { return };
        let Some(exec) = self.execs.get_mut(index) else { return };
        // It was only the process outside of the one that goes on inside.
        if exec.child.is_outside() && exec.follow() {
            return;
        }
        // It may have ended before its wire was read: the reply comes first.
        if let Some(number) = exec.launch.as_ref().map(|launch| launch.number) {
            self.exec_launched(number, true);
        }
        let exec = self.execs.swap_remove(index);
        self.deadlines.cancel(Due::HangUp(ended.pid));
        if !exec.failed {
            let exit = Exit { code: ended.code, signal: ended.signal };
            self.tell(exec.client.connection, &Message::Exited { id: exec.client.request, exit }, Vec::new());
        }
    }

    /// A client is gone: hang up its processes.
    pub(super) fn hang_up_execs(&mut self, connection: u32) {
        for exec in self.execs.iter_mut().filter(|exec| exec.client.connection == connection) {
            if let Some(launch) = exec.launch.take() {
                // Its wire has no reader any more, and would stay readable for ever.
                self.epoll.remove(&exec.child.wire);
                self.deadlines.cancel(Due::Handshake(launch.number));
            }
            exec.signal(signal::HANGUP);
            self.deadlines.set_after(Due::HangUp(exec.child.pid), HANG_UP);
        }
    }

    /// One that was hung up still runs.
    pub(super) fn kill_exec(&mut self, pid: i32) {
        if let Some(exec) = self.execs.iter_mut().find(|exec| exec.child.pid == pid) {
            exec.signal(signal::KILL);
        }
    }

    /// Answers `socket`.
    pub(super) fn socket_for(&mut self, ipv6: bool, waiter: Waiter) {
        match socket::inet_stream(ipv6) {
            Ok(socket) => self.answer_with(waiter, Ok(Reply::Done), vec![socket]),
            Err(error) => self.answer(waiter, Err(error.into())),
        }
    }
}

/// A terminal of the container's own devpts, if it has one. A volume in its place is not accessed: its file
/// system may not answer.
fn terminal_of(init: &OwnedFd, spec: &Spec) -> Result<(OwnedFd, OwnedFd)> {
    let pts = Path::new("/dev/pts");
    let covers =
        |mount: &&Mount| pts.starts_with(mount.destination()) || mount.destination().starts_with(pts);
    let last = spec.mounts().iter().flatten().rfind(covers);
    if last.is_none_or(|mount| mount.typ().as_deref() != Some("devpts")) {
        return Ok(pty::open()?);
    }
    let root = PathBuf::from(format!("/proc/{}/root", start::host_pid(init)?));
    Ok(pty::open_for(&root)?)
}

/// The container's own process with another command: same user, rights, limits and environment.
fn process(spec: &Spec, exec: &Exec) -> Result<Process> {
    let mut process = spec.process().clone().ok_or_else(|| Error::failed("config.json has no process"))?;
    if exec.args.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "exec: no command"));
    }
    process.set_args(Some(exec.args.clone()));
    process.set_terminal(Some(exec.tty));
    let mut env = process.env().clone().unwrap_or_default();
    if exec.tty && !env.iter().any(|variable| variable.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    env.extend(exec.env.iter().cloned());
    process.set_env(Some(env));
    Ok(process)
}
