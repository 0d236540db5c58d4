//! `save`: images out of the store into an archive that other tools read, and `load` too.
//!
//! Invariant: content is checked on its way out: a blob against its digest, a decompressed layer against its
//! diff id. An image keeps its id, since its config goes out unchanged; a manifest is written anew only if its
//! own names missing blobs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};
use tar_core::builder::EntryBuilder;

use super::outgoing::Outgoing;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::content::{self, Blob};
use crate::image::disk::Space;
use crate::image::layer::decompress;
use crate::image::model::digest::{Digest, Hasher};
use crate::image::model::manifest::Packed;
use crate::image::model::manifest::{self, Descriptor, OCI_INDEX, OCI_MANIFEST};
use crate::image::model::reference::Reference;
use crate::image::store::ImageStore;
use crate::image::store::record::Record;
use crate::sys;

const BLOCK: usize = 512;

/// The forms of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// An OCI layout in a tar, layers as they came.
    #[default]
    Oci,
    /// The format of `docker save`, layers decompressed.
    Docker,
}

/// An image to write, with the names that were asked for.
struct Saved {
    record: Record,
    names: Vec<String>,
    config: Vec<u8>,
    diff_ids: Vec<Digest>,
}

impl ImageStore {
    /// Writes images to a file, which gets its name when it is whole; an existing pipe or device of that name
    /// is written to.
    pub fn save_file(&self, images: &[String], format: ArchiveFormat, path: &Path) -> Result<()> {
        let write = || -> Result<()> {
            if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
                return self.save(images, format, &mut File::options().write(true).open(path)?);
            }
            let name = path.file_name().ok_or_else(|| Error::failed("is no name of a file"))?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let dir = sys::file::dir::open(parent.unwrap_or(Path::new(".")))?;
            let mut file = File::from(sys::file::dir::create_unnamed(&dir)?);
            self.save(images, format, &mut file)?;
            Ok(sys::file::dir::publish_in_place(&file, &dir, name.as_bytes())?)
        };
        write().map_err(|error| match error.kind() {
            // It is about an image, and not about the file.
            ErrorKind::NotFound | ErrorKind::Usage => error,
            _ => error.context(path.display()),
        })
    }

    /// Writes images to `out`, each name once. An image that is meant by its id goes out without a name.
    pub fn save(&self, images: &[String], format: ArchiveFormat, out: &mut dyn Write) -> Result<()> {
        let all = self.saved(images)?;
        // Protected until all of it is written, even if an image is removed meanwhile.
        let _holds = all.iter().map(|image| self.hold_record(&image.record)).collect::<Result<Vec<_>>>()?;
        let mut archive = Archive { store: self, out, written: BTreeSet::new() };
        match format {
            ArchiveFormat::Oci => archive.oci(&all)?,
            ArchiveFormat::Docker => archive.docker(&all)?,
        }
        // Two blocks of zeros end a tar.
        archive.bytes(&[0; 2 * BLOCK])?;
        archive.out.flush().context(|| "write the archive")
    }

    fn saved(&self, images: &[String]) -> Result<Vec<Saved>> {
        let mut all: Vec<Saved> = Vec::new();
        for text in images {
            let image = self.known(text)?;
            let load = || -> Result<Saved> {
                let record = self.record(&image.id)?;
                let config = self.document(&image.id)?;
                let (_, diff_ids) = manifest::parse_config(&config)?;
                Ok(Saved { record, names: Vec::new(), config, diff_ids })
            };
            let at = match all.iter().position(|other| other.record.id == image.id) {
                Some(at) => at,
                None => {
                    all.push(load().map_err(|error| {
                        error.context(format!("image {}", image.display_name())).with_kind(ErrorKind::Image)
                    })?);
                    all.len() - 1
                }
            };
            let named = text.parse::<Reference>().ok();
            let name = named.and_then(|name| Some(format!("{}:{}", name.repository(), name.tag()?)));
            if let Some(name) =
                name.filter(|name| image.names.contains(name) && !all[at].names.contains(name))
            {
                all[at].names.push(name);
            }
        }
        Ok(all)
    }
}

impl Saved {
    fn called(&self) -> String {
        self.names.first().cloned().unwrap_or_else(|| self.record.id.to_string())
    }

    /// The error with its subject.
    fn named(&self, error: Error) -> Error {
        error.context(format!("image {}", self.called()))
    }

    /// The OCI manifest with which the image came, if all that it names is here; else one for the blobs that are.
    fn manifest(&self, store: &ImageStore) -> Result<Outgoing> {
        let here = |layer: &Descriptor| {
            content::open(store.host(), &layer.digest, layer.size).is_ok_and(|file| file.is_some())
        };
        let whole = |found: &Outgoing| found.media_type == OCI_MANIFEST && found.layers.iter().all(here);
        match store.manifests_of(&self.record).into_iter().find(whole) {
            Some(own) => Ok(own),
            None => store.made_of(&self.record, self.config.len()).map_err(|error| self.named(error)),
        }
    }
}

fn gone(digest: &Digest) -> Error {
    Error::new(ErrorKind::Image, format!("blob {digest} is gone"))
}

/// An archive while it is written.
struct Archive<'a> {
    store: &'a ImageStore,
    out: &'a mut dyn Write,
    /// The names of the files in it.
    written: BTreeSet<String>,
}

impl Archive<'_> {
    fn oci(&mut self, images: &[Saved]) -> Result<()> {
        let mut entries = Vec::new();
        for image in images {
            let Outgoing { manifest, digest, layers, .. } = image.manifest(self.store)?;
            for layer in &layers {
                self.blob(&layer.digest, layer.size)?;
            }
            self.small(&blob_name(&image.record.id), &image.config)?;
            self.small(&blob_name(&digest), &manifest)?;
            let entry = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len() });
            entries.extend(named_entries(&entry, &image.names));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
        self.small("index.json", index.to_string().as_bytes())?;
        self.small("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn docker(&mut self, images: &[Saved]) -> Result<()> {
        let mut list = Vec::new();
        for image in images {
            let mut layers = Vec::new();
            for (number, diff_id) in image.diff_ids.iter().enumerate() {
                let name = format!("{}.tar", diff_id.hex());
                let packed = self.store.packed_layer(&image.record, number);
                let Packed { digest, size, .. } = packed.map_err(|error| image.named(error))?;
                if !self.written.contains(&name) {
                    self.plain(&name, &digest, size, diff_id).map_err(|error| image.named(error))?;
                }
                layers.push(name);
            }
            let config = format!("{}.json", image.record.id.hex());
            self.small(&config, &image.config)?;
            let tags = image.names.iter().map(|name| match name.parse::<Reference>() {
                Ok(name) => name.familiar(),
                Err(_) => name.clone(),
            });
            let tags: Vec<String> = tags.collect();
            list.push(json!({ "Config": config, "RepoTags": tags, "Layers": layers }));
        }
        self.small("manifest.json", Value::from(list).to_string().as_bytes())
    }

    /// A blob as a file of the layout, checked as it is copied.
    fn blob(&mut self, digest: &Digest, size: u64) -> Result<()> {
        let name = blob_name(digest);
        if self.written.contains(&name) {
            return Ok(());
        }
        let mut file = content::open(self.store.host(), digest, size)?.ok_or_else(|| gone(digest))?;
        let mut hasher = Hasher::new(digest.algorithm());
        self.entry(&name, size, &mut file, &mut |piece| hasher.update(piece))?;
        let found = hasher.finish();
        if found != *digest {
            let wrong = format!("blob {digest} has the wrong digest: its content is {found}");
            return Err(Error::new(ErrorKind::Image, wrong)
                .hint("`podrun image fsck --repair` drops it; then pull or load the image again"));
        }
        Ok(())
    }

    /// A layer's plain tar, checked against its diff id before any of it is written: a tar says first how long a file is.
    fn plain(&mut self, name: &str, digest: &Digest, size: u64, diff_id: &Digest) -> Result<()> {
        let blob = content::open(self.store.host(), digest, size)?.ok_or_else(|| gone(digest))?;
        let tmp = sys::file::dir::open(&self.store.tmp_dir())?;
        let mut file = File::from(sys::file::dir::create_unnamed(&tmp)?);
        let ((), found) = decompress::pipeline(blob, diff_id.algorithm(), |plain| {
            Blob::spool_into(&mut file, plain, &mut Space::default(), &tmp)
        })
        .map_err(|error| error.context(format!("layer {digest}")).with_kind(ErrorKind::Image))?;
        if found != *diff_id {
            let wrong = format!("layer {digest}: its plain content is {found}, the config says {diff_id}");
            return Err(Error::new(ErrorKind::Image, wrong)
                .hint("`podrun image fsck --repair` drops it; then pull or load the image again"));
        }
        let len = io::Seek::stream_position(&mut file)?;
        io::Seek::rewind(&mut file)?;
        self.entry(name, len, &mut file, &mut |_| ())
    }

    fn small(&mut self, name: &str, mut bytes: &[u8]) -> Result<()> {
        if self.written.contains(name) {
            return Ok(());
        }
        self.entry(name, bytes.len() as u64, &mut bytes, &mut |_| ())
    }

    /// One file of the archive.
    fn entry(
        &mut self,
        name: &str,
        size: u64,
        source: &mut dyn Read,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let mut header = EntryBuilder::new_ustar();
        header.path(name);
        // Sizes that the header's digits cannot hold go into a PAX record.
        let made = header.mode(0o644).and_then(|header| header.size(size)).is_ok();
        if !made {
            return Err(Error::failed(format!("{name}: {size} bytes are too many for a tar")));
        }
        self.bytes(&header.finish_bytes())?;
        let mut source = source.take(size);
        let mut buffer = vec![0; 256 * 1024];
        let mut left = size;
        while left > 0 {
            let len = source.read(&mut buffer).context(|| format!("read {name}"))?;
            if len == 0 {
                return Err(Error::new(
                    ErrorKind::Image,
                    format!("{name} is {left} bytes shorter than it was"),
                ));
            }
            seen(&buffer[..len]);
            self.bytes(&buffer[..len])?;
            left -= len as u64;
        }
        let over = usize::try_from(size % BLOCK as u64).expect("less than a block");
        self.bytes(&[0; BLOCK][..(BLOCK - over) % BLOCK])?;
        self.written.insert(name.to_owned());
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context(|| "write the archive")
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// An index's entry for each name, as containerd and as podman read it; one for an image without a name.
fn named_entries(entry: &Value, names: &[String]) -> Vec<Value> {
    if names.is_empty() {
        return vec![entry.clone()];
    }
    let named = |name: &String| {
        let mut entry = entry.clone();
        entry["annotations"] =
            json!({ "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name });
        entry
    };
    names.iter().map(named).collect()
}
