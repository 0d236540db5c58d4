//! A neighbour that never rests: it swaps every directory it finds below a folder for a link that leads
//! out of it, and back, as fast as it can.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, open, renameat2};
use nix::sys::stat::Mode;

const ARGUMENT: &str = "--test-racer";
/// How deep it looks: a store's staged trees lie three folders down.
const DEPTH: usize = 6;

/// A neighbour process; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Racer(Child);

impl Racer {
    /// Starts one on `folder`, with links to `target`.
    pub(crate) fn start(folder: &Path, target: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).arg(folder).arg(target).stdin(Stdio::null());
        Ok(Self(command.spawn().context("the racer")?))
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        // It ends by nothing else, and is ours to reap.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Takes over when the program was started as a racer.
pub(crate) fn take_over() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let (folder, target) = (PathBuf::from(arguments.next()?), PathBuf::from(arguments.next()?));
    loop {
        race(&folder, &target, DEPTH);
    }
}

/// One round. Whatever fails was swapped, unpacked or removed meanwhile: it is met again in the next. Folders
/// are held, never looked up a second time: a link of another racer's must not lead this one to the target.
fn race(folder: &Path, target: &Path, depth: usize) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let Ok(held) = open(folder, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
    else {
        return;
    };
    let folder = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let mut name = OsString::from("race-");
        name.push(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        let link = folder.join(name);
        if std::os::unix::fs::symlink(target, &link).is_ok() {
            for _ in 0..8 {
                renameat2(AT_FDCWD, &path, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).ok();
            }
            std::fs::remove_file(&link).ok();
        }
        if depth > 0 {
            race(&path, target, depth - 1);
        }
    }
}
