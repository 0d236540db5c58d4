//! One attempt of a container made ready: its id, its records, its runtime spec, and the trees it mounts.
//!
//! Invariant: an attempt's files lie below its folder, or are found by the folder's name. Its spec names the
//! volumes by their paths, for a reader; the mounts are made from the descriptors beside it, which were
//! checked.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder, Spec};

use super::bundle::{self, FILES, Facts, SHM};
use super::client::Client;
use super::config::{ContainerConfig, VolumeSource};
use super::protocol::{ContainerSpec, HeldMount, TerminationMessage};
use super::record::{self, ContainerRecord, Sandbox, Version};
use super::volume::{self, Source};
use crate::engine;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::Host;
use crate::image::snapshot;
use crate::image::{Image, ImageStore};
use crate::sys::file::own;

/// The inputs of one attempt.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    /// Where the records go.
    pub host: &'a Host,
    /// The pod's record.
    pub sandbox: &'a Sandbox,
    /// The container asked for.
    pub config: &'a ContainerConfig,
    /// The image it runs from.
    pub image: &'a Image,
    /// The host; read once per monitor.
    pub facts: &'a Facts,
}

/// An attempt that can be created and started.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The container, for the monitor.
    pub container: ContainerSpec,
    /// Its runtime spec.
    pub spec: Spec,
    /// The opened volumes, which stand for the sources of the spec's mounts.
    pub sources: Vec<Source>,
    /// The records to write.
    pub records: Records,
}

/// The records of an attempt except its status, not written yet: its start reads none of them.
#[derive(Debug)]
pub(crate) struct Records {
    folder: PathBuf,
    record: ContainerRecord,
    spec: Vec<u8>,
}

impl Records {
    /// Writes `container.json` and `config.json`, while the container's process is on its way. Can be done again.
    pub(crate) fn write(&self) -> Result<()> {
        record::write(&self.folder.join("container.json"), &self.record)?;
        record::write_bytes(&self.folder.join("config.json"), &self.spec)
    }

    /// The content of `config.json`.
    pub(crate) fn spec(&self) -> Result<Spec> {
        serde_json::from_slice(&self.spec).map_err(|error| Error::failed(format!("config.json: {error}")))
    }
}

/// Draws the id of a pod or a container: 64 hex digits.
pub fn draw_id() -> Result<String> {
    let mut bytes = [0; 32];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Draws the uid of a pod: a UUID of version 4.
pub fn draw_uid() -> Result<String> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// The end of a name from `generateName`: five characters that spell no word, as Kubernetes draws them.
pub fn draw_suffix() -> Result<String> {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = [0; 5];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect())
}

fn random(bytes: &mut [u8]) -> Result<()> {
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(bytes)).context(|| "/dev/urandom")
}

/// Draws the id of an attempt of a container in the pod `pod`, and makes its directories. Its folder comes
/// first: it leads to everything else made for the attempt, such as its snapshot.
pub(crate) fn begin(host: &Host, pod: &str) -> Result<String> {
    let id = draw_id()?;
    let folder = record::container_dir(host, pod, &id);
    // Make nothing but the last folders: if the pod's own is gone, the pod was deleted meanwhile.
    let containers = folder.parent().map_or(Ok(()), |containers| own::directory(containers, own::PRIVATE));
    let made = containers.and_then(|()| own::directory(&folder, own::PRIVATE));
    made.context(|| format!("mkdir {}", folder.display()))?;
    snapshot::make(host, &id).inspect_err(|_| give_up(host, pod, &id))?;
    Ok(id)
}

/// Undoes [`begin`] and [`prepare`]: the folders hold only podrun's own files so far.
pub(crate) fn give_up(host: &Host, pod: &str, id: &str) {
    // Report the error that led here. Remains go with the pod.
    let _ = forget(host, pod, id);
}

/// The owner of a lease on the image of one container; a pod's id owns the lease on the images of all of them.
pub fn lease_owner(pod: &str, container: &str) -> String {
    format!("{pod}.{container}")
}

/// Removes an attempt, its folder last: it leads to the rest.
pub(crate) fn forget(host: &Host, pod: &str, id: &str) -> Result<()> {
    snapshot::remove(host, id)?;
    let folder = record::container_dir(host, pod, id);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != IoKind::NotFound => {
            Err(Error::from(error).context(format_args!("remove {}", folder.display())))
        }
        _ => Ok(()),
    }
}

/// Makes a container for a front that has no rules: its image leased, its records written and the monitor told. Gives its
/// id; nothing of it runs.
///
/// # Errors
/// The request is invalid; then nothing is left of it. [`ErrorKind::Unsupported`]: a mount needs a descriptor
/// opened for each start, which only a front's rules provide yet.
pub fn create_container(
    host: &Host,
    sandbox: &Sandbox,
    config: &ContainerConfig,
    image: &Image,
    facts: &Facts,
    monitor: &mut Client,
) -> Result<String> {
    let images = ImageStore::open(host)?;
    let id = begin(host, &sandbox.id)?;
    let owner = lease_owner(&sandbox.id, &id);
    let mut make = || {
        images.lease(&owner, &[image])?;
        let rootfs = snapshot::prepared(host, &id, &image.layers)?.mount()?;
        let inputs = Inputs { host, sandbox, config, image, facts };
        let prepared = prepare(&id, &inputs, rootfs.as_fd(), Vec::new())?;
        if let Some(source) = prepared.sources.first() {
            let message = format!("container {:?}: a mount of {}", config.name, source.path.display());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        prepared.records.write()?;
        monitor.create(&prepared.container)
    };
    make().inspect_err(|_| {
        give_up(host, &sandbox.id, &id);
        // The pod's removal tries again.
        let _ = images.release(&owner);
    })?;
    Ok(id)
}

/// Prepares the attempt `id`, for which [`begin`] was called, on the root file system `rootfs`; `host_paths`
/// are its mounts of the host, opened in order ([`volume::Opening`]).
pub(crate) fn prepare(
    id: &str,
    inputs: &Inputs<'_>,
    rootfs: BorrowedFd<'_>,
    host_paths: Vec<Source>,
) -> Result<Prepared> {
    let Inputs { host, sandbox, config, image, facts } = *inputs;
    let folder = record::container_dir(host, &sandbox.id, id);
    let user = bundle::resolve(&config.user, &image.config.user, rootfs)?;
    let Volumes { paths, mut sources, mut held } = open_volumes(inputs, host_paths)?;
    held.extend(held_by_all(id, inputs)?);
    let seccomp_profile = bundle::localhost_profile(host, &config.rights)?;
    let mut spec = bundle::spec(&bundle::Inputs {
        config,
        image: &image.config,
        user: &user,
        hostname: sandbox.hostname.as_ref().unwrap_or(&facts.hostname),
        cgroup: &format!("{}/{id}", sandbox.cgroup),
        volume_sources: &paths.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
        seccomp_profile: seccomp_profile.as_deref(),
        facts,
    })?;
    sources.extend(image_volumes(inputs, rootfs, &mut spec)?);
    let records = records(id, inputs, folder, &spec)?;
    let container = ContainerSpec {
        id: id.to_owned(),
        name: config.name.clone(),
        attempt: config.attempt,
        layers: image.layers.iter().map(ToString::to_string).collect(),
        held_mounts: held,
        log: config.log.clone(),
        stdin: config.process.stdin,
        stdin_once: config.process.stdin_once,
        stop_signal: bundle::stop_signal(image.config.stop_signal.as_deref()),
        pid: config.pid,
        termination_message: config.termination_message.as_ref().map(|message| TerminationMessage {
            file: id.to_owned(),
            fallback_to_logs: message.fallback_to_logs,
        }),
    };
    Ok(Prepared { container, spec, sources, records })
}

/// The result of a container's mounts.
struct Volumes {
    /// A path for each, in order; empty for a volume in memory.
    paths: Vec<PathBuf>,
    /// The sources on disk.
    sources: Vec<Source>,
    /// The sources in memory, whose trees the monitor holds.
    held: Vec<HeldMount>,
}

/// Opens each of the container's mounts that is not in memory and not one of `host_paths`.
fn open_volumes(inputs: &Inputs<'_>, host_paths: Vec<Source>) -> Result<Volumes> {
    let Inputs { host, sandbox, config, .. } = inputs;
    let mut volumes = Volumes { paths: Vec::new(), sources: Vec::new(), held: Vec::new() };
    let mut host_paths = host_paths.into_iter();
    for mount in &config.mounts {
        let source = match &mount.source {
            VolumeSource::Memory { .. } => None,
            VolumeSource::Disk => Some(volume::open(host, &sandbox.id, mount)?),
            VolumeSource::HostPath(_) => Some(host_paths.next().ok_or_else(|| {
                Error::failed(format!("volumeMount {:?}: its hostPath was not opened", mount.volume))
            })?),
        };
        volumes.paths.push(source.as_ref().map_or_else(PathBuf::new, |source| source.path.clone()));
        match source {
            Some(source) => volumes.sources.push(source),
            None => volumes.held.push(HeldMount {
                destination: bundle::mount_point(&mount.destination)?.display().to_string(),
                tree: mount.volume.clone(),
                sub_path: Some(mount.sub_path.clone()).filter(|sub_path| !sub_path.is_empty()),
            }),
        }
    }
    Ok(volumes)
}

/// The mounts that the monitor holds for every container: /dev/shm, the pod's files of /etc and a file for the
/// termination message, unless the container mounts another one there.
fn held_by_all(id: &str, inputs: &Inputs<'_>) -> Result<Vec<HeldMount>> {
    let Inputs { sandbox, config, .. } = inputs;
    let file = |destination: String, name: &str| HeldMount {
        destination,
        tree: HeldMount::FILES.into(),
        sub_path: Some(name.into()),
    };
    let mut held: Vec<_> = FILES.iter().map(|name| file(format!("/etc/{name}"), name)).collect();
    if !sandbox.sharing.host_ipc {
        held.push(HeldMount { destination: SHM.into(), tree: HeldMount::SHM.into(), sub_path: None });
    }
    if let Some(message) = &config.termination_message {
        let destination = bundle::mount_point(&message.path)?;
        held.push(file(destination.display().to_string(), id));
    }
    for mount in &config.mounts {
        let replaced = bundle::mount_point(&mount.destination)?;
        held.retain(|own| Path::new(&own.destination) != replaced);
    }
    Ok(held)
}

/// The directories that the image declares as volumes: made if missing, and writable even on a read-only root.
/// They lie in the container's own layer, so the image's files are in them.
fn image_volumes(inputs: &Inputs<'_>, rootfs: BorrowedFd<'_>, spec: &mut Spec) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in &inputs.image.config.volumes {
        let Ok(destination) = bundle::mount_point(path) else { continue };
        let mounts = spec.mounts_mut().get_or_insert_default();
        if mounts.iter().any(|mount| destination.starts_with(mount.destination())) {
            continue;
        }
        let tree = engine::make_directory(rootfs, &destination.to_string_lossy())
            .context(|| format!("the image's volume {path:?}"))?;
        if inputs.config.read_only_root {
            let options = ["bind", "rprivate", "rw"].map(str::to_owned).to_vec();
            mounts.push(bind(&destination, options));
            sources.push(Source { destination: destination.display().to_string(), tree, path: destination });
        }
    }
    Ok(sources)
}

/// A part of the root, mounted where it is.
fn bind(place: &Path, options: Vec<String>) -> Mount {
    let mount = MountBuilder::default().destination(place).typ("bind").source(place).options(options);
    mount.build().expect("destination is given")
}

fn records(id: &str, inputs: &Inputs<'_>, folder: PathBuf, spec: &Spec) -> Result<Records> {
    let config = inputs.config;
    let record = ContainerRecord {
        version: Version,
        id: id.to_owned(),
        name: config.name.clone(),
        attempt: config.attempt,
        role: config.role,
        image: config.image.clone(),
        image_id: inputs.image.id.to_string(),
        created_at: record::now(),
        log_path: config.log.as_ref().map(|log| log.file(&inputs.host.log_dir)).unwrap_or_default(),
        asked: None,
    };
    let spec = serde_json::to_vec(spec).map_err(|error| Error::failed(format!("config.json: {error}")))?;
    Ok(Records { folder, record, spec })
}

#[cfg(test)]
mod tests;
