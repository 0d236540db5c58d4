//! A host of a test's own: net, mnt, pid, ipc and uts namespaces, a private /run, and state trees and a
//! cgroup that no other test has. Tests therefore run side by side, and each sees what it leaves behind.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::deadline::wait_for;
use crate::fixtures;
use crate::kernel::WITHOUT;
use crate::namespaces::FIRST;
use crate::pods::ensure_kubernetes_pod;
use crate::run::{Outcome, Running};

/// A test's host. Dropping it ends whatever still runs there.
#[derive(Debug)]
pub struct Host {
    first: Child,
    init: u32,
    folder: PathBuf,
    cgroup_parent: String,
}

impl Host {
    /// A host whose image store holds `images` (names of fixtures).
    pub fn with_images(images: &[&str]) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let folder = fixtures::work_folder().join(&name);
        for tree in ["root", "state", "log", "files"] {
            std::fs::create_dir_all(folder.join(tree))?;
        }
        // The bridge goes at once, so that the leak check need not wait for it.
        std::fs::write(folder.join("config.yaml"), "network:\n  idleSeconds: 0\n")?;
        let mut first = Command::new(std::env::current_exe()?)
            .arg(FIRST)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the test's host")?;
        let mut line = String::new();
        let stdout = first.stdout.take().context("stdout was asked to be a pipe")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let init = line.trim().parse().context("the test's host did not come up")?;
        let host = Self { first, init, folder, cgroup_parent: format!("/podrun-test-{name}") };
        for image in images {
            fixtures::preload(image, &host)?;
        }
        Ok(host)
    }

    /// The file or folder `name` of this host, for manifests, hostPaths and the like.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join("files").join(name)
    }

    /// Writes a file of this host and gives its path.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.file(name);
        std::fs::write(&path, text).with_context(|| format!("`{}`", path.display()))?;
        Ok(path)
    }

    /// `--root`.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// `--state-dir`.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// `--log-dir`.
    pub fn log_dir(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// `--config`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("config.yaml")
    }

    /// `--cgroup-parent`.
    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// This host's /proc, seen from the machine.
    pub fn proc(&self) -> PathBuf {
        self.path("/proc")
    }

    /// An absolute path of this host, seen from the machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// `program` with `arguments`, to be started inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        // A suite that a script has put into the background ignores Ctrl-C, and so would all that it starts.
        let mut command = Command::new("env");
        command.args(["--default-signal", "nsenter"]);
        command.args(["--net", "--mount", "--pid", "--ipc", "--uts", "--target", &self.init.to_string()]);
        // Entering a mount namespace leaves the working directory behind.
        command.arg(format!("--wd={}", self.folder.join("files").display()));
        command.arg("--").arg(program).args(arguments);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs `program` inside to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Outcome> {
        let shown = format!("{program} {}", arguments.join(" "));
        Running::start(self.command(program, arguments), shown, None)?.wait()
    }

    /// Starts `program` inside and gives it back running.
    pub fn start_program(&self, program: &Path, arguments: &[&str]) -> Result<Running> {
        let shown = format!("{} {}", program.display(), arguments.join(" "));
        Running::start(self.command(program, arguments), shown, None)
    }

    /// podrun with this host's trees and `arguments`.
    pub fn podrun_command(&self, arguments: &[&str]) -> Result<Command> {
        Ok(self.with_trees(self.command(binary_under_test()?, arguments)))
    }

    /// The same command, told of this host's trees: by the environment, so that a test can give a flag of its own, which
    /// stands above it.
    pub(crate) fn with_trees(&self, mut command: Command) -> Command {
        command.env("PODRUN_ROOT", self.root()).env("PODRUN_STATE_DIR", self.state_dir());
        command.env("PODRUN_LOG_DIR", self.log_dir()).env("PODRUN_CONFIG", self.config_file());
        command.env("PODRUN_CGROUP_PARENT", &self.cgroup_parent);
        command
    }

    /// Runs podrun to its end as on a kernel that lacks `calls` (with commas between).
    pub fn podrun_without(&self, calls: &str, arguments: &[&str], stdin: &[u8]) -> Result<Outcome> {
        let podrun = binary_under_test()?;
        let lacking = [WITHOUT, calls, podrun.to_str().context("a path in UTF-8")?];
        let command = self.command(std::env::current_exe()?, &[&lacking, arguments].concat());
        let shown = format!("{}, without {calls}", shown(arguments));
        Running::start(self.with_trees(command), shown, Some(stdin))?.wait()
    }

    /// A script of bash inside, in which `$podrun` is podrun and the environment names this host's trees.
    pub fn script_command(&self, script: &str) -> Result<Command> {
        let mut command = self.with_trees(self.command("bash", &["-euo", "pipefail", "-c", script]));
        command.env("podrun", binary_under_test()?);
        Ok(command)
    }

    /// Runs a script to its end.
    pub fn script(&self, script: &str) -> Result<Outcome> {
        self.start_script(script)?.wait()
    }

    /// Runs a script to its end in the machine's own namespaces, with this host's trees.
    pub fn outside(&self, script: &str) -> Result<Outcome> {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.folder.join("files"));
        command.env("podrun", binary_under_test()?);
        Running::start(command, script.to_owned(), None)?.wait()
    }

    /// Starts a script and gives it back running.
    pub fn start_script(&self, script: &str) -> Result<Running> {
        Running::start(self.script_command(script)?, script.to_owned(), None)
    }

    /// Starts podrun and gives it back running.
    pub fn start(&self, arguments: &[&str]) -> Result<Running> {
        Running::start(self.podrun_command(arguments)?, shown(arguments), None)
    }

    /// Runs podrun to its end.
    pub fn podrun(&self, arguments: &[&str]) -> Result<Outcome> {
        self.start(arguments)?.wait()
    }

    /// Runs podrun with `stdin` to its end.
    pub fn podrun_with_stdin(&self, arguments: &[&str], stdin: &[u8]) -> Result<Outcome> {
        Running::start(self.podrun_command(arguments)?, shown(arguments), Some(stdin))?.wait()
    }

    /// Creates the pod of `manifest` (JSON), which has to be Kubernetes' own, and gives what podrun printed.
    pub fn create(&self, manifest: &serde_json::Value) -> Result<String> {
        ensure_kubernetes_pod(manifest).context("the test's manifest")?;
        self.podrun_with_stdin(&["create", "-f", "-"], manifest.to_string().as_bytes())?.ok()
    }

    /// A pod as `get -o json` shows it, which has to be Kubernetes' own.
    pub fn pod(&self, name: &str) -> Result<serde_json::Value> {
        let text = self.podrun(&["get", "pod", name, "-o", "json"])?.ok()?;
        let pod = serde_json::from_str(&text).with_context(|| format!("`get -o json` printed: {text}"))?;
        ensure_kubernetes_pod(&pod).context("`get -o json`")?;
        Ok(pod)
    }

    /// Waits until `holds` says yes to the pod.
    pub fn wait_for_pod(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<serde_json::Value> {
        wait_for(&format!("pod {name}: {what}"), || {
            let pod = self.pod(name)?;
            ensure!(holds(&pod), "{:#}", pod["status"]);
            Ok(pod)
        })
    }

    /// Deletes a pod at once.
    pub fn delete(&self, name: &str) -> Result<String> {
        self.podrun(&["delete", "pod", name, "--grace-period=0", "--force"])?.ok()
    }

    /// Every cgroup hierarchy's folder, each with the place of this host's cgroup in it.
    pub fn cgroup_folders(&self) -> Result<Vec<PathBuf>> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let fields = mounts.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup").then(|| before.split(' ').nth(4))?
        });
        Ok(fields.map(|folder| Path::new(folder).join(self.cgroup_parent.trim_start_matches('/'))).collect())
    }

    fn remove_cgroups(&self) -> Result<()> {
        for folder in self.cgroup_folders()? {
            remove_cgroup(&folder);
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its stdin ends, pid 1 goes, and the kernel ends the rest before it can be waited for.
        drop(self.first.stdin.take());
        self.first.wait().ok();
        self.remove_cgroups().ok();
        if std::env::var_os("PODRUN_TESTS_KEEP").is_none() {
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }
}

/// Removes a cgroup with all below it, as far as the kernel lets it go.
fn remove_cgroup(folder: &Path) {
    if let Ok(entries) = std::fs::read_dir(folder) {
        entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .for_each(|entry| remove_cgroup(&entry.path()));
        std::fs::remove_dir(folder).ok();
    }
}

fn shown(arguments: &[&str]) -> String {
    format!("podrun {}", arguments.join(" "))
}

/// The podrun to test: `PODRUN_UNDER_TEST`, else the one that cargo built beside the tests, else target/podrun.
pub fn binary_under_test() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PODRUN_UNDER_TEST") {
        return std::fs::canonicalize(&path).with_context(|| format!("PODRUN_UNDER_TEST={path:?}"));
    }
    let own = std::env::current_exe()?;
    let beside = own.parent().and_then(Path::parent).map(|folder| folder.join("podrun"));
    let candidates = beside.into_iter().chain([fixtures::target_folder().join("podrun")]);
    let found = candidates.into_iter().find(|path| path.exists());
    found.context("no podrun to test: `make build`, or set PODRUN_UNDER_TEST")
}
