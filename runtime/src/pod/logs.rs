//! A container's logs as they lie on disk: the attempts of a container, their rotated files, their lines.
//!
//! ```text
//! <log dir>/<namespace>_<name>_<uid>/<container>/<attempt>.log           what is written now
//! <log dir>/<namespace>_<name>_<uid>/<container>/<attempt>.log.<stamp>   what was rotated away, oldest first by name
//! line = <RFC 3339 time with nanoseconds> <stdout|stderr> <P|F> <text>   P: the line goes on in the next one
//! ```
//!
//! Invariant: reading needs no monitor, and a line that is still being written is left for later. `<attempt>.log` is opened
//! before the rotated files are listed, so that each file between two that are read is in the list. The
//! format is CRI's: <https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md>.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// The bytes of one read.
const CHUNK: usize = 64 << 10;

/// One line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was read from the container, as written: RFC 3339 in UTC, with nanoseconds.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the container's line continues in the next one.
    pub partial: bool,
    /// The container's output, without the newline.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Parses a line; `None` if it is no line of a CRI log.
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

/// The rotated files of an attempt in the order they were written.
fn rotated(directory: &Path, attempt: u32) -> Result<Vec<PathBuf>> {
    let begin = format!("{attempt}.log.");
    let names = names(directory)?.into_iter().filter(|name| name.starts_with(&begin));
    let mut files: Vec<_> = names.map(|name| directory.join(name)).filter(|path| path.is_file()).collect();
    files.sort_unstable();
    Ok(files)
}

/// As an error calls it.
fn name(path: &Path) -> String {
    format!("log {}", path.display())
}

/// Opens a log; `None` where it was renamed or removed.
fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == IoKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| name(path)),
    }
}

/// The identity of `file`, whatever its name.
fn identity(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Where a file of this identity is among `files`.
fn position(files: &[PathBuf], identity: Option<(u64, u64)>) -> Option<usize> {
    let is_it = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| Some((found.dev(), found.ino())) == identity)
    };
    files.iter().position(is_it)
}

/// Reads an attempt's log from some position on, and its later lines.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    attempt: u32,
    /// The rotated files still to be read, the next one last.
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
        let mut reader = Self {
            directory: directory.into(),
            attempt,
            waiting: Vec::new(),
            current: None,
            buffer: Vec::new(),
            skipped: false,
        };
        if let Some(tail) = tail {
            reader.seek_tail(tail)?;
        }
        if reader.current.is_none() {
            reader.advance()?;
        }
        Ok(reader)
    }

    /// The file that is written now.
    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.attempt))
    }

    /// Goes back from the end to where the last `count` lines begin: with no current file where there are not so many.
    fn seek_tail(&mut self, mut count: usize) -> Result<()> {
        let (path, now) = (self.path(), open(&self.path())?);
        let rotated = rotated(&self.directory, self.attempt)?;
        if let Some(now) = now
            && position(&rotated, identity(&now)).is_none()
            && self.seek_lines(&path, now, &mut count)?
        {
            return Ok(());
        }
        for path in rotated.into_iter().rev() {
            let Some(file) = open(&path)? else { continue };
            if self.seek_lines(&path, file, &mut count)? {
                return Ok(());
            }
            self.waiting.push(path);
        }
        Ok(())
    }

    /// Seeks to the last `count` lines of `file`; false if it has fewer, which are subtracted.
    fn seek_lines(&mut self, path: &Path, mut file: File, count: &mut usize) -> Result<bool> {
        match nth_line_from_end(&mut file, *count).context(|| name(path))? {
            Ok(offset) => {
                file.seek(SeekFrom::Start(offset)).context(|| name(path))?;
                self.current = Some(file);
                Ok(true)
            }
            Err(lines) => {
                *count -= lines;
                Ok(false)
            }
        }
    }

    /// At the end of a file: opens the one that was written after it, if there is one.
    fn advance(&mut self) -> Result<bool> {
        loop {
            while let Some(path) = self.waiting.pop() {
                if let Some(file) = open(&path)? {
                    self.current = Some(file);
                    return Ok(true);
                }
                self.skipped = true;
            }
            let now = open(&self.path())?;
            let held = self.current.as_ref().and_then(identity);
            if now.is_some() && now.as_ref().and_then(identity) == held {
                return Ok(false);
            }
            // Lines written between the last read and the rotation are still in the old file.
            if self.current.is_some() && self.fill()? {
                return Ok(true);
            }
            let mut rotated = rotated(&self.directory, self.attempt)?;
            if held.is_some() {
                match position(&rotated, held) {
                    Some(at) => drop(rotated.drain(..=at)),
                    // The open file was rotated away, perhaps not as the last one; or all are gone with the
                    // pod.
                    None if now.is_none() => return Ok(false),
                    None => self.skipped = true,
                }
            }
            if rotated.is_empty() {
                let Some(now) = now else { return Ok(false) };
                self.current = Some(now);
                return Ok(true);
            }
            rotated.reverse();
            self.waiting = rotated;
        }
    }

    /// Passes every whole line to `take`, in order; a later call continues there. `take` returns false to end
    /// the reading.
    pub fn read(&mut self, mut take: impl FnMut(&[u8]) -> Result<bool>) -> Result<bool> {
        loop {
            if !self.fill()? && !self.advance()? {
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
        read.map(|count| count > 0).context(|| name(&self.path()))
    }

    /// Whether, since the last call, files were rotated away before they were read.
    pub fn has_skipped(&mut self) -> bool {
        std::mem::take(&mut self.skipped)
    }
}

/// The last `count` whole lines of a container's latest attempt, as far as they can be read: for a message that
/// quotes the container.
pub(crate) fn latest_words(directory: &Path, count: usize) -> Vec<String> {
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
    fn a_reader_that_is_behind_reads_what_is_rotated_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let rotated = |number: u32| dir.path().join(format!("0.log.{number}"));
        let current = dir.path().join("0.log");
        let rotate = |number: u32| {
            std::fs::rename(&current, rotated(number)).unwrap();
            write(&current, number + 1..number + 2);
        };
        (0..2).for_each(|number| write(&rotated(number), number..number + 1));
        write(&current, 2..3);
        let mut reader = Reader::open(dir.path(), 0, None).unwrap();
        let mut lines = Vec::new();
        let mut read = |reader: &mut Reader| {
            let taken = reader.read(|line| {
                lines.push(line.last().copied().unwrap());
                if lines.len() == 1 {
                    (2..4).for_each(rotate);
                }
                Ok(true)
            });
            assert!(taken.unwrap() && !reader.has_skipped());
        };
        read(&mut reader);
        assert_eq!(lines, b"01234");
        let mut reader = Reader::open(dir.path(), 0, Some(2)).unwrap();
        (4..6).for_each(rotate);
        assert_eq!(texts(&mut reader), ["3", "4", "5", "6"]);
        // A file removed before it is read is detected.
        let mut reader = Reader::open(dir.path(), 0, Some(3)).unwrap();
        (6..8).for_each(rotate);
        std::fs::remove_file(rotated(5)).unwrap();
        assert_eq!(texts(&mut reader), ["4", "6", "7", "8"]);
        assert!(reader.has_skipped());
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
