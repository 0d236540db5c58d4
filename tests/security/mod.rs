//! Attacks on a runtime's core that have worked elsewhere, replayed through the OCI front: each case is named by its
//! advisory. SECURITY.md has the list, with the cases that stand elsewhere.
//!
//! Invariant: after each the canary, which every attack aims at, and the host's own settings are as they were.

mod cgroups;
mod descriptors;
mod devices;
mod frames;
mod identity;
mod inodes;
mod input;
pub(crate) mod network;
mod paths;
mod space;
mod strangers;
mod tracing;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use support::host::Host;
use support::run::Outcome;
use support::suite::Suite;

pub(crate) use self::inodes::StandIn;
use crate::oci::Oci;

type Attack = fn(&Bench<'_>) -> Result<()>;
type AttackOfPods = fn(&Host) -> Result<()>;

pub(crate) fn add(suite: &mut Suite) {
    let attacks: [(&str, Attack); 18] = [
        ("CVE-2024-21626 no directory or program by a descriptor is outside", descriptors::ways_out),
        ("CVE-2016-9962 a container that may trace learns nothing from exec", descriptors::traced),
        ("CVE-2019-5736 podrun's binary cannot be written to by what it starts", descriptors::binary),
        ("CVE-2016-3697 CVE-2024-40635 a user is a number in range or refused", identity::users),
        ("CVE-2022-29162 inheritable and ambient capabilities are none", identity::capabilities),
        ("CVE-2022-2989 the primary group of a pod is a supplementary one", identity::groups),
        ("CVE-2021-43784 paths and maps too long for the kernel are errors", identity::sizes),
        ("CVE-2024-3154 annotations steer nothing", identity::annotations),
        ("CVE-2019-19921 CVE-2023-27561 proc and sys are real directories", paths::proc_and_sys),
        ("CVE-2021-30465 CVE-2024-45310 mount points on a volume that another swaps", paths::swapped),
        ("CVE-2019-18837 mounts follow no link out of the root", paths::links),
        ("CVE-2025-52881 sysctls go to the kernel's files alone", paths::sysctls),
        ("GHSA-5g49-rx9x-qfc6 names of cgroups and their files lead nowhere", paths::cgroups),
        (
            "GHSA-7ww5-4wqc-m92c GHSA-jq35-85cj-fj4p what tells of the host's hardware is hidden",
            cgroups::masked,
        ),
        ("CVE-2025-31133 masks are of the null device whatever /dev holds", devices::masks),
        ("CVE-2025-52565 the console is the terminal whatever /dev/pts holds", devices::console),
        ("CVE-2026-41579 a /dev that leads elsewhere is left alone", devices::dev),
        (
            "CVE-2016-9962 a container that may trace seizes no right of one that joins its pids",
            tracing::joined,
        ),
    ];
    for (name, attack) in attacks {
        suite.on_host(name, &["busybox"], replayed(attack));
    }
    let attacks_of_pods: [(&str, AttackOfPods); 18] = [
        ("CVE-2016-9962 a container that may trace seizes only what exec leaves it", tracing::exec),
        ("CVE-2016-9962 a container that may trace seizes no right of a sibling", tracing::siblings),
        ("a shared pid namespace ends by nobody in it", tracing::forged),
        ("security no device or terminal of the host's is in a pod", inodes::pods),
        ("security no device or terminal of the host's is in an OCI container", inodes::containers),
        ("security what a pod does to its streams and masks changes nothing of the host's", inodes::changed),
        ("security devices that an OCI caller gives as streams stay as they are", inodes::given),
        ("a stranger on the host opens nothing of podrun's, whatever the umask", strangers::looks_around),
        ("a stranger who holds a lock keeps no command waiting for ever", strangers::holds_the_lock),
        ("a boot_id that is none is read to its bound and replaced", strangers::false_boot),
        ("CVE-2020-8557 what a container writes to its hosts file is not on the host", space::filled_etc),
        ("a pod is deleted from a state dir without room, and its port is free", space::full_state_dir),
        ("a lease without its pod is collected by the next verb", space::stale_lease),
        ("a delete that leaves something does not say deleted", space::delete_that_fails),
        ("how a pod ended waits for room on the disk", space::status_waits_for_room),
        ("how pods ended is seen on a read only disk", space::ends_are_seen_on_a_read_only_disk),
        ("a container's config waits for room on the disk", space::config_waits_for_room),
        ("a container has no file system of the host's to open handles on", space::handles),
    ];
    for (name, attack) in attacks_of_pods {
        suite.on_host(name, &["busybox"], attack);
    }
    let inputs: [(&str, AttackOfPods); 6] = [
        ("references that nest are refused before they are written out", input::expansions),
        ("variables of manifest and image are no more than the kernel takes", input::with_the_image),
        ("a manifest full of anything is read with little memory and few words", input::full_manifests),
        ("an image's config that is full of anything is refused by name", input::full_images),
        ("a user of more groups than the kernel takes is refused by name", input::full_groups),
        ("nothing that is named quoted or printed steers a terminal", input::terminals),
    ];
    for (name, test) in inputs {
        suite.on_host(name, &[], test);
    }
    let exec = "an exec whose arguments are too many beside the variables says so";
    suite.on_host(exec, &["busybox"], input::with_an_exec);
    suite.on_host_with_controller(
        "CVE-2022-0492 a container's cgroups cannot be written to",
        "memory",
        &["busybox"],
        replayed(cgroups::written),
    );
    suite.on_host_with_controller(
        "CVE-2022-0492 a pod's container gets no hierarchy of its own by a user namespace",
        "memory",
        &["debian"],
        cgroups::mounted,
    );
}

/// The attack as a test.
fn replayed(attack: Attack) -> impl FnOnce(&Host) -> Result<()> + Send + 'static {
    move |host| {
        let bench = Bench::new(host)?;
        let outcome = attack(&bench);
        // Looked at whatever came of it: this is what undoes a change too.
        let host = bench.host_is_as_before();
        outcome.and(host)?;
        bench.oci.gone()
    }
}

/// A host with something that an attack would change.
struct Bench<'a> {
    oci: Oci<'a>,
    host: &'a Host,
    canary: PathBuf,
    core_pattern: String,
}

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

impl<'a> Bench<'a> {
    fn new(host: &'a Host) -> Result<Self> {
        let canary = host.file("canary");
        std::fs::create_dir_all(canary.join("folder"))?;
        std::fs::write(canary.join("secret"), "alive")?;
        let core_pattern = std::fs::read_to_string(CORE_PATTERN)?;
        Ok(Self { oci: Oci::new(host)?, host, canary, core_pattern })
    }

    fn host_is_as_before(&self) -> Result<()> {
        let mut names: Vec<_> = std::fs::read_dir(&self.canary)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        ensure!(names == ["folder", "secret"], "the canary holds {names:?}");
        ensure!(
            std::fs::read_dir(self.canary.join("folder"))?.next().is_none(),
            "the canary's folder holds something"
        );
        ensure!(
            std::fs::read_to_string(self.canary.join("secret"))? == "alive",
            "the canary's file has changed"
        );
        if std::fs::read_to_string(CORE_PATTERN)? != self.core_pattern {
            // What this very test has done to its host is undone before it is told.
            std::fs::write(CORE_PATTERN, &self.core_pattern)?;
            bail!("core_pattern has changed");
        }
        Ok(())
    }

    fn rootfs(&self) -> PathBuf {
        self.oci.bundle.join("rootfs")
    }

    /// Runs a container to its end.
    fn run(&self, args: &[&str], changes: &[(&str, Value)]) -> Result<Outcome> {
        self.oci.config(args, changes)?;
        let bundle = self.oci.bundle.to_string_lossy().into_owned();
        self.oci.oci(&["run", "--bundle", &bundle, "attack"])
    }

    /// The two ways on which a container comes to its root: at once, or, since a hook looks at it on the host, only when
    /// all its mounts are made: until then the host's tree is in sight.
    fn ways() -> [(&'static str, Value); 2] {
        [("/hooks", json!({})), ("/hooks", json!({"createRuntime": [{"path": "/bin/true"}]}))]
    }

    /// Runs one that must be refused before it runs.
    fn refused(&self, args: &[&str], changes: &[(&str, Value)], says: &str) -> Result<()> {
        let outcome = self.run(args, changes)?;
        ensure!(outcome.code() == 1 && outcome.stdout.is_empty(), "it ran: {outcome}");
        ensure!(outcome.stderr.contains(says), "{says:?} is not in: {outcome}");
        self.host_is_as_before()
    }

    /// The mounts of the default config, with `more` after them.
    fn mounts(&self, more: &[Value]) -> Result<(&'static str, Value)> {
        self.oci.config(&["true"], &[])?;
        let text = std::fs::read_to_string(self.oci.bundle.join("config.json"))?;
        let mut spec: Value = serde_json::from_str(&text)?;
        let mounts = spec["mounts"].as_array_mut().context("mounts")?;
        mounts.extend(more.iter().cloned());
        Ok(("/mounts", spec["mounts"].take()))
    }
}
