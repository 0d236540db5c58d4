//! A container's log in CRI's format, split, stamped, rotated.
//!
//! ```text
//! 2026-11-23T22:18:52.123456789Z stdout F a whole line
//! 2026-11-23T22:18:52.123456789Z stderr P the first 16 KiB of a longer one
//! ```
//!
//! Invariants: a container cannot forge a line, since each piece of its output gets its own head. The file
//! always ends in a whole line, also on a full disk: then lines are dropped and counted, and the container
//! never waits. The folder is kept by descriptor and no link in it is followed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::CHUNK;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::pod::logs::Line;
use crate::pod::protocol::LogSpec;
use crate::sys::file::{dir, own};
use crate::time::Time;

/// The mode of a log, as containerd makes it: its folders may be listed by all, as a kubelet makes them, but
/// the output of containers may be secret.
const MODE: u32 = 0o640;

/// The most of a log that a termination message takes, and the most lines.
const TAIL_BYTES: usize = 2048;
const TAIL_LINES: usize = 80;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The log of one container's attempt.
#[derive(Debug)]
pub(super) struct Log {
    folder: OwnedFd,
    name: String,
    file: File,
    size: u64,
    max_size: u64,
    max_files: usize,
    /// Rotated files, oldest first.
    rotated: Vec<String>,
    /// The beginnings of lines that have not come to their end: of stdout and of stderr.
    unfinished: [Vec<u8>; 2],
    /// Bytes of output that could not be written.
    pub(super) lost: u64,
}

impl Log {
    /// Opens the log below its folder, or else `log_dir`, the host's, with the folders it needs.
    pub(super) fn open(log_dir: &Path, spec: &LogSpec) -> Result<Self> {
        let (folders, name) = spec.path.rsplit_once('/').unwrap_or(("", &spec.path));
        let proper = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !proper(name) || !folders.split('/').all(|part| proper(part) || folders.is_empty()) {
            let why = format!("log path {:?}: not a plain path below the log dir", spec.path);
            return Err(Error::new(ErrorKind::Usage, why));
        }
        let mut folder = match &spec.folder {
            Some(theirs) => dir::open(theirs)?,
            None => {
                own::top(log_dir, own::LISTED).context(|| format!("mkdir({})", log_dir.display()))?;
                dir::open(log_dir)?
            }
        };
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = match dir::open_at(&folder, part.as_bytes()) {
                Err(error) if error.is_not_found() => {
                    match dir::make_dir(&folder, part.as_bytes(), own::LISTED) {
                        // Another container of the pod may make it first.
                        Err(error) if !error.is_taken() => Err(error),
                        _ => dir::open_at(&folder, part.as_bytes()),
                    }
                }
                other => other,
            }?;
            if dir::stat(&folder)?.mode != own::LISTED {
                dir::set_mode(&folder, own::LISTED)?;
            }
        }
        let file = File::from(dir::open_for_appending(&folder, name.as_bytes(), MODE)?);
        let size = file.metadata().context(|| format!("log {}", spec.path))?.len();
        Ok(Self {
            folder,
            name: name.into(),
            file,
            size,
            max_size: spec.max_size,
            max_files: spec.max_files.try_into().unwrap_or(usize::MAX),
            rotated: Vec::new(),
            unfinished: [Vec::new(), Vec::new()],
            lost: 0,
        })
    }

    /// Takes in the output of a stream.
    pub(super) fn write(&mut self, source: Source, mut bytes: &[u8]) {
        let stamp = stamp();
        let mut out = Vec::with_capacity(bytes.len() + 128);
        let mut payload = 0;
        let unfinished = &mut self.unfinished[source as usize];
        while !bytes.is_empty() {
            let room = CHUNK - unfinished.len();
            let window = &bytes[..bytes.len().min(room)];
            let (piece, rest, tag) = match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => (&bytes[..end], &bytes[end + 1..], "F"),
                // A newline right after 16 KiB ends the line that they are.
                None if window.len() == room && bytes.get(room) == Some(&b'\n') => {
                    (window, &bytes[room + 1..], "F")
                }
                None if window.len() == room => (window, &bytes[room..], "P"),
                None => {
                    unfinished.extend_from_slice(window);
                    break;
                }
            };
            push_line(&mut out, &stamp, source, tag, unfinished, piece);
            payload += unfinished.len() + piece.len();
            *unfinished = Vec::new();
            bytes = rest;
        }
        self.append(&out, payload);
    }

    /// A stream has ended: its last line had no newline.
    pub(super) fn finish(&mut self, source: Source) {
        let unfinished = std::mem::take(&mut self.unfinished[source as usize]);
        if !unfinished.is_empty() {
            let mut out = Vec::with_capacity(unfinished.len() + 64);
            push_line(&mut out, &stamp(), source, "P", &unfinished, b"");
            self.append(&out, unfinished.len());
        }
    }

    /// Writes whole lines. Lines that do not fit on the disk are taken back and counted by their `payload`.
    fn append(&mut self, lines: &[u8], payload: usize) {
        if lines.is_empty() {
            return;
        }
        if self.max_size > 0 && self.size > 0 && self.size + lines.len() as u64 > self.max_size {
            self.rotate();
        }
        match self.file.write_all(lines) {
            Ok(()) => self.size += lines.len() as u64,
            Err(_) => {
                // A torn line would swallow the next one.
                let _ = self.file.set_len(self.size);
                self.lost += payload as u64;
            }
        }
    }

    /// Renames the file by the time and begins a new one. If that fails the old one goes on.
    fn rotate(&mut self) {
        let aside = format!("{}.{}", self.name, stamp().replace([':', '-', 'T', 'Z'], ""));
        if dir::rename(&self.folder, self.name.as_bytes(), &self.folder, aside.as_bytes()).is_err() {
            return;
        }
        if self.reopen().is_err() {
            let _ = dir::rename(&self.folder, aside.as_bytes(), &self.folder, self.name.as_bytes());
            return;
        }
        self.rotated.push(aside);
        while self.rotated.len() + 1 > self.max_files.max(1) {
            let oldest = self.rotated.remove(0);
            let _ = dir::remove_file(&self.folder, oldest.as_bytes());
        }
    }

    /// Opens the file again by its name; on an error the old one goes on and no new one is left.
    pub(super) fn reopen(&mut self) -> Result<()> {
        let file = File::from(dir::open_for_appending(&self.folder, self.name.as_bytes(), MODE)?);
        self.size = file.metadata().context(|| format!("log {}", self.name))?.len();
        self.file = file;
        Ok(())
    }

    /// The log's last lines without their heads: at most 80 of them and 2048 bytes.
    pub(super) fn tail(&self) -> Result<String> {
        // Lines of 1 byte have heads of 40: 80 of the longest that can count fit in this.
        const READ: u64 = (TAIL_BYTES + 64 * TAIL_LINES) as u64;
        let mut file =
            File::from(dir::resolve_file(self.folder.as_fd(), self.name.as_bytes(), dir::Links::Refused)?);
        let start = self.size.saturating_sub(READ);
        file.seek(SeekFrom::Start(start)).context(|| "seek in the log")?;
        let mut bytes = Vec::new();
        file.take(READ).read_to_end(&mut bytes).context(|| "read the log")?;
        Ok(tail_of(&bytes))
    }
}

/// The text of a log's last lines.
fn tail_of(bytes: &[u8]) -> String {
    let lines: Vec<Line<'_>> = bytes.split(|byte| *byte == b'\n').filter_map(Line::parse).collect();
    let mut text = Vec::new();
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        text.extend_from_slice(line.text);
        if !line.partial {
            text.push(b'\n');
        }
    }
    let start = text.len().saturating_sub(TAIL_BYTES);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

fn push_line(out: &mut Vec<u8>, stamp: &str, source: Source, tag: &str, first: &[u8], rest: &[u8]) {
    out.extend_from_slice(stamp.as_bytes());
    out.push(b' ');
    out.extend_from_slice(source.name().as_bytes());
    out.push(b' ');
    out.extend_from_slice(tag.as_bytes());
    out.push(b' ');
    out.extend_from_slice(first);
    out.extend_from_slice(rest);
    out.push(b'\n');
}

/// Now, in RFC 3339 with nanoseconds.
fn stamp() -> String {
    let now = crate::pod::record::now();
    let seconds = i64::try_from(now / 1_000_000_000).expect("a u64 of nanoseconds ends in the year 2554");
    let mut text = Time::from_unix(seconds).to_string();
    text.pop();
    format!("{text}.{:09}Z", now % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn log(max_size: u64) -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let spec = LogSpec { folder: None, path: "pod/main/0.log".into(), max_size, max_files: 3 };
        let log = Log::open(dir.path(), &spec).unwrap();
        (dir, log)
    }

    fn lines(dir: &tempfile::TempDir) -> Vec<(String, String, usize)> {
        let bytes = std::fs::read(dir.path().join("pod/main/0.log")).unwrap();
        assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
        let parsed = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
            let line = Line::parse(line).unwrap();
            let tag = if line.partial { "P" } else { "F" };
            (line.stream.to_owned(), tag.to_owned(), line.text.len())
        });
        parsed.collect()
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let (dir, mut log) = log(0);
        log.write(Source::Stdout, b"one\ntw");
        log.write(Source::Stderr, b"error\n");
        log.write(Source::Stdout, b"o\n\nlast");
        log.finish(Source::Stdout);
        log.finish(Source::Stderr);
        let line = |stream: &str, tag: &str, length| (stream.to_owned(), tag.to_owned(), length);
        assert_eq!(
            lines(&dir),
            [
                line("stdout", "F", 3),
                line("stderr", "F", 5),
                line("stdout", "F", 3),
                line("stdout", "F", 0),
                line("stdout", "P", 4)
            ]
        );
    }

    #[test]
    fn a_line_of_16_kib_is_whole_and_a_longer_one_is_split() {
        let (dir, mut log) = log(0);
        let mut text = vec![b'x'; CHUNK];
        text.push(b'\n');
        log.write(Source::Stdout, &text);
        text.insert(0, b'x');
        log.write(Source::Stdout, &text);
        let line = |tag: &str, length| ("stdout".to_owned(), tag.to_owned(), length);
        assert_eq!(lines(&dir), [line("F", CHUNK), line("P", CHUNK), line("F", 1)]);
    }

    #[test]
    fn rotation_keeps_so_many_files() {
        let (dir, mut log) = log(1000);
        for _ in 0..100 {
            log.write(Source::Stdout, &[b"y".repeat(90).as_slice(), b"\n"].concat());
        }
        let folder = dir.path().join("pod/main");
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1000));
    }

    #[test]
    fn a_path_that_leaves_the_log_dir_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../x.log", "a/../../x.log", "/etc/x.log", "a//x.log", "a/..", ""] {
            let spec = LogSpec { folder: None, path: path.into(), max_size: 0, max_files: 1 };
            assert!(Log::open(dir.path(), &spec).is_err(), "{path:?}");
        }
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        let spec = LogSpec { folder: None, path: "link/x.log".into(), max_size: 0, max_files: 1 };
        assert!(Log::open(dir.path(), &spec).is_err());
    }

    #[test]
    fn anothers_log_folder_has_to_be_there() {
        let (own, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = |folder: PathBuf| LogSpec {
            folder: Some(folder),
            path: "main/0.log".into(),
            max_size: 0,
            max_files: 1,
        };
        assert!(Log::open(own.path(), &log(theirs.path().join("missing"))).is_err());
        assert!(!theirs.path().join("missing").exists());
        Log::open(own.path(), &log(theirs.path().to_owned())).unwrap();
        assert!(theirs.path().join("main/0.log").exists());
        assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_tail_is_the_last_80_lines_without_heads() {
        let (_dir, mut log) = log(0);
        for line in 0..100 {
            log.write(Source::Stderr, format!("line {line}\n").as_bytes());
        }
        let tail = log.tail().unwrap();
        assert!(tail.starts_with("line 20\n") && tail.ends_with("line 99\n"), "{tail}");
    }
}
