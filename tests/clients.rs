//! Others' engines with podrun as their OCI runtime, inside the root that `make peers` makes: each case is a
//! script that ends at the first thing that is not as with runc.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use support::host::binary_under_test;
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    for (name, script) in [
        ("podman runs, execs, pauses and ends containers and pods by podrun", "podman.sh"),
        ("containerd runs containers and a kubelet's pod by podrun", "containerd.sh"),
        ("images that podman pushes builds and commits are run by podrun and its own by podman", "images.sh"),
    ] {
        suite.in_peers(name, move || run(script));
    }
}

fn run(script: &str) -> Result<()> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the project")?;
    let binary = binary_under_test()?;
    // The root of the peers shows the project at /mnt.
    let binary = binary.strip_prefix(project).context("the binary under test lies outside of the project")?;
    let ran = Command::new(project.join("scripts/in-peers.sh"))
        .arg("bash")
        .arg(Path::new("tests/clients").join(script))
        .arg(binary)
        .output()
        .context("scripts/in-peers.sh")?;
    let said = [ran.stdout.as_slice(), ran.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(ran.status.success() && said.contains("all as expected"), "{script}: {}\n{said}", ran.status);
    Ok(())
}
