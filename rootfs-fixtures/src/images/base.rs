//! `busybox`: Debian's dynamic busybox with every applet a hard link, the C library, and the users
//! of base-passwd. The server images stand on its layer.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Kitchen, reference, strings, write_single};
use crate::oci::{self, Compression, Image, Layer};
use crate::packages::{output, write_program};
use crate::tree::{Content, Tree};

pub(super) fn packages() -> Result<Vec<String>> {
    Ok(strings(&["base-files", "base-passwd", "busybox", "libc6", "netbase"]))
}

pub(super) fn make(kitchen: &Kitchen, folder: &Path, beside: &Path) -> Result<()> {
    let tree = tree(kitchen)?;
    let image = Image {
        architecture: kitchen.architecture.oci.into(),
        variant: None,
        layers: vec![layer(kitchen)?],
        config: json!({ "Env": [PATH], "Cmd": ["sh"] }),
    };
    fs::create_dir_all(beside)?;
    let docker = oci::docker_archive(&image, &[&tree], &reference("busybox"))?;
    fs::write(beside.join("busybox.docker.tar"), docker)?;
    broken(&image, beside)?;
    write_single(folder, "busybox", &image)
}

/// The environment every image brings.
pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The base layer, as the server images use it: the same bytes, so that it is stored once.
pub(super) fn layer(kitchen: &Kitchen) -> Result<Layer> {
    Layer::new(&tree(kitchen)?, Compression::Gzip)
}

fn tree(kitchen: &Kitchen) -> Result<Tree> {
    let mut tree = Tree::default();
    for name in ["bin", "dev", "etc", "home", "proc", "run", "sbin", "sys", "usr/bin", "usr/sbin", "var/log"]
    {
        tree.directory(name);
    }
    tree.put("root", 0o700, Content::Directory);
    tree.put("tmp", 0o1777, Content::Directory);
    tree.put("var/tmp", 0o1777, Content::Directory);
    tree.symlink("var/run", "/run");
    let packages = &kitchen.packages;
    tree.take(&packages.tree("base-files")?, |path| {
        matches!(path, "etc/os-release" | "usr/lib/os-release" | "etc/debian_version")
    });
    tree.take(&packages.tree("netbase")?, |path| matches!(path, "etc/protocols" | "etc/services"));
    users(kitchen, &mut tree)?;
    let libc = packages.tree("libc6")?;
    let libraries = format!("lib/{}/", kitchen.architecture.triplet);
    let loader = kitchen.architecture.loader;
    tree.take(&libc, |path| {
        path == loader || path.strip_prefix(&libraries).is_some_and(|name| !name.contains('/'))
    });
    let busybox = packages.tree("busybox")?;
    tree.take(&busybox, |path| path == "bin/busybox");
    for applet in applets(kitchen, &tree)? {
        if tree.get(&applet).is_none() {
            tree.hard_link(&applet, "bin/busybox");
        }
    }
    Ok(tree)
}

/// /etc/passwd, /etc/group and /etc/shadow of a Debian system with nothing installed.
pub(super) fn users(kitchen: &Kitchen, tree: &mut Tree) -> Result<()> {
    let masters = kitchen.packages.tree("base-passwd")?;
    let master = |name: &str| -> Result<String> {
        let path = format!("usr/share/base-passwd/{name}.master");
        match masters.get(&path).map(|node| &node.content) {
            Some(Content::File(bytes)) => Ok(String::from_utf8(bytes.clone())?),
            _ => anyhow::bail!("base-passwd holds no `{path}`"),
        }
    };
    tree.file("etc/passwd", master("passwd")?.replace(":*:", ":x:").replace("/bin/bash", "/bin/sh"));
    tree.file("etc/group", master("group")?.replace(":*:", ":x:"));
    Ok(())
}

/// What busybox says it can be, as paths: it is run from a folder of its own, by its own C library.
fn applets(kitchen: &Kitchen, tree: &Tree) -> Result<Vec<String>> {
    let scratch = tempfile::tempdir()?;
    let libraries = format!("lib/{}/", kitchen.architecture.triplet);
    for (path, node) in tree.iter() {
        if let (Content::File(bytes), Some(name)) = (&node.content, path.strip_prefix(&libraries)) {
            write_program(scratch.path(), name, bytes)?;
        }
    }
    let bytes = match tree.get("bin/busybox").map(|node| &node.content) {
        Some(Content::File(bytes)) => bytes,
        _ => anyhow::bail!("package busybox holds no bin/busybox"),
    };
    let program = write_program(scratch.path(), "busybox", bytes)?;
    let loader = Path::new(kitchen.architecture.loader).file_name().context("a loader has a name")?;
    let list = output(
        Command::new(scratch.path().join(loader))
            .arg("--library-path")
            .arg(scratch.path())
            .arg(program)
            .arg("--list-full"),
    )?;
    Ok(list.lines().map(|line| line.trim_start_matches('/').to_owned()).collect())
}

/// The same image spoilt in two ways, for tests: `busybox.wrong-digest` holds a layer whose bytes are not
/// what its digest says (of the same length), and `busybox.truncated` one that ends in the middle.
fn broken(image: &Image, beside: &Path) -> Result<()> {
    let layer = &image.layers[0];
    let mut flipped = layer.bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let spoilt = [("wrong-digest", flipped.as_slice()), ("truncated", &layer.bytes[..middle])];
    for (kind, bytes) in spoilt {
        let folder = beside.join(format!("busybox.{kind}"));
        write_single(&folder, kind, image)?;
        let layout = oci::Layout::create(&folder)?;
        fs::write(layout.blob_path(&oci::digest(&layer.bytes)), bytes)?;
        fs::write(beside.join(format!("busybox.{kind}.tar")), oci::archive(&folder)?)?;
    }
    Ok(())
}
