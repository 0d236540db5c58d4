//! The layers of one image while they are unpacked, several side by side.
//!
//! Invariant: layers are begun from the lowest up, so that a wait for the ones below is a wait for running
//! work; a layer depends on those below it only when they are whole; the first error ends all of them.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Candidate, Incoming, Layers, Making, REPLACED, Staged};
use crate::error::{Error, ErrorKind, Result};
use crate::image::content::{self, Arrived, Blob};
use crate::image::layer::decompress;
use crate::image::layer::layers::{self, Commit};
use crate::image::layer::unpack::{Limits, Lower, unpack};
use crate::image::model::digest::ChainId;
use crate::image::progress::{Event, Phase, Progress};
use crate::image::store::ImageStore;
use crate::sys;

/// How many layers are unpacked at once: as many as come at once.
const WIDTH: usize = 3;
const ANOTHER: &str = "another layer failed";

/// The result for one layer.
#[derive(Debug, Default)]
pub(super) struct Made<'s> {
    /// The bytes in its files.
    pub(super) bytes: u64,
    /// Its tree, if it was not there.
    pub(super) staged: Option<Staged<'s>>,
    /// Its stored content, if that was not there.
    pub(super) blob: Option<Blob>,
}

/// The making of one image's layers.
pub(super) struct Crew<'s, 'a> {
    store: &'s ImageStore,
    candidate: &'a Candidate,
    chain: &'a [ChainId],
    making: &'a Making,
    source: &'a dyn Layers,
    progress: &'a dyn Progress,
    state: Mutex<State<'s>>,
    changed: Condvar,
}

#[derive(Default)]
struct State<'s> {
    /// How many layers have been begun.
    begun: usize,
    /// The result of each; nothing while it is being made.
    made: Vec<Option<Made<'s>>>,
    failed: Option<Error>,
}

impl<'s, 'a> Crew<'s, 'a> {
    pub(super) fn new(
        store: &'s ImageStore,
        candidate: &'a Candidate,
        chain: &'a [ChainId],
        making: &'a Making,
        source: &'a dyn Layers,
        progress: &'a dyn Progress,
    ) -> Self {
        let made = chain.iter().map(|_| None).collect();
        let state = Mutex::new(State { made, ..State::default() });
        Self { store, candidate, chain, making, source, progress, state, changed: Condvar::new() }
    }

    /// Makes all layers, and returns the result of each.
    pub(super) fn run(self) -> Result<Vec<Made<'s>>> {
        thread::scope(|scope| {
            for _ in 1..WIDTH.min(self.chain.len()) {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failed {
            Some(error) => Err(error),
            None => Ok(state.made.into_iter().flatten().collect()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<'s>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_stopped(&self) -> bool {
        self.state().failed.is_some()
    }

    /// Takes one layer after the other, until there is none or one fails.
    fn work(&self) {
        loop {
            let number = {
                let mut state = self.state();
                if state.failed.is_some() || state.begun == self.chain.len() {
                    return;
                }
                state.begun += 1;
                state.begun - 1
            };
            let made = self.layer(number);
            let failed = made.is_err();
            {
                let mut state = self.state();
                match made {
                    Ok(made) => state.made[number] = Some(made),
                    // That another one failed says less than why.
                    Err(error) => match &state.failed {
                        Some(known) if known.kind() != ErrorKind::Interrupted => {}
                        _ => state.failed = Some(error),
                    },
                }
            }
            self.changed.notify_all();
            if failed {
                self.source.stop();
            }
        }
    }

    /// Waits until every layer below `number` that `matters` is made, then returns the result of `look`.
    fn below<T>(
        &self,
        number: usize,
        matters: impl Fn(usize) -> bool,
        look: impl FnOnce(&[Option<Made<'s>>]) -> Result<T>,
    ) -> Result<T> {
        let waits = |state: &mut State<'_>| {
            state.failed.is_none() && (0..number).any(|below| matters(below) && state.made[below].is_none())
        };
        let state = self.changed.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner);
        if state.failed.is_some() {
            return Err(Error::new(ErrorKind::Interrupted, ANOTHER));
        }
        look(&state.made)
    }

    fn say(&self, number: usize, phase: Phase, done: u64) {
        let layer = &self.candidate.layers[number];
        self.progress.event(&Event::Layer { digest: &layer.digest, phase, done, total: layer.size });
    }

    fn layer(&self, number: usize) -> Result<Made<'s>> {
        let size = self.candidate.layers[number].size;
        let chain = &self.chain[number];
        let bytes = layers::committed(self.store.host(), chain)?.map(|commit| commit.bytes);
        if let Some(bytes) = bytes
            && self.candidate.is_packed(self.store, self.making, number, chain)?
        {
            self.say(number, Phase::Exists, size);
            return Ok(Made { bytes, ..Made::default() });
        }
        let made = match (bytes, self.here(number)?) {
            (Some(bytes), Some(_)) => Made { bytes, ..Made::default() },
            (Some(bytes), None) => Made { bytes, blob: Some(self.blob(number)?), staged: None },
            (None, Some(file)) => self.unpack(number, Incoming::Whole(file))?,
            (None, None) => self.incoming(number)?,
        };
        self.say(number, Phase::Complete, size);
        Ok(made)
    }

    /// A layer's stored content, if the store has it or a layer below is the same.
    fn here(&self, number: usize) -> Result<Option<File>> {
        let layer = &self.candidate.layers[number];
        if let Some(file) = content::open(self.store.host(), &layer.digest, layer.size)? {
            return Ok(Some(file));
        }
        let is_same = |other: usize| self.candidate.layers[other].digest == layer.digest;
        self.below(number, is_same, |made| {
            let mut same = made[..number].iter().enumerate().filter(|(other, _)| is_same(*other));
            let blob = same.find_map(|(_, made)| made.as_ref()?.blob.as_ref());
            blob.map(Blob::reader).transpose()
        })
    }

    /// The stored content alone, of a layer that is here unpacked.
    fn blob(&self, number: usize) -> Result<Blob> {
        loop {
            let mut content = self.source.open(number)?;
            let read = std::io::copy(&mut content, &mut std::io::sink());
            if let Some(blob) = self.source.close(number)? {
                return read.map(|_| blob).map_err(Error::from);
            }
        }
    }

    /// Unpacks a layer while it arrives. A mismatch of its stored content explains any other error in it, and
    /// so is reported first.
    fn incoming(&self, number: usize) -> Result<Made<'s>> {
        loop {
            let content = self.source.open(number)?;
            let made = self.unpack(number, content);
            if let Some(blob) = self.source.close(number)? {
                return made.map(|made| Made { blob: Some(blob), ..made });
            }
        }
    }

    fn unpack(&self, number: usize, content: Incoming) -> Result<Made<'s>> {
        let arrival = content.arrival();
        // Until it is here, the progress shown is the received part.
        let say = |done| {
            if arrival.as_ref().is_none_or(Arrived::is_whole) {
                self.say(number, Phase::Unpacking, done);
            }
        };
        let has_stopped = || self.has_stopped();
        let content = Counted { has_stopped: &has_stopped, source: content, done: 0, said: 0, say: &say };
        self.stage(number, content).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            _ => {
                let layer = &self.candidate.layers[number].digest;
                error.context(format!("layer {layer}")).with_kind(ErrorKind::Image)
            }
        })
    }

    /// Unpacks one layer into `tmp`.
    fn stage(&self, number: usize, source: impl std::io::Read + Send) -> Result<Made<'s>> {
        let diff_id = &self.candidate.diff_ids[number];
        let staged = Staged::new(self.store)?;
        let (tree, trash) =
            (layers::open_tree(&staged.dir)?, sys::file::dir::open_at(&staged.dir, REPLACED)?);
        let open = || self.trees_below(number);
        let lower = Lower::new(number > 0, &open);
        let (made, found) = decompress::pipeline(source, diff_id.algorithm(), |plain| {
            unpack(plain, tree, trash, &lower, Limits::default())
        })?;
        if found != *diff_id {
            return Err(Error::new(
                ErrorKind::Image,
                format!("its plain content is {found}, the config says {diff_id}"),
            ));
        }
        sys::file::dir::remove_tree(&staged.dir, REPLACED)?;
        layers::write_commit(&staged.dir, &Commit::new(diff_id.clone(), made.bytes, made.inodes))?;
        Ok(Made { bytes: made.bytes, staged: Some(staged), blob: None })
    }

    /// The trees of the layers below, the topmost first: still staged, or in their place.
    fn trees_below(&self, number: usize) -> Result<Vec<OwnedFd>> {
        self.below(
            number,
            |_| true,
            |made| {
                let tree = |below: usize| match made[below].as_ref().and_then(|made| made.staged.as_ref()) {
                    Some(staged) => layers::open_tree(&staged.dir),
                    None => sys::file::dir::open(&layers::layer_dir(self.store.host(), &self.chain[below])),
                };
                Ok((0..number).rev().map(tree).collect::<sys::Result<_>>()?)
            },
        )
    }
}

/// Reports how much of a layer's stored content was read, every megabyte.
struct Counted<'a> {
    has_stopped: &'a (dyn Fn() -> bool + Sync),
    source: Incoming,
    done: u64,
    said: u64,
    say: &'a (dyn Fn(u64) + Sync),
}

impl std::io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if (self.has_stopped)() {
            return Err(std::io::Error::other(ANOTHER));
        }
        let len = self.source.read(buffer)?;
        self.done += len as u64;
        if self.done - self.said >= 1 << 20 {
            self.said = self.done;
            (self.say)(self.done);
        }
        Ok(len)
    }
}
