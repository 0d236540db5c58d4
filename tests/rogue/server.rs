//! A registry that does what a test tells it, however wrong: `--test-rogue SPEC LOG`, run inside a test's host.
//!
//! The spec is `{port: {path: [answer, …]}}`; the answers of a path are given in turn, the last one again and again.
//! Every request goes to the log as one line, its headers behind it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use support::deadline::wait_for;
use support::host::Host;
use support::run::Running;

const ARGUMENT: &str = "--test-rogue";

/// One answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
    /// The body, in place of `text`.
    pub(crate) file: Option<PathBuf>,
    /// What Content-Length says; nothing: the truth.
    pub(crate) length: Option<u64>,
    /// No length is said: the body ends where the connection does.
    pub(crate) unsaid: bool,
    /// The connection is closed after so many bytes of the body.
    pub(crate) cut: Option<u64>,
    /// After so many bytes of the body nothing comes until that file is there.
    pub(crate) pause: Option<(u64, PathBuf)>,
    /// Zeros follow the body for ever, and no length is said.
    pub(crate) endless: bool,
    /// Whether a Range header is obeyed.
    pub(crate) ranges: bool,
    /// After this answer the connection leads on to that port: what a proxy does on CONNECT.
    pub(crate) tunnel: Option<u16>,
}

impl Answer {
    pub(crate) fn text(text: impl Into<String>, media_type: &str) -> Self {
        Self { text: text.into(), ..Self::status(200) }.header("Content-Type", media_type)
    }

    pub(crate) fn file(path: PathBuf) -> Self {
        Self { file: Some(path), ..Self::status(200) }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What each port answers on each path.
pub(crate) type Spec = BTreeMap<u16, BTreeMap<String, Vec<Answer>>>;

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Rogue {
    running: Running,
    log: PathBuf,
}

impl Rogue {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(host: &Host, spec: &Spec) -> Result<Self> {
        let (file, log) = (host.file("rogue.json"), host.file("rogue.log"));
        std::fs::write(&file, serde_json::to_vec(spec)?)?;
        std::fs::write(&log, "")?;
        let arguments = [ARGUMENT, &file.to_string_lossy(), &log.to_string_lossy()];
        let mut running = host.start_program(&std::env::current_exe()?, &arguments)?;
        wait_for("the rogue registry listens", || {
            ensure!(running.is_running()?, "it ended");
            ensure!(std::fs::read_to_string(&log)?.starts_with("listening\n"), "not yet");
            Ok(())
        })?;
        Ok(Self { running, log })
    }

    /// Ends it, and gives the requests that it got.
    pub(crate) fn stop(self) -> Result<Vec<String>> {
        self.running.signal(Signal::SIGKILL)?;
        self.running.wait()?;
        Ok(std::fs::read_to_string(&self.log)?.lines().skip(1).map(str::to_owned).collect())
    }
}

/// Takes over when the program was started as this server.
pub(crate) fn take_over() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let (spec, log) = (PathBuf::from(arguments.next()?), PathBuf::from(arguments.next()?));
    if let Err(error) = serve(&spec, &log) {
        eprintln!("rogue: {error:#}");
    }
    Some(ExitCode::FAILURE)
}

fn serve(spec: &Path, log: &Path) -> Result<()> {
    let spec: Spec = serde_json::from_slice(&std::fs::read(spec)?)?;
    let log = Arc::new(Mutex::new(std::fs::File::options().append(true).open(log)?));
    let mut threads = Vec::new();
    for (port, answers) in spec {
        let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port}"))?;
        let (answers, log) = (Arc::new(Mutex::new(answers)), Arc::clone(&log));
        threads.push(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
                // A client that goes away is the point of some tests.
                std::thread::spawn(move || answer(stream, port, &answers, &log).ok());
            }
        }));
    }
    log.lock().unwrap_or_else(PoisonError::into_inner).write_all(b"listening\n")?;
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

type Answers = Mutex<BTreeMap<String, Vec<Answer>>>;

/// One request on its own connection.
fn answer(mut stream: TcpStream, port: u16, answers: &Answers, log: &Mutex<std::fs::File>) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = reader.by_ref().lines();
    let request = lines.next().context("a request")??;
    let mut headers: Vec<String> = lines
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .map(|line| line.to_lowercase())
        .collect();
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
    let mut body = Vec::new();
    reader.take(length.unwrap_or(0)).read_to_end(&mut body)?;
    if let Ok(form) = std::str::from_utf8(&body)
        && headers.iter().any(|header| header == "content-type: application/x-www-form-urlencoded")
    {
        headers.push(format!("body: {form}"));
    }
    writeln!(
        log.lock().unwrap_or_else(PoisonError::into_inner),
        "{port} {request} | {}",
        headers.join(" | ")
    )?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let answer = {
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        let path = path.split('?').next().unwrap_or_default();
        match answers.get_mut(path) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => Answer::status(404),
        }
    };
    let range = headers
        .iter()
        .find_map(|header| header.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
    send(&mut stream, &answer, range.filter(|_| answer.ranges), request.starts_with("HEAD "))
}

fn send(stream: &mut TcpStream, answer: &Answer, from: Option<u64>, head: bool) -> Result<()> {
    let (body, whole): (Box<dyn Read>, u64) = match &answer.file {
        Some(path) => {
            let mut file = std::fs::File::open(path)?;
            let whole = file.metadata()?.len();
            file.seek(SeekFrom::Start(from.unwrap_or(0)))?;
            (Box::new(file), whole)
        }
        None => (Box::new(answer.text.as_bytes()), answer.text.len() as u64),
    };
    let status = if from.is_some() { 206 } else { answer.status };
    write!(stream, "HTTP/1.1 {status} Something\r\n")?;
    if answer.tunnel.is_none() {
        stream.write_all(b"Connection: close\r\n")?;
    }
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    if let Some(from) = from {
        write!(stream, "Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1)?;
    }
    if let Some(port) = answer.tunnel {
        stream.write_all(b"\r\n")?;
        return tunnel(stream, port);
    }
    let rest = whole - from.unwrap_or(0);
    if !answer.endless && !answer.unsaid {
        write!(stream, "Content-Length: {}\r\n", answer.length.unwrap_or(rest))?;
    }
    stream.write_all(b"\r\n")?;
    if head {
        return Ok(());
    }
    let mut body = body.take(answer.cut.unwrap_or(u64::MAX));
    if let Some((first, gate)) = &answer.pause {
        std::io::copy(&mut body.by_ref().take(*first), stream)?;
        wait_for("the gate is open", || {
            ensure!(gate.exists(), "not yet");
            Ok(())
        })?;
    }
    std::io::copy(&mut body, stream)?;
    if answer.endless {
        std::io::copy(&mut std::io::repeat(0), stream)?;
    }
    Ok(())
}

/// Carries bytes both ways until either side has no more.
fn tunnel(stream: &TcpStream, port: u16) -> Result<()> {
    let there = TcpStream::connect(("127.0.0.1", port))?;
    let (mut from, mut to) = (stream.try_clone()?, there.try_clone()?);
    let onward = std::thread::spawn(move || {
        std::io::copy(&mut from, &mut to).ok();
        to.shutdown(std::net::Shutdown::Write).ok();
    });
    std::io::copy(&mut &there, &mut &*stream)?;
    stream.shutdown(std::net::Shutdown::Both).ok();
    onward.join().ok();
    Ok(())
}
