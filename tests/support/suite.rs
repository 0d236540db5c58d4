//! The list of tests, and what happens around each: a host of its own before, the leak check after.

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};
use runtime::cgroup::Layout;

use crate::fixtures;
use crate::footprint::Footprint;
use crate::host::Host;
use crate::standstill;

/// The tests of this program. Their names are sentences.
#[derive(Default)]
pub struct Suite(Vec<Trial>);

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Suite of {} tests", self.0.len())
    }
}

impl Suite {
    /// A test that needs neither root nor a host.
    pub fn plain(&mut self, name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) {
        self.0.push(Trial::test(name.replace(' ', "_"), move || test().map_err(failed)));
    }

    /// A test on a host of its own, whose store holds `images`. After it the host must be as before.
    pub fn on_host(
        &mut self,
        name: &str,
        images: &'static [&'static str],
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        self.add(name, images, || None, test);
    }

    /// The same, ignored where the tool that `make test` unpacks beside the fixtures is not there.
    pub fn on_host_with_tool(
        &mut self,
        name: &str,
        tool: &'static str,
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        self.add(name, &[], move || fixtures::lacks(tool), test);
    }

    /// The same, ignored where that big image, or the tool, is not there.
    pub fn on_host_with_big(
        &mut self,
        name: &str,
        fixture: &'static str,
        tool: Option<&'static str>,
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        let lacks = move || match fixtures::path(fixture) {
            Ok(_) => tool.and_then(fixtures::lacks),
            Err(_) => {
                Some(format!("needs the image `{fixture}`: `make test-{fixture}` makes it and runs this"))
            }
        };
        self.add(name, &[], lacks, test);
    }

    /// The same with `images` in the host's store.
    pub fn on_host_with_tool_and_images(
        &mut self,
        name: &str,
        tool: &'static str,
        images: &'static [&'static str],
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        self.add(name, images, move || fixtures::lacks(tool), test);
    }

    /// The same, ignored where no cgroup has `controller`.
    pub fn on_host_with_controller(
        &mut self,
        name: &str,
        controller: &'static str,
        images: &'static [&'static str],
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        self.add(name, images, move || lacks_controller(controller), test);
    }

    /// The same, ignored where a cgroup has `controller`.
    pub fn on_host_without_controller(
        &mut self,
        name: &str,
        controller: &'static str,
        images: &'static [&'static str],
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        let lacks = move || {
            let carries = Layout::detect().map_or(true, |layout| layout.carries(controller));
            carries
                .then(|| format!("needs cgroups without the controller {controller}: `make test-v2` runs it"))
        };
        self.add(name, images, lacks, test);
    }

    /// The same, ignored where no resctrl is mounted.
    pub fn on_host_with_resctrl(
        &mut self,
        name: &str,
        images: &'static [&'static str],
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        let lacks = || {
            let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
            let mounted = mounts.lines().any(|line| line.split(' ').nth(2) == Some("resctrl"));
            (!mounted).then(|| {
                "needs a processor that can divide its caches, and resctrl mounted: mount -t resctrl resctrl /sys/fs/resctrl"
                    .to_owned()
            })
        };
        self.add(name, images, lacks, test);
    }

    /// The same, ignored where no file system can be made that stands still.
    pub fn on_host_with_fuse(
        &mut self,
        name: &str,
        images: &'static [&'static str],
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        self.add(name, images, standstill::lacks, test);
    }

    /// A test on a host of its own that works with the machine's systemd; ignored where that is not the init.
    pub fn on_systemd(
        &mut self,
        name: &str,
        images: &'static [&'static str],
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        let lacks = || {
            let booted = std::path::Path::new("/run/systemd/system").is_dir();
            (!booted).then(|| "needs systemd as the init: `make test-vm` runs it".to_owned())
        };
        self.add(name, images, lacks, test);
    }

    /// A test in the root that `make peers` makes, which has a host of its own; ignored where there is none.
    pub fn in_peers(&mut self, name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) {
        let run = move || -> Result<Completion> {
            if !nix::unistd::geteuid().is_root() {
                return Ok(Completion::ignored_with("needs root"));
            }
            if !fixtures::target_folder().join("peers/usr/bin/podman").exists() {
                return Ok(Completion::ignored_with("needs `make peers`: `make test-clients` runs it"));
            }
            // podman limits the number of processes, containerd shares processors out, whoever asks.
            if let Some(reason) = ["pids", "cpu"].into_iter().find_map(lacks_controller) {
                return Ok(Completion::ignored_with(reason));
            }
            test().map(|()| Completion::Completed)
        };
        self.0.push(Trial::ignorable_test(name.replace(' ', "_"), move || run().map_err(failed)));
    }

    fn add(
        &mut self,
        name: &str,
        images: &'static [&'static str],
        lacks: impl FnOnce() -> Option<String> + Send + 'static,
        test: impl FnOnce(&Host) -> Result<()> + Send + 'static,
    ) {
        let run = move || -> Result<Completion> {
            if let Some(reason) = reason_not_to_run() {
                return Ok(Completion::ignored_with(reason));
            }
            if let Some(reason) = lacks() {
                return Ok(Completion::ignored_with(reason));
            }
            let host = Host::with_images(images)?;
            let before = Footprint::of(&host).context("before the test")?;
            test(&host)?;
            before.wait_until_restored(&host)?;
            Ok(Completion::Completed)
        };
        self.0.push(Trial::ignorable_test(name.replace(' ', "_"), move || run().map_err(failed)));
    }

    /// Runs what the command line asks for.
    pub fn run(self) -> Conclusion {
        let conclusion = libtest_mimic::run(&Arguments::from_args(), self.0);
        fixtures::remove_stores();
        conclusion
    }
}

/// Why a test that needs `controller` cannot run, if no cgroup has it.
fn lacks_controller(controller: &'static str) -> Option<String> {
    let carries = Layout::detect().is_ok_and(|layout| layout.carries(controller));
    (!carries).then(|| format!("needs the cgroup controller {controller}"))
}

/// Why no host can be made here, if so.
fn reason_not_to_run() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".into());
    }
    for program in ["ip", "nft", "nsenter", "ss"] {
        let path = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        if !path.iter().any(|folder| std::path::Path::new(folder).join(program).exists()) {
            return Some(format!("needs `{program}`"));
        }
    }
    None
}

fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
