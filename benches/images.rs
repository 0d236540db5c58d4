//! What an image costs, beside GNU tar, containerd and podman in the same run: `make bench-images` prints the table.
//!
//! Started by scripts/bench-images.sh as root in namespaces of its own. Everybody unpacks on a file system of its own that
//! was made a moment ago, with cold caches, and the sync of that file system is part of each time.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::bufread::MultiGzDecoder;
use nix::sys::resource::{UsageWho, getrusage};
use runtime::host::Host;
use runtime::image::snapshot;
use runtime::image::{ImageStore, Reference};
use serde_json::Value;

#[path = "measure.rs"]
mod measure;

use measure::{arguments, floor_run, heading, line, middle, timed};

/// Rounds behind each median: of what takes seconds, and of what takes milliseconds.
const ROUNDS: usize = 3;
const SMALL_ROUNDS: usize = 40;
/// A pull's time as a factor of what the others take.
const OF_CONTAINERD: f64 = 0.5;
const OF_PODMAN: f64 = 0.4;
const OF_TAR: f64 = 1.0;
const OF_PULL: f64 = 1.0;
const OF_CURL: f64 = 1.5;
/// Of `floor run`: a list of a thousand images, and a snapshot.
const LIST: f64 = 5.0;
const SNAPSHOT: f64 = 0.15;
/// Microseconds for a reference.
const PARSE: f64 = 1.0;
/// Megabytes that a pull may take in memory.
const MEMORY: f64 = 64.0;
const IMAGES: usize = 1000;
const REGISTRY: &str = "127.0.0.1:5000";

/// A peer's pull.
struct Pulled {
    took: Duration,
    /// The peer and its version.
    by: String,
}

struct Bench {
    podrun: PathBuf,
    floor: PathBuf,
    /// Holds `fresh.ext4`, and where it is mounted, `disk`.
    folder: PathBuf,
    registry: Option<Registry>,
}

fn main() -> Result<()> {
    let ([podrun, floor, folder], part) = arguments(["podrun", "floor", "folder"])?;
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    ensure!(PARTS.iter().any(|name| wanted(name)), "the parts are {}", PARTS.join(", "));
    let mut bench = Bench { podrun, floor, folder, registry: None };
    heading();
    if wanted("pull") {
        bench.decompress()?;
        bench.memory()?;
        KINDS.iter().try_for_each(|image| bench.pulls(image))?;
    }
    if wanted("load") {
        bench.load()?;
    }
    if wanted("small") {
        bench.small()?;
    }
    Ok(())
}

/// The parts of the table, of which one may be asked for.
const PARTS: [&str; 3] = ["pull", "load", "small"];

/// The same image, its layers compressed by gzip and by zstd.
const KINDS: [&str; 2] = ["system", "system-zstd"];
/// The programs that pull, each in the root of the peers.
const PEERS: [(&str, f64); 2] = [("containerd", OF_CONTAINERD), ("podman", OF_PODMAN)];

impl Bench {
    fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// Runs `work` on a new file system with cold caches.
    fn on_fresh_disk<T>(&self, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let (disk, image) = (self.disk(), self.folder.join("disk.ext4"));
        std::fs::create_dir_all(&disk)?;
        timed(Command::new("cp").arg("--sparse=always").arg(self.folder.join("fresh.ext4")).arg(&image))?;
        // Not through the host's page cache: a store is on a disk, and what is written early is to reach it early.
        let device =
            printed(Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&image))?;
        timed(Command::new("mount").arg(&device).arg(&disk))?;
        // It goes with its last user: the mount.
        timed(Command::new("losetup").arg("--detach").arg(&device))?;
        rustix::fs::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "3")?;
        let worked = work(&disk);
        timed(Command::new("umount").arg(&disk))?;
        std::fs::remove_file(&image)?;
        worked
    }

    /// The plain layers for tar: `layer-0.tar` and so on.
    fn decompress(&self) -> Result<()> {
        let layout = Path::new("target/fixtures/system");
        let document = |path: &Path| -> Result<Value> {
            Ok(serde_json::from_str(
                &std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
            )?)
        };
        let blob = |descriptor: &Value| -> Result<PathBuf> {
            Ok(layout.join("blobs").join(descriptor["digest"].as_str().context("digest")?.replace(':', "/")))
        };
        let manifest = document(&blob(&document(&layout.join("index.json"))?["manifests"][0])?)?;
        for (number, layer) in manifest["layers"].as_array().context("layers")?.iter().enumerate() {
            let mut plain = MultiGzDecoder::new(BufReader::new(File::open(blob(layer)?)?));
            let mut file = File::create(self.folder.join(format!("layer-{number}.tar")))?;
            std::io::copy(&mut plain, &mut file)?;
        }
        Ok(())
    }

    /// What a pull takes in memory: the most of all children so far, and so asked before anything else was started.
    fn memory(&mut self) -> Result<()> {
        for image in KINDS {
            self.pull(image)?;
        }
        let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
        let megabytes = f64::from(u32::try_from(kilobytes)?) / 1024.0;
        println!("{:<52}{megabytes:>20.1}{MEMORY:>16.0}", "a pull's memory, gzip or zstd, in MB at most");
        Ok(())
    }

    /// podrun, tar, containerd and podman in turns.
    fn pulls(&mut self, image: &str) -> Result<()> {
        let (mut ours, mut tar) = (Vec::new(), Vec::new());
        let mut peers: Vec<Result<Vec<Pulled>>> = PEERS.iter().map(|_| Ok(Vec::new())).collect();
        for _ in 0..ROUNDS {
            ours.push(self.pull(image)?);
            tar.push(self.untar()?);
            for ((peer, _), times) in PEERS.iter().zip(&mut peers) {
                if let Ok(known) = times {
                    match self.peer(peer, image) {
                        Ok(Some(pulled)) => known.push(pulled),
                        Ok(None) => {}
                        Err(error) => *times = Err(error),
                    }
                }
            }
        }
        let ours = middle(ours);
        line(&format!("pull {image} (tar xf of the plain layers)"), Some(middle(tar)), ours, Some(OF_TAR));
        for ((peer, goal), times) in PEERS.iter().zip(peers) {
            let without = |why: &str| println!("{:<52}{why:>36}", format!("  by {peer}"));
            match times {
                Ok(times) => match times.first() {
                    None => without("not installed"),
                    Some(first) => {
                        let row = format!("  by {}", first.by);
                        line(
                            &row,
                            Some(middle(times.iter().map(|one| one.took).collect())),
                            ours,
                            Some(*goal),
                        );
                    }
                },
                Err(error) => {
                    eprintln!("{error:#}");
                    without("failed");
                }
            }
        }
        Ok(())
    }

    fn pull(&mut self, image: &str) -> Result<Duration> {
        self.serve()?;
        let name = format!("{REGISTRY}/{image}:1");
        self.on_fresh_disk(|disk| self.measured(disk, &["pull", "--quiet", &name]))
    }

    /// A verb of podrun with its store on `disk`, to the disk's sync.
    fn measured(&self, disk: &Path, verb: &[&str]) -> Result<Duration> {
        let start = Instant::now();
        timed(&mut self.podrun(&disk.join("root"), verb))?;
        rustix::fs::syncfs(File::open(disk)?)?;
        Ok(start.elapsed())
    }

    fn podrun(&self, root: &Path, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.podrun);
        command.arg("--root").arg(root).args(verb).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// GNU tar on the layers already decompressed, one after the other, as whoever has no image store would.
    fn untar(&self) -> Result<Duration> {
        self.on_fresh_disk(|disk| {
            let start = Instant::now();
            for layer in 0.. {
                let plain = self.folder.join(format!("layer-{layer}.tar"));
                if !plain.exists() {
                    break;
                }
                timed(Command::new("tar").arg("xf").arg(plain).arg("-C").arg(disk))?;
            }
            rustix::fs::syncfs(File::open(disk)?)?;
            Ok(start.elapsed())
        })
    }

    /// The same pull by a peer; nothing where it is not installed. The script has a registry and a daemon of its own, and
    /// prints nanoseconds and its version.
    fn peer(&mut self, peer: &str, image: &str) -> Result<Option<Pulled>> {
        if !Path::new("target/peers/usr/bin").join(peer).exists() {
            return Ok(None);
        }
        self.registry = None;
        self.on_fresh_disk(|disk| {
            let mut command = Command::new("scripts/in-peers.sh");
            command.args(["scripts/bench-pull.sh", peer, &format!("{REGISTRY}/{image}:1")]);
            let output = command.env("PEERS_STATE", disk.join("peers")).stdin(Stdio::null()).output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(
                output.status.success(),
                "{peer}: {}\n{text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
            let (took, by) = text.trim().split_once(' ').with_context(|| format!("{peer}: {text}"))?;
            let took = Duration::from_nanos(took.parse().with_context(|| format!("{peer}: {text}"))?);
            Ok(Some(Pulled { took, by: by.to_owned() }))
        })
    }

    fn serve(&mut self) -> Result<()> {
        if self.registry.is_none() {
            self.registry = Some(Registry::start()?);
        }
        Ok(())
    }

    /// The archive and the pull of the same image in turns.
    fn load(&mut self) -> Result<()> {
        let (mut pulls, mut loads) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            pulls.push(self.pull(KINDS[0])?);
            let load = ["load", "--quiet", "target/fixtures/system.tar"];
            loads.push(self.on_fresh_disk(|disk| self.measured(disk, &load))?);
        }
        line("load of the archive (pull)", Some(middle(pulls)), middle(loads), Some(OF_PULL));
        Ok(())
    }

    /// What takes milliseconds, with warm caches.
    fn small(&mut self) -> Result<()> {
        self.serve()?;
        self.on_fresh_disk(|disk| {
            let root = disk.join("root");
            let name = format!("{REGISTRY}/busybox:1");
            timed(&mut self.podrun(&root, &["pull", "--quiet", &name]))?;
            let url = format!("http://{REGISTRY}/v2/busybox/manifests/1");
            let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
            let mut curl = Command::new("curl");
            curl.args(["-s", "-I", "-H", accept, &url]).stdout(Stdio::null());
            let (floor, ours) = in_turns(
                || timed(&mut curl),
                || timed(&mut self.podrun(&root, &["pull", "--quiet", &name])),
            )?;
            line("pull of an image that is there (curl -sI)", Some(floor), ours, Some(OF_CURL));
            self.snapshots(&root, &name)?;
            references()?;
            self.thousand(&root)
        })
    }

    /// The snapshot that a container gets: its directories, and the mount.
    fn snapshots(&self, root: &Path, name: &str) -> Result<()> {
        let host = Host { root: root.to_owned(), ..Host::default() };
        let layers = ImageStore::open(&host)?.known(name)?.layers;
        let made = || -> Result<Duration> {
            let start = Instant::now();
            let snapshot = snapshot::prepare(&host, "bench", &layers)?;
            let took = start.elapsed();
            drop(snapshot);
            snapshot::remove(&host, "bench")?;
            Ok(took)
        };
        let (floor, ours) = in_turns(|| self.floor_run(), made)?;
        line("a snapshot (floor: run)", Some(floor), ours, Some(SNAPSHOT));
        let mounted = || -> Result<Duration> {
            let start = Instant::now();
            let mount = snapshot::prepare(&host, "bench", &layers)?.mount()?;
            let took = start.elapsed();
            drop(mount);
            snapshot::remove(&host, "bench")?;
            Ok(took)
        };
        let (floor, ours) = in_turns(|| self.floor_run(), mounted)?;
        line("  and its mount", Some(floor), ours, None);
        Ok(())
    }

    fn floor_run(&self) -> Result<Duration> {
        floor_run(&self.floor, &self.folder.join("rootfs"))
    }

    fn thousand(&self, root: &Path) -> Result<()> {
        for number in 1..IMAGES {
            let mut import =
                self.podrun(root, &["image", "import", "--quiet", "-", &format!("many:{number}")]);
            let mut child =
                import.arg("--change").arg(format!("ENV N={number}")).stdin(Stdio::piped()).spawn()?;
            // An archive without an entry: two blocks of zeroes.
            child.stdin.take().context("stdin")?.write_all(&[0; 1024])?;
            ensure!(child.wait()?.success(), "podrun image import failed");
        }
        let (floor, ours) = in_turns(|| self.floor_run(), || timed(&mut self.podrun(root, &["images"])))?;
        line(&format!("images, with {IMAGES} of them (floor: run)"), Some(floor), ours, Some(LIST));
        Ok(())
    }
}

/// What a command prints, which has to succeed.
fn printed(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// How long a reference takes to be read, in microseconds.
fn references() -> Result<()> {
    const TIMES: u32 = 100_000;
    let text = "registry.example.com:5000/team/project/application:v1.27.3";
    let start = Instant::now();
    for _ in 0..TIMES {
        std::hint::black_box(std::hint::black_box(text).parse::<Reference>()?);
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES);
    println!("{:<52}{each:>20.2}{PARSE:>16.1}", "a reference is parsed, in microseconds");
    Ok(())
}

/// Medians of two things in turns.
fn in_turns(
    mut one: impl FnMut() -> Result<Duration>,
    mut other: impl FnMut() -> Result<Duration>,
) -> Result<(Duration, Duration)> {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for _ in 0..SMALL_ROUNDS {
        ones.push(one()?);
        others.push(other()?);
    }
    Ok((middle(ones), middle(others)))
}

/// Debian's docker-registry with the images, until this goes.
struct Registry(Child);

impl Registry {
    /// Starts it, and waits until it answers.
    fn start() -> Result<Self> {
        let child = Command::new("scripts/bench-registry.sh").stdin(Stdio::null()).spawn()?;
        let this = Self(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(REGISTRY).is_err() {
            ensure!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::yield_now();
        }
        Ok(this)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
