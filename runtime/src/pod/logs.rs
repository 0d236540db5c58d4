//! A container's logs as they lie on disk: the attempts of a container, their rotated files, their lines.
//!
//! ```text
//! <log dir>/<namespace>_<name>_<uid>/<container>/<attempt>.log           what is written now
//! <log dir>/<namespace>_<name>_<uid>/<container>/<attempt>.log.<stamp>   what was rotated away, oldest first by name
//! line = <RFC 3339 time with nanoseconds> <stdout|stderr> <P|F> <text>   P: the line goes on in the next one
//! ```
//!
//! Invariant: reading needs no monitor, and a line that is still being written is left for later. The
//! format is CRI's: <https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md>.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// What one read takes from a file.
const CHUNK: usize = 64 << 10;

/// One line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was read from the container, as written: RFC 3339 in UTC, with nanoseconds.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the container's line goes on in the next one.
    pub partial: bool,
    /// What the container wrote, without the newline.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line apart; `None` where it is none of a CRI log.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(parts.next()?).ok();
        let (time, stream, tag) = (word()?, word()?, word()?);
        let partial = match tag.split(':').next()? {
            "P" => true,
            "F" => false,
            _ => return None,
        };
        Some(Self { time, stream, partial, text: parts.next()? })
    }
}

/// The attempts of a container that have a log in `directory`, ascending.
pub fn attempts(directory: &Path) -> Result<Vec<u32>> {
    let mut attempts: Vec<u32> =
        names(directory)?.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    attempts.sort_unstable();
    Ok(attempts)
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == IoKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| format!("logs in {}", directory.display())),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// The files of an attempt in the order they were written.
fn files(directory: &Path, attempt: u32) -> Result<Vec<PathBuf>> {
    let current = format!("{attempt}.log");
    let rotated = format!("{current}.");
    let mut files: Vec<String> =
        names(directory)?.into_iter().filter(|name| name.starts_with(&rotated)).collect();
    files.sort_unstable();
    files.push(current);
    Ok(files.into_iter().map(|name| directory.join(name)).collect())
}

/// Reads an attempt's log from some point on, and what is added to it later.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    attempt: u32,
    /// The files still to be read, the next one last.
    waiting: Vec<PathBuf>,
    current: Option<File>,
    /// Bytes read and not handed out yet: less than a line, once [`Reader::read`] has returned.
    buffer: Vec<u8>,
    /// Whether files were rotated away before they were read.
    skipped: bool,
}

impl Reader {
    /// From the beginning, or so that the last `tail` lines follow.
    pub fn open(directory: &Path, attempt: u32, tail: Option<usize>) -> Result<Self> {
        let mut waiting = files(directory, attempt)?;
        let mut skip = 0;
        if let Some(tail) = tail {
            (waiting, skip) = last_lines(waiting, tail)?;
        }
        waiting.reverse();
        let mut reader = Self {
            directory: directory.into(),
            attempt,
            waiting,
            current: None,
            buffer: Vec::new(),
            skipped: false,
        };
        reader.advance()?;
        if let (Some(file), true) = (&mut reader.current, skip > 0) {
            file.seek(SeekFrom::Start(skip)).context(|| reader.name())?;
        }
        Ok(reader)
    }

    fn name(&self) -> String {
        format!("log {}", self.directory.join(format!("{}.log", self.attempt)).display())
    }

    /// Opens the next file, if there is one.
    fn advance(&mut self) -> Result<bool> {
        while let Some(path) = self.waiting.pop() {
            match File::open(&path) {
                Ok(file) => {
                    self.current = Some(file);
                    return Ok(true);
                }
                // Rotated away meanwhile.
                Err(error) if error.kind() == IoKind::NotFound => self.skipped = true,
                Err(error) => return Err(error).context(|| format!("log {}", path.display())),
            }
        }
        Ok(false)
    }

    /// Hands every whole line that is there to `take`, in order; a later call goes on from there.
    /// `take` returns false to end the reading.
    pub fn read(&mut self, mut take: impl FnMut(&[u8]) -> Result<bool>) -> Result<bool> {
        loop {
            if !self.fill()? && !self.advance()? && !self.follow_rotation()? {
                return Ok(true);
            }
            let Some(end) = self.buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
            for line in self.buffer[..end].split(|byte| *byte == b'\n') {
                if !take(line)? {
                    return Ok(false);
                }
            }
            self.buffer.drain(..=end);
        }
    }

    /// Reads on in the current file; false at its end.
    fn fill(&mut self) -> Result<bool> {
        let Some(file) = &mut self.current else { return Ok(false) };
        let start = self.buffer.len();
        self.buffer.resize(start + CHUNK, 0);
        let read = file.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
        read.map(|count| count > 0).context(|| self.name())
    }

    /// At the end of the file: whether `<attempt>.log` is another one by now, which is then opened.
    fn follow_rotation(&mut self) -> Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let path = self.directory.join(format!("{}.log", self.attempt));
        let Ok(now) = std::fs::metadata(&path) else { return Ok(false) };
        let held = self.current.as_ref().and_then(|file| file.metadata().ok());
        if held.as_ref().is_some_and(|held| (held.dev(), held.ino()) == (now.dev(), now.ino())) {
            return Ok(false);
        }
        // What was written between the last read and the rotation is still in the old file.
        if self.current.is_some() && self.fill()? {
            return Ok(true);
        }
        // There may have been more than one rotation since.
        let mut files = files(&self.directory, self.attempt)?;
        if let Some(held) = held {
            let is_held = |path: &PathBuf| {
                std::fs::metadata(path)
                    .is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino()))
            };
            match files.iter().position(is_held) {
                Some(at) => drop(files.drain(..=at)),
                // Ours is among those that are no more, and perhaps not the last of them.
                None => self.skipped = true,
            }
        }
        files.reverse();
        self.waiting = files;
        self.advance()
    }

    /// Whether, since the last call, files were rotated away before they were read.
    pub fn has_skipped(&mut self) -> bool {
        std::mem::take(&mut self.skipped)
    }
}

/// The last `count` whole lines of a container's latest attempt, as far as they can be read: for a message that tells
/// what the container said.
pub(super) fn latest_words(directory: &Path, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    let latest = attempts(directory).ok().and_then(|attempts| attempts.last().copied());
    let reader = latest.and_then(|latest| Reader::open(directory, latest, Some(count)).ok());
    if let Some(mut reader) = reader {
        let _ = reader.read(|line| {
            let text = Line::parse(line).map_or(line, |line| line.text);
            words.push(String::from_utf8_lossy(text).into_owned());
            Ok(words.len() < count)
        });
    }
    words
}

/// The files that hold the last `count` lines, and how many bytes of the first are to be skipped.
fn last_lines(files: Vec<PathBuf>, count: usize) -> Result<(Vec<PathBuf>, u64)> {
    let mut wanted = count;
    for (index, path) in files.iter().enumerate().rev() {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == IoKind::NotFound => continue,
            Err(error) => return Err(error).context(|| format!("log {}", path.display())),
        };
        match nth_line_from_end(&mut file, wanted).context(|| format!("log {}", path.display()))? {
            Ok(offset) => return Ok((files[index..].to_vec(), offset)),
            Err(lines) => wanted -= lines,
        }
    }
    Ok((files, 0))
}

/// Where the last `count` lines of `file` begin, or else how many lines it has.
fn nth_line_from_end(file: &mut File, count: usize) -> std::io::Result<std::result::Result<u64, usize>> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut seen = 0;
    let mut chunk = vec![0; CHUNK];
    while end > 0 {
        let length = usize::try_from(end).unwrap_or(CHUNK).min(CHUNK);
        let start = end - length as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk[..length])?;
        for (at, byte) in chunk[..length].iter().enumerate().rev() {
            if *byte == b'\n' {
                if seen == count {
                    return Ok(Ok(start + at as u64 + 1));
                }
                seen += 1;
            }
        }
        end = start;
    }
    Ok(if seen == count { Ok(0) } else { Err(seen) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn texts(reader: &mut Reader) -> Vec<String> {
        let mut lines = Vec::new();
        reader
            .read(|line| {
                lines.push(String::from_utf8(Line::parse(line).unwrap().text.to_vec()).unwrap());
                Ok(true)
            })
            .unwrap();
        lines
    }

    fn write(path: &Path, numbers: std::ops::Range<u32>) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        for number in numbers {
            writeln!(file, "2026-11-23T20:00:00.000000001Z stdout F {number}").unwrap();
        }
    }

    #[test]
    fn a_line_is_taken_apart_and_nothing_else_is_taken_for_one() {
        let line = Line::parse(b"2026-11-23T20:00:00.1Z stderr P two words ").unwrap();
        assert_eq!((line.time, line.stream, line.partial), ("2026-11-23T20:00:00.1Z", "stderr", true));
        assert_eq!(line.text, b"two words ");
        assert_eq!(Line::parse(b"t stdout F ").unwrap().text, b"", "an empty line is a line");
        for bad in ["", "t stdout", "t stdout X y", "t stdout F"] {
            assert_eq!(Line::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn rotated_files_are_read_first_and_rotation_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("0.log");
        write(&dir.path().join("0.log.20261123-200000"), 0..2);
        write(&dir.path().join("0.log.20261123-210000"), 2..4);
        write(&current, 4..5);
        let mut reader = Reader::open(dir.path(), 0, None).unwrap();
        assert_eq!(texts(&mut reader), ["0", "1", "2", "3", "4"]);
        write(&current, 5..6);
        std::fs::rename(&current, dir.path().join("0.log.20261123-220000")).unwrap();
        write(&current, 6..7);
        assert_eq!(texts(&mut reader), ["5", "6"]);
    }

    #[test]
    fn a_reader_that_comes_late_reads_what_is_there_and_knows_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("0.log");
        write(&current, 0..1);
        let mut reader = Reader::open(dir.path(), 0, None).unwrap();
        assert_eq!(texts(&mut reader), ["0"]);
        for number in 1..4 {
            std::fs::rename(&current, dir.path().join(format!("0.log.{number}"))).unwrap();
            write(&current, number..number + 1);
        }
        assert_eq!(texts(&mut reader), ["1", "2", "3"]);
        assert!(!reader.has_skipped());
        for number in 4..7 {
            std::fs::rename(&current, dir.path().join(format!("0.log.{number}"))).unwrap();
            write(&current, number..number + 1);
        }
        for number in 1..=5 {
            std::fs::remove_file(dir.path().join(format!("0.log.{number}"))).unwrap();
        }
        assert_eq!(texts(&mut reader), ["5", "6"]);
        assert!(reader.has_skipped() && !reader.has_skipped());
    }

    #[test]
    fn a_line_that_is_still_being_written_is_left_for_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "t stdout F whole\nt stdout F ha").unwrap();
        let mut reader = Reader::open(dir.path(), 0, None).unwrap();
        assert_eq!(texts(&mut reader), ["whole"]);
        File::options().append(true).open(&path).unwrap().write_all(b"lf\n").unwrap();
        assert_eq!(texts(&mut reader), ["half"]);
    }

    #[test]
    fn a_tail_reaches_back_over_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("3.log.20261123-200000"), 0..10_000);
        write(&dir.path().join("3.log"), 10_000..10_002);
        for (tail, first) in
            [(1, "10001"), (2, "10000"), (3, "9999"), (5000, "5002"), (10_002, "0"), (99_999, "0")]
        {
            let lines = texts(&mut Reader::open(dir.path(), 3, Some(tail)).unwrap());
            assert_eq!((lines.len(), lines[0].as_str()), (tail.min(10_002), first), "--tail {tail}");
        }
        assert!(texts(&mut Reader::open(dir.path(), 3, Some(0)).unwrap()).is_empty());
        assert_eq!(attempts(dir.path()).unwrap(), [3]);
    }
}
