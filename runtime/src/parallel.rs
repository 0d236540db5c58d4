//! Much of the same, on several threads: the records of a thousand images, of hundreds of pods.
//!
//! Invariant: the threads have ended when the call returns, and few things are done by the caller alone.

use std::io;
use std::num::NonZeroUsize;
use std::thread;

/// What `work` makes of `items`, in their order: each `piece` of them is given to a thread, which may keep something from
/// one to the next. An error is that no thread can be started.
pub(crate) fn over<T: Sync, R: Send>(
    items: &[T],
    piece: NonZeroUsize,
    work: impl Fn(&[T]) -> Vec<R> + Sync,
) -> io::Result<Vec<R>> {
    let work = &work;
    let (own, others) = items.split_at(items.len().min(piece.get()));
    thread::scope(|scope| {
        let beside = |items| thread::Builder::new().spawn_scoped(scope, move || work(items));
        let others = others.chunks(piece.get()).map(beside).collect::<io::Result<Vec<_>>>()?;
        let mut all = work(own);
        for other in others {
            all.append(&mut other.join().expect("a panic aborts"));
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_stays_in_order() {
        for count in [0, 1, 9, 10, 11, 20, 95] {
            let items: Vec<usize> = (0..count).collect();
            let piece = NonZeroUsize::new(10).unwrap();
            let even = |items: &[usize]| items.iter().copied().filter(|item| item % 2 == 0).collect();
            assert_eq!(over(&items, piece, even).unwrap(), (0..count).step_by(2).collect::<Vec<_>>());
        }
    }
}
