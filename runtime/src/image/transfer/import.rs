//! `image import`: a root file system's tar becomes an image of one layer.
//!
//! Invariant: the tar goes through the same unpacker as every layer, and is stored as it came; only the config and the
//! manifest are ours.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use oci_spec::image::Config;
use serde_json::json;

use super::change::Change;
use super::ingest::{self, Candidate, Incoming, Layers, Making};
use super::layout;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::content::Blob;
use crate::image::layer::decompress;
use crate::image::layer::unpack::Limits;
use crate::image::model::digest::{Algorithm, Digest};
use crate::image::model::manifest::{self, Descriptor};
use crate::image::model::platform::Platform;
use crate::image::model::reference::Reference;
use crate::image::progress::Progress;
use crate::image::store::{Image, ImageStore};
use crate::time::Time;

/// The properties of an imported image.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Its name.
    pub name: Option<Reference>,
    /// Its platform; nothing: the host's.
    pub platform: Option<Platform>,
    /// Its settings for running it.
    pub changes: Vec<Change>,
    /// A comment in its history.
    pub message: Option<String>,
}

impl ImageStore {
    /// Makes an image of the tar at `path` (`-`: standard input), plain or compressed.
    pub fn import(&self, path: &Path, options: &ImportOptions, progress: &dyn Progress) -> Result<Image> {
        self.import_now(path, options, progress)
            .map_err(|error| error.context(layout::shown(path)).with_kind(ErrorKind::Image))
    }

    fn import_now(&self, path: &Path, options: &ImportOptions, progress: &dyn Progress) -> Result<Image> {
        let mut source: Box<dyn Read> = match path == Path::new(layout::STDIN) {
            true => Box::new(io::stdin()),
            false => Box::new(tar_at(path)?),
        };
        let lock = self.begin_ingest()?;
        let (layer, size) = Blob::spool(self.host(), &mut source)?;
        if size == 0 {
            return Err(Error::new(ErrorKind::Image, "is empty"));
        }
        let mut first = [0; decompress::TELLING];
        let len = layer.reader()?.read(&mut first).context(|| "read the tar")?;
        decompress::refuse_others(&first[..len])?;
        let ((), diff_id) = decompress::pipeline(layer.reader()?, Algorithm::Sha256, |plain| {
            // The unpacker has the same limit, and comes only after this.
            let limit = Limits::default().bytes;
            match io::copy(&mut plain.take(limit + 1), &mut io::sink()).context(|| "read the tar")? {
                len if len > limit => {
                    Err(Error::new(ErrorKind::Image, format!("has more than {limit} bytes")))
                }
                _ => Ok(()),
            }
        })?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let config = config(&diff_id, &platform, options, path);
        let media_type = manifest::layer_type(&first[..len]);
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: layer.digest().clone(),
            size,
            platform: None,
            name: None,
        };
        let id = Digest::of(&config);
        let packed = json!({ "mediaType": media_type, "digest": descriptor.digest, "size": size });
        let manifest = manifest::manifest_of(&id, config.len(), &[packed]);
        let mut candidate = Candidate::new(id.clone(), &config, vec![descriptor])?;
        candidate.documents = vec![
            Blob::from_bytes(self.host(), &id, &config)?,
            Blob::from_bytes(self.host(), &Digest::of(&manifest), &manifest)?,
        ];
        candidate.names = options.name.iter().map(ToString::to_string).collect();
        let making = Making::begin(self, lock, &candidate)?;
        ingest::add(self, making, candidate, &Only(Mutex::new(Some(layer))), progress)
    }
}

/// The tar, or why there is none, with the way to make one.
fn tar_at(path: &Path) -> Result<File> {
    if path.is_dir() {
        let error = Error::new(ErrorKind::Image, "is a directory, not a tar");
        return Err(error.hint(format!("tar -C {} -c . | podrun image import -", path.display())));
    }
    File::open(path).map_err(|error| {
        let error = Error::from(error);
        let text = path.to_string_lossy();
        match text.starts_with("http://") || text.starts_with("https://") {
            true => error.hint(format!("podrun fetches no tar: curl -fsSL {text} | podrun image import -")),
            false => error,
        }
    })
}

/// The one layer of an image that is made here.
struct Only(Mutex<Option<Blob>>);

impl Layers for Only {
    fn open(&self, _: usize) -> Result<Incoming> {
        let layer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let layer = layer.as_ref().ok_or_else(|| Error::failed("the layer was taken already"))?;
        Ok(Incoming::Whole(layer.reader()?))
    }

    fn close(&self, _: usize) -> Result<Option<Blob>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// It is here already.
    fn stop(&self) {}
}

/// The bytes of the image's config.
fn config(diff_id: &Digest, platform: &Platform, options: &ImportOptions, path: &Path) -> Vec<u8> {
    let mut execution = Config::default();
    options.changes.iter().for_each(|change| change.apply(&mut execution));
    let now = Time::now().to_string();
    let from = layout::shown(path);
    let mut config = json!({
        "created": now,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": execution,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{
            "created": now,
            "created_by": "podrun image import",
            "comment": options.message.clone().unwrap_or_else(|| format!("imported from {from}")),
        }],
    });
    if let Some(variant) = &platform.variant {
        config["variant"] = json!(variant);
    }
    config.to_string().into_bytes()
}
