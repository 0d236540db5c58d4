//! The content store: blobs that are whole, and blobs on their way.
//!
//! Invariant: what is found by a digest has that digest. What has come of a blob is in the store only when all of it was
//! checked, and until then in `partial/`, where one at a time adds to its end.

mod blob;
pub(super) mod partial;
mod place;

pub(super) use self::blob::{Arrived, Blob, Follower, discard, find, has_one, list, open, sync};
pub(super) use self::place::forget;
