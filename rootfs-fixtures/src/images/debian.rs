//! `debian`: the packages of debootstrap's minbase, unpacked in one layer: a real system of 100 MB and
//! thousands of files, /usr merged as in every Debian of today. `system`: the same with compilers, and a second layer
//! with a language's sources: 1.2 GB and more than 30,000 files, in an image whose layers are gzip and one whose are zstd.
//!
//! No maintainer script runs (they need root and leave times and random numbers behind); what they
//! would have made and tests use, accounts and the alternatives' links, is written here.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::{Kitchen, base, strings, write_single};
use crate::oci::{Compression, Image, Layer};
use crate::packages::minbase;
use crate::tree::{Content, Tree};

pub(super) fn packages() -> Result<Vec<String>> {
    minbase()
}

pub(super) fn make(kitchen: &Kitchen, folder: &Path, _beside: &Path) -> Result<()> {
    let tree = installed(kitchen, &packages()?)?;
    write_single(folder, "debian", &image(kitchen, vec![Layer::new(&tree, Compression::Gzip)?]))
}

/// What `system` has beyond `debian` in its lower layer: big files.
const COMPILERS: [&str; 12] = [
    "cpp-12",
    "g++-12",
    "gcc-12",
    "git",
    "libclang-cpp14",
    "libgcc-12-dev",
    "libicu72",
    "libllvm14",
    "libperl5.36",
    "libpython3.11-stdlib",
    "libstdc++-12-dev",
    "perl-modules-5.36",
];
/// Its upper layer: many small files, and some that no compression makes smaller.
const SOURCES: [&str; 4] =
    ["golang-1.19-go", "golang-1.19-src", "libboost1.74-dev", "openjdk-17-jdk-headless"];

pub(super) fn system_packages() -> Result<Vec<String>> {
    let mut names = packages()?;
    names.extend(strings(&COMPILERS));
    names.extend(strings(&SOURCES));
    names.sort();
    names.dedup();
    Ok(names)
}

pub(super) fn make_system(kitchen: &Kitchen, folder: &Path, beside: &Path) -> Result<()> {
    let mut names = packages()?;
    names.extend(strings(&COMPILERS));
    let lower = installed(kitchen, &names)?;
    let mut upper = Tree::default();
    for name in SOURCES {
        upper.take(&kitchen.packages.tree(name)?, |_| true);
    }
    let of = |compression| -> Result<Image> {
        Ok(image(kitchen, vec![Layer::new(&lower, compression)?, Layer::new(&upper, compression)?]))
    };
    write_single(&beside.join("system.zstd"), "system-zstd", &of(Compression::Zstd)?)?;
    write_single(folder, "system", &of(Compression::Gzip)?)
}

fn image(kitchen: &Kitchen, layers: Vec<Layer>) -> Image {
    Image {
        architecture: kitchen.architecture.oci.into(),
        variant: None,
        layers,
        config: json!({ "Env": [base::PATH], "Cmd": ["bash"] }),
    }
}

/// The packages `names` as a system that has them installed.
fn installed(kitchen: &Kitchen, names: &[String]) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut status = String::new();
    for name in names {
        tree.take(&kitchen.packages.tree(name)?, |_| true);
        status.push_str(&status_of(&kitchen.packages.control(name)?));
    }
    for name in ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] {
        if tree.get(name).is_some() {
            tree.merge_into(name, &format!("usr/{name}"));
        }
    }
    base::users(kitchen, &mut tree)?;
    tree.file("var/lib/dpkg/status", status);
    tree.directory("var/lib/dpkg/info");
    for (link, target) in
        [("awk", "mawk"), ("nawk", "mawk"), ("pager", "more"), ("which", "which.debianutils")]
    {
        tree.symlink(&format!("usr/bin/{link}"), target);
    }
    if tree.get("usr/bin/sh").is_none() {
        tree.symlink("usr/bin/sh", "dash");
    }
    for name in ["dev", "proc", "sys", "run"] {
        tree.directory(name);
    }
    tree.put("tmp", 0o1777, Content::Directory);
    Ok(tree)
}

/// A package's control paragraph as dpkg's status file lists it.
fn status_of(control: &str) -> String {
    let mut lines = control.trim_end().lines();
    let mut text = lines.next().unwrap_or_default().to_owned();
    text.push_str("\nStatus: install ok installed\n");
    lines.for_each(|line| {
        text.push_str(line);
        text.push('\n');
    });
    text.push('\n');
    text
}
