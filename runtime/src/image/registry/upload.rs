//! A blob on its way to a registry: read piece by piece as the connection takes it.
//!
//! Invariant: at most one piece is in memory, and counted bytes were accepted by the connection.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

use super::transport::Body;
use crate::error::{Context, Result};

const PIECE: usize = 256 * 1024;

/// A blob to be sent.
pub(in crate::image) struct Upload<'a> {
    pub(in crate::image) file: &'a File,
    pub(in crate::image) size: u64,
    /// Told how many bytes are on their way.
    pub(in crate::image) watch: &'a (dyn Fn(u64) + Sync),
}

impl Upload<'_> {
    /// The body of one request, from the blob's first byte.
    pub(super) fn body(&self, sent: Arc<AtomicU64>) -> Result<Body> {
        let file = self.file.try_clone().context(|| "open the blob once more")?;
        Ok(Pieces { file, at: 0, size: self.size, sent }.boxed_unsync())
    }
}

struct Pieces {
    file: File,
    at: u64,
    size: u64,
    sent: Arc<AtomicU64>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.sent.store(self.at, Ordering::Relaxed);
        let left = self.size - self.at;
        if left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))];
        if let Err(error) = self.file.read_exact_at(&mut piece, self.at) {
            return Poll::Ready(Some(Err(error)));
        }
        self.at += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size - self.at)
    }
}
