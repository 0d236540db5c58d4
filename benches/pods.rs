//! What a pod costs, beside the kernel's floor in the same run: `make bench` prints the table.
//!
//! Started by scripts/bench.sh as root in namespaces of its own, so that nothing of it reaches the host.
//! Rounds of floor and podrun alternate, and medians are compared: a loaded machine slows both.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use beside::{beside, other};
use measure::{arguments, floor_run, heading, line, middle, ms, ratio, timed};

#[path = "beside.rs"]
mod beside;
#[path = "measure.rs"]
mod measure;
#[path = "peers.rs"]
mod peers;

/// Rounds behind each median.
const ROUNDS: usize = 40;
/// What the goals of the rows allow, as factors of the floor.
const GOAL: f64 = 2.0;
/// How many times faster than the peers a pod is to be.
const THAN_PODMAN: f64 = 30.0;
const THAN_CONTAINERD: f64 = 15.0;

struct Bench {
    podrun: PathBuf,
    /// Another podrun, on the same store.
    beside: Option<PathBuf>,
    floor: PathBuf,
    /// A folder on a disk that overlayfs can use.
    folder: PathBuf,
    rootfs: PathBuf,
    next: usize,
}

fn main() -> Result<()> {
    let ([podrun, floor, folder], most) = arguments(["podrun", "floor", "folder"])?;
    let most = most.and_then(|number| number.parse().ok()).unwrap_or(1000);
    let rootfs = folder.join("rootfs");
    let mut bench = Bench { podrun, beside: beside(), floor, folder, rootfs, next: 0 };
    bench.rows(most)
}

impl Bench {
    fn rows(&mut self, most: usize) -> Result<()> {
        heading();
        let first = self.create("keeper")?;
        line("create of the first pod, which makes the bridge", None, first, None);
        let one = self.up_and_down()?;
        line("create, one cached container", Some(one.floor_up), one.create, Some(GOAL));
        line("delete --grace-period=0 --force", Some(one.floor_down), one.delete, Some(GOAL));
        if let Some((create, delete)) = one.other {
            other("  create by the other podrun", create, one.create, 1.0);
            other("  delete by the other podrun", delete, one.delete, 1.0);
        }
        self.beside_peers(&one)?;
        let (floor, exec) = self.beside_run(&["exec", "keeper", "--", "true"])?;
        line("exec POD -- true (floor: run)", Some(floor), exec, Some(GOAL));
        let (floor, podrun) = self.at_once(16)?;
        line("16 creates at once, all of them", Some(floor), podrun, Some(GOAL));
        let (mut here, mut floors) = (1, Vec::new());
        for target in [200, 1000].into_iter().filter(|target| *target <= most) {
            for number in here..target {
                self.create(&format!("many-{number}"))?;
                // The floor's crowd is as big, on a bridge of its own: ports and namespaces slow both.
                floors.push(self.floor_up()?.0);
            }
            here = target;
            let with = self.up_and_down()?;
            line(&format!("create with {target} pods up"), Some(with.floor_up), with.create, None);
            let slowing = ratio(with.create, one.create) / ratio(with.floor_up, one.floor_up);
            println!(
                "{:<52}{:>36.2}{:>8.1}",
                format!("  its slowing beside the floor's own, {target} up"),
                slowing,
                1.3
            );
            if target == 200 {
                let (floor, list) = self.beside_run(&["get", "pods"])?;
                line("get pods with 200 pods (floor: run)", Some(floor), list, Some(4.0));
                println!(
                    "{:<52}{:>28.2}{:>16.1}",
                    "a monitor's memory, PSS in MB, mean of 200",
                    self.memory()?,
                    0.6
                );
            }
        }
        for folder in &floors {
            self.floor_down(folder)?;
        }
        self.podrun(&["delete", "pods", "--all", "--grace-period=0", "--force"])?;
        self.create("last")?;
        let last = self.delete("last")?;
        line("delete of the last pod", None, last, None);
        Ok(())
    }

    fn podrun(&self, arguments: &[&str]) -> Result<Duration> {
        Self::run(&self.podrun, arguments)
    }

    /// Runs a podrun to its end.
    fn run(program: &Path, arguments: &[&str]) -> Result<Duration> {
        let mut command = Command::new(program);
        // What a forced delete warns of is no part of the table.
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        timed(&mut command)
    }

    fn manifest(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(format!("{name}.json"));
        let container =
            json!({ "name": "main", "image": "localhost/podrun/busybox:1", "command": ["sleep", "1000"] });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": { "containers": [container] },
        });
        std::fs::write(&path, pod.to_string())?;
        Ok(path)
    }

    fn create(&self, name: &str) -> Result<Duration> {
        self.create_by(&self.podrun, name)
    }

    fn create_by(&self, program: &Path, name: &str) -> Result<Duration> {
        let manifest = self.manifest(name)?;
        Self::run(program, &["create", &manifest.to_string_lossy()])
    }

    fn delete(&self, name: &str) -> Result<Duration> {
        Self::delete_by(&self.podrun, name)
    }

    fn delete_by(program: &Path, name: &str) -> Result<Duration> {
        Self::run(program, &["delete", "pod", name, "--grace-period=0", "--force"])
    }

    fn floor_up(&mut self) -> Result<(PathBuf, Duration)> {
        self.next += 1;
        let folder = self.folder.join(format!("floor-{}", self.next));
        let mut command = Command::new(&self.floor);
        command.arg("up").arg(&self.rootfs).arg(&folder).arg("floor0");
        Ok((folder, timed(&mut command)?))
    }

    fn floor_down(&self, folder: &Path) -> Result<Duration> {
        timed(Command::new(&self.floor).arg("down").arg(folder))
    }

    /// Floor and podrun in turns, each from nothing to a pod and back.
    fn up_and_down(&mut self) -> Result<UpAndDown> {
        let mut all: [Vec<Duration>; 4] = Default::default();
        let mut others: [Vec<Duration>; 2] = Default::default();
        for _ in 0..ROUNDS {
            let (folder, up) = self.floor_up()?;
            all[0].push(up);
            all[1].push(self.floor_down(&folder)?);
            all[2].push(self.create("one")?);
            all[3].push(self.delete("one")?);
            if let Some(program) = &self.beside {
                others[0].push(self.create_by(program, "one")?);
                others[1].push(Self::delete_by(program, "one")?);
            }
        }
        let [floor_up, floor_down, create, delete] = all.map(middle);
        let other = self.beside.as_ref().map(|_| others.map(middle).into());
        Ok(UpAndDown { floor_up, floor_down, create, delete, other })
    }

    /// Today's podman and containerd, and how many times faster podrun is. One that fails here spoils no other row.
    fn beside_peers(&self, one: &UpAndDown) -> Result<()> {
        let podman = peers::podman(&self.manifest("one")?);
        faster("podman: kube play", "podman: pod rm -f -t 0", &podman, one, THAN_PODMAN);
        let containerd = peers::containerd(&self.folder.join("critest"));
        let (up, down) = ("containerd: pod, create and start by CRI", "containerd: stop and remove by CRI");
        faster(up, down, &containerd, one, THAN_CONTAINERD);
        Ok(())
    }

    /// `floor run` and a verb in turns.
    fn beside_run(&self, verb: &[&str]) -> Result<(Duration, Duration)> {
        let mut all: [Vec<Duration>; 2] = Default::default();
        for _ in 0..ROUNDS {
            all[0].push(floor_run(&self.floor, &self.rootfs)?);
            all[1].push(self.podrun(verb)?);
        }
        let [floor, podrun] = all.map(middle);
        Ok((floor, podrun))
    }

    /// From the first start to the last end of `count` at once.
    fn at_once(&mut self, count: usize) -> Result<(Duration, Duration)> {
        let (mut floors, mut creates) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let folders: Vec<PathBuf> =
                (0..count).map(|number| self.folder.join(format!("at-once-{number}"))).collect();
            let names: Vec<String> = (0..count).map(|number| format!("at-once-{number}")).collect();
            let manifests: Vec<PathBuf> =
                names.iter().map(|name| self.manifest(name)).collect::<Result<_>>()?;
            floors.push(all_at_once(folders.iter().map(|folder| {
                let mut command = Command::new(&self.floor);
                command.arg("up").arg(&self.rootfs).arg(folder).arg("floor0");
                command
            }))?);
            for folder in &folders {
                self.floor_down(folder)?;
            }
            creates.push(all_at_once(manifests.iter().map(|manifest| {
                let mut command = Command::new(&self.podrun);
                command.arg("create").arg(manifest).stdout(Stdio::null());
                command
            }))?);
            for name in &names {
                self.delete(name)?;
            }
        }
        Ok((middle(floors), middle(creates)))
    }

    /// Megabytes of PSS, the mean over all monitors.
    fn memory(&self) -> Result<f64> {
        let (mut kilobytes, mut count) = (0_u32, 0_u32);
        for entry in std::fs::read_dir("/proc")? {
            let folder = entry?.path();
            let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
            if !command.split(|byte| *byte == 0).any(|word| word == b"monitor") {
                continue;
            }
            let rollup = std::fs::read_to_string(folder.join("smaps_rollup"))?;
            let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("Pss")?;
            kilobytes += pss.trim().trim_end_matches(" kB").parse::<u32>()?;
            count += 1;
        }
        ensure!(count > 0, "no monitor runs");
        Ok(f64::from(kilobytes) / 1024.0 / f64::from(count))
    }
}

struct UpAndDown {
    floor_up: Duration,
    floor_down: Duration,
    create: Duration,
    delete: Duration,
    /// By the other podrun.
    other: Option<(Duration, Duration)>,
}

fn all_at_once(commands: impl Iterator<Item = Command>) -> Result<Duration> {
    let start = Instant::now();
    let children = commands.map(|mut command| command.spawn()).collect::<std::io::Result<Vec<_>>>()?;
    for mut child in children {
        ensure!(child.wait()?.success(), "one of those started at once failed");
    }
    Ok(start.elapsed())
}

/// A peer's two rows: its time stands where the floor's does, and the ratio says how many times faster podrun is.
fn faster(up: &str, down: &str, peer: &Result<Option<peers::UpAndDown>>, one: &UpAndDown, goal: f64) {
    let why = match peer {
        Ok(Some(peer)) => {
            for (row, theirs, ours) in [(up, peer.up, one.create), (down, peer.down, one.delete)] {
                let times = ratio(theirs, ours);
                println!("{row:<52}{:>10}{:>10}{times:>7.1}x{goal:>7.0}x", ms(theirs), ms(ours));
            }
            return;
        }
        Ok(None) => "not installed",
        Err(error) => {
            eprintln!("{error:#}");
            "failed"
        }
    };
    for row in [up, down] {
        println!("{row:<52}{why:>36}");
    }
}
