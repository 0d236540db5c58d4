//! What an older kernel, or a filter around podrun, does not have: what podrun needs is said by its name, and what it
//! can do without it does without.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;
use support::host::Host;
use support::pods::{pod, shell};
use support::suite::Suite;

use crate::oci::Oci;

/// The calls without which there is no container.
const REQUIRED: [&str; 10] = [
    "clone3",
    "close_range",
    "fsconfig",
    "fsmount",
    "fsopen",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pidfd_open",
];

/// Those that have another way, or whose lack changes nothing: `make test-enosys` runs more of the suite so.
const DISPENSABLE: &str = "statx,keyctl,add_key,faccessat2,copy_file_range,epoll_pwait2";

const CREATE: [&str; 3] = ["create", "-f", "-"];

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("kernel a call that it lacks is named, for a container", &["busybox"], container);
    suite.on_host("kernel a call that it lacks is named, for a pod", &["busybox"], pods);
    suite.on_host("kernel calls that podrun can do without are not missed", &["busybox"], dispensable);
    suite.plain("kernel the page on kernels has a row for each call that podrun needs", page);
}

/// Fails with every call for which `test` fails.
fn all_of(test: impl Fn(&str) -> Result<()>) -> Result<()> {
    let failed: Vec<String> = REQUIRED
        .iter()
        .filter_map(|call| test(call).err().map(|error| format!("without {call}: {error:#}")))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn container(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["true"], &[])?;
    let (bundle, root) = (oci.bundle.to_string_lossy().into_owned(), oci.root());
    all_of(|call| {
        let line = ["oci", "--root", &root, "run", "--bundle", &bundle, "web"];
        let said = host.podrun_without(call, &line, b"")?.fails_with(1)?;
        ensure!(said.contains(&format!("{call}(")) && said.contains("ENOSYS"), "{said}");
        ensure!(said.contains("Linux 5.14 or newer"), "{said}");
        oci.gone()
    })
}

fn pods(host: &Host) -> Result<()> {
    let manifest = pod("one", &json!({"containers": [shell("main", "sleep 1000")]})).to_string();
    all_of(|call| {
        // A pod waits until its image can be looked into, and processes are looked up by pid for a dead monitor alone.
        if ["openat2", "pidfd_open"].contains(&call) {
            return Ok(());
        }
        let outcome = host.podrun_without(call, &CREATE, manifest.as_bytes())?;
        // 1 where the sandbox was made, and the container says what it lacks.
        ensure!([1, 7].contains(&outcome.code()), "{outcome}");
        ensure!(
            outcome.stderr.contains(&format!("{call}(")) && outcome.stderr.contains("ENOSYS"),
            "{outcome}"
        );
        let listed = host.podrun(&["get", "pods", "-o", "name"])?.ok()?;
        ensure!(listed.is_empty(), "a pod is left: {listed}");
        Ok(())
    })
}

fn dispensable(host: &Host) -> Result<()> {
    let oci = Oci::new(host)?;
    oci.config(&["echo", "hello"], &[("/process/noNewPrivileges", json!(true))])?;
    let (bundle, root) = (oci.bundle.to_string_lossy().into_owned(), oci.root());
    let line = ["oci", "--root", &root, "run", "--bundle", &bundle, "web"];
    ensure!(host.podrun_without(DISPENSABLE, &line, b"")?.ok()? == "hello\n");
    let manifest = pod("one", &json!({"containers": [shell("main", "sleep 1000")]})).to_string();
    host.podrun_without(DISPENSABLE, &CREATE, manifest.as_bytes())?.ok()?;
    let said = host.podrun_without(DISPENSABLE, &["exec", "one", "--", "echo", "inside"], b"")?.ok()?;
    ensure!(said == "inside\n", "{said}");
    host.delete("one").map(drop)
}

fn page() -> Result<()> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kernel.md"))?;
    for call in REQUIRED {
        let row = text.lines().find(|line| line.starts_with("| ") && line.contains(&format!("`{call}`")));
        ensure!(
            row.is_some_and(|row| row.contains("required")),
            "docs/kernel.md: no row says that {call} is required"
        );
    }
    Ok(())
}
