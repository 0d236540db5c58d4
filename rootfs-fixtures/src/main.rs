//! Makes the images of podrun's tests and demo out of Debian packages: `rootfs-fixtures OUT [IMAGE...]`.
//! Without an IMAGE it makes all but the big ones.
//!
//! Each image becomes an OCI layout `OUT/<image>/` and an oci-archive `OUT/<image>.tar`. Made twice from
//! the same packages they have the same digests; what is current is not made again.

mod images;
mod oci;
mod packages;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use images::{Kitchen, RECIPES, Recipe};
use packages::{Architecture, Packages};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(out) = arguments.next().filter(|first| !first.starts_with('-')) else {
        let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
        eprintln!("usage: rootfs-fixtures OUT [IMAGE...]\nimages: {}", names.join(" "));
        return ExitCode::from(2);
    };
    match run(Path::new(&out), &arguments.collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rootfs-fixtures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(out: &Path, names: &[String]) -> Result<()> {
    for name in names {
        if !RECIPES.iter().any(|recipe| recipe.name == name) {
            bail!("no image `{name}`");
        }
    }
    let wanted: Vec<&Recipe> = RECIPES
        .iter()
        .filter(|recipe| names.is_empty() && !recipe.is_big || names.iter().any(|name| name == recipe.name))
        .collect();
    let packages = Packages::open(out.join("packages"))?;
    let kitchen = Kitchen { packages, architecture: Architecture::of_this_machine()? };
    let mut needed: Vec<String> = Vec::new();
    for recipe in &wanted {
        needed.extend((recipe.packages)()?);
    }
    needed.sort();
    needed.dedup();
    kitchen.packages.fetch(&needed)?;
    for recipe in wanted {
        make(out, &kitchen, recipe).with_context(|| format!("image `{}`", recipe.name))?;
    }
    Ok(())
}

/// Makes one image unless it is there and made of the same things.
fn make(out: &Path, kitchen: &Kitchen, recipe: &Recipe) -> Result<()> {
    let stamp = stamp(kitchen, recipe)?;
    let stamp_path = out.join(format!(".{}.stamp", recipe.name));
    let final_folder = out.join(recipe.name);
    if fs::read_to_string(&stamp_path).is_ok_and(|old| old == stamp) && final_folder.exists() {
        println!("{}: current", recipe.name);
        return Ok(());
    }
    let staging = tempfile::Builder::new().prefix(".making").tempdir_in(out)?;
    let folder = staging.path().join("layout");
    (recipe.make)(kitchen, &folder, &staging.path().join("beside"))?;
    // From here on a stamp would lie about what stands there, until the last line.
    remove_if_there(fs::remove_file(&stamp_path))?;
    remove_if_there(fs::remove_dir_all(&final_folder))?;
    oci::publish(&out.join(format!("{}.tar", recipe.name)), &oci::archive(&folder)?)?;
    if let Ok(beside) = fs::read_dir(staging.path().join("beside")) {
        for file in beside {
            let file = file?;
            let target = out.join(file.file_name());
            remove_if_there(fs::remove_dir_all(&target).or_else(|_| fs::remove_file(&target)))?;
            fs::rename(file.path(), target)?;
        }
    }
    fs::rename(&folder, &final_folder)?;
    oci::publish(&stamp_path, stamp.as_bytes())?;
    println!("{}: made {}", recipe.name, images::reference(recipe.name));
    Ok(())
}

/// Everything an image depends on: the packages' versions and this program with its probe.
fn stamp(kitchen: &Kitchen, recipe: &Recipe) -> Result<String> {
    let mut lines = kitchen.packages.versions(&(recipe.packages)()?)?;
    lines.push(oci::digest(&fs::read(std::env::current_exe()?)?));
    if recipe.uses_probe {
        lines.push(oci::digest(&fs::read(probe_program()?)?));
    }
    Ok(lines.join("\n"))
}

/// The probe's program, which cargo puts beside this one.
fn probe_program() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("probe");
    if !path.exists() {
        bail!("`{}` does not exist\nhint: `cargo build -p rootfs-fixtures` builds both", path.display());
    }
    Ok(path)
}

fn remove_if_there(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
