//! The fixtures themselves, and `load`, `images` and `rmi`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use support::fixtures;
use support::suite::Suite;

const ALL: [&str; 8] = ["busybox", "debian", "httpd", "layers", "nginx", "platforms", "probe", "redis"];

pub(crate) fn add(suite: &mut Suite) {
    suite.plain("every blob of every fixture is what its digest says", every_blob_is_what_its_digest_says);
    suite.plain("a spoilt fixture is spoilt in one blob only", a_spoilt_fixture_is_spoilt_in_one_blob);
    suite.plain("fixtures made twice from the same packages are equal", fixtures_made_twice_are_equal);
}

fn hex_digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("`{}`", path.display()))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The blobs of a layout whose bytes are not what their names say.
fn wrong_blobs(layout: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(layout.join("blobs/sha256"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        count += 1;
        if hex_digest(&entry.path())? != name {
            wrong.push(name);
        }
    }
    ensure!(count >= 3, "`{}` holds {count} blobs", layout.display());
    Ok(wrong)
}

fn every_blob_is_what_its_digest_says() -> Result<()> {
    for name in ALL {
        let layout = fixtures::path(name)?;
        ensure!(wrong_blobs(&layout)?.is_empty(), "{name}");
        let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
        let reference = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
        ensure!(*reference == fixtures::reference(name), "{name}: {reference}");
        fixtures::path(&format!("{name}.tar"))?;
    }
    Ok(())
}

fn a_spoilt_fixture_is_spoilt_in_one_blob() -> Result<()> {
    for name in ["busybox.wrong-digest", "busybox.truncated"] {
        let wrong = wrong_blobs(&fixtures::path(name)?)?;
        ensure!(wrong.len() == 1, "{name}: {wrong:?}");
    }
    let (wrong, right) = (fixtures::path("busybox.wrong-digest")?, fixtures::path("busybox")?);
    let blob = Path::new("blobs/sha256").join(&wrong_blobs(&wrong)?[0]);
    let length = |layout: &Path| Ok::<_, anyhow::Error>(std::fs::metadata(layout.join(&blob))?.len());
    ensure!(length(&wrong)? == length(&right)?, "a wrong digest is to be found by hashing, not by length");
    Ok(())
}

fn fixtures_made_twice_are_equal() -> Result<()> {
    let program = std::env::current_exe()?;
    let program = program.parent().and_then(Path::parent).context("a test lies in target/*/deps")?;
    let program = program.join("rootfs-fixtures");
    ensure!(program.exists(), "`{}` does not exist\nhint: `make fixtures`", program.display());
    let again = tempfile::tempdir_in(fixtures::target_folder())?;
    std::os::unix::fs::symlink(fixtures::path("packages")?, again.path().join("packages"))?;
    let names = ["busybox", "nginx"];
    let status =
        Command::new(program).arg(again.path()).args(names).stdout(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "rootfs-fixtures: {status}");
    for name in names {
        let [first, second] = [fixtures::path(name)?, again.path().join(name)]
            .map(|layout| hex_digest(&layout.join("index.json")));
        ensure!(first? == second?, "{name} differs");
    }
    Ok(())
}
