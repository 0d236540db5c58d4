//! A file system that stands still, as one of a dead NFS server does: a FUSE whose server reads what it is asked and never
//! answers. A task that asks it cannot be killed before the server is gone.
//!
//! The server is the test program, run again inside a test's host. It ends with its stdin, and takes its mount along.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::deadline::patience;
use crate::host::Host;

/// The argument that makes the test program such a server; the mount point follows.
pub const SERVER: &str = "--file-system-that-stands-still";

const DEVICE: &str = "/dev/fuse";

/// What of the kernel's protocol (linux/fuse.h) the server knows.
const FORGET: u32 = 2;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;

/// A mounted one.
#[derive(Debug)]
pub struct Standstill {
    server: Child,
    said: Receiver<String>,
}

/// Why there can be none here, if so.
pub fn lacks() -> Option<String> {
    let there = File::options().read(true).write(true).open(DEVICE);
    there.err().map(|error| format!("needs FUSE: {DEVICE}: {error}"))
}

impl Standstill {
    /// Mounts one over the folder `at` of a test's host.
    pub fn over(host: &Host, at: &Path) -> Result<Self> {
        let at = at.to_str().context("a path in UTF-8")?;
        let mut command = host.command(std::env::current_exe()?, &[SERVER, at]);
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(server.stdout.take().context("stdout was asked to be a pipe")?);
        let (tell, said) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let standstill = Self { server, said };
        standstill.hear("mounted")?;
        Ok(standstill)
    }

    /// Waits until somebody has asked it something, who now waits for the answer.
    pub fn wait_until_asked(&self) -> Result<()> {
        self.hear("asked")
    }

    fn hear(&self, word: &str) -> Result<()> {
        let said = self
            .said
            .recv_timeout(patience())
            .with_context(|| format!("no `{word}` from the FUSE server"))?;
        ensure!(said == word, "the FUSE server said {said:?}, not {word:?}");
        Ok(())
    }

    /// Ends the server: whoever waits for it is let go with an error, and the folder is as it was before.
    pub fn end(mut self) -> Result<()> {
        drop(self.server.stdin.take());
        ensure!(self.server.wait()?.success(), "the FUSE server failed");
        Ok(())
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        self.server.wait().ok();
    }
}

/// Takes over when the program was started as a server.
pub fn take_over() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != SERVER {
        return None;
    }
    let at = PathBuf::from(arguments.next().unwrap_or_default());
    Some(match serve(&at) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    })
}

fn serve(at: &Path) -> Result<()> {
    let device = File::options().read(true).write(true).open(DEVICE).context(DEVICE)?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    mount(Some("standstill"), at, Some("fuse"), MsFlags::empty(), Some(&*options))
        .with_context(|| format!("mount a FUSE at {}", at.display()))?;
    greet(&device)?;
    println!("mounted");
    let mut asked = device.try_clone()?;
    // Blocked in a read for ever, it ends with the process.
    std::thread::spawn(move || {
        while let Ok(operation) = next(&mut asked) {
            if ![FORGET, INTERRUPT, BATCH_FORGET, DESTROY].contains(&operation.0) {
                println!("asked");
            }
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(umount2(at, MntFlags::MNT_DETACH)?)
}

/// The next request: its operation, and the number that an answer carries.
fn next(device: &mut File) -> Result<(u32, u64)> {
    // A fuse_in_header begins with length, opcode and unique.
    let mut request = vec![0; 1 << 20];
    let length = device.read(&mut request)?;
    let header = request.get(..length).context("a request")?;
    let operation = header.get(4..8).context("an opcode")?.try_into()?;
    let unique = header.get(8..16).context("a number")?.try_into()?;
    Ok((u32::from_ne_bytes(operation), u64::from_ne_bytes(unique)))
}

/// Answers the kernel's first request, so that it sends the others.
fn greet(device: &File) -> Result<()> {
    /// The size of a fuse_out_header, and of a fuse_init_out.
    const HEADER: usize = 16;
    const GREETING: usize = 64;
    let mut device = device.try_clone()?;
    let (operation, unique) = next(&mut device)?;
    ensure!(operation == INIT, "the first request has opcode {operation}");
    let mut answer = Vec::with_capacity(HEADER + GREETING);
    answer.extend(u32::try_from(HEADER + GREETING)?.to_ne_bytes());
    answer.extend(0_i32.to_ne_bytes());
    answer.extend(unique.to_ne_bytes());
    // Version 7.31, no read-ahead, no flags, 1 request in the background, which is congested; pages of 4096 bytes at most.
    answer.extend([7_u32, 31, 0, 0].map(u32::to_ne_bytes).concat());
    answer.extend([1_u16, 1].map(u16::to_ne_bytes).concat());
    answer.extend(4096_u32.to_ne_bytes());
    answer.resize(HEADER + GREETING, 0);
    device.write_all(&answer)?;
    Ok(())
}
