//! A terminal with a program in it, for tests of `-t`: what a person types, sees and resizes.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use crate::deadline::wait_for;

/// A program that runs in a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    peer: File,
    child: Child,
    before: String,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` with the terminal as its streams and as its controlling terminal.
    pub fn start(command: &Command) -> Result<Self> {
        Self::start_in_window(command, (0, 0))
    }

    /// The same in a window of so many rows and columns.
    pub fn start_in_window(command: &Command, (ws_row, ws_col): (u16, u16)) -> Result<Self> {
        let window = nix::pty::Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&window), None).context("openpty")?;
        let (master, peer) = (File::from(pty.master), File::from(pty.slave));
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        leader.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            leader.current_dir(folder);
        }
        leader.stdin(peer.try_clone()?).stdout(peer.try_clone()?).stderr(Stdio::from(peer.try_clone()?));
        let before = settings(&peer)?;
        let child = leader.spawn().context("setsid")?;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, all) = (master.try_clone()?, Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                all.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            }
        });
        Ok(Self { master, peer, child, before, shown })
    }

    /// Types `text`.
    pub fn types(&mut self, text: &str) -> Result<()> {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Makes the window so large.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let mut stty = Command::new("stty");
        let status = stty.args(["rows", &rows, "cols", &columns]).stdin(self.peer.try_clone()?).status()?;
        ensure!(status.success(), "stty: {status}");
        Ok(())
    }

    /// The settings of the terminal, in stty's words.
    pub fn settings(&self) -> Result<String> {
        settings(&self.peer)
    }

    /// What they were before the program started.
    pub fn settings_before(&self) -> &str {
        &self.before
    }

    /// All that the terminal has shown.
    pub fn shown(&self) -> String {
        let bytes = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `text` is shown.
    pub fn wait_until_shown(&self, text: &str) -> Result<()> {
        wait_for(&format!("the terminal shows {text:?}"), || {
            let shown = self.shown();
            ensure!(shown.contains(text), "it shows {shown:?}");
            Ok(())
        })
    }

    /// Waits for the program's end and gives its exit code.
    pub fn wait(mut self) -> Result<i32> {
        let waited = wait_for("the program in the terminal ends", || match self.child.try_wait()? {
            Some(status) => Ok(status.code().unwrap_or(-1)),
            None => bail!("it shows {:?}", self.shown()),
        });
        if waited.is_err() {
            self.child.kill().ok();
            self.child.wait()?;
        }
        waited
    }
}

fn settings(terminal: &File) -> Result<String> {
    let output = Command::new("stty").arg("-g").stdin(terminal.try_clone()?).output()?;
    Ok(String::from_utf8(output.stdout)?)
}
