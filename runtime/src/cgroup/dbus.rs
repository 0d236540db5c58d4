//! D-Bus as far as it takes to call systemd over its own socket: the wire format of the D-Bus Specification 0.43
//! ("Marshaling", "Message Protocol", "Authentication Protocol") for the types that its calls have.
//!
//! Invariant: a message that violates the specification is an error. No length that the peer sends is trusted
//! beyond its bound.

use std::io::{ErrorKind as Io, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::io::socket;

/// How long all that is said over a connection may take: systemd may be reading all its units meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that a message's header or body may hold; systemd's answers and signals are some hundred bytes.
const MOST: usize = 1 << 20;

/// The most signals that are kept for later; some come while an answer is awaited.
const MOST_SIGNALS: usize = 1024;

/// The longest line of the authentication.
const MOST_OF_A_LINE: usize = 1024;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const FAILURE: u8 = 3;
const SIGNAL: u8 = 4;

/// The header's fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Boolean(bool),
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
    Processes(Vec<u32>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "b",
            Self::Number(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Processes(_) => "au",
        }
    }
}

/// A message's body, or a part of it, while it is written. Alignments count from its begin, as both header and body
/// begin at a multiple of eight.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.u32(value.into());
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_ne_bytes());
    }

    /// A string, or an object's path.
    pub(super) fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).expect("signatures here have some letters"));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array whose elements are aligned to `alignment`: its length does not count the padding before the first.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let length = length(self.0.len() - start).to_ne_bytes();
        self.0.get_mut(at..at + 4).expect("it was written above").copy_from_slice(&length);
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Boolean(value) => self.boolean(*value),
            Value::Number(value) => self.u64(*value),
            Value::Text(value) => self.text(value),
            Value::Bytes(bytes) => self.array(1, |array| array.0.extend(bytes)),
            Value::Processes(list) => self.array(4, |array| list.iter().for_each(|one| array.u32(*one))),
        }
    }

    /// `a(sv)`.
    pub(super) fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |array| {
            for (name, value) in properties {
                array.align(8);
                array.text(name);
                array.variant(value);
            }
        });
    }

    /// An array of structures without any.
    pub(super) fn no_structures(&mut self) {
        self.array(8, |_| {});
    }

    /// A header's field, which is a structure.
    fn field(&mut self, code: u8, signature: &str, text: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(signature);
        match signature {
            "g" => self.signature(text),
            _ => self.text(text),
        }
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("messages here have some hundred bytes")
}

/// A message that came.
#[derive(Debug, Default)]
struct Message {
    kind: u8,
    member: String,
    error: String,
    reply_to: u32,
    signature: String,
    body: Vec<u8>,
}

impl Message {
    /// The strings and object paths of the body, which has nothing else but numbers (`u`).
    fn texts(&self) -> Result<Vec<String>> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => texts.push(reader.text()?),
                'u' => drop(reader.u32()?),
                _ => return Err(garbled()),
            }
        }
        Ok(texts)
    }
}

fn garbled() -> Error {
    Error::failed("D-Bus: systemd's message does not read as one")
}

/// Reads the encoding of a [`Writer`].
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or_else(garbled)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(garbled)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn u8(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or_else(garbled)
    }

    fn u32(&mut self) -> Result<u32> {
        self.align(4);
        Ok(u32::from_ne_bytes(self.take(4)?.try_into().map_err(|_| garbled())?))
    }

    fn until(&mut self, length: usize) -> Result<String> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| garbled())?.to_owned();
        self.take(1)?;
        Ok(text)
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u32()?;
        self.until(length.try_into().map_err(|_| garbled())?)
    }

    fn signature(&mut self) -> Result<String> {
        let length = self.u8()?;
        self.until(length.into())
    }

    /// The header's fields, as far as they are looked at.
    fn fields(&mut self, message: &mut Message) -> Result<()> {
        while self.at < self.bytes.len() {
            self.align(8);
            let code = self.u8()?;
            match (self.signature()?.as_str(), code) {
                ("u", REPLY_SERIAL) => message.reply_to = self.u32()?,
                ("u", _) => drop(self.u32()?),
                ("g", SIGNATURE) => message.signature = self.signature()?,
                ("g", _) => drop(self.signature()?),
                ("s", MEMBER) => message.member = self.text()?,
                ("s", ERROR_NAME) => message.error = self.text()?,
                ("s" | "o", _) => drop(self.text()?),
                _ => return Err(garbled()),
            }
        }
        Ok(())
    }
}

/// An object's method, to be called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// The types of its arguments.
    pub(super) signature: &'a str,
}

/// A connection to one program, without a bus between, for as long as [`PATIENCE`] allows.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    end: Instant,
    serial: u32,
    /// Signals that came while an answer was awaited.
    signals: Vec<Message>,
}

impl Connection {
    /// Connects to the socket at `path` as the calling user.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::open_for(path, PATIENCE)
    }

    fn open_for(path: &Path, patience: Duration) -> Result<Self> {
        let (directory, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let stream = UnixStream::from(socket::connect_within(directory, &name.to_string_lossy(), patience)?);
        let mut connection = Self { stream, end: Instant::now() + patience, serial: 0, signals: Vec::new() };
        connection.authenticate().context(|| format!("{}: D-Bus authentication", path.display()))?;
        Ok(connection)
    }

    fn authenticate(&mut self) -> Result<()> {
        let user = std::fs::metadata("/proc/self").context(|| "/proc/self")?.uid().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        // Send BEGIN along, as systemd's own programs do: systemd handles bytes read together with a BEGIN only
        // when more arrive, so a call sent close behind would wait for ever. It answers OK before it reads
        // further.
        self.stream.write_all(format!("\0AUTH EXTERNAL {user}\r\nBEGIN\r\n").as_bytes())?;
        // No bytes follow the line before a call is made: reading byte by byte costs nothing here.
        let mut line = Vec::new();
        while !line.ends_with(b"\n") && line.len() < MOST_OF_A_LINE {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            line.extend(byte);
        }
        if !line.starts_with(b"OK ") || !line.ends_with(b"\r\n") {
            return Err(Error::failed(format!("refused: {:?}", String::from_utf8_lossy(&line).trim_end())));
        }
        Ok(())
    }

    /// Calls a method and gives the strings and object paths that it answers with.
    pub(super) fn call(&mut self, method: Method<'_>, body: &Writer) -> Result<Vec<String>> {
        self.serial += 1;
        let bytes = call(method, self.serial, body);
        let shown = || format!("D-Bus: {}.{}", method.interface, method.member);
        self.stream.write_all(&bytes).context(shown)?;
        loop {
            let message = self.read().context(shown)?;
            match message.kind {
                SIGNAL if self.signals.len() < MOST_SIGNALS => self.signals.push(message),
                SIGNAL => return Err(Error::failed("D-Bus: systemd says more than anybody asked for")),
                RETURN if message.reply_to == self.serial => return message.texts().context(shown),
                FAILURE if message.reply_to == self.serial => {
                    let why = message.texts().unwrap_or_default().into_iter().next().unwrap_or_default();
                    return Err(failure(&message.error, &why).context(shown()));
                }
                _ => {}
            }
        }
    }

    /// Waits for the signal `member` whose strings match, and returns them.
    pub(super) fn wait_for(
        &mut self,
        member: &str,
        wanted: impl Fn(&[String]) -> bool,
    ) -> Result<Vec<String>> {
        loop {
            let message = match self.signals.pop() {
                Some(message) => message,
                None => self.read().context(|| format!("D-Bus: waiting for {member}"))?,
            };
            if message.kind == SIGNAL && message.member == member {
                let texts = message.texts()?;
                if wanted(&texts) {
                    return Ok(texts);
                }
            }
        }
    }

    fn read(&mut self) -> Result<Message> {
        let mut start = [0; 16];
        self.read_exact(&mut start)?;
        let [order, kind, _flags, version, ..] = start;
        let number = |at: usize| -> Result<usize> {
            let mut reader = Reader { bytes: &start, at };
            usize::try_from(reader.u32()?).map_err(|_| garbled())
        };
        let (body, fields) = (number(4)?, number(12)?);
        if order != ORDER || version != 1 || body > MOST || fields > MOST {
            return Err(garbled());
        }
        let mut header = vec![0; fields.next_multiple_of(8)];
        self.read_exact(&mut header)?;
        header.truncate(fields);
        let mut content = vec![0; body];
        self.read_exact(&mut content)?;
        let mut message = Message { kind, body: content, ..Message::default() };
        // Sixteen bytes come before: alignments are the same.
        Reader { bytes: &header, at: 0 }.fields(&mut message)?;
        Ok(message)
    }

    /// Each part gets the time left of the whole connection, so that a slow peer cannot extend it byte by byte.
    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(ErrorKind::Timeout, "systemd has not answered in time")
                    .hint("`systemctl list-jobs` shows what it is at work on"));
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(rest) {
                Ok(0) => return Err(Error::failed("systemd has closed the connection")),
                Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                Err(error) if matches!(error.kind(), Io::WouldBlock | Io::TimedOut | Io::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// This processor's byte order, in which each side may speak.
const ORDER: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };

fn call(method: Method<'_>, serial: u32, body: &Writer) -> Vec<u8> {
    let mut message = Writer::default();
    message.0.extend([ORDER, CALL, 0, 1]);
    message.u32(length(body.0.len()));
    message.u32(serial);
    message.array(8, |fields| {
        fields.field(PATH, "o", method.path);
        fields.field(INTERFACE, "s", method.interface);
        fields.field(MEMBER, "s", method.member);
        fields.field(DESTINATION, "s", method.destination);
        if !method.signature.is_empty() {
            fields.field(SIGNATURE, "g", method.signature);
        }
    });
    message.align(8);
    message.0.extend(&body.0);
    message.0
}

/// systemd's refusal in its own words, with the kind that callers decide by.
fn failure(name: &str, why: &str) -> Error {
    let kind = match name.rsplit('.').next() {
        Some("UnitExists") => ErrorKind::Exists,
        Some("NoSuchUnit") => ErrorKind::NotFound,
        _ => ErrorKind::Failed,
    };
    let why = why.trim_end_matches('.');
    Error::new(kind, if why.is_empty() { name.to_owned() } else { why.to_owned() })
}

#[cfg(test)]
#[path = "dbus/tests.rs"]
mod tests;
