//! The content of the store, and the part of it in use.
//!
//! Invariant: this is a view of a store at work: content that comes or goes meanwhile may or may not be
//! counted, and nothing is locked.

use std::collections::{BTreeMap, BTreeSet};

use super::lease::Lease;
use super::record::{self, Loaded, Record};
use crate::error::Result;
use crate::image::content::{self, partial};
use crate::image::layer::{layers, snapshot};
use crate::image::model::digest::{ChainId, Digest};
use crate::image::store::{Image, ImageStore};

/// The content of the store.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// The images, as `images` lists them.
    pub images: Vec<ImageUsage>,
    /// The unpacked layers.
    pub layers: Part,
    /// The manifests, the configs and the packed layers.
    pub blobs: Part,
    /// Partial blobs of running (active) or interrupted pulls.
    pub partial: Part,
    /// The changes of containers: the id of each with the bytes in its files.
    pub snapshots: Vec<(String, u64)>,
}

/// One image's part.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    /// The image.
    pub image: Image,
    /// The bytes in layers that other images have too.
    pub shared: u64,
    /// The bytes in layers that it alone has.
    pub unique: u64,
    /// The bytes of its blobs.
    pub blobs: u64,
    /// The holders of leases on it.
    pub holders: Vec<String>,
}

/// Things of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// How many there are.
    pub total: usize,
    /// How many of them are in use by a holder of a lease.
    pub active: usize,
    /// The bytes in all of them.
    pub bytes: u64,
    /// The bytes that would be free without the unused images.
    pub reclaimable: u64,
}

impl Part {
    fn count(&mut self, bytes: u64, active: bool) {
        self.total += 1;
        self.bytes += bytes;
        if active {
            self.active += 1;
        } else {
            self.reclaimable += bytes;
        }
    }
}

impl ImageStore {
    /// The content of the store.
    pub fn usage(&self) -> Result<Usage> {
        let records = record::load_all(&self.images_dir())?;
        let leases = self.leases()?;
        let mut sizes = BTreeMap::new();
        for name in layers::names(self.host())? {
            let bytes = layers::committed_as(self.host(), &name)?.map_or(0, |commit| commit.bytes);
            sizes.insert(name, bytes);
        }
        let blobs: BTreeMap<Digest, u64> = content::list(self.host())?.into_iter().collect();
        let held = Held::of(&records, &leases);
        let mut usage = Usage { snapshots: snapshot::sizes(self.host())?, ..Usage::default() };
        for (name, bytes) in &sizes {
            usage.layers.count(*bytes, held.layers.contains(name.as_str()));
        }
        for (digest, bytes) in &blobs {
            usage.blobs.count(*bytes, held.blobs.contains(digest));
        }
        for partial in partial::list(self.host())? {
            usage.partial.count(partial.bytes, partial.comes);
        }
        let users = users(&records);
        for loaded in &records {
            let (mut shared, mut unique, mut own_blobs) = (0, 0, 0);
            if let Loaded::Whole(record) = loaded {
                for layer in &record.layers {
                    let bytes = sizes.get(layer.directory()).copied().unwrap_or(0);
                    if users[layer] > 1 { shared += bytes } else { unique += bytes }
                }
                own_blobs = record.blobs.iter().filter_map(|digest| blobs.get(digest)).sum();
            }
            let holders = holders_of(&leases, loaded.id());
            usage.images.push(ImageUsage {
                image: loaded.image(),
                shared,
                unique,
                blobs: own_blobs,
                holders,
            });
        }
        Ok(usage)
    }

    /// The images that have each layer of the image `id`, itself aside; the lowest layer first.
    pub fn sharing(&self, id: &Digest) -> Result<Vec<Vec<Image>>> {
        let own = self.record(id)?;
        let all = self.list()?;
        let with = |layer: &ChainId| {
            all.iter().filter(|image| image.id != *id && image.layers.contains(layer)).cloned().collect()
        };
        Ok(own.layers.iter().map(with).collect())
    }
}

/// The content in use by holders of leases.
struct Held<'a> {
    layers: BTreeSet<&'a str>,
    blobs: BTreeSet<&'a Digest>,
}

impl<'a> Held<'a> {
    fn of(records: &'a [Loaded], leases: &'a [(String, Lease)]) -> Self {
        let mut this = Self { layers: BTreeSet::new(), blobs: BTreeSet::new() };
        for (_, lease) in leases {
            this.layers.extend(lease.layers.iter().map(ChainId::directory));
            this.blobs.extend(&lease.blobs);
        }
        for record in records.iter().filter_map(whole) {
            if leases.iter().any(|(_, lease)| lease.images.contains(&record.id)) {
                this.layers.extend(record.layers.iter().map(ChainId::directory));
                this.blobs.extend(&record.blobs);
            }
        }
        this
    }
}

fn whole(loaded: &Loaded) -> Option<&Record> {
    match loaded {
        Loaded::Whole(record) => Some(record),
        Loaded::Damaged(..) => None,
    }
}

/// How many images have each layer.
fn users(records: &[Loaded]) -> BTreeMap<&ChainId, usize> {
    let mut users = BTreeMap::new();
    for record in records.iter().filter_map(whole) {
        // A layer can be in one image only once: the layers below are part of its name.
        record.layers.iter().for_each(|layer| *users.entry(layer).or_default() += 1);
    }
    users
}

fn holders_of(leases: &[(String, Lease)], id: &Digest) -> Vec<String> {
    leases.iter().filter(|(_, lease)| lease.images.contains(id)).map(|(owner, _)| owner.clone()).collect()
}
