//! Checking the whole store: does every blob match its digest, is every layer whole, every record readable?
//!
//! Invariant: damage is reported object by object and never hidden by other damage. Objects are dropped under
//! the records' lock, and only ones that a pull or a load restores; layers of pods, and records of a newer
//! podrun, stay.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{self, Loaded, Record};
use crate::error::{Context, Result};
use crate::image::content;
use crate::image::layer::layers;
use crate::image::model::digest::{ChainId, Digest, Hasher};
use crate::image::model::manifest;
use crate::image::store::ImageStore;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object: `blob sha256:…`, `layer …`, `image …`, `lease …`.
    pub object: String,
    /// The damage.
    pub what: String,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome for a damaged object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: that was not asked for.
    Left,
    /// It was dropped: a pull or a load brings it again.
    Dropped,
    /// It follows from other damage, or is only made good by a pull or a load.
    Lacking,
    /// It could not be dropped, for this reason.
    Kept(String),
}

/// The checked objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many images.
    pub images: usize,
    /// How many layers.
    pub layers: usize,
    /// How many blobs.
    pub blobs: usize,
    /// The bytes of those blobs.
    pub bytes: u64,
}

/// A look through a store.
struct Check<'a> {
    store: &'a ImageStore,
    repair: bool,
    tell: &'a mut dyn FnMut(&Finding),
    checked: Checked,
}

impl ImageStore {
    /// Checks the whole store and reports the damage; with `repair` it drops objects that can be restored.
    pub fn check(&self, repair: bool, tell: &mut dyn FnMut(&Finding)) -> Result<Checked> {
        let mut check = Check { store: self, repair, tell, checked: Checked::default() };
        // The leases first: a layer is dropped only if it is known to have no lease.
        let held = check.leases()?;
        check.blobs()?;
        check.layers(held.as_ref())?;
        check.records()?;
        let checked = check.checked;
        self.sweep()?;
        Ok(checked)
    }
}

impl Check<'_> {
    fn found(&mut self, object: String, what: String, outcome: Outcome) {
        (self.tell)(&Finding { object, what, outcome });
    }

    /// Reports damage that `drop` makes go, if that is asked for.
    fn damaged(&mut self, object: String, what: String, drop: impl FnOnce() -> Result<()>) {
        let outcome = match self.repair {
            false => Outcome::Left,
            true => match self.store.locked(drop) {
                Ok(()) => Outcome::Dropped,
                Err(error) => Outcome::Kept(error.message().to_owned()),
            },
        };
        self.found(object, what, outcome);
    }

    /// The layers with a lease; nothing if that cannot be known.
    fn leases(&mut self) -> Result<Option<BTreeSet<String>>> {
        let mut held = BTreeSet::new();
        let mut known = true;
        for (owner, lease) in self.store.leases_one_by_one()? {
            match lease {
                Ok(lease) => held.extend(lease.layers.iter().map(|layer| layer.directory().to_owned())),
                Err(error) => {
                    known = false;
                    let why = "a pod may need it: `podrun delete` of that pod removes it".to_owned();
                    let outcome = if self.repair { Outcome::Kept(why) } else { Outcome::Left };
                    self.found(format!("lease {owner}"), error.message().to_owned(), outcome);
                }
            }
        }
        Ok(known.then_some(held))
    }

    /// Reads every blob and takes its digest.
    fn blobs(&mut self) -> Result<()> {
        for (digest, len) in content::list(self.store.host())? {
            // One that is collected while we look is no damage.
            let Some((file, _)) = content::find(self.store.host(), &digest)? else { continue };
            self.checked.blobs += 1;
            self.checked.bytes += len;
            let what = match digest_of(file, &digest) {
                Ok(found) if found == digest => continue,
                Ok(found) => format!("has the wrong digest: its {len} bytes are {found}"),
                Err(error) => error.message().to_owned(),
            };
            let store = self.store;
            self.damaged(format!("blob {digest}"), what, || {
                content::discard(store.host(), &digest, &store.trash_name())
            });
        }
        Ok(())
    }

    /// Looks at every layer's directory: its record, its tree, and that it has the name that its record gives it.
    fn layers(&mut self, held: Option<&BTreeSet<String>>) -> Result<()> {
        let named = self.parents()?;
        for name in layers::names(self.store.host())? {
            self.checked.layers += 1;
            let Some(what) = self.wrong_with_layer(&name, &named)? else { continue };
            let object = format!("layer {name}");
            let in_use = match held {
                None => Some("it is not known whether a pod runs on it"),
                Some(held) => {
                    held.contains(&name).then_some("a pod runs on it, or somebody makes it just now")
                }
            };
            match in_use {
                Some(why) if self.repair => self.found(object, what, Outcome::Kept(why.into())),
                _ => {
                    let store = self.store;
                    self.damaged(object, what, || layers::discard(store.host(), &name, &store.trash_name()));
                }
            }
        }
        Ok(())
    }

    /// For each layer of an image, the one below it.
    fn parents(&self) -> Result<BTreeMap<String, Option<ChainId>>> {
        let mut parents = BTreeMap::new();
        for loaded in record::load_all(&self.store.images_dir())? {
            let Loaded::Whole(record) = loaded else { continue };
            let mut below = None;
            for layer in record.layers {
                parents.insert(layer.directory().to_owned(), below.replace(layer));
            }
        }
        Ok(parents)
    }

    fn wrong_with_layer(
        &self,
        name: &str,
        parents: &BTreeMap<String, Option<ChainId>>,
    ) -> Result<Option<String>> {
        let host = self.store.host();
        let commit = match layers::committed_as(host, name) {
            Ok(Some(commit)) => commit,
            // It went meanwhile, or has no record.
            Ok(None) if !layers::exists(host, name) => return Ok(None),
            Ok(None) => return Ok(Some("has no record that can be read: it is not whole".into())),
            Err(error) => return Ok(Some(error.message().to_owned())),
        };
        if !layers::has_tree(host, name) {
            return Ok(Some("has no tree".into()));
        }
        let Some(parent) = parents.get(name) else { return Ok(None) };
        let own = ChainId::of(parent.as_ref(), &commit.diff_id);
        Ok((own.directory() != name)
            .then(|| format!("its record is another layer's: {} is unpacked in it", commit.diff_id)))
    }

    /// Looks at every image's record, and that all it names is here.
    fn records(&mut self) -> Result<()> {
        for loaded in record::load_all(&self.store.images_dir())? {
            self.checked.images += 1;
            match loaded {
                Loaded::Whole(record) => {
                    let name = record.names.keys().next().cloned().unwrap_or_else(|| record.id.to_string());
                    let lacking = self.lacking(&record)?;
                    // One that was removed while we looked lacks nothing.
                    if !record::exists(&self.store.images_dir(), &record.id) {
                        continue;
                    }
                    for what in lacking {
                        let outcome = if self.repair { Outcome::Lacking } else { Outcome::Left };
                        self.found(format!("image {name}"), what, outcome);
                    }
                }
                Loaded::Damaged(id, why) if record::is_newer(&why) => {
                    let kept = Outcome::Kept("that podrun knows what it is".into());
                    self.found(format!("image {id}"), why, if self.repair { kept } else { Outcome::Left });
                }
                Loaded::Damaged(id, why) => {
                    let dir = self.store.images_dir();
                    let what = format!("its record cannot be read: {why}");
                    self.damaged(format!("image {id}"), what, || record::delete(&dir, &id));
                }
            }
        }
        Ok(())
    }

    /// The missing parts of an image, and those that differ from its config.
    fn lacking(&self, record: &Record) -> Result<Vec<String>> {
        let host = self.store.host();
        let mut lacking = Vec::new();
        for (number, layer) in record.layers.iter().enumerate() {
            if layers::committed(host, layer).is_ok_and(|commit| commit.is_none()) {
                lacking.push(format!("its layer {layer} is not here"));
            }
            let packed = record.packed.get(number).map(Vec::as_slice).unwrap_or_default();
            if !content::has_one(host, packed)? {
                lacking.push(format!("its layer {layer} is not here as it was packed"));
            }
        }
        let packed: BTreeSet<&Digest> = record.packed.iter().flatten().map(|packed| &packed.digest).collect();
        for digest in record.blobs.iter().filter(|digest| !packed.contains(digest)) {
            if content::find(host, digest)?.is_none() {
                let what = if *digest == record.id { "config" } else { "manifest or index" };
                lacking.push(format!("its {what} {digest} is not here"));
            }
        }
        // One that is not here, or is damaged, was named already.
        if let Ok(bytes) = self.store.document(&record.id) {
            match manifest::parse_config(&bytes) {
                Ok((_, diff_ids)) if ChainId::stack(&diff_ids) == record.layers => {}
                Ok(_) => lacking.push("its record and its config name different layers".into()),
                Err(error) => lacking.push(error.message().to_owned()),
            }
        }
        Ok(lacking)
    }
}

fn digest_of(file: std::fs::File, expected: &Digest) -> Result<Digest> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.take_in(file).context(|| "read")?;
    Ok(hasher.finish())
}
