//! `pull`: an image from a registry into the store.
//!
//! Invariant: the async runtime lives inside this call and on one thread; unpacking runs on other threads
//! beside it, while the layers come. Received bytes lie in the store's files and never in memory, and nothing
//! of a layer is committed before all of it was checked.

mod resolve;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use super::ingest::{self, Incoming, Layers, Making};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::content::partial::{self, Claim, Taken};
use crate::image::content::{self, Blob, Follower};
use crate::image::layer::layers;
use crate::image::model::manifest::Descriptor;
use crate::image::model::platform::Platform;
use crate::image::model::reference::Reference;
use crate::image::progress::{Event, Phase, Progress};
use crate::image::registry::{Access, Registry, Source, Transport};
use crate::image::store::{Image, ImageStore};

/// How many layers come at once.
const DOWNLOADS: usize = 3;
/// How many bytes come between two events.
const REPORT_EVERY: u64 = 256 * 1024;

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The platform wanted; nothing: the host's.
    pub platform: Option<Platform>,
    /// How registries are reached.
    pub access: Access,
}

impl ImageStore {
    /// Pulls `reference`; content in the store is not fetched again.
    pub fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image> {
        self.pull_now(reference, options, progress).map_err(|error| failed(reference, error))
    }

    pub(super) fn pull_now(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let lock = self.begin_ingest()?;
        let runtime =
            Builder::new_current_thread().enable_all().build().context(|| "start the HTTP client")?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let transport = Transport::new(&options.access, progress);
        let registry = Registry::new(reference, &transport)?;
        if let Some(image) = self.unchanged(&runtime, &registry, reference, &platform)? {
            return Ok(image);
        }
        let (candidate, _configs) =
            runtime.block_on(resolve::resolve(self, &registry, reference, &platform))?;
        // Before relying on any content: from here on it cannot be collected.
        let making = Making::begin(self, lock, &candidate)?;
        let wanted = candidate.to_fetch(self, &making)?;
        let stop = watch::Sender::new(false);
        let broken = AtomicBool::new(false);
        let board = Board { stop: &stop, broken: &broken, told: Mutex::default(), changed: Condvar::new() };
        thread::scope(|scope| {
            let downloads = Downloads { store: self, registry: &registry, progress, board: &board };
            let wanted = &wanted;
            let downloading = scope.spawn(move || downloads.run(&runtime, wanted));
            let result = ingest::add(self, making, candidate, &board, progress);
            // After an error the rest is not needed.
            board.stop();
            downloading.join().expect("a panic aborts the process");
            if result.is_err() && !broken.load(Ordering::Relaxed) {
                // The received parts belong to a refused image: they will not be resumed.
                wanted.iter().for_each(|(_, layer)| content::forget(self.host(), &layer.digest));
            }
            result
        })
    }

    /// The image of this name, if it is whole and for `platform` (nothing: the host's). A config without a
    /// platform does not tell which of an index's images it is: it does not match a platform asked for by name.
    pub fn whole(&self, reference: &Reference, platform: Option<&Platform>) -> Result<Option<Image>> {
        let Some(image) = self.get(reference)?.filter(|image| image.damage.is_none()) else {
            return Ok(None);
        };
        let config = &image.config;
        let fits = match platform {
            None => Platform::host().fits(&config.os, &config.architecture),
            Some(wanted) => is_said(&image) && wanted.fits(&config.os, &config.architecture),
        };
        if !fits {
            return Ok(None);
        }
        if !self.is_complete(&image)? {
            return Ok(None);
        }
        Ok(Some(image))
    }

    /// That image, if it is still the registry's: a digest proves it, for a tag the registry is asked for its
    /// digest.
    fn unchanged(
        &self,
        runtime: &Runtime,
        registry: &Registry<'_>,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<Image>> {
        // Of a config that names no platform the registry's index tells.
        let Some(image) = self.whole(reference, Some(platform))? else { return Ok(None) };
        let tag = reference.tag().filter(|_| reference.digest().is_none());
        let Some(tag) = tag else { return Ok(Some(image)) };
        // Errors are reported when the manifest itself is requested.
        let now = runtime.block_on(registry.any(async |source| source.digest_of(tag).await)).ok().flatten();
        let now = now.map(|now| reference.with_digest(now).to_string());
        Ok(now.filter(|now| image.digests.contains(now)).map(|_| image))
    }

    /// Whether all of the image is here: its config, and its layers, unpacked and packed.
    fn is_complete(&self, image: &Image) -> Result<bool> {
        let Ok(record) = self.record(&image.id) else { return Ok(false) };
        if content::find(self.host(), &image.id)?.is_none() {
            return Ok(false);
        }
        for (number, layer) in record.layers.iter().enumerate() {
            let packed = record.packed_as(number, layer);
            if layers::committed(self.host(), layer)?.is_none() || !content::has_one(self.host(), packed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The error of a failed pull.
pub(super) fn failed(reference: &Reference, error: Error) -> Error {
    error.context(format!("image {}", reference.familiar())).with_kind(ErrorKind::Image)
}

/// Whether its config says for which platform it is.
fn is_said(image: &Image) -> bool {
    !image.config.os.is_empty() && !image.config.architecture.is_empty()
}

/// The fetching of a blob, and its watchers.
struct Bring<'a> {
    host: &'a Host,
    blob: &'a Descriptor,
    /// It begins to come, or begins anew; its beginning may be here.
    begun: &'a dyn Fn(Follower),
    /// So many bytes are here now. An error ends it.
    came: &'a dyn Fn(u64) -> Result<()>,
    /// Set when the source does not give the rest.
    broken: &'a Cell<bool>,
    /// True once it is not needed any more.
    stop: &'a watch::Sender<bool>,
}

impl Bring<'_> {
    /// Fetches the missing part of the blob, or waits for another process that fetches it.
    async fn from(&self, source: &Source<'_>) -> Result<Blob> {
        let Self { host, blob, .. } = self;
        let (mut anew, mut locked) = (false, None);
        loop {
            let mut writer = match partial::claim(host, &blob.digest, blob.size, locked.take())? {
                Claim::Taken(taken) => {
                    (self.came)(0)?;
                    locked = Some(self.wait_for(taken).await?);
                    continue;
                }
                Claim::Whole(whole) => {
                    (self.begun)(whole.follow()?);
                    return Ok(whole);
                }
                Claim::Begun(writer) => writer,
            };
            let from = writer.written();
            (self.begun)(writer.follow()?);
            (self.came)(from)?;
            let take = |piece: &[u8]| {
                writer.write(piece)?;
                (self.came)(writer.written())
            };
            let pieced = Cell::new(false);
            let fetched = source.blob(blob, from, &pieced, take).await;
            // Of pieces that do not make the blob nothing stays, and all of it is fetched, once.
            let may_go_anew = pieced.get() && !std::mem::replace(&mut anew, true);
            if may_go_anew && writer.written() > blob.size {
                continue;
            }
            let is_whole = writer.written() == blob.size;
            self.broken.set(match &fetched {
                Err(error) => error.kind() != ErrorKind::Interrupted,
                // A body without a length can end anywhere.
                Ok(()) => !is_whole,
            });
            fetched?;
            match writer.finish() {
                Err(_) if is_whole && may_go_anew => {}
                result => return result,
            }
        }
    }

    /// The locked file of a blob that another process was fetching, once that has ended. The thread that waits
    /// for the lock keeps waiting if the blob is not needed any more, and then unlocks at once.
    async fn wait_for(&self, taken: Taken) -> Result<File> {
        let (tell, told) = oneshot::channel();
        thread::Builder::new()
            .spawn(move || drop(tell.send(taken.wait())))
            .context(|| "start a thread that waits for a blob")?;
        let mut stop = self.stop.subscribe();
        let (mut stopped, mut told) = (pin!(stop.wait_for(|stop| *stop)), pin!(told));
        poll_fn(|context| {
            if stopped.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(unwanted()));
            }
            told.as_mut().poll(context).map(|told| told.expect("the thread tells before it ends"))
        })
        .await
    }
}

/// Why a layer is not brought that another one's failure has made useless.
fn unwanted() -> Error {
    Error::new(ErrorKind::Interrupted, "another layer failed")
}

/// News of a layer from the downloads.
enum News {
    /// It comes, for the first time or anew from another source.
    Begun(Follower),
    /// It is here, or cannot be had.
    Ended(Result<Blob>),
}

/// The board on which downloads report the layers, for the unpacking threads.
struct Board<'a> {
    stop: &'a watch::Sender<bool>,
    /// Whether a registry failed to deliver: then the received parts are worth keeping.
    broken: &'a AtomicBool,
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Default)]
struct Told {
    /// Unread news of each layer.
    news: HashMap<usize, VecDeque<News>>,
    /// The reason why the pull fails, until it is taken for the report.
    failed: Option<Error>,
    /// Nothing more will be told.
    over: bool,
}

impl Board<'_> {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, number: usize, news: News) {
        let mut told = self.told();
        match news {
            News::Ended(Err(error)) => {
                told.over = true;
                // Later failures follow from the first.
                if !self.stop.send_replace(true) {
                    told.failed = Some(error);
                }
            }
            news => told.news.entry(number).or_default().push_back(news),
        }
        drop(told);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.told().over = true;
        self.changed.notify_all();
    }

    /// The next news of the layer with that number. The end of the pull ends the wait for any layer.
    fn next(&self, wanted: usize) -> Result<News> {
        let is_there = |told: &Told| told.news.get(&wanted).is_some_and(|news| !news.is_empty());
        let waits = |told: &mut Told| !told.over && told.failed.is_none() && !is_there(told);
        let mut told = self.changed.wait_while(self.told(), waits).unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = told.failed.take() {
            return Err(error);
        }
        let news = told.news.get_mut(&wanted).and_then(VecDeque::pop_front);
        news.ok_or_else(unwanted)
    }
}

impl Layers for Board<'_> {
    fn open(&self, number: usize) -> Result<Incoming> {
        match self.next(number)? {
            News::Begun(follower) => Ok(Incoming::Following(follower)),
            News::Ended(_) => Err(Error::new(ErrorKind::Image, "a layer ended before it began")),
        }
    }

    fn close(&self, number: usize) -> Result<Option<Blob>> {
        match self.next(number)? {
            News::Ended(blob) => blob.map(Some),
            again @ News::Begun(_) => {
                self.told().news.entry(number).or_default().push_front(again);
                Ok(None)
            }
        }
    }

    fn stop(&self) {
        self.stop.send_replace(true);
    }
}

struct Downloads<'a> {
    store: &'a ImageStore,
    registry: &'a Registry<'a>,
    progress: &'a dyn Progress,
    board: &'a Board<'a>,
}

impl Downloads<'_> {
    fn run(&self, runtime: &Runtime, wanted: &[(usize, Descriptor)]) {
        let all = wanted.iter().map(|(number, layer)| async move {
            let result = self.download(*number, layer).await;
            self.board.tell(*number, News::Ended(result));
        });
        runtime.block_on(at_most(DOWNLOADS, all));
        self.board.end();
    }

    async fn download(&self, number: usize, layer: &Descriptor) -> Result<Blob> {
        let broken = Cell::new(false);
        let blob =
            self.registry.any(async |source| self.download_from(source, number, layer, &broken).await).await;
        if blob.is_err() && broken.get() {
            self.board.broken.store(true, Ordering::Relaxed);
        }
        blob
    }

    async fn download_from(
        &self,
        source: &Source<'_>,
        number: usize,
        layer: &Descriptor,
        broken: &Cell<bool>,
    ) -> Result<Blob> {
        let said = Cell::new(None);
        let say = |phase, done| {
            self.progress.event(&Event::Layer { digest: &layer.digest, phase, done, total: layer.size });
        };
        let bring = Bring {
            host: self.store.host(),
            blob: layer,
            broken,
            stop: self.board.stop,
            begun: &|follower| {
                said.set(None);
                self.board.tell(number, News::Begun(follower));
            },
            came: &|done| {
                if *self.board.stop.borrow() {
                    return Err(unwanted());
                }
                if said.get().is_none_or(|said| done >= said + REPORT_EVERY) {
                    said.set(Some(done));
                    say(Phase::Downloading, done);
                }
                Ok(())
            },
        };
        let blob = bring.from(source).await?;
        say(Phase::Downloaded, layer.size);
        Ok(blob)
    }
}

/// Runs all `futures`, so many at once, in their order.
pub(in crate::image) async fn at_most<F: Future<Output = ()>>(
    width: usize,
    mut futures: impl Iterator<Item = F>,
) {
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    poll_fn(|context| {
        loop {
            while running.len() < width
                && let Some(next) = futures.next()
            {
                running.push(Box::pin(next));
            }
            let before = running.len();
            running.retain_mut(|future| future.as_mut().poll(context).is_pending());
            match running.len() {
                0 if before == 0 => return Poll::Ready(()),
                now if now == before => return Poll::Pending,
                // One ended: the next may begin.
                _ => {}
            }
        }
    })
    .await;
}
