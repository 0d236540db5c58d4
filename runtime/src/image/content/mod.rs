//! The content store: blobs that are whole, and blobs on their way.
//!
//! Invariant: a blob found by a digest has that digest. The received part of a blob is in the store only when
//! all of it was checked; until then it lies in `partial/`, where one process at a time appends to it.

mod blob;
pub(super) mod partial;
mod place;

pub(super) use self::blob::{Arrived, Blob, Follower, discard, find, has_one, list, open, sync};
pub(super) use self::place::forget;
