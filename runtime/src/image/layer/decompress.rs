//! Layers and archives as they are stored: plain, gzip or zstd.
//!
//! Invariant: the form is told by the content's first bytes, every member and frame is read, and
//! bytes behind the last one are an error: another reader might take them for more.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::model::digest::{Algorithm, Digest, Hasher};
use crate::image::model::manifest::Compression;

const CHUNK: usize = 256 * 1024;
/// How many chunks may wait for the unpacker.
const CHUNKS: usize = 4;
/// The largest zstd window that is given memory: 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How many bytes tell whether a stream is compressed in a way that is not read here.
pub(in crate::image) const TELLING: usize = 10;

/// Refuses by name compressions that tar knows and podrun does not: neither OCI nor Docker packs layers with
/// them.
pub(in crate::image) fn refuse_others(first: &[u8]) -> Result<()> {
    let name = match first {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => "bzip2",
        _ => return Ok(()),
    };
    let error = Error::new(ErrorKind::Image, format!("is compressed with {name}, not with gzip or zstd"));
    Err(error.hint(format!("decompress it first: {name} -dc FILE")))
}

/// The plain content of `source`.
pub(in crate::image) fn reader<'a>(source: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let mut source = BufReader::with_capacity(CHUNK, source);
    let first = source.fill_buf().context(|| "read")?;
    refuse_others(first)?;
    Ok(match Compression::detect(first) {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source).context(|| "zstd")?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).context(|| "zstd")?;
            Box::new(Zstd(decoder))
        }
    })
}

/// A zstd stream whose errors name the exceeded limit.
struct Zstd<R>(R);

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            // The library has no kind for it, only these words.
            if error.to_string().contains("too much memory") {
                let limit = 1_u64 << ZSTD_WINDOW_LOG;
                io::Error::other(format!("a zstd frame wants a window of more than {limit} bytes"))
            } else {
                error
            }
        })
    }
}

/// Runs `work` on the plain content of `source`, which a second thread decompresses and hashes meanwhile.
/// Returns the result of `work`, and the digest of all of the plain content.
pub(in crate::image) fn pipeline<T>(
    source: impl Read + Send,
    algorithm: Algorithm,
    work: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<(T, Digest)> {
    thread::scope(|scope| {
        let (full, filled) = sync_channel(CHUNKS);
        let (give_back, empty) = channel();
        let producer = scope.spawn(move || produce(source, algorithm, &full, &empty));
        let mut consumer = Chunks { filled, give_back, current: Vec::new(), taken: 0 };
        let result = work(&mut consumer);
        // The producer ends without a receiver.
        drop(consumer);
        let digest = producer.join().expect("a panic aborts the process");
        let result = result?;
        Ok((
            result,
            digest.ok_or_else(|| Error::new(ErrorKind::Image, "the content was not read to its end"))?,
        ))
    })
}

/// Fills chunks until the end, an error, or the loss of the receiver. Only the end has a digest.
fn produce(
    source: impl Read + Send,
    algorithm: Algorithm,
    full: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> Option<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut plain = match reader(source) {
        Ok(plain) => plain,
        Err(error) => {
            // Without a receiver this is an end like any other.
            let _ = full.send(Err(io::Error::other(error.message().to_owned())));
            return None;
        }
    };
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        match fill(&mut plain, &mut chunk) {
            Ok(0) => return Some(hasher.finish()),
            Ok(len) => {
                chunk.truncate(len);
                hasher.update(&chunk);
                full.send(Ok(chunk)).ok()?;
            }
            Err(error) => {
                let _ = full.send(Err(error));
                return None;
            }
        }
    }
}

fn fill(source: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < chunk.len() {
        match source.read(&mut chunk[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The consumer's end of a pipeline.
struct Chunks {
    filled: Receiver<io::Result<Vec<u8>>>,
    give_back: Sender<Vec<u8>>,
    current: Vec<u8>,
    taken: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.current.len() {
            let Ok(next) = self.filled.recv() else { return Ok(0) };
            let old = std::mem::replace(&mut self.current, next?);
            self.taken = 0;
            // The producer may be done already; then the chunk is simply freed.
            let _ = self.give_back.send(old);
        }
        let len = buffer.len().min(self.current.len() - self.taken);
        buffer[..len].copy_from_slice(&self.current[self.taken..self.taken + len]);
        self.taken += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(stored: &[u8]) -> Result<(Vec<u8>, Digest)> {
        pipeline(stored, Algorithm::Sha256, |plain| {
            let mut content = Vec::new();
            plain.read_to_end(&mut content).context(|| "read")?;
            Ok(content)
        })
    }

    #[test]
    fn other_compressions_are_refused_by_name_and_names_like_theirs_are_not() {
        for (first, name) in [(&b"\xfd7zXZ\0\0\x04"[..], "xz"), (&b"BZh91AY&SY"[..], "bzip2")] {
            let error = read(first).unwrap_err();
            assert!(error.message().contains(&format!("compressed with {name}")), "{error}");
        }
        read(b"BZh9 is a file's name").unwrap();
    }

    #[test]
    fn every_member_and_every_frame_is_read() {
        let zstd = |content: &[u8]| zstd::encode_all(content, 1).unwrap();
        for stored in [b"ab".to_vec(), [gzip(b"a"), gzip(b"b")].concat(), [zstd(b"a"), zstd(b"b")].concat()] {
            let (content, digest) = read(&stored).unwrap();
            assert_eq!(content, b"ab");
            assert_eq!(digest, Digest::of(b"ab"));
        }
    }

    #[test]
    fn bytes_behind_the_end_and_a_cut_are_errors() {
        let big = vec![7; 1_000_000];
        for good in [gzip(&big), zstd::encode_all(big.as_slice(), 1).unwrap()] {
            assert_eq!(read(&good).unwrap().0.len(), big.len());
            assert!(read(&[good.as_slice(), b"garbage"].concat()).is_err());
            assert!(read(&good[..good.len() - 5]).is_err());
        }
    }
}
