//! The images made by rootfs-fixtures, and image stores that hold them already.
//!
//! An image is loaded once in a test run, into a store of its own; each test that wants it gets hard links
//! of that, which is a hundred times faster than unpacking again. podrun never writes to a file that it
//! has published, so that no test can change what another sees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::host::{Host, binary_under_test};

/// Cargo's target folder.
pub fn target_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
        return folder.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// Where the tests keep their hosts.
pub fn work_folder() -> PathBuf {
    std::fs::canonicalize(target_folder()).unwrap_or_else(|_| target_folder()).join("tests")
}

/// The fixture `name`: a layout folder, or an archive with its ending.
pub fn path(name: &str) -> Result<PathBuf> {
    let folder = std::fs::canonicalize(target_folder())?.join("fixtures").join(name);
    ensure!(folder.exists(), "`{}` does not exist\nhint: `make fixtures`", folder.display());
    Ok(folder)
}

/// The program of a Debian package that was unpacked beside the fixtures, not installed: `package`, or
/// `package/program` where the names differ.
pub fn tool(name: &str) -> Option<PathBuf> {
    let (package, program) = name.split_once('/').unwrap_or((name, name));
    std::fs::canonicalize(target_folder().join("fixtures/tools").join(package).join("usr/bin").join(program))
        .ok()
}

/// Where the libraries lie that such programs need and a machine may lack.
pub fn library_path() -> std::ffi::OsString {
    let tools = std::fs::canonicalize(target_folder().join("fixtures/tools")).unwrap_or_default();
    let entries =
        |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders: Vec<PathBuf> = entries(&tools)
        .flat_map(|tool| ["usr/lib", "lib"].map(|lib| tool.join(lib)))
        .flat_map(|lib| entries(&lib).collect::<Vec<_>>())
        .collect();
    std::env::join_paths(folders.into_iter().filter(|folder| folder.is_dir())).unwrap_or_default()
}

/// Why such a program cannot run here, if so: it is not there, or a library of it is not.
pub(crate) fn lacks(name: &str) -> Option<String> {
    let Some(program) = tool(name) else { return Some(format!("needs `{name}`, which `make test` unpacks")) };
    let output = Command::new(program).arg("--version").env("LD_LIBRARY_PATH", library_path()).output();
    match output {
        // What the dynamic linker says of a library that it does not find.
        Ok(output) if output.status.code() == Some(127) => {
            Some(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Ok(_) => None,
        Err(error) => Some(format!("{name}: {error}")),
    }
}

/// The name an image is known by.
pub fn reference(name: &str) -> String {
    format!("localhost/podrun/{name}:1")
}

type Stores = Mutex<BTreeMap<String, Arc<OnceLock<Result<PathBuf, String>>>>>;

/// Puts the image `name` into the host's store.
pub(crate) fn preload(name: &str, host: &Host) -> Result<()> {
    static STORES: Stores = Mutex::new(BTreeMap::new());
    let store = {
        let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(stores.entry(name.to_owned()).or_default())
    };
    let store = store.get_or_init(|| load(name).map_err(|error| format!("{error:#}")));
    let store = store.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let status = Command::new("cp")
        .args(["--archive", "--link", "--no-clobber", "--no-target-directory"])
        .arg(store)
        .arg(host.root())
        .status()?;
    ensure!(status.success(), "`cp --archive --link`: {status}");
    Ok(())
}

fn load(name: &str) -> Result<PathBuf> {
    let folder = work_folder().join(format!("{}-store-{name}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let scratch = folder.with_extension("state");
    let output = Command::new(binary_under_test()?)
        .arg("--root")
        .arg(&folder)
        .arg("--state-dir")
        .arg(&scratch)
        .arg("load")
        .arg(path(name)?)
        .output()
        .context("podrun load")?;
    ensure!(
        output.status.success(),
        "`podrun load {name}`: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::remove_dir_all(&scratch).ok();
    // A lock that is linked into every host would be one lock for all of them.
    for entry in std::fs::read_dir(folder.join("images"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.metadata()?.len() == 0 {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(folder)
}

/// Removes the stores of this run.
pub(crate) fn remove_stores() {
    let mark = format!("{}-store-", std::process::id());
    for entry in std::fs::read_dir(work_folder()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&mark) {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}
