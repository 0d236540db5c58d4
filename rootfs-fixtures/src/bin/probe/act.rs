//! The things that tests need done inside a container.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};

/// Answers each HTTP request with `text`, on every address of both families.
pub(crate) fn serve(port: &str, text: &str) -> Result<()> {
    let port: u16 = port.parse()?;
    // An IPv6 listener takes IPv4 too; without IPv6 in the kernel there is only the other.
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    say("ready")?;
    terminate_on_sigterm()?;
    for stream in listener.incoming() {
        // A client that goes away concerns nobody else.
        stream.and_then(|stream| answer(stream, text)).ok();
    }
    Ok(())
}

fn answer(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let peer = stream.peer_addr()?.ip().to_canonical();
    for line in BufReader::new(stream.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = text.replace("{peer}", &peer.to_string());
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Prints the body of one HTTP answer.
pub(crate) fn get(host: &str, port: &str, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect((host, port.parse()?)).with_context(|| format!("{host}:{port}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer.split_once("\r\n\r\n").context("not an answer of HTTP")?;
    say(body.trim_end())
}

/// Sends each datagram back.
pub(crate) fn udp_echo(port: &str) -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", port.parse::<u16>()?))?;
    say("ready")?;
    terminate_on_sigterm()?;
    let mut buffer = [0; 2048];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], peer)?;
    }
}

/// Sends `text` as a datagram from the port `from`, and prints the answer.
pub(crate) fn udp_ask(host: &str, port: &str, from: &str, text: &str) -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", from.parse::<u16>()?))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    // Not connected: a refusal, which comes when there is nobody, is as good as no answer.
    socket.send_to(text.as_bytes(), (host, port.parse::<u16>()?))?;
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer)?;
    say(&String::from_utf8_lossy(&buffer[..length]))
}

/// Opens a connection and says how that went.
pub(crate) fn connect(host: &str, port: &str) -> Result<()> {
    outcome(TcpStream::connect((host, port.parse()?)).map(drop))
}

/// Sends each of `frames`, written in hexadecimal, from `link` as it is.
pub(crate) fn send(link: &str, frames: &[&str]) -> Result<()> {
    let mut links = nix::ifaddrs::getifaddrs()?.filter(|found| found.interface_name == link);
    let link = links.find_map(|found| found.address?.as_link_addr().copied()).context("no such link")?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    for frame in frames {
        let digits = |at: usize| frame.get(at..at + 2).context("an odd number of digits");
        let bytes = (0..frame.len()).step_by(2).map(|at| Ok(u8::from_str_radix(digits(at)?, 16)?));
        sendto(socket.as_raw_fd(), &bytes.collect::<Result<Vec<u8>>>()?, &link, MsgFlags::empty())?;
    }
    say("sent")
}

/// Sleeps until SIGTERM or the time is over. As pid 1 a signal without a handler would be ignored.
pub(crate) fn sleep(seconds: &str) -> Result<()> {
    let seconds = seconds.parse()?;
    terminate_on_sigterm()?;
    say("ready")?;
    std::thread::sleep(Duration::from_secs(seconds));
    Ok(())
}

/// Ignores SIGTERM: it stays blocked for good.
pub(crate) fn ignore_term() -> Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    say("ready")?;
    loop {
        std::thread::park();
    }
}

/// Ends with `code`.
pub(crate) fn exit(code: &str) -> ExitCode {
    code.parse::<u8>().map_or(ExitCode::from(2), ExitCode::from)
}

/// Ends by a signal that it sends itself.
pub(crate) fn kill_self(signal: &str) -> Result<()> {
    let signal = Signal::try_from(signal.parse::<i32>()?)?;
    nix::sys::signal::kill(nix::unistd::getpid(), signal)?;
    Ok(())
}

/// Starts children that only sleep, until the kernel refuses, and says how many there are.
pub(crate) fn fork_bomb(count: &str) -> Result<()> {
    let mut children = Vec::new();
    let mut refused = None;
    for _ in 0..count.parse::<usize>()? {
        match Command::new("/proc/self/exe").arg("sleep").stdout(std::process::Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let ending = refused.map_or_else(|| "none refused".to_owned(), |error| error.to_string());
    say(&format!("started {}: {ending}", children.len()))?;
    terminate_on_sigterm().ok();
    loop {
        std::thread::park();
    }
}

/// Touches every page of `megabytes` and keeps them.
pub(crate) fn eat_memory(megabytes: &str) -> Result<()> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for number in 0..megabytes.parse::<usize>()? {
        held.push((0..1 << 20).map(|byte| (byte ^ number).to_le_bytes()[0]).collect());
    }
    let sum: u64 = held.iter().flatten().step_by(4096).map(|byte| u64::from(*byte)).sum();
    say(&format!("ate {megabytes} MB, sum {sum}"))?;
    terminate_on_sigterm()?;
    loop {
        std::thread::park();
    }
}

/// Prints numbered lines, each `length` bytes long with its newline.
pub(crate) fn write_log(lines: &str, length: &str) -> Result<()> {
    let (lines, length): (u64, usize) = (lines.parse()?, length.parse()?);
    let mut out = std::io::BufWriter::new(std::io::stdout());
    for number in 0..lines {
        let text = format!("line {number} ");
        writeln!(out, "{text:x<width$}", width = length.saturating_sub(1))?;
    }
    out.flush()?;
    Ok(())
}

/// Prints `count` bytes and no newline.
pub(crate) fn write_bytes(count: &str) -> Result<()> {
    let mut source = std::io::repeat(b'y').take(count.parse()?);
    std::io::copy(&mut source, &mut std::io::stdout())?;
    Ok(())
}

/// Opens a file and says how that went.
pub(crate) fn open(path: &str, write: bool) -> Result<()> {
    outcome(fs::File::options().read(!write).write(write).open(path).map(drop))
}

/// Writes a file and says how that went.
pub(crate) fn write(path: &str, text: &str) -> Result<()> {
    outcome(fs::write(path, text))
}

/// Prints a file.
pub(crate) fn read(path: &str) -> Result<()> {
    let mut file = fs::File::open(path).with_context(|| path.to_owned())?;
    std::io::copy(&mut file, &mut std::io::stdout())?;
    Ok(())
}

/// `ok`, or the error as the kernel named it; a test reads it, so that the exit code stays 0.
fn outcome(result: std::io::Result<()>) -> Result<()> {
    match result {
        Ok(()) => say("ok"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => say(&format!("denied: {error}")),
        Err(error) => say(&format!("failed: {error}")),
    }
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Ends with 143 on SIGTERM, as a shell would report it, also as pid 1.
fn terminate_on_sigterm() -> Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    std::thread::spawn(move || {
        if set.wait().is_ok() {
            #[expect(
                clippy::exit,
                reason = "a thread cannot return from main, and the exit code is the point"
            )]
            std::process::exit(143);
        }
    });
    Ok(())
}
