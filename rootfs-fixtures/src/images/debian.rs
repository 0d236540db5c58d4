//! `debian`: the packages of debootstrap's minbase, unpacked in one layer: a real system of 100 MB and
//! thousands of files, /usr merged as in every Debian of today.
//!
//! No maintainer script runs (they need root and leave times and random numbers behind); what they
//! would have made and tests use, accounts and the alternatives' links, is written here.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::{Kitchen, base, write_single};
use crate::oci::{Compression, Image, Layer};
use crate::packages::minbase;
use crate::tree::{Content, Tree};

pub(super) fn packages() -> Result<Vec<String>> {
    minbase()
}

pub(super) fn make(kitchen: &Kitchen, folder: &Path, _beside: &Path) -> Result<()> {
    let mut tree = Tree::default();
    let mut status = String::new();
    for name in packages()? {
        tree.take(&kitchen.packages.tree(&name)?, |_| true);
        status.push_str(&installed(&kitchen.packages.control(&name)?));
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
    let image = Image {
        architecture: kitchen.architecture.oci.into(),
        variant: None,
        layers: vec![Layer::new(&tree, Compression::Gzip)?],
        config: json!({ "Env": [base::PATH], "Cmd": ["bash"] }),
    };
    write_single(folder, "debian", &image)
}

/// A package's control paragraph as dpkg's status file lists it.
fn installed(control: &str) -> String {
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
