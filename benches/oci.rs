//! A container by `podrun-oci`, beside the kernel's floor and the OCI runtimes that are installed: the same bundle, in
//! turns. `make bench-oci` prints the table.
//!
//! Started by scripts/bench-oci.sh as root in namespaces of its own, in the root of the peers if that is there. The config
//! is `podrun oci spec`'s with the filter of a pod's container, which is kept compiled.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

#[path = "beside.rs"]
mod beside;
#[path = "measure.rs"]
mod measure;

use beside::{beside, other};
use measure::{arguments, floor_run, heading, line, middle, timed};

/// Rounds behind each median.
const ROUNDS: usize = 60;
/// `run` may take so many times what the floor takes.
const GOAL: f64 = 1.5;
/// How many times faster than crun, and than runc, a container is to be.
const THAN_CRUN: f64 = 2.0;
const THAN_RUNC: f64 = 3.0;

/// What is timed of a runtime.
#[derive(Clone, Copy)]
enum Row {
    Run,
    Exec,
    Life,
}

impl Row {
    const ALL: [Self; 3] = [Self::Run, Self::Exec, Self::Life];

    fn name(self) -> &'static str {
        match self {
            Self::Run => "run of true, from a bundle",
            Self::Exec => "exec of true",
            Self::Life => "create, start and delete",
        }
    }
}

struct Runtime {
    name: String,
    program: PathBuf,
    bundle: PathBuf,
    root: PathBuf,
}

struct Bench {
    podrun: PathBuf,
    floor: PathBuf,
    rootfs: PathBuf,
    /// On a tmpfs, as the places are where runtimes keep their state.
    folder: PathBuf,
}

fn main() -> Result<()> {
    let ([podrun, floor, rootfs, folder], _) = arguments(["podrun", "floor", "rootfs", "folder"])?;
    heading();
    Bench { podrun, floor, rootfs, folder }.rows()
}

impl Bench {
    fn rows(&self) -> Result<()> {
        let bundle = self.folder.join("bundle");
        self.bundle(&bundle)?;
        let ours = Runtime::new("podrun-oci", self.podrun.clone(), &bundle);
        ours.up()?;
        let mut others = Vec::new();
        if let Some(program) = beside() {
            let other = Runtime::new("the other podrun", program, &bundle);
            other.up()?;
            others.push((other, 1.0));
        }
        for (name, goal) in [("crun", THAN_CRUN), ("runc", THAN_RUNC)] {
            let places = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(name));
            let Some(program) = places.into_iter().find(|place| place.exists()) else {
                println!("{name:<52}{:>36}", "not installed");
                continue;
            };
            println!("{name}: {}", version(&program)?);
            let other = Runtime::new(name, program, &bundle);
            match other.up() {
                Ok(()) => others.push((other, goal)),
                // crun works on no hybrid host.
                Err(error) => println!("{name:<52}{:>36}", format!("not timed: {error:#}")),
            }
        }
        for row in Row::ALL {
            let (mut floors, mut own) = (Vec::new(), Vec::new());
            let mut theirs: Vec<Vec<Duration>> = others.iter().map(|_| Vec::new()).collect();
            for _ in 0..ROUNDS {
                floors.push(floor_run(&self.floor, &self.rootfs)?);
                own.push(ours.time(row)?);
                for ((other, _), times) in others.iter().zip(&mut theirs) {
                    times.push(other.time(row)?);
                }
            }
            let (floor, own) = (middle(floors), middle(own));
            let goal = matches!(row, Row::Run).then_some(GOAL);
            line(&format!("{} (floor: run)", row.name()), Some(floor), own, goal);
            for ((runtime, goal), times) in others.iter().zip(theirs) {
                other(&format!("  by {}", runtime.name), middle(times), own, *goal);
            }
        }
        ours.down()?;
        others.iter().try_for_each(|(other, _)| other.down())
    }

    fn podrun(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.podrun);
        for (variable, folder) in
            [("PODRUN_ROOT", "root"), ("PODRUN_STATE_DIR", "state"), ("PODRUN_LOG_DIR", "log")]
        {
            command.env(variable, self.folder.join(folder));
        }
        command.env("PODRUN_CGROUP_PARENT", "/podrun-bench-pod").args(arguments);
        // What a forced delete warns of is no part of the table.
        timed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())).map(drop)
    }

    fn bundle(&self, bundle: &Path) -> Result<()> {
        std::fs::create_dir_all(bundle)?;
        self.podrun(&["oci", "spec", "--bundle", &bundle.to_string_lossy()])?;
        let file = bundle.join("config.json");
        let mut spec: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        spec["root"]["path"] = json!(self.rootfs);
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["/bin/true"]);
        spec["linux"]["cgroupsPath"] = json!("/podrun-bench/oci");
        spec["linux"]["seccomp"] = self.filter()?;
        Ok(std::fs::write(file, spec.to_string())?)
    }

    /// The filter that a pod's container gets.
    fn filter(&self) -> Result<Value> {
        let image = "localhost/podrun/busybox:1";
        self.podrun(&["load", "--quiet", "target/fixtures/busybox.tar"])?;
        let container = json!({ "name": "main", "image": image, "command": ["sleep", "1000"] });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "filtered" },
            "spec": { "hostNetwork": true, "containers": [container] },
        });
        let manifest = self.folder.join("filtered.json");
        std::fs::write(&manifest, pod.to_string())?;
        self.podrun(&["create", &manifest.to_string_lossy()])?;
        let filter = self.filter_of_pod();
        self.podrun(&["delete", "pod", "filtered", "--force", "--grace-period=0"])?;
        filter
    }

    fn filter_of_pod(&self) -> Result<Value> {
        for pod in std::fs::read_dir(self.folder.join("root/pods"))? {
            for container in std::fs::read_dir(pod?.path().join("containers"))? {
                let text = std::fs::read_to_string(container?.path().join("config.json"))?;
                let mut spec: Value = serde_json::from_str(&text)?;
                if spec["linux"]["seccomp"].is_object() {
                    return Ok(spec["linux"]["seccomp"].take());
                }
            }
        }
        anyhow::bail!("the pod has no filter")
    }
}

/// The first line of what a runtime says of itself.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().next().unwrap_or_default().to_owned())
}

impl Runtime {
    fn new(name: &str, program: PathBuf, bundle: &Path) -> Self {
        // On a tmpfs, as each one's own place for its state is.
        let root = bundle.with_file_name("states").join(name);
        Self { name: name.to_owned(), program, bundle: bundle.to_owned(), root }
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // podrun is an OCI runtime by this name; others do not look at theirs.
        command.arg0("podrun-oci");
        command.arg("--root").arg(&self.root).args(verb);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn bundled(&self, verb: &str, id: &str) -> Command {
        self.command(&[verb, "--bundle", &self.bundle.to_string_lossy(), id])
    }

    /// A container that stays, for exec.
    fn up(&self) -> Result<()> {
        std::fs::create_dir_all(&self.root)?;
        let file = self.bundle.join("config.json");
        let text = std::fs::read_to_string(&file)?;
        let mut spec: Value = serde_json::from_str(&text)?;
        spec["process"]["args"] = json!(["/bin/sleep", "1000"]);
        let name = self.name.replace(' ', "-");
        spec["linux"]["cgroupsPath"] = json!(format!("/podrun-bench/stays-{name}"));
        std::fs::write(&file, spec.to_string())?;
        // No pipe: the container's process would keep it open.
        let made = timed(&mut self.bundled("create", "stays"));
        std::fs::write(&file, text)?;
        made?;
        timed(&mut self.command(&["start", "stays"])).map(drop)
    }

    fn down(&self) -> Result<()> {
        timed(&mut self.command(&["delete", "--force", "stays"])).map(drop)
    }

    fn time(&self, row: Row) -> Result<Duration> {
        match row {
            Row::Run => timed(&mut self.bundled("run", "one")),
            Row::Exec => timed(&mut self.command(&["exec", "stays", "/bin/true"])),
            Row::Life => {
                let start = Instant::now();
                timed(&mut self.bundled("create", "one"))?;
                timed(&mut self.command(&["start", "one"]))?;
                timed(&mut self.command(&["delete", "--force", "one"]))?;
                Ok(start.elapsed())
            }
        }
    }
}
